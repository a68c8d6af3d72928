#include "master/session.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/grant.h"
#include "master/state.h"

bool master_session_open(struct mc_master *master, struct connection *connection)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return false;
	session->connection = connection;
	session->heard_ms = master->now_ms;
	writer_init(&session->invalidations);
	writer_init(&session->drops);
	session->next = master->sessions;
	if (session->next)
		session->next->previous = session;
	master->sessions = session;
	connection->user = session;
	return true;
}

void master_session_close(struct mc_master *master, struct session *session)
{
	grant_end_all(master, session);
	grant_unpark(master, session);
	while (session->reservations)
		reservations_end(&master->reservations, session->reservations);
	if (session->node)
		nodes_leave(&master->nodes, session->node,
			    session->silent ? session->heard_ms : master->now_ms);
	if (session->id) {
		master->session_count--;
		log_info("session ended session=%u peer=%s node=%u", session->id,
			 session->connection->peer, session->node ? session->node->public.id : 0);
	}
	if (session->next)
		session->next->previous = session->previous;
	if (session->previous)
		session->previous->next = session->next;
	else
		master->sessions = session->next;
	session->connection->user = NULL;
	writer_fini(&session->invalidations);
	writer_fini(&session->drops);
	free(session);
}

void master_session_expire(struct mc_master *master)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s->silent || master->now_ms - s->heard_ms < master->ttl_ms)
			continue;
		if (s->id)
			log_warn("heard nothing, ended the session session=%u peer=%s ms=%lu",
				 s->id, s->connection->peer,
				 (unsigned long)(master->now_ms - s->heard_ms));
		s->silent = true;
		connection_end(s->connection);
	}
}

void master_session_push(struct mc_master *master, struct session *session, enum mc_verb verb,
			 const void *body, size_t size)
{
	struct writer *out = &session->connection->out;
	struct frame frame = {
		.kind = MC_FRAME_PUSH, .verb = (uint16_t)verb, .epoch = master->epoch};
	size_t begin = frame_begin(out);

	put_bytes(out, body, size);
	frame_finish(out, begin, &frame);
	connection_wrote(session->connection);
}

static void invalidations_flush(struct mc_master *master, struct session *session)
{
	if (session->invalidation_count == 0)
		return;
	patch_u16(&session->invalidations, 0, session->invalidation_count);
	if (session->invalidations.failed)
		connection_end(session->connection);
	else
		master_session_push(master, session, MC_VERB_INVALIDATE,
				    session->invalidations.data, session->invalidations.size);
	session->invalidation_count = 0;
	writer_reset(&session->invalidations);
}

static void drops_flush(struct mc_master *master, struct session *session)
{
	if (session->drop_count == 0)
		return;
	patch_u16(&session->drops, 0, session->drop_count);
	if (session->drops.failed)
		connection_end(session->connection);
	else
		master_session_push(master, session, MC_VERB_DROP, session->drops.data,
				    session->drops.size);
	session->drop_count = 0;
	writer_reset(&session->drops);
}

void master_session_invalidate(struct mc_master *master, const struct session *except,
			       enum mc_invalidate what, uint64_t parent, uint64_t id,
			       const char *name, size_t name_size)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s == except || !s->id)
			continue;
		struct writer *w = &s->invalidations;
		if (s->invalidation_count == UINT16_MAX)
			invalidations_flush(master, s);
		if (s->invalidation_count++ == 0)
			put_u16(w, 0);
		put_u8(w, (uint8_t)what);
		put_u64(w, parent);
		put_u64(w, id);
		put_string(w, name, name_size);
		master->counters.invalidations++;
	}
}

/* A node with several sessions hears it on each: a drop of what is gone is harmless. */
static void node_drop(struct mc_master *master, const struct session *except,
		      const struct node *node, const struct entry *entry)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s == except || s->node != node)
			continue;
		struct writer *w = &s->drops;
		if (s->drop_count == UINT16_MAX)
			drops_flush(master, s);
		if (s->drop_count++ == 0)
			put_u16(w, 0);
		put_u64(w, entry->id);
		put_u64(w, entry->version);
		master->counters.drops++;
	}
}

void master_session_drop(struct mc_master *master, const struct session *except,
			 const struct entry *entry)
{
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		const struct node *node = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
		if (!except || node != except->node)
			node_drop(master, except, node, entry);
	}
}

void master_session_flush(struct mc_master *master)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		invalidations_flush(master, s);
		drops_flush(master, s);
	}
}
