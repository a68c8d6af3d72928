/*
 * Peers, and the choice of a path for each slice.
 *
 * Near paths: the near devices of the local memory and those of the remote one,
 * in pairs, as many as the longer list has.  Each device of the longer list is
 * used once, so all carry alike.  Only when none of these works do all other
 * pairs come into play.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/internal.h"
#include "engine/metadata/segment_desc.h"

#define ENDPOINT_PREFIX "rdma:"

/* --- paths ------------------------------------------------------------------------- */

struct route {
	const struct topology_rank *local;
	const struct topology_rank *remote;
	uint32_t near_count; /* pairs of near devices */
	bool near;	     /* one of these works */
	uint32_t count;	     /* paths that work; 0: none */
};

static struct rdma_fabric *fabric_of(const struct rdma_peer *peer)
{
	return (struct rdma_fabric *)peer->peer.fabric;
}

static struct path *path_at(const struct rdma_peer *peer, uint32_t local, uint32_t remote)
{
	return &peer->paths[local * peer->device_count + remote];
}

static bool path_works(const struct rdma_peer *peer, uint32_t local, uint32_t remote)
{
	return atomic_load_explicit(&fabric_of(peer)->devices[local]->up, memory_order_relaxed) &&
	       !atomic_load_explicit(&path_at(peer, local, remote)->down, memory_order_relaxed);
}

struct pair {
	uint32_t local, remote;
};

static struct pair near_pair(const struct route *route, uint32_t index)
{
	return (struct pair){route->local->devices[index % route->local->near_count],
			     route->remote->devices[index % route->remote->near_count]};
}

static struct pair any_pair(const struct route *route, uint32_t index)
{
	return (struct pair){route->local->devices[index % route->local->count],
			     route->remote->devices[index / route->local->count]};
}

static void route_find(const struct rdma_peer *peer, const struct region *region,
		       const struct segment_buffer *buffer, struct route *route)
{
	const char *location = buffer->name ? buffer->name : "*";

	*route = (struct route){.local = region->rank,
				.remote = topology_rank(peer->topology, location)};
	route->near_count = route->local->near_count > route->remote->near_count
				    ? route->local->near_count
				    : route->remote->near_count;
	for (uint32_t i = 0; i < route->near_count; i++) {
		struct pair pair = near_pair(route, i);
		route->count += path_works(peer, pair.local, pair.remote);
	}
	route->near = route->count > 0;
	for (uint32_t i = 0; !route->near && i < route->local->count * route->remote->count; i++) {
		struct pair pair = any_pair(route, i);
		route->count += path_works(peer, pair.local, pair.remote);
	}
}

/* The index-th that works.  Where none does, the nearest one: it may work by now. */
static struct pair route_pair(const struct rdma_peer *peer, const struct route *route,
			      uint32_t index)
{
	uint32_t all = route->near ? route->near_count : route->local->count * route->remote->count;

	index %= route->count > 0 ? route->count : 1;
	for (uint32_t i = 0; route->count > 0 && i < all; i++) {
		struct pair pair = route->near ? near_pair(route, i) : any_pair(route, i);
		if (path_works(peer, pair.local, pair.remote) && index-- == 0)
			return pair;
	}
	return near_pair(route, 0);
}

uint32_t peer_paths(struct fabric_peer *base, const void *key, const struct segment_buffer *buffer)
{
	struct route route;

	route_find((struct rdma_peer *)base, key, buffer, &route);
	return route.count > 0 ? route.count : 1;
}

/* --- slices ---------------------------------------------------------------------------- */

/* Let go of the device that is locked, if any, and lock this one, if any. */
static void lock_instead(struct rdma_device **locked, struct rdma_device *device)
{
	if (*locked == device)
		return;
	if (*locked)
		pthread_mutex_unlock(&(*locked)->lock);
	if (device)
		pthread_mutex_lock(&device->lock);
	*locked = device;
}

static bool take_locked(struct rdma_device *device, struct rdma_peer *peer,
			struct fabric_slice *slice, struct pair pair)
{
	struct endpoint *endpoint = path_at(peer, pair.local, pair.remote)->endpoint;
	if (!endpoint)
		endpoint = endpoint_open(device, peer, pair.remote);
	if (!endpoint)
		return false;
	sieve_use(&endpoint->kept);
	atomic_fetch_add(&peer->users, 1);
	atomic_fetch_add(&fabric_of(peer)->slices, 1);
	if (work_take(endpoint, slice, slice->buffer->rkey[pair.remote]))
		return true;
	atomic_fetch_sub(&peer->users, 1);
	atomic_fetch_sub(&fabric_of(peer)->slices, 1);
	return false;
}

