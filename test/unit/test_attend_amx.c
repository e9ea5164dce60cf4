/*
 * test_attend_amx.c
 *		Attention of level amx on a model of its tiles, for all numbers of queries
 *		and keys, also those that the level leaves to AVX-512 VNNI.
 */
#include "unit.h"

#if defined(__x86_64__)

#include "amx_model.h"

#define QUERIES_MIN	1
#define SCORES_MIN	1
#define emb_attend_i8_amx emb_attend_i8_amx_on_model
extern emb_op_attend_i8 emb_attend_i8_amx_on_model;
#include "kernels/attend_amx.c"
#undef emb_attend_i8_amx

#include "attend_cases.h"

/* Products of the queries, in tiles, with all keys and values. */
static long
count_products(const EmbAttendI8 *a)
{
	long		n_tiles = (a->n_queries + 15) / 16;
	long		n_panels = (a->head.n_tokens + 15) / 16;

	return n_tiles * (n_panels * ((a->head.head_size + 63) / 64) + (n_panels + 3) / 4 * ((a->head.head_size + 15) / 16));
}

/* Counts the products of tiles: causal attention has fewer. */
static void
attend_i8_amx_modelled(const EmbAttendI8 *a)
{
	long		n_before = amx_model.n_products;
	long		n_all = a->head.head_size <= HEAD_SIZE_MAX ? count_products(a) : 0;
	long		n_products;

	emb_attend_i8_amx_on_model(a);
	n_products = amx_model.n_products - n_before;
	if (a->n_seen > 0 && n_products > 0 && n_products <= n_all)
		n_all = n_products;
	amx_model_expect(n_before + n_all, a->n_queries, a->head.head_size, a->head.n_tokens);
}

int
main(void)
{
	EmbFpState	fp = emb_fp_enter();

	prepare_kernels();
	if (emb_cpu_has_avx512vnni())
	{
		/* the other levels are test_attend's */
		n_attend_i8 = 1;
		ADD_KERNEL(attend_i8, ON_MODEL, attend_i8_amx_modelled);
		test_attend();
	}
	else
		skip("this CPU cannot run attend_i8 of amx, not even on a model of its tiles");
	emb_fp_leave(fp);
	return done_testing();
}

#else

int
main(void)
{
	skip("no x86-64");
	return done_testing();
}

#endif
