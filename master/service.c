#include "master/service.h"

#include <stddef.h>
#include <string.h>

#include "engine/base/cpu_latency.h"
#include "engine/base/log.h"
#include "master/ahead.h"
#include "master/gather.h"
#include "master/held.h"
#include "master/parking.h"

#define NODE_END (offsetof(struct item, node) + sizeof(struct mc_node))
_Static_assert(sizeof(struct item) - NODE_END < sizeof(uint64_t), "node is the last of an item");

/* Read the next item; a node's row of text is not cleared for each name that is looked up. */
static void item_read(const struct verb_row *row, struct reader *r, struct item *item)
{
	memset(item, 0, offsetof(struct item, node));
	row->read(r, item);
}

bool call_too_late(const struct call *call)
{
	const struct mc_master *master = call->master;

	return call->age_s > 0 && !ledger_reaches(&master->ledger, master->now.s, call->age_s);
}

static void nothing_read(struct reader *r, struct item *item)
{
	(void)r;
	(void)item;
}

static void name_read(struct reader *r, struct item *item)
{
	item->parent = get_u64(r);
	item->name = get_name(r, &item->name_size);
}

static void path_read(struct reader *r, struct item *item)
{
	item->name = get_string(r, &item->name_size);
}

static void id_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
}

const struct verb_row service_rows[MC_VERB_LIMIT] = {
	[MC_VERB_HELLO] = {hello_read, NULL, hello_apply, .early = true, .slow = true},
	[MC_VERB_HEARTBEAT] = {heartbeat_read, NULL, heartbeat_apply},
	[MC_VERB_LOOKUP] = {name_read, NULL, lookup_apply, .batched = true,
			    .misses_have_body = true, .readable = true, .gathers = true,
			    .ahead = true},
	[MC_VERB_LOOKUP_PATH] = {path_read, NULL, lookup_path_apply, .batched = true,
				 .readable = true, .gathers = true, .ahead = true},
	[MC_VERB_EXISTS] = {path_read, NULL, exists_apply, .batched = true, .readable = true,
			    .gathers = true, .ahead = true},
	[MC_VERB_PUBLISH] = {publish_read, publish_clear, publish_apply, .batched = true,
			     .changes = true},
	[MC_VERB_REMOVE] = {name_read, NULL, remove_apply, .batched = true, .changes = true},
	[MC_VERB_RENAME] = {rename_read, rename_clear, rename_apply, .changes = true},
	[MC_VERB_MKDIR] = {mkdir_read, mkdir_clear, mkdir_apply, .changes = true},
	[MC_VERB_RMDIR] = {name_read, NULL, rmdir_apply, .changes = true},
	[MC_VERB_LIST] = {list_read, NULL, list_apply, .readable = true, .slow = true,
			  .gathers_all = true},
	[MC_VERB_SETATTR] = {setattr_read, NULL, setattr_apply, .changes = true},
	[MC_VERB_STATFS] = {nothing_read, NULL, statfs_apply, .readable = true},
	[MC_VERB_REPLICA] = {replica_read, NULL, replica_apply, .batched = true, .changes = true},
	[MC_VERB_ANNOUNCE] = {announce_read, announce_clear, announce_apply, .batched = true,
			      .changes = true, .slow = true},
	[MC_VERB_ANNOUNCED] = {nothing_read, NULL, announced_apply, .changes = true, .slow = true},
	[MC_VERB_RESERVE] = {reserve_read, NULL, reserve_apply, .gathers_all = true},
	[MC_VERB_UNRESERVE] = {reserve_read, NULL, unreserve_apply},
	[MC_VERB_GRANT_IDS] = {nothing_read, NULL, grant_ids_apply, .changes = true},
	[MC_VERB_NODES] = {nothing_read, NULL, nodes_apply, .slow = true},
	[MC_VERB_STATS] = {nothing_read, NULL, stats_apply, .slow = true},
	[MC_VERB_PATH] = {id_read, NULL, path_apply, .readable = true},
	[MC_VERB_SETXATTR] = {setxattr_read, NULL, setxattr_apply, .changes = true},
	[MC_VERB_GETXATTRS] = {id_read, NULL, getxattrs_apply, .readable = true},
	[MC_VERB_REMOVEXATTR] = {removexattr_read, NULL, removexattr_apply, .changes = true},
	[MC_VERB_STEP_DOWN] = {nothing_read, NULL, step_down_apply},
	[MC_VERB_SUCCEEDED] = {succeeded_read, NULL, succeeded_apply, .early = true},
	[MC_VERB_RECALLED] = {id_read, NULL, recalled_apply},
	[MC_VERB_POLICY_SET] = {policy_set_read, NULL, policy_set_apply, .changes = true},
	[MC_VERB_POLICY_UNSET] = {policy_prefix_read, NULL, policy_unset_apply, .changes = true},
	[MC_VERB_POLICIES] = {nothing_read, NULL, policies_apply, .slow = true},
	[MC_VERB_POLICY] = {policy_prefix_read, NULL, policy_apply},
	[MC_VERB_AWAIT] = {await_read, NULL, await_apply, .gathers_all = true},
	[MC_VERB_NODE_SET] = {node_set_read, NULL, node_set_apply, .changes = true, .slow = true},
	[MC_VERB_DRAIN] = {drain_read, NULL, drain_apply},
};

