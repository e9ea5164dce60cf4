/*
 * compat.h
 *		Every difference between server versions, as a named capability.
 */
#ifndef EMBED_PG_COMPAT_H
#define EMBED_PG_COMPAT_H

#include "postgres.h"

/* postgres.h lacks VARDATA_ANY and related macros since 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* The spelling of 18. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* PG_WAIT_EXTENSION */
#if PG_VERSION_NUM >= 140000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif

/* Predefined roles were "default roles" before 14. */
#if PG_VERSION_NUM < 140000
#define ROLE_PG_READ_SERVER_FILES DEFAULT_ROLE_READ_SERVER_FILES
#define ROLE_PG_READ_ALL_STATS DEFAULT_ROLE_READ_ALL_STATS
#endif

/* The limit of an array's elements is public since 15. */
#if PG_VERSION_NUM < 150000
#include "utils/memutils.h"
#define MaxArraySize ((Size) (MaxAllocSize / sizeof(Datum)))
#endif

/* Functions on the array elements of an expression take statistics since 17. */
#if PG_VERSION_NUM >= 170000
#define embed_estimate_array_length(root, node) estimate_array_length(root, node)
#else
#define embed_estimate_array_length(root, node) estimate_array_length(node)
#endif

/* Array iterators take the element type at the start since 19; before, at each step. */
#if PG_VERSION_NUM >= 190000
#define embed_text_iter_setup(iter, array) array_iter_setup(iter, array, -1, false, TYPALIGN_INT)
#define embed_text_iter_next(iter, isnull, i) array_iter_next(iter, isnull, i)
#else
#define embed_text_iter_setup(iter, array) array_iter_setup(iter, array)
#define embed_text_iter_next(iter, isnull, i) array_iter_next(iter, isnull, i, -1, false, TYPALIGN_INT)
#endif

/* Extended statistics on expressions, bodies of functions in standard SQL: since 14. Row filters of publications: since 15. */
#if PG_VERSION_NUM >= 140000
#define EMBED_HAS_STATISTICS_EXPRESSIONS
#define EMBED_HAS_SQL_BODIES
#endif
#if PG_VERSION_NUM >= 150000
#define EMBED_HAS_ROW_FILTERS
#endif

/* MERGE: since 15; WHEN NOT MATCHED BY SOURCE: since 17. */
#if PG_VERSION_NUM >= 150000
#define EMBED_HAS_MERGE
#endif
#if PG_VERSION_NUM >= 170000
#define embed_merge_is_matched(action) ((action)->matchKind == MERGE_WHEN_MATCHED)
#define embed_merge_is_by_source(action) ((action)->matchKind == MERGE_WHEN_NOT_MATCHED_BY_SOURCE)
#else
#define embed_merge_is_matched(action) ((action)->matched)
#define embed_merge_is_by_source(action) ((void) (action), false)
#endif

/*
 * The expression of a generated column: its column has the dependencies; since
 * 15 its expression has them, like a default's.
 */
#if PG_VERSION_NUM < 150000
#define EMBED_GENERATED_COLUMN_DEPENDS_ITSELF
#endif

/* Whether the current user owns a table, or may do what its owner may; needs utils/acl.h. */
#if PG_VERSION_NUM >= 160000
#define embed_owns_table(relid) object_ownercheck(RelationRelationId, relid, GetUserId())
#else
#define embed_owns_table(relid) pg_class_ownercheck(relid, GetUserId())
#endif

/* NULL for an object dropped in the meantime; an error before 14. */
#if PG_VERSION_NUM >= 140000
#define embed_object_description(address) getObjectDescription(address, true)
#define embed_object_identity(address) getObjectIdentity(address, true)
#else
#define embed_object_description(address) getObjectDescription(address)
#define embed_object_identity(address) getObjectIdentity(address)
#endif

/* All settings, and their number. */
#if PG_VERSION_NUM >= 160000
#define embed_get_guc_variables(n) get_guc_variables(n)
#else
#define embed_get_guc_variables(n) (*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/* The columns that a statement reads of a table are beside its range table since 16; needs parser/parse_relation.h. */
#if PG_VERSION_NUM >= 160000
#define embed_selected_columns(statement, entry) \
	((entry)->perminfoindex == 0 ? NULL : getRTEPermissionInfo((statement)->permInfos, entry)->selectedCols)
#else
#define embed_selected_columns(statement, entry) ((entry)->selectedCols)
#endif

/*
 * Symbols that the server must find by name: we build with hidden visibility,
 * and servers before 16 do not export the magic block, the finfo records and
 * the function itself.
 */
#ifndef WIN32
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif
#define EMBED_FUNCTION(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* A misspelt embed.something is reported at SET (15+), or when the library loads. */
#if PG_VERSION_NUM >= 150000
#define embed_reserve_guc_prefix(prefix) MarkGUCPrefixReserved(prefix)
#else
#define embed_reserve_guc_prefix(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* A hook of ProcessUtility gets readOnlyTree since 14. */
#if PG_VERSION_NUM >= 140000
#define EMBED_PROCESS_UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, \
	ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion
#define EMBED_PROCESS_UTILITY_ARGUMENTS pstmt, query, read_only, context, params, env, dest, completion
#else
#define EMBED_PROCESS_UTILITY_PARAMETERS \
	PlannedStmt *pstmt, const char *query, ProcessUtilityContext context, \
	ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion
#define EMBED_PROCESS_UTILITY_ARGUMENTS pstmt, query, context, params, env, dest, completion
#endif

/* ExecutorRun has no fourth argument since 18. */
#if PG_VERSION_NUM >= 180000
#define EMBED_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define EMBED_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define EMBED_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define EMBED_EXECUTOR_RUN_ARGUMENTS query, direction, count, once
#endif

/* Lists of five: since 14. */
#if PG_VERSION_NUM < 140000
#define list_make5(x1, x2, x3, x4, x5) lappend(list_make4(x1, x2, x3, x4), x5)
#endif

/* ModifyTable has a plan for each of its tables before 14, where rows are whole. */
#if PG_VERSION_NUM < 140000
#define EMBED_MODIFY_TABLE_HAS_PLANS
#endif

/* Scans of ranges of ctids, and foreign scans that Append runs at the same time: since 14. */
#if PG_VERSION_NUM >= 140000
#define EMBED_HAS_TID_RANGE_SCAN
#define embed_plan_is_async(plan) ((plan)->async_capable)
#else
#define embed_plan_is_async(plan) false
#endif

/*
 * copyObject of 19 names a type as the compiler of the server does, and that
 * may be a later C than ours.
 */
#define embed_copy_node(node)	copyObjectImpl(node)

#endif
