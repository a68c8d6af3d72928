#include "master/turn.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/admin.h"
#include "master/gather.h"
#include "master/grant.h"
#include "master/held.h"
#include "master/inbox.h"
#include "master/journal.h"
#include "master/lead.h"
#include "master/parking.h"
#include "master/record.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/service.h"
#include "master/unstored.h"

#define CHECK_MS       100u  /* between looks for silence */
#define SNAPSHOT_COUNT 4096u /* records of a snapshot written in one turn */
#define RETRY_MS       1000u /* between tries to write a journal that fails */
#define ID_COUNT       (1u << 20)
#define ID_AHEAD       64u	  /* so many times ID_COUNT are reserved ahead */
#define SNAPSHOT_MS    10000u	  /* between tries to make a snapshot that fails */
#define TICK_MS	       50u	  /* between turns of the writer when nothing comes */
#define SOON_MS	       1u	  /* the same while a snapshot is written, or a walk goes on */
#define HERE_SIZE_MAX  4096u	  /* bytes of requests that a loop handles itself */
#define WAITING_MAX    (1u << 20) /* bytes of a session that wait before it is paused */

uint64_t master_now_ms(const struct mc_master *master)
{
	return master->clock.monotonic_ns(master->clock.context) / 1000000;
}

void master_clock(struct mc_master *master)
{
	if (master->turning)
		return;
	master->turning = true;
	master->now_ms = master_now_ms(master);
	master->now = master->clock.real(master->clock.context);
	master->holding = lead_holds(master);
}

void master_touch(struct mc_master *master, struct entry *entry)
{
	catalog_touch(&master->catalog, entry);
}

void master_touch_node(struct mc_master *master, const struct node *node)
{
	uint32_t index = node_index(node);

	master->nodes_touched[index / 64] |= 1ull << (index % 64);
	master->node_touched = true;
}

/* Ids are told to a journal that writes behind long before they are handed out. */
static void ids_moved(struct mc_master *master)
{
	if (!master->journal->ops->stored ||
	    master->id_next + (uint64_t)ID_COUNT * ID_AHEAD / 2 > master->id_reserved)
		master->meta_touched = true;
}

uint64_t master_ids_reserve(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!ops->stored)
		return master->id_next;
	master->id_reserved = master->id_next + (uint64_t)ID_COUNT * ID_AHEAD;
	master->reserve_group = ops->group(master->journal);
	return master->id_reserved;
}

static bool ids_safe(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!ops->stored)
		return true;
	if (ops->stored(master->journal) >= master->reserve_group)
		master->id_safe = master->id_reserved;
	return master->id_next + ID_COUNT <= master->id_safe;
}

uint64_t master_id(struct mc_master *master)
{
	uint64_t id = master->id_next++;

	ids_moved(master);
	return id;
}

void master_id_seen(struct mc_master *master, uint64_t id)
{
	if (id < master->id_next)
		return;
	master->id_next = id + 1;
	ids_moved(master);
}

void master_ids(struct mc_master *master, uint64_t *first, uint32_t *count)
{
	*first = master->id_next;
	*count = 0;
	/* Ids that the journal doesn't know of could be handed out again. */
	if (master->read_only || !ids_safe(master))
		return;
	*count = ID_COUNT;
	master->id_next += ID_COUNT;
	ids_moved(master);
}

static enum mc_status nodes_record(struct mc_master *master)
{
	enum mc_status status = MC_OK;

	for (uint32_t i = 0; i < master->nodes.used; i++) {
		if (!(master->nodes_touched[i / 64] >> (i % 64) & 1) ||
		    master->nodes.table[i].state == NODE_FREE)
			continue;
		if (status == MC_OK)
			status = record_node(master, &master->nodes.table[i], false);
	}
	if (status != MC_OK)
		return status;
	memset(master->nodes_touched, 0, sizeof(master->nodes_touched));
	master->node_touched = false;
	return MC_OK;
}

/* What the ledger has of an id, before the change itself. */
static enum mc_status deeds_record(struct mc_master *master, uint64_t id)
{
	const struct deed *deed = ledger_unrecorded(&master->ledger, id, 0);
	enum mc_status status = MC_OK;

	while (status == MC_OK && deed) {
		status = record_deed(master, deed, false);
		deed = ledger_unrecorded(&master->ledger, id, deed->number);
	}
	return status;
}

/* A place was left.  Who has taken it since was touched later, and is put behind this. */
static void left_record(struct mc_master *master, const struct touched *touched, bool moved)
{
	const struct left *left = touched->left;

	master->journal->ops->vacate(master->journal, touched->directory, moved, left->parent,
				     left->name, left->name_size);
}

/* Put the present state of all entries that were touched and have not been put yet. */
static enum mc_status entries_record(struct mc_master *master)
{
	struct catalog *catalog = &master->catalog;
	enum mc_status status = MC_OK;