void placement_read(struct reader *r, struct item *item)
{
	struct mc_placement placement;
	size_t begin = r->offset;

	get_placement(r, &placement);
	item->value = (const char *)r->data + begin;
	item->value_size = r->offset - begin;
}

void placement_take(const struct item *item, struct mc_placement *placement)
{
	struct reader r;

	reader_init(&r, item->value, item->value_size);
	get_placement(&r, placement);
	MUST(reader_done(&r));
}

/* Read the whole body: nothing happens for a request that is malformed or must wait. */
static enum mc_status body_check(const struct verb_row *row, struct reader r)
{
	uint16_t count = row->batched ? get_count(&r) : 1;

	for (uint16_t i = 0; i < count; i++) {
		struct item item;
		item_read(row, &r, &item);
		if (r.failed)
			return MC_PROTOCOL;
	}
	return reader_done(&r) ? MC_OK : MC_PROTOCOL;
}

static bool body_waits(struct call *call, const struct verb_row *row, struct reader r)
{
	bool waits = false;

	if (!row->clear)
		return false;
	uint16_t count = row->batched ? get_count(&r) : 1;
	for (uint16_t i = 0; i < count; i++) {
		struct item item;
		item_read(row, &r, &item);
		/* Ask for all that is in the way at once. */
		if (!row->clear(call, &item))
			waits = true;
	}
	return waits;
}

static void count_error(struct mc_master *master, enum mc_status status)
{
	unsigned number = (unsigned)-status;

	if (status != MC_OK)
		counter_add(&master->counters.errors[number < 255 ? number : 255], 1);
}

static void item_apply(struct call *call, const struct verb_row *row, const struct item *item)
{
	struct writer *w = call->w;
	size_t at = w->size;

	put_status(w, MC_OK);
	enum mc_status status = row->apply(call, item);
	if (status == MC_OK || w->failed || call->left)
		return;
	if (status == MC_NOT_FOUND)
		call->missed++;
	else
		count_error(call->master, status);
	patch_u16(w, at, (uint16_t)(int16_t)status);
	if (status != MC_NOT_FOUND || !row->misses_have_body)
		w->size = at + 2;
}

/* MC_PROTOCOL only of a body that was not checked. */
static enum mc_status batch_apply(struct call *call, const struct verb_row *row, struct reader *r)
{
	uint16_t count = get_count(r);
	struct ahead ahead;

	put_u16(call->w, count);
	for (uint16_t i = 0; i < count && !call->left; i++) {
		struct item item;
		call->item = i;
		if (row->ahead && count > 1 && i % AHEAD_COUNT == 0) {
			ahead_load(&ahead, call, row, *r, count - i);
			call->ahead = &ahead;
		}
		item_read(row, r, &item);
		if (r->failed)
			break;
		item_apply(call, row, &item);
	}
	call->ahead = NULL;
	if (call->left || reader_done(r))
		return MC_OK;
	call->missed = 0;
	return MC_PROTOCOL;
}

