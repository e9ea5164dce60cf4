/*
 * trigger_depends.h
 *		The columns of a kept column's trigger, as dependencies in pg_depend.
 *
 * Example:
 *
 *		embed_trigger_record_columns(trigger->tgoid);
 *		// ALTER TABLE docs RENAME COLUMN body TO content
 *		embed_trigger_follow_rename(docs, "body", "content");
 */
#ifndef EMBED_PG_AUTO_TRIGGER_DEPENDS_H
#define EMBED_PG_AUTO_TRIGGER_DEPENDS_H

#include "pg/auto/trigger.h"

#include "nodes/parsenodes.h"

/*
 * Records the columns of a trigger that embed_column or embed_chunk_table made,
 * or of the trigger of which it is a partition's copy, if they are not
 * recorded. Does nothing where nothing may be written, and for other triggers.
 */
extern void embed_trigger_record_columns(Oid oid);

/* Changes the names in the arguments of triggers that depend on the column, which has its new name. */
extern void embed_trigger_follow_rename(Oid relid, const char *from, const char *to);

/* Around an ALTER TABLE, which the server would refuse where it changes the type of a recorded column. */
extern void embed_trigger_before_alter(const AlterTableStmt *statement);
extern void embed_trigger_after_alter(const AlterTableStmt *statement);

/* trigger_attach.c: a WARNING if the partition came with vectors in a kept column of the parent. */
extern void embed_trigger_attached(Oid parent, Oid partition);

#endif
