/*
 * engine/engine.h -- what <mooncake/engine.h> is made of
 *
 * Ownership   The engine owns everything in it.
 * Threads     As the fields say.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/base/net.h"
#include "engine/batch.h"
#include "engine/fabric/fabric.h"
#include "engine/herald.h"
#include "engine/mailbox.h"
#include "engine/mender.h"
#include "engine/metadata/segment_cache.h"
#include "engine/pages.h"
#include "engine/region.h"
#include "engine/segment.h"
#include "engine/slice.h"

struct mc_engine {
	/* fixed after open */
	char name[SEGMENT_NAME_SIZE];
	char address[NET_TEXT_SIZE];
	enum segment_protocol protocol;
	struct metadata *metadata;
	struct segment_cache *cache;
	struct fabric *fabrics[REGION_FABRICS_MAX];
	uint32_t fabric_count;
	uint32_t slice_size; /* MC_SLICE_SIZE */
	bool slice_size_given;
	uint32_t retries_max;	    /* MC_RETRY_CNT */
	uint64_t region_max;	    /* bytes of one region, of any fabric */
	bool by_node;		    /* one of the fabrics is */
	pages_ask *ask_pages;	    /* the kernel; a test's own */
	bool notifications;	    /* are taken */
	struct handshake *listener; /* for them; NULL: none, or the metadata's own */
	/* with locks of their own */
	struct region_table regions;
	struct segments segments;
	struct slice_pool pool;
	struct mender mender;
	struct herald herald;
	struct mailbox mailbox;
	pthread_mutex_t publish_lock; /* one descriptor goes out at a time */
	/* batches that found no room: protected by starving_lock */
	pthread_mutex_t starving_lock;
	pthread_cond_t unpinned;
	struct mc_batch *starving, **starving_last;
	/* atomic */
	atomic_uint starving_count;
	atomic_ulong ends;  /* of slices, ever */
	atomic_uint spread; /* slices over paths: the next one's */
	atomic_ulong batches, tasks;
	_Atomic(struct mc_batch *) spare; /* NULL: none */
	atomic_ulong bytes_read, bytes_written, tasks_completed, tasks_failed, slices_retried;
};

/*
 * mc_engine_open() with these fabrics (ended by NULL) instead of those of the build.
 */
MC_MUST_CHECK enum mc_status engine_open(const struct mc_engine_config *config,
					 const struct fabric_ops *const *fabrics,
					 struct mc_engine **engine);

/* The descriptor of one region alone, as JSON; the caller frees.  MC_NOT_FOUND. */
MC_MUST_CHECK enum mc_status engine_region_text(struct mc_engine *engine, const void *memory,
						char **text);

/* Make progress on those fabrics (bit i: fabric i). */
void engine_progress(struct mc_engine *engine, uint32_t fabrics, uint64_t timeout_ns);

/* Count a task that has ended, and let go of what it used. */
void engine_task_ended(struct mc_engine *engine, struct task *task, enum mc_task_state state);

#endif
