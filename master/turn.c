#include "master/turn.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "master/grant.h"
#include "master/journal.h"
#include "master/record.h"
#include "master/replicas.h"
#include "master/service.h"

#define CHECK_MS       100u  /* between looks for silence */
#define SNAPSHOT_COUNT 4096u /* records of a snapshot written in one turn */
#define RETRY_MS       1000u /* between tries to write a journal that fails */
#define ID_COUNT       (1u << 20)

void master_clock(struct mc_master *master)
{
	if (master->turning)
		return;
	master->turning = true;
	master->now_ms = clock_ns() / 1000000;
	master->now = clock_real();
}

static void touch_add(struct mc_master *master, uint64_t id, bool directory)
{
	if (master->touched_count == master->touched_capacity) {
		size_t capacity = master->touched_capacity ? master->touched_capacity * 2 : 1024;
		struct touched *touched =
			realloc(master->touched, capacity * sizeof(*master->touched));
		/* Without it a change would be forgotten: better to end. */
		MUST(touched != NULL);
		master->touched = touched;
		master->touched_capacity = capacity;
	}
	master->touched[master->touched_count++] = (struct touched){id, directory};
}

void master_touch(struct mc_master *master, struct entry *entry)
{
	if (entry->touched)
		return;
	entry->touched = true;
	touch_add(master, entry->id, entry_is_directory(entry));
}

void master_touch_gone(struct mc_master *master, uint64_t id, bool directory)
{
	touch_add(master, id, directory);
}

void master_touch_node(struct mc_master *master, const struct node *node)
{
	uint32_t index = node_index(node);

	master->nodes_touched[index / 64] |= 1ull << (index % 64);
	master->node_touched = true;
}

uint64_t master_id(struct mc_master *master)
{
	master->meta_touched = true;
	return master->id_next++;
}

void master_id_seen(struct mc_master *master, uint64_t id)
{
	if (id < master->id_next)
		return;
	master->id_next = id + 1;
	master->meta_touched = true;
}

void master_ids(struct mc_master *master, uint64_t *first, uint32_t *count)
{
	*first = master->id_next;
	*count = 0;
	/* Ids that the journal doesn't know of could be handed out again. */
	if (master->read_only)
		return;
	*count = ID_COUNT;
	master->id_next += ID_COUNT;
	master->meta_touched = true;
}

static enum mc_status nodes_record(struct mc_master *master)
{
	enum mc_status status = MC_OK;

	for (uint32_t i = 0; i < master->nodes.used; i++) {
		if (!(master->nodes_touched[i / 64] >> (i % 64) & 1))
			continue;
		if (status == MC_OK)
			status = record_node(master, &master->nodes.table[i], false);
	}
	memset(master->nodes_touched, 0, sizeof(master->nodes_touched));
	master->node_touched = false;
	return status;
}

/* Put the present state of all that was touched. */
static enum mc_status touched_record(struct mc_master *master)
{
	enum mc_status status = MC_OK;

	if (master->meta_touched)
		status = record_meta(master, false);
	master->meta_touched = false;
	if (status == MC_OK && master->node_touched)
		status = nodes_record(master);
	for (size_t i = 0; i < master->touched_count && status == MC_OK; i++) {
		struct entry *entry = catalog_find(&master->catalog, master->touched[i].id);
		if (!entry) {
			record_gone(master, master->touched[i].id, master->touched[i].directory);
		} else if (entry->touched) {
			entry->touched = false;
			status = record_entry(master, entry, false);
		}
	}
	master->touched_count = 0;
	return status;
}

bool turn_journal(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;
	bool touched = master->touched_count || master->meta_touched || master->node_touched;
	bool was_read_only = master->read_only;

	if (!touched && !master->read_only)
		return true;
	if (was_read_only && master->now_ms - master->retried_ms < RETRY_MS)
		return true;
	master->retried_ms = master->now_ms;
	enum mc_status status = touched_record(master);
	if (status == MC_OK)
		status = ops->flush(master->journal);
	if (status == MC_OK) {
		if (master->read_only)
			log_warn("the journal can be written again, took changes up again");
		master->read_only = false;
		return true;
	}
	if (!master->read_only)
		log_error("can't write the journal, refusing changes reason=\"%s\"",
			  mc_status_text(status));
	master->read_only = true;
	/* Where changes were refused already, no answer promises one. */
	return was_read_only || !touched;
}