/* The next slices of these endpoints go to the next queue pair. */
static void post_locked(struct rdma_device *device)
{
	for (struct queue_pair *at = device->dirty; at; at = at->dirty_next)
		at->endpoint->turn++;
	work_post(device);
}

enum mc_status peer_submit(struct fabric_peer *base, struct fabric_slice *const *slices,
			   uint32_t count, uint32_t *taken)
{
	struct rdma_peer *peer = (struct rdma_peer *)base;
	struct rdma_fabric *fabric = fabric_of(peer);
	const struct segment_buffer *buffer = NULL;
	const void *key = NULL;
	struct rdma_device *locked = NULL;
	struct route route;
	uint64_t used = 0;
	uint32_t done;

	MUST(!atomic_load(&peer->leaving));
	for (done = 0; done < count; done++) {
		struct fabric_slice *slice = slices[done];
		MUST(slice->buffer && slice->key);
		if (slice->buffer != buffer || slice->key != key)
			route_find(peer, slice->key, slice->buffer, &route);
		buffer = slice->buffer;
		key = slice->key;
		struct pair pair = route_pair(peer, &route, slice->path);
		lock_instead(&locked, fabric->devices[pair.local]);
		if (!take_locked(locked, peer, slice, pair))
			break;
		used |= 1ull << pair.local;
	}
	for (uint32_t i = 0; used >> i && i < fabric->device_count; i++) {
		if (!(used >> i & 1))
			continue;
		lock_instead(&locked, fabric->devices[i]);
		post_locked(locked);
	}
	lock_instead(&locked, NULL);
	*taken = done;
	/*
	 * With nothing in flight nobody would call again: connections that are about to
	 * end hold what a new one needs, or memory lacks.  Either may pass.
	 */
	return done == 0 && count > 0 && atomic_load(&fabric->slices) == 0 ? MC_UNREACHABLE : MC_OK;
}

void peer_cancel(struct fabric_peer *base, struct fabric_slice *slice)
{
	struct rdma_peer *peer = (struct rdma_peer *)base;
	struct rdma_fabric *fabric = fabric_of(peer);
	struct rdma_ended ended = {NULL, NULL};

	/* What is posted ends as it would have: a device takes nothing back. */
	for (uint32_t i = 0; i < fabric->device_count; i++) {
		struct rdma_device *device = fabric->devices[i];
		WITH_LOCK(&device->lock);
		for (struct endpoint *at = device->endpoints; at; at = at->next)
			if (at->peer == peer && at->state != ENDPOINT_READY)
				work_withdraw(at, slice, 0, &ended);
	}
	control_tell(fabric, &ended);
}

/* --- connect ------------------------------------------------------------------------------ */

static void peer_free(struct rdma_peer *peer)
{
	topology_free(peer->topology);
	free(peer->paths);
	free(peer->devices);
	free(peer);
}

static enum mc_status read_topology(struct rdma_peer *peer, const struct segment_desc *desc)
{
	const char *names[SEGMENT_DEVICE_MAX];

	for (uint32_t i = 0; i < peer->device_count; i++)
		names[i] = peer->devices[i];
	enum mc_status status = topology_parse(desc->priority_matrix ? desc->priority_matrix : "{}",
					       names, peer->device_count, &peer->topology);
	if (status != MC_INVALID)
		return status;
	log_warn("priority matrix of a peer not understood, all its devices count alike peer=%s",
		 desc->name);
	return topology_parse("{}", names, peer->device_count, &peer->topology);
}

static const char *find_endpoint(const struct segment_desc *desc)
{
	for (uint32_t i = 0; i < desc->endpoint_count; i++)
		if (strncmp(desc->endpoints[i], ENDPOINT_PREFIX, strlen(ENDPOINT_PREFIX)) == 0)
			return desc->endpoints[i] + strlen(ENDPOINT_PREFIX);
	return NULL;
}

static enum mc_status read_desc(struct rdma_peer *peer, const struct segment_desc *desc)
{
	const char *endpoint = find_endpoint(desc);

