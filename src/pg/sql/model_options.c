/*
 * model_options.c
 *		Names of models, and the JSON options of embed_import, embed_load and
 *		embed_load_lo.
 */
#include "pg/sql/model_options.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* The name as a C string, or ERROR 42602 that shows its beginning. */
char *
embed_valid_name(text *name, const char *what)
{
	const char *data = VARDATA_ANY(name);
	int			size = VARSIZE_ANY_EXHDR(name);
	int			shown;

	if (emb_name_is_valid(data, size))
		return text_to_cstring(name);
	shown = pg_mbcliplen(data, size, EMB_NAME_MAX);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("invalid %s \"%.*s%s\"", what, shown, data, shown < size ? "..." : ""),
			 errhint("A name has 1 to %d characters from A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \"/\".", EMB_NAME_MAX)));
}

pg_noreturn static void
option_type_error(const char *key, const char *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be a %s", embed_shown(key), type)));
}

static char *
option_string(const char *key, const JsonbValue *v)
{
	if (v->type != jbvString)
		option_type_error(key, "string");
	return pnstrdup(v->val.string.val, v->val.string.len);
}

static char *
option_utf8(const char *key, const JsonbValue *v)
{
	char	   *s = option_string(key, v);

	return pg_server_to_any(s, strlen(s), PG_UTF8);
}

/* An object, as JSON text. */
static char *
option_object(const char *key, const JsonbValue *v)
{
	char	   *s;

	if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
		option_type_error(key, "JSON object");
	s = JsonbToCString(NULL, v->val.binary.data, v->val.binary.len);
	return pg_server_to_any(s, strlen(s), PG_UTF8);
}

static bool
option_bool(const char *key, const JsonbValue *v)
{
	if (v->type != jbvBool)
		option_type_error(key, "boolean");
	return v->val.boolean;
}

static int32
option_int(const char *key, const JsonbValue *v)
{
	Numeric		n;

	if (v->type != jbvNumeric)
		option_type_error(key, "number");
	n = v->val.numeric;
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(n),
										  DirectFunctionCall2(numeric_trunc, NumericGetDatum(n), Int32GetDatum(0)))))
		option_type_error(key, "whole number");
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(n), DirectFunctionCall1(int4_numeric, Int32GetDatum(PG_INT32_MAX)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(n), DirectFunctionCall1(int4_numeric, Int32GetDatum(PG_INT32_MIN)))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is out of range", embed_shown(key)),
				 errhint("It takes whole numbers up to %d.", PG_INT32_MAX)));
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(n)));
}

static char *
get_valid_fingerprint(char *fingerprint)
{
	if (strlen(fingerprint) != 2 * EMB_HASH_SIZE || strspn(fingerprint, "0123456789abcdef") != 2 * EMB_HASH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"fingerprint\" is \"%s\", but must have %d digits from 0-9 and a-f", embed_shown(fingerprint),
						2 * EMB_HASH_SIZE)));
	return fingerprint;
}

static char *
get_valid_storage(char *storage)
{
	if (strcmp(storage, "rows") != 0 && strcmp(storage, "file") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"storage\" is \"%s\", but must be \"rows\" or \"file\"", embed_shown(storage))));
	return storage;
}

static void
set_option(EmbedModelOptions *options, const char *key, const JsonbValue *v)
{
	bool		import_only = true;

	if (v->type == jbvNull)
		return;
	if (strcmp(key, "precision") == 0)
		options->import.precision = option_string(key, v);
	else if (strcmp(key, "keep_int8") == 0)
		options->import.keep_int8 = option_string(key, v);
	else if (strcmp(key, "group") == 0)
	{
		options->import.group = option_int(key, v);
		if (options->import.group == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"group\" is 0, but must be 32, 64, 128 or -1")));
	}
	else if (strcmp(key, "keep_percent") == 0)
	{
		options->import.keep_percent = option_int(key, v);
		if (options->import.keep_percent == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"keep_percent\" is 0, but must be 1 to 99")));
	}
	else if (strcmp(key, "calibration") == 0)
		options->calibration = option_string(key, v);
	else if (strcmp(key, "query_prompt") == 0)
		options->import.query_prompt = option_utf8(key, v);
	else if (strcmp(key, "document_prompt") == 0)
		options->import.document_prompt = option_utf8(key, v);
	else if (strcmp(key, "kind") == 0)
		options->import.kind = option_utf8(key, v);
	else if (strcmp(key, "label") == 0)
		options->import.label = option_utf8(key, v);
	else if (strcmp(key, "instruction") == 0)
		options->import.instruction = option_utf8(key, v);
	else if (strcmp(key, "template") == 0)
		options->import.template = option_object(key, v);
	else if (strcmp(key, "pooling") == 0)
		options->import.pooling = option_utf8(key, v);
	else if (strcmp(key, "normalize") == 0)
	{
		options->import.normalize = option_bool(key, v);
		options->import.sets_normalize = true;
	}
	else if (strcmp(key, "layer_norm") == 0)
	{
		options->import.layer_norm = option_bool(key, v);
		options->import.sets_layer_norm = true;
	}
	else if (strcmp(key, "max_tokens") == 0)
	{
		options->import.max_tokens = option_int(key, v);
		if (options->import.max_tokens <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"max_tokens\" is %d, but must be positive", options->import.max_tokens)));
	}
	else if (strcmp(key, "dimensions") == 0)
	{
		options->import.dimensions = option_int(key, v);
		if (options->import.dimensions <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"dimensions\" is %d, but must be positive", options->import.dimensions)));
	}
	else
	{
		import_only = false;
		if (strcmp(key, "default") == 0)
		{
			options->has_default = true;
			options->make_default = option_bool(key, v);
		}
		else if (strcmp(key, "fingerprint") == 0)
			options->fingerprint = get_valid_fingerprint(option_string(key, v));
		else if (strcmp(key, "storage") == 0)
			options->storage = get_valid_storage(option_string(key, v));
		else if (strcmp(key, "alias") == 0)
			options->alias = embed_valid_name(cstring_to_text(option_string(key, v)), "alias");
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown option \"%s\"", embed_shown(key)),
					 errhint("The options are precision, group, keep_int8, keep_percent, calibration, query_prompt, document_prompt, max_tokens, dimensions, "
							 "kind, label, instruction, template, pooling, normalize, layer_norm, storage, fingerprint, default and alias.")));
	}
	options->has_import |= import_only;
}

void
embed_model_options_parse(Jsonb *jsonb, EmbedModelOptions *options)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	char	   *key = NULL;

	memset(options, 0, sizeof(*options));
	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example '{\"max_tokens\": 256, \"alias\": \"current\"}'.")));
	it = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
			set_option(options, key, &v);
	}
}
