/*
 * A fabric without a network: remote addresses are this process's own.  What it
 * does with slices is set by the test; they end in progress(), or on its thread.
 */
#ifndef TESTS_UNIT_ENGINE_FAKE_H
#define TESTS_UNIT_ENGINE_FAKE_H

#include <check.h>
#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cleanup.h"
#include "engine/engine.h"
#include "engine/fabric/fabric.h"
#include "engine/metadata/segment_desc.h"

#define FAKE_PATHS 3u

/* How the next fabrics behave; read by all. */
static struct {
	atomic_uint room;	/* slices that a fabric has in flight at most; 0: any number */
	atomic_int failure;	/* of slices that fail */
	atomic_uint fail_paths; /* bit i: slices on path i fail */
	atomic_int fail_count;	/* so many more fail; negative: all */
	atomic_bool stuck;	/* nothing ends but by cancel */
	atomic_int refuse;	/* what submit answers */
	atomic_uint tries[FAKE_PATHS];
	_Atomic uint64_t region_max;
	atomic_bool reaches_gpus;
} fake_rules;

struct fake {
	struct fabric fabric;
	pthread_t thread;
	atomic_bool stopping;
	pthread_mutex_t lock;
	/* protected by lock */
	struct fabric_slice *first, **last;
	uint32_t in_flight, regions, peers;
	uint64_t done, failed;
};

struct fake_peer {
	struct fabric_peer peer;
};

static inline struct fake *fake_of(struct fabric *fabric)
{
	return container_of(fabric, struct fake, fabric);
}

static inline enum mc_status fake_move(struct fabric_slice *slice)
{
	void *remote = (void *)(uintptr_t)slice->remote;

	uint32_t path = slice->path % FAKE_PATHS;

	atomic_fetch_add(&fake_rules.tries[path], 1);
	if (atomic_load(&fake_rules.fail_paths) & 1u << path &&
	    atomic_load(&fake_rules.fail_count) != 0) {
		atomic_fetch_sub(&fake_rules.fail_count, 1);
		return (enum mc_status)atomic_load(&fake_rules.failure);
	}
	memcpy(slice->opcode == FABRIC_READ ? slice->local : remote,
	       slice->opcode == FABRIC_READ ? remote : slice->local, slice->length);
	return MC_OK;
}

static inline struct fabric_slice *fake_take(struct fake *fake)
{
	WITH_LOCK(&fake->lock);
	struct fabric_slice *slice = fake->first;

	if (!slice || atomic_load(&fake_rules.stuck))
		return NULL;
	fake->first = slice->next;
	if (!fake->first)
		fake->last = &fake->first;
	return slice;
}

static inline void fake_end(struct fake *fake, struct fabric_slice *slice, enum mc_status status)
{
	pthread_mutex_lock(&fake->lock);
	fake->in_flight--;
	fake->done += !status;
	fake->failed += !!status;
	pthread_mutex_unlock(&fake->lock);
	slice->done(slice, status);
}

static inline void fake_progress(struct fabric *fabric, uint64_t timeout_ns)
{
	struct fake *fake = fake_of(fabric);
	struct timespec nap = {.tv_nsec = timeout_ns < 100000 ? (long)timeout_ns : 100000};
	struct fabric_slice *slice;
	bool any = false;

	while ((slice = fake_take(fake))) {
		fake_end(fake, slice, fake_move(slice));
		any = true;
	}
	if (!any && timeout_ns)
		nanosleep(&nap, NULL);
}

static inline void *fake_thread(void *context)
{
	struct fake *fake = context;
	struct timespec nap = {.tv_nsec = 1000000};

	while (!atomic_load(&fake->stopping)) {
		nanosleep(&nap, NULL);
		fake_progress(&fake->fabric, 0);
	}
	return NULL;
}

extern const struct fabric_ops fake_ops;

static inline enum mc_status fake_open(const struct fabric_config *config, struct fabric **fabric)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	(void)config;
	fake->fabric.ops = &fake_ops;
	fake->last = &fake->first;
	pthread_mutex_init(&fake->lock, NULL);
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_thread, fake), 0);
	*fabric = &fake->fabric;
	return MC_OK;
}

static inline void fake_close(struct fabric *fabric)
{
	struct fake *fake = fake_of(fabric);

	atomic_store(&fake->stopping, true);
	pthread_join(fake->thread, NULL);
	ck_assert_uint_eq(fake->in_flight, 0);
	ck_assert_uint_eq(fake->regions, 0);
	ck_assert_uint_eq(fake->peers, 0);
	pthread_mutex_destroy(&fake->lock);
	free(fake);
}