	while (status == MC_OK && catalog->recorded_count < catalog->touched_count) {
		struct touched touched = catalog->touched[catalog->recorded_count];
		const struct entry *entry = catalog_find(catalog, touched.id);
		status = deeds_record(master, touched.id);
		if (status != MC_OK)
			break;
		if (touched.left)
			left_record(master, &touched, entry != NULL);
		if (entry)
			status = record_entry(master, entry, false);
		else
			record_gone(master, touched.id, touched.directory);
		catalog->recorded_count += status == MC_OK;
	}
	return status;
}

void master_part(struct mc_master *master)
{
	/* What fails now is tried again at the end of the turn. */
	if (master->catalog.keeps_places && entries_record(master) == MC_OK)
		ledger_settle(&master->ledger);
}

/* The same of all that was touched. */
static enum mc_status touched_record(struct mc_master *master)
{
	enum mc_status status = MC_OK;

	if (master->meta_touched)
		status = record_meta(master, false);
	master->meta_touched = master->meta_touched && status != MC_OK;
	if (status == MC_OK && master->node_touched)
		status = nodes_record(master);
	return status == MC_OK ? entries_record(master) : status;
}

static void touched_settle(struct mc_master *master)
{
	catalog_settle_touched(&master->catalog);
	ledger_settle(&master->ledger);
}

/* The journal takes everything; whether that gets anywhere is for lead_step() to ask. */
static bool written_behind(struct mc_master *master)
{
	enum mc_status status = touched_record(master);

	unstored_note(master);
	if (status == MC_OK)
		status = master->journal->ops->flush(master->journal);
	if (status != MC_OK) {
		log_error("can't record a change reason=\"%s\"", mc_status_text(status));
		return false;
	}
	touched_settle(master);
	failpoint("journal.queued");
	return true;
}

bool turn_journal(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;
	bool touched =
		master->catalog.touched_count || master->meta_touched || master->node_touched;
	bool was_read_only = master->read_only;

	if (!touched && !master->read_only)
		return true;
	if (ops->ready)
		return written_behind(master);
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
		touched_settle(master);
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
	if (status == MC_OK)
		status = policies_record(master);
	for (uint32_t i = 0; i < LEDGER_COUNT && status == MC_OK; i++) {
		const struct deed *deed = ledger_at(&master->ledger, i);
		if (deed)
			status = record_deed(master, deed, true);
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
		if (master->now_ms < master->snapshot_after_ms ||
		    !ops->snapshot_due(master->journal, record_live_size(master)))
			return;
		status = snapshot_begin(master);
	}
	if (status == MC_OK)
		status = snapshot_some(master, &done);
	if (status == MC_OK && !done)
		return;
	/* What could not be recorded yet is in the snapshot in part. */
	if (status == MC_OK)
		status = touched_record(master);
	master->snapshotting = false;
	enum mc_status ended = ops->snapshot_end(master->journal, status == MC_OK);
	if (status == MC_OK)
		status = ended;
	if (status == MC_OK)
		return;
	log_warn("could not make the journal smaller, went on reason=\"%s\"",
		 mc_status_text(status));
	master->snapshot_after_ms = master->now_ms + SNAPSHOT_MS;
}

static void nodes_push(struct mc_master *master)
{
	struct writer w;

	writer_init(&w);
	nodes_write(master, &w);
	if (w.failed) {
		writer_fini(&w); /* out of memory: with the next turn */
		return;
	}
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
	repair_look(master, master->repair_delay_ms);
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		if (master->nodes.table[i].reset)
			replicas_reset(master, &master->nodes.table[i]);
	}
}

static void letter_handle(struct mc_master *master, const struct letter *letter,
			  const struct frame *frame)
{
	struct session *session = letter->session;

	/* Nobody would read the answer. */
	if (session->ending || connection_ending(session->connection))
		return;
	if (!lead_serves(master)) {
		master_session_end(master, session);
		return;
	}
	service_request(master, session, frame, letter->bytes + MC_FRAME_HEADER_SIZE);
	if (session->out.size <= SERVER_OUT_SIZE_MAX)
		return;
	log_warn("does not read its answers, ended the session session=%u peer=%s", session->id,
		 session->connection->peer);
	master_session_end(master, session);
}

/* Resume a session when the writer has seen all of it; the loop asks too, after it paused. */
static void waits_no_more(struct session *session)
{
	if (__atomic_load_n(&session->waiting, __ATOMIC_SEQ_CST) == 0 &&
	    __atomic_exchange_n(&session->paused, false, __ATOMIC_SEQ_CST))
		connection_resume(session->connection);
}

/* More of the session waits for the writer; it is paused when that is too much. */
static void waits_more(struct session *session, size_t size)
{
	size_t waiting = __atomic_add_fetch(&session->waiting, size, __ATOMIC_SEQ_CST);

	if (waiting <= WAITING_MAX || __atomic_load_n(&session->paused, __ATOMIC_SEQ_CST))
		return;
	connection_pause(session->connection);
	__atomic_store_n(&session->paused, true, __ATOMIC_SEQ_CST);
	waits_no_more(session);
}

