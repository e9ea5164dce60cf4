/*
 * test_chunk_texts.c
 *		Generated texts cut into chunks by every kind of tokenizer: runs of white
 *		space, punctuation, digits, line ends, added tokens, marks, at the start, in
 *		the middle and at the end; chunks from the smallest on, overlaps from none to
 *		the largest, with prompts. No text is refused whose every character has room.
 */
#include <time.h>

#include "chunk_util.h"
#include "tok_util.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))
#define TEXT_BYTES_MAX	4096
#define TEXTS_PER_TOKENIZER	150		/* EMBED_TEXTS: another number */

static const char *const units[] = {
	" ", "  ", "\n", "\t", "\r\n", "\r", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\x83", "\xE2\x80\xA8", "\x0B",
	"a", "the ", "The end.", "word", " word", "un", "q", "aaaa", "abababa", "foo", "foobar", "\xC3\xA9", "e\xCC\x81", "\xCC\x81",
	"'s", "'ll", "don't ", "1", "42", "123456789", "\xD9\xA3", ".", ",", "--", "...", "!?", "(", "_", "#", "\xE3\x80\x82",
	"\xE4\xB8\xAD", "\xE4\xB8\xAD\xE6\x96\x87", "\xE3\x81\x82", "\xED\x95\x9C", "\xE1\x84\x92\xE1\x85\xA1", "\xE0\xA4\x95\xE0\xA5\x8D",
	"\xF0\x9F\x98\x80", "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x94\xAC", "\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD", "\xEF\xAC\x81", "\xEF\xB7\xBA", "\xE2\x80\x8B",
	"\x01", "[MASK]", "[SEP]", "<mask>", "<s>", "</s>", "<pad>", "<x>", "<|endoftext|>", "<|im_start|>", "|||IP_ADDRESS|||", "\xE2\x96\x81", "Caf\xC3\xA9",
	"http://a.b/c?d=e", "x=1;", "\tif (a) {\n\t\t"
};

static uint64_t seed;
static int	n_texts = TEXTS_PER_TOKENIZER;

static uint32_t
next_random(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t) (seed >> 33) % n;
}

/* A few runs of units; in half of the texts one kind of white space comes often. */
static size_t
make_text(char *text)
{
	int			n_runs = 1 + (int) next_random(12);
	uint32_t	space = next_random(22);
	size_t		len = 0;

	for (int i = 0; i < n_runs; i++)
	{
		const char *unit = units[space < 11 && next_random(2) == 0 ? space : next_random(N(units))];
		size_t		n = strlen(unit);
		uint32_t	times = next_random(4) > 0 ? 1 + next_random(3) : 1 + next_random(120);

		for (; times > 0 && len + n <= TEXT_BYTES_MAX; times--, len += n)
			memcpy(text + len, unit, n);
	}
	return len;
}

/* The smallest chunks, small ones, middling ones; overlaps of 0, 1, half, all but one. */
static EmbChunking
make_chunking(int n_around)
{
	static const int rooms[] = {1, 1, 2, 3, 4, 6, 8, 13, 32, 62, 64, 200};
	int			room = rooms[next_random(N(rooms))];
	const int	overlaps[] = {0, 0, 1, room / 2, room - 1};
	int			overlap = overlaps[next_random(N(overlaps))];

	return (EmbChunking) {EMB_PROMPT_DOCUMENT, n_around + room, overlap < room ? overlap : room - 1};
}

static void
test_texts(const char *name, EmbTokenizer *tok)
{
	static const char *const prompts[] = {"", "", "the document: ", "pre", "passage:  ", "a\n", "123", "<mask>"};
	char		text[TEXT_BYTES_MAX];
	int			n_chunks = 0;

	for (int i = 0; i < n_texts; i++)
	{
		uint64_t	before = seed;
		EmbModel	model = chunk_model(tok, prompts[next_random(N(prompts))], 512);
		int			n_around = (int) chunk_count(&model, EMB_PROMPT_DOCUMENT, "", 0);
		EmbChunking how = make_chunking(n_around);
		size_t		len = make_text(text);
		char	   *copy = malloc(len > 0 ? len : 1);	/* so that reading beyond its end is seen */
		ChunkFault	fault;
		int			n;

		memcpy(copy, text, len);
		n = chunk_check(&model, how, copy, len, &fault);
		free(copy);
		if (n < 0)
		{
			CHECKF(false, "%s, seed %llu, prompt \"%s\", %d tokens, overlap %d, chunk %d at %zu .. %zu: %s; text: %.*s", name, (unsigned long long) before,
				   model.info.document_prompt, how.max_tokens, how.overlap, fault.n, fault.chunk.start, fault.chunk.end, fault.what, (int) len, text);
			return;
		}
		n_chunks += n;
	}
	CHECKF(n_chunks > n_texts, "%s: %d chunks", name, n_chunks);
}

