/*
 * engine/transport/endpoint.h -- "NAME:HOST:PORT", where a stream transport is reached
 *
 * NAME is the transport's, the host is numeric, so that no peer ever waits for a
 * resolver.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_TRANSPORT_ENDPOINT_H
#define ENGINE_TRANSPORT_ENDPOINT_H

#include "engine/base/net.h"
#include "engine/transport/transport.h"

/* MC_INVALID: not one of this transport. */
MC_MUST_CHECK enum mc_status endpoint_parse(const struct transport_ops *ops, const char *endpoint,
					    struct net_address *address);

/* Start to connect to the endpoint of any transport that uses these. */
MC_MUST_CHECK enum mc_status endpoint_dial(const char *endpoint, int *fd);

/* What peers are told of a listener. */
MC_MUST_CHECK enum mc_status endpoint_announce(const struct transport_ops *ops,
					       const struct transport_config *config, int listen_fd,
					       char endpoint[MC_ENDPOINT_SIZE]);

#endif
