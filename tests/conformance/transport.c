/*
 * Every transport keeps the promises of engine/transport/transport.h: one
 * suite, run over each row of the table.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"
#include "engine/transport/transport.h"

#define TRANSPORTS  5 /* all that need no device, and two once more, attended to */
#define OBJECTS_MAX 16
#define VERSION	    7u
#define ID_FIRST    100u
#define ID_MISSING  99u
#define PATIENCE_MS 60000u
#define MIB	    (1ull << 20)

/* --- the fake source: objects in memory files ----------------------------- */

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
};

static enum mc_status fake_hold(void *context, uint64_t id, uint64_t version,
				struct source_hold *hold)
{
	struct fake_source *fake = context;
	uint64_t now = atomic_load(&fake->version);

	if (id < ID_FIRST || id >= ID_FIRST + OBJECTS_MAX || fake->objects[id - ID_FIRST].fd < 0)
		return MC_NOT_FOUND;
	if (version && version != now)
		return MC_STALE;
	if (atomic_load(&fake->again) > 0) {
		atomic_fetch_sub(&fake->again, 1);
		return MC_AGAIN;
	}
	struct fake_object *object = &fake->objects[id - ID_FIRST];
	*hold = (struct source_hold){
		.fd = object->fd,
		.attr = {.id = id, .version = now, .size = object->size, .mode = S_IFREG | 0640},
		.object = object,
	};
	atomic_fetch_add(&fake->held, 1);
	atomic_fetch_add(&fake->holds_made, 1);
	return MC_OK;
}

static void fake_release(void *context, struct source_hold *hold)
{
	struct fake_source *fake = context;

	ck_assert_ptr_nonnull(hold->object);
	atomic_fetch_sub(&fake->held, 1);
}

static void fake_init(struct fake_source *fake)
{
	*fake = (struct fake_source){
		.source = {.hold = fake_hold, .release = fake_release, .context = fake}};
	atomic_store(&fake->version, VERSION);
	for (int i = 0; i < OBJECTS_MAX; i++)
		fake->objects[i].fd = -1;
}

/* Bytes that differ from place to place and from object to object. */
static void fill(uint8_t *bytes, uint64_t size, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;

	for (uint64_t i = 0; i < size; i++) {
		if (i % 8 == 0) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		bytes[i] = (uint8_t)(x >> (i % 8 * 8));
	}
}

static uint64_t fake_add(struct fake_source *fake, int slot, uint64_t size)
{
	struct fake_object *object = &fake->objects[slot];

	object->fd = memfd_create("object", MFD_CLOEXEC);
	ck_assert_int_ge(object->fd, 0);
	ck_assert_int_eq(ftruncate(object->fd, (off_t)size), 0);
	object->size = size;
	if (size > 0) {
		object->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, object->fd, 0);
		ck_assert_ptr_ne(object->bytes, MAP_FAILED);
		fill(object->bytes, size, (uint64_t)slot + 1);
	}
	return ID_FIRST + (uint64_t)slot;
}

static void fake_fini(struct fake_source *fake)
{
	for (int i = 0; i < OBJECTS_MAX; i++) {
		if (fake->objects[i].bytes)
			munmap(fake->objects[i].bytes, fake->objects[i].size);
		if (fake->objects[i].fd >= 0)
			close(fake->objects[i].fd);
	}
}

/* --- the fake sink --------------------------------------------------------- */

