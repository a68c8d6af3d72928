/*
 * master/inbox.h -- requests that wait for the writer
 *
 * A loop gathers what it can't answer itself in a batch, one a turn, and then
 * either handles the batch as the writer or puts it here.  The order of a connection's
 * requests is kept: batches are taken in the order in which they came, and
 * whoever handles one without putting it here first makes sure that nothing
 * waits.
 *
 * Ownership   A batch belongs to whoever holds the pointer; batch_free() ends it.
 * Threads     A batch: one at a time.  The inbox: any thread; takes its lock, a leaf.
 */
#ifndef MASTER_INBOX_H
#define MASTER_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buffer.h"

struct frame;
struct session;

struct batch {
	struct batch *next;
	struct writer letters;
	bool slow; /* holds a verb that may take long */
};

/* A request as it lies in a batch. */
struct letter {
	struct session *session;
	const uint8_t *bytes; /* the frame, header and all */
};

struct inbox {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	/* protected by lock */
	struct batch *first;
	struct batch **end;
	struct session *opened;
	struct session *closed;
	bool stopping;
	/* atomic */
	bool waiting; /* something is in it */
};

void inbox_init(struct inbox *inbox);
/* Frees the batches that are left. */
void inbox_fini(struct inbox *inbox);

/* Something is in it.  Without the lock: for whoever needs no exact answer, or is the writer. */
static inline bool inbox_waiting(const struct inbox *inbox)
{
	return __atomic_load_n(&inbox->waiting, __ATOMIC_ACQUIRE);
}

/* Put a batch, or a session that has begun or ended, and wake the writer. */
void inbox_put(struct inbox *inbox, struct batch *batch);
void inbox_opened(struct inbox *inbox, struct session *session);
void inbox_closed(struct inbox *inbox, struct session *session);

/* What was in it: handle the opened, then the batches, then the closed. */
struct delivery {
	struct session *opened;
	struct batch *batches;
	struct session *closed;
};
struct delivery inbox_take(struct inbox *inbox);

/* Wait until something is in it, but not longer.  False: inbox_stop() was called. */
bool inbox_wait(struct inbox *inbox, unsigned timeout_ms);
void inbox_stop(struct inbox *inbox);
/* Have the writer's own thread turn soon, though nothing is in it. */
void inbox_wake(struct inbox *inbox);

/* Copy a request into a batch that is made when *batch is NULL.  False: out of memory. */
bool batch_add(struct batch **batch, struct session *session, const struct frame *frame,
	       const uint8_t *body);
/* Walk: *position begins at 0.  False: that was all. */
bool batch_next(const struct batch *batch, size_t *position, struct letter *letter);
void batch_free(struct batch *batch);

#endif
