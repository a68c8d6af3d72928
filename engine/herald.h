/*
 * engine/herald.h -- carries notifications to other engines
 *
 *     take ──► waiting ──room──► under way ──answer──► the task ends
 *                                   │ nobody there
 *                                   ▼
 *                             a newer descriptor, once
 *
 * Each is one question to the handshake of the segment's engine (question.h), whose
 * address its descriptor has as "notify:HOST:PORT".  They are under way side by side,
 * so a peer that is silent keeps nobody waiting.  What was out once is not said again:
 * it may have been heard.  Fetching a newer descriptor waits for the store, and the
 * others wait with it; it is done only where a connection was refused.
 *
 * The thread is started by the first notification.
 *
 * Ownership   An errand belongs to its task until herald_take().
 * Threads     Any thread; mc-herald does the work.
 * Limits      HERALD_ERRANDS_MAX under way, HERALD_TIMEOUT_MS for each.
 */
#ifndef ENGINE_HERALD_H
#define ENGINE_HERALD_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/base/net.h"

#define HERALD_ERRANDS_MAX 64u
#define HERALD_TIMEOUT_MS  10000u
#define HERALD_PREFIX	   "notify:"

struct errand;
struct mc_batch;
struct mc_engine;
struct segment_desc;
struct task;

struct herald {
	/* fixed after init */
	struct mc_engine *engine;
	/* protected by lock */
	pthread_mutex_t lock;
	struct errand *first, **last; /* that were taken, and not looked at */
	/* fixed once started */
	pthread_t thread;
	int wake_fd;
	atomic_bool started;
	atomic_bool stopping;
	/* owned by mc-herald */
	struct errand *waiting, **waiting_last;
	struct errand *under_way[HERALD_ERRANDS_MAX];
	unsigned count; /* of those under way */
};

void herald_init(struct herald *herald, struct mc_engine *engine);
/* See that it runs. */
MC_MUST_CHECK enum mc_status herald_start(struct herald *herald);
/* Nothing is left to be carried by then. */
void herald_stop(struct herald *herald);
void herald_fini(struct herald *herald);

/* MC_TOO_BIG: a text is longer than may be. */
MC_MUST_CHECK enum mc_status errand_new(const char *name, const char *text, struct errand **errand);
void errand_free(struct errand *errand);

/* Run the task's errand, unless the task has failed; then end the task. */
void herald_take(struct herald *herald, struct mc_batch *batch, struct task *task);

/* Some batch was stopped. */
void herald_wake(struct herald *herald);

/* Where the engine of a segment takes notifications.  False: it does not. */
bool herald_address(const struct segment_desc *desc, struct net_address *address);

#endif