/* Where the bytes go. */
enum target {
	TARGET_FILE,
	TARGET_MEMORY,
	TARGET_REFUSES, /* a file that takes no bytes */
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

static enum mc_status sink_begin(struct transport_pull *pull, const struct mc_attr *attr,
				 struct transport_target *target)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	getting->attr = *attr;
	pthread_mutex_lock(&getting->lock);
	getting->begun++;
	pthread_cond_broadcast(&getting->changed);
	pthread_mutex_unlock(&getting->lock);
	if (getting->refuse)
		return getting->refuse;
	if (attr->size == 0)
		return MC_OK;
	if (getting->target != TARGET_MEMORY) {
		getting->fd = memfd_create("target", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ck_assert_int_eq(ftruncate(getting->fd, (off_t)attr->size), 0);
	}
	if (getting->target == TARGET_REFUSES)
		ck_assert_int_eq(fcntl(getting->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	bool file = getting->target == TARGET_FILE;
	getting->memory =
		mmap(NULL, attr->size, PROT_READ | PROT_WRITE,
		     file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file ? getting->fd : -1, 0);
	if (getting->memory == MAP_FAILED)
		return MC_NO_MEMORY;
	getting->mapped = attr->size;
	*target = (struct transport_target){getting->memory, getting->fd};
	return MC_OK;
}

static enum mc_status sink_lend(struct transport_pull *pull, const struct mc_attr *attr, int fd,
				void *loan)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	getting->attr = *attr;
	getting->lent++;
	if (getting->refuse) {
		close(fd);
		return getting->refuse;
	}
	getting->fd = fd;
	getting->loan = loan;
	if (attr->size == 0)
		return MC_OK;
	getting->memory = mmap(NULL, attr->size, PROT_READ, MAP_SHARED, fd, 0);
	if (getting->memory == MAP_FAILED)
		return MC_NO_MEMORY;
	getting->mapped = attr->size;
	return MC_OK;
}

static void sink_arrived(struct transport_pull *pull, uint64_t offset, uint64_t length)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	if (getting->slow_us)
		usleep(getting->slow_us);
	WITH_LOCK(&getting->lock);
	if (getting->wanted && offset <= getting->wanted && getting->wanted < offset + length &&
	    getting->first_wanted == 0)
		getting->first_wanted = getting->arrived;
	getting->arrived += length;
	pthread_cond_broadcast(&getting->changed);
}

static void sink_done(struct transport_pull *pull, enum mc_status status)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	WITH_LOCK(&getting->lock);
	ck_assert(!getting->ended);
	getting->ended = true;
	getting->status = status;
	pthread_cond_broadcast(&getting->changed);
}

static const struct transport_sink fake_sink = {
	.begin = sink_begin,
	.lend = sink_lend,
	.arrived = sink_arrived,
	.done = sink_done,
};

static void getting_init(struct getting *getting, struct transport *transport, uint64_t id,
			 uint64_t version, uint32_t step_ms)
{
	*getting = (struct getting){
		.pull = {.sink = &fake_sink, .id = id, .version = version, .step_ms = step_ms},
		.transport = transport,
		.fd = -1,
	};
	pthread_mutex_init(&getting->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&getting->changed, &attr);
	pthread_condattr_destroy(&attr);
}

/* Whether who asks for a pull receives its answer, when that comes at once. */
static bool attended;

static const struct transport_ops *row_ops(int row)
{
	/* rdma is engine-tcp with another fabric, and needs a device. */
	static const char *const names[TRANSPORTS] = {"shm", "tcp", "engine-tcp", "shm", "tcp"};

	return transport_find(names[row]);
}

static void getting_start(struct getting *getting, const char *endpoint)
{
	if (attended)
		attend_begin();
	getting->transport->ops->pull(getting->transport, endpoint, &getting->pull);
	if (attended)
		attend_end();
}

static enum mc_status getting_wait(struct getting *getting)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	WITH_LOCK(&getting->lock);
	while (!getting->ended)
		ck_assert_int_eq(pthread_cond_timedwait(&getting->changed, &getting->lock, &until),
				 0);
	return getting->status;
}

static void getting_give_back(struct getting *getting)
{
	if (getting->loan)
		getting->transport->ops->give_back(getting->transport, STEAL(getting->loan));
}

static void getting_fini(struct getting *getting)
{
	getting_give_back(getting);
	if (getting->mapped)
		munmap(getting->memory, getting->mapped);
	if (getting->fd >= 0)
		close(getting->fd);
	pthread_mutex_destroy(&getting->lock);
	pthread_cond_destroy(&getting->changed);
}

/* --- a world of two ends ---------------------------------------------------- */

struct world {
	const struct transport_ops *ops;
	struct fake_source fake;
	struct transport *owner;
	struct transport *puller;
	char endpoint[MC_ENDPOINT_SIZE];
};

static const char *listen_host = "127.0.0.1";

