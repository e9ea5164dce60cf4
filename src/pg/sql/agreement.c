/*
 * agreement.c
 *		How far two lists of results agree.
 */
#include "pg/sql/agreement.h"

#include <math.h>

#include "miscadmin.h"

/* ------------------------------------------------------------ verdicts */

/*
 * same: what rounding on other machines explains, or for ranks an int8 image of
 * the same model. close: what a good int4 image reaches (cosine 0.98 to 0.99,
 * worst 0.92, Spearman 0.992); int4 by mere rounding (0.95) does not.
 */
typedef struct Thresholds
{
	double		same_p50;
	double		same_min;
	double		close_p50;
	double		close_min;
} Thresholds;

static const Thresholds thresholds[] = {
	[EMBED_MEASURE_COSINE] = {0.9999, 0.9999, 0.98, 0.9},
	[EMBED_MEASURE_OVERLAP] = {0.99, 0.8, 0.8, 0},
	[EMBED_MEASURE_SCORE] = {0.9999, 0.9999, 0.98, 0.9},
	[EMBED_MEASURE_SPEARMAN] = {0.999, 0.999, 0.99, 0.99},
	[EMBED_MEASURE_KENDALL] = {0.97, 0.97, 0.9, 0.9},
};

const char *
embed_verdict(EmbedMeasure measure, const EmbedAgreement *agreement)
{
	const Thresholds *t = &thresholds[measure];

	/* a NaN is different */
	if (agreement->p50 >= t->same_p50 && agreement->min >= t->same_min)
		return "same";
	return agreement->p50 >= t->close_p50 && agreement->min >= t->close_min ? "close" : "different";
}

char *
embed_verdict_rule(EmbedMeasure measure)
{
	const Thresholds *t = &thresholds[measure];

	return psprintf("same: p50 >= %g and min >= %g; close: p50 >= %g and min >= %g", t->same_p50, t->same_min,
					t->close_p50, t->close_min);
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

EmbedAgreement
embed_agreement_of(float *values, int32 n)
{
	qsort(values, n, sizeof(float), compare_floats);
	return (EmbedAgreement) {.n = n, .p50 = values[(n - 1) / 2], .p05 = values[(n - 1) / 20], .min = values[0]};
}

/* --------------------------------------------------------------- ranks */

typedef struct Ranked
{
	float		value;
	int32		at;
} Ranked;

static int
compare_ranked(const void *a, const void *b)
{
	float		x = ((const Ranked *) a)->value;
	float		y = ((const Ranked *) b)->value;

	return (x > y) - (x < y);
}

/* Ranks, minus their mean; equal values have their mean rank. palloc'd. */
static double *
centred_ranks(const float *values, int32 n)
{
	Ranked	   *sorted = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(Ranked));
	double	   *ranks = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(double));

	for (int32 i = 0; i < n; i++)
		sorted[i] = (Ranked) {values[i], i};
	qsort(sorted, n, sizeof(Ranked), compare_ranked);
	for (int32 i = 0, end; i < n; i = end)
	{
		for (end = i + 1; end < n && sorted[end].value == sorted[i].value; end++)
			;
		for (int32 j = i; j < end; j++)
			ranks[sorted[j].at] = (i + end - 1) / 2.0 - (n - 1) / 2.0;
	}
	pfree(sorted);
	return ranks;
}

/* What a rank correlation is where a list has no order. */
static double
without_order(double spread_a, double spread_b)
{
	return spread_a == 0 && spread_b == 0 ? 1 : 0;
}

double
embed_spearman(const float *a, const float *b, int32 n)
{
	double	   *ranks_a = centred_ranks(a, n);
	double	   *ranks_b = centred_ranks(b, n);
	double		aa = 0;
	double		bb = 0;
	double		ab = 0;

	CHECK_FOR_INTERRUPTS();
	for (int32 i = 0; i < n; i++)
	{
		aa += ranks_a[i] * ranks_a[i];
		bb += ranks_b[i] * ranks_b[i];
		ab += ranks_a[i] * ranks_b[i];
	}
	pfree(ranks_a);
	pfree(ranks_b);
	return aa == 0 || bb == 0 ? without_order(aa, bb) : Min(ab / sqrt(aa * bb), 1);
}

static int
sign_of(float x)
{
	return (x > 0) - (x < 0);
}

/* tau-b, by its definition. */
double
embed_kendall(const float *a, const float *b, int32 n)
{
	int64		agreeing = 0;
	int64		ordered_a = 0;
	int64		ordered_b = 0;

	for (int32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int32 j = i + 1; j < n; j++)
		{
			int			order_a = sign_of(a[i] - a[j]);
			int			order_b = sign_of(b[i] - b[j]);

			agreeing += order_a * order_b;
			ordered_a += order_a != 0;
			ordered_b += order_b != 0;
		}
	}
	if (ordered_a == 0 || ordered_b == 0)
		return without_order(ordered_a, ordered_b);
	return agreeing / sqrt((double) ordered_a * ordered_b);
}

/* ---------------------------------------------------------- neighbours */

int32
embed_n_neighbours(int32 n)
{
	/* among few texts, most are neighbours */
	return n < 3 ? 0 : Min(EMBED_AGREEMENT_NEIGHBOURS, (n - 1) / 2);
}

/* nearest: the k texts nearest to text i, best first; of equally near texts the first. */
static void
find_nearest(const float *vectors, int32 dim, int32 n, int32 i, int32 k, int32 *nearest)
{
	float		cosines[EMBED_AGREEMENT_NEIGHBOURS];
	int32		n_found = 0;

	for (int32 j = 0; j < n; j++)
	{
		float		cosine;
		int32		at;

		if (j == i)
			continue;
		cosine = emb_cosine(vectors + (Size) i * dim, vectors + (Size) j * dim, dim);
		if (n_found == k && cosine <= cosines[k - 1])
			continue;
		if (n_found < k)
			n_found++;
		for (at = n_found - 1; at > 0 && cosines[at - 1] < cosine; at--)
		{
			cosines[at] = cosines[at - 1];
			nearest[at] = nearest[at - 1];
		}
		cosines[at] = cosine;
		nearest[at] = j;
	}
}

void
embed_overlap(const float *a, int32 a_dim, const float *b, int32 b_dim, int32 n, int32 k, float *shares)
{
	for (int32 i = 0; i < n; i++)
	{
		int32		nearest_a[EMBED_AGREEMENT_NEIGHBOURS];
		int32		nearest_b[EMBED_AGREEMENT_NEIGHBOURS];
		int32		n_both = 0;

		CHECK_FOR_INTERRUPTS();
		find_nearest(a, a_dim, n, i, k, nearest_a);
		find_nearest(b, b_dim, n, i, k, nearest_b);
		for (int32 x = 0; x < k; x++)
		{
			for (int32 y = 0; y < k; y++)
				n_both += nearest_a[x] == nearest_b[y];
		}
		shares[i] = (float) n_both / k;
	}
}
