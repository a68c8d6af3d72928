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
 * Ownership   The catalog owns entries; a pointer is valid until the next call
 *             that adds, moves, replaces or removes that very entry.
 * Threads     One at a time.
 * Limits      ENTRY_FIXED_SIZE and the name for an entry, 8 to 16 bytes in its
 *             directory, 11 to 22 in each of two tables.
 */
#ifndef MASTER_CATALOG_H
#define MASTER_CATALOG_H

#include <mooncake/status.h>
#include <mooncake/types.h>

#include "master/directory.h"
#include "master/table.h"

struct xattrs;

/* A replica in 16 bits: node index 12 bits, kind 1 bit, round of its announcement 3 bits. */
#define REPLICA_NODE(replica)  ((replica)&0xfffu)
#define REPLICA_KIND(replica)  ((replica) >> 12 & 1u)
#define REPLICA_ROUND(replica) ((replica) >> 13)
#define REPLICA_PACK(node, kind, round)                                                            \
	((uint16_t)((node) | (uint32_t)(kind) << 12 | (uint32_t)(round) << 13))

struct entry {
	/* content: moves as one, see catalog_replace() */
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
	uint8_t touched; /* has a line in the list of what the journal must learn */
	uint8_t name_size;
	struct directory *parent; /* NULL: the root */
	uint64_t sequence;	  /* in the parent's order, and its cursor */
	uint32_t place;		  /* in the parent's array */
	char name[];
};

#define ENTRY_FIXED_SIZE offsetof(struct entry, name)

struct catalog {
	struct table by_id;
	struct table by_name;
	struct entry *root;
	uint64_t objects;
	uint64_t directories;
	uint64_t names_size;  /* bytes of all names */
	uint64_t xattrs_size; /* bytes of all extended attributes */
};

static inline bool entry_is_directory(const struct entry *entry)
{
	return (entry->mode & 0170000) == 0040000;
}

/* Begin with nothing but a root. */
MC_MUST_CHECK enum mc_status catalog_init(struct catalog *catalog);
void catalog_fini(struct catalog *catalog);

/* NULL: there is none. */
struct entry *catalog_find(const struct catalog *catalog, uint64_t id);
struct entry *catalog_lookup(const struct catalog *catalog, const struct directory *directory,
			     const char *name, size_t name_size);

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

/*
 * After the last catalog_load(): give every entry its place.  *lost counts those
 * that were left out because their directory is not there.
 *
 * MC_IO   two entries have one name
 */
MC_MUST_CHECK enum mc_status catalog_settle(struct catalog *catalog, uint64_t *lost);

#endif
