/*
 * measured.c
 *		Which linear layers of an int4 image stay int8, by their measured errors.
 */
#include "convert/measured.h"

#include <stdlib.h>
#include <string.h>

#include "convert/calibration.h"
#include "convert/draft.h"
#include "convert/quantize.h"
#include "convert/words.h"

#define ALL_LAYERS	(-1)

/* A linear layer that may stay int8, or a role in all layers. */
typedef struct Choice
{
	double		worth;			/* what int4 loses, by a weight */
	int64_t		n_weights;
	int32_t		layer;
	EmbRole		role;
} Choice;

/* The first pass: an import to int4 whose image goes nowhere. */
typedef struct Pass
{
	EmbImportSteps steps;
	EmbSink		sink;			/* "read" is the progress of the import itself */
	EmbWriter	writer;
	EmbImageParts parts;
	EmbDraft	image;
	EmbDraft	exact;
	EmbWords	words;
	EmbCalibration calibration;
	double		(*lost)[EMB_N_ROLES];	/* [n_layers] */
	Choice	   *choices;		/* [n_layers * EMB_N_ROLES] */
} Pass;

static EmbStatus
write_nowhere(void *ctx, const void *data, size_t size, EmbError *err)
{
	(void) ctx;
	(void) data;
	(void) size;
	(void) err;
	return EMB_OK;
}

/* ----------------------------------------------------------------- measuring */

