/*
 * engine/region.h -- the memory that is registered here
 *
 * A table sorted by address, in which no two regions overlap.  Transfers look a
 * region up under a shared lock and count themselves as its users; a region with
 * users can't be taken out.  What is slow (pinning pages) happens with no lock
 * held: the range is reserved first, and becomes visible when it is ready.
 *
 * Ownership   The table owns its regions; the memory is the caller's.
 * Threads     Any thread.  Lookups share the lock, changes exclude.
 * Errors      As each function says.
 * Limits      REGION_MAX regions; what is published also SEGMENT_BUFFER_MAX.
 */
#ifndef ENGINE_REGION_H
#define ENGINE_REGION_H

#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/fabric/fabric.h"
#include "engine/metadata/segment_desc.h"

#define REGION_MAX	     16384u
#define REGION_FABRICS_MAX   8u
#define REGION_LOCATION_SIZE 32u

struct region {
	/* fixed once it is ready */
	uint8_t *memory;
	uint64_t length;
	uint32_t access; /* enum mc_region_access */
	bool continues;	 /* what was registered begins in the region before it */
	bool gpu;	 /* the processor can't touch it */
	char location[REGION_LOCATION_SIZE];
	const void *keys[REGION_FABRICS_MAX]; /* one a fabric of the engine */
	struct segment_desc *said;	      /* a descriptor of it alone */
	uint32_t fabrics;		      /* bit i: fabric i knows it */
	/* protected by the table's lock */
	bool ready;
	/* atomic */
	atomic_uint users;
	atomic_bool published; /* peers may know of it */
};

/* What is registered, as one call said it; a piece of it, if it is too large for one region. */
struct region_wish {
	void *memory;
	uint64_t length;
	const char *location;
	uint32_t access;
	bool continues;
};

struct region_table {
	pthread_rwlock_t lock;
	/* protected by lock */
	struct region **regions; /* by address */
	size_t count, capacity;
};

MC_MUST_CHECK enum mc_status region_table_init(struct region_table *table);
void region_table_fini(struct region_table *table);

/* There is memory, and it does not wrap around. */
bool region_possible(const struct region_wish *wish);

/*
 * Take the range for a region that is being made.
 *
 * MC_EXISTS    it overlaps another
 * MC_TOO_BIG   beyond the limits
 * MC_INVALID   it is not possible, or the location is no name
 */
MC_MUST_CHECK enum mc_status region_reserve(struct region_table *table,
					    const struct region_wish *wish, struct region **region);

/* Let transfers find it. */
void region_ready(struct region_table *table, struct region *region);

/*
 * Hide the region that starts at memory from transfers; region_remove() or
 * region_ready() follows.  continues: it must be the continuation of another, or must
 * not be.  MC_NOT_FOUND, MC_BUSY: it has users.
 */
MC_MUST_CHECK enum mc_status region_hide(struct region_table *table, const void *memory,
					 bool continues, struct region **region);

/* Take one that is not ready out of the table, and free it. */
void region_remove(struct region_table *table, struct region *region);

/* The region that holds this byte, counted as used; NULL: none. */
struct region *region_use(struct region_table *table, const void *memory);
void region_done(struct region *region);

/*
 * Count as used what holds these bytes, one region or several side by side, until
 * region_release(), which is told the *first of them (NULL: there are no bytes).
 * False: not all of them are registered, and nothing was counted.  What *first is before,
 * NULL or a region that is counted, is looked at before the table.
 */
bool region_hold(struct region_table *table, const void *memory, uint64_t length,
		 struct region **first);
void region_release(struct region_table *table, struct region *first, const void *memory,
		    uint64_t length);

/* The region of this byte, which region_hold() counted; first: as it said. */
struct region *region_of(struct region_table *table, struct region *first, const void *memory);

/* None of what is registered of these bytes is a GPU's. */
bool region_copyable(struct region_table *table, const void *memory, uint64_t length);

/* Call each() for every one that is ready, under the shared lock, until one fails. */
MC_MUST_CHECK enum mc_status
region_each(struct region_table *table,
	    enum mc_status (*each)(struct region *region, void *context), void *context);

size_t region_count(struct region_table *table);

#endif
