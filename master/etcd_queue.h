/*
 * master/etcd_queue.h -- records on their way to etcd
 *
 * What was put waits here in order, and goes out in transactions of up to
 * ETCD_QUEUE_OPERATIONS, several at once.  Each transaction has a lane.  It
 * compares the leader's key, so that nothing is written by a master that lost
 * its lead, and the lane's own key, which it counts up: a transaction whose
 * answer was lost can be sent again, and one that comes late changes nothing.
 *
 *     put … flush ─► queued ─► in flight on a lane ─► in etcd
 *                         └─► put off: its key is in flight
 *
 * Order holds per key: nothing passes what is in flight under its key.  The
 * record of a directory changes with every name in it, and waits beside the
 * queue while the one before is in flight, where newer ones replace it; anything
 * else that meets its own key, and a directory in the place of one that is on its
 * way out, holds the queue until that is in etcd.
 *
 * Groups are numbered.  `settled` is the last one that is in etcd as a whole
 * (but the times of directories).
 *
 * Ownership   Keys and values are copied.
 * Threads     Any thread.  Takes queue->lock; events are told without it.
 * Limits      ETCD_QUEUE_LANES transactions in flight.
 */
#ifndef MASTER_ETCD_QUEUE_H
#define MASTER_ETCD_QUEUE_H

#include <stdbool.h>

#include "engine/etcd/etcd.h"

#define ETCD_QUEUE_LANES      8u
#define ETCD_QUEUE_OPERATIONS 120u	 /* records of one transaction */
#define ETCD_QUEUE_SIZE	      (1u << 20) /* bytes of keys and values in one */

struct etcd_queue;

enum etcd_put_flag {
	ETCD_PUT_MAY_WAIT = 1u << 0, /* newer ones may take its place while it waits */
	ETCD_PUT_JOINED = 1u << 1,   /* in one transaction with the next */
};

struct etcd_queue_config {
	struct etcd *etcd;
	struct etcd_bytes prefix;
	/* More is settled, or the state changed: the client's thread. */
	void (*advanced)(void *context);
	/* A transaction found another leader, or none: the client's thread. */
	void (*fenced)(void *context);
	void *context;
};

MC_MUST_CHECK enum mc_status etcd_queue_new(const struct etcd_queue_config *config,
					    struct etcd_queue **queue);
/* The client is closed already.  Takes NULL. */
void etcd_queue_free(struct etcd_queue *queue);

/* Begin writing as the leader of a token and a name; forgets whatever is queued. */
void etcd_queue_begin(struct etcd_queue *queue, int64_t token, const char *name);

/* Put, or with value.data NULL delete, a key (without the prefix) in the open group. */
void etcd_queue_put(struct etcd_queue *queue, struct etcd_bytes key, struct etcd_bytes value,
		    unsigned flags);

/* Forget what the open group has. */
void etcd_queue_drop(struct etcd_queue *queue);

/* Close the open group; it goes out when a lane is free.  Returns its number. */
uint64_t etcd_queue_flush(struct etcd_queue *queue);

/* Send again what failed and is due. */
void etcd_queue_tick(struct etcd_queue *queue);

struct etcd_queue_state {
	uint64_t closed; /* number of the last closed group */
	uint64_t settled;
	uint64_t bytes;	     /* that are not in etcd */
	uint64_t stalled_ms; /* so long nothing was taken though something waits */
};

void etcd_queue_state(struct etcd_queue *queue, struct etcd_queue_state *state);

#endif
