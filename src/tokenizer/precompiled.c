/*
 * precompiled.c
 *		Applies SentencePiece's precompiled_charsmap like the library. An extended
 *		grapheme cluster of under 6 bytes is looked up as a whole: the first prefix
 *		that the map knows replaces the whole cluster. Longer clusters, and clusters
 *		that the map does not know, are looked up by code point.
 *
 * The map is a double array of Darts-clone (Yata), read in place. In a unit, bits
 * 0..7 and 31 are the label, bit 8 tells whether a value follows at label 0, and
 * bits 10..30 are an offset to XOR with, shifted by 8 more if bit 9 is set. A value
 * is an offset into the replacements. Units come in blocks of 256, so XOR with a
 * label stays inside the array if the unit's place does.
 */
#include "tokenizer/encode.h"

#include <string.h>

/* Longer clusters are read by code point. */
#define CLUSTER_BYTES_MAX	5

static inline uint32_t
unit_offset(uint32_t unit)
{
	return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static inline bool
unit_has_label(uint32_t unit, uint8_t byte)
{
	return (unit & 0x800000FFu) == byte;
}

static inline bool
unit_has_value(uint32_t unit)
{
	return (unit & 0x100u) != 0;
}

/* Finds the replacement that a unit's value points to. */
static EmbTokMapped
read_value(const EmbTokenizer *tok, uint32_t unit, uint32_t *at, uint32_t *end)
{
	uint32_t	n_text = tok->header->n_map_text;

	*at = unit & 0x7FFFFFFFu;
	if (*at > n_text)
		return EMB_TOK_MAP_CORRUPT;
	for (*end = *at; *end < n_text && tok->map_text[*end] != 0;)
		(*end)++;
	return EMB_TOK_MAP_FOUND;
}

EmbTokMapped
emb_tok_map_find(const EmbTokenizer *tok, const uint8_t *text, uint32_t n, uint32_t *at, uint32_t *end)
{
	const uint32_t *map = tok->map;
	uint32_t	n_units = tok->header->n_map_units;
	uint32_t	pos = n_units > 0 ? unit_offset(map[0]) : 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	unit;

		if (pos >= n_units)
			return EMB_TOK_MAP_CORRUPT;
		pos ^= text[i];
		unit = map[pos];
		if (!unit_has_label(unit, text[i]))
			return EMB_TOK_MAP_NONE;
		pos ^= unit_offset(unit);
		if (unit_has_value(unit))
			return pos < n_units ? read_value(tok, map[pos], at, end) : EMB_TOK_MAP_CORRUPT;
	}
	return EMB_TOK_MAP_NONE;
}

/* Whether a value's replacement starts at a character and is well-formed. */
static bool
value_is_good(const EmbTokenizer *tok, uint32_t unit)
{
	uint32_t	at,
				end;

	if (read_value(tok, unit, &at, &end) != EMB_TOK_MAP_FOUND)
		return false;
	return at == end || emb_utf8_is_text(tok->map_text + at, end - at);
}

/*
 * Visits once every node that some text reaches. No node may be outside the array,
 * no value outside the replacements. A node with a value counts as a leaf.
 */
