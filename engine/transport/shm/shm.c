/*
 * engine/transport/shm/shm.c -- the file itself, between processes of a host
 *
 * An abstract Unix socket with a random name; the endpoint says of which host
 * (boot and network namespace) it is, and only there it scores.  No bytes
 * move: the owner passes the descriptor of the object's file, or once that of its
 * shelf, from which files are taken without waking it.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/transport/owner.h"
#include "engine/transport/puller.h"
#include "engine/transport/shm/lend.h"

#define SHM_SCORE   100u
#define PREFIX	    "shm:"
#define PREFIX_SIZE (sizeof(PREFIX) - 1)

struct shm {
	struct transport transport;
	struct owner owner;
	struct puller puller;
	char host_id[NET_HOST_SIZE];
	char endpoint[MC_ENDPOINT_SIZE];
};

static struct shm *shm_of(struct transport *transport)
{
	MUST(transport->ops == &transport_shm_ops);
	return container_of(transport, struct shm, transport);
}

static enum mc_status dial(const char *endpoint, int *fd)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	const char *name = strrchr(endpoint, '/');
	int made;

	if (strncmp(endpoint, PREFIX, PREFIX_SIZE) != 0 || !name || strlen(name) > NET_NAME_SIZE)
		return MC_INVALID;
	snprintf(text, sizeof(text), "@mooncake-%s", name + 1);
	enum mc_status status = net_parse(text, &address);
	if (!status)
		status = net_connect_start(&address, &made);
	if (status)
		return status;
	if (!net_peer_trusted(made)) {
		log_warn("mc-shm-puller: another user listens there endpoint=%s", endpoint);
		close(made);
		return MC_PERMISSION;
	}
	*fd = made;
	return MC_OK;
}

static enum mc_status start(struct shm *shm, const struct transport_config *config, int listen_fd)
{
	struct owner_config owner = {
		.name = "mc-shm-owner",
		.listen_fd = listen_fd,
		.source = config->source,
		.local = true,
		.flag = MC_PULL_DESCRIPTOR,
		.lends = true,
		.respond = lend_respond,
		.send = lend_send,
	};
	struct puller_config puller = {
		.name = "mc-shm-puller",
		.dial = dial,
		.links_max = 1,
		.descriptors = true,
	};
	enum mc_status status = puller_start(&shm->puller, &puller);

	if (status)
		return status;
	status = owner_start(&shm->owner, &owner);
	if (status)
		puller_stop(&shm->puller);
	return status;
}

static enum mc_status identify(struct shm *shm, const struct transport_config *config)
{
	if (!config->host_id)
		return net_host_id(shm->host_id);
	if (strlen(config->host_id) >= sizeof(shm->host_id) || strchr(config->host_id, '/'))
		return MC_INVALID;
	snprintf(shm->host_id, sizeof(shm->host_id), "%s", config->host_id);
	return MC_OK;
}

static enum mc_status shm_open_transport(const struct transport_config *config,
					 struct transport **transport)
{
	CLEANUP_FD int listen_fd = -1;
	CLEANUP_FREE struct shm *shm = calloc(1, sizeof(*shm));
	struct net_address address;
	char name[NET_NAME_SIZE], text[NET_TEXT_SIZE];

	if (!shm)
		return MC_NO_MEMORY;
	shm->transport.ops = &transport_shm_ops;
	enum mc_status status = identify(shm, config);
	if (status)
		return status;
	net_random_name(name);
	snprintf(text, sizeof(text), "@mooncake-%s", name);
	snprintf(shm->endpoint, sizeof(shm->endpoint), PREFIX "%s/%s", shm->host_id, name);
	status = net_parse(text, &address);
	if (!status)
		status = net_listen(&address, &listen_fd);
	if (!status)
		status = start(shm, config, listen_fd);
	if (status)
		return status;
	STEAL_FD(listen_fd);
	*transport = &STEAL(shm)->transport;
	return MC_OK;
}

static void shm_close(struct transport *transport)
{
	if (!transport)
		return;
	struct shm *shm = shm_of(transport);
	puller_stop(&shm->puller);
	owner_stop(&shm->owner);
	free(shm);
}

static void shm_endpoint(struct transport *transport, char text[MC_ENDPOINT_SIZE])
{
	snprintf(text, MC_ENDPOINT_SIZE, "%s", shm_of(transport)->endpoint);
}

static unsigned shm_score(struct transport *transport, const char *endpoint)
{
	struct shm *shm = shm_of(transport);
	size_t size = strlen(shm->host_id);

	if (strncmp(endpoint, PREFIX, PREFIX_SIZE) != 0)
		return 0;
	endpoint += PREFIX_SIZE;
	return strncmp(endpoint, shm->host_id, size) == 0 && endpoint[size] == '/' ? SHM_SCORE : 0;
}

static void shm_pull(struct transport *transport, const char *endpoint, struct transport_pull *pull)
{
	puller_pull(&shm_of(transport)->puller, endpoint, pull);
}

static void shm_want(struct transport *transport, struct transport_pull *pull, uint64_t offset,
		     uint64_t length)
{
	/* The whole object comes at once. */
	(void)transport, (void)pull, (void)offset, (void)length;
}

static void shm_cancel(struct transport *transport, struct transport_pull *pull)
{
	puller_cancel(&shm_of(transport)->puller, pull);
}

static enum mc_status shm_take(struct transport *transport, const char *endpoint, const char *name,
			       uint64_t id, int *fd, void **loan)
{
	return puller_take(&shm_of(transport)->puller, endpoint, name, id, fd, loan);
}

static void shm_give_back(struct transport *transport, void *loan)
{
	puller_give_back(&shm_of(transport)->puller, loan);
}

static void shm_counters(struct transport *transport, struct transport_counters *counters)
{
	struct shm *shm = shm_of(transport);

	*counters = (struct transport_counters){0};
	owner_counters(&shm->owner, counters);
	puller_counters(&shm->puller, counters);
}

const struct transport_ops transport_shm_ops = {
	.name = "shm",
	.open = shm_open_transport,
	.close = shm_close,
	.endpoint = shm_endpoint,
	.score = shm_score,
	.pull = shm_pull,
	.want = shm_want,
	.cancel = shm_cancel,
	.give_back = shm_give_back,
	.take = shm_take,
	.counters = shm_counters,
};
