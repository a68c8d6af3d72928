/*
 * master/catalog.h -- every object and directory, by id and by name
 *
 * A tree: an entry is an object or a directory, known by its id and by
 * (directory, name).  An entry's place (directory, sequence, name) and its
 * content (id, attributes, replicas) are two halves of one allocation, so a
 * rename onto a name and a publish over one move the content and leave the
 * place: whoever is listing the directory meets each name once.
 *
 *     /                      struct entry  id 1 ──► struct directory
 *     ├── a                  place: in /, "a"         order: a, b
 *     └── b/                 place: in /, "b"   ──► struct directory
 *
 * Readers look names up while the one writer changes them.  An entry is
 * *touched* from before its first change until the change is in the journal
 * (catalog_settle_touched()); a reader that meets a touched one, or finds a
 * name missing in a touched directory, leaves its request to the writer.  So no
 * reader shows a change that a crash could take back, and none shows half of
 * one.  Two rules for the writer follow:
 *
 *   1  catalog_touch() an entry *before* its fields are changed.
 *   2  Names come and go by the functions below, which touch what they change.
 *
 *     settled ── catalog_touch ─► touched ── journal, catalog_settle_touched ─► settled
 *
 * Ownership   The catalog owns entries; a pointer is valid until the next call
 *             that adds, moves, replaces or removes that very entry, for a reader
 *             until grace_leave().
 * Threads     catalog_find, catalog_lookup and its three steps, catalog_moves, entry_copy,
 *             entry_copy_replicas, entry_stamp, entry_placed and entry_is_directory: any
 *             thread, between grace_enter() and grace_leave().  The rest: the writer.
 * Limits      ENTRY_FIXED_SIZE and the name for an entry, 8 to 12 bytes in its
 *             directory, 11 to 22 in each of two tables.
 */
#ifndef MASTER_CATALOG_H
#define MASTER_CATALOG_H

#include <mooncake/status.h>
#include <mooncake/types.h>

#include "master/directory.h"
#include "master/grace.h"
#include "master/table.h"

struct xattrs;

/* A replica in 16 bits: node index 12 bits, kind 1 bit, round of its announcement 3 bits. */
#define REPLICA_NODE(replica)  ((replica)&0xfffu)
#define REPLICA_KIND(replica)  ((replica) >> 12 & 1u)
#define REPLICA_ROUND(replica) ((replica) >> 13)
#define REPLICA_PACK(node, kind, round)                                                            \
	((uint16_t)((node) | (uint32_t)(kind) << 12 | (uint32_t)(round) << 13))

/*
 * A reader that loads what the writer may be storing, and finds out by the
 * entry's stamp: ThreadSanitizer can't see that.
 */
#define MAY_RACE __attribute__((no_sanitize("thread")))

#define STAMP_TOUCHED 1u /* what is above it counts changes */

struct entry {
	/* content: moves as one, see catalog_replace(); whole words for entry_copy() */
	uint64_t id;
	uint64_t version;
	uint64_t size;	    /* bytes */
	uint64_t allocated; /* bytes */
	int64_t atime_s;
	int64_t mtime_s;
	int64_t ctime_s;
	uint32_t atime_ns;
	uint32_t mtime_ns;
	uint32_t ctime_ns;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	struct xattrs *xattrs; /* NULL: none */
	union {
		struct directory *directory;	   /* S_IFDIR */
		uint16_t replicas[MC_REPLICA_MAX]; /* else */
	};
	uint32_t version_raised; /* recorded version - version that was offered */
	uint8_t flags;		 /* enum mc_attr_flag */
	uint8_t replica_count;

	/* place */
	uint8_t name_size;
	uint8_t placed;		  /* atomic: got its place or its id since it was settled */
	uint32_t stamp;		  /* atomic: see STAMP_TOUCHED */
	uint32_t place;		  /* in the parent's array */
	struct directory *parent; /* NULL: the root */
	uint64_t sequence;	  /* in the parent's order, and its cursor */
	char name[];
};

#define ENTRY_FIXED_SIZE offsetof(struct entry, name)

/* Where an entry was. */
struct left {
	uint64_t parent;
	uint8_t name_size;
	char name[];
};

/* What the journal must learn: the state of an id, or that it is gone. */
struct touched {
	uint64_t id;
	bool directory;
	struct left *left; /* NULL: it is where it was, or nobody keeps places */
};

struct catalog {
	struct table by_id;
	struct table by_name;
	struct grace grace;
	struct entry *root;
	struct touched *touched; /* in the order of touching; rarely one twice */
	size_t touched_count;
	size_t recorded_count; /* of these, put into the journal already */
	size_t touched_capacity;
	bool keeps_places;    /* touched entries say what place they left */
	uint64_t moves;	      /* atomic; of directories, each counted before it is seen */
	uint64_t objects;     /* atomic */
	uint64_t directories; /* atomic */
	uint64_t names_size;  /* bytes of all names */
	uint64_t xattrs_size; /* bytes of all extended attributes */
};

MAY_RACE static inline bool entry_is_directory(const struct entry *entry)
{
	/* What an entry is never changes, the other bits of the mode do. */
	return (__atomic_load_n(&entry->mode, __ATOMIC_RELAXED) & 0170000) == 0040000;
}

