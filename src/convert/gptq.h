/*
 * gptq.h
 *		Quantizes the weights of a linear layer to 4 bits so that errors cancel
 *		in its outputs (GPTQ: Frantar et al. 2022; in the equivalent form of
 *		LDLQ: Chee et al. 2023, "QuIP", equation 2 and theorem 6).
 *
 * With X the inputs on calibration texts, H = X^T X + damping, and H = R^T D R
 * with R upper triangular of ones: channels are rounded one after the other,
 * the strongest first, each after the errors e of those before it are added,
 *
 *		q_k = Q(w_k + sum over earlier j of R[k][j] e_j),	e_k = w_k - q_k
 *
 * Scales and zero points of the groups are found before, so a group is what
 * the inputs' order says, whatever the order of rounding. Scales are values of
 * binary16.
 *
 * Example:
 *
 *		EmbGptq	g;
 *		emb_gptq_begin(&g, n_max, &team, works, mem);						// false: no memory
 *		emb_gptq_set_input(&g, &rows);										// false: stopped
 *		emb_gptq_panel(&g, worker, panel, n_outputs, smooth, 128, &out, &overflown);	// for each panel, from any worker
 *		emb_gptq_end(&g);
 *
 * The same bits on every CPU and for any number of threads: products of X are
 * those of gemm_f32, added up in double in the order of the rows; the
 * factorization is in double, every element's sums in one order, without fused
 * operations.
 */
#ifndef EMB_CONVERT_GPTQ_H
#define EMB_CONVERT_GPTQ_H

#include "common/mem.h"
#include "threads/team.h"
#include "transformer/work.h"

/* Inputs of a linear layer as the engine quantizes them: x = (code - zero) * scale. */
typedef struct EmbCodeRows
{
	int32_t		n;				/* channels */
	int32_t		n_rows;
	size_t		stride;			/* bytes */
	const uint8_t *codes;		/* [n_rows, n] */
	const float *scales;		/* [n_rows] */
	const int32_t *zeros;		/* [n_rows] */
} EmbCodeRows;

typedef struct EmbGptq
{
	EmbAllocator mem;
	const EmbTeam *team;
	EmbWork   **works;			/* [team->n_workers] */
	size_t		matrix_bytes;
	int32_t		n;				/* channels of the current input */
	int32_t		stride;			/* elements of a row: n rounded up to a panel */
	int32_t    *order;			/* [n] channels, the weakest first */
	double	   *energies;		/* [n] by channel: sum of squares and damping, in H's diagonal */
	void	   *matrix;			/* H [n, stride] in double, upper half; then R [n, stride] in float without its diagonal */
	float	   *columns;		/* [n, chunk] of x, by the order */
	float	   *panels;			/* the same packed as B of gemm_f32 */
	float	   *scratch;		/* [n_workers][scratch_elems] */
	size_t		scratch_elems;
	const EmbCodeRows *rows;	/* while H is added up */
	int32_t		first_row;
	int32_t		n_chunk;
	int32_t		block;			/* of the factorization */
	double		least;			/* pivot */
} EmbGptq;

/* A panel's quantized weights: w = (code - zero) * scale, missing outputs are zeros. */
typedef struct EmbGptqPanel
{
	uint8_t    *codes;			/* [16, n] */
	float	   *scales;			/* [groups, 16] */
	uint8_t    *zeros;			/* [groups, 16] */
} EmbGptqPanel;

/*
 * n_max: channels of the widest input. works: the account of each worker. The
 * memory is about 8 n_max^2 bytes. After false, too: emb_gptq_end.
 */
extern bool emb_gptq_begin(EmbGptq *g, int32_t n_max, const EmbTeam *team, EmbWork **works, const EmbAllocator *mem);
extern void emb_gptq_end(EmbGptq *g);

/* Adds H up and factors it, on all workers. n_rows n^2 / 2 + n^3 / 6 multiply-adds. False: stopped. */
extern bool emb_gptq_set_input(EmbGptq *g, const EmbCodeRows *rows);

/*
 * panel: [n][16] fp32 (emb_pack_f32_panel), times smooth [n]; the first
 * n_outputs columns are outputs. group: inputs of a group, 0 for all. The
 * products are below 10^5, else *overflown is set. False: stopped.
 */
extern bool emb_gptq_panel(const EmbGptq *g, int32_t worker, const float *panel, int32_t n_outputs, const float *smooth,
						   int32_t group, const EmbGptqPanel *out, bool *overflown);

/* Packs a panel as gemm_grouped takes it; sums [16]: what an input's zero point is multiplied by. */
extern void emb_gptq_pack_panel(const EmbGptqPanel *panel, int32_t n_outputs, int32_t n_in, int32_t group, uint8_t *tiles, float *sums);

/*
 * Without feedback: the nearest codes, with scales and zero points chosen
 * likewise. energies [n] weigh the errors. w: scratch [n][16].
 */
extern bool emb_gptq_round_panel(EmbWork *work, const float *panel, int32_t n, int32_t n_outputs, const float *smooth,
								 const double *energies, int32_t group, const EmbGptqPanel *out, float *w, bool *overflown);

#endif
