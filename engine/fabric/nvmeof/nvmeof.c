#include "engine/fabric/nvmeof/nvmeof.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/nvmeof/internal.h"
#include "engine/metadata/segment_desc.h"

#define ENTRIES	   (2 * OPERATIONS_MAX)
#define FOREVER_NS UINT64_MAX
#define STAND_BACK 1000000u /* ns that the thread keeps out of the way of callers */
#define LOOK_AGAIN 1000000u /* ns between looks at what another thread has to finish */
/* As much as devices take at once; smaller ones cost more than they spread. */
#define SLICE_SIZE  (1u << 20)
#define WAIT_MAX    3600000000000u
#define DELIVER_MAX 64u

static struct nvmeof *nvmeof_of(struct fabric *fabric)
{
	return container_of(fabric, struct nvmeof, base);
}

static struct nvmeof_peer *peer_of(struct fabric_peer *peer)
{
	return container_of(peer, struct nvmeof_peer, base);
}

/* -- progress -- */

/* Sleep until the ring has a completion; the lock is not held. */
static void ring_wait(struct nvmeof *fabric, uint64_t timeout_ns)
{
	struct __kernel_timespec limit = {.tv_sec = (int64_t)(timeout_ns / 1000000000u),
					  .tv_nsec = (long long)(timeout_ns % 1000000000u)};
	struct io_uring_getevents_arg argument = {
		.ts = timeout_ns == FOREVER_NS ? 0 : (uint64_t)(uintptr_t)&limit};

	(void)io_uring_enter2((unsigned)fabric->ring.ring_fd, 0, 1,
			      IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, (sigset_t *)&argument,
			      sizeof(argument));
}

struct delivery {
	struct fabric_slice *slice;
	enum mc_status status;
	struct nvmeof_peer *peer;
};

/* Take slices that have ended, and give their places back: done() may submit again. */
static size_t take_ended(struct nvmeof *fabric, struct delivery *deliveries)
{
	size_t count = 0;

	while (fabric->ended.head && count < DELIVER_MAX) {
		struct transfer *transfer = fabric->ended.head;
		fabric->ended.head = transfer->next;
		if (!fabric->ended.head)
			fabric->ended.tail = &fabric->ended.head;
		deliveries[count++] =
			(struct delivery){transfer->slice, transfer->status, transfer->peer};
		transfer->slice = NULL;
		transfer->next = fabric->free_transfers;
		fabric->free_transfers = transfer;
		fabric->counters.slices--;
	}
	return count;
}

/*
 * Call done() of what has ended; the lock is held before and after.  How many there
 * were.  Callers who wait for them must hear of it: those behind another caller, and
 * the one that is about to wait for a completion that has been taken here.
 */
static size_t deliver(struct nvmeof *fabric)
{
	struct delivery deliveries[DELIVER_MAX];
	size_t sum = 0, count;

	while ((count = take_ended(fabric, deliveries)) > 0) {
		fabric->delivering++;
		pthread_mutex_unlock(&fabric->lock);
		for (size_t i = 0; i < count; i++)
			deliveries[i].slice->done(deliveries[i].slice, deliveries[i].status);
		pthread_mutex_lock(&fabric->lock);
		for (size_t i = 0; i < count; i++)
			deliveries[i].peer->slices--;
		fabric->delivering--;
		fabric->rounds++;
		pthread_cond_broadcast(&fabric->round);
		sum += count;
	}
	if (sum && fabric->waiting)
		work_kick(fabric);
	return sum;
}

static size_t advance(struct nvmeof *fabric)
{
	work_reap(fabric);
	return deliver(fabric);
}

/* Another thread waits in the kernel for all, or calls done(): until it has done so. */
static void wait_for_other(struct nvmeof *fabric, uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + (timeout_ns < WAIT_MAX ? timeout_ns : WAIT_MAX);
	uint64_t round = fabric->rounds;

	while (fabric->rounds == round) {
		if (!clock_cond_wait(&fabric->round, &fabric->lock, end))
			return;
	}
}

static void wait_for_ring(struct nvmeof *fabric, uint64_t timeout_ns)
{
	fabric->waiting = true;
	pthread_mutex_unlock(&fabric->lock);
	ring_wait(fabric, timeout_ns);
	pthread_mutex_lock(&fabric->lock);
	fabric->waiting = false;
	(void)advance(fabric);
	fabric->rounds++;
	pthread_cond_broadcast(&fabric->round);
}

static void nvmeof_progress(struct fabric *base, uint64_t timeout_ns)
{
	struct nvmeof *fabric = nvmeof_of(base);

	WITH_LOCK(&fabric->lock);
	fabric->callers++;
	fabric->calls++;
	bool under_way = fabric->counters.slices || fabric->delivering;
	if (advance(fabric) == 0 && timeout_ns && under_way) {
		if (fabric->waiting || fabric->delivering)
			wait_for_other(fabric, timeout_ns);
		else
			wait_for_ring(fabric, timeout_ns);
	}
	fabric->callers--;
}

