/*
 * What processes of a host say to each other, from any bytes: messages that decode keep
 * the rules and encode to the bytes that they came from; a lender and a borrower live
 * through any sequence of them, with descriptors or without, and go on serving.
 *
 * cmake -S . -B build-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DMOONCAKE_FUZZ=ON
 * ninja -C build-fuzz fuzz-fabric_shm && build-fuzz/fuzz/fuzz-fabric_shm -max_total_time=60
 */
#include <fcntl.h>
#include <mooncake/engine.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/shm.h"
#include "engine/fabric/shm/socket.h"
#include "engine/metadata/segment_desc.h"

#define MEMORY	    65536u
#define MESSAGES    16u
#define DEADLINE_NS 5000000u
#define PATIENCE_NS 20000000000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct fabric_ops *const ops = &fabric_shm_ops;
static struct fabric *fabric;	  /* lends, and borrows from the fuzzer */
static struct segment_desc *desc; /* of it */
static uint8_t local[MEMORY];

/* --- one message ------------------------------------------------------------------------- */

static void check_message(const uint8_t bytes[SHM_MESSAGE_SIZE])
{
	uint8_t again[SHM_MESSAGE_SIZE];
	struct shm_message message;

	if (shm_message_decode(bytes, SHM_MESSAGE_SIZE, &message) != MC_OK)
		return;
	MUST(message.slot < LEDGER_SLOTS && message.status <= 0);
	MUST(message.address <= UINT64_MAX - message.length);
	shm_message_encode(again, &message);
	MUST(memcmp(bytes, again, SHM_MESSAGE_SIZE) == 0);
}

/* Head and tail are put right, or hardly one would get past them; the rest is the fuzzer's. */
static void correct(uint8_t bytes[SHM_MESSAGE_SIZE], uint64_t key)
{
	uint8_t right[SHM_MESSAGE_SIZE];
	uint8_t how = bytes[0];

	shm_message_encode(right, &(struct shm_message){.kind = SHM_HELLO});
	memcpy(bytes, right, 6);
	memcpy(bytes + 56, right + 56, 8);
	store_u16(bytes + 6, (uint16_t)(1 + bytes[6] % 5));
	store_u32(bytes + 12, load_u32(bytes + 12) % LEDGER_SLOTS);
	store_u32(bytes + 48, load_u32(bytes + 48) % 4);
	store_u32(bytes + 52, load_u32(bytes + 52) % 2);
	if (how & 1)
		store_u64(bytes + 16, key);
	if (how & 2)
		store_u32(bytes + 8, 0);
	if (how & 4) {
		store_u64(bytes + 24, desc->buffers[0].addr);
		store_u64(bytes + 32, MEMORY);
		store_u64(bytes + 40, 0);
	}
}

