/*
 * handover.c
 *		The vector that a fill hands to embed_trigger for the row it writes.
 */
#include "pg/call/handover.h"

static struct
{
	Oid			table;			/* InvalidOid: nothing is handed over */
	Oid			trigger;
	struct varlena *text;
	const float *vector;
	int32		dim;
} handed;

void
embed_hand_over(Oid table, Oid trigger, Datum text, const float *vector, int32 dim)
{
	handed.table = table;
	handed.trigger = trigger;
	handed.text = (struct varlena *) DatumGetPointer(text);
	handed.vector = vector;
	handed.dim = dim;
}

void
embed_hand_over_end(void)
{
	handed.table = InvalidOid;
}

bool
embed_is_handing_over(void)
{
	return OidIsValid(handed.table);
}

const float *
embed_handed_over(Oid table, Oid trigger, Datum text, int32 *dim)
{
	struct varlena *plain;
	bool		is_same;

	if (!OidIsValid(handed.table) || handed.table != table || handed.trigger != trigger)
		return NULL;
	plain = PG_DETOAST_DATUM_PACKED(text);
	is_same = VARSIZE_ANY_EXHDR(plain) == VARSIZE_ANY_EXHDR(handed.text) &&
		memcmp(VARDATA_ANY(plain), VARDATA_ANY(handed.text), VARSIZE_ANY_EXHDR(plain)) == 0;
	if (PointerGetDatum(plain) != text)
		pfree(plain);
	*dim = handed.dim;
	return is_same ? handed.vector : NULL;
}
