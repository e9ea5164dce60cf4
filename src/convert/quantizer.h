/*
 * quantizer.h
 *		What the two halves of the quantizer share: candidates.c chooses the
 *		smoothing of an input, quantize_model.c writes the layer.
 */
#ifndef EMB_CONVERT_QUANTIZER_H
#define EMB_CONVERT_QUANTIZER_H

#include "threads/team.h"
#include "convert/gptq.h"
#include "convert/quantize.h"
#include "convert/rounding.h"

#define EMB_QUANTIZER_EXPONENTS	5
#define EMB_QUANTIZER_LINEARS	3	/* reading one input */

/* One input with the linear layers that read it. */
typedef struct EmbQuantizerInput
{
	const EmbObserved *seen;
	int32_t		layer;
	int32_t		n_linears;
	const EmbLinear *linears[EMB_QUANTIZER_LINEARS];
	EmbPart		parts[EMB_QUANTIZER_LINEARS];
	EmbActKind	act;			/* applied after them */
	int32_t		group;			/* query heads that share a value head, for the context; else 1 or 0 */
} EmbQuantizerInput;

/* The rows of an input under one exponent. */
typedef struct EmbQuantizerCandidate
{
	float	   *smooth;			/* [n] */
	float	   *factor;			/* [n] 1 / smooth */
	uint8_t    *rows;			/* [n_rows, K] */
	float	   *scales;			/* [n_rows] */
	int32_t    *zeros;			/* [n_rows] */
	double	   *energies;		/* [n] for int4: sums of squares, and a part of their mean */
} EmbQuantizerCandidate;

/* Quantized weights of a panel, as products take them. */
typedef struct EmbQuantizerWeights
{
	bool		is_i4;
	const void *tiles;
	const float *scales;		/* [16], or [groups, 16] */
	const int32_t *sums;		/* [16], for int8 */
	const uint8_t *group_zeros; /* [groups, 16], for int4 */
	const float *group_sums;	/* [16], for int4 */
} EmbQuantizerWeights;

/* The private buffers of a thread, for the widest input. */
typedef struct EmbQuantizerHand
{
	EmbWork		work;
	int8_t	   *bytes;			/* [16, n] */
	int8_t	   *tiles;			/* per panel */
	float	   *weights;		/* [n, 16], for int4 only; the same of the next two */
	float	   *group_scales;	/* [groups, 16] */
	uint8_t    *group_zeros;	/* [groups, 16] */
	float	   *exact;			/* [n_rows, 16] */
	float	   *rounded;		/* [n_rows, 16] */
} EmbQuantizerHand;

/* Errors of a panel's outputs under each exponent. */
typedef struct EmbQuantizerErrors
{
	double		own[EMB_QUANTIZER_EXPONENTS];
	double		energy;
	double		lost;			/* by the weights written: the part of each output's variance, added up */
} EmbQuantizerErrors;

typedef struct EmbQuantizer
{
	const EmbImportSteps *steps;
	const EmbModel *model;
	const EmbCalibration *calibration;
	int32_t		layer;
	const EmbImageView *view;	/* the layer's tensors have places */
	double	   *lost;			/* [EMB_N_ROLES] or NULL: see emb_quantize_layer */
	_Atomic bool stopped;
	_Atomic bool overflown;
	EmbTeam		team;
	EmbQuantizerHand hands[EMB_TEAM_MAX];
	EmbRounding rounding;
	void	   *owned[24];
	int			n_owned;

	/* for the widest input */
	EmbQuantizerCandidate candidates[EMB_QUANTIZER_EXPONENTS];
	float	   *largest;		/* [n] over the weights of all linear layers */
	float	   *seen;			/* [n] over the rows of an input */
	EmbQuantizerErrors *errors;		/* [panels] for the widest linear layer */

	/* for an int4 image */
	int32_t		group;			/* as EmbGemmGrouped has it */
	EmbGptq		gptq;
	EmbWork    *works[EMB_TEAM_MAX];	/* of the hands */
	uint8_t    *many_codes;		/* [n_many, n] */
	float	   *many_scales;	/* [n_many] */
	int32_t    *many_zeros;		/* [n_many] */
} EmbQuantizer;

