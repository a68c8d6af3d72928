#include "master/service.h"

#include "engine/base/log.h"
#include "master/grant.h"

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
	[MC_VERB_HELLO] = {hello_read, NULL, hello_apply, .early = true},
	[MC_VERB_HEARTBEAT] = {heartbeat_read, NULL, heartbeat_apply},
	[MC_VERB_LOOKUP] = {name_read, NULL, lookup_apply, .batched = true,
			    .misses_have_body = true},
	[MC_VERB_LOOKUP_PATH] = {path_read, NULL, lookup_path_apply, .batched = true},
	[MC_VERB_PUBLISH] = {publish_read, publish_clear, publish_apply, .batched = true,
			     .changes = true},
	[MC_VERB_REMOVE] = {name_read, NULL, remove_apply, .batched = true, .changes = true},
	[MC_VERB_RENAME] = {rename_read, rename_clear, rename_apply, .changes = true},
	[MC_VERB_MKDIR] = {mkdir_read, mkdir_clear, mkdir_apply, .changes = true},
	[MC_VERB_RMDIR] = {name_read, NULL, rmdir_apply, .changes = true},
	[MC_VERB_LIST] = {list_read, NULL, list_apply},
	[MC_VERB_SETATTR] = {setattr_read, NULL, setattr_apply, .changes = true},
	[MC_VERB_STATFS] = {nothing_read, NULL, statfs_apply},
	[MC_VERB_REPLICA] = {replica_read, NULL, replica_apply, .batched = true, .changes = true},
	[MC_VERB_ANNOUNCE] = {announce_read, announce_clear, announce_apply, .batched = true,
			      .changes = true},
	[MC_VERB_ANNOUNCED] = {nothing_read, NULL, announced_apply, .changes = true},
	[MC_VERB_RESERVE] = {reserve_read, NULL, reserve_apply},
	[MC_VERB_UNRESERVE] = {reserve_read, NULL, unreserve_apply},
	[MC_VERB_GRANT_IDS] = {nothing_read, NULL, grant_ids_apply, .changes = true},
	[MC_VERB_NODES] = {nothing_read, NULL, nodes_apply},
	[MC_VERB_STATS] = {nothing_read, NULL, stats_apply},
	[MC_VERB_PATH] = {id_read, NULL, path_apply},
	[MC_VERB_SETXATTR] = {setxattr_read, NULL, setxattr_apply, .changes = true},
	[MC_VERB_GETXATTRS] = {id_read, NULL, getxattrs_apply},
	[MC_VERB_REMOVEXATTR] = {removexattr_read, NULL, removexattr_apply, .changes = true},
	[MC_VERB_RECALLED] = {id_read, NULL, recalled_apply},
};

/* Read the whole body: nothing happens for a request that is malformed or must wait. */
static enum mc_status body_check(const struct verb_row *row, struct reader r)
{
	uint16_t count = row->batched ? get_count(&r) : 1;

	for (uint16_t i = 0; i < count; i++) {
		struct item item = {0};
		row->read(&r, &item);
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
		struct item item = {0};
		row->read(&r, &item);
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
		master->counters.errors[number < 255 ? number : 255]++;
}

static void batch_apply(struct call *call, const struct verb_row *row, struct reader *r)
{
	struct writer *w = call->w;
	uint16_t count = get_count(r);

	put_u16(w, count);
	for (uint16_t i = 0; i < count; i++) {
		struct item item = {0};
		size_t at = w->size;

		row->read(r, &item);
		put_status(w, MC_OK);
		enum mc_status status = row->apply(call, &item);
		if (status == MC_OK || w->failed)
			continue;
		count_error(call->master, status);
		patch_u16(w, at, (uint16_t)(int16_t)status);
		if (status != MC_NOT_FOUND || !row->misses_have_body)
			w->size = at + 2;
	}
}

/* What the request comes to; *waits: it was parked and is answered later. */
static enum mc_status request_handle(struct call *call, const struct frame *frame,
				     const uint8_t *body, bool *waits)
{
	struct mc_master *master = call->master;
	struct item item = {0};
	struct reader r;

	*waits = false;
	if (frame->kind != MC_FRAME_REQUEST)
		return MC_PROTOCOL;
	if (frame->verb >= MC_VERB_LIMIT || !service_rows[frame->verb].apply)
		return call->session->id ? MC_NOT_SUPPORTED : MC_PROTOCOL;
	const struct verb_row *row = &service_rows[frame->verb];
	if (!call->session->id && !row->early)
		return MC_PROTOCOL;
	reader_init(&r, body, frame->size);
	if (body_check(row, r) != MC_OK)
		return MC_PROTOCOL;
	if (row->changes && master->read_only)
		return MC_READ_ONLY;
	if (body_waits(call, row, r)) {
		*waits = grant_park(master, call->session, frame, body);
		return *waits ? MC_OK : MC_AGAIN;
	}
	if (row->batched) {
		batch_apply(call, row, &r);
		return MC_OK;
	}
	row->read(&r, &item);
	return row->apply(call, &item);
}

void service_request(struct mc_master *master, struct session *session, const struct frame *frame,
		     const uint8_t *body)
{
	struct writer *out = &session->connection->out;
	struct call call = {master, session, out};
	size_t begin = frame_begin(out);
	bool waits;

	enum mc_status status = request_handle(&call, frame, body, &waits);
	if (waits || out->failed) {
		if (!out->failed)
			out->size = begin;
		return;
	}
	count_error(master, status);
	if (status != MC_OK)
		out->size = begin + MC_FRAME_HEADER_SIZE;
	struct frame reply = {
		.kind = MC_FRAME_REPLY,
		.verb = frame->verb,
		.status = status,
		.epoch = master->epoch,
		.request_id = frame->request_id,
	};
	frame_finish(out, begin, &reply);
	connection_wrote(session->connection);
}
