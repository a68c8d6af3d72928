#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/nvmeof/internal.h"

/* What completions carry that are no operation's. */
#define TAG_NOTHING ((void *)1)
#define TAG_ALARM   ((void *)2)

static void list_init(struct transfer_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void list_add(struct transfer_list *list, struct transfer *transfer)
{
	transfer->next = NULL;
	*list->tail = transfer;
	list->tail = &transfer->next;
}

static void list_remove(struct transfer_list *list, const struct transfer *transfer)
{
	struct transfer **at = &list->head;

	while (*at != transfer)
		at = &(*at)->next;
	*at = transfer->next;
	if (!*at)
		list->tail = at;
}

void work_init(struct nvmeof *fabric)
{
	list_init(&fabric->queue);
	list_init(&fabric->ended);
	for (uint32_t i = 0; i < SLICES_MAX; i++) {
		fabric->transfers[i].next = fabric->free_transfers;
		fabric->free_transfers = &fabric->transfers[i];
	}
	for (uint32_t i = 0; i < OPERATIONS_MAX; i++) {
		fabric->operations[i].next = fabric->free_operations;
		fabric->free_operations = &fabric->operations[i];
	}
	for (uint32_t i = 0; i < BOUNCES_MAX; i++)
		fabric->free_bounces[i] = fabric->bounces + (size_t)i * BOUNCE_SIZE;
	fabric->free_bounce_count = BOUNCES_MAX;
}

/* Tell the kernel of all that was prepared. */
static void flush(struct nvmeof *fabric)
{
	while (io_uring_sq_ready(&fabric->ring)) {
		/* Only memory can be short, and only for a while. */
		if (io_uring_submit(&fabric->ring) < 0)
			sched_yield();
	}
}

/* There are more entries than operations; what is prepared besides makes way. */
static struct io_uring_sqe *next_sqe(struct nvmeof *fabric)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&fabric->ring);

	if (!sqe) {
		flush(fabric);
		sqe = io_uring_get_sqe(&fabric->ring);
	}
	MUST(sqe);
	return sqe;
}

void work_kick(struct nvmeof *fabric)
{
	struct io_uring_sqe *sqe = next_sqe(fabric);

	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, TAG_NOTHING);
	flush(fabric);
}

static void fail(struct transfer *transfer, enum mc_status status)
{
	if (transfer->status == MC_OK)
		transfer->status = status;
}

/* It ends when it is not queued and nothing of it is in flight. */
static void settle(struct nvmeof *fabric, struct transfer *transfer)
{
	const struct fabric_slice *slice = transfer->slice;

	if (transfer->queued || transfer->operations)
		return;
	list_add(&fabric->ended, transfer);
	if (transfer->status != MC_OK) {
		fabric->counters.slices_failed++;
		return;
	}
	fabric->counters.slices_done++;
	if (slice->opcode == FABRIC_READ)
		fabric->counters.bytes_read += slice->length;
	else
		fabric->counters.bytes_written += slice->length;
}

/* -- operations -- */

/*
 * The registered buffer that this memory is in, SLOT_NONE where it must do without:
 * Linux 6.12 (not 6.18) wants each page of a registered buffer to be whole blocks.
 */
static uint32_t slot_of(struct nvmeof *fabric, const struct operation *operation,
			const uint8_t *memory, uint32_t length)
{
	const struct fabric_slice *slice = operation->transfer->slice;

	if (operation->bounce || ((uintptr_t)memory & (operation->file->geometry.unit - 1)))
		return SLOT_NONE;
	return region_slot(fabric, (struct nvmeof_region *)slice->key, memory, length);
}

static void prepare(struct nvmeof *fabric, struct operation *operation)
{
	const struct step *step = &operation->step;
	const struct fabric_slice *slice = operation->transfer->slice;
	const struct nvmeof_file *file = operation->file;
	struct io_uring_sqe *sqe = next_sqe(fabric);
	uint8_t *memory =
		(operation->bounce ? operation->bounce : operation->memory) + operation->moved;
	uint32_t length = step->length - operation->moved;
	uint64_t offset = step->offset + operation->moved;
	uint32_t slot = slot_of(fabric, operation, memory, length);
	int fd = step->kind == STEP_END ? file->ends_fd : file->fd;
	bool fixed = slot != SLOT_NONE;

	if (slice->opcode == FABRIC_READ && fixed)
		io_uring_prep_read_fixed(sqe, fd, memory, length, offset, (int)slot);
	else if (slice->opcode == FABRIC_READ)
		io_uring_prep_read(sqe, fd, memory, length, offset);
	else if (fixed)
		io_uring_prep_write_fixed(sqe, fd, memory, length, offset, (int)slot);
	else
		io_uring_prep_write(sqe, fd, memory, length, offset);
	/* What goes over the page cache must be at the target too when it is done. */
	if (step->kind == STEP_END)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, operation);
}

