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
#include "engine/transport/owner.h"
#include "engine/transport/puller.h"
#include "engine/transport/tcp/bytes.h"

#define TCP_LINKS_MAX 4u
#define TCP_SCORE     10u

struct tcp {
	struct transport transport;
	struct owner owner;
	struct puller puller;
	struct bytes *bytes;
	char endpoint[MC_ENDPOINT_SIZE];
};

static struct tcp *tcp_of(struct transport *transport)
{
	MUST(transport->ops == &transport_tcp_ops);
	return container_of(transport, struct tcp, transport);
}

static enum mc_status start(struct tcp *tcp, const struct transport_config *config, int listen_fd)
{
	struct owner_config owner = {
		.name = "mc-tcp-owner",
		.listen_fd = listen_fd,
		.source = config->source,
		.respond = bytes_respond,
		.send = bytes_send,
		.context = tcp->bytes,
	};
	struct puller_config puller = {
		.name = "mc-tcp-puller",
		.dial = endpoint_dial,
		.links_max = TCP_LINKS_MAX,
	};
	enum mc_status status = puller_start(&tcp->puller, &puller);

	if (status)
		return status;
	status = owner_start(&tcp->owner, &owner);
	if (status)
		puller_stop(&tcp->puller);
	return status;
}

static enum mc_status tcp_open(const struct transport_config *config, struct transport **transport)
{
	CLEANUP_FD int listen_fd = -1;
	CLEANUP_FREE struct tcp *tcp = calloc(1, sizeof(*tcp));
	CLEANUP_FREE struct bytes *bytes = calloc(1, sizeof(*bytes));

	if (!tcp || !bytes)
		return MC_NO_MEMORY;
	tcp->transport.ops = &transport_tcp_ops;
	tcp->bytes = bytes;
	enum mc_status status = net_listen_range(config->listen_host, config->port_first,
						 config->port_last, &listen_fd);
	if (status)
		return status;
	status = endpoint_announce(tcp->transport.ops, config, listen_fd, tcp->endpoint);
	if (!status)
		status = start(tcp, config, listen_fd);
	if (status)
		return status;
	STEAL_FD(listen_fd);
	STEAL(bytes);
	*transport = &STEAL(tcp)->transport;
	return MC_OK;
}

static void tcp_close(struct transport *transport)
{
	if (!transport)
		return;
	struct tcp *tcp = tcp_of(transport);
	puller_stop(&tcp->puller);
	owner_stop(&tcp->owner);
	free(tcp->bytes);
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

static void tcp_pull(struct transport *transport, const char *endpoint, struct transport_pull *pull)
{
	puller_pull(&tcp_of(transport)->puller, endpoint, pull);
}

static void tcp_want(struct transport *transport, struct transport_pull *pull, uint64_t offset,
		     uint64_t length)
{
	puller_want(&tcp_of(transport)->puller, pull, offset, length);
}

static void tcp_cancel(struct transport *transport, struct transport_pull *pull)
{
	puller_cancel(&tcp_of(transport)->puller, pull);
}

static void tcp_counters(struct transport *transport, struct transport_counters *counters)
{
	struct tcp *tcp = tcp_of(transport);

	owner_counters(&tcp->owner, counters);
	puller_counters(&tcp->puller, counters);
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
