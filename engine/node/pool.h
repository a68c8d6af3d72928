/*
 * engine/node/pool.h -- the files that hold this node's objects
 *
 * A pool is a directory, on a tmpfs that this process mounts for itself
 * (with CAP_SYS_ADMIN) or in a place it was given, with one file an object:
 *
 *     <pool>/objects/<id, 16 hex digits>     the bytes, from offset 0
 *     <pool>/drafts/<id>                     drafts that had a name; gone at the next start
 *     <pool>/drafts/<id>.reused              the same, of another object
 *     <pool>/aside/<name>                    what a scan found damaged or foreign
 *     <pool>/uuid                            16 bytes, drawn once: who this node is
 *     <pool>/lock                            held (flock) while a daemon runs
 *
 * A draft is an unlinked file: a crash before pool_commit() leaves nothing.
 * What an object is stands in an extended attribute of its file (record.h), so
 * that a restarted daemon can announce what it has.
 *
 * Ownership   The pool stays mounted when it is closed: it outlives the daemon.
 *             pool_destroy() ends a private one.  Descriptors are the caller's.
 * Threads     Any thread; nothing here takes a lock.
 * Errors      MC_NO_SPACE, MC_IO (logged).  After an error nothing has changed.
 */
#ifndef ENGINE_NODE_POOL_H
#define ENGINE_NODE_POOL_H

#include <mooncake/status.h>
#include <mooncake/types.h>

#define POOL_NAME_SIZE 17 /* of a file, with the end */

struct pool;

struct pool_config {
	const char *path; /* the directory; made if missing */
	uint64_t size;	  /* bytes to lend */
	bool mount;	  /* mount a private tmpfs there; needs CAP_SYS_ADMIN */
};

struct pool_space {
	uint64_t capacity; /* bytes */
	uint64_t used;
	uint64_t free;
	uint64_t spare; /* of what is free: held by files that can go at once (stock.h) */
};

/* What scan found under objects/. */
struct pool_found {
	uint64_t id;
	const void *record; /* the attribute's bytes, NULL when it has none */
	size_t record_size;
	uint64_t size; /* of the file */
	uint64_t allocated;
	struct mc_time mtime; /* where it is marked: when that was done */
	bool recorded;	      /* pool_recorded() */
	const char *name;     /* of the file */
};

/*
 * Waits 1.5 s for a daemon that ends: its mount goes before its pool.
 *
 * MC_BUSY      another daemon has this pool
 * MC_INVALID   the path is no directory, or the size is zero
 */
MC_MUST_CHECK enum mc_status pool_open(const struct pool_config *config, struct pool **pool);
void pool_close(struct pool *pool);

/* Forget everything in a pool that pool_open mounted, and unmount it. */
void pool_destroy(struct pool *pool);

const uint8_t *pool_uuid(const struct pool *pool);
const char *pool_path(const struct pool *pool);
/* The directory of the objects, which stays the pool's. */
int pool_objects(const struct pool *pool);
/* The name of an object's file in it. */
void pool_name(uint64_t id, char name[POOL_NAME_SIZE]);
/* A tmpfs mounted by us, with huge pages: "tmpfs huge=within_size", or why not. */
const char *pool_kind(const struct pool *pool);

/* Open an empty draft, for reading and writing. */
MC_MUST_CHECK enum mc_status pool_draft(struct pool *pool, int *fd);

/* Write the record of a file. */
MC_MUST_CHECK enum mc_status pool_record(struct pool *pool, int fd, const void *record,
					 size_t size);
/* The same, of a committed file. */
MC_MUST_CHECK enum mc_status pool_record_id(struct pool *pool, uint64_t id, const void *record,
					    size_t size);

/* Read the record of a committed file; *size is the room, then what was read. */
MC_MUST_CHECK enum mc_status pool_read_record(struct pool *pool, uint64_t id, void *record,
					      size_t *size);

/* The same of a file of any pool whose records stand where this one's do. */
MC_MUST_CHECK enum mc_status pool_record_of(const struct pool *pool, int fd, void *record,
					    size_t *size);

