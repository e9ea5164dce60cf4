/*
 * materialize.c
 *		Builds the file of an image from its rows, and maps it.
 */
#include "pg/store/materialize.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/image_rows.h"
#include "pg/store/spool.h"
#include "pg/store/storage.h"
#include "pg/store/sweep.h"
#include "pg/store/tables.h"

static void
write_stored_chunk(void *ctx, const char *data, size_t size)
{
	EmbError	err;
	EmbedSpool *spool = ctx;
	EmbStatus	status = embed_spool_write(spool, data, size, &err);

	if (status != EMB_OK)
		embed_throw(status, &err);
	embed_progress_done(&spool->progress, spool->size_bytes);
}

/* Whether an image of another layout computes the bits that this version does. */
static bool
has_our_numerics(const uint8 *fingerprint)
{
	char		head[EMB_IMAGE_HEAD_BYTES];
	int32_t		layout;
	int32_t		numerics;
	int32_t		our_layout;
	int32_t		our_numerics;

	emb_model_versions(&our_layout, &our_numerics);
	return embed_storage_image_head(fingerprint, head) && emb_model_versions_of(head, &layout, &numerics) &&
		layout != our_layout && numerics == our_numerics;
}

void
embed_materialize_throw(const uint8 *fingerprint, EmbStatus status, const EmbError *err)
{
	char		hex[2 * EMB_HASH_SIZE + 1];
	const char *message;
	char	   *name;

	if (status != EMB_ERR_UNSUPPORTED)
		embed_throw(status, err);
	message = embed_message_for_server(err->message);
	hex[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, hex)] = '\0';
	name = embed_storage_name_of(hex);
	ereport(ERROR,
			(errcode(embed_sqlstate(status)),
			 name != NULL ? errmsg("model \"%s\": %s", name, message) : errmsg("%s", message),
			 name != NULL && has_our_numerics(fingerprint)
			 ? errhint("SELECT embed_reimport(%s, 'the directory that it was imported from') makes it again, and every column goes on.",
					   quote_literal_cstr(name))
			 : errhint("%s Import it under a new name. For each kept column, CALL embed_refill and SELECT embed_switch. "
					   "Where nothing depends on the old image, SELECT embed_drop(%s, forget => true) frees the name.",
					   embed_message_for_server(err->hint), name != NULL ? quote_literal_cstr(name) : "name")));
}

pg_noreturn static void
rows_error(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stored image of a model does not have the hash it was imported with"),
			 errdetail("%s", detail),
			 errhint("Import the model again under its name, or restore the tables of schema _embed from a backup. "
					 "SELECT * FROM embed_verify('name') reports what is wrong.")));
}

/*
 * Anybody with rights on the tables may have written the rows, so the hash
 * alone proves little: the image must pass the checks for a client's image.
 */
static void
check_spool(EmbedSpool *spool)
{
	EmbModel   *model;
	EmbError	err;
	EmbStatus	status = embed_spool_try_open(spool, CurrentMemoryContext, &model, &err);

	if (status != EMB_OK)
		embed_materialize_throw(spool->fingerprint, status, &err);
	emb_model_close(model);
	embed_unmap(&spool->mapping);
}

static void
enter_progress(EmbedSpool *spool, const uint8 *fingerprint)
{
	char		hex[2 * EMB_HASH_SIZE + 1];
	const char *name;

	hex[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, hex)] = '\0';
	name = embed_storage_name_of(hex);
	embed_progress_enter(&spool->progress, "materialize", name != NULL ? name : hex);
}

/* Writes the file from the rows and checks the hash on the way, then checks the whole image. */
static void
write_from_rows(EmbedSpool *spool, const uint8 *fingerprint, int64 size_bytes, Snapshot snapshot)
{
	if (!embed_storage_size_is_credible(fingerprint, snapshot, size_bytes))
		rows_error(psprintf("There is no last stored chunk for the %lld bytes that it should have.", (long long) size_bytes));
	embed_spool_reserve(spool->fd, spool->path, size_bytes);
	enter_progress(spool, fingerprint);
	embed_progress_stage(&spool->progress, "write", "bytes", size_bytes);
	embed_storage_read_image(fingerprint, snapshot, write_stored_chunk, spool);
	embed_spool_finish(spool);
	if (spool->size_bytes != size_bytes || memcmp(spool->fingerprint, fingerprint, EMB_HASH_SIZE) != 0)
		rows_error(psprintf("%lld bytes were read, %lld expected.", (long long) spool->size_bytes, (long long) size_bytes));
	embed_progress_stage(&spool->progress, "check", "bytes", EMBED_PROGRESS_UNKNOWN);
	check_spool(spool);
}

