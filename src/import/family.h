/*
 * family.h
 *		The names that a family of models uses, in config.json and in its
 *		weights.
 *
 * A family is one file, family_NAME.c, which defines a list: EMB_FAMILY_LIST(NAME) = {..}.
 *
 * Example:
 *
 *		const EmbFamily list[] = {{.model_type = "name", .hidden = "hidden_size"}, {0}};
 *
 * make finds the file by its name and lists it in families.c: no other file
 * changes. src/README.md has the recipe. Models that differ only in names are
 * several entries of one file. If several entries have the same model_type,
 * the first one whose key for the hidden size is in config.json applies, else
 * the last one. An entry that is_told_by_positions comes before the others
 * where config.json has its position_type, and applies nowhere else; so does
 * an entry with is_meant where that function says so.
 */
#ifndef EMB_IMPORT_FAMILY_H
#define EMB_IMPORT_FAMILY_H

#include "common/parts.h"
#include "import/hf_config.h"
#include "import/hf_template.h"

/*
 * The tensors of a part, without ".weight" and ".bias". Some checkpoints store
 * several parts in one tensor, the rows of one part after the rows of another.
 */
typedef struct EmbName
{
	EmbPart		part;
	const char *name;			/* NULL: end of the list */
	int			index,			/* which of the n_parts parts */
				n_parts;		/* 0: one part */
	bool		no_bias;		/* no bias in the files: zeros */
} EmbName;

#define EMB_FAMILY_MAX_NAMES	24

#define EMB_NAME(part, name)				{EMB_PART_##part, name, 0, 0, false}
#define EMB_NAME_BARE(part, name)			{EMB_PART_##part, name, 0, 0, true}
#define EMB_NAME_SLICE(part, name, i, n)	{EMB_PART_##part, name, i, n, true}
#define EMB_NAME_QKV(name, no_bias) \
	{EMB_PART_QUERY, name, 0, 3, no_bias}, {EMB_PART_KEY, name, 1, 3, no_bias}, {EMB_PART_VALUE, name, 2, 3, no_bias}

struct EmbFamily
{
	const char *model_type;		/* of config.json; NULL ends the list */
	const char *name;			/* the family name in images; NULL: same as model_type */
	const char *class_stem;		/* "Bert" in BertModel */
	const char *class_word;		/* may follow the stem: "Text" in Gemma3TextModel; or NULL */

	/*
	 * keys of config.json; the defaults are the defaults of the family's class
	 * in transformers
	 */
	const char *hidden,
			   *n_layers,
			   *n_heads,
			   *n_kv_heads,		/* NULL, or absent: as many as heads */
			   *head_size,		/* NULL, or absent: the heads share the hidden size */
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
	const char *absent_activation;	/* default activation; NULL: "gelu" */
	bool		(*is_meant) (const EmbJson *doc);	/* of several families with this model_type it is the one of config.json; or NULL */
	bool		is_told_by_positions;	/* of several families with this model_type it is the one with position_type */
	const char *position_type;	/* required "position_embedding_type"; NULL: the class does not read this key */
	EmbActivation head_activation;	/* of the score head; 0: tanh */
	EmbActivation lm_activation;	/* of the head over the vocabulary; 0: the layers' */
	bool		has_own_code;	/* published with code of its own ("auto_map"), which this family follows */
	bool		is_decoder;		/* its classes may be language models; a reranker answers at the last row */
	bool		only_embeds;	/* a reranker of this family is refused */
	bool		norms_less_one;	/* weights of norms are stored less 1 */
	EmbBuiltInTemplate template;	/* of a decoder that reranks, where nobody says another */

	/* both NULL for an encoder like BERT */
	void		(*shape) (EmbArch *arch);	/* layer differences from BERT, before config.json is read */
	EmbStatus	(*read) (const EmbJson *doc, EmbHfConfig *config, EmbError *err);	/* keys that only this family has */
	bool		is_static;		/* no layers; read() does all */

	/* names of tensors; parts not listed have the names of BERT */
	const char *prefix;			/* of the usual wrapper */
	const char *layer;			/* prefix of a layer's names, with %d; NULL: "encoder.layer.%d." */
	EmbName		names[EMB_FAMILY_MAX_NAMES];
};

/* BERT's keys. */
#define EMB_FAMILY_SIZE_KEYS \
	.hidden = "hidden_size", .n_layers = "num_hidden_layers", .n_heads = "num_attention_heads", \
	.intermediate = "intermediate_size", .positions = "max_position_embeddings"
#define EMB_FAMILY_BERT_KEYS \
	EMB_FAMILY_SIZE_KEYS, .activation = "hidden_act", .norm_eps = "layer_norm_eps", \
	.absent_layers = 12, .absent_positions = 512, .absent_eps = 1e-12, .position_type = "absolute"

/* The names of RoBERTa's score head and head over the vocabulary, which other families share. */
#define EMB_FAMILY_ROBERTA_HEAD		EMB_NAME(POOLER, "classifier.dense"), EMB_NAME(CLASSIFIER, "classifier.out_proj"), \
	EMB_NAME(LM_DENSE, "lm_head.dense"), EMB_NAME(LM_NORM, "lm_head.layer_norm"), EMB_NAME(LM_OUT, "lm_head.decoder")

/*
 * Begins the definition of the list in family_NAME.c. It is declared first: PostgreSQL 19 is
 * built with -Wmissing-variable-declarations, and only make knows all names (families.c).
 */
#define EMB_FAMILY_LIST(name) \
	extern const EmbFamily emb_family_##name[]; \
	const EmbFamily emb_family_##name[]

/* families.c: the lists of all files; NULL ends the list. */
extern const EmbFamily *const emb_families[];

/* The entry for this model_type, or NULL. doc selects among several entries; it may be NULL. */
extern const EmbFamily *emb_family_find(const char *model_type, const EmbJson *doc);

static inline const char *
emb_family_name(const EmbFamily *family)
{
	return family->name != NULL ? family->name : family->model_type;
}

/* --------------------------------------- for the read functions (hf_family.c) */

/* A number that must have the value we compute with. */
extern EmbStatus emb_hf_check_number(const EmbJson *doc, const char *key, int64_t want, EmbError *err);

/* Switches that must be off; absent is the value of absent keys. NULL ends keys. */
extern EmbStatus emb_hf_check_off(const EmbJson *doc, const char *const *keys, bool absent, EmbError *err);

/* Switches that must be on; absent is off. NULL ends keys. */
extern EmbStatus emb_hf_check_on(const EmbJson *doc, const char *const *keys, EmbError *err);

/* Keys that must be absent, null, 0, false or an empty list. */
extern EmbStatus emb_hf_check_unset(const EmbJson *doc, const char *const *keys, EmbError *err);

/* Looks up an activation of config.json. False: unknown; silu is known only for a GLU. */
extern bool emb_hf_find_activation(const char *name, bool is_gated, int32_t *activation);

/*
 * RoBERTa's padding offset from "pad_token_id": no token of a text uses the
 * rows up to the padding's row.
 */
extern EmbStatus emb_hf_read_position_base(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/*
 * RoPE: checks that heads can be rotated; reads "rope_parameters" of
 * transformers, an optional object.
 */
extern EmbStatus emb_hf_check_head_size(const EmbJson *doc, const EmbHfConfig *config, EmbError *err);
extern EmbStatus emb_hf_read_rope(const EmbJson *doc, const json_t *object, const char *key, double *base, EmbError *err);

/* "rope_scaling": "yarn" and its like change the angles of all positions, so only the default passes. */
extern EmbStatus emb_hf_check_rope_scaling(const EmbJson *doc, EmbError *err);

#endif
