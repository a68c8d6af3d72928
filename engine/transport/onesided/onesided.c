/*
 * engine/transport/onesided/onesided.c -- objects by one-sided reads of the engine
 *
 * The owner is asked over TCP and says where the object lies, how long it is and
 * what its sums are; the puller reads it by the engine, without the owner's
 * processor where the hardware can, and then lets it go.  Any fabric can carry it:
 * a row names one.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/engine.h"
#include "engine/transport/endpoint.h"
#include "engine/transport/onesided/carrier.h"
#include "engine/transport/onesided/exhibit.h"
#include "engine/transport/onesided/showcase.h"
#include "engine/transport/owner.h"
#include "engine/transport/puller.h"

#define LINKS_MAX 2u

struct onesided {
	struct transport transport;
	struct mc_engine *engine;
	struct owner owner;
	struct puller puller;
	struct carrier carrier;
	struct showcase showcase;
	char endpoint[MC_ENDPOINT_SIZE];
};

static const struct kind {
	const struct transport_ops *ops;
	const char *fabric;
	unsigned score;
} kinds[] = {
	{&transport_rdma_ops, "rdma", 50},
	{&transport_engine_ops, "tcp", 5},
};

static const struct kind *kind_of(const struct transport_ops *ops)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].ops == ops)
			return &kinds[i];
	}
	MUST(!"a transport of the one-sided ones");
	return NULL;
}

static struct onesided *onesided_of(struct transport *transport)
{
	MUST(kind_of(transport->ops));
	return container_of(transport, struct onesided, transport);
}

/* Nobody looks its segments up: what peers must know goes with each answer. */
static enum mc_status open_engine(struct onesided *onesided, const struct transport_config *config)
{
	const struct kind *kind = kind_of(onesided->transport.ops);
	const struct fabric_ops *fabrics[] = {fabric_find(kind->fabric), NULL};
	char name[NET_NAME_SIZE], url[NET_NAME_SIZE + 16];
	struct mc_engine_config engine = {
		.metadata = url,
		.name = name,
		.listen = config->listen_host,
		.announce = config->announce_host,
		.port_first = config->port_first,
		.port_last = config->port_last,
	};

	if (!fabrics[0])
		return MC_NOT_SUPPORTED;
	net_random_name(name);
	snprintf(url, sizeof(url), "memory://%s", name);
	return engine_open(&engine, fabrics, &onesided->engine);
}

static uint64_t moved_ns(void *context)
{
	const struct onesided *onesided = context;
	uint64_t owner = owner_moved_ns(&onesided->owner);
	uint64_t carrier = carrier_moved_ns(&onesided->carrier);

	return owner > carrier ? owner : carrier;
}

static enum mc_status start(struct onesided *onesided, const struct transport_config *config,
			    int listen_fd)
{
	struct showcase_config showcase = {
		.engine = onesided->engine,
		.source = config->source,
		.bytes_max = config->show_bytes_max,
		.moved_ns = moved_ns,
		.context = onesided,
	};
	struct owner_config owner = {
		.name = "mc-show-owner",
		.listen_fd = listen_fd,
		.source = config->source,
		.flag = MC_PULL_REMOTE,
		.lends = true,
		.respond = exhibit_respond,
		.send = exhibit_send,
		.drop = exhibit_drop,
		.context = &onesided->showcase,
	};
	struct puller_config puller = {
		.name = "mc-show-puller",
		.dial = endpoint_dial,
		.links_max = LINKS_MAX,
		.described = carrier_take,
		.give_up = carrier_give_up,
		.context = &onesided->carrier,
	};
	enum mc_status status = puller_start(&onesided->puller, &puller);

	if (status)
		return status;
	status = carrier_start(&onesided->carrier, onesided->engine, &onesided->puller);
	if (status)
		goto err_puller;
	status = showcase_start(&onesided->showcase, &showcase);
	if (status)
		goto err_carrier;
	status = owner_start(&onesided->owner, &owner);
	if (!status)
		return MC_OK;
	showcase_stop(&onesided->showcase);
err_carrier:
	carrier_stop(&onesided->carrier);
err_puller:
	puller_stop(&onesided->puller);
	carrier_fini(&onesided->carrier);
	return status;
}

