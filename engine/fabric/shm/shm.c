#include "engine/fabric/shm/shm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/borrower.h"
#include "engine/fabric/shm/lender.h"
#include "engine/fabric/shm/mover.h"
#include "engine/fabric/shm/socket.h"
#include "engine/metadata/segment_desc.h"

#define PREFIX "shm:"

static struct shm *shm_of(struct fabric *fabric)
{
	MUST(fabric->ops == &fabric_shm_ops);
	return container_of(fabric, struct shm, fabric);
}

static struct shm_peer *peer_of(struct fabric_peer *peer)
{
	MUST(peer->fabric->ops == &fabric_shm_ops);
	return container_of(peer, struct shm_peer, peer);
}

uint64_t shm_watch_locked(struct shm *shm, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = shm->next_id};

	return epoll_ctl(shm->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? shm->next_id++ : 0;
}

void shm_unwatch_locked(struct shm *shm, int fd)
{
	/* It may have been taken out before. */
	(void)epoll_ctl(shm->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* --- open and close ------------------------------------------------------------------ */

static void close_all(const struct shm *shm)
{
	const int fds[] = {shm->listen_fd, shm->epoll_fd, shm->kick_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static enum mc_status start(struct shm *shm)
{
	char name[NET_NAME_SIZE];
	enum mc_status status = shm_socket_listen(name, &shm->listen_fd);

	if (status)
		return status;
	snprintf(shm->endpoint, sizeof(shm->endpoint), PREFIX "%s/%s", shm->host_id, name);
	shm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	shm->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (shm->epoll_fd < 0 || shm->kick_fd < 0)
		return MC_NO_SPACE;
	status = vault_init(&shm->vault);
	if (status)
		return status;
	status = mover_start(shm);
	if (status)
		vault_fini(&shm->vault);
	return status;
}

static enum mc_status shm_fabric_open(const struct fabric_config *config, struct fabric **fabric)
{
	CLEANUP_FREE struct shm *shm = calloc(1, sizeof(*shm));

	(void)config;
	if (!shm)
		return MC_NO_MEMORY;
	if (getenv("MC_DISABLE_SHM"))
		return MC_NOT_SUPPORTED;
	shm->fabric.ops = &fabric_shm_ops;
	shm->listen_fd = shm->epoll_fd = shm->kick_fd = -1;
	shm->next_id = SHM_ID_FIRST;
	shm->answer_ns = SHM_ANSWER_NS;
	enum mc_status status = net_host_id(shm->host_id);
	if (!status)
		status = start(shm);
	if (status) {
		close_all(shm);
		return status;
	}
	*fabric = &STEAL(shm)->fabric;
	return MC_OK;
}

static void shm_disconnect(struct fabric_peer *peer);

static void shm_fabric_close(struct fabric *fabric)
{
	if (!fabric)
		return;
	struct shm *shm = shm_of(fabric);
	while (shm->peers)
		shm_disconnect(&shm->peers->peer);
	mover_stop(shm);
	MUST(!shm->regions);
	lender_close_locked(shm);
	mover_fini(shm);
	/* Nobody is to wait for a child of ours that has it as well. */
	shutdown(shm->listen_fd, SHUT_RDWR);
	close_all(shm);
	vault_fini(&shm->vault);
	free(shm);
}

static enum mc_status shm_describe(struct fabric *fabric, struct segment_desc *desc)
{
	return segment_desc_add_endpoint(desc, shm_of(fabric)->endpoint);
}

/* --- regions -------------------------------------------------------------------------- */

static enum mc_status shm_register(struct fabric *fabric, const struct fabric_region *said,
				   struct segment_buffer *buffer, const void **key)
{
	struct shm *shm = shm_of(fabric);

	if (fabric_location_is_gpu(said->location))
		return MC_NOT_SUPPORTED;
	CLEANUP_FREE struct shm_region *region = calloc(1, sizeof(*region));

	if (!region)
		return MC_NO_MEMORY;
	region->memory = said->memory;
	region->length = said->length;
	region->access = said->access;
	if (said->access) {
		enum mc_status status = vault_add(&shm->vault, said, buffer->key, &region->entry);
		if (status)
			return status;
		buffer->key = region->entry->key;
	}
	WITH_LOCK(&shm->lock);
	shm->counters.regions++;
	region->next = shm->regions;
	shm->regions = region;
	*key = STEAL(region);
	return MC_OK;
}

static void forget_region(struct shm *shm, const struct shm_region *region)
{
	struct shm_region **at = &shm->regions;

	WITH_LOCK(&shm->lock);
	while (*at != region)
		at = &(*at)->next;
	*at = region->next;
	shm->counters.regions--;
}

static void shm_unregister(struct fabric *fabric, const void *key)
{
	struct shm *shm = shm_of(fabric);
	struct shm_region *region = (struct shm_region *)key;

	if (region->entry)
		vault_withdraw(&shm->vault, region->entry);
	forget_region(shm, region);
	if (region->entry) {
		lender_recall(shm, region);
		vault_entry_free(region->entry);
	}
	free(region);
}

/* --- peers ------------------------------------------------------------------------------ */

/* The name of its socket, if it is on this host. */
static bool find_name(const struct shm *shm, const struct segment_desc *desc,
		      char name[NET_NAME_SIZE])
{
	char prefix[sizeof(PREFIX) + NET_HOST_SIZE + 1];
	int size = snprintf(prefix, sizeof(prefix), PREFIX "%s/", shm->host_id);

	for (uint32_t i = 0; i < desc->endpoint_count; i++) {
		const char *endpoint = desc->endpoints[i];
		if (strncmp(endpoint, prefix, (size_t)size) != 0 ||
		    strlen(endpoint + size) != NET_NAME_SIZE - 1)
			continue;
		memcpy(name, endpoint + size, NET_NAME_SIZE);
		return true;
	}
	return false;
}

static enum mc_status shm_connect(struct fabric *fabric, const struct segment_desc *desc,
				  struct fabric_peer **made)
{
	struct shm *shm = shm_of(fabric);
	CLEANUP_FREE struct shm_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return MC_NO_MEMORY;
	if (!find_name(shm, desc, peer->name))
		return MC_NOT_SUPPORTED;
	peer->peer.fabric = fabric;
	peer->shm = shm;
	slice_queue_init(&peer->waiting);
	WITH_LOCK(&shm->lock);
	enum mc_status status = borrower_connect_locked(peer);
	if (status)
		return status;
	peer->next = shm->peers;
	shm->peers = peer;
	shm->counters.peers++;
	*made = &STEAL(peer)->peer;
	return MC_OK;
}

/* End those slices of a queue that are the peer's. */
static void end_queued_locked(struct slice_queue *queue, struct ended *ended)
{
	struct fabric_slice *slice = queue->first, *next;
	struct slice_queue left;

	slice_queue_init(&left);
	for (; slice; slice = next) {
		next = slice->next;
		if (slice->state == ended->peer)
			ended_add_locked(ended, slice, MC_CANCELLED);
		else
			slice_queue_add(&left, slice);
	}
	slice_queue_init(queue);
	slice_queue_append(queue, &left);
}

static void leave_locked(struct shm_peer *peer, struct ended *ended)
{
	struct shm *shm = peer->shm;
	struct shm_peer **at = &shm->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	shm->counters.peers--;
	for (struct fabric_slice *slice = peer->waiting.first; slice; slice = slice->next)
		shm->waiting--;
	end_queued_locked(&peer->waiting, ended);
	end_queued_locked(&shm->ready, ended);
}

static void shm_disconnect(struct fabric_peer *fabric_peer)
{
	struct shm_peer *peer = peer_of(fabric_peer);
	struct shm *shm = peer->shm;
	struct ended ended;

	ended_init(&ended, peer);
	pthread_mutex_lock(&shm->lock);
	leave_locked(peer, &ended);
	pthread_mutex_unlock(&shm->lock);
	ended_tell(&ended);
	pthread_mutex_lock(&shm->lock);
	while (peer->busy > 0)
		pthread_cond_wait(&shm->round, &shm->lock);
	borrower_drop_locked(peer);
	pthread_mutex_unlock(&shm->lock);
	free(peer);
}

static uint32_t shm_paths(struct fabric_peer *peer, const void *key,
			  const struct segment_buffer *buffer)
{
	(void)peer, (void)key, (void)buffer;
	return 1;
}

/* --- slices ----------------------------------------------------------------------------- */

static enum mc_status shm_submit(struct fabric_peer *fabric_peer,
				 struct fabric_slice *const *slices, uint32_t count,
				 uint32_t *taken)
{
	struct shm_peer *peer = peer_of(fabric_peer);
	struct shm *shm = peer->shm;

	WITH_LOCK(&shm->lock);
	for (uint32_t i = 0; i < count; i++) {
		slices[i]->state = peer;
		slices[i]->word = SHM_READY;
		slice_queue_add(&shm->ready, slices[i]);
	}
	shm->counters.slices += count;
	mover_kick_locked(shm);
	*taken = count;
	return MC_OK;
}

/* It ends where it is found next: at the head of what is ready, or among what waits. */
static void shm_cancel(struct fabric_peer *fabric_peer, struct fabric_slice *slice)
{
	struct shm_peer *peer = peer_of(fabric_peer);
	struct shm *shm = peer->shm;

	WITH_LOCK(&shm->lock);
	if (slice->state != peer)
		return;
	if (slice->word == SHM_WAITING)
		shm->sweep = true;
	slice->word = SHM_CANCELLED;
	mover_kick_locked(shm);
}

static void shm_counters(struct fabric *fabric, struct fabric_counters *counters)
{
	struct shm *shm = shm_of(fabric);

	WITH_LOCK(&shm->lock);
	*counters = shm->counters;
	counters->connections += shm->visitor_count;
}

const struct fabric_ops fabric_shm_ops = {
	.name = "shm",
	.slice_size = SHM_SLICE_SIZE,
	.open = shm_fabric_open,
	.close = shm_fabric_close,
	.describe = shm_describe,
	.register_region = shm_register,
	.unregister_region = shm_unregister,
	.connect = shm_connect,
	.disconnect = shm_disconnect,
	.paths = shm_paths,
	.submit = shm_submit,
	.cancel = shm_cancel,
	.progress = mover_progress,
	.counters = shm_counters,
};