static void release(struct nvmeof *fabric, struct operation *operation)
{
	if (operation->bounce)
		fabric->free_bounces[fabric->free_bounce_count++] = operation->bounce;
	operation->transfer = NULL;
	operation->bounce = NULL;
	operation->next = fabric->free_operations;
	fabric->free_operations = operation;
}

/* The file that holds this offset of the segment; there is one. */
static struct nvmeof_file *file_at(const struct nvmeof_peer *peer, uint64_t offset)
{
	uint32_t low = 0, high = peer->file_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (peer->files[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return &peer->files[low];
}

static uint32_t in_file(const struct nvmeof_file *file, uint64_t offset, uint32_t length)
{
	uint64_t left = file->length - (offset - file->start);

	return length < left ? length : (uint32_t)left;
}

/* Whether this part of a slice can be done now. */
static enum mc_status check_part(struct nvmeof_file *file, enum fabric_opcode opcode,
				 uint64_t offset, uint32_t length)
{
	enum mc_status status = nvmeof_file_ready(file);

	if (status != MC_OK)
		return status;
	if (opcode == FABRIC_WRITE && !file->writable)
		return MC_ACCESS;
	return plan_allowed(&file->geometry, opcode, offset, length) ? MC_OK : MC_INVALID;
}

/*
 * Make the next operation of a transfer, or let it fail: another may have shown
 * meanwhile that the file is gone.  False: nothing is free for it.
 */
static bool issue_one(struct nvmeof *fabric, struct transfer *transfer)
{
	const struct fabric_slice *slice = transfer->slice;
	struct operation *operation = fabric->free_operations;
	uint64_t at = slice->remote + transfer->issued;
	struct nvmeof_file *file = file_at(transfer->peer, at);
	uint8_t *memory = (uint8_t *)slice->local + transfer->issued;
	uint32_t left = in_file(file, at, slice->length - transfer->issued);

	transfer->status = check_part(file, slice->opcode, at - file->start, left);
	if (transfer->status != MC_OK)
		return true;
	struct step step = plan_step(&file->geometry, slice->opcode, at - file->start, left,
				     (uintptr_t)memory);

	if (!operation || (step.kind == STEP_BOUNCE && !fabric->free_bounce_count))
		return false;
	fabric->free_operations = operation->next;
	*operation = (struct operation){
		.transfer = transfer, .file = file, .step = step, .memory = memory};
	if (step.kind == STEP_BOUNCE) {
		operation->bounce = fabric->free_bounces[--fabric->free_bounce_count];
		if (slice->opcode == FABRIC_WRITE)
			memcpy(operation->bounce, memory, step.count);
	}
	transfer->issued += step.count;
	transfer->operations++;
	file->operations++;
	prepare(fabric, operation);
	return true;
}

static void unqueue(struct nvmeof *fabric, struct transfer *transfer)
{
	list_remove(&fabric->queue, transfer);
	transfer->queued = false;
	settle(fabric, transfer);
}

static bool wants_more(const struct transfer *transfer)
{
	return transfer->status == MC_OK && transfer->issued < transfer->slice->length;
}

void work_issue(struct nvmeof *fabric)
{
	struct transfer *transfer = fabric->queue.head;

	while (transfer) {
		if (wants_more(transfer)) {
			if (!issue_one(fabric, transfer))
				break;
			continue;
		}
		unqueue(fabric, transfer);
		transfer = fabric->queue.head;
	}
	flush(fabric);
}

/* -- transfers -- */

/* Whether all of a slice can be done, before any of it is. */
static enum mc_status check(struct nvmeof_peer *peer, const struct fabric_slice *slice)
{
	uint64_t at = slice->remote;
	uint32_t left = slice->length;

	if (at > peer->length || left > peer->length - at)
		return MC_ACCESS;
	while (left) {
		struct nvmeof_file *file = file_at(peer, at);
		uint32_t part = in_file(file, at, left);
		enum mc_status status = check_part(file, slice->opcode, at - file->start, part);
		if (status != MC_OK)
			return status;
		at += part;
		left -= part;
	}
	return MC_OK;
}

static void set_alarm(struct nvmeof *fabric, uint64_t deadline_ns)
{
	if (!deadline_ns || (fabric->alarm_ns && fabric->alarm_ns <= deadline_ns))
		return;
	struct io_uring_sqe *sqe = next_sqe(fabric);
	fabric->alarm_ns = deadline_ns;
	fabric->alarm = (struct __kernel_timespec){
		.tv_sec = (int64_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long long)(deadline_ns % 1000000000u),
	};
	io_uring_prep_timeout(sqe, &fabric->alarm, 0, IORING_TIMEOUT_ABS);
	io_uring_sqe_set_data(sqe, TAG_ALARM);
}

bool work_begin(struct nvmeof_peer *peer, struct fabric_slice *slice)
{
	struct nvmeof *fabric = container_of(peer->base.fabric, struct nvmeof, base);
	struct transfer *transfer = fabric->free_transfers;

	if (!transfer)
		return false;
	fabric->free_transfers = transfer->next;
	*transfer = (struct transfer){.slice = slice, .peer = peer, .status = check(peer, slice)};
	transfer->queued = transfer->status == MC_OK;
	if (transfer->queued)
		list_add(&fabric->queue, transfer);
	else
		settle(fabric, transfer);
	peer->slices++;
	fabric->counters.slices++;
	set_alarm(fabric, slice->deadline_ns);
	return true;
}

void work_cancel(struct nvmeof *fabric, struct transfer *transfer, enum mc_status status)
{
	if (transfer->status != MC_OK)
		return;
	fail(transfer, status);
	if (transfer->queued)
		unqueue(fabric, transfer);
	for (uint32_t i = 0; transfer->operations && i < OPERATIONS_MAX; i++) {
		if (fabric->operations[i].transfer != transfer)
			continue;
		struct io_uring_sqe *sqe = next_sqe(fabric);
		io_uring_prep_cancel(sqe, &fabric->operations[i], 0);
		io_uring_sqe_set_data(sqe, TAG_NOTHING);
	}
}

/* Time has come for some: end them, and set the alarm for the next. */
static void expire(struct nvmeof *fabric)
{
	uint64_t now = clock_ns(), next = UINT64_MAX;

	fabric->alarm_ns = 0;
	for (uint32_t i = 0; i < SLICES_MAX; i++) {
		struct transfer *transfer = &fabric->transfers[i];
		if (!transfer->slice || !transfer->slice->deadline_ns || transfer->status != MC_OK)
			continue;
		if (transfer->slice->deadline_ns <= now)
			work_cancel(fabric, transfer, MC_TIMEOUT);
		else if (transfer->slice->deadline_ns < next)
			next = transfer->slice->deadline_ns;
	}
	if (next != UINT64_MAX)
		set_alarm(fabric, next);
}

/* -- completions -- */

/* The rest of a short operation can be asked for where it is whole blocks. */
static bool can_go_on(const struct operation *operation)
{
	const struct geometry *geometry = &operation->file->geometry;

	return operation->step.kind == STEP_END || (operation->moved & (geometry->unit - 1)) == 0;
}

static enum mc_status file_ended(const struct operation *operation)
{
	operation->file->suspect = true;
	log_warn("a file ends before the length that its segment says path=%s length=%" PRIu64
		 " ends=%" PRIu64,
		 operation->file->path, operation->file->length,
		 operation->step.offset + operation->moved);
	return MC_IO;
}

/* True: another operation is under way for the rest of it. */
static bool goes_on(struct nvmeof *fabric, struct operation *operation, int result)
{
	struct transfer *transfer = operation->transfer;
	const struct step *step = &operation->step;

	if (result > 0)
		operation->moved += (uint32_t)result;
	if (operation->moved >= step->skip + step->count)
		return false;
	if (result != -EAGAIN && result != -EINTR) {
		if (result < 0)
			fail(transfer, nvmeof_file_failed(operation->file, -result));
		else if (result == 0 || !can_go_on(operation))
			fail(transfer, file_ended(operation));
	}
	if (transfer->status != MC_OK)
		return false;
	prepare(fabric, operation);
	return true;
}

static void completed(struct nvmeof *fabric, struct operation *operation, int result)
{
	struct transfer *transfer = operation->transfer;

	if (goes_on(fabric, operation, result))
		return;
	if (operation->bounce && transfer->status == MC_OK &&
	    transfer->slice->opcode == FABRIC_READ)
		memcpy(operation->memory, operation->bounce + operation->step.skip,
		       operation->step.count);
	operation->file->operations--;
	release(fabric, operation);
	transfer->operations--;
	settle(fabric, transfer);
}

void work_reap(struct nvmeof *fabric)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&fabric->ring, &cqe) == 0) {
		void *tag = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		io_uring_cqe_seen(&fabric->ring, cqe);
		if (tag == TAG_ALARM)
			expire(fabric);
		else if (tag != TAG_NOTHING)
			completed(fabric, tag, result);
	}
	work_issue(fabric);
}
