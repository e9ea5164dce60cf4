/*
 * json.c
 *		Loads untrusted JSON, with typed access.
 */
#include "formats/json.h"

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "formats/file.h"

/* Below this value a double holds every integer. */
#define MAX_EXACT	9007199254740992.0

/* ---------------------------------------------------------------- memory */

/*
 * A document's memory: blocks that are freed as a whole. Jansson would free values
 * one by one. That takes a fifth of the parsing time, and cannot be cancelled.
 */
typedef struct EmbJsonBlock
{
	struct EmbJsonBlock *next;
	size_t		used,
				size;
	max_align_t bytes[];
} EmbJsonBlock;

#define BLOCK_BYTES_MIN	((size_t) 64 * 1024)
#define BLOCK_BYTES_MAX	((size_t) 4 * 1024 * 1024)

/* The document that this thread parses; Jansson's functions take no context. */
static __thread EmbJson *parsed;
static json_malloc_t outer_malloc;
static json_free_t outer_free;

static bool
add_block(EmbJson *doc, size_t n)
{
	size_t		size = doc->blocks != NULL ? 2 * doc->blocks->size : BLOCK_BYTES_MIN;
	EmbJsonBlock *block;

	size = size < BLOCK_BYTES_MAX ? size : BLOCK_BYTES_MAX;
	size = size > n ? size : n;
	block = malloc(sizeof(EmbJsonBlock) + size);
	if (block == NULL)
		return false;
	*block = (EmbJsonBlock) {doc->blocks, 0, size};
	doc->blocks = block;
	return true;
}

static void *
block_malloc(size_t size)
{
	size_t		n = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	void	   *p;

	if (parsed == NULL)
		return outer_malloc(size);
	if (n < size || ((parsed->blocks == NULL || parsed->blocks->size - parsed->blocks->used < n) && !add_block(parsed, n)))
		return NULL;
	p = (char *) parsed->blocks->bytes + parsed->blocks->used;
	parsed->blocks->used += n;
	return p;
}

static void
block_free(void *p)
{
	if (parsed == NULL)
		outer_free(p);
}

static void
free_blocks(EmbJson *doc)
{
	while (doc->blocks != NULL)
	{
		EmbJsonBlock *next = doc->blocks->next;

		free(doc->blocks);
		doc->blocks = next;
	}
}

/* --------------------------------------------------------------- parsing */

/* The unread rest of the text. The parser chooses how much it reads at once. */
typedef struct Feed
{
	const char *data;
	size_t		left;
	size_t		until_asked;
	const EmbStop *stop;
	jmp_buf		stopped;
} Feed;

#define ASK_BYTES	32768

static size_t
feed(void *buffer, size_t size, void *ctx)
{
	Feed	   *f = ctx;
	size_t		n = f->left < size ? f->left : size;

	if (f->until_asked < n)
	{
		f->until_asked = ASK_BYTES;
		if (emb_should_stop(f->stop))
			_longjmp(f->stopped, 1);
	}
	f->until_asked -= n < f->until_asked ? n : f->until_asked;
	memcpy(buffer, f->data, n);
	f->data += n;
	f->left -= n;
	return n;
}

/*
 * After an error all memory of the document is freed. A stop leaves Jansson by
 * longjmp: Jansson holds nothing but memory of our blocks, and would otherwise
 * first walk through everything it has read (90 ms for 9.6 MB).
 */
static json_t *
parse(EmbJson *doc, const char *data, size_t size, const EmbStop *stop, size_t flags, bool *stopped, json_error_t *jerr)
{
	Feed		f = {.data = data, .left = size, .until_asked = ASK_BYTES, .stop = stop};
	json_t	   *volatile root = NULL;

	json_get_alloc_funcs(&outer_malloc, &outer_free);
	json_set_alloc_funcs(block_malloc, block_free);
	parsed = doc;
	*stopped = _setjmp(f.stopped) != 0;
	if (!*stopped)
		root = json_load_callback(feed, &f, flags, jerr);
	parsed = NULL;
	json_set_alloc_funcs(outer_malloc, outer_free);
	if (root == NULL)
		free_blocks(doc);
	return root;
}

EmbStatus
emb_json_parse(const char *name, const char *data, size_t size, EmbJson *doc, EmbError *err)
{
	return emb_json_parse_stoppable(name, data, size, NULL, doc, err);
}

static bool
begins_with(const char *data, size_t size, const char *bytes, size_t n)
{
	return size >= n && memcmp(data, bytes, n) == 0;
}

/* Why a text is no JSON, and what to do where that is known: of a file, not of a header or an argument. */
static EmbStatus
refuse_text(const char *name, const char *data, size_t size, const json_error_t *jerr, EmbError *err)
{
	size_t		len = strlen(name);
	bool		is_file = (len > 5 && strcmp(name + len - 5, ".json") == 0) || strcmp(name, "artifact.metadata") == 0;
	bool		is_utf16 = begins_with(data, size, "\xFF\xFE", 2) || begins_with(data, size, "\xFE\xFF", 2);

	if (begins_with(data, size, "\xEF\xBB\xBF", 3) || is_utf16)
	{
		emb_error_at(err, EMB_ERR_FORMAT, 0, "%s begins with a byte order mark%s, which JSON may not have", name, is_utf16 ? " of UTF-16" : "");
		return emb_error_hint(err, EMB_ERR_FORMAT, "Save the file as UTF-8 without a byte order mark.");
	}
	emb_error_at(err, EMB_ERR_FORMAT, jerr->position, "%s is not valid JSON: %s (line %d, byte %d)", name, jerr->text, jerr->line, jerr->position);
	if (is_file && json_error_code(jerr) == json_error_premature_end_of_input)
		return emb_error_hint(err, EMB_ERR_FORMAT, "The file is empty or was cut off: download it again.");
	if (is_file && json_error_code(jerr) == json_error_invalid_utf8)
		return emb_error_hint(err, EMB_ERR_FORMAT, "Save the file as UTF-8.");
	return EMB_ERR_FORMAT;
}

