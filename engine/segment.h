/*
 * engine/segment.h -- the segments of others that are open here
 *
 * A segment is a name and how it is reached now, its target: a descriptor and a
 * channel (a fabric's peer).  When the descriptor turns out to be stale, a newer
 * one becomes the target; slices in flight keep the one that they began with.  A
 * channel is shared by targets whose peer can be reached the same way, so a peer
 * that registers memory is not connected to anew.
 *
 * Ownership   Counted: a segment by those who opened it and by tasks, a target
 *             by its segment and slices, a channel by targets.
 * Threads     Any thread.  segment_open, segment_refresh, segment_renew wait for the network;
 *             segment_collect disconnects, and so may not be called from done().
 * Errors      As mc_segment_open(); segment_refresh as segment_cache_refresh().
 * Limits      SEGMENTS_MAX names.
 */
#ifndef ENGINE_SEGMENT_H
#define ENGINE_SEGMENT_H

#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/fabric/fabric.h"
#include "engine/metadata/segment_cache.h"

#define SEGMENTS_MAX 65536u

struct channel {
	struct channel *next; /* of those to be disconnected */
	struct fabric_peer *peer;
	uint32_t fabric; /* which of the engine's */
	atomic_uint references;
};

struct target {
	struct segment_desc *desc;
	struct channel *channel;
	struct segments *segments;
	uint64_t size;	   /* of a segment of files: of all */
	uint64_t asked_ns; /* when the store was asked for it; 0: nobody knows */
	atomic_uint references;
};

struct segment {
	/* fixed */
	mc_segment_id id;
	char *name;
	/* protected by the table's lock */
	unsigned opens;
	struct target *target;
	uint64_t refreshed_ns;
	/* atomic */
	atomic_uint tasks;
};

struct segments {
	/* fixed after init */
	struct segment_cache *cache;
	struct fabric *const *fabrics;
	uint32_t fabric_count;
	/* protected by lock */
	pthread_mutex_t lock;
	struct segment **table; /* by id; 0 is the local one, and NULL */
	size_t count, capacity, open_count;
	struct channel *dead;
};

MC_MUST_CHECK enum mc_status segments_init(struct segments *segments, struct segment_cache *cache,
					   struct fabric *const *fabrics, uint32_t fabric_count);
void segments_fini(struct segments *segments);

MC_MUST_CHECK enum mc_status segment_open(struct segments *segments, const char *name, bool anew,
					  mc_segment_id *id);
/*
 * Open a segment whose descriptor came another way than by the store; the name must
 * be one that nobody else uses.  Takes the reference to desc.  like: a segment of the
 * same peer, whose channel is shared where it fits; 0: none.
 */
MC_MUST_CHECK enum mc_status segment_adopt(struct segments *segments, const char *name,
					   struct segment_desc *desc, mc_segment_id like,
					   mc_segment_id *id);
MC_MUST_CHECK enum mc_status segment_close(struct segments *segments, mc_segment_id id);

/* The segment, counted as used by a task, and its target; NULL: not open. */
struct segment *segment_use(struct segments *segments, mc_segment_id id, struct target **target);
/* By one task more, while another uses it. */
void segment_use_again(struct segment *segment);
void segment_done(struct segment *segment);

/* How it is reached now. */
struct target *segment_target(struct segments *segments, struct segment *segment);
void target_unref(struct target *target);

/* The remote buffer that holds this address, or, in a segment of files, NULL and *left bytes
 * from there on.  MC_ACCESS: there is none. */
MC_MUST_CHECK enum mc_status target_find(const struct target *target, uint64_t remote,
					 const struct segment_buffer **buffer, uint64_t *left);

/*
 * Get a newer target than this one.  The store is not asked more often than once in
 * SEGMENT_MOMENT_NS.
 *
 * MC_AGAIN   that was tried a moment ago, or somebody is at it
 */
#define SEGMENT_MOMENT_NS 20000000ull
MC_MUST_CHECK enum mc_status segment_refresh(struct segments *segments, struct segment *segment,
					     const struct target *stale);
/* Likewise, but wait for that moment to pass. */
MC_MUST_CHECK enum mc_status segment_renew(struct segments *segments, struct segment *segment,
					   const struct target *stale);

/* Fetch the descriptors of all, or of one name, anew. */
MC_MUST_CHECK enum mc_status segments_sync(struct segments *segments, const char *name);

/* Disconnect the channels that nobody uses any more. */
void segments_collect(struct segments *segments);

#endif
