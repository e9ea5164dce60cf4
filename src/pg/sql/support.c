/*
 * support.c
 *		Planner support for our functions: cost and number of rows of a call.
 *
 * The cost of a call is the cost of its tokens: the width of its texts, from
 * constants and statistics, times the size of the model. So filters on other
 * columns run before embed in WHERE, big tables get parallel plans, and a
 * function over long texts costs more than a function over titles.
 *
 * Costs are in units of cpu_operator_cost, at about a hundredth of a token's
 * real time. JIT starts at a total cost of 100,000 and gains nothing inside a
 * C function. At 80 operators per token of a 34 MB model, this total is
 * reached by 500,000 tokens, a minute of one thread; then JIT no longer
 * matters.
 */
#include "pg/glue.h"

#include <limits.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "pg/call/ahead_store.h"
#include "pg/store/registry.h"

EMBED_FUNCTION(embed_support);
EMBED_FUNCTION(embed_rerank_support);
EMBED_FUNCTION(embed_maxsim_support);

#define OPERATORS_PER_CALL		400.0
#define OPERATORS_PER_TOKEN		80.0	/* of a model of MODEL_BYTES */
#define OPERATORS_PER_TOKEN_MIN 4.0
#define MODEL_BYTES				34e6

/* A constant text is embedded once; later calls only compare and copy. */
#define OPERATORS_PER_REPEAT	20.0

#define BYTES_PER_TOKEN			4.0
#define SPECIAL_TOKENS			2.0

/*
 * Multiply-adds of maxsim per operator of cost; the width of token vectors,
 * which no statistics contain.
 */
#define MACS_PER_OPERATOR		22000.0
#define MULTI_DIM				1024.0

/* Used if nothing is known. */
#define TEXT_BYTES_DEFAULT		512.0
#define ARRAY_LENGTH_DEFAULT	100.0
#define MAX_TOKENS_DEFAULT		512
#define QUERY_ROWS_DEFAULT		32.0
#define DOCUMENT_ROWS_DEFAULT	512.0

typedef struct ModelCost
{
	double		per_token;
	int32		max_tokens;
} ModelCost;

/* What is known of an argument. */
typedef struct ArgumentSize
{
	PlannerInfo *root;
	double		n_bytes;
	bool		is_known;		/* a width is known */
	bool		varies;			/* varies by row */
} ArgumentSize;

/* --------------------------------------------------------------- model */

static ModelCost
look_up_model(const char *name, EmbKind kind)
{
	ModelCost	cost = {OPERATORS_PER_TOKEN, MAX_TOKENS_DEFAULT};
	int64		size_bytes;
	int32		max_tokens;

	if (embed_registry_peek(name, kind, &size_bytes, &max_tokens))
	{
		cost.per_token = Max(OPERATORS_PER_TOKEN * (double) size_bytes / MODEL_BYTES, OPERATORS_PER_TOKEN_MIN);
		cost.max_tokens = max_tokens;
	}
	return cost;
}

/*
 * The planner asks for one call many times, and a lookup reads three tables.
 * So the last answer is kept until models, names or settings change.
 */
static ModelCost
model_cost(Node *model, EmbKind kind)
{
	static struct
	{
		ModelCost	cost;
		uint64		generation; /* 0: no cached answer */
		EmbKind		kind;
		char		name[EMB_NAME_MAX + 1];
	}			last;
	char		name[EMB_NAME_MAX + 1] = "";
	uint64		generation = embed_registry_generation();

	if (model != NULL)
	{
		ModelCost	unknown = {OPERATORS_PER_TOKEN, MAX_TOKENS_DEFAULT};

		if (!IsA(model, Const) || ((Const *) model)->constisnull)
			return unknown;
		text_to_cstring_buffer(DatumGetTextPP(((Const *) model)->constvalue), name, sizeof(name));
	}
	if (last.generation != generation || last.kind != kind || strcmp(last.name, name) != 0)
	{
		last.generation = 0;
		last.cost = look_up_model(model != NULL ? name : NULL, kind);
		last.kind = kind;
		strlcpy(last.name, name, sizeof(last.name));
		last.generation = generation;
	}
	return last.cost;
}

/* --------------------------------------------------------------- widths */

