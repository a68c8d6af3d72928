/*
 * The rings of queue pairs: slices go in, work requests go out in chains, and
 * completions take slices from the other end.  A send queue completes in order,
 * so one completion stands for all before it.
 */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/internal.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_FIRST 64u
#define TABLE_MAX   65536u

/* --- the table that a wr_id leads to --------------------------------------- */

static bool table_grow(struct rdma_device *device)
{
	uint32_t size = device->table_size ? device->table_size * 2 : TABLE_FIRST;

	if (size > TABLE_MAX)
		return false;
	struct queue_pair **table = reallocarray(device->table, size, sizeof(*table));
	if (!table)
		return false;
	device->table = table;
	uint16_t *generations = reallocarray(device->generations, size, sizeof(*generations));
	if (!generations)
		return false;
	device->generations = generations;
	for (uint32_t i = device->table_size; i < size; i++) {
		table[i] = NULL;
		generations[i] = 0;
	}
	device->table_size = size;
	return true;
}

enum mc_status work_table_add(struct rdma_device *device, struct queue_pair *pair)
{
	uint32_t slot = 0;

	while (slot < device->table_size && device->table[slot])
		slot++;
	if (slot == device->table_size && !table_grow(device))
		return MC_NO_MEMORY;
	device->table[slot] = pair;
	/* A completion that comes late must not be taken for one of the next in this slot. */
	pair->id = (uint32_t)++device->generations[slot] << 16 | slot;
	return MC_OK;
}

static struct queue_pair *table_find(const struct rdma_device *device, uint32_t id)
{
	uint32_t slot = id & 0xffff;
	struct queue_pair *pair = slot < device->table_size ? device->table[slot] : NULL;

	return pair && pair->id == id ? pair : NULL;
}

void work_table_remove(struct rdma_device *device, struct queue_pair *pair)
{
	if (table_find(device, pair->id) == pair)
		device->table[pair->id & 0xffff] = NULL;
}

/* --- in ----------------------------------------------------------------------- */

static struct work *work_at(const struct queue_pair *pair, uint32_t sequence)
{
	return &pair->ring[sequence & pair->ring_mask];
}

static void list_dirty(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;

	if (pair->listed)
		return;
	pair->listed = true;
	pair->dirty_next = device->dirty;
	device->dirty = pair;
}

static void append(struct queue_pair *pair, struct work work)
{
	*work_at(pair, pair->tail++) = work;
	list_dirty(pair);
}

/* The last place of a send queue is kept for the mark. */
static bool has_room(const struct queue_pair *pair)
{
	return pair->tail - pair->head < pair->depth - 1 && pair->completion->credits > 0;
}

bool work_take(struct endpoint *endpoint, struct fabric_slice *slice, uint32_t rkey)
{
	const struct region *region = slice->key;

	MUST(endpoint->state != ENDPOINT_ENDING && !endpoint->leaving);
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[(endpoint->turn + i) % endpoint->qp_count];
		if (!has_room(pair))
			continue;
		pair->completion->credits--;
		append(pair,
		       (struct work){slice, region->mrs[endpoint->device->index]->lkey, rkey});
		return true;
	}
	return false;
}

void work_prove(struct queue_pair *pair)
{
	MUST(pair->tail == pair->head);
	append(pair, (struct work){.slice = NULL});
}

/* --- out ---------------------------------------------------------------------- */

static void fill(const struct queue_pair *pair, uint32_t sequence, struct ibv_send_wr *wr,
		 struct ibv_sge *sge)
{
	const struct work *work = work_at(pair, sequence);
	const struct fabric_slice *slice = work->slice;

	*wr = (struct ibv_send_wr){
		.wr_id = (uint64_t)pair->id << 32 | sequence,
		.next = wr + 1,
		.opcode = IBV_WR_RDMA_WRITE,
	};
	if (!slice)
		return;
	*sge = (struct ibv_sge){(uintptr_t)slice->local, slice->length, work->lkey};
	wr->sg_list = sge;
	wr->num_sge = 1;
	wr->wr.rdma.remote_addr = slice->remote;
	wr->wr.rdma.rkey = work->rkey;
	if (slice->opcode == FABRIC_READ)
		wr->opcode = IBV_WR_RDMA_READ;
	else if (slice->length <= pair->inline_max)
		wr->send_flags = IBV_SEND_INLINE;
}

/*
 * One completion for a chain, and one for each quarter of the queue, so that
 * places come back before it is full.  A proof always has its own.
 */
