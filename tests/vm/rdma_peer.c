/*
 * One side of transfers over the RDMA fabric, on real verbs: for tests in a guest
 * with soft-RoCE (test_rdma.py), where it stands beside the programs of perftest.
 *
 *   rdma_peer serve DEVICES FILE             register memory, describe it in FILE, stay
 *   rdma_peer read|write DEVICES FILE SIZE COUNT   one request after the other: latency;
 *                                            more than 4 KiB: many at a time: bandwidth
 *   rdma_peer steady DEVICES FILE SECONDS    read without end, retrying as an engine does
 *   rdma_peer connects DEVICES FILE COUNT    connect, read, disconnect
 *   rdma_peer lend DEVICES FILE              an engine with memory; its name and address in FILE
 *   rdma_peer borrow DEVICES FILE COUNT      an engine that reads and writes that memory
 *
 * The memory holds a pattern by address, which what was read is compared with.
 */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mooncake/engine.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/rdma.h"
#include "engine/metadata/segment_desc.h"

#define MEMORY	  (32u << 20)
#define SLICES	  256u
#define SLICE_MAX (64u << 10)
#define LATENCIES 100000u

static const struct fabric_ops *const ops = &fabric_rdma_ops;
static struct fabric *fabric;
static struct fabric_peer *peer;
static struct segment_desc *desc;
static const void *key;
static uint8_t *memory;

struct transfer {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

static struct transfer transfers[SLICES];

static void check(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "rdma_peer: %s\n", what);
	exit(1);
}

static void pattern(uint8_t *at, uint64_t offset, uint64_t size)
{
	for (uint64_t i = 0; i < size; i += 8) {
		uint64_t word = (offset + i) * 0x9e3779b97f4a7c15ull;
		memcpy(at + i, &word, 8);
	}
}

static void open_fabric(const char *devices, const char *name)
{
	struct fabric_config config = {
		.name = name, .listen_host = "127.0.0.1", .devices = devices};

	check(ops->open(&config, &fabric) == MC_OK, "the fabric does not open");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "no memory");
}

static void close_all(void)
{
	struct fabric_counters counters;

	if (peer)
		ops->disconnect(peer);
	ops->counters(fabric, &counters);
	check(counters.slices == 0 && counters.peers == 0, "slices or peers are left");
	check(!peer || counters.connections == 0, "queue pairs are left");
	if (peer)
		printf("made=%lu by_librdmacm=%lu\n", counters.connects, counters.connects_cm);
	ops->unregister_region(fabric, key);
	ops->close(fabric);
	segment_desc_unref(desc);
}

/* --- serve ----------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
	char part[256];

	snprintf(part, sizeof(part), "%s.part", path);
	FILE *out = fopen(part, "we");
	check(out && fputs(text, out) >= 0 && fclose(out) == 0, "the file can't be written");
	check(rename(part, path) == 0, "the file can't be renamed");
}

static void wait_for_the_end(void)
{
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigwait(&set, &number);
}

static void serve(const char *devices, const char *path)
{
	struct segment_buffer *buffer = NULL;
	CLEANUP_FREE char *text = NULL;
	open_fabric(devices, "served");
	pattern(memory, 0, MEMORY);
	struct fabric_region region = {memory, MEMORY, "*",
				       FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE};
	check(segment_desc_new(SEGMENT_RDMA, "served", &desc) == MC_OK &&
		      ops->describe(fabric, desc) == MC_OK &&
		      segment_desc_add_buffer(desc, "*", &buffer) == MC_OK,
	      "no descriptor");
	buffer->addr = (uintptr_t)memory;
	buffer->length = MEMORY;
	check(ops->register_region(fabric, &region, buffer, &key) == MC_OK, "not registered");
	check(segment_desc_print(desc, &text) == MC_OK, "not printed");
	write_file(path, text);
	wait_for_the_end();
	close_all();
}

/* --- transfers ---------------------------------------------------------------------- */

static void read_desc(const char *path)
{
	static char text[65536];
	FILE *in = fopen(path, "re");

	check(in != NULL, "no descriptor");
	size_t size = fread(text, 1, sizeof(text), in);
	fclose(in);
	check(segment_desc_parse(text, size, &desc) == MC_OK, "descriptor not understood");
}

static void reach(const char *devices, const char *path)
{
	struct fabric_region region;

	open_fabric(devices, "reader");
	region = (struct fabric_region){memory, MEMORY, "*", 0};
	check(ops->register_region(fabric, &region, NULL, &key) == MC_OK, "not registered");
	read_desc(path);
	check(ops->connect(fabric, desc, &peer) == MC_OK, "not connected");
}

static void ended(struct fabric_slice *slice, enum mc_status status)
{
	struct transfer *transfer = (struct transfer *)slice;

	transfer->status = status;
	atomic_store(&transfer->ended, 1);
}

