/*
 * master/views.h -- the master's state as JSON
 *
 * Each answers one request (docs/operations.md has the members).
 *
 * Threads   The writer.
 */
#ifndef MASTER_VIEWS_H
#define MASTER_VIEWS_H

#include "engine/http/http.h"
#include "master/state.h"

void view_health(struct mc_master *master, struct http_request *request);
void view_leader(struct mc_master *master, struct http_request *request);
void view_nodes(struct mc_master *master, struct http_request *request);
void view_objects(struct mc_master *master, struct http_request *request);

#endif
