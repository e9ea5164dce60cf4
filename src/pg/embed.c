/*
 * embed.c
 *		Module magic and initialization.
 */
#include "pg/glue.h"
#include "pg/ahead/ahead_node.h"
#include "pg/auto/known.h"
#include "pg/call/proofs.h"
#include "pg/kept/switch.h"
#include "pg/kept/wake.h"
#include "pg/store/catalog_version.h"
#include "pg/store/registry.h"
#include "pg/stat/progress_state.h"
#include "pg/stat/stat.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	embed_guc_init();
	embed_catalog_version_init();
	embed_registry_init();
	embed_stat_init();
	embed_progress_init();
	embed_proofs_init();
	embed_known_init();
	embed_ahead_init();
	embed_wake_init();
	embed_switch_guard_init();
}
