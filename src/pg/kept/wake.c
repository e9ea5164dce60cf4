/*
 * wake.c
 *		Wakes whoever fills the columns of this database, when rows are to do.
 */
#include "pg/kept/wake.h"

static bool is_wanted = false;

void
embed_filler_want(void)
{
	is_wanted = true;
}
