/*
 * agreement.h
 *		How far two lists of results agree: quantiles, ranks, neighbours, and
 *		what they are called.
 *
 * Example:
 *
 *		EmbedAgreement agreement = embed_agreement_of(cosines, n);
 *		verdict = embed_verdict(EMBED_MEASURE_COSINE, &agreement);		// "same", "close", "different"
 */
#ifndef EMBED_PG_SQL_AGREEMENT_H
#define EMBED_PG_SQL_AGREEMENT_H

#include "pg/glue.h"

/* Neighbours and Kendall's tau take the square of the number of results: at most so many. */
#define EMBED_AGREEMENT_SQUARE_MAX	2000

/* Neighbours compared for a text, if there are enough texts. */
#define EMBED_AGREEMENT_NEIGHBOURS	10

typedef enum EmbedMeasure
{
	EMBED_MEASURE_COSINE,		/* of two vectors of one text */
	EMBED_MEASURE_OVERLAP,		/* share of the nearest neighbours that both have */
	EMBED_MEASURE_SCORE,		/* 1 - difference of two scores */
	EMBED_MEASURE_SPEARMAN,
	EMBED_MEASURE_KENDALL
} EmbedMeasure;

typedef struct EmbedAgreement
{
	int32		n;
	double		p50;			/* half of the values are at least as large */
	double		p05;			/* 95 of 100 are */
	double		min;
} EmbedAgreement;

/* n >= 1; sorts the values. */
extern EmbedAgreement embed_agreement_of(float *values, int32 n);

/* The thresholds of docs/operations.md: "same", "close" or "different". */
extern const char *embed_verdict(EmbedMeasure measure, const EmbedAgreement *agreement);

/* The thresholds in words, palloc'd. */
extern char *embed_verdict_rule(EmbedMeasure measure);

/*
 * Rank correlations of a and b, both [n], n >= 1; equal values share a rank. If
 * all values of a list are equal: 1 if those of the other are, too, else 0.
 * Serve cancels.
 */
extern double embed_spearman(const float *a, const float *b, int32 n);
extern double embed_kendall(const float *a, const float *b, int32 n);

/* Neighbours compared among n texts: 0 for less than 3 texts. */
extern int32 embed_n_neighbours(int32 n);

/*
 * shares[i]: the share of the k texts nearest to text i by a, that are also
 * nearest by b; vectors a: [n, a_dim], b: [n, b_dim]. Serves cancels.
 */
extern void embed_overlap(const float *a, int32 a_dim, const float *b, int32 b_dim, int32 n, int32 k, float *shares);

#endif