static uint32_t fill_chain(struct queue_pair *pair, struct ibv_send_wr *wrs, struct ibv_sge *sges)
{
	uint32_t count = pair->tail - pair->posted;

	if (count > RDMA_CHAIN_MAX)
		count = RDMA_CHAIN_MAX;
	for (uint32_t i = 0; i < count; i++) {
		fill(pair, pair->posted + i, &wrs[i], &sges[i]);
		if (++pair->unsignalled < pair->depth / 4 && i + 1 < count && wrs[i].num_sge)
			continue;
		pair->unsignalled = 0;
		wrs[i].send_flags |= IBV_SEND_SIGNALED;
	}
	wrs[count - 1].next = NULL;
	return count;
}

static bool post_chain(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	struct ibv_send_wr *bad = NULL;
	uint32_t count = fill_chain(pair, device->wrs, device->sges);
	int error = device->verbs->post_send(pair->qp, device->wrs, &bad);

	if (!error) {
		pair->posted += count;
		return true;
	}
	(void)verbs_failed(device, "post_send", error);
	if (bad >= device->wrs && bad < device->wrs + count)
		pair->posted += (uint32_t)(bad - device->wrs);
	return false;
}

static void post(struct queue_pair *pair)
{
	while (pair->posted != pair->tail) {
		if (post_chain(pair))
			continue;
		endpoint_fail(pair->endpoint, MC_UNREACHABLE, true);
		return;
	}
}

void work_post(struct rdma_device *device)
{
	struct queue_pair *pair = device->dirty;

	device->dirty = NULL;
	while (pair) {
		struct queue_pair *next = pair->dirty_next;
		pair->listed = false;
		if (pair->endpoint->state == ENDPOINT_READY)
			post(pair);
		pair = next;
	}
}

void work_ready(struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->qp_count && endpoint->peer; i++)
		list_dirty(&endpoint->qps[i]);
	work_post(endpoint->device);
}

void work_unlist(struct queue_pair *pair)
{
	struct queue_pair **at = &pair->endpoint->device->dirty;

	while (*at && *at != pair)
		at = &(*at)->dirty_next;
	if (*at)
		*at = pair->dirty_next;
}

bool work_mark(struct queue_pair *pair)
{
	struct rdma_device *device = pair->endpoint->device;
	struct ibv_send_wr *bad;
	struct ibv_send_wr *wr = &device->wrs[0];

	MUST(pair->posted == pair->tail && !pair->marked);
	*work_at(pair, pair->tail) = (struct work){.slice = NULL};
	fill(pair, pair->tail, wr, &device->sges[0]);
	wr->next = NULL;
	wr->send_flags = IBV_SEND_SIGNALED;
	if (device->verbs->post_send(pair->qp, wr, &bad))
		return false;
	pair->marked = true;
	pair->posted = ++pair->tail;
	return true;
}

/* --- completions ---------------------------------------------------------------- */

/* What a failed work request means for a slice, and (broken) for its path. */
static const struct verdict {
	enum mc_status status;
	bool broken;
} verdicts[] = {
	[IBV_WC_SUCCESS] = {MC_OK, false},
	[IBV_WC_LOC_LEN_ERR] = {MC_IO, false},
	[IBV_WC_LOC_QP_OP_ERR] = {MC_IO, false},
	[IBV_WC_LOC_EEC_OP_ERR] = {MC_IO, false},
	[IBV_WC_LOC_PROT_ERR] = {MC_IO, false},
	[IBV_WC_WR_FLUSH_ERR] = {MC_UNREACHABLE, false},
	[IBV_WC_MW_BIND_ERR] = {MC_IO, false},
	[IBV_WC_BAD_RESP_ERR] = {MC_PROTOCOL, true},
	[IBV_WC_LOC_ACCESS_ERR] = {MC_IO, false},
	[IBV_WC_REM_INV_REQ_ERR] = {MC_ACCESS, false},
	[IBV_WC_REM_ACCESS_ERR] = {MC_ACCESS, false},
	[IBV_WC_REM_OP_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_RETRY_EXC_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_RNR_RETRY_EXC_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_LOC_RDD_VIOL_ERR] = {MC_IO, true},
	[IBV_WC_REM_INV_RD_REQ_ERR] = {MC_IO, true},
	[IBV_WC_REM_ABORT_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_INV_EECN_ERR] = {MC_IO, true},
	[IBV_WC_INV_EEC_STATE_ERR] = {MC_IO, true},
	[IBV_WC_FATAL_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_RESP_TIMEOUT_ERR] = {MC_UNREACHABLE, true},
	[IBV_WC_GENERAL_ERR] = {MC_IO, true},
};

