/*
 * verify.c
 *		embed_verify: recomputes the reference texts of an image on this
 *		machine.
 */
#include "pg/sql/verify.h"

#include <sys/stat.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/call/limits.h"
#include "pg/sql/rows.h"
#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/image_rows.h"
#include "pg/store/pinned_name.h"
#include "pg/store/registry.h"
#include "pg/store/storage.h"
#include "pg/store/tables.h"

EMBED_FUNCTION(embed_verify);

/* Bytes hashed between two polls for a cancel, a few ms. */
#define HASH_STEP_BYTES ((size_t) 4 * 1024 * 1024)

typedef struct Findings
{
	int32		n;
	int32		n_ids_equal;
	int32		n_bits_equal;
	int64		n_tokens;
	double		sum;
	double		expected_sum;
	float		lowest;
	float		expected_lowest;
	int32		n_sparse_equal;
	int32		n_multi_equal;
	double		sparse_sum;		/* of cosines at import, like the next three */
	double		multi_sum;
	float		sparse_lowest;
	float		multi_lowest;
} Findings;

pg_attribute_printf(4, 5) static void
put_check(EmbedRows *rows, const char *check, bool ok, const char *format,...)
{
	StringInfoData detail;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	va_list		args;
	int			needed;

	initStringInfo(&detail);
	for (;;)
	{
		va_start(args, format);
		needed = appendStringInfoVA(&detail, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	values[0] = CStringGetTextDatum(check);
	values[1] = BoolGetDatum(ok);
	values[2] = CStringGetTextDatum(detail.data);
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
	pfree(detail.data);
}

/* Whether the bytes mapped by this backend are the bytes of the import. */
static bool
image_is_whole(const EmbedModelRef *ref)
{
	size_t		size = ref->info->size_bytes;
	uint8		digest[EMB_HASH_SIZE];
	EmbHash    *hash = emb_hash_begin();
	bool		ok = hash != NULL;
	bool		cancelled = false;
	EmbStop		stop = embed_stop();

	for (size_t at = 0; ok && !cancelled && at < size; at += HASH_STEP_BYTES)
	{
		ok = emb_hash_update(hash, ref->image + at, Min(size - at, HASH_STEP_BYTES));
		cancelled = stop.should_stop(stop.ctx);
	}
	if (hash != NULL)
		ok &= emb_hash_end(hash, digest);
	embed_registry_check(ref, EMB_OK, NULL);
	if (cancelled)
		CHECK_FOR_INTERRUPTS();
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
	return memcmp(digest, ref->fingerprint, EMB_HASH_SIZE) == 0;
}

EmbReferenceCheck
embed_check_reference(const EmbedModelRef *ref, int32 i, MemoryContext scratch)
{
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	EmbRun		run = {.mem = &mem, .stop = &stop, .batch_tokens = embed_guc_batch_tokens, .n_threads = 1};
	EmbReferenceCheck check;
	EmbError	err;
	EmbStatus	status;

	CHECK_FOR_INTERRUPTS();
	run.n_threads = embed_threads_begin(embed_clock_ns());
	status = emb_model_check_reference(ref->model, i, &run, &check, &err);
	embed_threads_end(embed_clock_ns());
	MemoryContextReset(scratch);
	embed_registry_check(ref, status, &err);
	/* a text late: how many tokens a reference has, only its computation tells */
	embed_limits_count(check.n_tokens);
	return check;
}

static void
add_finding(Findings *f, const EmbReferenceCheck *check)
{
	f->lowest = f->n == 0 ? check->closeness : Min(f->lowest, check->closeness);
	f->expected_lowest = f->n == 0 ? check->closeness_expected : Min(f->expected_lowest, check->closeness_expected);
	f->sparse_lowest = f->n == 0 ? check->sparse_closeness : Min(f->sparse_lowest, check->sparse_closeness);
	f->multi_lowest = f->n == 0 ? check->multi_closeness : Min(f->multi_lowest, check->multi_closeness);
	f->n_sparse_equal += check->sparse_equal;
	f->n_multi_equal += check->multi_equal;
	f->sparse_sum += check->sparse_closeness;
	f->multi_sum += check->multi_closeness;
	f->n++;
	f->n_ids_equal += check->ids_equal;
	f->n_bits_equal += check->bits_equal;
	f->n_tokens += check->n_tokens;
	f->sum += check->closeness;
	f->expected_sum += check->closeness_expected;
}

/* A row per text whose result differs from the import. */
static void
check_references(EmbedRows *rows, const EmbedModelRef *ref, Findings *f)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed scratch",
												  ALLOCSET_DEFAULT_SIZES);
	int32		n = emb_model_n_references(ref->model);

	for (int32 i = 0; i < n; i++)
	{
		EmbReferenceCheck check = embed_check_reference(ref, i, scratch);

		add_finding(f, &check);
		if (!check.sparse_equal || !check.multi_equal)
			put_check(rows, psprintf("text %d", i + 1), false, "%d tokens: weights of tokens %s, token vectors %s", check.n_tokens,
					  check.sparse_equal ? "equal" : "differ", check.multi_equal ? "equal" : "differ");
		if (!check.ids_equal || !check.bits_equal)
			put_check(rows, psprintf("text %d", i + 1), false,
					  "%d tokens: ids %s, bits %s, %s %.6f (%.6f at import)", check.n_tokens,
					  check.ids_equal ? "equal" : "differ", check.bits_equal ? "equal" : "differ",
					  ref->info->kind == EMB_KIND_RERANKER ? "closeness" : "cosine",
					  check.closeness, check.closeness_expected);
	}
	MemoryContextDelete(scratch);
}