/* Out-of-line bytes per row; the statistics of a column count only the pointer. */
static double
toasted_bytes_per_row(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		n_rows = 0;
	double		n_pages = 0;
	Oid			toast = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		n_rows = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
		toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
		ReleaseSysCache(tuple);
	}
	if (n_rows < 1 || !OidIsValid(toast))
		return 0;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(toast));
	if (HeapTupleIsValid(tuple))
	{
		n_pages = ((Form_pg_class) GETSTRUCT(tuple))->relpages;
		ReleaseSysCache(tuple);
	}
	return n_pages * BLCKSZ / n_rows;
}

/* Average bytes of a column of an analyzed table, else 0. */
static double
column_bytes(PlannerInfo *root, const Var *var)
{
	RangeTblEntry *rte;
	int32		width;

	if (root == NULL || root->simple_rte_array == NULL || IS_SPECIAL_VARNO(var->varno) ||
		var->varlevelsup != 0 || var->varattno <= 0 || (int) var->varno >= root->simple_rel_array_size)
		return 0;
	rte = planner_rt_fetch(var->varno, root);
	if (rte == NULL || rte->rtekind != RTE_RELATION)
		return 0;
	width = get_attavgwidth(rte->relid, var->varattno);
	return width > 0 ? width + toasted_bytes_per_row(rte->relid) : 0;
}

static void
add_bytes(ArgumentSize *size, double n_bytes)
{
	size->n_bytes += n_bytes;
	size->is_known |= n_bytes > 0;
}

/* Sums the parts of an expression: a || ' ' || b is as long as its parts. */
static bool
measure(Node *node, void *context)
{
	ArgumentSize *size = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Const:
			{
				const Const *constant = (Const *) node;

				if (!constant->constisnull && constant->constlen == -1)
				{
					add_bytes(size, toast_raw_datum_size(constant->constvalue) - VARHDRSZ);
					size->is_known = true;
				}
				return false;
			}
		case T_Var:
			size->varies = true;
			add_bytes(size, column_bytes(size->root, (Var *) node));
			return false;
		case T_Param:
			size->varies |= ((Param *) node)->paramkind != PARAM_EXTERN;
			return false;
		case T_SubLink:
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_Aggref:
		case T_WindowFunc:
		case T_PlaceHolderVar:
			size->varies = true;
			return false;
		default:
			return expression_tree_walker(node, measure, context);
	}
}

static ArgumentSize
argument_size(PlannerInfo *root, Node *argument)
{
	ArgumentSize size = {.root = root};

	(void) measure(argument, &size);
	size.varies |= contain_volatile_functions(argument);
	return size;
}

static Node *
strip_relabel(Node *node)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/* Elements of an array argument. */
static double
n_elements(pg_attribute_unused() PlannerInfo *root, Node *argument)
{
	Node	   *node = strip_relabel(argument);

	if (node != NULL && IsA(node, Const) && ((Const *) node)->constisnull)
		return 0;
	if (node != NULL && (IsA(node, Const) || (IsA(node, ArrayExpr) && !((ArrayExpr *) node)->multidims)))
		return embed_estimate_array_length(root, node);
	return ARRAY_LENGTH_DEFAULT;
}

static bool
is_array(Node *argument)
{
	return OidIsValid(get_element_type(exprType(argument)));
}

/* Number of texts in an argument, and tokens per text before any cut. */
static double
count_tokens(PlannerInfo *root, Node *argument, double *n_texts, bool *varies)
{
	ArgumentSize size = argument_size(root, argument);
	double		n = is_array(argument) ? n_elements(root, argument) : 1;
	double		n_bytes = size.is_known ? size.n_bytes : TEXT_BYTES_DEFAULT * n;

	*n_texts = n;
	*varies |= size.varies;
	return n > 0 ? n_bytes / n / BYTES_PER_TOKEN : 0;
}

/* ---------------------------------------------------------------- calls */

static List *
call_arguments(Node *node)
{
	return node != NULL && IsA(node, FuncExpr) ? ((FuncExpr *) node)->args : NIL;
}

/*
 * The model argument, if there is one: a text after the arguments that every
 * form has, in some forms with a number before or after it.
 */
static Node *
model_argument(List *args, int n_inputs)
{
	for (int i = n_inputs; i < list_length(args); i++)
	{
		if (exprType(list_nth(args, i)) == TEXTOID)
			return strip_relabel(list_nth(args, i));
	}
	return NULL;
}

/*
 * n_texts texts with n_tokens tokens each. once: later calls with the same
 * arguments are answered from memory.
 */
