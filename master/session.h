/*
 * master/session.h -- one connection after its HELLO
 *
 * What a session holds ends with it: the grants and reservations it has, its
 * hold on its node, and the requests of it that wait.  Pushes of one turn of
 * the loop are gathered here and go out as one frame of each kind.
 *
 * Ownership   The connection's `user`; freed when the connection has closed.
 * Threads     The master's.
 */
#ifndef MASTER_SESSION_H
#define MASTER_SESSION_H

#include <mooncake/protocol.h>

#include "engine/rpc/server.h"

struct entry;
struct grant;
struct mc_master;
struct node;
struct reservation;

struct session {
	struct connection *connection;
	struct session *next;
	struct session *previous;
	uint32_t id; /* 0: no HELLO yet */
	enum mc_role role;
	struct node *node; /* NULL: a client */
	uint64_t heard_ms;
	bool silent; /* ended because nothing came */
	bool told_nodes;
	struct grant *grants;
	struct reservation *reservations;
	size_t parked_size; /* bytes of its requests that wait */
	struct writer invalidations;
	uint16_t invalidation_count;
	struct writer drops;
	uint16_t drop_count;
};

/* False: out of memory. */
bool master_session_open(struct mc_master *master, struct connection *connection);
void master_session_close(struct mc_master *master, struct session *session);

/* End sessions that were silent for ttl_ms. */
void master_session_expire(struct mc_master *master);

/* Tell all sessions but one that a name or the attributes of an id have changed. */
void master_session_invalidate(struct mc_master *master, const struct session *except,
			       enum mc_invalidate what, uint64_t parent, uint64_t id,
			       const char *name, size_t name_size);

/* Tell the nodes with a replica of this version, but the one of a session, to drop it. */
void master_session_drop(struct mc_master *master, const struct session *except,
			 const struct entry *entry);

/* Push one frame now. */
void master_session_push(struct mc_master *master, struct session *session, enum mc_verb verb,
			 const void *body, size_t size);

/* Turn what was gathered in this turn into frames. */
void master_session_flush(struct mc_master *master);

#endif
