/*
 * column_make.h
 *		Makes and changes a kept column: for embed_column, and for the column of
 *		a chunk table.
 *
 * Example:
 *
 *		EmbedColumnWanted wanted = {.relid = relid, .vector = "embedding", .source = "chunk", .schema = "public"};
 *		embed_column_choose(&wanted, NULL, "my-model", "later");
 *		if (embed_column_make(&wanted))
 *			embed_column_report(&wanted);
 *
 * SPI is connected. What the functions raise is what embed_column raises.
 */
#ifndef EMBED_PG_KEPT_COLUMN_MAKE_H
#define EMBED_PG_KEPT_COLUMN_MAKE_H

#include "pg/glue.h"

#include "utils/rel.h"

#include "pg/auto/kept_column.h"
#include "pg/store/names.h"
#include "pg/store/pinned_name.h"

/* What the caller asks for. */
typedef struct EmbedColumnWanted
{
	Oid			relid;
	char	   *vector;
	char	   *source;			/* as the trigger gets it */
	EmbedName	model;
	int32		dim;
	bool		is_later;
	bool		may_retype;		/* a column whose type has other dimensions gets those of the model; false: 42804 */
	const char *schema;			/* of the extension */
	const char *given_model;	/* by embed_column_choose */
	const char *given_mode;
} EmbedColumnWanted;

/*
 * Sets model, dimensions and mode: as given, else as the column of rel has
 * them, else the default. rel NULL: there is no such column yet.
 */
extern void embed_column_choose(EmbedColumnWanted *wanted, Relation rel, const char *model, const char *mode);

/*
 * Makes column, trigger and index, or changes what differs. Checks the table
 * and who calls. False: everything is as wanted already, and nothing is locked.
 */
extern bool embed_column_make(EmbedColumnWanted *wanted);

/* Parts of that, one by one: for who commits between them. The column is there. */
extern void embed_column_create_trigger(const EmbedColumnWanted *wanted);
extern void embed_column_make_index(const EmbedColumnWanted *wanted);

/* The columns that the trigger would have; raises if they do not fit. */
extern void embed_column_find(Relation rel, const EmbedColumnWanted *wanted, EmbedTriggerColumns *columns);

/*
 * The model as a trigger's argument, palloc'd: its own name and its fingerprint,
 * so that a column never holds vectors of two contents of that name.
 */
extern char *embed_column_model_argument(const EmbedColumnWanted *wanted);

/*
 * The name under which such an argument's model is here: its content counts. If
 * the content is gone, the argument's own name, whatever that stands for. palloc'd.
 */
extern char *embed_column_model_now(const EmbedPinnedName *model);

/* Whether the column's trigger stands for this model. */
extern bool embed_column_is_model(const EmbedKeptColumn *kept, const EmbedName *model);

/* Whether no row and no statement gets past the trigger. */
extern bool embed_column_sees_all(const Trigger *trigger);

/* Whether both have the same source columns, in the same order. */
extern bool embed_column_has_sources(const EmbedTriggerColumns *a, const EmbedTriggerColumns *b);

/* A NOTICE that tells what is to do, which the filler begins after the commit. */
extern void embed_column_report(const EmbedColumnWanted *wanted);

#endif
