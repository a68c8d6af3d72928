#include "engine/fabric/tcp/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/tcp/driver.h"
#include "engine/fabric/tcp/lane.h"
#include "engine/metadata/segment_desc.h"

static struct tcp *tcp_of(struct fabric *fabric)
{
	MUST(fabric->ops == &fabric_tcp_ops);
	return container_of(fabric, struct tcp, fabric);
}

static struct tcp_peer *peer_of(struct fabric_peer *peer)
{
	MUST(peer->fabric->ops == &fabric_tcp_ops);
	return container_of(peer, struct tcp_peer, peer);
}

/* --- open and close --------------------------------------------------------------- */

/* Numeric, so that no peer ever waits for a resolver. */
static enum mc_status announce(struct tcp *tcp, const struct fabric_config *config, int listen_fd)
{
	const char *host = config->announce_host ? config->announce_host : config->listen_host;
	char text[NET_TEXT_SIZE];
	enum mc_status status = net_announce(listen_fd, host, text);

	if (!status)
		snprintf(tcp->endpoint, sizeof(tcp->endpoint), TCP_PREFIX "%s", text);
	return status;
}

static enum mc_status start(struct tcp *tcp, const struct fabric_config *config, int listen_fd)
{
	bool plain = getenv("MC_DISABLE_IO_URING") != NULL;
	enum mc_status status = announce(tcp, config, listen_fd);

	if (!status)
		status = vault_init(&tcp->vault);
	if (status)
		return status;
	status = driver_start(tcp);
	if (status) {
		vault_fini(&tcp->vault);
		return status;
	}
	status = warden_start(&tcp->warden, &tcp->vault, listen_fd, plain);
	if (status) {
		driver_stop(tcp);
		vault_fini(&tcp->vault);
	}
	return status;
}

static enum mc_status tcp_open(const struct fabric_config *config, struct fabric **fabric)
{
	CLEANUP_FD int listen_fd = -1;
	CLEANUP_FREE struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return MC_NO_MEMORY;
	tcp->fabric.ops = &fabric_tcp_ops;
	pthread_mutex_init(&tcp->lock, NULL);
	const char *host = config->listen_host ? config->listen_host : "0.0.0.0";
	enum mc_status status =
		net_listen_range(host, config->port_first, config->port_last, &listen_fd);
	struct fabric_config known = *config;
	known.listen_host = host;
	if (!status)
		status = start(tcp, &known, listen_fd);
	if (status)
		return status;
	STEAL_FD(listen_fd);
	*fabric = &STEAL(tcp)->fabric;
	return MC_OK;
}

static void tcp_disconnect(struct fabric_peer *peer);

static void tcp_close(struct fabric *fabric)
{
	if (!fabric)
		return;
	struct tcp *tcp = tcp_of(fabric);
	while (tcp->peers)
		tcp_disconnect(&tcp->peers->peer);
	driver_stop(tcp);
	warden_stop(&tcp->warden);
	vault_fini(&tcp->vault);
	pthread_mutex_destroy(&tcp->lock);
	free(tcp);
}

static enum mc_status tcp_describe(struct fabric *fabric, struct segment_desc *desc)
{
	return segment_desc_add_endpoint(desc, tcp_of(fabric)->endpoint);
}

/* --- regions -------------------------------------------------------------------------- */

static enum mc_status tcp_register(struct fabric *fabric, const struct fabric_region *region,
				   struct segment_buffer *buffer, const void **key)
{
	struct tcp *tcp = tcp_of(fabric);
	struct vault_entry *entry = NULL;

	if (fabric_location_is_gpu(region->location))
		return MC_NOT_SUPPORTED;
	/* Sockets take any other memory: only what peers may reach is noted. */
	if (region->access) {
		enum mc_status status = vault_add(&tcp->vault, region, buffer->key, &entry);
		if (status)
			return status;
		buffer->key = entry->key;
	}
	atomic_fetch_add(&tcp->regions, 1);
	*key = entry;
	return MC_OK;
}

static void tcp_unregister(struct fabric *fabric, const void *key)
{
	struct tcp *tcp = tcp_of(fabric);
	struct vault_entry *entry = (struct vault_entry *)key;

	atomic_fetch_sub(&tcp->regions, 1);
	if (!entry)
		return;
	vault_withdraw(&tcp->vault, entry);
	warden_withdrawn(&tcp->warden, entry);
	vault_entry_free(entry);
}

/* --- peers ------------------------------------------------------------------------------ */

/* The first endpoint of ours.  False: there is none. */
static bool find_endpoint(const struct segment_desc *desc, struct net_address *address)
{
	size_t prefix = strlen(TCP_PREFIX);

	for (uint32_t i = 0; i < desc->endpoint_count; i++) {
		if (strncmp(desc->endpoints[i], TCP_PREFIX, prefix) == 0 &&
		    net_parse(desc->endpoints[i] + prefix, address) == MC_OK && net_port(address))
			return true;
	}
	return false;
}

static enum mc_status tcp_connect(struct fabric *fabric, const struct segment_desc *desc,
				  struct fabric_peer **made)
{
	struct tcp *tcp = tcp_of(fabric);
	struct net_address address;

	if (!find_endpoint(desc, &address))
		return MC_NOT_SUPPORTED;
	struct tcp_peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return MC_NO_MEMORY;
	peer->peer.fabric = fabric;
	peer->tcp = tcp;
	peer->address = address;
	pthread_mutex_init(&peer->lock, NULL);
	WITH_LOCK(&tcp->lock);
	peer->next = tcp->peers;
	tcp->peers = peer;
	atomic_fetch_add(&tcp->peer_count, 1);
	*made = &peer->peer;
	return MC_OK;
}

