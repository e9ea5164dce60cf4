/*
 * embed.c
 *		Module magic and initialization.
 */
#include "pg/glue.h"
#include "pg/known.h"
#include "pg/proofs.h"
#include "pg/registry.h"
#include "pg/stat.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	embed_guc_init();
	embed_registry_init();
	embed_stat_init();
	embed_proofs_init();
	embed_known_init();
}
