/*
 * tests/unit/fabric/rdma/pair.h -- two RDMA fabrics of this process, over fake NICs
 */
#ifndef TESTS_UNIT_FABRIC_RDMA_PAIR_H
#define TESTS_UNIT_FABRIC_RDMA_PAIR_H

#include <check.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/rdma.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/fake_rdmacm.h"
#include "tests/support/fake_verbs.h"

#define PAIR_MEMORY	(1u << 20)
#define PAIR_SLICES_MAX 4096u
#define PAIR_PATIENCE	10000000000ull /* ns */

static const struct fabric_ops *const ops = &fabric_rdma_ops;

struct side {
	struct fabric *fabric;
	struct segment_desc *desc;
	uint8_t *memory;
	const void *key;
};

struct transfer {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

struct pair {
	struct side from, to;
	struct fabric_peer *peer;
	struct transfer transfers[PAIR_SLICES_MAX];
};

static inline enum mc_status side_open(struct side *side, const char *name, const char *priority)
{
	return rdma_open(&verbs_fake, ops,
			 &(struct fabric_config){
				 .name = name, .listen_host = "127.0.0.1", .priority = priority},
			 &side->fabric);
}

static inline void side_describe(struct side *side, const char *name)
{
	struct segment_buffer *buffer;

	side->memory =
		mmap(NULL, PAIR_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(side->memory, MAP_FAILED);
	ck_assert_int_eq(segment_desc_new(SEGMENT_RDMA, name, &side->desc), MC_OK);
	ck_assert_int_eq(ops->describe(side->fabric, side->desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(side->desc, "cpu:0", &buffer), MC_OK);
	buffer->addr = (uintptr_t)side->memory;
	buffer->length = PAIR_MEMORY;
	struct fabric_region region = {side->memory, PAIR_MEMORY, "cpu:0",
				       FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE};
	ck_assert_int_eq(ops->register_region(side->fabric, &region, buffer, &side->key), MC_OK);
}

static inline void side_close(struct side *side)
{
	ops->unregister_region(side->fabric, side->key);
	ops->close(side->fabric);
	segment_desc_unref(side->desc);
	munmap(side->memory, PAIR_MEMORY);
}

static inline struct pair *pair_new(const char *priority)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	ck_assert_ptr_nonnull(pair);
	ck_assert_int_eq(side_open(&pair->from, "from", priority), MC_OK);
	ck_assert_int_eq(side_open(&pair->to, "to", priority), MC_OK);
	side_describe(&pair->from, "from");
	side_describe(&pair->to, "to");
	for (uint32_t i = 0; i < PAIR_MEMORY; i++)
		pair->to.memory[i] = (uint8_t)(i * 7 + i / 251);
	ck_assert_int_eq(ops->connect(pair->from.fabric, pair->to.desc, &pair->peer), MC_OK);
	return pair;
}

static inline struct fabric_counters counters_of(const struct side *side)
{
	struct fabric_counters counters;

	ops->counters(side->fabric, &counters);
	return counters;
}

static inline void wait_for(bool (*holds)(void *context), void *context)
{
	uint64_t until = clock_ns() + PAIR_PATIENCE;

	while (!holds(context) && clock_ns() < until)
		poll(NULL, 0, 1);
	ck_assert(holds(context));
}

static inline bool side_unconnected(void *side)
{
	return counters_of(side).connections == 0;
}

/* Everything that was made is gone again, whatever happened before. */
static inline void pair_free(struct pair *pair)
{
	if (pair->peer)
		ops->disconnect(pair->peer);
	wait_for(side_unconnected, &pair->from);
	wait_for(side_unconnected, &pair->to);
	ck_assert_uint_eq(counters_of(&pair->from).slices, 0);
	ck_assert_uint_eq(counters_of(&pair->from).peers, 0);
	side_close(&pair->from);
	side_close(&pair->to);
	free(pair);
	struct fake_counts counts = fake_counts();
	ck_assert_uint_eq(counts.contexts, 0);
	ck_assert_uint_eq(counts.pds, 0);
	ck_assert_uint_eq(counts.mrs, 0);
	ck_assert_uint_eq(counts.channels, 0);
	ck_assert_uint_eq(counts.cqs, 0);
	ck_assert_uint_eq(counts.qps, 0);
	ck_assert_uint_eq(fake_cm_counts().ids, 0);
	ck_assert_uint_eq(fake_cm_counts().channels, 0);
	ck_assert_uint_eq(fake_cm_counts().events, 0);
	ck_assert_uint_eq(counts.cq_overruns, 0);
	ck_assert_uint_eq(counts.sq_overruns, 0);
}

static inline void transfer_done(struct fabric_slice *slice, enum mc_status status)
{
	struct transfer *transfer = (struct transfer *)slice;

	transfer->status = status;
	atomic_fetch_add(&transfer->ended, 1);
}

/* The same offset on both sides. */
static inline struct fabric_slice *transfer_init(struct pair *pair, uint32_t index,
						 enum fabric_opcode opcode, uint32_t offset,
						 uint32_t length)
{
	struct transfer *transfer = &pair->transfers[index];

	*transfer = (struct transfer){.slice = {.opcode = opcode,
						.local = pair->from.memory + offset,
						.length = length,
						.path = index,
						.remote = (uintptr_t)pair->to.memory + offset,
						.key = pair->from.key,
						.buffer = &pair->to.desc->buffers[0],
						.done = transfer_done},
				      .status = MC_AGAIN};
	return &transfer->slice;
}

/* Submit those that transfer_init() made, all of them, and wait. */
static inline void transfer_start(struct pair *pair, uint32_t first, uint32_t count)
{
	struct fabric_slice *slices[PAIR_SLICES_MAX];
	uint64_t until = clock_ns() + PAIR_PATIENCE;
	uint32_t done = 0;

	for (uint32_t i = 0; i < count; i++)
		slices[i] = &pair->transfers[first + i].slice;
	while (done < count && clock_ns() < until) {
		uint32_t taken;
		enum mc_status status =
			ops->submit(pair->peer, slices + done, count - done, &taken);
		/* Only when nothing is in flight that it could wait for. */
		ck_assert(status == MC_OK || (status == MC_UNREACHABLE && taken == 0));
		done += taken;
		if (taken == 0)
			ops->progress(pair->from.fabric, 1000000);
	}
	ck_assert_uint_eq(done, count);
}

static inline void transfer_wait(struct pair *pair, uint32_t first, uint32_t count)
{
	uint64_t until = clock_ns() + PAIR_PATIENCE;

	for (uint32_t i = first; i < first + count; i++) {
		while (!atomic_load(&pair->transfers[i].ended) && clock_ns() < until)
			ops->progress(pair->from.fabric, 10000000);
		ck_assert_int_eq(atomic_load(&pair->transfers[i].ended), 1);
	}
}

static inline enum mc_status transfer_one(struct pair *pair, enum fabric_opcode opcode,
					  uint32_t offset, uint32_t length)
{
	transfer_init(pair, 0, opcode, offset, length);
	transfer_start(pair, 0, 1);
	transfer_wait(pair, 0, 1);
	return pair->transfers[0].status;
}

/* As an engine does: again, while another path may do. */
static inline enum mc_status transfer_retried(struct pair *pair)
{
	uint64_t until = clock_ns() + PAIR_PATIENCE;
	enum mc_status status = MC_UNREACHABLE;

	while (status == MC_UNREACHABLE && clock_ns() < until) {
		status = transfer_one(pair, FABRIC_READ, 4096, 4096);
		if (status == MC_UNREACHABLE)
			poll(NULL, 0, 5);
	}
	return status;
}

#endif