/* Give a draft its name.  MC_EXISTS: an object with that id is there. */
MC_MUST_CHECK enum mc_status pool_commit(struct pool *pool, int fd, uint64_t id);

/*
 * Make a committed file a draft again, which can be committed once more.  The
 * kernel gives no name to a file that lost its last one, so this one stays in
 * drafts/ until it is committed or pool_forget() is called.
 */
void pool_withdraw(struct pool *pool, uint64_t id);
void pool_forget(struct pool *pool, uint64_t id);

/*
 * Take an object's name away, as pool_remove() does.  If nobody else has the file open,
 * no byte of it is missing, and it has that size, it is handed on as a draft for another
 * object, with all that it holds.
 *
 * MC_BUSY   it is not
 */
MC_MUST_CHECK enum mc_status pool_reclaim(struct pool *pool, uint64_t id, uint64_t size, int *fd);
/* Give what was the file of `from` the name of another object; as pool_commit(). */
MC_MUST_CHECK enum mc_status pool_commit_reclaimed(struct pool *pool, uint64_t from, uint64_t id);
void pool_forget_reclaimed(struct pool *pool, uint64_t from);

/* Open a draft once more, for reading only: it does not count as a writer (pool_unwritten). */
MC_MUST_CHECK enum mc_status pool_open_again(struct pool *pool, int fd, int *again);

/* Open a committed object with open(2) flags.  MC_NOT_FOUND. */
MC_MUST_CHECK enum mc_status pool_object(struct pool *pool, uint64_t id, int flags, int *fd);

/* What the file of an object is like: of draft fd where that is >= 0, else of the id's. */
struct stat;
MC_MUST_CHECK enum mc_status pool_stat(struct pool *pool, uint64_t id, int fd, struct stat *st);

/*
 * Writes that bypass this process are told by the file's modification time:
 * pool_mark() sets it to one that no write sets, pool_marked() asks whether it
 * still stands.  One that pool_rest() sets also says which version the file is.
 */
void pool_mark(struct pool *pool, uint64_t id, int fd);
bool pool_marked(const struct stat *st);
/*
 * The same of a committed object whose record does not tell, or not yet, of what was
 * written: who scans the pool after a crash finds that.  pool_rest() ends it.
 */
void pool_mark_unrecorded(struct pool *pool, uint64_t id);
bool pool_recorded(const struct stat *st); /* marked, but not so */
/* Whether its mark says that it is at rest as this version; as whichever. */
bool pool_rests(const struct stat *st, uint64_t id, uint64_t version);
bool pool_rests_any(const struct stat *st);

/* Bytes of committed objects came or went; what a plain directory counts as used. */
void pool_account(struct pool *pool, int64_t bytes);

/* Bytes of such spare files came or went: they count as free. */
void pool_spare(struct pool *pool, int64_t bytes);

/* Take the name away; who has the file open keeps it. */
void pool_remove(struct pool *pool, uint64_t id);

/* Move a file that a scan found aside. */
void pool_set_aside(struct pool *pool, const char *name);

void pool_space(struct pool *pool, struct pool_space *space);

/* Call visit for each file under objects/. */
MC_MUST_CHECK enum mc_status pool_scan(struct pool *pool,
				       void (*visit)(void *context, const struct pool_found *found),
				       void *context);

/*
 * True when no other process, handle or memory map has the committed object
 * open, as far as the kernel tells (a lease is taken and given back).
 */
bool pool_unused(struct pool *pool, uint64_t id);

/* True when nobody has the file open for writing or mapped writable. */
bool pool_unwritten(struct pool *pool, uint64_t id);
/*
 * The same, and such a file, if its mark stands, is marked as that version at rest.
 * Who opens it for writing later takes that away first (shelf_claim).
 */
bool pool_rest(struct pool *pool, uint64_t id, uint64_t version);
/* The same of a file that is open for reading. */
bool pool_unwritten_file(int fd);

#endif
