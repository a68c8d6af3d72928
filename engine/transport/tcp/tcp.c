/*
 * engine/transport/tcp/tcp.c -- bytes over TCP, summed with CRC-32C
 *
 * Put together of the two halves that all stream transports share (owner.h,
 * puller.h) and the answer that is made of bytes (bytes.h).
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/transport/endpoint.h"
#include "engine/transport/tcp/lane.h"

#define TCP_SCORE 10u

struct tcp {
	struct transport transport;
	struct lanes lanes;
	char endpoint[MC_ENDPOINT_SIZE];
};

static struct tcp *tcp_of(struct transport *transport)
{
	MUST(transport->ops == &transport_tcp_ops);
	return container_of(transport, struct tcp, transport);
}

static enum mc_status tcp_open(const struct transport_config *config, struct transport **transport)
{
	CLEANUP_FD int listen_fd = -1;
	CLEANUP_FREE struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return MC_NO_MEMORY;
	tcp->transport.ops = &transport_tcp_ops;
	enum mc_status status = net_listen_range(config->listen_host, config->port_first,
						 config->port_last, &listen_fd);
	if (status)
		return status;
	status = endpoint_announce(tcp->transport.ops, config, listen_fd, tcp->endpoint);
	if (!status)
		status = lanes_start(&tcp->lanes, config->source, listen_fd);
	if (status)
		return status;
	STEAL_FD(listen_fd);
	*transport = &STEAL(tcp)->transport;
	return MC_OK;
}

static void tcp_close(struct transport *transport)
{
	if (!transport)
		return;
	struct tcp *tcp = tcp_of(transport);
	lanes_stop(&tcp->lanes);
	free(tcp);
}

static void tcp_endpoint(struct transport *transport, char text[MC_ENDPOINT_SIZE])
{
	snprintf(text, MC_ENDPOINT_SIZE, "%s", tcp_of(transport)->endpoint);
}

static unsigned tcp_score(struct transport *transport, const char *endpoint)
{
	struct net_address address;

	return endpoint_parse(transport->ops, endpoint, &address) == MC_OK ? TCP_SCORE : 0;
}

static struct puller *puller_of(struct transport *transport, const struct transport_pull *pull)
{
	return &tcp_of(transport)->lanes.list[pull->lane].puller;
}

static void tcp_pull(struct transport *transport, const char *endpoint, struct transport_pull *pull)
{
	pull->lane = lanes_for_pull(&tcp_of(transport)->lanes);
	puller_pull(puller_of(transport, pull), endpoint, pull);
}

static void tcp_want(struct transport *transport, struct transport_pull *pull, uint64_t offset,
		     uint64_t length)
{
	puller_want(puller_of(transport, pull), pull, offset, length);
}

static void tcp_cancel(struct transport *transport, struct transport_pull *pull)
{
	puller_cancel(puller_of(transport, pull), pull);
	lanes_look(&tcp_of(transport)->lanes);
}

static void tcp_counters(struct transport *transport, struct transport_counters *counters)
{
	struct lanes *lanes = &tcp_of(transport)->lanes;

	*counters = (struct transport_counters){0};
	for (unsigned i = 0; i < lanes->count; i++) {
		owner_counters(&lanes->list[i].owner, counters);
		puller_counters(&lanes->list[i].puller, counters);
	}
}

const struct transport_ops transport_tcp_ops = {
	.name = "tcp",
	.open = tcp_open,
	.close = tcp_close,
	.endpoint = tcp_endpoint,
	.score = tcp_score,
	.pull = tcp_pull,
	.want = tcp_want,
	.cancel = tcp_cancel,
	.counters = tcp_counters,
};