/* The entry's stamp; touched when it has STAMP_TOUCHED. */
static inline uint32_t entry_stamp(const struct entry *entry)
{
	return __atomic_load_n(&entry->stamp, __ATOMIC_ACQUIRE);
}

/* The entry got its place or its id in a change that is not in the journal yet. */
static inline bool entry_placed(const struct entry *entry)
{
	return __atomic_load_n(&entry->placed, __ATOMIC_ACQUIRE);
}

/* A directory's, for readers. */
MAY_RACE static inline struct directory *entry_directory(const struct entry *entry)
{
	return __atomic_load_n(&entry->directory, __ATOMIC_ACQUIRE);
}

MAY_RACE static inline uint64_t entry_id(const struct entry *entry)
{
	return __atomic_load_n(&entry->id, __ATOMIC_RELAXED);
}

MAY_RACE static inline uint64_t directory_id(const struct directory *directory)
{
	return entry_id(directory_entry(directory));
}

/* Grows with each directory that moves: a path is one if this is the same after it was read. */
static inline uint64_t catalog_moves(const struct catalog *catalog)
{
	return __atomic_load_n(&catalog->moves, __ATOMIC_ACQUIRE);
}

/* Copy all but the name.  False: the entry is touched, the copy is worth nothing. */
bool entry_copy(const struct entry *entry, struct entry *copy);
/* Copy what tells whether it shows: mode, directory and replicas. */
bool entry_copy_replicas(const struct entry *entry, struct entry *copy);

/* An entry is about to change. */
void catalog_touch(struct catalog *catalog, struct entry *entry);
/* All that was touched is in the journal. */
void catalog_settle_touched(struct catalog *catalog);

/* Begin with nothing but a root. */
MC_MUST_CHECK enum mc_status catalog_init(struct catalog *catalog);
void catalog_fini(struct catalog *catalog);

/* NULL: there is none. */
struct entry *catalog_find(const struct catalog *catalog, uint64_t id);
struct entry *catalog_lookup(const struct catalog *catalog, const struct directory *directory,
			     const char *name, size_t name_size);

/*
 * The same in three steps, for several names at once: hash each, which has its slot
 * loaded; have what stands there loaded; look each up.  Between two steps the
 * processor waits for the memory of all of them together.
 */
uint64_t catalog_hash(const struct catalog *catalog, const struct directory *directory,
		      const char *name, size_t name_size);
void catalog_prefetch(const struct catalog *catalog, uint64_t hash, size_t name_size);
struct entry *catalog_lookup_hashed(const struct catalog *catalog, uint64_t hash,
				    const struct directory *directory, const char *name,
				    size_t name_size);

/* Add an object or a directory, as the mode says; neither id nor name may be taken. */
MC_MUST_CHECK enum mc_status catalog_add(struct catalog *catalog, struct directory *directory,
					 const char *name, size_t name_size,
					 const struct mc_attr *attr, struct entry **entry);

/* Forget an object, or a directory without entries. */
void catalog_remove(struct catalog *catalog, struct entry *entry);

/* Give an entry another place, which must be free.  *entry is where it is now. */
MC_MUST_CHECK enum mc_status catalog_move(struct catalog *catalog, struct entry **entry,
					  struct directory *directory, const char *name,
					  size_t name_size);

/* Give the content of an entry to a place that is taken; returns the entry there. */
struct entry *catalog_replace(struct catalog *catalog, struct entry *taken, struct entry *entry);

/* Give an object another id, which must be free. */
MC_MUST_CHECK enum mc_status catalog_renumber(struct catalog *catalog, struct entry *entry,
					      uint64_t id);

/* Take and give attributes; set leaves id, version_raised and directory counts alone. */
void entry_attr(const struct entry *entry, struct mc_attr *attr);
void entry_attr_set(struct entry *entry, const struct mc_attr *attr);

/* The bytes of the path of an entry from the root, without a leading slash. */
size_t entry_path_size(const struct entry *entry);
/* Write them, not terminated. */
void entry_path(const struct entry *entry, char *path);

/* Where an entry of the journal belongs. */
struct catalog_place {
	uint64_t parent;
	uint64_t sequence;
	const char *name;
	size_t name_size;
};

/*
 * Loading: entries are known by id only, the last state of an id counts, and
 * they get their places in catalog_settle().
 */
MC_MUST_CHECK enum mc_status catalog_load(struct catalog *catalog, const struct mc_attr *attr,
					  const struct catalog_place *place, struct entry **entry);
void catalog_unload(struct catalog *catalog, uint64_t id);
/* Whether an id is loaded with this place, and which one is (0: none; looks at all). */
bool catalog_loaded_there(const struct catalog *catalog, uint64_t id,
			  const struct catalog_place *place);
uint64_t catalog_loaded_at(const struct catalog *catalog, const struct catalog_place *place);

/*
 * After the last catalog_load(): give every entry its place.  *lost counts those
 * that were left out because their directory is not there.
 *
 * MC_IO   two entries have one name
 */
MC_MUST_CHECK enum mc_status catalog_settle(struct catalog *catalog, uint64_t *lost);

#endif