static void end_lanes(struct tcp_peer *peer, struct endings *endings)
{
	WITH_LOCK(&peer->lock);
	while (peer->lanes)
		lane_free_locked(peer->lanes, MC_CANCELLED, endings);
}

static void forget(struct tcp *tcp, struct tcp_peer *peer)
{
	struct tcp_peer **at = &tcp->peers;

	WITH_LOCK(&tcp->lock);
	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	atomic_fetch_sub(&tcp->peer_count, 1);
}

static void tcp_disconnect(struct fabric_peer *fabric_peer)
{
	struct tcp_peer *peer = peer_of(fabric_peer);
	struct tcp *tcp = peer->tcp;
	struct endings endings;

	endings_init(&endings);
	driver_take(tcp);
	forget(tcp, peer);
	end_lanes(peer, &endings);
	driver_give(tcp);
	endings_tell(tcp, &endings);
	pthread_mutex_destroy(&peer->lock);
	free(peer);
}

static uint32_t tcp_paths(struct fabric_peer *peer, const void *key,
			  const struct segment_buffer *buffer)
{
	(void)peer, (void)key, (void)buffer;
	return 1;
}

/* --- slices ----------------------------------------------------------------------------- */

/* The lane with the least to do, or a new one when all have a lot. */
static enum mc_status choose_lane_locked(struct tcp_peer *peer, struct lane **chosen)
{
	struct lane *best = NULL;
	uint32_t alive = 0;

	for (struct lane *lane = peer->lanes; lane; lane = lane->next) {
		alive += lane->state != LANE_BROKEN;
		if (lane_room_locked(lane) > 0 && (!best || lane->bytes < best->bytes))
			best = lane;
	}
	for (struct lane *lane = peer->lanes; lane && !best; lane = lane->next) {
		if (lane->state != LANE_BROKEN && lane_forsake_locked(lane))
			alive--;
	}
	*chosen = best;
	if ((best && best->bytes < TCP_LANE_BUSY) || alive >= TCP_LANES_MAX)
		return MC_OK;
	enum mc_status status = lane_new_locked(peer, chosen);
	return best ? MC_OK : status;
}

static uint64_t bytes_of(struct fabric_slice *const *slices, uint32_t count)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < count; i++)
		bytes += slices[i]->length;
	return bytes;
}

static enum mc_status tcp_submit(struct fabric_peer *fabric_peer,
				 struct fabric_slice *const *slices, uint32_t count,
				 uint32_t *taken)
{
	struct tcp_peer *peer = peer_of(fabric_peer);
	struct tcp *tcp = peer->tcp;
	enum mc_status status = MC_OK;
	struct lane *lane = NULL;
	uint32_t done = 0;

	/* Counted first: they may end before this returns. */
	atomic_fetch_add(&tcp->slices, count);
	atomic_fetch_add(&tcp->bytes, bytes_of(slices, count));
	pthread_mutex_lock(&peer->lock);
	while (done < count) {
		status = choose_lane_locked(peer, &lane);
		if (status || !lane)
			break;
		do {
			lane_add_locked(lane, slices[done++]);
		} while (done < count && lane_room_locked(lane) > 0 && lane->bytes < TCP_LANE_BUSY);
		lane_send_locked(lane);
	}
	pthread_mutex_unlock(&peer->lock);
	atomic_fetch_sub(&tcp->slices, count - done);
	atomic_fetch_sub(&tcp->bytes, bytes_of(slices + done, count - done));
	tcp_tick(tcp);
	*taken = done;
	return done > 0 ? MC_OK : status;
}

static void tcp_cancel(struct fabric_peer *fabric_peer, struct fabric_slice *slice)
{
	struct tcp_peer *peer = peer_of(fabric_peer);
	struct endings endings;

	endings_init(&endings);
	pthread_mutex_lock(&peer->lock);
	for (struct lane *lane = peer->lanes; lane; lane = lane->next) {
		if (lane_drop_locked(lane, slice, true)) {
			endings_add(&endings, slice, MC_CANCELLED);
			break;
		}
	}
	pthread_mutex_unlock(&peer->lock);
	endings_tell(peer->tcp, &endings);
}

static void tcp_counters(struct fabric *fabric, struct fabric_counters *counters)
{
	struct tcp *tcp = tcp_of(fabric);

	*counters = (struct fabric_counters){
		.slices_done = atomic_load(&tcp->slices_done),
		.slices_failed = atomic_load(&tcp->slices_failed),
		.bytes_read = atomic_load(&tcp->bytes_read),
		.bytes_written = atomic_load(&tcp->bytes_written),
		.slices = atomic_load(&tcp->slices),
		.regions = atomic_load(&tcp->regions),
		.peers = atomic_load(&tcp->peer_count),
		.connections = atomic_load(&tcp->lanes) + warden_count(&tcp->warden),
		.connects = atomic_load(&tcp->connects),
	};
}

const struct fabric_ops fabric_tcp_ops = {
	.name = "tcp",
	.slice_size = TCP_SLICE_SIZE,
	.open = tcp_open,
	.close = tcp_close,
	.describe = tcp_describe,
	.register_region = tcp_register,
	.unregister_region = tcp_unregister,
	.connect = tcp_connect,
	.disconnect = tcp_disconnect,
	.paths = tcp_paths,
	.submit = tcp_submit,
	.cancel = tcp_cancel,
	.progress = driver_progress,
	.counters = tcp_counters,
};