/* Makes progress where no caller does. */
static void *run(void *argument)
{
	struct nvmeof *fabric = argument;
	uint64_t calls = 0;

	pthread_setname_np(pthread_self(), "mc-nvmeof");
	WITH_LOCK(&fabric->lock);
	while (!fabric->stopping) {
		bool busy = fabric->callers || fabric->calls != calls;
		bool wanted = fabric->wanted;
		calls = fabric->calls;
		pthread_mutex_unlock(&fabric->lock);
		if (wanted)
			region_fill(fabric);
		else if (busy)
			nanosleep(&(struct timespec){.tv_nsec = STAND_BACK}, NULL);
		else
			ring_wait(fabric, FOREVER_NS);
		pthread_mutex_lock(&fabric->lock);
		if (!fabric->callers && fabric->calls == calls)
			(void)advance(fabric);
	}
	return NULL;
}

/* -- open and close -- */

static enum mc_status open_ring(struct nvmeof *fabric)
{
	int rc = io_uring_queue_init(ENTRIES, &fabric->ring, 0);

	if (rc < 0 || !(fabric->ring.features & IORING_FEAT_EXT_ARG)) {
		log_debug("nvmeof: no io_uring error=%s", strerror(rc < 0 ? -rc : EOPNOTSUPP));
		if (rc == 0)
			io_uring_queue_exit(&fabric->ring);
		return MC_NOT_SUPPORTED;
	}
	return MC_OK;
}

static enum mc_status nvmeof_open(const struct fabric_config *config, struct fabric **fabric)
{
	struct nvmeof *made = calloc(1, sizeof(*made));
	enum mc_status status = MC_NO_MEMORY;

	if (!made)
		return MC_NO_MEMORY;
	made->base.ops = &fabric_nvmeof_ops;
	made->name = strdup(config->name ? config->name : "");
	if (!made->name)
		goto err_free;
	made->bounces = mmap(NULL, (size_t)BOUNCES_MAX * BOUNCE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (made->bounces == MAP_FAILED)
		goto err_name;
	status = open_ring(made);
	if (status != MC_OK)
		goto err_bounces;
	pthread_mutex_init(&made->lock, NULL);
	pthread_mutex_init(&made->region_lock, NULL);
	clock_cond_init(&made->round);
	work_init(made);
	region_open(made);
	status = MC_NO_MEMORY;
	if (thread_start(&made->thread, run, made) != 0)
		goto err_ring;
	*fabric = &made->base;
	return MC_OK;

err_ring:
	io_uring_queue_exit(&made->ring);
err_bounces:
	munmap(made->bounces, (size_t)BOUNCES_MAX * BOUNCE_SIZE);
err_name:
	free(made->name);
err_free:
	free(made);
	return status;
}

static void nvmeof_disconnect(struct fabric_peer *base);

static void nvmeof_close(struct fabric *base)
{
	struct nvmeof *fabric = nvmeof_of(base);

	while (fabric->peers)
		nvmeof_disconnect(&fabric->peers->base);
	pthread_mutex_lock(&fabric->lock);
	fabric->stopping = true;
	work_kick(fabric);
	pthread_mutex_unlock(&fabric->lock);
	pthread_join(fabric->thread, NULL);
	io_uring_queue_exit(&fabric->ring);
	munmap(fabric->bounces, (size_t)BOUNCES_MAX * BOUNCE_SIZE);
	pthread_cond_destroy(&fabric->round);
	pthread_mutex_destroy(&fabric->region_lock);
	pthread_mutex_destroy(&fabric->lock);
	free(fabric->name);
	free(fabric);
}

/* Peers need to know nothing of us: the files are what they reach. */
static enum mc_status nvmeof_describe(struct fabric *fabric, struct segment_desc *desc)
{
	(void)fabric;
	(void)desc;
	return MC_OK;
}

/* -- peers -- */

static void free_peer(struct nvmeof_peer *peer)
{
	for (uint32_t i = 0; i < peer->file_count; i++)
		nvmeof_file_fini(&peer->files[i]);
	free(peer->files);
	free(peer);
}

static enum mc_status add_files(struct nvmeof_peer *peer, const struct segment_desc *desc,
				const char *name)
{
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		const struct segment_buffer *buffer = &desc->buffers[i];
		if (buffer->length == 0)
			continue;
		if (buffer->length > SEGMENT_NUMBER_MAX - peer->length)
			return MC_PROTOCOL;
		enum mc_status status = nvmeof_file_init(&peer->files[peer->file_count], desc,
							 buffer, name, peer->length);
		if (status != MC_OK)
			return status;
		peer->file_count++;
		peer->length += buffer->length;
	}
	return MC_OK;
}

