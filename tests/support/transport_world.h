/*
 * tests/support/transport_world.h -- two transports, objects behind one, and pulls
 *
 * A world is an owner, whose source has objects in memory files, and a puller, both in
 * this process.  Which transport it is, a row says.  A getting is one pull with a sink
 * that notes what it is told.
 *
 * Threads   As transport.h; a world is opened and closed by one thread.
 * Errors    All are failures of the test.
 */
#ifndef TESTS_SUPPORT_TRANSPORT_WORLD_H
#define TESTS_SUPPORT_TRANSPORT_WORLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/transport/transport.h"

#define TRANSPORTS  5 /* all that need no device, and two once more, attended to */
#define OBJECTS_MAX 16
#define VERSION	    7u
#define ID_FIRST    100u
#define ID_MISSING  99u
#define MIB	    (1ull << 20)

struct fake_object {
	int fd;
	uint64_t size;
	uint8_t *bytes;
};

struct fake_source {
	struct transport_source source;
	struct fake_object objects[OBJECTS_MAX];
	atomic_int held;
	atomic_int again; /* times MC_AGAIN is still to be said */
	atomic_uint_fast64_t version;
	atomic_int holds_made;
	void (*holding)(struct fake_source *fake, uint64_t id); /* called first; NULL: nobody */
};

/* Where the bytes go. */
enum target {
	TARGET_FILE,
	TARGET_MEMORY,
	TARGET_REFUSES, /* a file that takes no bytes */
	TARGET_FULL,	/* memory that takes none, as that of a full file system does */
};

struct getting {
	struct transport_pull pull;
	struct transport *transport;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* protected by lock */
	bool ended;
	enum mc_status status;
	uint64_t arrived;
	uint64_t first_wanted; /* how many bytes had arrived when `wanted` did */
	uint64_t wanted;
	int begun, lent;
	/* owned by the transport's thread until it ended */
	struct mc_attr attr;
	uint8_t *memory;
	uint64_t mapped;
	void *loan;
	int fd;
	enum mc_status refuse; /* what begin and lend answer */
	enum target target;
	uint32_t slow_us; /* in arrived() */
};

struct world {
	const struct transport_ops *ops;
	struct fake_source fake;
	struct transport *owner;
	struct transport *puller;
	char endpoint[MC_ENDPOINT_SIZE];
};

/* Bytes that differ from place to place and from seed to seed. */
void world_pattern(uint8_t *bytes, uint64_t size, uint64_t seed);

void fake_init(struct fake_source *fake);
void fake_fini(struct fake_source *fake);
/* Add an object of that size in a free slot; answers its id. */
uint64_t fake_add(struct fake_source *fake, int slot, uint64_t size);

const struct transport_ops *world_ops(int row);
struct transport *world_transport(const struct transport_ops *ops, const char *listen_host,
				  const struct transport_source *source);
void world_init_at(struct world *world, int row, const char *listen_host);
void world_init(struct world *world, int row);
/* Close both ends, with nothing left held. */
void world_fini(struct world *world);

/* What every request of that transport asks for: a MC_PULL_ flag, or 0. */
uint32_t world_pull_flag(const struct transport_ops *ops);
struct transport_counters world_counters(struct transport *transport);
void world_wait_until_nothing_is_held(struct world *world);
/* Pull from the world's endpoint, and wait for the end. */
enum mc_status world_get(struct world *world, uint64_t id, uint64_t version, uint32_t step_ms);

void getting_init(struct getting *getting, struct transport *transport, uint64_t id,
		  uint64_t version, uint32_t step_ms);
void getting_start(struct getting *getting, const char *endpoint);
/* Wait until bytes may arrive, or it ended. */
void getting_wait_begun(struct getting *getting);
enum mc_status getting_wait(struct getting *getting);
/* What arrived is the whole object, and is described as what it is. */
void getting_check(const struct getting *getting, const struct fake_source *fake);
void getting_give_back(struct getting *getting);
void getting_fini(struct getting *getting);

#endif