static struct verdict verdict_of(enum ibv_wc_status status)
{
	if ((size_t)status < sizeof(verdicts) / sizeof(verdicts[0]) &&
	    (status == IBV_WC_SUCCESS || verdicts[status].status != MC_OK))
		return verdicts[status];
	return (struct verdict){MC_IO, true};
}

/* What was flushed ends as what ended its endpoint says, or by its own deadline. */
static enum mc_status status_of(const struct endpoint *endpoint, const struct fabric_slice *slice,
				enum mc_status status)
{
	if (status != MC_UNREACHABLE)
		return status;
	if (endpoint->state == ENDPOINT_ENDING && endpoint->status == MC_CANCELLED)
		return MC_CANCELLED;
	if (slice->deadline_ns && slice->deadline_ns <= clock_ns())
		return MC_TIMEOUT;
	return MC_UNREACHABLE;
}

static void work_end(struct queue_pair *pair, struct work *work, enum mc_status status,
		     struct rdma_ended *ended)
{
	struct endpoint *endpoint = pair->endpoint;

	pair->completion->credits++;
	if (work->slice)
		rdma_ended_add(ended, endpoint->peer, work->slice,
			       status_of(endpoint, work->slice, status));
	else if (!status)
		endpoint_proved(endpoint);
}

static void note_failure(struct endpoint *endpoint, const struct ibv_wc *wc,
			 const struct verdict *verdict)
{
	if (endpoint->state == ENDPOINT_ENDING)
		return;
	if (verdict->broken)
		control_path_news(endpoint, PATH_WORK_FAILED, wc);
	log_debug("rdma work failed device=%s peer=%s remote=%s wc_status=%d vendor=%#x",
		  endpoint->device->name, endpoint->peer->name,
		  endpoint->peer->devices[endpoint->remote], (int)wc->status, wc->vendor_err);
	endpoint_fail(endpoint, MC_UNREACHABLE, verdict->broken);
}

void work_retire(struct completion *completion, const struct ibv_wc *wc, struct rdma_ended *ended)
{
	struct rdma_device *device = completion->device;
	struct queue_pair *pair = table_find(device, (uint32_t)(wc->wr_id >> 32));
	uint32_t sequence = (uint32_t)wc->wr_id;
	struct verdict verdict = verdict_of(wc->status);

	/* Of a queue pair that was given up. */
	if (!pair || sequence - pair->head >= pair->posted - pair->head)
		return;
	struct endpoint *endpoint = pair->endpoint;
	if (verdict.status)
		note_failure(endpoint, wc, &verdict);
	while (pair->head != sequence)
		work_end(pair, work_at(pair, pair->head++), MC_OK, ended);
	work_end(pair, work_at(pair, pair->head++), verdict.status, ended);
	if ((endpoint->state == ENDPOINT_ENDING || endpoint->leaving) && work_idle(endpoint))
		control_queue(device->fabric, endpoint);
}

/* --- the end ---------------------------------------------------------------------- */

void work_abandon(struct queue_pair *pair, bool all, struct rdma_ended *ended)
{
	if (all)
		for (; pair->head != pair->posted; pair->head++)
			work_end(pair, work_at(pair, pair->head), MC_UNREACHABLE, ended);
	for (; pair->tail != pair->posted; pair->tail--)
		work_end(pair, work_at(pair, pair->tail - 1), MC_UNREACHABLE, ended);
}

bool work_idle(const struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++)
		if (endpoint->qps[i].head != endpoint->qps[i].tail)
			return false;
	return true;
}

void work_withdraw(struct endpoint *endpoint, const struct fabric_slice *slice, uint64_t now_ns,
		   struct rdma_ended *ended)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		struct queue_pair *pair = &endpoint->qps[i];
		for (uint32_t at = pair->posted; at != pair->tail; at++) {
			struct work *work = work_at(pair, at);
			bool late = work->slice && work->slice->deadline_ns &&
				    work->slice->deadline_ns <= now_ns;
			if (!work->slice || (slice ? work->slice != slice : !late))
				continue;
			rdma_ended_add(ended, endpoint->peer, work->slice,
				       slice ? MC_CANCELLED : MC_TIMEOUT);
			/* Its place becomes one more proof. */
			*work = (struct work){.slice = NULL};
		}
	}
}

bool work_overdue(const struct endpoint *endpoint, uint64_t now_ns)
{
	for (uint32_t i = 0; i < endpoint->qp_count; i++) {
		const struct queue_pair *pair = &endpoint->qps[i];
		for (uint32_t at = pair->head; at != pair->posted; at++) {
			const struct fabric_slice *slice = work_at(pair, at)->slice;
			if (slice && slice->deadline_ns && slice->deadline_ns <= now_ns)
				return true;
		}
	}
	return false;
}