/* What every request asks for there. */
static uint32_t pull_flag(const struct transport_ops *ops)
{
	if (ops->give_back)
		return MC_PULL_DESCRIPTOR;
	return strcmp(ops->name, "tcp") == 0 ? 0 : MC_PULL_REMOTE;
}

static struct transport *open_transport(const struct transport_ops *ops,
					const struct transport_source *source)
{
	struct transport_config config = {.listen_host = listen_host, .source = source};
	struct transport *transport;

	ck_assert_int_eq(ops->open(&config, &transport), MC_OK);
	ck_assert_ptr_eq(transport->ops, ops);
	return transport;
}

static void world_init(struct world *world, int row)
{
	*world = (struct world){.ops = row_ops(row)};
	attended = row >= TRANSPORTS - 2;
	fake_init(&world->fake);
	world->owner = open_transport(world->ops, &world->fake.source);
	world->puller = open_transport(world->ops, &world->fake.source);
	world->ops->endpoint(world->owner, world->endpoint);
}

static void world_fini(struct world *world)
{
	world->ops->close(world->puller);
	world->ops->close(world->owner);
	ck_assert_int_eq(atomic_load(&world->fake.held), 0);
	fake_fini(&world->fake);
}

static struct transport_counters counters_of(struct transport *transport)
{
	struct transport_counters counters;

	transport->ops->counters(transport, &counters);
	return counters;
}

static void wait_until_nothing_is_held(struct world *world)
{
	for (int i = 0; i < 500 && counters_of(world->owner).holds > 0; i++)
		usleep(10000);
	ck_assert_uint_eq(counters_of(world->owner).holds, 0);
	ck_assert_int_eq(atomic_load(&world->fake.held), 0);
}

static enum mc_status get(struct world *world, uint64_t id, uint64_t version, uint32_t step_ms)
{
	struct getting getting;

	getting_init(&getting, world->puller, id, version, step_ms);
	getting_start(&getting, world->endpoint);
	enum mc_status status = getting_wait(&getting);
	getting_fini(&getting);
	return status;
}

static void check_bytes(const struct getting *getting, const struct fake_source *fake)
{
	const struct fake_object *object = &fake->objects[getting->pull.id - ID_FIRST];

	ck_assert_uint_eq(getting->attr.size, object->size);
	ck_assert_uint_eq(getting->attr.id, getting->pull.id);
	ck_assert_uint_eq(getting->attr.version, VERSION);
	ck_assert_uint_eq(getting->attr.mode, S_IFREG | 0640);
	if (object->size)
		ck_assert(memcmp(getting->memory, object->bytes, object->size) == 0);
	ck_assert(getting->lent || getting->arrived == object->size);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- what is right ----------------------------------------------------------- */

static const uint64_t sizes[] = {0,	  1,	       4095, 4096,	  65536,   65537,
				 MIB / 2, MIB / 2 + 1, MIB,  5 * MIB + 1, 70 * MIB};

START_TEST(objects_of_every_size_arrive_whole)
{
	struct world world;

	world_init(&world, _i);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct getting getting;
		uint64_t id = fake_add(&world.fake, (int)i, sizes[i]);
		getting_init(&getting, world.puller, id, VERSION, 5000);
		getting_start(&getting, world.endpoint);
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		ck_assert_int_eq(getting.begun + getting.lent, 1);
		check_bytes(&getting, &world.fake);
		getting_fini(&getting);
	}
	wait_until_nothing_is_held(&world);
	ck_assert_uint_eq(counters_of(world.puller).pulls_done, ARRAY_SIZE(sizes));
	world_fini(&world);
}
END_TEST

