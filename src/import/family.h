/*
 * family.h
 *		What a family of models calls things: in config.json, and in its weights.
 *
 * A family is one file, family_NAME.c, which defines a list.
 *
 * Example:
 *
 *		const EmbFamily emb_family_NAME[] = {{.model_type = "name", .hidden = "hidden_size"}, {0}};
 *
 * make finds the file by its name and puts the list into families.c: no other
 * file is touched. src/README.md has the recipe. Several models that differ in
 * names only are several entries in one file; of entries with one model_type
 * the first counts whose key of the hidden size config.json has, else the last.
 */
#ifndef EMB_IMPORT_FAMILY_H
#define EMB_IMPORT_FAMILY_H

#include "common/parts.h"
#include "import/hf_config.h"

/*
 * A part's tensors, without ".weight" and ".bias". Some checkpoints have several
 * parts in one tensor, the rows of one after those of the other.
 */
typedef struct EmbName
{
	EmbPart		part;
	const char *name;			/* NULL: ends a list */
	int			index,			/* which of n_parts */
				n_parts;		/* 0: one */
	bool		no_bias;		/* the files have none: zeros */
} EmbName;

#define EMB_FAMILY_MAX_NAMES	20

#define EMB_NAME(part, name)				{EMB_PART_##part, name, 0, 0, false}
#define EMB_NAME_BARE(part, name)			{EMB_PART_##part, name, 0, 0, true}
#define EMB_NAME_SLICE(part, name, i, n)	{EMB_PART_##part, name, i, n, true}
#define EMB_NAME_QKV(name, no_bias) \
	{EMB_PART_QUERY, name, 0, 3, no_bias}, {EMB_PART_KEY, name, 1, 3, no_bias}, {EMB_PART_VALUE, name, 2, 3, no_bias}

struct EmbFamily
{
	const char *model_type;		/* of config.json; NULL ends the list */
	const char *name;			/* what images call the family; NULL: as its model_type */
	const char *class_stem;		/* "Bert" of BertModel */

	/* keys of config.json; defaults are those of the family's class in transformers */
	const char *hidden,
			   *n_layers,
			   *n_heads,
			   *intermediate,
			   *positions,
			   *types,			/* NULL: the family has no token types */
			   *activation,
			   *norm_eps;		/* NULL: always 1e-12 */
	int32_t		min_types;
	int64_t		absent_layers,	/* of n_layers */
				absent_vocab,	/* of "vocab_size" */
				absent_positions;
	double		absent_eps;
	const char *absent_activation;	/* NULL: "gelu" */
	const char *position_type;	/* of "position_embedding_type"; NULL: its class does not read that */
	EmbActivation head_activation;	/* of its score head; 0: tanh */

	/* both NULL for an encoder as BERT */
	void		(*shape) (EmbArch *arch);	/* how its layers differ, before config.json is read */
	EmbStatus	(*read) (const EmbJson *doc, EmbHfConfig *config, EmbError *err);	/* what only this family has */
	bool		is_static;		/* no layers; read() does all */

	/* names of tensors; a part that is not named is called as BERT's */
	const char *prefix;			/* the usual wrapper's */
	const char *layer;			/* what stands before a layer's names, with %d; NULL: "encoder.layer.%d." */
	EmbName		names[EMB_FAMILY_MAX_NAMES];
};

/* BERT's keys. */
#define EMB_FAMILY_SIZE_KEYS \
	.hidden = "hidden_size", .n_layers = "num_hidden_layers", .n_heads = "num_attention_heads", \
	.intermediate = "intermediate_size", .positions = "max_position_embeddings"
#define EMB_FAMILY_BERT_KEYS \
	EMB_FAMILY_SIZE_KEYS, .activation = "hidden_act", .norm_eps = "layer_norm_eps", \
	.absent_layers = 12, .absent_positions = 512, .absent_eps = 1e-12, .position_type = "absolute"

/* RoBERTa's score head, which others have as well. */
#define EMB_FAMILY_ROBERTA_HEAD		EMB_NAME(POOLER, "classifier.dense"), EMB_NAME(CLASSIFIER, "classifier.out_proj")

/* families.c: the lists of all files, NULL at the end. */
extern const EmbFamily *const emb_families[];

/* The entry of this model_type, NULL: none. doc chooses among several; it may be NULL. */
extern const EmbFamily *emb_family_find(const char *model_type, const EmbJson *doc);

static inline const char *
emb_family_name(const EmbFamily *family)
{
	return family->name != NULL ? family->name : family->model_type;
}

/* --------------------------------------- for the read functions (hf_family.c) */

/* A number that must be the one we compute with. */
extern EmbStatus emb_hf_check_number(const EmbJson *doc, const char *key, int64_t want, EmbError *err);

/* Switches that must be off; absent ones are as absent says. keys: NULL at the end. */
extern EmbStatus emb_hf_check_off(const EmbJson *doc, const char *const *keys, bool absent, EmbError *err);

/* Keys that must be absent, null, 0, false or an empty list. */
extern EmbStatus emb_hf_check_unset(const EmbJson *doc, const char *const *keys, EmbError *err);

/* The name of an activation in config.json. False: unknown; silu is known where it meets a gate. */
extern bool emb_hf_find_activation(const char *name, bool is_gated, int32_t *activation);

/* RoBERTa's positions by "pad_token_id": rows up to the padding's belong to no token of a text. */
extern EmbStatus emb_hf_read_position_base(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/* Rotary positions: heads can be rotated; transformers' "rope_parameters", an object that may be missing. */
extern EmbStatus emb_hf_check_head_size(const EmbJson *doc, const EmbHfConfig *config, EmbError *err);
extern EmbStatus emb_hf_read_rope(const EmbJson *doc, const json_t *object, const char *key, double *base, EmbError *err);

#endif