static void batch_handle(struct mc_master *master, const struct batch *batch)
{
	struct letter letter;
	size_t position = 0;

	while (batch_next(batch, &position, &letter)) {
		struct frame frame;
		MUST(frame_decode(letter.bytes, &frame) == MC_OK);
		letter_handle(master, &letter, &frame);
		if (__atomic_sub_fetch(&letter.session->waiting,
				       MC_FRAME_HEADER_SIZE + (size_t)frame.size,
				       __ATOMIC_SEQ_CST) == 0)
			waits_no_more(letter.session);
	}
}

/* Handle all that waits, in an order in which each session begins first and ends last. */
static void inbox_handle(struct mc_master *master)
{
	struct delivery delivery = inbox_take(&master->inbox);

	while (delivery.opened) {
		struct session *session = delivery.opened;
		delivery.opened = session->opened_next;
		master_session_open(master, session);
	}
	while (delivery.batches) {
		struct batch *batch = delivery.batches;
		delivery.batches = batch->next;
		batch_handle(master, batch);
		batch_free(batch);
	}
	while (delivery.closed) {
		struct session *session = delivery.closed;
		delivery.closed = session->closed_next;
		master_session_close(master, session);
	}
}

void turn_run(struct mc_master *master, struct batch *batch)
{
	master_clock(master);
	bool serves = lead_step(master, batch != NULL);
	if (batch)
		batch_handle(master, batch);
	else
		inbox_handle(master);
	if (!serves) {
		master_session_send(master, false);
		if (!batch)
			admin_turn(master->admin);
		master->turning = false;
		return;
	}
	if (!batch)
		silence_check(master);
	gather_turn(master);
	parking_resume(master);
	/* Before any of them is told to pull from another. */
	if (master->nodes.changed || master->nodes_untold)
		nodes_push(master);
	if (!master->read_only)
		repair_turn(master, !batch);
	master_session_flush(master);
	bool good = turn_journal(master);
	unstored_release(master);
	held_release(master);
	master_session_send(master, !good);
	grace_collect(&master->catalog.grace);
	if (!batch) {
		if (good)
			snapshot_step(master);
		master->journal->ops->tick(master->journal, master->now_ms);
		admin_turn(master->admin);
	}
	master->turning = false;
}

void *turn_thread(void *context)
{
	struct mc_master *master = context;
	bool soon = true; /* a journal may have to be followed */

	while (inbox_wait(&master->inbox, soon ? SOON_MS : TICK_MS)) {
		WITH_LOCK(&master->writing);
		turn_run(master, NULL);
		soon = master->snapshotting || repair_walks(master->repair);
	}
	return NULL;
}

static bool opened(void *context, struct connection *connection)
{
	struct mc_master *master = context;
	struct session *session = NULL;

	if (lead_serves(master))
		session = session_new(connection, master_now_ms(master));
	if (!session)
		return false;
	connection->user = session;
	inbox_opened(&master->inbox, session);
	return true;
}

static void request(void *context, struct connection *connection, const struct frame *frame,
		    const uint8_t *body)
{
	struct mc_master *master = context;
	struct session *session = connection->user;
	struct batch **batch = &master->loops[connection->loop_number].batch;
	uint64_t now_ms = master_now_ms(master);

	__atomic_store_n(&session->heard_ms, now_ms, __ATOMIC_RELAXED);
	if (frame->verb < MC_VERB_LIMIT)
		counter_add(&master->counters.rpc[frame->verb], 1);
	if (service_read(master, session, now_ms, frame, body))
		return;
	if (!batch_add(batch, session, frame, body)) {
		log_error("out of memory for requests, closed the connection peer=%s",
			  connection->peer);
		connection_end(connection);
		return;
	}
	waits_more(session, MC_FRAME_HEADER_SIZE + (size_t)frame->size);
	(*batch)->slow |= frame->verb < MC_VERB_LIMIT && service_rows[frame->verb].slow;
}

/* Be the writer for a few small requests.  False: the batch is for the inbox. */
static bool handle_here(struct mc_master *master, struct batch *batch)
{
	if (master->flush_waits || batch->slow || batch->letters.size > HERE_SIZE_MAX)
		return false;
	if (inbox_waiting(&master->inbox) || pthread_mutex_trylock(&master->writing) != 0)
		return false;
	/* Now nobody takes anything out: what is in it came before. */
	bool first = !inbox_waiting(&master->inbox);
	if (first)
		turn_run(master, batch);
	pthread_mutex_unlock(&master->writing);
	return first;
}

static void loop_turn(void *context, unsigned loop_number)
{
	struct mc_master *master = context;
	struct batch **batch = &master->loops[loop_number].batch;

	if (!*batch || (*batch)->letters.size == 0)
		return;
	if (handle_here(master, *batch)) {
		writer_reset(&(*batch)->letters);
		return;
	}
	inbox_put(&master->inbox, *batch);
	*batch = NULL;
}

static void closed(void *context, struct connection *connection)
{
	struct mc_master *master = context;

	if (master->stopped)
		master_session_close(master, connection->user);
	else
		inbox_closed(&master->inbox, connection->user);
}

const struct server_ops turn_server_ops = {
	.opened = opened,
	.request = request,
	.turn = loop_turn,
	.closed = closed,
};