START_TEST(memory_that_maps_no_file_is_filled_too)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5 * MIB + 1);
	getting_init(&getting, world.puller, id, VERSION, 5000);
	getting.target = TARGET_MEMORY;
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	check_bytes(&getting, &world.fake);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(an_object_with_holes_arrives_and_fills_none)
{
	struct world world;
	struct getting getting;
	struct stat before, after;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5 * MIB + 1);
	struct fake_object *object = &world.fake.objects[id - ID_FIRST];
	ck_assert_int_eq(
		fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, 2 * MIB), 0);
	ck_assert_int_eq(fstat(object->fd, &before), 0);
	getting_init(&getting, world.puller, id, VERSION, 5000);
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	ck_assert_int_eq(fstat(object->fd, &after), 0);
	ck_assert_int_eq(after.st_blocks, before.st_blocks);
	check_bytes(&getting, &world.fake);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(a_file_that_takes_no_bytes_ends_its_own_pull_only)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	/* Nothing is written where files are lent, and to the map where it is read one-sided. */
	if (pull_flag(world.ops)) {
		world_fini(&world);
		return;
	}
	uint64_t id = fake_add(&world.fake, 0, 9 * MIB);
	getting_init(&getting, world.puller, id, VERSION, 5000);
	getting.target = TARGET_REFUSES;
	getting_start(&getting, world.endpoint);
	enum mc_status status = getting_wait(&getting);
	ck_assert_int_eq(status, mc_status_from_errno(EPERM));
	getting_fini(&getting);
	ck_assert_int_eq(get(&world, id, VERSION, 5000), MC_OK);
	ck_assert_uint_eq(counters_of(world.puller).connections, 1);
	world_fini(&world);
}
END_TEST

START_TEST(objects_arrive_over_ipv6_and_over_any_address)
{
	static const char *const hosts[] = {"0.0.0.0", "::1"};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct world world;
		if (i == 1 && access("/proc/net/if_inet6", F_OK) < 0) {
			puts("SKIP: this machine has no IPv6");
			continue;
		}
		listen_host = hosts[i];
		world_init(&world, _i);
		ck_assert_int_eq(get(&world, fake_add(&world.fake, 0, 100000), 0, 5000), MC_OK);
		world_fini(&world);
	}
}
END_TEST

START_TEST(a_missing_object_is_not_found)
{
	struct world world;

	world_init(&world, _i);
	ck_assert_int_eq(get(&world, ID_MISSING, 0, 5000), MC_NOT_FOUND);
	world_fini(&world);
}
END_TEST

START_TEST(another_version_is_stale_and_zero_takes_what_there_is)
{
	struct world world;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5000);
	ck_assert_int_eq(get(&world, id, VERSION + 1, 5000), MC_STALE);
	ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	ck_assert_int_eq(get(&world, id, VERSION, 5000), MC_OK);
	world_fini(&world);
}
END_TEST

START_TEST(an_object_that_is_being_written_is_asked_for_again)
{
	struct world world;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 5000);
	atomic_store(&world.fake.again, 5);
	ck_assert_int_eq(get(&world, id, VERSION, 5000), MC_OK);
	atomic_store(&world.fake.again, 1 << 20);
	uint64_t begin_ms = now_ms();
	ck_assert_int_eq(get(&world, id, 0, 300), MC_TIMEOUT);
	ck_assert_uint_ge(now_ms() - begin_ms, 290);
	ck_assert_uint_le(now_ms() - begin_ms, 2000);
	world_fini(&world);
}
END_TEST

/* A race detector makes a thread's time ten times longer: deadlines of the transports' own pass. */
#ifdef __SANITIZE_THREAD__
#define AT_ONCE 8
#else
#define AT_ONCE 64
#endif

START_TEST(many_pulls_at_once_all_arrive)
{
	struct world world;
	static struct getting gettings[AT_ONCE];

	world_init(&world, _i);
	for (int i = 0; i < 8; i++)
		fake_add(&world.fake, i, (uint64_t)i * 700001);
	for (int i = 0; i < AT_ONCE; i++) {
		getting_init(&gettings[i], world.puller, ID_FIRST + (uint64_t)(i % 8), 0, 20000);
		getting_start(&gettings[i], world.endpoint);
	}
	for (int i = 0; i < AT_ONCE; i++) {
		ck_assert_int_eq(getting_wait(&gettings[i]), MC_OK);
		check_bytes(&gettings[i], &world.fake);
	}
	for (int i = 0; i < AT_ONCE; i++)
		getting_fini(&gettings[i]);
	wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(what_the_sink_refuses_comes_back)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 3 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.refuse = MC_NO_SPACE;
	getting_start(&getting, world.endpoint);
	ck_assert_int_eq(getting_wait(&getting), MC_NO_SPACE);
	getting_fini(&getting);
	/* The connection is still good for the next. */
	ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_cancelled_pull_ends_and_the_next_goes_on)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 20000;
	getting_start(&getting, world.endpoint);
	world.ops->cancel(world.puller, &getting.pull);
	enum mc_status status = getting_wait(&getting);
	ck_assert(status == MC_CANCELLED || (status == MC_OK && getting.lent));
	/* After the end it means nothing. */
	world.ops->cancel(world.puller, &getting.pull);
	getting_fini(&getting);
	ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(closing_ends_what_is_on_its_way)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	atomic_store(&world.fake.again, 1 << 20);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting_start(&getting, world.endpoint);
	world.ops->close(world.puller);
	ck_assert(getting.ended);
	ck_assert_int_eq(getting.status, MC_CANCELLED);
	getting_fini(&getting);
	world.puller = open_transport(world.ops, &world.fake.source);
	world_fini(&world);
}
END_TEST

