/*
 * tools/bench/publisher.h -- a node that tells a master of objects, in batches
 *
 * Ownership   close ends it.
 * Threads     One at a time.
 */
#ifndef BENCH_PUBLISHER_H
#define BENCH_PUBLISHER_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/flight.h"

#define PUBLISHER_BATCH	      128u
#define PUBLISHER_NAME_SIZE   64u
#define PUBLISHER_OBJECT_SIZE (4u << 20)

struct publisher {
	struct client *client;
	uint64_t next_id;
	struct flight flight;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool welcomed;
	bool told; /* journal_bytes is new */
	uint64_t journal_bytes;
};

/* Connect and wait until the master serves.  MC_TIMEOUT. */
MC_MUST_CHECK enum mc_status publisher_open(struct publisher *publisher, const char *address);
void publisher_close(struct publisher *publisher);

/* Send a batch of new objects, when not too many batches are under way. */
void publisher_send(struct publisher *publisher);
/* Wait for the answers.  False: some were no success. */
bool publisher_land(struct publisher *publisher);

/* Bytes of its journal that are not safe yet. */
uint64_t publisher_backlog(struct publisher *publisher);

#endif
