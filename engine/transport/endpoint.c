#include "engine/transport/endpoint.h"

#include <stdio.h>
#include <string.h>

enum mc_status endpoint_parse(const struct transport_ops *ops, const char *endpoint,
			      struct net_address *address)
{
	size_t size = strlen(ops->name);

	if (strncmp(endpoint, ops->name, size) != 0 || endpoint[size] != ':')
		return MC_INVALID;
	enum mc_status status = net_parse(endpoint + size + 1, address);
	return !status && net_port(address) == 0 ? MC_INVALID : status;
}

enum mc_status endpoint_dial(const char *endpoint, int *fd)
{
	const char *colon = strchr(endpoint, ':');
	struct net_address address;
	enum mc_status status = colon ? net_parse(colon + 1, &address) : MC_INVALID;

	return status ? status : net_connect_start(&address, fd);
}

enum mc_status endpoint_announce(const struct transport_ops *ops,
				 const struct transport_config *config, int listen_fd,
				 char endpoint[MC_ENDPOINT_SIZE])
{
	const char *host = config->announce_host ? config->announce_host : config->listen_host;
	char text[NET_TEXT_SIZE];
	enum mc_status status = net_announce(listen_fd, host, text);

	if (!status)
		snprintf(endpoint, MC_ENDPOINT_SIZE, "%s:%s", ops->name, text);
	return status;
}