START_TEST(a_wanted_range_comes_before_the_rest)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 1000;
	getting.wanted = 69 * MIB;
	getting_start(&getting, world.endpoint);
	pthread_mutex_lock(&getting.lock);
	while (!getting.begun && !getting.ended)
		pthread_cond_wait(&getting.changed, &getting.lock);
	pthread_mutex_unlock(&getting.lock);
	world.ops->want(world.puller, &getting.pull, 69 * MIB, 1000);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	check_bytes(&getting, &world.fake);
	ck_assert_uint_lt(getting.first_wanted, 40 * MIB);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(one_version_is_held_for_a_pull_in_many_requests)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	getting_init(&getting, world.puller, id, 0, 5000);
	getting.slow_us = 200;
	getting_start(&getting, world.endpoint);
	pthread_mutex_lock(&getting.lock);
	while (!getting.begun && !getting.ended)
		pthread_cond_wait(&getting.changed, &getting.lock);
	pthread_mutex_unlock(&getting.lock);
	/* From now on the source knows another version only. */
	atomic_store(&world.fake.version, VERSION + 1);
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	check_bytes(&getting, &world.fake);
	ck_assert_int_eq(atomic_load(&world.fake.holds_made), 1);
	getting_fini(&getting);
	world_fini(&world);
}
END_TEST

START_TEST(what_is_lent_is_held_until_it_is_given_back)
{
	struct world world;
	struct getting getting;

	world_init(&world, _i);
	if (world.ops->give_back) {
		uint64_t id = fake_add(&world.fake, 0, 10000);
		getting_init(&getting, world.puller, id, 0, 5000);
		getting_start(&getting, world.endpoint);
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		ck_assert_uint_eq(counters_of(world.owner).holds, 1);
		usleep(1500000);
		ck_assert_uint_eq(counters_of(world.owner).holds, 1);
		/* Only for reading, whatever the owner's own descriptor can do. */
		ck_assert_int_eq(fcntl(getting.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		getting_give_back(&getting);
		wait_until_nothing_is_held(&world);
		getting_fini(&getting);
	}
	world_fini(&world);
}
END_TEST

START_TEST(a_wrong_endpoint_is_refused)
{
	struct world world;
	struct getting getting;
	static const char *const wrong[] = {
		"",	      "x",    "tcp:",  "tcp:1.2.3.4", "tcp:1.2.3.4:99999",
		"tcp:name:1", "shm:", "shm:a", "shm:a/",
	};

	world_init(&world, _i);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		ck_assert_uint_eq(world.ops->score(world.puller, wrong[i]), 0);
		getting_init(&getting, world.puller, 1, 0, 1000);
		getting_start(&getting, wrong[i]);
		enum mc_status status = getting_wait(&getting);
		ck_assert(status == MC_INVALID || status == MC_UNREACHABLE);
		getting_fini(&getting);
	}
	ck_assert_uint_gt(world.ops->score(world.puller, world.endpoint), 0);
	world_fini(&world);
}
END_TEST

/* --- peers that fail ---------------------------------------------------------- */

/* An owner in another process, with objects of 0: 1 MiB and 1: 70 MiB. */
static pid_t owner_process(int row, char endpoint[MC_ENDPOINT_SIZE], int again)
{
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		static struct fake_source fake;
		const struct transport_ops *ops = row_ops(row);
		char text[MC_ENDPOINT_SIZE] = "";
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fake_init(&fake);
		fake_add(&fake, 0, MIB);
		fake_add(&fake, 1, 70 * MIB);
		atomic_store(&fake.again, again);
		ops->endpoint(open_transport(ops, &fake.source), text);
		if (write(pipes[1], text, sizeof(text)) != sizeof(text))
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(pipes[0], endpoint, MC_ENDPOINT_SIZE), MC_ENDPOINT_SIZE);
	close(pipes[0]);
	close(pipes[1]);
	return child;
}

