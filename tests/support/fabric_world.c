#include "tests/support/fabric_world.h"

#include <check.h>
#include <mooncake/engine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/fabric/shm/memory.h"

/* Segments of files have no memory to read: their fabric has a suite of its own. */
static const struct row {
	const char *name;
	const char *variable; /* in the environment, if any */
	bool allocated;	      /* memory that others can map */
} rows[] = {
	{"rdma", NULL}, {"tcp", NULL},	     {"tcp", "MC_DISABLE_IO_URING"},
	{"shm", NULL},	{"shm", NULL, true},
};
_Static_assert(ARRAY_SIZE(rows) == WORLD_ROWS, "tests loop over all rows");

/* --- two fabrics and memory between them --------------------------------------- */

static uint8_t *map(int fd)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static void side_map(struct side *side, const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	side->memory = map(fd);
	side->view = map(fd);
	close(fd);
}

static void side_allocate(struct side *side)
{
	void *memory;
	uint64_t offset;
	int fd;

	ck_assert_int_eq(mc_memory_alloc(SIZE, &memory), MC_OK);
	ck_assert_int_eq(memory_lend(memory, SIZE, true, &fd, &offset), MC_OK);
	side->memory = memory;
	side->view = map(fd);
	side->allocated = true;
	close(fd);
}

void world_pattern(uint8_t *memory, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		memory[i] = (uint8_t)(i * 2654435761u >> 13 ^ i >> 8 ^ seed);
}

/* False: not on this machine. */
static bool side_open(struct side *side, const struct row *row, const char *name, const char *host)
{
	struct fabric_config config = {.name = name, .listen_host = host, .announce_host = host};
	enum mc_status status = side->ops->open(&config, &side->fabric);

	if (status == MC_NOT_SUPPORTED)
		return false;
	ck_assert_int_eq(status, MC_OK);
	if (row->allocated)
		side_allocate(side);
	else
		side_map(side, name);
	return true;
}

struct segment_desc *world_describe(struct side *side, const char *name, void *memory,
				    uint64_t length, uint32_t access, const void **key)
{
	bool rdma = strcmp(side->ops->name, "rdma") == 0;
	struct segment_desc *desc;
	struct segment_buffer *buffer;
	struct fabric_region region = {memory, length, "cpu:0", access};

	ck_assert_int_eq(segment_desc_new(rdma ? SEGMENT_RDMA : SEGMENT_TCP, name, &desc), MC_OK);
	ck_assert_int_eq(side->ops->describe(side->fabric, desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "cpu:0", &buffer), MC_OK);
	buffer->addr = (uint64_t)(uintptr_t)memory;
	buffer->length = length;
	ck_assert_int_eq(side->ops->register_region(side->fabric, &region, buffer, key), MC_OK);
	return desc;
}

static const void *register_near(struct side *side)
{
	const void *key;
	/* What it would publish is of no interest. */
	struct segment_desc *desc = world_describe(side, "scratch", side->memory, SIZE, 0, &key);

	segment_desc_unref(desc);
	return key;
}

bool world_open_at(struct world *world, int row, uint32_t access, const char *host)
{
	const struct fabric_ops *ops = fabric_find(rows[row].name);
	const char *only = getenv("FABRIC"); /* tests/vm wants one of them */

	if (only && strcmp(only, rows[row].name) != 0)
		return false;
	/* Each test is a process of its own. */
	if (rows[row].variable)
		setenv(rows[row].variable, "1", 1);
	*world = (struct world){.near.ops = ops, .far.ops = ops};
	if (!ops || !side_open(&world->near, &rows[row], "near", host)) {
		fprintf(stderr, "skipped: no %s on this machine\n", rows[row].name);
		return false;
	}
	ck_assert(side_open(&world->far, &rows[row], "far", host));
	world->near.key = register_near(&world->near);
	world->desc = world_describe(&world->far, "far", world->far.memory, SIZE, access,
				     &world->far.key);
	ck_assert_int_eq(ops->connect(world->near.fabric, world->desc, &world->peer), MC_OK);
	return true;
}

bool world_open(struct world *world, int row, uint32_t access)
{
	return world_open_at(world, row, access, "127.0.0.1");
}

static void assert_nothing_left(const struct side *side)
{
	struct fabric_counters counters;

	side->ops->counters(side->fabric, &counters);
	ck_assert_uint_eq(counters.slices, 0);
	ck_assert_uint_eq(counters.regions, 0);
	ck_assert_uint_eq(counters.peers, 0);
}