/* Write the next records of a snapshot.  An entry that is met twice does no harm. */
static enum mc_status snapshot_some(struct mc_master *master, bool *done)
{
	const struct catalog *catalog = &master->catalog;
	enum mc_status status = MC_OK;

	if (catalog->by_id.growths != master->snapshot_growths) {
		master->snapshot_growths = catalog->by_id.growths;
		master->snapshot_position = 0;
	}
	for (uint32_t i = 0; i < SNAPSHOT_COUNT && status == MC_OK; i++) {
		const struct entry *entry = table_next(&catalog->by_id, &master->snapshot_position);
		if (!entry) {
			*done = true;
			return MC_OK;
		}
		status = record_entry(master, entry, true);
	}
	return status;
}

static enum mc_status snapshot_begin(struct mc_master *master)
{
	enum mc_status status = master->journal->ops->snapshot_begin(master->journal);

	if (status == MC_OK)
		status = record_meta(master, true);
	for (uint32_t i = 0; i < master->nodes.used && status == MC_OK; i++) {
		if (master->nodes.table[i].state != NODE_FREE)
			status = record_node(master, &master->nodes.table[i], true);
	}
	master->snapshotting = true;
	master->snapshot_position = 0;
	master->snapshot_growths = master->catalog.by_id.growths;
	return status;
}

static void snapshot_step(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;
	enum mc_status status = MC_OK;
	bool done = false;

	if (!master->snapshotting) {
		if (!ops->snapshot_due(master->journal, record_live_size(master)))
			return;
		status = snapshot_begin(master);
	}
	if (status == MC_OK)
		status = snapshot_some(master, &done);
	if (status == MC_OK && !done)
		return;
	master->snapshotting = false;
	enum mc_status ended = ops->snapshot_end(master->journal, status == MC_OK);
	if (status == MC_OK)
		status = ended;
	if (status != MC_OK)
		log_warn("could not make the journal smaller, went on reason=\"%s\"",
			 mc_status_text(status));
}

static void nodes_push(struct mc_master *master)
{
	struct writer w;

	writer_init(&w);
	nodes_write(master, &w);
	for (struct session *s = master->sessions; s; s = s->next) {
		if (!s->id || (s->told_nodes && !master->nodes.changed))
			continue;
		s->told_nodes = true;
		master_session_push(master, s, MC_VERB_NODES, w.data, w.size);
	}
	master->nodes.changed = false;
	master->nodes_untold = false;
	writer_fini(&w);
}

static void silence_check(struct mc_master *master)
{
	if (master->now_ms - master->checked_ms < CHECK_MS)
		return;
	master->checked_ms = master->now_ms;
	master_session_expire(master);
	if (master->recalled)
		grant_expire(master);
	if (nodes_expire(&master->nodes, master->now_ms, master->ttl_ms) == 0)
		return;
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		if (master->nodes.table[i].reset)
			replicas_reset(master, &master->nodes.table[i]);
	}
}

static bool turn(void *context)
{
	struct mc_master *master = context;

	master_clock(master);
	silence_check(master);
	grant_resume(master);
	master_session_flush(master);
	if (master->nodes.changed || master->nodes_untold)
		nodes_push(master);
	bool good = turn_journal(master);
	if (good)
		snapshot_step(master);
	master->journal->ops->tick(master->journal, master->now_ms);
	master->turning = false;
	return good;
}

static bool opened(void *context, struct connection *connection)
{
	struct mc_master *master = context;

	master_clock(master);
	return master_session_open(master, connection);
}

static void request(void *context, struct connection *connection, const struct frame *frame,
		    const uint8_t *body)
{
	struct mc_master *master = context;
	struct session *session = connection->user;

	master_clock(master);
	session->heard_ms = master->now_ms;
	if (frame->verb < MC_VERB_LIMIT)
		master->counters.rpc[frame->verb]++;
	service_request(master, session, frame, body);
}

static void closed(void *context, struct connection *connection)
{
	if (connection->user)
		master_session_close(context, connection->user);
}

const struct server_ops turn_server_ops = {
	.opened = opened,
	.request = request,
	.turn = turn,
	.closed = closed,
};