/*
 * Maps fd. addr is NULL if the file was written to since it was checked: what
 * the mapping took for its unchanged state would be another one.
 */
static void
map_checked(EmbedMapping *mapping, int fd, int64 size_bytes, const char *path, struct timespec checked)
{
	embed_map(mapping, fd, size_bytes, path);
	if (!embed_image_file_is_same_time(mapping->modified, checked))
		embed_unmap(mapping);
}

/* Maps the file; addr is NULL if the file is missing or is not that image. */
static void
map_file(const uint8 *fingerprint, int64 size_bytes, bool trusted, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];
	struct timespec checked;
	int			fd;

	mapping->addr = NULL;
	embed_image_file_path_in(path, MyDatabaseId, fingerprint);
	fd = embed_image_file_open(path, fingerprint, size_bytes, trusted, &checked);
	if (fd < 0)
		return;
	map_checked(mapping, fd, size_bytes, path, checked);
	CloseTransientFile(fd);
}

/*
 * The name is taken by an object that cannot be removed: calls work, and each
 * session uses its own file.
 */
static void
warn_of_private_file(const char *path)
{
	ereport(WARNING,
			(errcode_for_file_access(),
			 errmsg("could not replace file \"%s\": %m", path),
			 errdetail("This session uses a file of its own instead, and does not share its memory."),
			 errhint("Remove the file.")));
}

/*
 * Renames the finished file to its final name and maps it. Without the name it
 * is mapped anyway. Uses the open descriptor, because opening again may fail.
 */
static void
publish_and_map(EmbedSpool *spool, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];

	embed_image_file_path_in(path, MyDatabaseId, spool->fingerprint);
	switch (embed_spool_publish_locked(spool))
	{
		case EMBED_PUBLISHED_OTHERS:
			map_file(spool->fingerprint, spool->size_bytes, true, mapping);
			break;
		case EMBED_PUBLISHED_OURS:
			map_checked(mapping, spool->fd, spool->size_bytes, path, spool->sealed);
			break;
		case EMBED_PUBLISH_FAILED:
			warn_of_private_file(path);
			embed_map(mapping, spool->fd, spool->size_bytes, path);
			mapping->is_private = true;
			(void) unlink(spool->path);
			spool->path[0] = '\0';
			break;
	}
	/* the mapping keeps the descriptor: if the old name remains, sweepers may remove it */
	(void) flock(spool->fd, LOCK_UN);
}

/*
 * Builds the file if it is missing (another backend may be faster) and maps
 * it, before a sweep that may no longer see its row.
 */
static void
materialize_file(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];
	int			lock_fd;

	embed_storage_lock_for_read();
	lock_fd = embed_image_file_lock();
	embed_image_file_path_in(path, MyDatabaseId, fingerprint);
	if (!embed_image_file_is_good(path, fingerprint, size_bytes, trusted) &&
		!((void) embed_image_file_clear_name(path), embed_image_file_link(fingerprint, size_bytes, trusted, path)))
	{
		EmbedSpool	spool;

		embed_spool_begin(&spool);
		PG_TRY();
		{
			write_from_rows(&spool, fingerprint, size_bytes, snapshot);
			publish_and_map(&spool, mapping);
		}
		PG_CATCH();
		{
			embed_spool_abort(&spool);
			PG_RE_THROW();
		}
		PG_END_TRY();
		CloseTransientFile(spool.fd);
		embed_progress_leave(&spool.progress);
		(void) embed_sweep_locked(true);
	}
	else
		map_file(fingerprint, size_bytes, true, mapping);
	CloseTransientFile(lock_fd);
}

/* -------------------------------------------------------- filed images */

