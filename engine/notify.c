#include "engine/notify.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/metadata/handshake.h"
#include "engine/notice.h"
#include "engine/transfer.h"

/* --- to take them ----------------------------------------------------------------------- */

static enum mc_status put(struct mailbox *mailbox, const char *said)
{
	CLEANUP_FREE char *name = NULL, *text = NULL;
	enum mc_status status = notice_parse(said, &name, &text);

	return status ? status : mailbox_put(mailbox, name, text);
}

enum mc_status notify_answer(void *mailbox, const char *request, char **reply)
{
	enum mc_status status = put(mailbox, request);

	return status && status != MC_NO_SPACE ? status : notice_answer_print(status, reply);
}

enum mc_status notify_here(struct mc_engine *engine, const char *said)
{
	return put(&engine->mailbox, said);
}

static enum mc_status answer(void *mailbox, enum handshake_type type, const char *request,
			     size_t size, char **reply)
{
	(void)size;
	return type == HANDSHAKE_NOTIFY ? notify_answer(mailbox, request, reply) : MC_NOT_SUPPORTED;
}

enum mc_status notify_listen(struct mc_engine *engine, const struct mc_engine_config *config)
{
	struct handshake_config handshake = {
		.listen_host = config->listen,
		.announce_host = config->announce,
		.port_first = config->port_first,
		.port_last = config->port_last,
		.answer = answer,
		.context = &engine->mailbox,
	};

	engine->notifications = config->notifications;
	if (!config->notifications || metadata_local_name(engine->metadata))
		return MC_OK;
	enum mc_status status = handshake_open(&handshake, &engine->listener);
	if (!status)
		status = handshake_start(engine->listener);
	if (status)
		log_error("can't listen for notifications status=\"%s\"", mc_status_text(status));
	return status;
}

enum mc_status notify_describe(struct mc_engine *engine, struct segment_desc *desc)
{
	char endpoint[sizeof(HERALD_PREFIX) + NET_TEXT_SIZE];

	snprintf(endpoint, sizeof(endpoint), HERALD_PREFIX "%s",
		 engine->listener ? handshake_address(engine->listener)
				  : metadata_local_name(engine->metadata));
	return segment_desc_add_endpoint(desc, endpoint);
}

enum mc_status mc_engine_notifications(struct mc_engine *engine, int timeout_ms,
				       struct mc_notification **list, size_t *count)
{
	return engine->notifications ? mailbox_take(&engine->mailbox, timeout_ms, list, count)
				     : MC_NOT_SUPPORTED;
}

/* --- to send them ------------------------------------------------------------------------- */

static bool takes_any(const struct target *target)
{
	struct net_address address;

	return herald_address(target->desc, &address);
}

/* Who took none may have restarted. */
static bool takes_any_now(struct mc_engine *engine, struct segment *segment,
			  const struct target *stale)
{
	if (segment_refresh(&engine->segments, segment, stale))
		log_debug("no newer descriptor segment=%s", segment->name);
	struct target *target = segment_target(&engine->segments, segment);
	bool takes = takes_any(target);
	target_unref(target);
	return takes;
}

/* Whom to tell; NULL: ourselves. */
static enum mc_status find_hearer(struct mc_engine *engine, mc_segment_id id,
				  struct segment **segment)
{
	*segment = NULL;
	if (id == MC_SEGMENT_LOCAL)
		return engine->notifications ? MC_OK : MC_NOT_SUPPORTED;
	struct target *target;
	*segment = segment_use(&engine->segments, id, &target);
	if (!*segment)
		return MC_NOT_FOUND;
	bool takes = takes_any(target) || takes_any_now(engine, *segment, target);
	target_unref(target);
	if (takes)
		return MC_OK;
	segment_done(*segment);
	return MC_NOT_SUPPORTED;
}

/* Open of it: the requests, its place in the row, and the errand. */
static enum mc_status prepare(struct mc_engine *engine, struct task *task, size_t count,
			      mc_segment_id id, const char *name, const char *text)
{
	struct errand *errand;
	struct segment *segment;
	enum mc_status status = herald_start(&engine->herald);

	if (!status)
		status = errand_new(name, text, &errand);
	if (status)
		return status;
	status = find_hearer(engine, id, &segment);
	if (status) {
		errand_free(errand);
		return status;
	}
	*task = (struct task){.segment = segment, .errand = errand};
	atomic_store(&task->open, (unsigned)count + 2);
	atomic_store(&task->state, MC_TASK_PENDING);
	return MC_OK;
}

enum mc_status mc_batch_submit_notify(struct mc_batch *batch, const struct mc_request *requests,
				      size_t count, mc_segment_id segment, const char *name,
				      const char *text)
{
	size_t first = atomic_load(&batch->submitted);

	if (count >= batch->tasks_max - first)
		return MC_TOO_BIG;
	struct task *notice = &batch->tasks[first + count];
	enum mc_status status = prepare(batch->engine, notice, count, segment, name, text);
	if (status)
		return status;
	status = transfer_check(batch, first, requests, count);
	if (status) {
		errand_free(STEAL(notice->errand));
		if (notice->segment)
			segment_done(notice->segment);
		return status;
	}
	for (size_t i = 0; i < count; i++)
		batch->tasks[first + i].notice = notice;
	transfer_begin(batch, count + 1);
	return MC_OK;
}

enum mc_status mc_engine_notify(struct mc_engine *engine, mc_segment_id segment, const char *name,
				const char *text, int timeout_ms)
{
	struct mc_batch *batch;
	enum mc_status status = mc_batch_new(engine, 1, &batch);

	if (status)
		return status;
	status = mc_batch_submit_notify(batch, NULL, 0, segment, name, text);
	if (!status)
		status = mc_batch_wait(batch, timeout_ms);
	/* It may end well at the last moment. */
	if (status == MC_TIMEOUT) {
		mc_batch_cancel(batch);
		status = mc_batch_wait(batch, -1) ? MC_TIMEOUT : MC_OK;
	}
	MUST(mc_batch_free(batch) == MC_OK);
	return status;
}