/* What a model returns besides a vector; its cosines are those of the import, which equal bits have again. */
static void
put_outputs(EmbedRows *rows, const EmbedModelRef *ref, const Findings *f)
{
	if (ref->info->has_sparse)
		put_check(rows, "sparse", f->n > 0 && f->n_sparse_equal == f->n,
				  "%d of %d texts have the weights of tokens of the import, whose cosine to the unquantized weights was: mean %.6f, min %.6f",
				  f->n_sparse_equal, f->n, f->n > 0 ? f->sparse_sum / f->n : 0, f->sparse_lowest);
	if (ref->info->multi_dim > 0)
		put_check(rows, "multi", f->n > 0 && f->n_multi_equal == f->n,
				  "%d of %d texts have the token vectors of the import, whose cosine to the unquantized vectors was: mean %.6f, min %.6f",
				  f->n_multi_equal, f->n, f->n > 0 ? f->multi_sum / f->n : 0, f->multi_lowest);
}

/* Equal bits have equal figures; a NaN is not ok. */
static void
put_closeness(EmbedRows *rows, const EmbedModelRef *ref, const Findings *f)
{
	bool		ok = f->n > 0 && f->lowest >= f->expected_lowest;
	double		mean = f->n > 0 ? f->sum / f->n : 0;
	double		expected_mean = f->n > 0 ? f->expected_sum / f->n : 0;

	if (ref->info->kind == EMB_KIND_RERANKER)
	{
		put_check(rows, "bits", f->n > 0 && f->n_bits_equal == f->n,
				  "%d of %d scores have the bits of the import", f->n_bits_equal, f->n);
		put_check(rows, "score", ok, "difference to the unquantized scores: mean %.6f, max %.6f (at import %.6f, %.6f)",
				  1 - mean, 1 - f->lowest, 1 - expected_mean, 1 - f->expected_lowest);
		return;
	}
	put_check(rows, "bits", f->n > 0 && f->n_bits_equal == f->n,
			  "%d of %d vectors have the bits of the import", f->n_bits_equal, f->n);
	put_check(rows, "cosine", ok, "to the unquantized vectors: mean %.6f, min %.6f (at import %.6f, %.6f)",
			  mean, f->lowest, expected_mean, f->expected_lowest);
}

/* What the rows and the files of a model look like before it is mapped. */
typedef struct Storage
{
	bool		is_filed;
	bool		is_lost;		/* there is no image to check */
	char		path[MAXPGPATH];	/* of a filed image */
} Storage;

/*
 * The first defect in the rows of the model, or NULL. A file of the image
 * hides such losses from all other calls.
 */
