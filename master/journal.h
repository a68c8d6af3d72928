/*
 * master/journal.h -- what every journal promises
 *
 * A journal keeps typed records, key to value, and nothing else, so that a
 * local file and a key-value store can both be one.  The master puts the whole
 * state of whatever changed; the last put or remove of a key counts.
 *
 *   record      key        value (record.h)
 *   meta        -          cluster, epoch, ids
 *   node        uuid 16    id, name, host
 *   directory   id u64     place, attributes, extended attributes
 *   object      id u64     place, attributes, extended attributes, replicas
 *
 * What is put between two flushes is one group: after a crash all of it is
 * there or nothing.
 *
 *     open ─► load ─► (put | remove)* ─► flush ─► …  ─► close
 *
 * A snapshot rewrites the journal to what is still true, a bit a turn, while
 * groups go on: snapshot_begin, then every record by snapshot_put, in any
 * order, each in its state of that moment, then snapshot_end.
 *
 * Ownership   close frees.  Bytes given to put are copied.
 * Threads     One at a time.
 * Errors      open: MC_BUSY another process has it, MC_NOT_FOUND there is none
 *             and config->fresh is not set, MC_INVALID the name makes no sense.
 *             load: MC_IO damaged (logged with the offset).
 *             flush: MC_IO, MC_NO_SPACE; the group is kept, and the next flush
 *             tries again.
 */
#ifndef MASTER_JOURNAL_H
#define MASTER_JOURNAL_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

/* Numbers are on disk: never reused. */
enum record_kind { RECORD_META = 1, RECORD_NODE = 2, RECORD_DIRECTORY = 3, RECORD_OBJECT = 4 };

#define RECORD_KEY_MAX	 16u
#define RECORD_VALUE_MAX (1u << 20)

enum journal_sync { JOURNAL_SYNC_NEVER, JOURNAL_SYNC_INTERVAL, JOURNAL_SYNC_ALWAYS };

struct journal_config {
	const char *path; /* what follows "file:" */
	enum journal_sync sync;
	bool fresh; /* may begin an empty one */
};

struct journal_counters {
	uint64_t bytes;	  /* it takes now */
	uint64_t records; /* put or removed since open */
	uint64_t flushes;
	uint64_t syncs;
	uint64_t compactions;
};

/* What load found besides the records. */
struct journal_loaded {
	bool empty;	 /* a new one */
	bool incomplete; /* records that were acknowledged may be missing at its end */
};

/* A record of the journal, in the order of writing.  value NULL: removed. */
typedef enum mc_status journal_visit(void *context, enum record_kind kind, const uint8_t *key,
				     size_t key_size, const uint8_t *value, size_t value_size);

struct journal_ops {
	const char *name; /* what stands before the colon in --journal */
	bool durable;	  /* what was flushed is there after a restart */
	enum mc_status (*open)(const struct journal_config *config, struct journal **journal);
	void (*close)(struct journal *journal);
	enum mc_status (*load)(struct journal *journal, journal_visit *visit, void *context,
			       struct journal_loaded *loaded);
	void (*put)(struct journal *journal, enum record_kind kind, const uint8_t *key,
		    size_t key_size, const uint8_t *value, size_t value_size);
	void (*remove)(struct journal *journal, enum record_kind kind, const uint8_t *key,
		       size_t key_size);
	/* End the group and make it as safe as the sync policy says. */
	enum mc_status (*flush)(struct journal *journal);
	/* Called now and then: the sync of "interval". */
	void (*tick)(struct journal *journal, uint64_t now_ms);
	/* A snapshot pays: what is true would take live_size bytes. */
	bool (*snapshot_due)(const struct journal *journal, uint64_t live_size);
	enum mc_status (*snapshot_begin)(struct journal *journal);
	enum mc_status (*snapshot_put)(struct journal *journal, enum record_kind kind,
				       const uint8_t *key, size_t key_size, const uint8_t *value,
				       size_t value_size);
	/* ok false: give it up, the journal stays as it is. */
	enum mc_status (*snapshot_end)(struct journal *journal, bool ok);
	void (*counters)(const struct journal *journal, struct journal_counters *counters);
};

/* Every open journal begins with this. */
struct journal {
	const struct journal_ops *ops;
};

extern const struct journal_ops journal_file_ops;
extern const struct journal_ops journal_memory_ops;

/* The table, ended by NULL. */
extern const struct journal_ops *const journal_table[];

/*
 * Open what a text such as "file:PATH" or "memory" names.
 *
 * MC_INVALID   there is no such kind of journal, or no such sync
 */
MC_MUST_CHECK enum mc_status journal_open(const char *text, const char *sync, bool fresh,
					  struct journal **journal);

#endif