static enum mc_status onesided_open(const struct transport_ops *ops,
				    const struct transport_config *config,
				    struct transport **transport)
{
	CLEANUP_FD int listen_fd = -1;
	CLEANUP_FREE struct onesided *onesided = calloc(1, sizeof(*onesided));

	if (!onesided)
		return MC_NO_MEMORY;
	onesided->transport.ops = ops;
	enum mc_status status = open_engine(onesided, config);
	if (status)
		return status;
	status = net_listen_range(config->listen_host, config->port_first, config->port_last,
				  &listen_fd);
	if (!status)
		status = endpoint_announce(ops, config, listen_fd, onesided->endpoint);
	if (!status)
		status = start(onesided, config, listen_fd);
	if (status) {
		mc_engine_close(onesided->engine);
		return status;
	}
	STEAL_FD(listen_fd);
	*transport = &STEAL(onesided)->transport;
	return MC_OK;
}

static enum mc_status rdma_open(const struct transport_config *config, struct transport **transport)
{
	return onesided_open(&transport_rdma_ops, config, transport);
}

static enum mc_status engine_tcp_open(const struct transport_config *config,
				      struct transport **transport)
{
	return onesided_open(&transport_engine_ops, config, transport);
}

static void onesided_close(struct transport *transport)
{
	if (!transport)
		return;
	struct onesided *onesided = onesided_of(transport);
	carrier_stop(&onesided->carrier);
	puller_stop(&onesided->puller);
	carrier_fini(&onesided->carrier);
	owner_stop(&onesided->owner);
	showcase_stop(&onesided->showcase);
	mc_engine_close(onesided->engine);
	free(onesided);
}

static void onesided_endpoint(struct transport *transport, char text[MC_ENDPOINT_SIZE])
{
	snprintf(text, MC_ENDPOINT_SIZE, "%s", onesided_of(transport)->endpoint);
}

static unsigned onesided_score(struct transport *transport, const char *endpoint)
{
	struct net_address address;

	return endpoint_parse(transport->ops, endpoint, &address) == MC_OK
		       ? kind_of(transport->ops)->score
		       : 0;
}

static void onesided_pull(struct transport *transport, const char *endpoint,
			  struct transport_pull *pull)
{
	puller_pull(&onesided_of(transport)->puller, endpoint, pull);
}

static void onesided_want(struct transport *transport, struct transport_pull *pull, uint64_t offset,
			  uint64_t length)
{
	carrier_want(&onesided_of(transport)->carrier, pull, offset, length);
}

static void onesided_cancel(struct transport *transport, struct transport_pull *pull)
{
	puller_cancel(&onesided_of(transport)->puller, pull);
}

static void onesided_show(struct transport *transport, uint64_t id)
{
	showcase_show(&onesided_of(transport)->showcase, id);
}

static void onesided_hide(struct transport *transport, uint64_t id)
{
	showcase_hide(&onesided_of(transport)->showcase, id);
}

static void onesided_clear(struct transport *transport)
{
	showcase_clear(&onesided_of(transport)->showcase);
}

static void onesided_counters(struct transport *transport, struct transport_counters *counters)
{
	struct onesided *onesided = onesided_of(transport);

	*counters = (struct transport_counters){0};
	owner_counters(&onesided->owner, counters);
	puller_counters(&onesided->puller, counters);
	showcase_counters(&onesided->showcase, counters);
}

const struct transport_ops transport_rdma_ops = {
	.name = "rdma",
	.open = rdma_open,
	.close = onesided_close,
	.endpoint = onesided_endpoint,
	.score = onesided_score,
	.pull = onesided_pull,
	.want = onesided_want,
	.cancel = onesided_cancel,
	.show = onesided_show,
	.hide = onesided_hide,
	.clear = onesided_clear,
	.counters = onesided_counters,
};

const struct transport_ops transport_engine_ops = {
	.name = "engine-tcp",
	.by_name = true,
	.open = engine_tcp_open,
	.close = onesided_close,
	.endpoint = onesided_endpoint,
	.score = onesided_score,
	.pull = onesided_pull,
	.want = onesided_want,
	.cancel = onesided_cancel,
	.show = onesided_show,
	.hide = onesided_hide,
	.clear = onesided_clear,
	.counters = onesided_counters,
};
