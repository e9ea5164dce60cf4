/*
 * version.c
 *		embed_version(): what is installed.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/store/catalog_version.h"

EMBED_FUNCTION(embed_version);

/*
 * embed_version() returns (library text, extension text, image_layout int,
 * image_numerics int). Works whatever the versions are.
 */
Datum
embed_version(PG_FUNCTION_ARGS)
{
	char	   *extension = embed_catalog_version();
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false};
	int32_t		layout;
	int32_t		numerics;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(EMBED_CORE_VERSION);
	nulls[1] = extension == NULL;
	if (extension != NULL)
		values[1] = CStringGetTextDatum(extension);
	emb_model_versions(&layout, &numerics);
	values[2] = Int32GetDatum(layout);
	values[3] = Int32GetDatum(numerics);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