static int
filed_hint(const char *path)
{
	return errhint(RecoveryInProgress()
				   ? "Copy file \"%s\" of the primary's data directory into the data directory of this standby. "
				   "The next call uses it."
				   : "Copy file \"%s\" from the data directory of a server that has the model into the data directory of this server, "
				   "and the next call uses it; or import the model again under its name.", path);
}

/* The file cannot serve; says which model needs which file, and what is wrong. */
pg_noreturn static void
filed_error(const char *path, const uint8 *fingerprint, int64 size_bytes)
{
	char		hex[2 * EMB_HASH_SIZE + 1];
	struct stat st;
	const char *name;

	hex[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, hex)] = '\0';
	name = embed_storage_name_of(hex);
	if (name == NULL)
		name = hex;
	if (lstat(path, &st) != 0)
	{
		bool		is_missing = errno == ENOENT || errno == ENOTDIR;

		ereport(ERROR,
				(is_missing ? errcode(ERRCODE_UNDEFINED_FILE) : errcode_for_file_access(),
				 errmsg("the image of model \"%s\" is not on this server: file \"%s\": %m", name, path),
				 errdetail("The image with fingerprint %s and %lld bytes is stored as a file in directory \"%s\" of the data directory. "
						   "Base backups hold it, but write-ahead log and dumps do not.", hex, (long long) size_bytes, EMBED_FILED_ROOT),
				 filed_hint(path)));
	}
	if (!S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\", which should be the image of model \"%s\", is not a regular file", path, name),
				 filed_hint(path)));
	if (access(path, R_OK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\", the image of model \"%s\": %m", path, name),
				 errhint("Give the file to the server's user, with the rights to read and write.")));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("file \"%s\" is not the image of model \"%s\"", path, name),
			 st.st_size != size_bytes
			 ? errdetail("It has %lld bytes, the image with fingerprint %s has %lld.", (long long) st.st_size, hex, (long long) size_bytes)
			 : errdetail("It does not have the SHA-256 %s.", hex),
			 filed_hint(path)));
}

/*
 * Anybody with rights on the table may have written the row, and the file may
 * come from anywhere: a file that no import of this cluster has checked must
 * pass the checks for a client's image. If it does not, its seal is broken.
 */
static void
check_filed(EmbedMapping *mapping, const uint8 *fingerprint)
{
	EmbAllocator mem = embed_allocator(CurrentMemoryContext);
	EmbModel   *model;
	EmbError	err;
	EmbStatus	status = embed_mapping_open_checked(mapping, &mem, &model, &err);

	if (status == EMB_OK)
	{
		emb_model_close(model);
		return;
	}
	embed_mapping_note_damage(mapping);
	embed_materialize_throw(fingerprint, status, &err);
}

static void
map_filed(const uint8 *fingerprint, int64 size_bytes, bool trusted, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];
	bool		is_sealed;
	struct timespec checked;
	int			fd;

	embed_filed_path(path, fingerprint);
	is_sealed = trusted && embed_image_file_is_sealed(path, fingerprint);
	fd = embed_image_file_open(path, fingerprint, size_bytes, trusted, &checked);
	if (fd < 0)
		filed_error(path, fingerprint, size_bytes);
	map_checked(mapping, fd, size_bytes, path, checked);
	CloseTransientFile(fd);
	if (mapping->addr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("file \"%s\" of a model image is being written to", path),
				 errhint("Call again when the file is complete.")));
	mapping->is_filed = true;
	if (!is_sealed)
		check_filed(mapping, fingerprint);
	embed_filed_own(fingerprint);
}

void
embed_materialize(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot, EmbedMapping *mapping)
{
	if (embed_storage_image_is_filed(fingerprint, snapshot))
	{
		map_filed(fingerprint, size_bytes, trusted, mapping);
		return;
	}
	map_file(fingerprint, size_bytes, trusted, mapping);
	/* a session that commits a drop or finds damage unlinks without the lock */
	for (int attempt = 0; mapping->addr == NULL; attempt++)
	{
		if (attempt == 10)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the file of a model image keeps disappearing from \"%s\"", EMBED_IMAGE_ROOT)));
		CHECK_FOR_INTERRUPTS();
		materialize_file(fingerprint, size_bytes, trusted, snapshot, mapping);
	}
}
