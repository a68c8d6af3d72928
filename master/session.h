/*
 * master/session.h -- one connection after its HELLO
 *
 * What a session holds ends with it: the grants and reservations it has, its
 * hold on its node, and the requests of it that wait.  What the writer sends to
 * it in one turn, pushes as one frame of each kind, is gathered here and goes out
 * when the turn's changes are in the journal.
 *
 * Ownership   The connection's `user`; freed, and the connection with it, when the
 *             writer has heard that nothing comes over it any more.
 * Threads     The writer; fields that are atomic are the readers' too.
 */
#ifndef MASTER_SESSION_H
#define MASTER_SESSION_H

#include <mooncake/protocol.h>

#include "engine/rpc/server.h"
#include "master/parking.h"

struct entry;
struct grant;
struct mc_master;
struct node;
struct reservation;

/* What came of what a node announced, for one line of the log. */
struct announcement {
	uint64_t known;	  /* as recorded */
	uint64_t adopted; /* never heard of before */
	uint64_t newer;	  /* replaced an older record */
	uint64_t refused; /* removed or replaced meanwhile: the node deletes it */
	uint64_t lowered; /* kept as cache: there are enough others */
};

/* A push of many items as it grows: their count, and they. */
struct gathered {
	struct writer w;
	uint16_t count;
};

struct session {
	struct connection *connection;
	struct session *next;
	struct session *previous;
	struct session *opened_next; /* see inbox.h: it may be on both lists */
	struct session *closed_next;
	uint32_t id; /* atomic; 0: no HELLO yet, and role and node are not set */
	enum mc_role role;
	struct node *node; /* NULL: a client */
	uint64_t heard_ms; /* atomic */
	size_t waiting;	   /* atomic; bytes of its requests that the writer has not seen */
	bool paused;	   /* atomic; because of those nothing is read from it */
	struct writer out; /* frames of this turn */
	uint32_t held;	   /* answers, and what is behind them, that wait for the journal ... */
	uint32_t finals;   /* ... and pushes that a node acts upon, see held.h */
	bool ready;	   /* on the list of those that have some */
	struct session *ready_next;
	bool ending; /* with this turn, after what it has to send */
	bool silent; /* ended because nothing came */
	bool told_nodes;
	struct grant *grants;
	struct reservation *reservations;
	size_t parked_size[PARKING_COUNT]; /* bytes of its requests that wait */
	struct gathered invalidations;
	struct gathered drops;
	struct gathered kinds;
	struct announcement announcement;
};

/* Make the session of a connection; the writer hears of it by the inbox.  NULL: out of memory. */
struct session *session_new(struct connection *connection, uint64_t now_ms);

/* One that has been made begins; one that began ends, and its connection. */
void master_session_open(struct mc_master *master, struct session *session);
void master_session_close(struct mc_master *master, struct session *session);

/* Say that session->out has grown, so that it is sent when the turn ends. */
void master_session_wrote(struct mc_master *master, struct session *session);
/* End the session's connection when the turn ends. */
void master_session_end(struct mc_master *master, struct session *session);
/* Send what was gathered; with `drop`, end all that would have got something. */
void master_session_send(struct mc_master *master, bool drop);

/* End sessions that were silent for ttl_ms. */
void master_session_expire(struct mc_master *master);

/* Tell all sessions but one that a name or the attributes of an id have changed. */
void master_session_invalidate(struct mc_master *master, const struct session *except,
			       enum mc_invalidate what, uint64_t parent, uint64_t id,
			       const char *name, size_t name_size);

/* Tell one session that a name does not mean an id any more. */
void master_session_unname(struct mc_master *master, struct session *session, uint64_t parent,
			   uint64_t id, const char *name, size_t name_size);

/* Tell the nodes with a replica of this version, but the one of a session, to drop it. */
void master_session_drop(struct mc_master *master, const struct session *except,
			 const struct entry *entry);

/* Tell one node to drop its replica of this version; to hold it as another kind. */
void master_session_drop_node(struct mc_master *master, const struct node *node,
			      const struct entry *entry);
void master_session_kind(struct mc_master *master, const struct node *node,
			 const struct entry *entry, enum mc_replica_kind kind);

/* Tell a node to pull a primary replica. */
void master_session_replicate(struct mc_master *master, const struct node *node,
			      const struct entry *entry);

/* Push one frame now. */
void master_session_push(struct mc_master *master, struct session *session, enum mc_verb verb,
			 const void *body, size_t size);

/* Turn what was gathered in this turn into frames. */
void master_session_flush(struct mc_master *master);

#endif