static char *
find_flaw(const char *name, Storage *storage)
{
	Snapshot	snapshot = embed_storage_begin_read();
	EmbedPinnedName pinned;
	EmbedModelRow row;
	int64		size_bytes;
	char	   *flaw = NULL;

	/* the lookup refuses other names */
	if (embed_pinned_parse(name, &pinned) && embed_storage_find_model(pinned.name, snapshot, &row) && !row.dropped &&
		embed_digits_match(pinned.digits, row.fingerprint))
	{
		flaw = embed_storage_check_rows(row.fingerprint, snapshot);
		storage->is_filed = embed_storage_image_is_filed(row.fingerprint, snapshot);
		embed_filed_path(storage->path, row.fingerprint);
		if (!embed_storage_find_image(row.fingerprint, snapshot, &size_bytes))
			storage->is_lost = true;
		else if (storage->is_filed)
			storage->is_lost = !embed_image_file_is_good(storage->path, row.fingerprint, size_bytes, true);
		else
			storage->is_lost = flaw != NULL && !embed_image_file_exists(row.fingerprint, size_bytes);
	}
	embed_storage_end_read(snapshot);
	return flaw;
}

static void
put_rows_check(EmbedRows *rows, const Storage *storage, const char *flaw)
{
	if (flaw == NULL && storage->is_filed)
		put_check(rows, "rows", true, "the image is stored as a file; its row in schema _embed is right");
	else if (flaw == NULL)
		put_check(rows, "rows", true, "the tables of schema _embed hold the whole image");
	else
		put_check(rows, "rows", false, "%s: import the model again under its name, or restore schema _embed from a backup; "
				  "dumps and standbys have the same rows", flaw);
}

static const char *
lost_image(const Storage *storage)
{
	struct stat st;

	if (!storage->is_filed)
		return "neither a file nor the rows hold the whole image";
	return psprintf(lstat(storage->path, &st) != 0
					? "file \"%s\" is missing: copy it from a server that has the model, or import the model again under its name"
					: "file \"%s\" is not the image: replace it by the file of a server that has the model, or import the model again under its name",
					storage->path);
}

/* The mapped image is intact: compares its row, and locates a defect. */
static char *
compare_rows(const EmbedModelRef *ref, bool stored_chunks_too)
{
	Snapshot	snapshot = embed_storage_begin_read();
	char	   *flaw = embed_storage_compare_rows(ref->fingerprint, snapshot, ref->info, stored_chunks_too ? ref->image : NULL);

	embed_storage_end_read(snapshot);
	embed_registry_check(ref, EMB_OK, NULL);
	return flaw;
}

/* embed_verify(name text) returns table ("check" text, ok bool, detail text) */
Datum
embed_verify(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EmbedRows	rows = embed_rows_begin(fcinfo);
	Storage		storage = {0};
	char	   *flaw = find_flaw(name, &storage);
	const EmbedModelRef *ref;
	Findings	f = {0};
	bool		whole;

	if (storage.is_lost)
	{
		put_rows_check(&rows, &storage, flaw);
		put_check(&rows, "image", false, "%s", lost_image(&storage));
		return (Datum) 0;
	}
	ref = embed_registry_lookup(name, 0, EMBED_NAME_ARGUMENT);
	whole = image_is_whole(ref);
	if (whole)
		flaw = compare_rows(ref, flaw != NULL);
	put_rows_check(&rows, &storage, flaw);
	put_check(&rows, "image", whole, "%lld bytes, %s, %s", (long long) ref->info->size_bytes, ref->info->precision,
			  whole ? "with the hash of the import"
			  : storage.is_filed ? "differ from the import: replace the file, or import the model again under its name"
			  : "differ from the import: the next call rebuilds the file");
	if (!whole)
	{
		/*
		 * changed without a trace in the file system. Nobody computes on these
		 * bytes; the next lookup maps other bytes
		 */
		embed_registry_damaged(ref);
		return (Datum) 0;
	}
	embed_isa_apply();
	/* a level that failed its self-test is not in use */
	if (emb_isa_failed() != NULL)
		put_check(&rows, "kernels", true, "%s, equal to plain C in the self-test; %s was not, in %s", emb_isa_name(), emb_isa_failed(),
				  emb_isa_failed_op(emb_isa_failed()));
	else
		put_check(&rows, "kernels", true, "%s, equal to plain C in the self-test", emb_isa_name());
	check_references(&rows, ref, &f);
	put_check(&rows, "token ids", f.n > 0 && f.n_ids_equal == f.n,
			  "%d of %d texts have the ids of the import (%lld tokens)", f.n_ids_equal, f.n, (long long) f.n_tokens);
	if (ref->info->kind == EMB_KIND_RERANKER || ref->info->has_dense)
		put_closeness(&rows, ref, &f);
	put_outputs(&rows, ref, &f);
	return (Datum) 0;
}
