/*
 * ahead_calls.h
 *		The calls in an expression whose texts can be embedded ahead.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_CALLS_H
#define EMBED_PG_AHEAD_AHEAD_CALLS_H

#include "pg/glue.h"

#include "nodes/primnodes.h"

/* What a function is to us. */
typedef enum EmbedAheadFunction
{
	EMBED_AHEAD_OTHER,
	EMBED_AHEAD_EMBED,			/* embed(text [, model [, dimensions]]) */
	EMBED_AHEAD_TRIGGER			/* embed_trigger() */
} EmbedAheadFunction;

extern EmbedAheadFunction embed_ahead_function(Oid function);

typedef struct EmbedAheadCall
{
	Expr	   *text;
	Expr	   *model;			/* a Const, or a parameter of the statement; NULL: the default */
} EmbedAheadCall;

/*
 * The calls of embed that a row computes in any case, and whose text can be
 * found out early: from columns, by functions that neither raise nor read
 * anything.
 */
extern List *embed_ahead_calls(Node *expr);

/* Whether an expression can be computed early: it neither raises nor reads anything but the row. */
extern bool embed_ahead_is_early(Node *expr);

/* Whether computing expr early may show: it has volatile functions other than nextval and random numbers. */
extern bool embed_ahead_is_volatile(Node *expr);

#endif