	if (!endpoint)
		return MC_NOT_SUPPORTED;
	/* A name takes the resolver's time; descriptors have numbers as a rule. */
	if (net_parse(endpoint, &peer->address) && net_resolve(endpoint, &peer->address))
		return MC_UNREACHABLE;
	snprintf(peer->name, sizeof(peer->name), "%s", desc->name);
	peer->device_count = desc->device_count;
	peer->devices = calloc(desc->device_count, sizeof(*peer->devices));
	peer->paths = calloc((size_t)desc->device_count * fabric_of(peer)->device_count,
			     sizeof(*peer->paths));
	if (!peer->devices || !peer->paths)
		return MC_NO_MEMORY;
	for (uint32_t i = 0; i < desc->device_count; i++)
		snprintf(peer->devices[i], sizeof(peer->devices[i]), "%s", desc->devices[i].name);
	return read_topology(peer, desc);
}

enum mc_status peer_connect(struct fabric *base, const struct segment_desc *desc,
			    struct fabric_peer **result)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;

	if (desc->protocol != SEGMENT_RDMA || desc->device_count == 0 ||
	    desc->device_count > TOPOLOGY_DEVICE_MAX)
		return MC_NOT_SUPPORTED;
	struct rdma_peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return MC_NO_MEMORY;
	peer->peer.fabric = base;
	enum mc_status status = read_desc(peer, desc);
	if (status) {
		peer_free(peer);
		return status;
	}
	WITH_LOCK(&fabric->lock);
	peer->next = fabric->peers;
	if (peer->next)
		peer->next->previous = peer;
	fabric->peers = peer;
	atomic_fetch_add(&fabric->peer_count, 1);
	control_wake(fabric);
	*result = &peer->peer;
	return MC_OK;
}

static void unlink_peer(struct rdma_fabric *fabric, struct rdma_peer *peer)
{
	WITH_LOCK(&fabric->lock);
	atomic_store(&peer->leaving, true);
	if (peer->previous)
		peer->previous->next = peer->next;
	else
		fabric->peers = peer->next;
	if (peer->next)
		peer->next->previous = peer->previous;
	atomic_fetch_sub(&fabric->peer_count, 1);
}

void peer_disconnect(struct fabric_peer *base)
{
	struct rdma_peer *peer = (struct rdma_peer *)base;
	struct rdma_fabric *fabric = fabric_of(peer);

	MUST(!pthread_equal(pthread_self(), fabric->control.thread));
	unlink_peer(fabric, peer);
	atomic_fetch_add(&fabric->leaving, 1);
	for (uint32_t i = 0; i < fabric->device_count; i++) {
		struct rdma_device *device = fabric->devices[i];
		WITH_LOCK(&device->lock);
		for (struct endpoint *at = device->endpoints; at; at = at->next)
			if (at->peer == peer)
				endpoint_fail(at, MC_CANCELLED, false);
	}
	pthread_mutex_lock(&fabric->lock);
	while (atomic_load(&peer->users) > 0)
		pthread_cond_wait(&fabric->gone, &fabric->lock);
	pthread_mutex_unlock(&fabric->lock);
	atomic_fetch_sub(&fabric->leaving, 1);
	peer_free(peer);
}

/* --- paths that failed ------------------------------------------------------------------------ */

static void probe(struct rdma_peer *peer, uint32_t local, uint32_t remote, uint64_t now_ns)
{
	struct rdma_device *device = fabric_of(peer)->devices[local];
	struct path *path = path_at(peer, local, remote);

	if (!atomic_load(&path->down) || !atomic_load(&device->up))
		return;
	WITH_LOCK(&device->lock);
	/* It has nothing to carry but its proof. */
	if (!path->endpoint && now_ns >= path->retry_ns)
		(void)endpoint_open(device, peer, remote);
}

void peer_device_up(struct rdma_device *device)
{
	WITH_LOCK(&device->fabric->lock);
	WITH_LOCK(&device->lock);
	for (struct rdma_peer *peer = device->fabric->peers; peer; peer = peer->next)
		for (uint32_t remote = 0; remote < peer->device_count; remote++) {
			struct path *path = path_at(peer, device->index, remote);
			path->failures = 0;
			path->retry_ns = 0;
		}
}

void peer_probe_all(struct rdma_fabric *fabric, uint64_t now_ns)
{
	WITH_LOCK(&fabric->lock);
	for (struct rdma_peer *peer = fabric->peers; peer; peer = peer->next)
		for (uint32_t local = 0; local < fabric->device_count; local++)
			for (uint32_t remote = 0; remote < peer->device_count; remote++)
				probe(peer, local, remote, now_ns);
}
