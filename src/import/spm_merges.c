/*
 * spm_merges.c
 *		The merges of a vocabulary that has none: SentencePiece's BPE, of which
 *		files keep the pieces only.
 *
 * Two pieces merge if their texts together are a piece. A piece of n characters
 * can be cut at n - 1 places, and both parts must be pieces. All parts are found
 * without searching: in sorted order the longest piece that begins another one is
 * an ancestor of the piece before it, and likewise for ends, in the order of the
 * reversed texts. So a vocabulary costs two sorts, and walks of its total length.
 */
#include <string.h>

#include "common/sort.h"
#include "import/hf_tokenizer_readers.h"

typedef struct Parts
{
	const EmbTokSpec *spec;
	const char *file;
	int32_t    *starts;			/* [n_vocab] the longest other piece that the piece begins with, or -1 */
	int32_t    *ends;			/* [n_vocab] the same for its end */
	int32_t    *lefts;			/* [longest piece] the pieces that a piece begins with, the shortest last */
	EmbError   *err;
} Parts;

static bool
begins_with(const EmbTokPiece *piece, const EmbTokPiece *start)
{
	return start->len < piece->len && memcmp(piece->text, start->text, start->len) == 0;
}

static bool
ends_with(const EmbTokPiece *piece, const EmbTokPiece *end)
{
	return end->len < piece->len && memcmp(piece->text + piece->len - end->len, end->text, end->len) == 0;
}

/* Fills parts for the ids in sorted order. */
static EmbStatus
link_parts(const Parts *p, const int32_t *ids, int32_t n, bool (*has) (const EmbTokPiece *piece, const EmbTokPiece *part), int32_t *parts)
{
	const EmbTokPiece *pieces = p->spec->pieces;
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; i < n && status == EMB_OK; i++)
	{
		int32_t		part = i > 0 ? ids[i - 1] : -1;

		while (part >= 0 && !has(&pieces[ids[i]], &pieces[part]))
			part = parts[part];
		parts[ids[i]] = part;
		status = emb_tok_spec_work(p->spec, EMB_TOK_ENTRY_WORK + pieces[ids[i]].len / 8, p->file, p->err);
	}
	return status;
}

/* By the reversed texts. */
static int
compare_reversed(const void *a, const void *b, void *ctx)
{
	const EmbTokPiece *x = (const EmbTokPiece *) ctx + *(const int32_t *) a;
	const EmbTokPiece *y = (const EmbTokPiece *) ctx + *(const int32_t *) b;
	uint32_t	n = x->len < y->len ? x->len : y->len;

	for (uint32_t i = 1; i <= n; i++)
	{
		uint8_t		c = (uint8_t) x->text[x->len - i];
		uint8_t		d = (uint8_t) y->text[y->len - i];

		if (c != d)
			return c < d ? -1 : 1;
	}
	return (x->len > y->len) - (x->len < y->len);
}

static EmbStatus
link_ends(const Parts *p, const EmbAllocator *mem)
{
	const EmbTokStorage *storage = p->spec->storage;
	size_t		n = (size_t) storage->n_sorted;
	int32_t    *ids = emb_alloc_array(mem, n + 1, sizeof(int32_t));
	EmbStatus	status;

	if (ids == NULL)
		return emb_error(p->err, EMB_ERR_NOMEM, "out of memory reading %s", p->file);
	memcpy(ids, storage->sorted, n * sizeof(int32_t));
	status = emb_sort(ids, n, sizeof(int32_t), compare_reversed, p->spec->pieces, mem, storage->stop, "sorting a vocabulary", p->err);
	if (status == EMB_OK)
		status = link_parts(p, ids, storage->n_sorted, ends_with, p->ends);
	emb_release(mem, ids);
	return status;
}

/* The merges that lead to a piece, those with the shortest left parts first. Returns their number; to: NULL only counts. */
static int32_t
cut_piece(const Parts *p, int32_t id, EmbTokMerge *to)
{
	const EmbTokPiece *pieces = p->spec->pieces;
	int32_t		n_lefts = 0;
	int32_t		n = 0;

	for (int32_t left = p->starts[id]; left >= 0; left = p->starts[left])
		p->lefts[n_lefts++] = left;
	/* ends get shorter while starts get longer */
	for (int32_t right = p->ends[id]; right >= 0; right = p->ends[right])
	{
		uint32_t	len = pieces[id].len - pieces[right].len;

		while (n_lefts > 0 && pieces[p->lefts[n_lefts - 1]].len < len)
			n_lefts--;
		if (n_lefts == 0)
			break;
		if (pieces[p->lefts[n_lefts - 1]].len != len)
			continue;
		if (to != NULL)
			to[n] = (EmbTokMerge) {p->lefts[n_lefts - 1], right, id};
		n++;
	}
	return n;
}

static EmbStatus
cut_pieces(const Parts *p, const int32_t *order, EmbTokMerge *to, int64_t *n)
{
	const EmbTokSpec *spec = p->spec;
	EmbStatus	status = EMB_OK;

	*n = 0;
	for (int32_t i = 0; i < spec->n_vocab && status == EMB_OK; i++)
	{
		int32_t		id = order != NULL ? order[i] : i;

		if (spec->pieces[id].text != NULL)
			*n += cut_piece(p, id, to != NULL ? to + *n : NULL);
		status = emb_tok_spec_work(spec, 4 + spec->pieces[id].len, p->file, p->err);
	}
	return status;
}

static EmbStatus
derive(const Parts *p, const int32_t *order, EmbTokSpec *spec, const EmbAllocator *mem)
{
	EmbTokStorage *storage = spec->storage;
	int64_t		n = 0;
	EmbStatus	status;

	if ((status = link_parts(p, storage->sorted, storage->n_sorted, begins_with, p->starts)) != EMB_OK ||
		(status = link_ends(p, mem)) != EMB_OK ||
		(status = cut_pieces(p, order, NULL, &n)) != EMB_OK)
		return status;
	if (n > EMB_TOK_MAX_VOCAB)
		return emb_error(p->err, EMB_ERR_LIMIT, "%s has pieces for %lld merges, more than %d", p->file, (long long) n, EMB_TOK_MAX_VOCAB);
	storage->merges = spec->merges = emb_alloc_array(mem, (size_t) n + 1, sizeof(EmbTokMerge));
	if (spec->merges == NULL)
		return emb_error(p->err, EMB_ERR_NOMEM, "out of memory reading %s (%lld merges)", p->file, (long long) n);
	status = cut_pieces(p, order, spec->merges, &n);
	spec->n_merges = (int32_t) n;
	return status;
}

EmbStatus
emb_tok_spec_derive_merges(EmbTokSpec *spec, const char *file, const int32_t *order, const EmbAllocator *mem, EmbError *err)
{
	Parts		p = {.spec = spec, .file = file, .err = err};
	size_t		n = (size_t) spec->n_vocab;
	uint32_t	longest = 0;
	EmbStatus	status;

	for (size_t id = 0; id < n; id++)
		if (spec->pieces[id].text != NULL && spec->pieces[id].len > longest)
			longest = spec->pieces[id].len;
	p.starts = emb_alloc_array(mem, n + 1, sizeof(int32_t));
	p.ends = emb_alloc_array(mem, n + 1, sizeof(int32_t));
	p.lefts = emb_alloc_array(mem, (size_t) longest + 1, sizeof(int32_t));
	if (p.starts == NULL || p.ends == NULL || p.lefts == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%zu pieces)", file, n);
	else
		status = derive(&p, order, spec, mem);
	emb_release(mem, p.starts);
	emb_release(mem, p.ends);
	emb_release(mem, p.lefts);
	return status;
}