static void end_process(pid_t child)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(a_killed_peer_ends_its_own_pulls_only)
{
	struct world world;
	struct getting doomed[4], other;
	char endpoint[MC_ENDPOINT_SIZE];
	/* Where descriptors are passed a pull is over at once: keep it waiting. */
	bool lends = row_ops(_i)->give_back != NULL;
	pid_t child = owner_process(_i, endpoint, lends ? 1 << 20 : 0);

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, 70 * MIB);
	for (int i = 0; i < 4; i++) {
		getting_init(&doomed[i], world.puller, ID_FIRST + 1, 0, 10000);
		doomed[i].slow_us = 3000;
		getting_start(&doomed[i], endpoint);
	}
	getting_init(&other, world.puller, id, 0, 10000);
	getting_start(&other, world.endpoint);
	usleep(50000);
	uint64_t begin_ms = now_ms();
	end_process(child);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(getting_wait(&doomed[i]), MC_UNREACHABLE);
		getting_fini(&doomed[i]);
	}
	/* Much less than a step; it takes what was in the socket already. */
	ck_assert_uint_le(now_ms() - begin_ms, 5000);
	ck_assert_int_eq(getting_wait(&other), MC_OK);
	getting_fini(&other);
	/* And nobody answers there any more. */
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 10000), MC_UNREACHABLE);
	world_fini(&world);
}
END_TEST

START_TEST(a_stopped_peer_times_out_and_may_come_back)
{
	struct world world;
	pid_t child;

	char endpoint[MC_ENDPOINT_SIZE];
	child = owner_process(_i, endpoint, 0);
	world_init(&world, _i);
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 5000), MC_OK);
	kill(child, SIGSTOP);
	ck_assert_int_eq(waitpid(child, NULL, WUNTRACED), child);
	uint64_t begin_ms = now_ms();
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 200), MC_TIMEOUT);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 200), MC_TIMEOUT);
	ck_assert_uint_ge(now_ms() - begin_ms, 390);
	ck_assert_uint_le(now_ms() - begin_ms, 2000);
	kill(child, SIGCONT);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 5000), MC_OK);
	world_fini(&world);
	end_process(child);
}
END_TEST

START_TEST(a_peer_that_restarted_is_found_again)
{
	struct world world;
	char endpoint[MC_ENDPOINT_SIZE];

	world_init(&world, _i);
	fake_add(&world.fake, 0, 100000);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 5000), MC_OK);
	world.ops->close(world.owner);
	struct transport_config config = {.listen_host = "127.0.0.1", .source = &world.fake.source};
	const char *colon = strrchr(world.endpoint, ':');
	if (pull_flag(world.ops) == 0)
		config.port_first = config.port_last = (uint16_t)atoi(colon + 1);
	ck_assert_int_eq(world.ops->open(&config, &world.owner), MC_OK);
	world.ops->endpoint(world.owner, endpoint);
	if (pull_flag(world.ops) == 0)
		ck_assert_str_eq(endpoint, world.endpoint);
	strcpy(world.endpoint, endpoint);
	ck_assert_int_eq(get(&world, ID_FIRST, 0, 5000), MC_OK);
	world_fini(&world);
}
END_TEST

/* --- strangers ------------------------------------------------------------------ */

static int open_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 3;
}

