/*
 * tests/unit/fabric/shm_pair.h -- who lends memory and who borrows it, in one process
 */
#ifndef TESTS_UNIT_FABRIC_SHM_PAIR_H
#define TESTS_UNIT_FABRIC_SHM_PAIR_H

#include <check.h>
#include <mooncake/engine.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/shm.h"
#include "engine/fabric/shm/socket.h"
#include "engine/metadata/segment_desc.h"

#define SIZE (1u << 20)
#define BOTH (FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE)

static const struct fabric_ops *const ops = &fabric_shm_ops;

/* --- a lender and the one slice that is enough here ------------------------------------- */

struct lender {
	struct fabric *fabric;
	struct segment_desc *desc;
	uint8_t *memory;
	bool allocated;
	const void *key;
};

/* Memory that can be mapped, or that the kernel has to copy. */
static inline uint8_t *memory_new(bool allocated, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (allocated) {
		munmap(memory, size);
		ck_assert_int_eq(mc_memory_alloc(size, &memory), MC_OK);
	}
	return memory;
}

static inline void memory_end(bool allocated, void *memory, size_t size)
{
	if (allocated)
		mc_memory_free(memory);
	else
		munmap(memory, size);
}

static inline const void *lend_memory(struct lender *lender, uint8_t *memory, uint64_t length)
{
	struct fabric_region region = {memory, length, "*", BOTH};
	struct segment_buffer *buffer;
	const void *key;

	ck_assert_int_eq(segment_desc_add_buffer(lender->desc, "*", &buffer), MC_OK);
	buffer->addr = (uint64_t)(uintptr_t)memory;
	buffer->length = length;
	ck_assert_int_eq(ops->register_region(lender->fabric, &region, buffer, &key), MC_OK);
	return key;
}

static inline void lender_open(struct lender *lender, bool allocated)
{
	*lender = (struct lender){.allocated = allocated};
	ck_assert_int_eq(ops->open(&(struct fabric_config){.name = "lender"}, &lender->fabric),
			 MC_OK);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "lender", &lender->desc), MC_OK);
	ck_assert_int_eq(ops->describe(lender->fabric, lender->desc), MC_OK);
	lender->memory = memory_new(allocated, SIZE);
	lender->key = lend_memory(lender, lender->memory, SIZE);
}

static inline void lender_close(struct lender *lender)
{
	if (lender->key)
		ops->unregister_region(lender->fabric, lender->key);
	ops->close(lender->fabric);
	segment_desc_unref(lender->desc);
	memory_end(lender->allocated, lender->memory, SIZE);
}

struct waited {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

static inline void ended(struct fabric_slice *slice, enum mc_status status)
{
	struct waited *waited = container_of(slice, struct waited, slice);

	waited->status = status;
	atomic_store(&waited->ended, 1);
}

static inline enum mc_status move(struct fabric_peer *peer, enum fabric_opcode opcode, void *local,
				  const struct segment_buffer *buffer, uint32_t length)
{
	struct fabric *fabric = peer->fabric;
	struct waited waited = {.slice = {.opcode = opcode,
					  .local = local,
					  .length = length,
					  .remote = buffer->addr,
					  .buffer = buffer,
					  .done = ended}};
	struct fabric_slice *slice = &waited.slice;
	uint32_t taken;

	ck_assert_int_eq(ops->submit(peer, &slice, 1, &taken), MC_OK);
	ck_assert_uint_eq(taken, 1);
	while (!atomic_load(&waited.ended))
		ops->progress(fabric, 10000000);
	return waited.status;
}

struct borrower {
	struct fabric *fabric;
	struct fabric_peer *peer;
};

static inline void borrower_open(struct borrower *borrower, const struct lender *lender)
{
	ck_assert_int_eq(ops->open(&(struct fabric_config){.name = "borrower"}, &borrower->fabric),
			 MC_OK);
	ck_assert_int_eq(ops->connect(borrower->fabric, lender->desc, &borrower->peer), MC_OK);
}

static inline void borrower_close(struct borrower *borrower)
{
	ops->disconnect(borrower->peer);
	ops->close(borrower->fabric);
}

static inline uint64_t connections(struct fabric *fabric)
{
	struct fabric_counters counters;

	ops->counters(fabric, &counters);
	return counters.connections;
}

static inline void wait_for_connections(struct fabric *fabric, uint64_t count)
{
	for (int i = 0; connections(fabric) != count; i++) {
		ck_assert_msg(i < 20000, "%lu connections", (unsigned long)connections(fabric));
		usleep(1000);
	}
}

/* --- a borrower by hand --------------------------------------------------------------------- */

static inline int dial(const struct lender *lender)
{
	const char *name = strrchr(lender->desc->endpoints[0], '/');
	int fd = shm_socket_connect(name + 1);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static inline enum mc_status hear(int socket, struct shm_message *message, int *fd)
{
	struct pollfd readable = {.fd = socket, .events = POLLIN};

	*fd = -1;
	ck_assert_int_eq(poll(&readable, 1, 20000), 1);
	return shm_message_receive(socket, message, fd);
}

static inline struct ledger *greet(int socket)
{
	struct shm_message message = {.kind = SHM_HELLO};
	struct ledger *ledger;
	int fd;

	ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(message.kind, SHM_WELCOME);
	ck_assert_int_eq(ledger_map(fd, &ledger), MC_OK);
	close(fd);
	return ledger;
}

/* Submit a slice of these bytes; who waits for it is the caller's matter. */
static inline void submit(struct fabric_peer *peer, struct waited *waited, void *local,
			  const struct segment_buffer *buffer, uint32_t length)
{
	struct fabric_slice *slice = &waited->slice;
	uint32_t taken;

	*waited = (struct waited){.slice = {.opcode = FABRIC_READ,
					    .local = local,
					    .length = length,
					    .remote = buffer->addr,
					    .buffer = buffer,
					    .done = ended}};
	ck_assert_int_eq(ops->submit(peer, &slice, 1, &taken), MC_OK);
	ck_assert_uint_eq(taken, 1);
}

static inline bool has_ended(const struct waited *waited, int within_ms)
{
	for (int i = 0; i < within_ms && !atomic_load(&waited->ended); i++)
		usleep(1000);
	return atomic_load(&waited->ended);
}

#endif
