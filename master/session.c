#include "master/session.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/await.h"
#include "master/grant.h"
#include "master/held.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/state.h"

#define KEEP_SIZE (1u << 16) /* buffers beyond this are given back when empty */
#define PUSH_SIZE (1u << 20) /* bytes of items in one push, far below what a body may have */

struct session *session_new(struct connection *connection, uint64_t now_ms)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->connection = connection;
	session->heard_ms = now_ms;
	writer_init(&session->out);
	writer_init(&session->invalidations.w);
	writer_init(&session->drops.w);
	writer_init(&session->kinds.w);
	return session;
}

void master_session_open(struct mc_master *master, struct session *session)
{
	session->next = master->sessions;
	if (session->next)
		session->next->previous = session;
	master->sessions = session;
}

static uint64_t heard_ms(const struct session *session)
{
	return __atomic_load_n(&session->heard_ms, __ATOMIC_RELAXED);
}

void master_session_wrote(struct mc_master *master, struct session *session)
{
	if (session->ready)
		return;
	session->ready = true;
	session->ready_next = master->ready;
	master->ready = session;
}

void master_session_end(struct mc_master *master, struct session *session)
{
	session->ending = true;
	master_session_wrote(master, session);
}

static void out_send(struct session *session, bool drop)
{
	struct writer *out = &session->out;

	if (out->failed)
		log_error("out of memory for answers, closed the connection peer=%s",
			  session->connection->peer);
	bool whole = !drop && !out->failed;
	if (whole)
		connection_send(session->connection, out->data, out->size);
	if (!whole || session->ending)
		connection_end(session->connection);
	if (out->capacity > KEEP_SIZE) {
		writer_fini(out);
		writer_init(out);
	} else {
		writer_reset(out);
	}
}

void master_session_send(struct mc_master *master, bool drop)
{
	while (master->ready) {
		struct session *session = master->ready;
		master->ready = session->ready_next;
		session->ready = false;
		out_send(session, drop);
	}
}

static void unready(struct mc_master *master, const struct session *session)
{
	struct session **at = &master->ready;

	while (session->ready && *at != session)
		at = &(*at)->ready_next;
	if (session->ready)
		*at = session->ready_next;
}

void master_session_close(struct mc_master *master, struct session *session)
{
	grant_end_all(master, session);
	parking_forget(master, session);
	await_forget(master, session);
	while (session->reservations)
		reservations_end(&master->reservations, session->reservations);
	if (session->node) {
		repair_left(master, session->node);
		nodes_leave(&master->nodes, session->node,
			    session->silent ? heard_ms(session) : master->now_ms);
	}
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
	unready(master, session);
	held_forget(master, session);
	connection_free(session->connection);
	writer_fini(&session->out);
	writer_fini(&session->invalidations.w);
	writer_fini(&session->drops.w);
	writer_fini(&session->kinds.w);
	free(session);
}

void master_session_expire(struct mc_master *master)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		uint64_t heard = heard_ms(s);
		/* Heard after this turn began, or not listened to because the writer is behind. */
		if (s->silent || heard >= master->now_ms ||
		    __atomic_load_n(&s->waiting, __ATOMIC_RELAXED))
			continue;
		if (master->now_ms - heard < master->ttl_ms)
			continue;
		if (s->id)
			log_warn("heard nothing, ended the session session=%u peer=%s ms=%lu",
				 s->id, s->connection->peer,
				 (unsigned long)(master->now_ms - heard));
		s->silent = true;
		master_session_end(master, s);
	}
}

void master_session_push(struct mc_master *master, struct session *session, enum mc_verb verb,
			 const void *body, size_t size)
{
	struct writer *out = &session->out;
	struct frame frame = {
		.kind = MC_FRAME_PUSH, .verb = (uint16_t)verb, .epoch = master->epoch};
	size_t begin = frame_begin(out);

	put_bytes(out, body, size);
	frame_finish(out, begin, &frame);
	if (!out->failed)
		held_push(master, session, verb, begin);
	master_session_wrote(master, session);
}