EmbStatus
emb_json_parse_stoppable(const char *name, const char *data, size_t size, const EmbStop *stop, EmbJson *doc, EmbError *err)
{
	json_error_t jerr;
	bool		stopped = false;

	snprintf(doc->file, sizeof(doc->file), "%.*s", emb_json_clip(name, sizeof(doc->file) - 1), name);
	doc->ints_are_reals = false;
	doc->blocks = NULL;
	doc->root = parse(doc, data, size, stop, JSON_REJECT_DUPLICATES, &stopped, &jerr);
	if (doc->root == NULL && !stopped && json_error_code(&jerr) == json_error_numeric_overflow)
	{
		doc->ints_are_reals = true;
		doc->root = parse(doc, data, size, stop, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &stopped, &jerr);
	}
	if (doc->root == NULL && stopped)
		return emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", name);
	if (doc->root == NULL && json_error_code(&jerr) == json_error_out_of_memory)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory parsing %s (%zu bytes)", name, size);
	return doc->root != NULL ? EMB_OK : refuse_text(name, data, size, &jerr, err);
}

EmbStatus
emb_json_load(const char *dir, const char *name, size_t max_bytes,
			  const EmbAllocator *mem, const EmbStop *stop, EmbJson *doc, EmbError *err)
{
	char	   *data;
	size_t		size;
	EmbStatus	status;

	doc->root = NULL;
	doc->blocks = NULL;
	status = emb_file_read_all(dir, name, max_bytes, mem, &data, &size, err);
	if (status != EMB_OK)
		return status;
	status = emb_json_parse_stoppable(name, data, size, stop, doc, err);
	emb_release(mem, data);
	return status;
}

EmbStatus
emb_json_load_optional(const char *dir, const char *name, size_t max_bytes,
					   const EmbAllocator *mem, const EmbStop *stop, EmbJson *doc, EmbError *err)
{
	doc->root = NULL;
	doc->blocks = NULL;
	snprintf(doc->file, sizeof(doc->file), "%s", name);
	if (!emb_file_exists(dir, name))
		return EMB_OK;
	return emb_json_load(dir, name, max_bytes, mem, stop, doc, err);
}

void
emb_json_free(EmbJson *doc)
{
	free_blocks(doc);
	doc->root = NULL;
}

/* The value at key, or NULL if it is absent or null. */
static json_t *
lookup(const json_t *obj, const char *key)
{
	json_t	   *v = json_object_get(obj, key);

	return json_is_null(v) ? NULL : v;
}

EmbStatus
emb_json_get_int(const EmbJson *doc, const json_t *obj, const char *key,
				 int64_t min, int64_t max, int64_t *value, EmbError *err)
{
	json_t	   *v = lookup(obj, key);
	int64_t		n;

	if (v == NULL)
		return EMB_OK;
	if (json_is_integer(v))
		n = json_integer_value(v);
	else if (doc->ints_are_reals && json_is_real(v) && fabs(json_real_value(v)) < MAX_EXACT
			 && json_real_value(v) == floor(json_real_value(v)))
		n = (int64_t) json_real_value(v);
	else if (doc->ints_are_reals && json_is_real(v) && fabs(json_real_value(v)) >= MAX_EXACT)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is %g, outside %lld..%lld", doc->file, key,
						 json_real_value(v), (long long) min, (long long) max);
	else
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not an integer", doc->file, key);
	if (n < min || n > max)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is %lld, outside %lld..%lld", doc->file, key,
						 (long long) n, (long long) min, (long long) max);
	*value = n;
	return EMB_OK;
}

EmbStatus
emb_json_get_double(const EmbJson *doc, const json_t *obj, const char *key,
					double min, double max, double *value, EmbError *err)
{
	json_t	   *v = lookup(obj, key);

	if (v == NULL)
		return EMB_OK;
	if (!json_is_number(v))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not a number", doc->file, key);
	if (!(json_number_value(v) >= min && json_number_value(v) <= max))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is %g, outside %g..%g", doc->file, key,
						 json_number_value(v), min, max);
	*value = json_number_value(v);
	return EMB_OK;
}

EmbStatus
emb_json_get_bool(const EmbJson *doc, const json_t *obj, const char *key, bool *value, EmbError *err)
{
	json_t	   *v = lookup(obj, key);

	if (v == NULL)
		return EMB_OK;
	if (!json_is_boolean(v))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not true or false", doc->file, key);
	*value = json_is_true(v);
	return EMB_OK;
}

EmbStatus
emb_json_get_string(const EmbJson *doc, const json_t *obj, const char *key, const char **value, EmbError *err)
{
	json_t	   *v = lookup(obj, key);

	if (v == NULL)
		return EMB_OK;
	if (!json_is_string(v))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not a string", doc->file, key);
	*value = json_string_value(v);
	return EMB_OK;
}

int
emb_json_clip(const char *s, int max)
{
	int			n = (int) strnlen(s, (size_t) max + 1);

	if (n <= max)
		return n;
	n = max;
	while (n > 0 && emb_utf8_is_inside((uint8_t) s[n]))
		n--;
	return n;
}