static enum mc_status nvmeof_connect(struct fabric *base, const struct segment_desc *desc,
				     struct fabric_peer **peer)
{
	struct nvmeof *fabric = nvmeof_of(base);

	if (desc->protocol != SEGMENT_NVMEOF)
		return MC_NOT_SUPPORTED;
	struct nvmeof_peer *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	made->base.fabric = base;
	made->files = calloc(desc->buffer_count + 1, sizeof(*made->files));
	enum mc_status status = made->files ? add_files(made, desc, fabric->name) : MC_NO_MEMORY;
	if (status != MC_OK) {
		free_peer(made);
		return status;
	}
	WITH_LOCK(&fabric->lock);
	made->next = fabric->peers;
	fabric->peers = made;
	fabric->counters.peers++;
	fabric->counters.connects++;
	*peer = &made->base;
	return MC_OK;
}

static void forget_peer(struct nvmeof *fabric, const struct nvmeof_peer *peer)
{
	struct nvmeof_peer **at = &fabric->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	fabric->counters.peers--;
}

static void nvmeof_disconnect(struct fabric_peer *base)
{
	struct nvmeof *fabric = nvmeof_of(base->fabric);
	struct nvmeof_peer *peer = peer_of(base);

	pthread_mutex_lock(&fabric->lock);
	for (uint32_t i = 0; i < SLICES_MAX; i++) {
		struct transfer *transfer = &fabric->transfers[i];
		if (transfer->slice && transfer->peer == peer)
			work_cancel(fabric, transfer, MC_CANCELLED);
	}
	(void)advance(fabric);
	while (peer->slices) {
		pthread_mutex_unlock(&fabric->lock);
		ring_wait(fabric, LOOK_AGAIN);
		pthread_mutex_lock(&fabric->lock);
		(void)advance(fabric);
	}
	forget_peer(fabric, peer);
	pthread_mutex_unlock(&fabric->lock);
	free_peer(peer);
}

static uint32_t nvmeof_paths(struct fabric_peer *peer, const void *key,
			     const struct segment_buffer *buffer)
{
	(void)peer;
	(void)key;
	(void)buffer;
	return 1;
}

/* -- slices -- */

static enum mc_status nvmeof_submit(struct fabric_peer *base, struct fabric_slice *const *slices,
				    uint32_t count, uint32_t *taken)
{
	struct nvmeof *fabric = nvmeof_of(base->fabric);
	uint32_t begun = 0;

	WITH_LOCK(&fabric->lock);
	while (begun < count && work_begin(peer_of(base), slices[begun]))
		begun++;
	work_issue(fabric);
	/* What has ended already has no completion that would wake anybody. */
	if (fabric->ended.head)
		work_kick(fabric);
	*taken = begun;
	return MC_OK;
}

static void nvmeof_cancel(struct fabric_peer *base, struct fabric_slice *slice)
{
	struct nvmeof *fabric = nvmeof_of(base->fabric);

	WITH_LOCK(&fabric->lock);
	for (uint32_t i = 0; i < SLICES_MAX; i++) {
		if (fabric->transfers[i].slice == slice)
			work_cancel(fabric, &fabric->transfers[i], MC_CANCELLED);
	}
	work_issue(fabric);
	if (fabric->ended.head)
		work_kick(fabric);
}

static uint64_t open_files(const struct nvmeof *fabric)
{
	uint64_t count = 0;

	for (const struct nvmeof_peer *peer = fabric->peers; peer; peer = peer->next) {
		for (uint32_t i = 0; i < peer->file_count; i++)
			count += peer->files[i].fd >= 0;
	}
	return count;
}

static void nvmeof_counters(struct fabric *base, struct fabric_counters *counters)
{
	struct nvmeof *fabric = nvmeof_of(base);

	WITH_LOCK(&fabric->lock);
	*counters = fabric->counters;
	counters->connections = open_files(fabric);
}

const struct fabric_ops fabric_nvmeof_ops = {
	.name = "nvmeof",
	.slice_size = SLICE_SIZE,
	.open = nvmeof_open,
	.close = nvmeof_close,
	.describe = nvmeof_describe,
	.register_region = nvmeof_register,
	.unregister_region = nvmeof_unregister,
	.connect = nvmeof_connect,
	.disconnect = nvmeof_disconnect,
	.paths = nvmeof_paths,
	.submit = nvmeof_submit,
	.cancel = nvmeof_cancel,
	.progress = nvmeof_progress,
	.counters = nvmeof_counters,
};
