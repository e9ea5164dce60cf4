/*
 * tok_util.h
 *		Tokenizers and golden lines for the tokenizer tests.
 */
#ifndef TOK_UTIL_H
#define TOK_UTIL_H

#include <jansson.h>
#include <string.h>

#include "import/hf_tokenizer.h"
#include "unit.h"

/* An open tokenizer and the block under it. */
typedef struct Tok
{
	EmbTokenizer *tok;
	void	   *block;
	size_t		size;
} Tok;

__attribute__((unused)) static void
tok_close(Tok *t)
{
	EmbAllocator mem = emb_malloc_allocator();

	emb_tok_close(t->tok);
	emb_release(&mem, t->block);
	memset(t, 0, sizeof(*t));
}

/* Builds and opens what spec says, and frees spec. */
__attribute__((unused)) static EmbStatus
tok_from_spec(EmbTokSpec *spec, Tok *t, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbStatus	status = emb_tok_build(spec, &mem, &t->block, &t->size, err);

	t->tok = NULL;
	emb_tok_spec_free(spec, &mem);
	if (status == EMB_OK)
		status = emb_tok_open(t->block, t->size, true, &mem, &t->tok, err);
	return status;
}

__attribute__((unused)) static EmbStatus
tok_from_bytes(const char *data, size_t size, Tok *t, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbStatus	status = emb_import_tokenizer_json("tokenizer.json", data, size, &mem, &spec, err);

	memset(t, 0, sizeof(*t));
	return status == EMB_OK ? tok_from_spec(&spec, t, err) : status;
}

__attribute__((unused)) static EmbStatus
tok_from_json(const json_t *json, Tok *t, EmbError *err)
{
	char	   *text = json_dumps(json, JSON_COMPACT);
	EmbStatus	status = tok_from_bytes(text, strlen(text), t, err);

	free(text);
	return status;
}

/* What a command or file gives, as JSON; NULL on failure. */
__attribute__((unused)) static json_t *
json_from_command(const char *command)
{
	FILE	   *pipe = popen(command, "r");
	json_t	   *json = pipe != NULL ? json_loadf(pipe, 0, NULL) : NULL;

	if (pipe != NULL)
		pclose(pipe);
	return json;
}

__attribute__((unused)) static json_t *
json_from_data(const char *name)
{
	char		path[512];

	snprintf(path, sizeof(path), "%s/tokenizer/%s", data_dir(), name);
	return json_load_file(path, 0, NULL);
}

/* Puts charsmap in place of "@charsmap". */
__attribute__((unused)) static void
fill_charsmap(json_t *normalizer, const json_t *charsmap)
{
	json_t	   *list = json_object_get(normalizer, "normalizers");

	if (json_object_get(normalizer, "precompiled_charsmap") != NULL)
		json_object_set(normalizer, "precompiled_charsmap", (json_t *) charsmap);
	for (size_t i = 0; i < json_array_size(list); i++)
		fill_charsmap(json_array_get(list, i), charsmap);
}

/* Puts the members of changes in place of those of base; they may name base's charsmap instead of repeating it. */
__attribute__((unused)) static void
apply_changes(json_t *base, const json_t *changes)
{
	const json_t *steps = json_object_get(json_object_get(base, "normalizer"), "normalizers");
	json_t	   *copy = json_deep_copy(changes);

	fill_charsmap(json_object_get(copy, "normalizer"), json_object_get(json_array_get(steps, 0), "precompiled_charsmap"));
	json_object_del(copy, "base");
	json_object_update(base, copy);
	json_decref(copy);
}

/* The tokenizer of an entry of variants.json. */
__attribute__((unused)) static EmbStatus
tok_from_variant(const json_t *variants, const char *name, Tok *t, EmbError *err)
{
	const json_t *variant = json_object_get(variants, name);
	const char *dir = json_string_value(json_object_get(variant, "dir"));
	json_t	   *base;
	EmbStatus	status;

	if (dir != NULL)
	{
		EmbAllocator mem = emb_malloc_allocator();
		char		path[512];
		EmbTokSpec	spec;

		snprintf(path, sizeof(path), "%s/tokenizer/%s", data_dir(), dir);
		memset(t, 0, sizeof(*t));
		status = emb_import_tokenizer(path, &mem, NULL, &spec, err);
		return status == EMB_OK ? tok_from_spec(&spec, t, err) : status;
	}
	base = json_from_data(json_string_value(json_object_get(variant, "base")));

	apply_changes(base, variant);
	status = tok_from_json(base, t, err);
	json_decref(base);
	return status;
}

/* Calls each with every line of the file or pipe, parsed. Returns the number of lines. */
__attribute__((unused)) static int
for_each_line(FILE *file, void (*each) (const json_t *line, void *ctx), void *ctx)
{
	char	   *buf = NULL;
	size_t		size = 0;
	int			n = 0;

	while (getline(&buf, &size, file) > 0)
	{
		json_t	   *line = json_loads(buf, 0, NULL);

		if (line == NULL)
			break;
		each(line, ctx);
		json_decref(line);
		n++;
	}
	free(buf);
	return n;
}

#define IDS_MAX 8192

/* Compares ids with a JSON array. */
__attribute__((unused)) static bool
ids_equal(const int32_t *ids, int32_t n, const json_t *want)
{
	if ((size_t) n != json_array_size(want))
		return false;
	for (int32_t i = 0; i < n; i++)
		if (ids[i] != json_integer_value(json_array_get(want, i)))
			return false;
	return true;
}

#endif
