/*
 * spm_class.c
 *		BPE of characters as transformers' classes build it: GemmaTokenizer and
 *		LlamaTokenizer, from a tokenizer.json (hf_tokenizer_class.c) or from a
 *		tokenizer.model (spm_bpe.c).
 */
#include "import/hf_tokenizer_class.h"

#include <string.h>

/* Whether the vocabulary has a piece of a byte; without any, characters that are no piece are unknown. */
static bool
has_bytes(const EmbTokSpec *spec)
{
	return emb_tok_spec_find(spec, "<0x00>") >= 0 || emb_tok_spec_find(spec, "<0x0A>") >= 0 || emb_tok_spec_find(spec, "<0xE2>") >= 0;
}

static bool
splits_alike(const EmbTokSpec *a, const EmbTokSpec *b)
{
	return a->n_steps == b->n_steps && memcmp(a->steps, b->steps, (size_t) a->n_steps * sizeof(EmbTokStep)) == 0 &&
		a->meta == b->meta && a->split_meta == b->split_meta && a->prepend == b->prepend;
}

/* How characters without a piece are read. */
void
emb_tok_set_unknown_chars(EmbTokSpec *spec, bool byte_fallback, int32_t unk_id)
{
	spec->byte_fallback = byte_fallback && has_bytes(spec);
	spec->fuse_unk = true;
	spec->unk_id = unk_id;
	spec->ignore_merges = false;
}

/* U+0020 becomes U+2581, and a text is one word. */
static void
build_gemma(EmbTokFollow *f)
{
	EmbTokSpec *spec = f->spec;

	spec->n_steps = 0;
	spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_BLANKS, EMB_TOK_META};
	spec->meta = 0;
	spec->split_meta = false;
	spec->prepend = EMB_TOK_PREPEND_NEVER;
	emb_tok_set_unknown_chars(spec, true, emb_tok_role_id(f, EMB_TOK_IS_UNK));
}

/* The same by Metaspace, with a U+2581 before the text or before every segment. */
static EmbStatus
build_llama(EmbTokFollow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		prefix = true;
	bool		legacy = false;
	EmbStatus	status;

	if ((status = emb_json_get_bool(f->config, f->config->root, "add_prefix_space", &prefix, err)) != EMB_OK ||
		(status = emb_json_get_bool(f->config, f->config->root, "legacy", &legacy, err)) != EMB_OK)
		return status;
	spec->n_steps = 0;
	spec->meta = EMB_TOK_META;
	spec->split_meta = false;
	spec->prepend = !prefix ? EMB_TOK_PREPEND_NEVER : legacy ? EMB_TOK_PREPEND_ALWAYS : EMB_TOK_PREPEND_FIRST;
	emb_tok_set_unknown_chars(spec, true, -1);
	return EMB_OK;
}

EmbStatus
emb_tok_build_chars(EmbTokFollow *f, EmbError *err)
{
	EmbTokSpec	before = *f->spec;
	EmbTokSpec *spec = f->spec;
	bool		is_gemma = f->class->build == EMB_TOK_BUILD_GEMMA;
	EmbStatus	status = EMB_OK;

	if (is_gemma)
		build_gemma(f);
	else
		status = build_llama(f, err);
	/* a tokenizer.model says nothing that could differ */
	if (status != EMB_OK || f->spm != NULL)
		return status;
	if (!splits_alike(&before, spec))
		emb_tok_note_change(f, "spaces become U+2581, and %s", spec->prepend == EMB_TOK_PREPEND_NEVER ? "nothing comes before a text" :
							spec->prepend == EMB_TOK_PREPEND_FIRST ? "one comes before a text" : "one comes before a text and after every added token");
	if (before.byte_fallback != spec->byte_fallback)
		emb_tok_note_change(f, "characters without a piece are %s", spec->byte_fallback ? "bytes" : "unknown");
	if (!spec->byte_fallback && before.unk_id != spec->unk_id)
		emb_tok_note_change(f, "the unknown token has id %d", spec->unk_id);
	if (!spec->byte_fallback && !before.fuse_unk)
		emb_tok_note_change(f, "adjacent unknown characters are one token");
	if (before.ignore_merges)
		emb_tok_note_change(f, "words that are pieces are merged, too");
	return EMB_OK;
}
