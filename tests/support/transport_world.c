#include "tests/support/transport_world.h"

#include <check.h>
#include <fcntl.h>
#include <mooncake/protocol.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"

#define PATIENCE_S 60

/* --- the fake source: objects in memory files ----------------------------- */

static enum mc_status fake_hold(void *context, uint64_t id, uint64_t version,
				struct source_hold *hold)
{
	struct fake_source *fake = context;
	uint64_t now = atomic_load(&fake->version);

	if (fake->holding)
		fake->holding(fake, id);
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

void fake_init(struct fake_source *fake)
{
	*fake = (struct fake_source){
		.source = {.hold = fake_hold, .release = fake_release, .context = fake}};
	atomic_store(&fake->version, VERSION);
	for (int i = 0; i < OBJECTS_MAX; i++)
		fake->objects[i].fd = -1;
}

void world_pattern(uint8_t *bytes, uint64_t size, uint64_t seed)
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

uint64_t fake_add(struct fake_source *fake, int slot, uint64_t size)
{
	struct fake_object *object = &fake->objects[slot];

	object->fd = memfd_create("object", MFD_CLOEXEC);
	ck_assert_int_ge(object->fd, 0);
	ck_assert_int_eq(ftruncate(object->fd, (off_t)size), 0);
	object->size = size;
	if (size > 0) {
		object->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, object->fd, 0);
		ck_assert_ptr_ne(object->bytes, MAP_FAILED);
		world_pattern(object->bytes, size, (uint64_t)slot + 1);
	}
	return ID_FIRST + (uint64_t)slot;
}

void fake_fini(struct fake_source *fake)
{
	for (int i = 0; i < OBJECTS_MAX; i++) {
		if (fake->objects[i].bytes)
			munmap(fake->objects[i].bytes, fake->objects[i].size);
		if (fake->objects[i].fd >= 0)
			close(fake->objects[i].fd);
	}
}

/* --- the fake sink --------------------------------------------------------- */

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
	if (getting->target == TARGET_FILE || getting->target == TARGET_REFUSES) {
		getting->fd = memfd_create("target", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ck_assert_int_eq(ftruncate(getting->fd, (off_t)attr->size), 0);
	}
	if (getting->target == TARGET_REFUSES)
		ck_assert_int_eq(fcntl(getting->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	bool file = getting->target == TARGET_FILE;
	getting->memory =
		mmap(NULL, attr->size,
		     getting->target == TARGET_FULL ? PROT_NONE : PROT_READ | PROT_WRITE,
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

void getting_init(struct getting *getting, struct transport *transport, uint64_t id,
		  uint64_t version, uint32_t step_ms)
{
	*getting = (struct getting){
		.pull = {.sink = &fake_sink, .id = id, .version = version, .step_ms = step_ms},
		.transport = transport,
		.fd = -1,
	};
	pthread_mutex_init(&getting->lock, NULL);
	clock_cond_init(&getting->changed);
}

/* Whether who asks for a pull receives its answer, when that comes at once. */
static bool attended;

const struct transport_ops *world_ops(int row)
{
	/* rdma is engine-tcp with another fabric, and needs a device. */
	static const char *const names[TRANSPORTS] = {"shm", "tcp", "engine-tcp", "shm", "tcp"};

	return transport_find(names[row]);
}

void getting_start(struct getting *getting, const char *endpoint)
{
	if (attended)
		attend_begin();
	getting->transport->ops->pull(getting->transport, endpoint, &getting->pull);
	if (attended)
		attend_end();
}

void getting_wait_begun(struct getting *getting)
{
	WITH_LOCK(&getting->lock);
	while (!getting->begun && !getting->ended)
		pthread_cond_wait(&getting->changed, &getting->lock);
}

enum mc_status getting_wait(struct getting *getting)
{
	uint64_t until_ns = clock_ns() + PATIENCE_S * 1000000000ull;

	WITH_LOCK(&getting->lock);
	while (!getting->ended)
		ck_assert(clock_cond_wait(&getting->changed, &getting->lock, until_ns));
	return getting->status;
}

void getting_give_back(struct getting *getting)
{
	if (getting->loan)
		getting->transport->ops->give_back(getting->transport, STEAL(getting->loan));
}

void getting_fini(struct getting *getting)
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

uint32_t world_pull_flag(const struct transport_ops *ops)
{
	if (ops->give_back)
		return MC_PULL_DESCRIPTOR;
	return strcmp(ops->name, "tcp") == 0 ? 0 : MC_PULL_REMOTE;
}

struct transport *world_transport(const struct transport_ops *ops, const char *listen_host,
				  const struct transport_source *source)
{
	struct transport_config config = {.listen_host = listen_host, .source = source};
	struct transport *transport;

	ck_assert_int_eq(ops->open(&config, &transport), MC_OK);
	ck_assert_ptr_eq(transport->ops, ops);
	return transport;
}

void world_init_at(struct world *world, int row, const char *listen_host)
{
	*world = (struct world){.ops = world_ops(row)};
	attended = row >= TRANSPORTS - 2;
	fake_init(&world->fake);
	world->owner = world_transport(world->ops, listen_host, &world->fake.source);
	world->puller = world_transport(world->ops, listen_host, &world->fake.source);
	world->ops->endpoint(world->owner, world->endpoint);
}

void world_init(struct world *world, int row)
{
	world_init_at(world, row, "127.0.0.1");
}

void world_fini(struct world *world)
{
	world->ops->close(world->puller);
	world->ops->close(world->owner);
	ck_assert_int_eq(atomic_load(&world->fake.held), 0);
	fake_fini(&world->fake);
}

struct transport_counters world_counters(struct transport *transport)
{
	struct transport_counters counters;

	transport->ops->counters(transport, &counters);
	return counters;
}

void world_wait_until_nothing_is_held(struct world *world)
{
	for (int i = 0; i < 500 && world_counters(world->owner).holds > 0; i++)
		usleep(10000);
	ck_assert_uint_eq(world_counters(world->owner).holds, 0);
	ck_assert_int_eq(atomic_load(&world->fake.held), 0);
}

enum mc_status world_get(struct world *world, uint64_t id, uint64_t version, uint32_t step_ms)
{
	struct getting getting;

	getting_init(&getting, world->puller, id, version, step_ms);
	getting_start(&getting, world->endpoint);
	enum mc_status status = getting_wait(&getting);
	getting_fini(&getting);
	return status;
}

void getting_check(const struct getting *getting, const struct fake_source *fake)
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