/* A linear layer of an input, panel by panel; no candidate while all are compared. */
typedef struct EmbQuantizerJob
{
	EmbQuantizer *q;
	const EmbQuantizerInput *in;
	int32_t		which;
	const EmbQuantizerCandidate *c;
} EmbQuantizerJob;

/* Makes the candidates of an input. False: stopped. */
extern bool emb_quantizer_prepare(EmbQuantizer *q, const EmbQuantizerInput *in);

/* The candidate with the least error in the outputs of all linear layers that read the input. */
extern EmbStatus emb_quantizer_choose(EmbQuantizer *q, const EmbQuantizerInput *in, int *best, EmbError *err);

/* hand->exact: panel p of a linear layer over the kept rows, in fp32. False: stopped. */
extern bool emb_quantizer_multiply_exactly(EmbQuantizerHand *hand, const EmbQuantizerInput *in, const EmbLinear *linear, size_t p);

/* hand->rounded: the same with quantized weights on a candidate's rows. */
extern bool emb_quantizer_multiply_rounded(EmbQuantizerHand *hand, const EmbQuantizerInput *in, const EmbQuantizerCandidate *c,
										   int32_t group, const EmbQuantizerWeights *w, const float *bias, EmbActKind act);

/* Smooths and quantizes the linear layers of one input; *chosen is valid until the next input (quantize_model.c). */
extern EmbStatus emb_quantizer_write_input(EmbQuantizer *q, const EmbQuantizerInput *in, const EmbQuantizerCandidate **chosen, EmbError *err);

/* What follows the first product of a feed-forward network; of a GLU nothing that a panel alone could compute. */
extern EmbActKind emb_quantizer_activation(const EmbArch *arch);

/* Quantizes up and down, the two parts of a feed-forward network, from their inputs (quantize_model.c). */
extern EmbStatus emb_quantizer_write_ffn(EmbQuantizer *q, const EmbQuantizerInput *up, const EmbQuantizerInput *down, EmbError *err);

/* quantize_experts.c: all experts of the layer. */
extern EmbStatus emb_quantizer_write_experts(EmbQuantizer *q, EmbError *err);

/* Runs a job's panels on all threads. */
extern EmbStatus emb_quantizer_run(EmbQuantizerJob *job, EmbTeamPart run_panel, EmbError *err);

/* Outputs of panel p. */
static inline int32_t
emb_quantizer_rows(const EmbLinear *linear, size_t p)
{
	int32_t		left = linear->n_out - (int32_t) p * EMB_PANEL;

	return left < EMB_PANEL ? left : EMB_PANEL;
}

/* Whether a linear layer of an input gets weights of 4 bits. */
static inline bool
emb_quantizer_is_i4(const EmbQuantizer *q, const EmbQuantizerInput *in, int32_t which)
{
	return emb_image_find(q->view, in->layer, in->parts[which], EMB_TENSOR_WEIGHT)->form == EMB_FORM_TILES_I4;
}

/* How many of them do. */
static inline int32_t
emb_quantizer_count_i4(const EmbQuantizer *q, const EmbQuantizerInput *in)
{
	int32_t		n = 0;

	for (int32_t i = 0; i < in->n_linears; i++)
		n += emb_quantizer_is_i4(q, in, i);
	return n;
}

/* Whether an earlier panel ended the work. */
static inline bool
emb_quantizer_is_over(const EmbQuantizer *q)
{
	return atomic_load_explicit(&q->stopped, memory_order_relaxed) || atomic_load_explicit(&q->overflown, memory_order_relaxed);
}

#endif