static inline enum mc_status fake_describe(struct fabric *fabric, struct segment_desc *desc)
{
	(void)fabric;
	return segment_desc_add_endpoint(desc, "fake:here");
}

static inline uint64_t fake_region_max(struct fabric *fabric)
{
	(void)fabric;
	return atomic_load(&fake_rules.region_max) ? atomic_load(&fake_rules.region_max)
						   : UINT64_MAX;
}

static inline enum mc_status fake_register(struct fabric *fabric,
					   const struct fabric_region *region,
					   struct segment_buffer *buffer, const void **key)
{
	struct fake *fake = fake_of(fabric);

	if (fabric_location_is_gpu(region->location) && !atomic_load(&fake_rules.reaches_gpus))
		return MC_NOT_SUPPORTED;
	WITH_LOCK(&fake->lock);
	fake->regions++;
	buffer->key = (uint64_t)(uintptr_t)region->memory;
	*key = region->memory;
	return MC_OK;
}

static inline void fake_unregister(struct fabric *fabric, const void *key)
{
	struct fake *fake = fake_of(fabric);

	(void)key;
	WITH_LOCK(&fake->lock);
	fake->regions--;
}

static inline enum mc_status fake_connect(struct fabric *fabric, const struct segment_desc *desc,
					  struct fabric_peer **peer)
{
	struct fake *fake = fake_of(fabric);
	struct fake_peer *made = calloc(1, sizeof(*made));

	(void)desc;
	made->peer.fabric = fabric;
	WITH_LOCK(&fake->lock);
	fake->peers++;
	*peer = &made->peer;
	return MC_OK;
}

static inline void fake_disconnect(struct fabric_peer *peer)
{
	struct fake *fake = fake_of(peer->fabric);

	WITH_LOCK(&fake->lock);
	fake->peers--;
	free(peer);
}

static inline uint32_t fake_paths(struct fabric_peer *peer, const void *key,
				  const struct segment_buffer *buffer)
{
	(void)peer, (void)key, (void)buffer;
	return FAKE_PATHS;
}

static inline enum mc_status fake_submit(struct fabric_peer *peer,
					 struct fabric_slice *const *slices, uint32_t count,
					 uint32_t *taken)
{
	struct fake *fake = fake_of(peer->fabric);
	uint32_t room = atomic_load(&fake_rules.room);
	int refuse = atomic_load(&fake_rules.refuse);

	*taken = 0;
	if (refuse)
		return (enum mc_status)refuse;
	WITH_LOCK(&fake->lock);
	while (*taken < count && (!room || fake->in_flight < room)) {
		struct fabric_slice *slice = slices[(*taken)++];
		slice->next = NULL;
		*fake->last = slice;
		fake->last = &slice->next;
		fake->in_flight++;
	}
	return MC_OK;
}

static inline void fake_cancel(struct fabric_peer *peer, struct fabric_slice *slice)
{
	struct fake *fake = fake_of(peer->fabric);
	struct fabric_slice **at;

	pthread_mutex_lock(&fake->lock);
	for (at = &fake->first; *at && *at != slice; at = &(*at)->next)
		;
	bool found = *at != NULL;
	if (found) {
		*at = slice->next;
		if (!*at)
			fake->last = at;
	}
	pthread_mutex_unlock(&fake->lock);
	if (found)
		fake_end(fake, slice, MC_CANCELLED);
}

static inline void fake_counters(struct fabric *fabric, struct fabric_counters *counters)
{
	struct fake *fake = fake_of(fabric);

	WITH_LOCK(&fake->lock);
	*counters = (struct fabric_counters){
		.slices_done = fake->done,
		.slices_failed = fake->failed,
		.slices = fake->in_flight,
		.regions = fake->regions,
		.peers = fake->peers,
	};
}

const struct fabric_ops fake_ops = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.describe = fake_describe,
	.region_max = fake_region_max,
	.register_region = fake_register,
	.unregister_region = fake_unregister,
	.connect = fake_connect,
	.disconnect = fake_disconnect,
	.paths = fake_paths,
	.submit = fake_submit,
	.cancel = fake_cancel,
	.progress = fake_progress,
	.counters = fake_counters,
};

static const struct fabric_ops *const fake_table[] = {&fake_ops, NULL};

#endif