/* What a message may bring: nothing, a ledger, memory that can't shrink, or that can. */
static int descriptor_of(uint8_t which)
{
	struct ledger *ledger;
	int fd = -1;

	if (which % 8 == 0)
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	if (which % 8 == 1 && ledger_new(&ledger, &fd) == MC_OK)
		ledger_free(ledger);
	if (which % 8 == 2 || which % 8 == 3) {
		fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		MUST(fd >= 0 && ftruncate(fd, MEMORY) == 0);
		MUST(which % 8 == 3 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	}
	return fd;
}

static void hear_all(int socket)
{
	struct shm_message message;
	int fd;

	while (shm_message_receive(socket, &message, &fd) == MC_OK) {
		if (fd >= 0)
			close(fd);
	}
}

/* Say what is in these bytes, a piece a message; the first byte of each says what it brings. */
static void say(int socket, const uint8_t *data, size_t size)
{
	for (unsigned i = 0; i < MESSAGES && size > 0; i++) {
		uint8_t bytes[SHM_MESSAGE_SIZE] = {0};
		size_t some = size < sizeof(bytes) ? size : sizeof(bytes);
		struct shm_message message;
		memcpy(bytes, data, some);
		int fd = descriptor_of(data[0] >> 3);
		correct(bytes, desc->buffers[0].key);
		check_message(bytes);
		if (shm_message_decode(bytes, sizeof(bytes), &message) == MC_OK)
			(void)!shm_message_send(socket, &message, fd);
		else
			(void)!send(socket, data, some, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (fd >= 0)
			close(fd);
		hear_all(socket);
		data += some;
		size -= some;
	}
}

/* --- both ends ------------------------------------------------------------------------------- */

static void open_once(void)
{
	struct fabric_region region = {NULL, MEMORY, "*", FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE};
	struct segment_buffer *buffer;
	const void *key;

	if (fabric)
		return;
	MUST(log_open("/dev/null"));
	MUST(ops->open(&(struct fabric_config){.name = "fuzz"}, &fabric) == MC_OK);
	MUST(segment_desc_new(SEGMENT_TCP, "fuzz", &desc) == MC_OK);
	MUST(ops->describe(fabric, desc) == MC_OK);
	MUST(segment_desc_add_buffer(desc, "*", &buffer) == MC_OK);
	MUST(mc_memory_alloc(MEMORY, &region.memory) == MC_OK);
	buffer->addr = (uint64_t)(uintptr_t)region.memory;
	buffer->length = MEMORY;
	MUST(ops->register_region(fabric, &region, buffer, &key) == MC_OK);
}

struct waited {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

static void ended(struct fabric_slice *slice, enum mc_status status)
{
	struct waited *waited = container_of(slice, struct waited, slice);

	waited->status = status;
	atomic_store(&waited->ended, 1);
}

static void begin(struct fabric_peer *peer, struct waited *waited, uint64_t deadline_ns)
{
	struct fabric_slice *slice = &waited->slice;
	uint32_t taken;

	*waited = (struct waited){.slice = {.opcode = FABRIC_READ,
					    .local = local,
					    .length = MEMORY,
					    .remote = desc->buffers[0].addr,
					    .buffer = &desc->buffers[0],
					    .deadline_ns = deadline_ns,
					    .done = ended}};
	MUST(ops->submit(peer, &slice, 1, &taken) == MC_OK && taken == 1);
}

static enum mc_status wait_for(struct waited *waited)
{
	uint64_t until = clock_ns() + PATIENCE_NS;

	while (!atomic_load(&waited->ended)) {
		MUST(clock_ns() < until);
		ops->progress(fabric, 1000000);
	}
	return waited->status;
}

static struct fabric_peer *connect_to(const char *endpoint)
{
	struct segment_desc *other;
	struct fabric_peer *peer;

	MUST(segment_desc_new(SEGMENT_TCP, "other", &other) == MC_OK);
	MUST(segment_desc_add_endpoint(other, endpoint) == MC_OK);
	MUST(ops->connect(fabric, other, &peer) == MC_OK);
	segment_desc_unref(other);
	return peer;
}

/* As a borrower that says anything; another is served all the same. */
static void fuzz_lender(const uint8_t *data, size_t size)
{
	int socket = shm_socket_connect(strrchr(desc->endpoints[0], '/') + 1);
	struct waited waited;

	MUST(socket >= 0);
	say(socket, data, size);
	struct fabric_peer *peer = connect_to(desc->endpoints[0]);
	begin(peer, &waited, 0);
	MUST(wait_for(&waited) == MC_OK);
	ops->disconnect(peer);
	hear_all(socket);
	close(socket);
}

/* As a lender that says anything: the slice ends, one way or another. */
static void fuzz_borrower(const uint8_t *data, size_t size)
{
	const char *real = desc->endpoints[0];
	char name[NET_NAME_SIZE], endpoint[300];
	struct waited waited;
	int listener;

	MUST(shm_socket_listen(name, &listener) == MC_OK);
	snprintf(endpoint, sizeof(endpoint), "%.*s%s", (int)(strrchr(real, '/') + 1 - real), real,
		 name);
	struct fabric_peer *peer = connect_to(endpoint);
	int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	MUST(socket >= 0);
	begin(peer, &waited, clock_ns() + DEADLINE_NS);
	/* Half of them greet as they should. */
	if (size > 0 && data[0] & 1) {
		struct ledger *ledger;
		int fd;
		MUST(ledger_new(&ledger, &fd) == MC_OK);
		(void)!shm_message_send(socket, &(struct shm_message){.kind = SHM_WELCOME}, fd);
		ledger_free(ledger);
		close(fd);
		ops->progress(fabric, 1000000);
	}
	say(socket, data, size);
	(void)wait_for(&waited);
	ops->disconnect(peer);
	close(socket);
	close(listener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	open_once();
	if (size >= SHM_MESSAGE_SIZE)
		check_message(data);
	if (size < 2)
		return 0;
	if (data[0] & 1)
		fuzz_lender(data + 1, size - 1);
	else
		fuzz_borrower(data + 1, size - 1);
	return 0;
}