/* What the request comes to; *waits: it was parked and is answered later. */
static enum mc_status request_handle(struct call *call, const struct frame *frame,
				     const uint8_t *body, bool *waits)
{
	struct mc_master *master = call->master;
	struct item item;
	struct reader r;

	*waits = false;
	if (frame->kind != MC_FRAME_REQUEST)
		return MC_PROTOCOL;
	if (frame->verb >= MC_VERB_LIMIT || !service_rows[frame->verb].apply)
		return call->session->id ? MC_NOT_SUPPORTED : MC_PROTOCOL;
	const struct verb_row *row = &service_rows[frame->verb];
	if (!call->session->id && !row->early)
		return MC_PROTOCOL;
	if (frame->verb != MC_VERB_HEARTBEAT) /* nodes without work send those as well */
		cpu_latency_busy(master->cpu_latency);
	reader_init(&r, body, frame->size);
	bool checks = !row->batched || !call->reading;
	if (checks && body_check(row, r) != MC_OK)
		return MC_PROTOCOL;
	if (row->changes && master->read_only)
		return MC_READ_ONLY;
	if (row->gathers_all && gather_on(master)) {
		if (call->reading)
			call->left = true;
		else
			*waits = parking_add(master, PARKED_FOR_NODES, call->session, frame, body);
		return *waits || call->left ? MC_OK : MC_AGAIN;
	}
	if (body_waits(call, row, r)) {
		*waits = parking_add(master, PARKED_FOR_GRANT, call->session, frame, body);
		return *waits ? MC_OK : MC_AGAIN;
	}
	if (row->batched)
		return batch_apply(call, row, &r);
	item_read(row, &r, &item);
	return row->apply(call, &item);
}

void service_reply(struct mc_master *master, struct session *session, enum mc_verb verb,
		   uint64_t request_id, enum mc_status status)
{
	struct writer *out = &session->out;
	struct frame reply = {
		.kind = MC_FRAME_REPLY,
		.verb = (uint16_t)verb,
		.status = status,
		.epoch = master->epoch,
		.request_id = request_id,
	};

	count_error(master, status);
	frame_finish(out, frame_begin(out), &reply);
	master_session_wrote(master, session);
}

/* Write the header of what begins there, and take back what a failure wrote. */
static void reply_finish(struct call *call, const struct frame *frame, size_t begin,
			 enum mc_status status)
{
	struct frame reply = {
		.kind = MC_FRAME_REPLY,
		.verb = frame->verb,
		.status = status,
		.epoch = call->master->epoch,
		.request_id = frame->request_id,
	};

	count_error(call->master, status);
	if (call->missed)
		counter_add(&call->master->counters.errors[-MC_NOT_FOUND], call->missed);
	if (status != MC_OK)
		call->w->size = begin + MC_FRAME_HEADER_SIZE;
	frame_finish(call->w, begin, &reply);
}

/* Nodes that come back to a new leader may have what it did not find. */
static bool misses_too_early(const struct call *call, const struct frame *frame,
			     enum mc_status status)
{
	bool missed = call->missed > 0 || status == MC_NOT_FOUND;

	return missed && gather_on(call->master) && service_rows[frame->verb].gathers;
}

void service_request(struct mc_master *master, struct session *session, const struct frame *frame,
		     const uint8_t *body)
{
	struct writer *out = &session->out;
	struct call call = {master,
			    session,
			    out,
			    .now_ms = master->now_ms,
			    .request_id = frame->request_id,
			    .age_s = frame->age_s};
	size_t begin = frame_begin(out);
	bool waits;

	enum mc_status status = request_handle(&call, frame, body, &waits);
	if (!waits && misses_too_early(&call, frame, status))
		waits = parking_add(master, PARKED_FOR_NODES, session, frame, body);
	waits = waits || call.later;
	if (waits && !out->failed)
		out->size = begin;
	if (!waits && !out->failed)
		reply_finish(&call, frame, begin, status);
	bool tells = call.unstored || (status == MC_OK && service_rows[frame->verb].changes);
	if (master->holding && !waits && !out->failed && tells)
		held_add(master, session, begin);
	master_session_wrote(master, session);
}

bool service_read(struct mc_master *master, struct session *session, uint64_t now_ms,
		  const struct frame *frame, const uint8_t *body)
{
	unsigned reader = session->connection->loop_number;
	bool waits;

	if (frame->kind != MC_FRAME_REQUEST || frame->verb >= MC_VERB_LIMIT ||
	    !service_rows[frame->verb].readable)
		return false;
	/* Set last by HELLO, whose answer need not be waited for. */
	if (!__atomic_load_n(&session->id, __ATOMIC_ACQUIRE))
		return false;
	struct writer *out = connection_out(session->connection);
	struct call call = {master, session, out, .reading = true, .now_ms = now_ms};
	size_t begin = frame_begin(out);
	grace_enter(&master->catalog.grace, reader);
	enum mc_status status = request_handle(&call, frame, body, &waits);
	grace_leave(&master->catalog.grace, reader);
	call.left |= misses_too_early(&call, frame, status);
	/* A connection without memory for answers is closed: no more is done for it. */
	bool answered = !call.left || out->failed;
	if (!out->failed && answered)
		reply_finish(&call, frame, begin, status);
	else if (!out->failed)
		out->size = begin;
	connection_wrote(session->connection);
	return answered;
}
