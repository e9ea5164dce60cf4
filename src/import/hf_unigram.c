/*
 * hf_unigram.c
 *		A unigram model in tokenizer.json: vocabulary with scores, normalizer,
 *		pre-tokenizer.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "import/hf_tokenizer_readers.h"

#define SEQUENCE_DEPTH_MAX	8
#define ENTRIES_PER_ASK		8192

/* ---------------------------------------------------------------- scores */

/*
 * The last bit of a score may decide between two lattice paths, so scores must be
 * read exactly like the library reads them. The library's parser (serde_json) does
 * not round correctly: it takes the digits as an integer, rounds the integer to a
 * double, and divides or multiplies by a power of ten. For XLM-R, 65,856 of 250,002
 * scores differ by one unit. Jansson keeps only the correctly rounded value, so the
 * numbers are read again from the text of the file, which is known to be JSON.
 */
typedef struct Scan
{
	const char *p;
	const char *end;
} Scan;

static void
skip_space(Scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

/* Skips a required character and the white space around it. */
static bool
skip_char(Scan *s, char c)
{
	skip_space(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	skip_space(s);
	return true;
}

static bool
skip_string(Scan *s)
{
	if (s->p == s->end || *s->p != '"')
		return false;
	for (s->p++; s->p < s->end && *s->p != '"'; s->p++)
		if (*s->p == '\\' && s->end - s->p > 1)
			s->p++;
	if (s->p == s->end)
		return false;
	s->p++;
	return true;
}

/* Skips any value: strings, and everything between brackets. */
static bool
skip_value(Scan *s)
{
	int			depth = 0;

	do
	{
		skip_space(s);
		if (s->p == s->end)
			return false;
		if (*s->p == '"')
		{
			if (!skip_string(s))
				return false;
		}
		else if (*s->p == '{' || *s->p == '[')
		{
			depth++;
			s->p++;
		}
		else if (*s->p == '}' || *s->p == ']')
		{
			depth--;
			s->p++;
		}
		else if (depth > 0 && (*s->p == ',' || *s->p == ':'))
			s->p++;
		else
			do
				s->p++;
			while (s->p < s->end && strchr(",]} \t\r\n", *s->p) == NULL);
	} while (depth > 0);
	return depth == 0;
}

/* Moves from an object to the value at key. */
static bool
enter_key(Scan *s, const char *key)
{
	size_t		len = strlen(key);

	if (!skip_char(s, '{'))
		return false;
	do
	{
		const char *start = s->p;

		if (!skip_string(s))
			return false;
		if ((size_t) (s->p - start) == len + 2 && memcmp(start + 1, key, len) == 0)
			return skip_char(s, ':');
		if (!skip_char(s, ':') || !skip_value(s))
			return false;
	} while (skip_char(s, ','));
	return false;
}

/* 10 ** exponent, 0 <= exponent <= 308, correctly rounded. */
static double
power_of_ten(int exponent)
{
	char		text[16];

	snprintf(text, sizeof(text), "1e%d", exponent);
	return strtod(text, NULL);
}

/* serde_json's f64_from_parts */
static double
scale(uint64_t digits, int64_t exponent)
{
	double		value = (double) digits;

	while (exponent < -308 && value != 0.0)
	{
		value /= 1e308;
		exponent += 308;
	}
	if (value == 0.0)
		return 0.0;
	if (exponent > 308)
		return INFINITY;
	return exponent >= 0 ? value * power_of_ten((int) exponent) : value / power_of_ten((int) -exponent);
}

/* The number at s as the library reads it; infinite if the library refuses it. */
static double
read_number(Scan *s)
{
	bool		negative = s->p < s->end && *s->p == '-';
	bool		fraction = false;
	bool		full = false;	/* no more digits fit: the remaining digits count as zeros */
	uint64_t	digits = 0;
	int64_t		exponent = 0;
	double		value;

	s->p += negative;
	for (; s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || *s->p == '.'); s->p++)
	{
		uint64_t	digit = (uint64_t) (*s->p - '0');

		if (*s->p == '.')
		{
			fraction = true;
			full = false;
			continue;
		}
		full = full || digits > UINT64_MAX / 10 || (digits == UINT64_MAX / 10 && digit > UINT64_MAX % 10);
		if (!full)
			digits = digits * 10 + digit;
		/* A digit used after the point, or a digit skipped before it. */
		exponent += full ? !fraction : -fraction;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E'))
	{
		int64_t		written = 0;
		bool		down = false;

		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			down = *s->p++ == '-';
		for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
			if (written < 1000000)
				written = written * 10 + (*s->p - '0');
		exponent += down ? -written : written;
	}
	value = scale(digits, exponent);
	return negative ? -value : value;
}

/* Reads scores[0 .. n) from "model.vocab", an array of [piece, score]. */
static EmbStatus
read_scores(const EmbJson *doc, const EmbTokStorage *storage, double *scores, size_t n, EmbError *err)
{
	Scan		s = {storage->source, storage->source + storage->source_size};
	size_t		i = 0;
	bool		ok = enter_key(&s, "model") && enter_key(&s, "vocab") && skip_char(&s, '[');

	while (ok && i < n)
	{
		ok = skip_char(&s, '[') && skip_string(&s) && skip_char(&s, ',');
		if (ok)
			scores[i++] = read_number(&s);
		if (i % ENTRIES_PER_ASK == 0 && emb_should_stop(storage->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", doc->file);
		ok = ok && skip_char(&s, ']') && skip_char(&s, i < n ? ',' : ']');
	}
	if (!ok)
		return emb_error_at(err, EMB_ERR_FORMAT, s.p - storage->source,
							"%s: \"model.vocab\" cannot be read after entry %zu", doc->file, i);
	for (i = 0; i < n; i++)
		if (!isfinite(scores[i]))
			return emb_error(err, EMB_ERR_FORMAT, "%s: the score of vocabulary entry %zu is out of range", doc->file, i);
	return EMB_OK;
}

/* ----------------------------------------------------------------- model */

static EmbStatus
read_pieces(const EmbJson *doc, const json_t *vocab, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	size_t		n = json_array_size(vocab);
	EmbStatus	status;

	if (!json_is_array(vocab) || n == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"model.vocab\" is not an array of pieces with scores", doc->file);
	if (n > EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"model.vocab\" has %zu entries, more than %d", doc->file, n, EMB_TOK_MAX_VOCAB);
	storage->pieces = emb_alloc_zero(mem, n, sizeof(EmbTokPiece));
	storage->scores = emb_alloc_zero(mem, n, sizeof(double));
	if (storage->pieces == NULL || storage->scores == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%zu pieces)", doc->file, n);
	spec->pieces = storage->pieces;
	spec->scores = storage->scores;
	spec->n_vocab = (int32_t) n;
	for (size_t i = 0; i < n; i++)
	{
		const json_t *entry = json_array_get(vocab, i);
		const json_t *piece = json_array_get(entry, 0);

		if (i % ENTRIES_PER_ASK == ENTRIES_PER_ASK - 1 && emb_should_stop(storage->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", doc->file);
		if (json_array_size(entry) != 2 || !json_is_string(piece) || !json_is_number(json_array_get(entry, 1)))
			return emb_error(err, EMB_ERR_FORMAT, "%s: entry %zu of \"model.vocab\" is not a piece with its score", doc->file, i);
		if (json_string_length(piece) > UINT32_MAX)
			return emb_error(err, EMB_ERR_LIMIT, "%s: entry %zu of \"model.vocab\" is too long", doc->file, i);
		/* An empty piece never matches. */
		if (json_string_length(piece) > 0)
			spec->pieces[i] = (EmbTokPiece) {json_string_value(piece), (uint32_t) json_string_length(piece)};
	}
	status = read_scores(doc, storage, spec->scores, n, err);
	if (status == EMB_OK)
		status = emb_tok_spec_sort(spec, doc->file, mem, err);
	/* The library counts all entries, including equal ones. */
	storage->n_distinct = (int32_t) n;
	return status;
}

/*
 * The library looks up a run of unknown characters in the vocabulary again. It
 * can find the run only if a path of unknown tokens beats the piece itself. That
 * takes positive scores, or a piece that consists of several unknown tokens' texts.
 */
EmbStatus
emb_tok_spec_check_unknown(const char *file, const EmbTokSpec *spec, EmbError *err)
{
	const EmbTokPiece *unk = &spec->pieces[spec->unk_id];

	for (int32_t id = 0; id < spec->n_vocab; id++)
	{
		const EmbTokPiece *piece = &spec->pieces[id];
		EmbStatus	status = emb_tok_spec_work(spec, 2, file, err);

		if (status != EMB_OK)
			return status;
		if (spec->scores[id] > 0 && id == spec->unk_id)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: the unknown token has score %g, above 0", file, spec->scores[id]);
		if (unk->text != NULL && piece->len >= 2 * (uint64_t) unk->len && memcmp(piece->text, unk->text, unk->len) == 0 &&
			memcmp(piece->text + unk->len, unk->text, unk->len) == 0)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: vocabulary entry \"%.*s\" starts with two unknown tokens", file,
							 EMB_TOK_SHOW(piece->text));
	}
	for (int32_t id = 0; id < spec->n_vocab; id++)
		if (spec->scores[id] <= 0)
			return EMB_OK;
	return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: all scores are above 0", file);
}

static EmbStatus
read_unigram_model(const EmbJson *doc, const json_t *obj, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	bool		byte_fallback = false;
	int64_t		unk_id = 0;
	EmbStatus	status;

	if ((status = emb_json_get_bool(doc, obj, "byte_fallback", &byte_fallback, err)) != EMB_OK)
		return status;
	if (byte_fallback)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"model.byte_fallback\" is true, only false is supported", doc->file);
	if ((status = emb_tok_require(doc, obj, "model", "vocab", err)) != EMB_OK ||
		(status = read_pieces(doc, json_object_get(obj, "vocab"), mem, spec, err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "model", "unk_id", err)) != EMB_OK ||
		(status = emb_json_get_int(doc, obj, "unk_id", 0, spec->n_vocab - 1, &unk_id, err)) != EMB_OK)
		return status;
	spec->unk_id = (int32_t) unk_id;
	return emb_tok_spec_check_unknown(doc->file, spec, err);
}

/* ------------------------------------------------------------ normalizer */

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/*
 * Decodes text[0 .. n) (RFC 4648, padded); returns the bytes written, -1 if
 * the text is not base64.
 */
static int64_t
base64_decode(const char *text, size_t n, uint8_t *out)
{
	int64_t		n_out = 0;

	if (n % 4 != 0)
		return -1;
	for (size_t i = 0; i < n; i += 4)
	{
		int			n_digits = i + 4 < n || text[i + 3] != '=' ? 4 : text[i + 2] != '=' ? 3 : 2;
		uint32_t	bits = 0;

		for (int k = 0; k < 4; k++)
		{
			int			digit = k < n_digits ? base64_digit(text[i + k]) : 0;

			if (digit < 0)
				return -1;
			bits = bits << 6 | (uint32_t) digit;
		}
		if ((bits & ((1u << (8 * (4 - n_digits))) - 1)) != 0)
			return -1;
		for (int k = 0; k < n_digits - 1; k++)
			out[n_out++] = (uint8_t) (bits >> (16 - 8 * k));
	}
	return n_out;
}

static EmbStatus
read_precompiled(const EmbJson *doc, const json_t *obj, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	const char *text = NULL;
	int64_t		n;
	EmbStatus	status = emb_tok_require_string(doc, obj, "normalizer", "precompiled_charsmap", &text, err);

	if (status != EMB_OK)
		return status;
	if (storage->charsmap != NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"normalizer\" has more than one Precompiled", doc->file);
	storage->charsmap = emb_alloc(mem, strlen(text) / 4 * 3 + 3);
	if (storage->charsmap == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", doc->file);
	n = base64_decode(text, strlen(text), storage->charsmap);
	if (n <= 0 || n > INT32_MAX)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"normalizer.precompiled_charsmap\" is not base64", doc->file);
	spec->charsmap = (EmbTokPiece) {(const char *) storage->charsmap, (uint32_t) n};
	return EMB_OK;
}

/* The only code point in text, or 0. */
static uint32_t
single_char(const char *text)
{
	uint32_t	cp = 0;
	size_t		len = strlen(text);

	return len > 0 && (size_t) emb_utf8_decode((const uint8_t *) text, len, &cp) == len ? cp : 0;
}

/*
 * Replaces " {2,}" or " " by one character: the forms that converters of SentencePiece
 * models write.
 */
static EmbStatus
read_replace(const EmbJson *doc, const json_t *obj, EmbTokStepKind *kind, uint32_t *content, EmbError *err)
{
	const json_t *pattern = json_object_get(obj, "pattern");
	const char *regex = json_string_value(json_object_get(pattern, "Regex"));
	const char *string = json_string_value(json_object_get(pattern, "String"));
	const char *text = NULL;
	EmbStatus	status = emb_tok_require_string(doc, obj, "normalizer", "content", &text, err);

	if (status != EMB_OK)
		return status;
	if (regex == NULL && string == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"normalizer.pattern\" is neither a Regex nor a String", doc->file);
	if (regex != NULL ? strcmp(regex, " {2,}") != 0 : strcmp(string, " ") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"normalizer.pattern.%s\" is \"%.*s\", only the Regex \" {2,}\" and the String \" \" are supported",
						 doc->file, regex != NULL ? "Regex" : "String", EMB_TOK_SHOW(regex != NULL ? regex : string));
	*kind = regex != NULL ? EMB_TOK_STEP_COLLAPSE : EMB_TOK_STEP_BLANKS;
	*content = single_char(text);
	if (*content == 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"normalizer.content\" is \"%.*s\", only one character is supported",
						 doc->file, EMB_TOK_SHOW(text));
	return EMB_OK;
}

/* {"type": "Prepend", "prepend": "_"} */
static EmbStatus
read_prepend(const EmbJson *doc, const json_t *obj, uint32_t *content, EmbError *err)
{
	const char *text = NULL;
	EmbStatus	status = emb_tok_require_string(doc, obj, "normalizer", "prepend", &text, err);

	if (status != EMB_OK)
		return status;
	*content = single_char(text);
	return *content != 0 ? EMB_OK : emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"normalizer.prepend\" is \"%.*s\", only one character is supported",
											  doc->file, EMB_TOK_SHOW(text));
}

static EmbStatus
add_step(const EmbJson *doc, EmbTokSpec *spec, EmbTokStepKind kind, uint32_t arg, EmbError *err)
{
	if (spec->n_steps == EMB_TOK_MAX_STEPS)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"normalizer\" has more than %d steps", doc->file, EMB_TOK_MAX_STEPS);
	spec->steps[spec->n_steps++] = (EmbTokStep) {kind, arg};
	return EMB_OK;
}

/* A step without keys. */
static EmbStatus
add_plain_step(const EmbJson *doc, EmbTokSpec *spec, const char *type, EmbTokStepKind kind, EmbError *err)
{
	for (int i = 0; i < spec->n_steps && emb_tok_step_is_form(kind); i++)
		if (emb_tok_step_is_form(spec->steps[i].kind))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: %s is step %d of \"normalizer\" after another of NFC, NFD, NFKC and NFKD, only one of them is supported",
							 doc->file, type, spec->n_steps + 1);
	return add_step(doc, spec, kind, 0, err);
}

static EmbStatus
read_step(const EmbJson *doc, const json_t *obj, int depth, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	static const char wanted[] = "Precompiled, NFC, NFD, NFKC, NFKD, Nmt, Strip, StripAccents, Replace, Prepend, Lowercase and a Sequence of them";
	static const struct
	{
		const char *type;
		EmbTokStepKind kind;
	}			plain[] =
	{
		{"Lowercase", EMB_TOK_STEP_LOWERCASE},
		{"NFC", EMB_TOK_STEP_NFC},
		{"NFD", EMB_TOK_STEP_NFD},
		{"NFKC", EMB_TOK_STEP_NFKC},
		{"NFKD", EMB_TOK_STEP_NFKD},
		{"Nmt", EMB_TOK_STEP_NMT},
		{"StripAccents", EMB_TOK_STEP_STRIP_ACCENTS}
	};
	const json_t *list = json_object_get(obj, "normalizers");
	const char *type = NULL;
	bool		left = false,
				right = false;
	uint32_t	content = 0;
	EmbStatus	status;

	if (!json_is_object(obj))
		return emb_error(err, EMB_ERR_FORMAT, "%s: a step of \"normalizer\" is not an object", doc->file);
	if ((status = emb_json_get_string(doc, obj, "type", &type, err)) != EMB_OK)
		return status;
	if (type != NULL && strcmp(type, "Sequence") == 0)
	{
		if (!json_is_array(list) || depth == SEQUENCE_DEPTH_MAX)
			return emb_error(err, EMB_ERR_FORMAT, "%s: a Sequence of \"normalizer\" has no list of normalizers, or is too deep", doc->file);
		for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
			status = read_step(doc, json_array_get(list, i), depth + 1, mem, spec, err);
		return status;
	}
	if (type != NULL && strcmp(type, "Precompiled") == 0)
	{
		status = read_precompiled(doc, obj, mem, spec, err);
		return status != EMB_OK ? status : add_step(doc, spec, EMB_TOK_STEP_PRECOMPILED, 0, err);
	}
	if (type != NULL && strcmp(type, "Strip") == 0)
	{
		if ((status = emb_tok_require_bool(doc, obj, "normalizer", "strip_left", &left, err)) != EMB_OK ||
			(status = emb_tok_require_bool(doc, obj, "normalizer", "strip_right", &right, err)) != EMB_OK)
			return status;
		return add_step(doc, spec, EMB_TOK_STEP_STRIP, (left ? EMB_TOK_STRIP_LEFT : 0) | (right ? EMB_TOK_STRIP_RIGHT : 0), err);
	}
	if (type != NULL && strcmp(type, "Replace") == 0)
	{
		EmbTokStepKind kind = EMB_TOK_STEP_COLLAPSE;

		status = read_replace(doc, obj, &kind, &content, err);
		return status != EMB_OK ? status : add_step(doc, spec, kind, content, err);
	}
	if (type != NULL && strcmp(type, "Prepend") == 0)
	{
		status = read_prepend(doc, obj, &content, err);
		return status != EMB_OK ? status : add_step(doc, spec, EMB_TOK_STEP_PREPEND, content, err);
	}
	for (size_t i = 0; type != NULL && i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strcmp(type, plain[i].type) == 0)
			return add_plain_step(doc, spec, type, plain[i].kind, err);
	return emb_tok_refuse_component(doc, "normalizer", type, wanted, err);
}

EmbStatus
emb_tok_read_steps(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const json_t *normalizer = json_object_get(doc->root, "normalizer");

	return normalizer == NULL || json_is_null(normalizer) ? EMB_OK : read_step(doc, normalizer, 0, mem, spec, err);
}

/* --------------------------------------------------------- pre-tokenizer */

/*
 * {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
 * "split": true}, the last two with these defaults; files from before 2024
 * have a bool add_prefix_space instead.
 */
EmbStatus
emb_tok_read_metaspace(const EmbJson *doc, const json_t *obj, EmbTokSpec *spec, EmbError *err)
{
	const char *replacement = NULL;
	const char *scheme = "always";
	bool		add_prefix = true;
	EmbStatus	status;

	spec->split_meta = true;
	if ((status = emb_tok_require_string(doc, obj, "pre_tokenizer", "replacement", &replacement, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "split", &spec->split_meta, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "add_prefix_space", &add_prefix, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, obj, "prepend_scheme", &scheme, err)) != EMB_OK)
		return status;
	spec->meta = single_char(replacement);
	if (spec->meta == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"pre_tokenizer.replacement\" is \"%.*s\", not one character",
						 doc->file, EMB_TOK_SHOW(replacement));
	if (strcmp(scheme, "always") == 0)
		spec->prepend = EMB_TOK_PREPEND_ALWAYS;
	else if (strcmp(scheme, "first") == 0)
		spec->prepend = EMB_TOK_PREPEND_FIRST;
	else if (strcmp(scheme, "never") == 0)
		spec->prepend = EMB_TOK_PREPEND_NEVER;
	else
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer.prepend_scheme\" is \"%.*s\", not always, first or never",
						 doc->file, EMB_TOK_SHOW(scheme));
	if (!add_prefix && spec->prepend != EMB_TOK_PREPEND_NEVER)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"pre_tokenizer.add_prefix_space\" is false, but its prepend_scheme is \"%s\"",
						 doc->file, scheme);
	return EMB_OK;
}