static struct transfer *prepare(uint32_t index, enum fabric_opcode opcode, uint64_t offset,
				uint32_t length)
{
	struct transfer *transfer = &transfers[index];

	transfer->slice = (struct fabric_slice){.opcode = opcode,
						.local = memory + offset,
						.length = length,
						.path = index,
						.remote = desc->buffers[0].addr + offset,
						.key = key,
						.buffer = &desc->buffers[0],
						.done = ended};
	atomic_store(&transfer->ended, 0);
	return transfer;
}

static void submit_all(uint32_t first, uint32_t count)
{
	struct fabric_slice *slices[SLICES];
	uint32_t done = 0, taken;

	for (uint32_t i = 0; i < count; i++)
		slices[i] = &transfers[(first + i) % SLICES].slice;
	while (done < count) {
		check(ops->submit(peer, slices + done, count - done, &taken) == MC_OK, "not taken");
		done += taken;
		if (taken == 0)
			ops->progress(fabric, 1000000);
	}
}

static enum mc_status finish(uint32_t index)
{
	while (!atomic_load(&transfers[index].ended))
		ops->progress(fabric, 100000000);
	return transfers[index].status;
}

static enum mc_status one(enum fabric_opcode opcode, uint64_t offset, uint32_t length)
{
	prepare(0, opcode, offset, length);
	submit_all(0, 1);
	return finish(0);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void latency(enum fabric_opcode opcode, uint32_t size, uint32_t count)
{
	static uint64_t took[LATENCIES];

	check(count <= LATENCIES, "too many");
	for (uint32_t i = 0; i < count; i++) {
		uint64_t start = clock_ns();
		check(one(opcode, 0, size) == MC_OK, "a transfer failed");
		took[i] = clock_ns() - start;
	}
	qsort(took, count, sizeof(took[0]), by_value);
	uint32_t median = count / 2, late = count / 100 * 99;
	printf("latency_us median=%.2f min=%.2f p99=%.2f\n", (double)took[median] / 1e3,
	       (double)took[0] / 1e3, (double)took[late] / 1e3);
}

/* Blocks of this size, each in slices, as many slices in flight as there are. */
static void bandwidth(enum fabric_opcode opcode, uint32_t size, uint32_t count)
{
	uint32_t slices = (size + SLICE_MAX - 1) / SLICE_MAX;
	uint64_t total = (uint64_t)slices * count, begun = 0;
	uint64_t start = clock_ns();

	for (uint64_t at = 0; at < total; at++) {
		while (begun < total && begun < at + SLICES) {
			uint64_t offset = (begun * SLICE_MAX) % MEMORY;
			prepare((uint32_t)(begun % SLICES), opcode, offset, SLICE_MAX);
			submit_all((uint32_t)(begun % SLICES), 1);
			begun++;
		}
		check(finish((uint32_t)(at % SLICES)) == MC_OK, "a transfer failed");
	}
	double seconds = (double)(clock_ns() - start) / 1e9;
	printf("bandwidth_mib_s %.2f\n", (double)total * SLICE_MAX / seconds / (1 << 20));
}

static void measure(enum fabric_opcode opcode, uint32_t size, uint32_t count)
{
	check(one(opcode, 0, 64) == MC_OK, "the first transfer failed");
	if (size <= 4096)
		latency(opcode, size, count);
	else
		bandwidth(opcode, size, count);
}

/* Whole blocks, each compared; a block that fails is begun again. */
static void steady(uint32_t seconds)
{
	static uint8_t expected[SLICE_MAX];
	uint64_t now = clock_ns(), end = now + seconds * 1000000000ull;
	uint64_t blocks = 0, failed = 0, longest = 0, last = now;

	for (uint64_t at = 0; now < end; at = (at + SLICE_MAX) % MEMORY) {
		memset(memory + at, 0, SLICE_MAX);
		enum mc_status status = one(FABRIC_READ, at, SLICE_MAX);
		now = clock_ns();
		if (status == MC_UNREACHABLE) {
			failed++;
			poll(NULL, 0, 10);
			continue;
		}
		check(status == MC_OK, mc_status_text(status));
		pattern(expected, at, SLICE_MAX);
		check(memcmp(expected, memory + at, SLICE_MAX) == 0, "bytes differ");
		blocks++;
		longest = now - last > longest ? now - last : longest;
		last = now;
	}
	printf("blocks=%lu failed=%lu longest_gap_ms=%lu last_ms=%lu paths=%u\n", blocks, failed,
	       longest / 1000000, (now - last) / 1000000, ops->paths(peer, key, &desc->buffers[0]));
}

static uint32_t descriptors(void)
{
	uint32_t count = 0;

	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void connects(uint32_t count)
{
	uint32_t fds = 0;
	size_t bytes = 0;

	for (uint32_t i = 0; i < count; i++) {
		check(one(FABRIC_READ, 0, 64) == MC_OK, "a transfer failed");
		ops->disconnect(peer);
		if (i == count / 10) {
			fds = descriptors();
			bytes = mallinfo2().uordblks;
		}
		check(i + 1 < count || descriptors() <= fds, "descriptors are left");
		check(ops->connect(fabric, desc, &peer) == MC_OK, "not connected");
	}
	printf("connects=%u growth_bytes=%ld\n", count, (long)(mallinfo2().uordblks - bytes));
}

/* --- engines ---------------------------------------------------------------------------- */

static struct mc_engine *open_engine(const char *devices)
{
	struct mc_engine_config config = {.metadata = "P2PHANDSHAKE",
					  .listen = "127.0.0.1",
					  .protocols = "rdma",
					  .devices = devices};
	struct mc_engine *engine;

	check(mc_engine_open(&config, &engine) == MC_OK, "the engine does not open");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "no memory");
	check(mc_engine_register(engine, memory, MEMORY, "*", MC_REGION_DEFAULT) == MC_OK,
	      "not registered");
	return engine;
}

static void close_engine(struct mc_engine *engine)
{
	struct mc_engine_stats stats;

	check(mc_engine_unregister(engine, memory) == MC_OK, "not unregistered");
	mc_engine_stats(engine, &stats);
	check(stats.batches == 0 && stats.slices == 0 && stats.regions == 0, "something is left");
	printf("bytes_read=%lu bytes_written=%lu\n", stats.bytes_read, stats.bytes_written);
	mc_engine_close(engine);
}

static void lend(const char *devices, const char *path)
{
	struct mc_engine *engine = open_engine(devices);
	char text[512];

	pattern(memory, 0, MEMORY);
	snprintf(text, sizeof(text), "%s %lu\n", mc_engine_name(engine), (uintptr_t)memory);
	write_file(path, text);
	wait_for_the_end();
	close_engine(engine);
}

static void engine_move(struct mc_engine *engine, enum mc_opcode opcode, mc_segment_id segment,
			uint64_t remote, uint64_t offset)
{
	struct mc_request request = {opcode, memory + offset, segment, remote + offset, MEMORY / 2};
	struct mc_batch *batch;

	check(mc_batch_new(engine, 1, &batch) == MC_OK, "no batch");
	check(mc_batch_submit(batch, &request, 1) == MC_OK, "not submitted");
	check(mc_batch_wait(batch, 60000) == MC_OK, "a transfer failed");
	check(mc_batch_free(batch) == MC_OK, "the batch is busy");
}

/* The first half is read; the second is written, and read back. */
static void borrow(const char *devices, const char *path, uint32_t count)
{
	struct mc_engine *engine = open_engine(devices);
	static uint8_t expected[MEMORY / 2];
	char name[256], number[64];
	mc_segment_id segment;
	FILE *in = fopen(path, "re");

	check(in && fscanf(in, "%255s %63s", name, number) == 2 && fclose(in) == 0, "no name");
	uint64_t remote = strtoull(number, NULL, 10);
	check(mc_segment_open(engine, name, 0, &segment) == MC_OK, "no such segment");
	for (uint32_t i = 0; i < count; i++) {
		memset(memory, 0, MEMORY / 2);
		engine_move(engine, MC_READ, segment, remote, 0);
		pattern(expected, 0, MEMORY / 2);
		check(memcmp(memory, expected, MEMORY / 2) == 0, "bytes differ");
		pattern(memory + MEMORY / 2, i + 1, MEMORY / 2);
		memcpy(expected, memory + MEMORY / 2, MEMORY / 2);
		engine_move(engine, MC_WRITE, segment, remote, MEMORY / 2);
		memset(memory + MEMORY / 2, 0, MEMORY / 2);
		engine_move(engine, MC_READ, segment, remote, MEMORY / 2);
		check(memcmp(memory + MEMORY / 2, expected, MEMORY / 2) == 0, "bytes differ");
	}
	check(mc_segment_close(engine, segment) == MC_OK, "the segment is busy");
	close_engine(engine);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 3 ? argv[1] : "";
	sigset_t set;

	/* Threads that libraries start must not end the process. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (strcmp(verb, "serve") == 0 || strcmp(verb, "lend") == 0)
		sigprocmask(SIG_BLOCK, &set, NULL);

	log_set_level(getenv("LOG") ? getenv("LOG") : "info");
	if (strcmp(verb, "serve") == 0) {
		serve(argv[2], argv[3]);
		return 0;
	}
	if (strcmp(verb, "lend") == 0) {
		lend(argv[2], argv[3]);
		return 0;
	}
	check(argc > 4, "usage: see tests/vm/rdma_peer.c");
	uint32_t number = (uint32_t)atoi(argv[4]);
	if (strcmp(verb, "borrow") == 0) {
		borrow(argv[2], argv[3], number);
		return 0;
	}
	reach(argv[2], argv[3]);
	if (strcmp(verb, "steady") == 0)
		steady(number);
	else if (strcmp(verb, "connects") == 0)
		connects(number);
	else
		measure(strcmp(verb, "write") == 0 ? FABRIC_WRITE : FABRIC_READ, number,
			argc > 5 ? (uint32_t)atoi(argv[5]) : 1000);
	close_all();
	return 0;
}
