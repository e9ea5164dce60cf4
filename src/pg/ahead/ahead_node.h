/*
 * ahead_node.h
 *		The executor node that looks ahead.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_NODE_H
#define EMBED_PG_AHEAD_AHEAD_NODE_H

#include "pg/glue.h"

#include "nodes/execnodes.h"
#include "nodes/extensible.h"

/* The method of CustomScan plans of ours. */
extern const CustomScanMethods embed_ahead_scan_methods;

/* After the start of a statement's executor: tells our nodes the states of the Limits above them. */
extern void embed_ahead_bind(PlanState *root);

/* ahead.c: registers hooks; called by _PG_init. */
extern void embed_ahead_init(void);

#endif
