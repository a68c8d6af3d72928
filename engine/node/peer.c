#include "engine/node/internal.h"

#include <string.h>
#include <unistd.h>

/* The transports over which peers are reached, and serve. */

static void opened(struct node *node)
{
	struct transport *transport = node->transports[node->transport_count++];

	WITH_LOCK(&node->lock);
	if (transport->ops->show && node->config.show_bytes_max > 0)
		node->showing = transport;
}

enum mc_status node_transports_open(struct node *node)
{
	const struct transport_config config = {
		.listen_host = node->config.listen_host,
		.port_first = (uint16_t)node->config.port_first,
		.port_last = (uint16_t)node->config.port_last,
		.announce_host = node->config.announce_host,
		.host_id = node->host,
		.source = &node->source,
		.show_bytes_max = node->config.show_bytes_max,
	};
	bool all = strcmp(node->config.transport, "auto") == 0;

	node->source = (struct transport_source){
		.hold = source_hold,
		.release = source_release,
		.context = node,
		.shelf = source_shelf,
		.used = source_used,
	};
	for (unsigned i = 0; transport_table[i]; i++) {
		const struct transport_ops *ops = transport_table[i];
		if (all ? ops->by_name : strcmp(ops->name, node->config.transport) != 0)
			continue;
		MUST(node->transport_count < NODE_TRANSPORT_MAX);
		enum mc_status status =
			ops->open(&config, &node->transports[node->transport_count]);
		if (status && (!all || strcmp(ops->name, "tcp") == 0)) {
			log_error("a transport can't be opened name=%s status=\"%s\"", ops->name,
				  mc_status_text(status));
			return status;
		}
		if (status == MC_NOT_SUPPORTED)
			log_debug("this machine has nothing for a transport name=%s", ops->name);
		else if (status)
			log_warn("going on without a transport name=%s status=\"%s\"", ops->name,
				 mc_status_text(status));
		else
			opened(node);
	}
	return MC_OK;
}

bool node_reach_locked(const struct node *node, const struct mc_node *peer, unsigned below,
		       struct node_reach *reach)
{
	*reach = (struct node_reach){0};
	for (uint32_t e = 0; e < peer->endpoint_count; e++) {
		for (unsigned t = 0; t < node->transport_count; t++) {
			struct transport *transport = node->transports[t];
			unsigned score = transport->ops->score(transport, peer->endpoints[e]);
			if (score <= reach->score || (below && score >= below))
				continue;
			reach->score = score;
			reach->transport = transport;
			memcpy(reach->endpoint, peer->endpoints[e], MC_ENDPOINT_SIZE);
		}
	}
	return reach->transport != NULL;
}

static bool offers(const struct mc_node *peer, const char *prefix)
{
	for (uint32_t e = 0; e < peer->endpoint_count; e++) {
		if (strncmp(peer->endpoints[e], prefix, strlen(prefix)) == 0)
			return true;
	}
	return false;
}

static bool has(const struct node *node, const char *name)
{
	for (unsigned t = 0; t < node->transport_count; t++) {
		if (strcmp(node->transports[t]->ops->name, name) == 0)
			return true;
	}
	return false;
}

const char *node_reach_why(const struct node *node, const struct mc_node *peer,
			   const struct node_reach *reach)
{
	const char *name = reach->transport ? reach->transport->ops->name : "";

	if (!reach->transport)
		return "nothing that both have";
	if (strcmp(node->config.transport, "auto") != 0)
		return "by option transport=";
	if (strcmp(name, "shm") == 0)
		return "same host";
	if (strcmp(name, "rdma") == 0)
		return "both have a device";
	if (!has(node, "rdma"))
		return offers(peer, "rdma:") ? "no RDMA device here" : "no RDMA device on either";
	return "no RDMA device there";
}

void node_transports_close(struct node *node)
{
	node_lock(node);
	node->showing = NULL;
	node_unlock(node);
	for (unsigned i = 0; i < node->transport_count; i++)
		node->transports[i]->ops->close(node->transports[i]);
	node->transport_count = 0;
}