EmbStatus
emb_tok_map_check(const EmbTokenizer *tok, EmbError *err)
{
	uint32_t	n_units = tok->header->n_map_units;
	uint32_t   *stack = emb_alloc_array(&tok->mem, n_units, sizeof(uint32_t));
	uint8_t    *seen = emb_alloc_zero(&tok->mem, n_units, 1);
	uint32_t	n_stack = 0;
	EmbStatus	status = EMB_OK;

	if (stack == NULL || seen == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory checking a character map of %u units", n_units);
	else if (n_units > 0 && unit_offset(tok->map[0]) < n_units)
	{
		stack[n_stack++] = unit_offset(tok->map[0]);
		seen[stack[0]] = 1;
	}
	else if (n_units > 0)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer's character map is corrupt at unit 0");
	while (status == EMB_OK && n_stack > 0)
	{
		uint32_t	pos = stack[--n_stack];

		for (uint32_t byte = 1; status == EMB_OK && byte < 256; byte++)
		{
			uint32_t	unit = tok->map[pos ^ byte];
			uint32_t	next = pos ^ byte ^ unit_offset(unit);

			if (!unit_has_label(unit, (uint8_t) byte))
				continue;
			if (next >= n_units || (unit_has_value(unit) && !value_is_good(tok, tok->map[next])))
				status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer's character map is corrupt at unit %u", pos ^ byte);
			else if (!unit_has_value(unit) && !seen[next])
			{
				seen[next] = 1;
				stack[n_stack++] = next;
			}
		}
	}
	emb_release(&tok->mem, stack);
	emb_release(&tok->mem, seen);
	return status;
}

/*
 * Printable ASCII starts a cluster, except after a prepended mark. So one byte is
 * enough to see the cluster's end.
 */
static inline bool
breaks_before_next(const EmbTokEncoder *e, const EmbTokPlace *at, int step)
{
	const EmbTokRaw *raw = &at->raw;
	uint8_t		before = at->steps[step].cluster.before & EMB_UNI_GC_CLASS;

	return step == 0 && raw->pos < e->len && raw->pos >= raw->skip_before &&
		(uint8_t) (e->text[raw->pos] - 0x20) < 0x5F && before != EMB_UNI_GC_PREPEND;
}

/*
 * Reads the rest of a cluster, whose first code point is in cluster[0 .. *n). *n
 * becomes the bytes of the cluster, or stays if the cluster is too long. *after: the
 * place after the cluster; set only if *n grew.
 */
static EmbTokEvent
read_cluster(EmbTokEncoder *e, const EmbTokPlace *at, int step, uint8_t cluster[CLUSTER_BYTES_MAX + EMB_UTF8_MAX_BYTES],
			 uint32_t *n, EmbTokPlace *after)
{
	EmbTokPlace ahead = *at;
	uint32_t	n_first = *n;

	for (;;)
	{
		uint32_t	cp;
		EmbTokEvent event = emb_tok_next_step(e, &ahead, step - 1, &cp);

		if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
			return event;
		if (event != EMB_TOK_CHAR || !emb_uni_cluster_take(&ahead.steps[step].cluster, cp))
			return EMB_TOK_CHAR;
		*n += emb_utf8_encode(cp, cluster + *n);
		if (*n > CLUSTER_BYTES_MAX)
		{
			*n = n_first;
			return EMB_TOK_CHAR;
		}
		*after = ahead;
	}
}

/* Looks up cp, which was just read, or its cluster. *replaced: the map has a replacement. */
static EmbTokEvent
replace(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t cp, bool *replaced)
{
	EmbTokStepPlace *s = &at->steps[step];
	bool		joins = emb_uni_cluster_take(&s->cluster, cp);
	uint8_t		text[CLUSTER_BYTES_MAX + EMB_UTF8_MAX_BYTES];
	uint32_t	n_first = (uint32_t) emb_utf8_encode(cp, text);
	uint32_t	n = n_first;
	uint32_t	map_at = 0,
				map_end = 0;
	EmbTokPlace after;
	EmbTokMapped mapped;

	if (!joins && !breaks_before_next(e, at, step))
	{
		EmbTokEvent event = read_cluster(e, at, step, text, &n, &after);

		if (event != EMB_TOK_CHAR)
			return event;
	}
	mapped = emb_tok_map_find(e->tok, text, n, &map_at, &map_end);
	if (mapped == EMB_TOK_MAP_CORRUPT)
		return emb_tok_corrupt(e);
	*replaced = mapped == EMB_TOK_MAP_FOUND;
	if (*replaced)
	{
		if (n > n_first)
			*at = after;
		s->map_at = map_at;
		s->map_end = map_end;
	}
	return EMB_TOK_CHAR;
}

EmbTokEvent
emb_tok_next_precompiled(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp)
{
	EmbTokStepPlace *s = &at->steps[step];
	bool		replaced = false;

	for (;;)
	{
		EmbTokEvent event;

		if (s->map_at < s->map_end)
		{
			int			n = emb_utf8_decode(e->tok->map_text + s->map_at, s->map_end - s->map_at, cp);

			if (n == 0)
				return emb_tok_corrupt(e);
			s->map_at += n;
			return EMB_TOK_CHAR;
		}
		event = emb_tok_next_step(e, at, step - 1, cp);
		if (event != EMB_TOK_CHAR)
		{
			memset(s, 0, sizeof(*s));
			return event;
		}
		event = replace(e, at, step, *cp, &replaced);
		if (event != EMB_TOK_CHAR || !replaced)
			return event;
	}
}