static EmbStatus
begin(Pass *p, const EmbMeasuring *m, const EmbImportSteps *steps, EmbError *err)
{
	int32_t		n_layers = m->parts->arch.n_layers;
	EmbStatus	status;

	p->steps = *steps;
	p->sink = (EmbSink) {.write = write_nowhere};
	p->steps.sink = &p->sink;
	p->writer.steps = &p->steps;
	p->parts = *m->parts;
	p->parts.config.keep_int8 = EMB_KEEP_NONE;
	p->lost = emb_alloc_zero(steps->mem, n_layers, sizeof(*p->lost));
	p->choices = emb_alloc_zero(steps->mem, n_layers * EMB_N_ROLES, sizeof(*p->choices));
	if (p->lost == NULL || p->choices == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the errors of %d layers", n_layers);
	if ((status = emb_draft_begin(&p->image, &p->parts, steps->mem, err)) != EMB_OK ||
		(status = emb_draft_begin_exact(&p->exact, &p->image, steps->mem, err)) != EMB_OK ||
		(status = emb_calibration_begin(&p->calibration, p->image.model, m->texts, m->n_texts, true, &p->steps, err)) != EMB_OK ||
		(status = emb_words_begin(&p->words, &p->parts.arch, steps->mem, err)) != EMB_OK)
		return status;
	emb_words_keep(&p->words, &p->calibration.texts);
	return EMB_OK;
}

/* The texts behind the embeddings. */
static EmbStatus
embed_texts(Pass *p, EmbWeights *weights, EmbError *err)
{
	EmbStatus	status;

	p->writer.at = p->image.head_bytes;
	if ((status = emb_words_write(&p->words, weights, &p->writer, &p->exact.view, &p->image.view, err)) != EMB_OK ||
		(status = emb_draft_read_tables(&p->exact, weights, err)) != EMB_OK ||
		(status = emb_draft_share_tables(&p->image, &p->exact, err)) != EMB_OK)
		return status;
	emb_words_map(&p->words, &p->calibration.texts);
	return emb_calibration_embed(&p->calibration, p->exact.model, &p->steps, err);
}

static EmbStatus
measure_layer(Pass *p, EmbWeights *weights, int32_t i, EmbError *err)
{
	EmbStatus	status;

	if ((status = emb_draft_read_layer(&p->exact, i, weights, err)) != EMB_OK ||
		(status = emb_calibration_run(&p->calibration, p->exact.model, i, &p->steps, err)) != EMB_OK ||
		(status = emb_draft_begin_layer(&p->image, i, p->steps.stop, err)) != EMB_OK)
		return status;
	return emb_quantize_layer(p->exact.model, i, &p->calibration, &p->steps, &p->image.view, p->lost[i], err);
}

static EmbStatus
measure(Pass *p, const EmbMeasuring *m, const EmbImportSteps *steps, EmbError *err)
{
	int32_t		n_layers = m->parts->arch.n_layers;
	EmbStatus	status = begin(p, m, steps, err);

	if (status == EMB_OK)
		status = embed_texts(p, m->weights, err);
	for (int32_t i = 0; status == EMB_OK && i < n_layers; i++)
	{
		emb_import_progress(steps, "measure", i, n_layers);
		status = measure_layer(p, m->weights, i, err);
	}
	if (status == EMB_OK)
		emb_import_progress(steps, "measure", n_layers, n_layers);
	return status;
}

/* ------------------------------------------------------------------ choosing */

/* The most worth first; equal ones in the order of the plan, so that the sort has one result. */
static int
compare_choices(const void *a, const void *b)
{
	const Choice *x = a;
	const Choice *y = b;

	if (x->worth != y->worth)
		return x->worth > y->worth ? -1 : 1;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->role < y->role ? -1 : x->role > y->role;
}

static int64_t
role_weights(const EmbArch *arch, int32_t layer, EmbRole role)
{
	int64_t		hidden = arch->hidden;
	int64_t		n_ffns = emb_arch_has_experts(arch, layer) ? arch->n_experts : 1;

	switch (role)
	{
		case EMB_ROLE_QUERY:
		case EMB_ROLE_ATTN_OUT:
			return hidden * emb_arch_query_width(arch);
		case EMB_ROLE_KEY:
		case EMB_ROLE_VALUE:
			return hidden * emb_arch_key_width(arch);
		case EMB_ROLE_FFN_UP:
			return n_ffns * hidden * emb_arch_wide(arch);
		case EMB_ROLE_FFN_DOWN:
			break;
	}
	return n_ffns * hidden * arch->intermediate;
}

/* Keeps what fits, the most worth first. A choice of layer ALL_LAYERS is the role in all of them. */
static int64_t
keep_best(Choice *choices, int32_t n, int32_t n_layers, int64_t room, uint8_t kept[EMB_ARCH_MAX_LAYERS])
{
	qsort(choices, n, sizeof(Choice), compare_choices);
	for (int32_t i = 0; i < n; i++)
	{
		const Choice *c = &choices[i];
		int32_t		first = c->layer == ALL_LAYERS ? 0 : c->layer;
		int32_t		end = c->layer == ALL_LAYERS ? n_layers : c->layer + 1;

		if (c->n_weights > room || (kept[first] >> c->role & 1))
			continue;
		room -= c->n_weights;
		for (int32_t k = first; k < end; k++)
			kept[k] |= (uint8_t) (1 << c->role);
	}
	return room;
}

/*
 * Whole roles first: losses of single layers say less. (Linear layers one by
 * one: on bge-small-en 33 percent left some of the last attn_out in 4 bits for
 * two ffn_up, and Spearman to fp32 fell from 0.9906 to 0.9852.)
 */
static void
choose(Pass *p, int32_t percent, uint8_t kept[EMB_ARCH_MAX_LAYERS])
{
	const EmbArch *arch = &p->parts.arch;
	int32_t		n = arch->n_layers * EMB_N_ROLES;
	Choice		roles[EMB_N_ROLES];
	int64_t		room = 0;

	for (int32_t r = 0; r < EMB_N_ROLES; r++)
		roles[r] = (Choice) {.layer = ALL_LAYERS, .role = (EmbRole) r};
	for (int32_t i = 0; i < n; i++)
	{
		Choice	   *c = &p->choices[i];

		*c = (Choice) {.layer = i / EMB_N_ROLES, .role = (EmbRole) (i % EMB_N_ROLES)};
		c->n_weights = role_weights(arch, c->layer, c->role);
		roles[c->role].n_weights += c->n_weights;
		c->worth = p->lost[c->layer][c->role] / (double) c->n_weights;
		roles[c->role].worth += c->worth;
		room += c->n_weights;
	}
	memset(kept, 0, EMB_ARCH_MAX_LAYERS);
	room = keep_best(roles, EMB_N_ROLES, arch->n_layers, room * percent / 100, kept);
	(void) keep_best(p->choices, n, arch->n_layers, room, kept);
}

EmbStatus
emb_measured_choose(const EmbMeasuring *m, const EmbImportSteps *steps, uint8_t kept[EMB_ARCH_MAX_LAYERS], EmbError *err)
{
	Pass		p = {0};
	EmbStatus	status = measure(&p, m, steps, err);

	if (status == EMB_OK)
		choose(&p, m->percent, kept);
	emb_draft_free(&p.exact);
	emb_draft_free(&p.image);
	emb_words_free(&p.words);
	emb_calibration_free(&p.calibration);
	emb_release(steps->mem, p.lost);
	emb_release(steps->mem, p.choices);
	return status;
}
