/*
 * engine/node/object.h -- what this node knows, by id and by name
 *
 * One record per object or directory that the node holds, drafts, or has asked
 * about.  Records hang in two hash tables, by id and by (parent, name), and
 * the evictable ones in a SIEVE list.  A record keeps its parent's record, so
 * a path can always be built.
 *
 *              object_new (draft)                 entry from the master
 *                    |                                    |
 *                    v                                    v
 *     LOCAL, not PUBLISHED -- publish --> LOCAL | PUBLISHED    REMOTE (PUBLISHED only)
 *                    |                     |    ^  \--evict--> gone
 *                    +---- remove ----+----+    +--- pull (LOCAL | PUBLISHED | CACHE)
 *                                     v
 *                              unnamed, until the last reference goes
 *
 * Ownership   Counted references: object_unref() by the last holder frees.
 *             Being in the table by name counts as one.
 * Threads     Every function wants node->lock held by the caller.  An id never
 *             changes: it is read without.
 * Limits      About 240 bytes a record beside its name.
 */
#ifndef ENGINE_NODE_OBJECT_H
#define ENGINE_NODE_OBJECT_H

#include <mooncake/types.h>
#include <mooncake/status.h>

enum object_flag {
	OBJECT_DIRECTORY = 1u << 0,
	OBJECT_LOCAL = 1u << 1,	      /* its bytes are in a file of the pool */
	OBJECT_PUBLISHED = 1u << 2,   /* the master knows it under this name */
	OBJECT_CACHE = 1u << 3,	      /* a copy that was pulled: the first to go */
	OBJECT_NAMED = 1u << 4,	      /* in the table by name */
	OBJECT_RESERVED = 1u << 5,    /* its name is reserved at the master */
	OBJECT_DIRTY = 1u << 6,	      /* content changed since the last publish */
	OBJECT_VISITED = 1u << 7,     /* SIEVE: used since the hand passed */
	OBJECT_LINGERING = 1u << 8,   /* closed, but a writable map of it lives on */
	OBJECT_LISTED = 1u << 9,      /* in a SIEVE list */
	OBJECT_PUBLISHING = 1u << 10, /* a publish is on its way */
	OBJECT_IMPLIED = 1u << 11,    /* attributes not known yet, only id and place */
	OBJECT_BROKEN = 1u << 13,     /* its stream ended early; no read until all have closed it */
	OBJECT_REMOVED = 1u << 12,    /* unlinked or replaced: nlink is 0 */
	OBJECT_CLAIMED = 1u << 14,    /* written in place: nobody takes its file (shelf.h) */
	OBJECT_DOUBT = 1u << 15,      /* ... PUBLISHING, and the answer did not come (doubt.c) */
	OBJECT_UNANSWERED = 1u << 16, /* found so in the pool (record.h) */
	OBJECT_SHOWN = 1u << 17,      /* a transport may have its file mapped (show.c) */
};

struct borrow;
struct grant;
struct pull;
struct xattrs;

struct object {
	struct object *next_by_id;
	struct object *next_by_name;
	struct object *parent;	    /* counted; NULL for the root and for what has no name */
	char *name;		    /* terminated; NULL without a parent */
	struct object *first_child; /* of those that have a name under this directory */
	struct object *sibling;	    /* the next of them */
	struct object **sibling_at;
	struct mc_attr attr;
	uint32_t flags; /* enum object_flag */
	uint32_t refs;
	uint32_t writers;     /* handles open for writing */
	uint32_t opens;	      /* handles open at all */
	uint32_t loans;	      /* peers that hold it */
	uint32_t leaving;     /* changes that this node asked for, and that take its name */
	int draft_fd;	      /* an unlinked file of the pool, -1 when linked */
	enum mc_status lost;  /* why a draft went that was to be published: each close says so */
	uint64_t known_ns;    /* when the attributes came from the master */
	struct object *older; /* SIEVE list */
	struct object *newer;
	struct object *original; /* a draft that will replace this one when published; counted */
	union {
		struct grant *grant; /* directories: what this node may conclude of names */
		struct pull *pull;   /* objects: the pull that is under way */
	};
	struct mc_replica *replicas; /* of what is not local */
	uint32_t replica_count;
	uint32_t known_session; /* the session in which the attributes were learnt */
	int32_t writer_tid;	/* of a draft with an original: the thread that sees it by name */
	struct borrow *borrow;	/* of what is not local: a peer's file, while it is open */
	struct xattrs *xattrs;	/* user.* attributes when known, NULL otherwise */
	void *user;		/* the mount's own record */
};

struct object_table {
	struct object **by_id;
	struct object **by_name;
	uint32_t size; /* buckets of each, a power of two */
	uint32_t count;
	struct object *root;
};

MC_MUST_CHECK enum mc_status object_table_init(struct object_table *table);
void object_table_fini(struct object_table *table);

/* Make a record with one reference, in the table by id.  NULL: out of memory. */
struct object *object_new(struct object_table *table, uint64_t id);

/* Take over all of the attributes but the id, which stays what it is. */
void object_set_attr(struct object *object, const struct mc_attr *attr);

struct object *object_find(struct object_table *table, uint64_t id);
struct object *object_lookup(struct object_table *table, uint64_t parent, const char *name,
			     size_t size);

void object_ref(struct object *object);
/* Frees at zero: the record, never its file. */
void object_unref(struct object_table *table, struct object *object);

/*
 * Put the record under a name.  Another record with that name loses it first.
 * MC_NO_MEMORY changes nothing.
 */
MC_MUST_CHECK enum mc_status object_name(struct object_table *table, struct object *object,
					 struct object *parent, const char *name, size_t size);

/* Set parent and name without entering the table (a draft behind a published name). */
MC_MUST_CHECK enum mc_status object_place(struct object_table *table, struct object *object,
					  struct object *parent, const char *name, size_t size);

/* Take the name away; the place (parent and name) stays readable. */
void object_unname(struct object_table *table, struct object *object);

/*
 * Write the path relative to the mount, terminated, into path (MC_PATH_MAX + 1
 * bytes).  MC_NAME_TOO_LONG.
 */
MC_MUST_CHECK enum mc_status object_path(const struct object *object, char *path, size_t *size);

/* A name that is staging: never published until it is renamed. */
bool object_name_staging(const char *name);

static inline bool object_is(const struct object *object, uint32_t flags)
{
	return (object->flags & flags) == flags;
}

#endif