static int raw_connect(const struct world *world)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	int fd;

	if (!world->ops->give_back)
		snprintf(text, sizeof(text), "%s", strchr(world->endpoint, ':') + 1);
	else
		snprintf(text, sizeof(text), "@mooncake-%s", strrchr(world->endpoint, '/') + 1);
	ck_assert_int_eq(net_parse(text, &address), MC_OK);
	ck_assert_int_eq(net_connect(&address, 5000, &fd), MC_OK);
	struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void send_all(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static size_t pull_frame(uint8_t *bytes, uint32_t flag, uint64_t id, uint64_t offset,
			 uint32_t length)
{
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_PULL, .size = 32};
	struct writer w;

	frame_encode(bytes, &frame);
	writer_init_fixed(&w, bytes + MC_FRAME_HEADER_SIZE, 32);
	put_u64(&w, id);
	put_u64(&w, 0);
	put_u64(&w, offset);
	put_u32(&w, length);
	put_u32(&w, flag);
	return MC_FRAME_HEADER_SIZE + 32;
}

/* The header of the next reply, whose body is passed over. */
static struct frame read_reply(int fd)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame frame;

	ck_assert_int_eq(recv(fd, header, sizeof(header), MSG_WAITALL), sizeof(header));
	ck_assert_int_eq(frame_decode(header, &frame), MC_OK);
	if (frame.size) {
		void *body = malloc(frame.size);
		ck_assert_int_eq(recv(fd, body, frame.size, MSG_WAITALL), frame.size);
		free(body);
	}
	return frame;
}

START_TEST(garbage_closes_its_own_connection_only)
{
	struct world world;
	uint8_t garbage[4096];

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, MIB);
	for (unsigned seed = 1; seed <= 50; seed++) {
		char byte;
		int fd = raw_connect(&world);
		fill(garbage, sizeof(garbage), seed);
		if (send(fd, garbage, 1 + seed * 80, MSG_NOSIGNAL) > 24)
			ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
		close(fd);
		ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	}
	world_fini(&world);
}
END_TEST

START_TEST(a_truncated_request_is_no_request)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint64_t id = fake_add(&world.fake, 0, MIB);
	size_t size = pull_frame(bytes, pull_flag(world.ops), id, 0, 0);
	for (size_t cut = 1; cut < size; cut++) {
		int fd = raw_connect(&world);
		send_all(fd, bytes, cut);
		close(fd);
	}
	/* In two pieces it is one. */
	int fd = raw_connect(&world);
	send_all(fd, bytes, 30);
	usleep(20000);
	send_all(fd, bytes + 30, size - 30);
	ck_assert_int_eq(read_reply(fd).status, MC_OK);
	close(fd);
	ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(a_wrong_request_is_answered_and_the_connection_goes_on)
{
	struct world world;
	uint8_t bytes[64], body[70000] = {0};
	struct frame frame = {
		.kind = MC_FRAME_REQUEST, .verb = MC_VERB_LOOKUP, .size = sizeof(body)};

	world_init(&world, _i);
	uint32_t flag = pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, 1000);
	int fd = raw_connect(&world);
	/* Another verb, with a body; a PULL of the wrong size; one beyond the limit. */
	frame_encode(bytes, &frame);
	send_all(fd, bytes, MC_FRAME_HEADER_SIZE);
	send_all(fd, body, sizeof(body));
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	frame.verb = MC_VERB_PULL;
	frame.size = 3;
	frame_encode(bytes, &frame);
	send_all(fd, bytes, MC_FRAME_HEADER_SIZE + 3);
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	send_all(fd, bytes, pull_frame(bytes, flag, id, 0, UINT32_MAX));
	ck_assert_int_eq(read_reply(fd).status, MC_PROTOCOL);
	send_all(fd, bytes, pull_frame(bytes, flag ? 0 : MC_PULL_DESCRIPTOR, id, 0, 0));
	ck_assert_int_eq(read_reply(fd).status, MC_NOT_SUPPORTED);
	if (!flag) {
		send_all(fd, bytes, pull_frame(bytes, flag, id, UINT64_MAX, 1));
		ck_assert_int_eq(read_reply(fd).status, MC_INVALID);
	}
	send_all(fd, bytes, pull_frame(bytes, flag, id, 0, 0));
	ck_assert_int_eq(read_reply(fd).status, MC_OK);
	close(fd);
	wait_until_nothing_is_held(&world);
	world_fini(&world);
}
END_TEST