static void side_close(struct side *side)
{
	assert_nothing_left(side);
	side->ops->close(side->fabric);
	if (side->allocated)
		mc_memory_free(side->memory);
	else
		munmap(side->memory, SIZE);
	munmap(side->view, SIZE);
}

void world_close(struct world *world)
{
	const struct fabric_ops *ops = world->near.ops;

	if (world->peer)
		ops->disconnect(world->peer);
	ops->unregister_region(world->near.fabric, world->near.key);
	ops->unregister_region(world->far.fabric, world->far.key);
	segment_desc_unref(world->desc);
	side_close(&world->near);
	side_close(&world->far);
}

/* --- slices ----------------------------------------------------------------------- */

static void moved(struct fabric_slice *slice, enum mc_status status)
{
	struct moving *moving = container_of(slice, struct moving, slice);

	moving->status = status;
	atomic_fetch_add(&moving->ended, 1);
}

void moving_prepare(struct world *world, struct moving *moving, enum fabric_opcode opcode,
		    uint64_t near, uint64_t far, uint32_t length)
{
	*moving = (struct moving){
		.slice = {.opcode = opcode,
			  .local = world->near.memory + near,
			  .length = length,
			  .remote = (uint64_t)(uintptr_t)world->far.memory + far,
			  .key = world->near.key,
			  .buffer = &world->desc->buffers[0],
			  .done = moved},
	};
}

void moving_wait(struct world *world, struct moving *movings, uint32_t count)
{
	uint64_t until = clock_ns() + LIMIT * 1000000ull;

	for (uint32_t i = 0; i < count; i++) {
		while (atomic_load(&movings[i].ended) == 0) {
			ck_assert_msg(clock_ns() < until, "a slice does not end");
			world->near.ops->progress(world->near.fabric, 10000000);
		}
		ck_assert_int_eq(atomic_load(&movings[i].ended), 1);
	}
}

void moving_submit(struct world *world, struct moving *movings, uint32_t count)
{
	const struct fabric_ops *ops = world->near.ops;
	struct fabric_slice *slices[64];

	for (uint32_t done = 0; done < count;) {
		uint32_t some = count - done < 64 ? count - done : 64, taken;
		for (uint32_t i = 0; i < some; i++)
			slices[i] = &movings[done + i].slice;
		ck_assert_int_eq(ops->submit(world->peer, slices, some, &taken), MC_OK);
		ck_assert_uint_le(taken, some);
		done += taken;
		if (taken < some)
			ops->progress(world->near.fabric, 1000000);
	}
}

enum mc_status world_move_one(struct world *world, struct moving *moving)
{
	moving_submit(world, moving, 1);
	moving_wait(world, moving, 1);
	return moving->status;
}

enum mc_status world_move(struct world *world, enum fabric_opcode opcode, uint64_t near,
			  uint64_t far, uint32_t length)
{
	struct moving moving;

	moving_prepare(world, &moving, opcode, near, far, length);
	return world_move_one(world, &moving);
}

pid_t lender_start(int row, struct card *card)
{
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct side side = {.ops = fabric_find(rows[row].name)};
		char *text;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!side.ops || !side_open(&side, &rows[row], "lender", "127.0.0.1"))
			_exit(0);
		world_pattern(side.memory, SIZE, 7);
		struct segment_desc *desc =
			world_describe(&side, "lender", side.memory, SIZE, BOTH, &side.key);
		ck_assert_int_eq(segment_desc_print(desc, &text), MC_OK);
		card->address = (uint64_t)(uintptr_t)side.memory;
		card->size = strlen(text);
		memcpy(card->text, text, card->size);
		ck_assert_int_eq(write(pipes[1], card, sizeof(*card)), sizeof(*card));
		pause();
	}
	close(pipes[1]);
	ssize_t got = 0, part;
	while ((part = read(pipes[0], (char *)card + got, sizeof(*card) - (size_t)got)) > 0)
		got += part;
	close(pipes[0]);
	if (got == sizeof(*card))
		return child;
	waitpid(child, NULL, 0);
	return 0;
}

void lender_end(pid_t child)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

void lender_prepare(struct world *world, struct moving *moving, const struct card *card,
		    const struct segment_desc *desc, uint64_t at, uint32_t length)
{
	moving_prepare(world, moving, FABRIC_READ, at, at, length);
	moving->slice.remote = card->address + at;
	moving->slice.buffer = &desc->buffers[0];
}

void lender_submit(struct world *world, struct fabric_peer *peer, struct moving *movings,
		   uint32_t count)
{
	struct fabric_peer *own = world->peer;

	world->peer = peer;
	moving_submit(world, movings, count);
	world->peer = own;
}
