/*
 * launcher.c
 *		Starts fillers where no commit does: after a restart of a server that
 *		preloads the library, and where no worker slot was free.
 *
 * The launcher is a static background worker. It has no database, so it is in
 * nobody's way. It starts when recovery ends: not on a standby, but after its
 * promotion. At first it starts a filler in every database, one after another;
 * a filler without work ends. From then on it looks every few seconds at the
 * marks of the control file.
 */
#include "pg/kept/filler.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/kept/filler_place.h"
#include "pg/kept/wake.h"

#define LOOK_MS		5000
#define STEP_MS		50
#define RESTART_S	5

/* Databases that accept connections and are no templates, in cxt. */
static List *
find_databases(MemoryContext cxt)
{
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		if (form->datallowconn && !form->datistemplate)
			result = lappend_oid(result, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return result;
}

static void
start_filler(Oid database)
{
	while (embed_guc_background && !embed_filler_register(database, 0))
		embed_filler_nap(1000);
	embed_filler_nap(STEP_MS);
}

/* Marks without a filler; a dropped database may keep its entry for a while. */
static void
look(MemoryContext cxt)
{
	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	for (int i = 0; i < EMBED_FILLERS; i++)
	{
		EmbedFiller *filler = embed_filler_at(i);
		Oid			database = filler != NULL ? filler->database : InvalidOid;

		if (!OidIsValid(database))
			return;
		if (embed_guc_background && filler->wanted != filler->done && !embed_filler_lives(filler, database) &&
			list_member_oid(find_databases(cxt), database))
			start_filler(database);
		MemoryContextReset(cxt);
	}
}

void
embed_launcher_main(pg_attribute_unused() Datum unused)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "embed launcher", ALLOCSET_SMALL_SIZES);
	List	   *databases;
	ListCell   *cell;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	databases = find_databases(TopMemoryContext);
	foreach(cell, databases)
		start_filler(lfirst_oid(cell));
	for (;;)
	{
		embed_filler_nap(LOOK_MS);
		look(cxt);
	}
}

void
embed_launcher_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	embed_worker_init(&worker, "embed launcher", "embed_launcher_main");
	strlcpy(worker.bgw_name, "embed launcher", BGW_MAXLEN);
	worker.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&worker);
}