START_TEST(an_oversized_frame_closes_the_connection)
{
	struct world world;
	uint8_t bytes[MC_FRAME_HEADER_SIZE];
	struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_PULL, .size = UINT32_MAX};
	char byte;

	world_init(&world, _i);
	int fd = raw_connect(&world);
	frame_encode(bytes, &frame);
	send_all(fd, bytes, sizeof(bytes));
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
	close(fd);
	world_fini(&world);
}
END_TEST

START_TEST(a_thousand_failed_visits_leak_nothing)
{
	struct world world;
	uint8_t bytes[64];

	world_init(&world, _i);
	uint32_t flag = pull_flag(world.ops);
	uint64_t id = fake_add(&world.fake, 0, 3 * MIB);
	ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	usleep(100000);
	int before = open_fd_count();
	for (int i = 0; i < 1000; i++) {
		int fd = raw_connect(&world);
		send_all(fd, bytes, pull_frame(bytes, flag, id, 0, flag ? 0 : 1 << 20));
		close(fd);
		ck_assert_int_eq(get(&world, ID_MISSING, 0, 5000), MC_NOT_FOUND);
		ck_assert_int_eq(get(&world, id, VERSION + 1, 5000), MC_STALE);
		if (i % 20 == 0)
			ck_assert_int_eq(get(&world, id, 0, 5000), MC_OK);
	}
	wait_until_nothing_is_held(&world);
	for (int i = 0; i < 100 && open_fd_count() > before; i++)
		usleep(10000);
	ck_assert_int_le(open_fd_count(), before);
	world_fini(&world);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("transport");
	TCase *right = tcase_create("right");
	TCase *failing = tcase_create("failing peers");
	TCase *strange = tcase_create("strangers");

	tcase_set_timeout(right, 60);
	tcase_set_timeout(failing, 60);
	tcase_set_timeout(strange, 240);
	tcase_add_loop_test(right, objects_of_every_size_arrive_whole, 0, TRANSPORTS);
	tcase_add_loop_test(right, memory_that_maps_no_file_is_filled_too, 0, TRANSPORTS);
	tcase_add_loop_test(right, an_object_with_holes_arrives_and_fills_none, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_file_that_takes_no_bytes_ends_its_own_pull_only, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, objects_arrive_over_ipv6_and_over_any_address, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_missing_object_is_not_found, 0, TRANSPORTS);
	tcase_add_loop_test(right, another_version_is_stale_and_zero_takes_what_there_is, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, an_object_that_is_being_written_is_asked_for_again, 0,
			    TRANSPORTS);
	tcase_add_loop_test(right, many_pulls_at_once_all_arrive, 0, TRANSPORTS);
	tcase_add_loop_test(right, what_the_sink_refuses_comes_back, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_cancelled_pull_ends_and_the_next_goes_on, 0, TRANSPORTS);
	tcase_add_loop_test(right, closing_ends_what_is_on_its_way, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_wanted_range_comes_before_the_rest, 0, TRANSPORTS);
	tcase_add_loop_test(right, one_version_is_held_for_a_pull_in_many_requests, 0, TRANSPORTS);
	tcase_add_loop_test(right, what_is_lent_is_held_until_it_is_given_back, 0, TRANSPORTS);
	tcase_add_loop_test(right, a_wrong_endpoint_is_refused, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_killed_peer_ends_its_own_pulls_only, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_stopped_peer_times_out_and_may_come_back, 0, TRANSPORTS);
	tcase_add_loop_test(failing, a_peer_that_restarted_is_found_again, 0, TRANSPORTS);
	tcase_add_loop_test(strange, garbage_closes_its_own_connection_only, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_truncated_request_is_no_request, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_wrong_request_is_answered_and_the_connection_goes_on, 0,
			    TRANSPORTS);
	tcase_add_loop_test(strange, an_oversized_frame_closes_the_connection, 0, TRANSPORTS);
	tcase_add_loop_test(strange, a_thousand_failed_visits_leak_nothing, 0, TRANSPORTS);
	suite_add_tcase(s, right);
	suite_add_tcase(s, failing);
	suite_add_tcase(s, strange);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());

	log_set_level("error");
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
