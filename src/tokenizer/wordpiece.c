/*
 * wordpiece.c
 *		From a word to ids: the longest piece first, then the longest continuing
 *		piece, and so on. If that fails, the word is one unknown token (Wu et al.,
 *		2016).
 */
#include "tokenizer/encode.h"

bool
emb_tok_emit_word(EmbTokEncoder *e)
{
	const EmbTrie *pieces = &e->tok->pieces;
	const uint8_t *word = e->word;
	const uint32_t n_bytes = e->n_word_bytes;
	const int64_t n_ids_before = e->out.n_ids;
	uint32_t	start = 0;

	while (start < n_bytes)
	{
		uint32_t	node = start == 0 ? 0 : e->tok->header->prefix_node;
		uint32_t	best = EMB_TRIE_NONE;
		uint32_t	best_end = start;
		uint32_t	i;

		if (node == EMB_TRIE_NONE)
			break;
		for (i = start; i < n_bytes; i++)
		{
			node = emb_trie_step(pieces, node, word[i]);
			if (node == EMB_TRIE_NONE)
				break;
			if (emb_trie_has_value(pieces, node))
			{
				best = node;
				best_end = i + 1;
			}
		}
		/*
		 * Long walks that match little count as work, too. The characters
		 * themselves were counted before.
		 */
		if (i - best_end > 16 && emb_tok_work(e, (int32_t) (i - best_end)))
			return false;
		if (best == EMB_TRIE_NONE)
			break;
		if (!emb_tok_emit_id(e, pieces->values[best]))
			return false;
		start = best_end;
	}
	if (start == n_bytes)
		return true;

	/* Take back the pieces of a word that cannot be finished. */
	e->out.n_ids = n_ids_before;
	return emb_tok_emit_id(e, e->tok->header->unk_id);
}
