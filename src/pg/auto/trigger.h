/*
 * trigger.h
 *		The definition of an embed_trigger: its columns, conversions and
 *		model. Checked when the trigger is created and at its first row.
 *
 * The second argument is a column, or several: names as SQL writes them,
 * separated by commas. Their texts are joined by a blank line; NULLs are left
 * out. The fourth argument is 'now' or 'later': who computes the vectors, the
 * statement that writes the text or whoever fills NULLs afterwards.
 *
 * A trigger's third argument is a model or an alias, and may end in
 * "@fingerprint": the first 8 to 64 hexadecimal digits. CREATE TRIGGER adds
 * the fingerprint to an alias, and embed_column to every name, so that one
 * column holds the vectors of one model: after the alias has moved, or the name
 * was freed and given to other content, the trigger refuses (55000). The
 * arguments of a trigger go wherever the trigger goes: dumps of one table,
 * pg_upgrade, partitions attached later, renames, rollback. A table of our own
 * would have to follow.
 */
#ifndef EMBED_PG_AUTO_TRIGGER_H
#define EMBED_PG_AUTO_TRIGGER_H

#include "pg/glue.h"

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/rel.h"

#include "pg/store/pinned_name.h"
#include "pg/store/registry.h"

/* Digits that CREATE TRIGGER records. */
#define EMBED_RECORDED_DIGITS	16

/*
 * A conversion like in an assignment; converter NULL: no conversion needed.
 * Whoever looks at a table runs nothing of its owner: CHECKs of domains, which
 * the server computes in part when it prepares an expression, run when the
 * first value is converted.
 */
typedef struct EmbedConversion
{
	struct EmbedConverter *converter;
} EmbedConversion;

typedef struct EmbedTriggerColumn
{
	NameData	name;
	AttrNumber	attnum;
	Oid			type;
	int32		typmod;
	int16		typlen;
	bool		typbyval;
} EmbedTriggerColumn;

/* The most columns that the text of one vector may come from. */
#define EMBED_SOURCES_MAX	16

typedef struct EmbedTriggerColumns
{
	EmbedTriggerColumn vector;
	int			n_sources;
	EmbedTriggerColumn sources[EMBED_SOURCES_MAX];
	EmbedConversion to_text[EMBED_SOURCES_MAX];
	EmbedConversion from_vector;
	EmbedConversion to_floats;	/* for the vector column */
	bool		gives_floats;	/* to_floats is usable and never raises */
} EmbedTriggerColumns;

typedef EmbedPinnedName EmbedTriggerModel;

/*
 * The checks report a defect of the trigger at elevel, and return false if
 * elevel is not an error.
 */
extern bool embed_trigger_check_arguments(const Trigger *trigger, int elevel);
extern bool embed_trigger_check_events(const Trigger *trigger, int elevel);

/* The values of the source columns of a row, as stored. */
typedef struct EmbedSources
{
	Datum		values[EMBED_SOURCES_MAX];
	bool		isnull[EMBED_SOURCES_MAX];
	bool		all_null;
} EmbedSources;

/* Whether the fourth argument is 'later'. */
extern bool embed_trigger_is_later(const Trigger *trigger);

/*
 * The names of the source columns in an argument, as C strings: the argument
 * itself where the table has such a column, else a list as SQL writes it.
 * Whether the table has them is not looked at. NIL: reported at elevel; who
 * begins the message.
 */
extern List *embed_source_names(Relation rel, const char *argument, const char *who, int elevel);

/* Finds columns and conversions; expressions are created in cxt. */
extern bool embed_trigger_find_columns(Relation rel, const Trigger *trigger, MemoryContext cxt,
									   int elevel, EmbedTriggerColumns *columns);

extern EmbedSources embed_trigger_sources(const EmbedTriggerColumns *columns, HeapTuple tuple, TupleDesc desc);

/*
 * The text that the trigger embeds for these values; *isnull if there is none.
 * The result is in econtext's per-tuple memory, or is a value itself.
 */
extern Datum embed_trigger_text(const EmbedTriggerColumns *columns, ExprContext *econtext,
								const EmbedSources *sources, bool *isnull);

/* Evaluates a conversion; the result is in econtext's per-tuple memory, or is value itself. */
extern Datum embed_trigger_convert(const EmbedConversion *conversion, ExprContext *econtext, Datum value, bool *isnull);

/*
 * The same for a vector on its way into the column, whose type may refuse it
 * for its length: an error's context names column, table and model. model
 * NULL: the session's.
 */
extern Datum embed_trigger_convert_vector(const EmbedTriggerColumns *columns, ExprContext *econtext, Relation rel,
										  const char *model, ArrayType *vector, bool *isnull);

/* Whether a function is embed_trigger, or embed_chunk_trigger. */
extern bool embed_is_trigger_function(Oid function);
extern bool embed_is_chunk_function(Oid function);

/* Parses the third argument; an argument of another form is a name that no model has. */
extern EmbedTriggerModel embed_trigger_model(const Trigger *trigger);

/* "model@digits", as CREATE TRIGGER and embed_column record a model: palloc'd. */
extern char *embed_trigger_recorded(const char *name, const uint8 *fingerprint);

/* Changes argument i of the trigger with this OID, which has those of trigger; its table is locked against other changes. */
extern void embed_trigger_set_argument(Oid oid, const Trigger *trigger, int i, const char *value);

/*
 * Locks the tables that embed_triggers_pin is going to change: before the models
 * are locked, as embed_switch and embed_set_alias in one transaction do.
 */
extern void embed_triggers_lock(const char *model);

/*
 * Records the fingerprint in all triggers of the database that have the model's
 * name alone: the name is about to be freed. Locks their tables.
 */
extern void embed_triggers_pin(const char *model, const uint8 *fingerprint);

/*
 * Lets all triggers of the database that record the fingerprint from record the
 * fingerprint to: of the same model in another layout. Locks their tables; to
 * NULL: does nothing else.
 */
extern void embed_triggers_rebind(const uint8 *from, const uint8 *to);

/* The first n_digits (an even number) of a fingerprint, in the form of embed_trigger_model. */
extern void embed_trigger_digits(const uint8 *fingerprint, int n_digits, char *digits);

/* 55000 if the name stands for another model than recorded, or is an alias without a record. rel: the trigger's table. */
extern void embed_trigger_check_model(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model, const EmbedModelRef *ref);

/* Why vectors of the model that the name stands for now are refused, for users: palloc'd. */
extern char *embed_trigger_other_model(const EmbedTriggerModel *model, const uint8 *fingerprint);

#endif