static void gathered_flush(struct mc_master *master, struct session *session,
			   struct gathered *gathered, enum mc_verb verb)
{
	struct writer *w = &gathered->w;

	if (gathered->count == 0)
		return;
	patch_u16(w, 0, gathered->count);
	if (w->failed)
		master_session_end(master, session);
	else
		master_session_push(master, session, verb, w->data, w->size);
	gathered->count = 0;
	writer_reset(w);
}

/* Where the next item goes; what is full is pushed before. */
static struct writer *gathered_next(struct mc_master *master, struct session *session,
				    struct gathered *gathered, enum mc_verb verb)
{
	if (gathered->count == UINT16_MAX || gathered->w.size >= PUSH_SIZE)
		gathered_flush(master, session, gathered, verb);
	if (gathered->count++ == 0)
		put_u16(&gathered->w, 0);
	return &gathered->w;
}

static void invalidation_add(struct mc_master *master, struct session *session,
			     enum mc_invalidate what, uint64_t parent, uint64_t id,
			     const char *name, size_t name_size)
{
	struct writer *w =
		gathered_next(master, session, &session->invalidations, MC_VERB_INVALIDATE);

	put_u8(w, (uint8_t)what);
	put_u64(w, parent);
	put_u64(w, id);
	put_string(w, name, name_size);
	master->counters.invalidations++;
}

void master_session_unname(struct mc_master *master, struct session *session, uint64_t parent,
			   uint64_t id, const char *name, size_t name_size)
{
	invalidation_add(master, session, MC_INVALIDATE_NAME, parent, id, name, name_size);
}

void master_session_invalidate(struct mc_master *master, const struct session *except,
			       enum mc_invalidate what, uint64_t parent, uint64_t id,
			       const char *name, size_t name_size)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s != except && s->id)
			invalidation_add(master, s, what, parent, id, name, name_size);
	}
}

/* A node with several sessions hears it on each: a drop of what is gone is harmless. */
static void node_drop(struct mc_master *master, const struct session *except,
		      const struct node *node, const struct entry *entry)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		if (s == except || s->node != node)
			continue;
		struct writer *w = gathered_next(master, s, &s->drops, MC_VERB_DROP);
		put_u64(w, entry->id);
		put_u64(w, entry->version);
		master->counters.drops++;
	}
}

void master_session_drop_node(struct mc_master *master, const struct node *node,
			      const struct entry *entry)
{
	node_drop(master, NULL, node, entry);
}

/* A session over which the node can be told; NULL: it has none. */
static struct session *session_of(const struct mc_master *master, const struct node *node)
{
	struct session *session = master->sessions;

	while (session && (session->node != node || session->silent))
		session = session->next;
	return session;
}

void master_session_kind(struct mc_master *master, const struct node *node,
			 const struct entry *entry, enum mc_replica_kind kind)
{
	struct session *session = session_of(master, node);

	if (!session)
		return;
	struct writer *w = gathered_next(master, session, &session->kinds, MC_VERB_KIND);
	put_u64(w, entry->id);
	put_u64(w, entry->version);
	put_u8(w, (uint8_t)kind);
}

void master_session_replicate(struct mc_master *master, const struct node *node,
			      const struct entry *entry)
{
	struct session *session = session_of(master, node);
	char path[MC_PATH_MAX + 1];
	size_t size = entry_path_size(entry);
	struct mc_entry out;
	struct writer w;

	if (!session || size > MC_PATH_MAX)
		return;
	entry_path(entry, path);
	replicas_entry(master, entry, &out);
	writer_init(&w);
	put_u8(&w, MC_REPLICA_PRIMARY);
	put_string(&w, path, size);
	put_entry(&w, &out);
	if (!w.failed)
		master_session_push(master, session, MC_VERB_REPLICATE, w.data, w.size);
	writer_fini(&w);
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
		gathered_flush(master, s, &s->invalidations, MC_VERB_INVALIDATE);
		gathered_flush(master, s, &s->drops, MC_VERB_DROP);
		gathered_flush(master, s, &s->kinds, MC_VERB_KIND);
	}
}