/* Metaspace, or WhitespaceSplit and Metaspace. */
static EmbStatus
read_metaspace_splitting(const EmbJson *doc, EmbTokSpec *spec, EmbError *err)
{
	const json_t *whitespace;
	const json_t *metaspace;
	EmbStatus	status = emb_tok_get_splitting(doc, "WhitespaceSplit", "Metaspace", &whitespace, &metaspace, err);

	if (status != EMB_OK || (status = emb_tok_read_metaspace(doc, metaspace, spec, err)) != EMB_OK)
		return status;
	spec->split_spaces = whitespace != NULL;
	if (spec->split_spaces && spec->prepend == EMB_TOK_PREPEND_FIRST)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer.prepend_scheme\" is \"first\" after WhitespaceSplit, "
						 "only always and never are supported there", doc->file);
	return EMB_OK;
}

void
emb_tok_spec_make_unigram(EmbTokSpec *spec)
{
	spec->model = EMB_TOK_UNIGRAM;
	spec->clean_text = spec->handle_chinese_chars = spec->strip_accents = spec->lowercase = false;
	spec->continuing_prefix = (EmbTokPiece) {"", 0};
	spec->max_chars_per_word = 0;
}

EmbStatus
emb_tok_read_unigram(const EmbJson *doc, const json_t *model, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = read_unigram_model(doc, model, mem, spec, err);

	emb_tok_spec_make_unigram(spec);
	if (status == EMB_OK)
		status = emb_tok_read_steps(doc, mem, spec, err);
	return status != EMB_OK ? status : read_metaspace_splitting(doc, spec, err);
}