/* White space behind a sentence, as long as a chunk and longer or shorter: one chunk, the sentence. */
static void
test_spaces(const char *name, EmbTokenizer *tok)
{
	EmbModel	model = chunk_model(tok, "", 512);
	char		text[4096];
	int			n_around = emb_tok_n_special(tok, false);

	for (int unit = 0; unit < 11; unit++)
		for (int n = 0; n < 80; n += n < 3 || (n > 57 && n < 66) ? 1 : 5)
			for (int room = 62; room <= 64; room++)
			{
				EmbChunking how = {EMB_PROMPT_DOCUMENT, n_around + room, 0};
				EmbChunk	chunk = {0};
				EmbAllocator heap = emb_malloc_allocator();
				EmbError	err = {0};
				size_t		len = (size_t) sprintf(text, "The end.");
				EmbStatus	status;

				for (int i = 0; i < n; i++)
					len += (size_t) sprintf(text + len, "%s", units[unit]);
				status = emb_model_next_chunk(&model, &how, text, len, &heap, NULL, &chunk, &err);
				if (status == EMB_OK && chunk.start == 0 && chunk.end == 8)
					status = emb_model_next_chunk(&model, &how, text, len, &heap, NULL, &chunk, &err);
				if (status != EMB_OK || chunk.n_tokens != 0)
				{
					CHECKF(false, "%s: %d of white space %d, room %d: chunk %zu .. %zu; %s", name, n, unit, room, chunk.start, chunk.end, err.message);
					return;
				}
			}
	CHECK(true);
}

/* Seconds of this thread's CPU for all chunks of unit, repeated. */
static double
time_of(const EmbModel *model, const char *unit, size_t len, EmbChunking how, bool *ok)
{
	size_t		n = strlen(unit);
	size_t		whole = len - len % n;
	char	   *text = malloc(len);
	EmbAllocator heap = emb_malloc_allocator();
	EmbChunk	chunk = {0};
	EmbError	err;
	EmbStatus	status;
	struct timespec a,
				b;

	for (size_t i = 0; i < whole; i++)
		text[i] = unit[i % n];
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do
		status = emb_model_next_chunk(model, &how, text, whole, &heap, NULL, &chunk, &err);
	while (status == EMB_OK && chunk.n_tokens > 0);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	*ok = status == EMB_OK;
	free(text);
	return (double) (b.tv_sec - a.tv_sec) + 1e-9 * (double) (b.tv_nsec - a.tv_nsec);
}

/* Four times the text takes about four times as long, far from sixteen. */
static void
test_work(const char *name, EmbTokenizer *tok, size_t len)
{
	static const char *const runs[] = {" ", "a", "\n", "\r\n", "1", ".", "\xC2\xA0", "\xE3\x80\x80", "\xCC\x81", "word \t", "<mask> ", "x                                                                "};
	EmbModel	model = chunk_model(tok, "", 512);
	EmbChunking how = {EMB_PROMPT_DOCUMENT, emb_tok_n_special(tok, false) + 250, 32};

	for (int i = 0; i < N(runs); i++)
	{
		bool		ok[2];
		double		small,
					large;
		int			attempt = 0;

		/* a neighbour of this CPU may disturb one of the two, hardly three times */
		do
		{
			small = time_of(&model, runs[i], len / 4, how, &ok[0]);
			large = time_of(&model, runs[i], len, how, &ok[1]);
		} while (large >= 0.2 && large >= 10 * small && ++attempt < 3);
		CHECKF(ok[0] && ok[1] && (large < 0.2 || large < 10 * small), "%s: run %d: %.3f s of %zu bytes, %.3f s of %zu", name, i, small, len / 4, large, len);
		if (getenv("EMBED_VERBOSE") != NULL)
			printf("# %s: run %d: %.3f s of %zu bytes, %.3f s of %zu\n", name, i, small, len / 4, large, len);
	}
}

static void
test_tokenizer(const char *name, Tok *t)
{
	test_spaces(name, t->tok);
	test_texts(name, t->tok);
	test_work(name, t->tok, strcmp(name, "bpe_modern") == 0 ? 1 << 20 : 1 << 15);
}

/* Those of real models, where they are at hand. */
static void
test_real(void)
{
	static const char *const files[] = {"bert-uncased/tokenizer.json.xz", "xlm-roberta/tokenizer.json.xz", "qwen3/tokenizer.json.xz"};
	const char *shared = getenv("EMBED_SHARED");

	for (int i = 0; i < N(files); i++)
	{
		char		command[1024];
		json_t	   *json;
		Tok			t;
		EmbError	err;

		snprintf(command, sizeof(command), "xz -dc %s/tokenizers/%s 2>/dev/null", shared != NULL ? shared : "../shared", files[i]);
		json = json_from_command(command);
		if (json == NULL)
		{
			printf("# SKIPPED: no %s in EMBED_SHARED\n", files[i]);
			continue;
		}
		if (CHECKF(tok_from_json(json, &t, &err) == EMB_OK, "%s: %s", files[i], err.message))
		{
			test_tokenizer(files[i], &t);
			tok_close(&t);
		}
		json_decref(json);
	}
}

int
main(void)
{
	const char *given = getenv("EMBED_SEED");
	const char *many = getenv("EMBED_TEXTS");
	json_t	   *variants = json_from_data("variants.json");
	const char *name;
	json_t	   *variant;

	seed = given != NULL ? strtoull(given, NULL, 10) : UINT64_C(88172645463325252);
	n_texts = many != NULL ? atoi(many) : n_texts;
	json_object_foreach(variants, name, variant)
	{
		Tok			t;
		EmbError	err;

		if (CHECKF(tok_from_variant(variants, name, &t, &err) == EMB_OK, "%s: %s", name, err.message))
		{
			test_tokenizer(name, &t);
			tok_close(&t);
		}
	}
	CHECK(json_object_size(variants) > 20);
	json_decref(variants);
	test_real();
	return done_testing();
}
