#include "engine/node/internal.h"

#include <string.h>
#include <unistd.h>

/* The transports over which peers are reached, and serve. */

enum mc_status node_transports_open(struct node *node)
{
	const struct transport_config config = {
		.listen_host = node->config.listen_host,
		.port_first = (uint16_t)node->config.port_first,
		.port_last = (uint16_t)node->config.port_last,
		.announce_host = node->config.announce_host,
		.host_id = node->host,
		.source = &node->source,
	};
	bool all = strcmp(node->config.transport, "auto") == 0;

	node->source = (struct transport_source){source_hold, source_release, node};
	for (unsigned i = 0; transport_table[i]; i++) {
		const struct transport_ops *ops = transport_table[i];
		if (!all && strcmp(ops->name, node->config.transport) != 0)
			continue;
		MUST(node->transport_count < NODE_TRANSPORT_MAX);
		enum mc_status status =
			ops->open(&config, &node->transports[node->transport_count]);
		if (status && (!all || strcmp(ops->name, "tcp") == 0)) {
			log_error("a transport can't be opened name=%s status=\"%s\"", ops->name,
				  mc_status_text(status));
			return status;
		}
		if (status)
			log_warn("going on without a transport name=%s status=\"%s\"", ops->name,
				 mc_status_text(status));
		else
			node->transport_count++;
	}
	return MC_OK;
}

void node_transports_close(struct node *node)
{
	for (unsigned i = 0; i < node->transport_count; i++)
		node->transports[i]->ops->close(node->transports[i]);
	node->transport_count = 0;
}
