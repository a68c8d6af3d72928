/*
 * tests/support/fabric_world.h -- two fabrics, memory between them, and slices
 *
 * A world is a near side that moves slices and a far side that lends memory, both
 * in this process; a lender is a far side in a process of its own, which a test may
 * stop or kill.  Which fabric it is, a row says.
 *
 * Threads   As fabric.h; a world is opened and closed by one thread.
 * Errors    All are failures of the test, but that a machine lacks the fabric's device.
 */
#ifndef TESTS_SUPPORT_FABRIC_WORLD_H
#define TESTS_SUPPORT_FABRIC_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/fabric/fabric.h"
#include "engine/metadata/segment_desc.h"

#define KIB   1024u
#define MIB   (1024u * KIB)
#define SIZE  (16u * MIB)
#define LIMIT 20000u /* ms until a slice must have ended */

#define WORLD_ROWS 5 /* fabrics, and ways that they work */

#define BOTH (FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE)

struct side {
	const struct fabric_ops *ops;
	struct fabric *fabric;
	uint8_t *memory; /* what is registered */
	/*
	 * The same pages for the test.  That bytes which came over a socket have come
	 * before what the test does next is nothing that a race detector can see.
	 */
	uint8_t *view;
	bool allocated; /* by mc_memory_alloc() */
	const void *key;
};

struct world {
	struct side near, far;
	struct segment_desc *desc;
	struct fabric_peer *peer;
};

struct moving {
	struct fabric_slice slice;
	enum mc_status status;
	atomic_int ended; /* how often */
};

struct card {
	uint64_t address;
	size_t size;
	char text[16384];
};

/* Bytes that differ from place to place and from seed to seed. */
void world_pattern(uint8_t *memory, size_t size, unsigned seed);

/* Register memory, and describe it as a segment of its own. */
struct segment_desc *world_describe(struct side *side, const char *name, void *memory,
				    uint64_t length, uint32_t access, const void **key);

/* False: not on this machine; it is said. */
bool world_open_at(struct world *world, int row, uint32_t access, const char *host);
bool world_open(struct world *world, int row, uint32_t access);
/* Close it, with nothing left in the counters. */
void world_close(struct world *world);

/* A slice between offsets of the near and the far memory. */
void moving_prepare(struct world *world, struct moving *moving, enum fabric_opcode opcode,
		    uint64_t near, uint64_t far, uint32_t length);
/* Submit all, in turns where there is no room. */
void moving_submit(struct world *world, struct moving *movings, uint32_t count);
/* Wait until each has ended, once. */
void moving_wait(struct world *world, struct moving *movings, uint32_t count);
enum mc_status world_move_one(struct world *world, struct moving *moving);
enum mc_status world_move(struct world *world, enum fabric_opcode opcode, uint64_t near,
			  uint64_t far, uint32_t length);

/* A process that lends its memory until lender_end() kills it.  0: not on this machine. */
pid_t lender_start(int row, struct card *card);
void lender_end(pid_t child);
void lender_prepare(struct world *world, struct moving *moving, const struct card *card,
		    const struct segment_desc *desc, uint64_t at, uint32_t length);
void lender_submit(struct world *world, struct fabric_peer *peer, struct moving *movings,
		   uint32_t count);

#endif
