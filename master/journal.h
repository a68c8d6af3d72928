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
 *   policy      hash u64   prefix, replicas, ack, pin, preferred nodes
 *   deed        slot u64   what was done, and for which request (ledger.h)
 *
 * What is put between two flushes is one group: after a crash all of it is
 * there or nothing.
 *
 *     open ─► load ─► (put | remove)* ─► flush ─► …  ─► close
 *
 * A snapshot rewrites the journal to what is still true, a bit a turn, while
 * groups go on: snapshot_begin, then every record by snapshot_put, in any
 * order, each in its state of that moment, then snapshot_end.  A group that could not
 * be flushed goes along, and is done with it.
 *
 * A journal that several masters have in common (`follow` is set) is written by
 * one of them, the leader.  It is followed instead of loaded:
 *
 *     open ─► announce ─► follow* ─► (vacate, put, remove)* ─► flush ─► …
 *                            ▲                                         │
 *                            └─────────────────────────────────────────┘
 *                                      ready says MC_STALE
 *
 * Such a journal writes behind.  Groups are numbered; an answer that depends on
 * one may go out when `answerable` has come to it.  It knows entries by their
 * places and not by their ids: whatever leaves a place is told by vacate, in the
 * group of, and before, the put that gives the entry its new one, and the put of
 * whatever takes the place it left.
 *
 * A deed is put before the records that its change put or removed, and is as safe
 * as they are: never there without them, nor they without it.
 *
 * Ownership   close frees.  Bytes given to put are copied.
 * Threads     One at a time.
 * Errors      open: MC_BUSY another process has it, MC_NOT_FOUND there is none
 *             and config->fresh is not set, MC_INVALID the name makes no sense.
 *             load: MC_IO damaged (logged with the offset).
 *             flush: MC_IO, MC_NO_SPACE; the group is kept, and the next flush
 *             tries again.  MC_NO_MEMORY: a part of the group is lost, and none is
 *             taken any more.
 */
#ifndef MASTER_JOURNAL_H
#define MASTER_JOURNAL_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

/* Numbers are on disk: never reused. */
enum record_kind {
	RECORD_META = 1,
	RECORD_NODE = 2,
	RECORD_DIRECTORY = 3,
	RECORD_OBJECT = 4,
	RECORD_POLICY = 5,
	RECORD_DEED = 6,
};

#define RECORD_KEY_MAX	 16u
#define RECORD_VALUE_MAX (1u << 20)

#define JOURNAL_ADDRESS_SIZE 256u

enum journal_sync { JOURNAL_SYNC_NEVER, JOURNAL_SYNC_INTERVAL, JOURNAL_SYNC_ALWAYS };

struct mc_etcd_config;

struct journal_config {
	const char *path; /* what follows "file:" */
	enum journal_sync sync;
	bool fresh;			   /* may begin an empty one */
	const struct mc_etcd_config *etcd; /* NULL: defaults */
	void (*wake)(void *context);	   /* there is something to do: any thread */
	void *wake_context;
};

struct journal_counters {
	uint64_t bytes;	  /* it takes now, or that are on their way into it */
	uint64_t records; /* put or removed since open */
	uint64_t flushes;
	uint64_t compactions;
};

/* What load found besides the records. */
struct journal_loaded {
	bool empty;	 /* a new one */
	bool incomplete; /* records that were acknowledged may be missing at its end */
	/* Where the leader before is reached, "" if it ended in order; of a shared one. */
	char before[JOURNAL_ADDRESS_SIZE];
};

/* A record of the journal, in the order of writing.  value NULL: removed. */
typedef enum mc_status journal_visit(void *context, enum record_kind kind, const uint8_t *key,
				     size_t key_size, const uint8_t *value, size_t value_size);

/* Who is told of what a journal says while it is followed. */
struct journal_reader {
	journal_visit *visit; /* a removal's key is an id, or 0, and the place it left (record.h) */
	void (*forget)(void *context); /* all comes again from the beginning */
	void *context;
};

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
	/*
	 * A snapshot pays: what is true would take live_size bytes.  Or it is needed, since
	 * nothing is safe here any more.  Never: no snapshot_*.
	 */
	bool (*snapshot_due)(const struct journal *journal, uint64_t live_size);
	enum mc_status (*snapshot_begin)(struct journal *journal);
	enum mc_status (*snapshot_put)(struct journal *journal, enum record_kind kind,
				       const uint8_t *key, size_t key_size, const uint8_t *value,
				       size_t value_size);
	/* ok false: give it up, the journal stays as it is. */
	enum mc_status (*snapshot_end)(struct journal *journal, bool ok);
	void (*counters)(const struct journal *journal, struct journal_counters *counters);

	/* The rest is NULL, but for a journal that several masters have in common. */

	/* Where this master is reached, before the first follow. */
	void (*announce)(struct journal *journal, const char *address);
	/*
	 * Take in some of what is new.  MC_OK: that was all, and this master leads.
	 * MC_AGAIN: call it again, with the next turn.
	 */
	enum mc_status (*follow)(struct journal *journal, const struct journal_reader *reader,
				 struct journal_loaded *loaded);
	/* MC_READ_ONLY: refuse changes for now.  MC_STALE: another leads, follow it. */
	enum mc_status (*ready)(struct journal *journal);
	/* An entry is not at its place any more; `moved`: its put comes next. */
	void (*vacate)(struct journal *journal, bool directory, bool moved, uint64_t parent,
		       const char *name, size_t name_size);
	/* The number that the present group has. */
	uint64_t (*group)(struct journal *journal);
	uint64_t (*answerable)(struct journal *journal);
	/* The last group that is safe. */
	uint64_t (*stored)(struct journal *journal);
	/* Stop leading, if it does, when all is safe or does not get there soon. */
	void (*resign)(struct journal *journal);
	/* Another leads: stop at once. */
	void (*lost)(struct journal *journal);
};

/* Every open journal begins with this. */
struct journal {
	const struct journal_ops *ops;
};

extern const struct journal_ops journal_file_ops;
extern const struct journal_ops journal_memory_ops;
extern const struct journal_ops journal_etcd_ops;

/* The table, ended by NULL. */
extern const struct journal_ops *const journal_table[];

/*
 * Open what a text such as "file:PATH" or "memory" names; path and sync of the
 * config are set from the texts.
 *
 * MC_INVALID   there is no such kind of journal, or no such sync
 */
MC_MUST_CHECK enum mc_status journal_open(const char *text, const char *sync,
					  struct journal_config config, struct journal **journal);

#endif