static Node *
answer_cost(SupportRequestCost *request, const ModelCost *model, double n_texts, double n_tokens, bool once)
{
	double		tokens = Min(n_tokens + SPECIAL_TOKENS, model->max_tokens);
	double		cost = (OPERATORS_PER_CALL + n_texts * tokens * model->per_token) * cpu_operator_cost;

	request->startup = once ? cost : 0;
	request->per_tuple = once ? OPERATORS_PER_REPEAT * cpu_operator_cost : cost;
	return (Node *) request;
}

/* embed and related functions: (input text or text[] [, model [, dimensions]]) */
static Node *
embed_cost(SupportRequestCost *request)
{
	List	   *args = call_arguments(request->node);
	ModelCost	model;
	Node	   *input;
	double		n_texts;
	double		n_tokens;
	bool		varies = false;

	if (args == NIL)
		return NULL;
	input = linitial(args);
	model = model_cost(model_argument(args, 1), EMB_KIND_EMBEDDING);
	n_tokens = count_tokens(request->root, input, &n_texts, &varies);
	return answer_cost(request, &model, n_texts, n_tokens, !varies && !is_array(input));
}

/* rerank and related functions: (query text, documents text or text[] [, k] [, model]) */
static Node *
rerank_cost(SupportRequestCost *request)
{
	List	   *args = call_arguments(request->node);
	ModelCost	model;
	double		n_queries;
	double		n_documents;
	double		n_tokens;
	bool		varies = false;

	if (list_length(args) < 2)
		return NULL;
	model = model_cost(model_argument(args, 2), EMB_KIND_RERANKER);
	n_tokens = count_tokens(request->root, linitial(args), &n_queries, &varies);
	n_tokens += count_tokens(request->root, lsecond(args), &n_documents, &varies);
	return answer_cost(request, &model, n_documents, n_tokens, false);
}

/* Number of floats in an array of token vectors; a function's result has no known width. */
static double
count_floats(PlannerInfo *root, Node *argument, double default_rows)
{
	ArgumentSize size = {0};

	argument = strip_relabel(argument);
	if (IsA(argument, Var) || IsA(argument, Const))
		size = argument_size(root, argument);
	return size.n_bytes > 0 ? size.n_bytes / sizeof(float4) : default_rows * MULTI_DIM;
}

/* maxsim(query float4[][], doc float4[][]) */
static Node *
maxsim_cost(SupportRequestCost *request)
{
	List	   *args = call_arguments(request->node);
	double		n_macs;

	if (list_length(args) != 2)
		return NULL;
	n_macs = count_floats(request->root, linitial(args), QUERY_ROWS_DEFAULT) *
		count_floats(request->root, lsecond(args), DOCUMENT_ROWS_DEFAULT) / MULTI_DIM;
	request->startup = 0;
	request->per_tuple = (OPERATORS_PER_REPEAT + n_macs / MACS_PER_OPERATOR) * cpu_operator_cost;
	return (Node *) request;
}

/*
 * A row per element of array argument i, but at most the int4 constant after
 * it, if there is one.
 */
static Node *
answer_rows(SupportRequestRows *request, int i)
{
	List	   *args = call_arguments(request->node);
	double		n;

	if (list_length(args) <= i || !is_array(list_nth(args, i)))
		return NULL;
	n = n_elements(request->root, list_nth(args, i));
	if (list_length(args) > i + 1 && IsA(list_nth(args, i + 1), Const))
	{
		Const	   *k = list_nth(args, i + 1);

		if (k->consttype == INT4OID && !k->constisnull)
			n = Min(n, Max(DatumGetInt32(k->constvalue), 0));
	}
	request->rows = Max(n, 1);
	return (Node *) request;
}

/* embed_support(internal) returns internal */
Datum
embed_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	embed_ahead_planned = true;
	if (IsA(request, SupportRequestCost))
		answer = embed_cost((SupportRequestCost *) request);
	else if (IsA(request, SupportRequestRows))
		answer = answer_rows((SupportRequestRows *) request, 0);
	PG_RETURN_POINTER(answer);
}

/* embed_rerank_support(internal) returns internal */
Datum
embed_rerank_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestCost))
		answer = rerank_cost((SupportRequestCost *) request);
	else if (IsA(request, SupportRequestRows))
		answer = answer_rows((SupportRequestRows *) request, 1);
	PG_RETURN_POINTER(answer);
}

/* embed_maxsim_support(internal) returns internal */
Datum
embed_maxsim_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestCost))
		answer = maxsim_cost((SupportRequestCost *) request);
	PG_RETURN_POINTER(answer);
}
