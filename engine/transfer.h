/*
 * engine/transfer.h -- requests become slices, slices become bytes
 *
 *     submit ──► cut ──► fabric ──done──► task ──► batch
 *                 ▲        │ failed
 *                 │        ▼
 *            more room   mender: another path, a newer descriptor
 *
 * A request is cut at the borders of local regions, of remote buffers, and at the
 * size that the fabric likes.  What finds no room (no slice in the pool, none in
 * the fabric) waits, and goes on when something of anybody has ended.
 *
 * Threads   Any thread; nothing here waits for the network, but for mc_batch_submit
 *           when the descriptor has to be fetched anew.
 */
#ifndef ENGINE_TRANSFER_H
#define ENGINE_TRANSFER_H

#include "engine/batch.h"
#include "engine/slice.h"

/* Cut and hand over what there is room for. */
void transfer_pump(struct mc_batch *batch);

/* Hand one slice over (again).  False: no room now. */
bool transfer_submit_one(struct slice *slice);

/* Look at requests before they become the tasks from first on; all or none. */
MC_MUST_CHECK enum mc_status transfer_check(struct mc_batch *batch, size_t first,
					    const struct mc_request *requests, size_t count);
/* A task that was looked at needs its memory and its segment no more. */
void transfer_let_go(struct mc_engine *engine, struct task *task);
/* Begin that many tasks, which have been looked at. */
void transfer_begin(struct mc_batch *batch, size_t count);

/* A slice has ended for good. */
void transfer_end(struct slice *slice, enum mc_status status);

/* End what has not ended, with this state. */
void transfer_stop(struct mc_batch *batch, enum mc_task_state state);

/* End it with MC_TASK_TIMEOUT if its time is over. */
void transfer_look_at_deadline(struct mc_batch *batch);

/* Ask for the end of what is in flight of it. */
void transfer_cancel(struct mc_batch *batch);

/* Before the batch is freed: see that nobody knows it any more. */
void transfer_forget(struct mc_batch *batch);

#endif
