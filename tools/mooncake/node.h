/*
 * tools/mooncake/node.h -- a node as people and programs read it
 *
 * Ownership   What a call allocates belongs to the caller.
 * Threads     Any thread.
 */
#ifndef TOOLS_MOONCAKE_NODE_H
#define TOOLS_MOONCAKE_NODE_H

#include <mooncake/types.h>

#include "tools/mooncake/document.h"

/* "alive", "lost", "draining", "drained, lost" or "guest". */
const char *node_state(const struct mc_node *node);

/* Where it serves others, one blank between; NULL: nowhere. */
char *node_endpoints(const struct mc_node *node);

cJSON *node_document(const struct mc_node *node);

#endif
