/*
 * engine/loop/uring.c -- the loop on io_uring
 *
 * One ring of one thread (SINGLE_ISSUER), whose completions are worked off when
 * that thread waits for them (DEFER_TASKRUN): no interrupt of other work, and
 * no lock.  A flag in memory (TASKRUN) says that there is work, for those who spin.
 * Kernels before 6.1 lack some of it and get a plain ring.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/loop/loop.h"

#define ENTRIES 1024u
#define BATCH	64u

struct uring {
	struct io_uring ring;
	uint64_t woken; /* the counter that the eventfd is read into */
};

static const unsigned flag_sets[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	0,
};

/* A queue that is full is handed to the kernel, which takes it at once. */
static struct io_uring_sqe *next_sqe(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	while (!sqe) {
		(void)io_uring_submit(&uring->ring);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	return sqe;
}

static void watch_wake(struct loop *loop)
{
	struct uring *uring = loop->backend;
	struct io_uring_sqe *sqe = next_sqe(uring);

	io_uring_prep_read(sqe, loop->wake_fd, &uring->woken, sizeof(uring->woken), 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static enum mc_status uring_open(struct loop *loop)
{
	CLEANUP_FREE struct uring *uring = calloc(1, sizeof(*uring));
	int rc = -1;

	if (!uring)
		return MC_NO_MEMORY;
	for (size_t i = 0; i < ARRAY_SIZE(flag_sets) && rc < 0; i++)
		rc = io_uring_queue_init(ENTRIES, &uring->ring, flag_sets[i]);
	if (rc < 0)
		return MC_NOT_SUPPORTED;
	/* Accepting, one wait with a deadline, sendmsg: a kernel that has these has 5.19. */
	if (!(uring->ring.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(&uring->ring);
		return MC_NOT_SUPPORTED;
	}
	loop->backend = STEAL(uring);
	watch_wake(loop);
	return MC_OK;
}

static void uring_close(struct loop *loop)
{
	struct uring *uring = loop->backend;

	io_uring_queue_exit(&uring->ring);
	free(uring);
}

/* The ring waits for blocking sockets, and answers EAGAIN for others. */
static void uring_begin(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe = next_sqe(loop->backend);

	switch (op->kind) {
	case LOOP_ACCEPT:
		io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	case LOOP_RECEIVE:
		io_uring_prep_recv(sqe, op->fd, op->buffer, op->size, op->flags);
		break;
	case LOOP_SEND:
		io_uring_prep_sendmsg(sqe, op->fd, op->message, MSG_NOSIGNAL | MSG_WAITALL);
		break;
	case LOOP_NONE:
		MUST(op->kind != LOOP_NONE);
	}
	io_uring_sqe_set_data(sqe, op);
}

static void uring_prepare(int listen_fd)
{
	int flags = fcntl(listen_fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(listen_fd, F_SETFL, flags & ~O_NONBLOCK);
}

static void ended(struct loop *loop, struct loop_op *op, int result)
{
	bool stopping = atomic_load(&loop->stopping);

	if (!op) {
		if (!stopping)
			watch_wake(loop);
		loop->config.woken(loop->config.context);
		return;
	}
	bool accepts = op->kind == LOOP_ACCEPT;
	loop_ended(op, result);
	if (accepts && op->kind == LOOP_ACCEPT && !stopping)
		uring_begin(loop, op);
}

/* Nothing but a look at memory, unless there is something. */
static void spin_for_completion(struct loop *loop)
{
	struct uring *uring = loop->backend;
	struct io_uring_cqe *cqe;
	bool found;

	if (!loop_may_spin(loop))
		return;
	(void)io_uring_submit(&uring->ring);
	do
		found = io_uring_peek_cqe(&uring->ring, &cqe) == 0;
	while (spin_on(&loop->spin, found, clock_ns()));
}

static void uring_wait(struct loop *loop, uint64_t alarm_ns)
{
	struct uring *uring = loop->backend;
	struct io_uring_cqe *cqe, *cqes[BATCH];
	uint64_t now = alarm_ns ? clock_ns() : 0;
	uint64_t left = alarm_ns > now ? alarm_ns - now : 0;
	struct __kernel_timespec limit = {.tv_sec = (int64_t)(left / 1000000000u),
					  .tv_nsec = (long long)(left % 1000000000u)};

	spin_for_completion(loop);
	if (alarm_ns)
		(void)io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &limit, NULL);
	else
		(void)io_uring_submit_and_wait(&uring->ring, 1);
	unsigned count = io_uring_peek_batch_cqe(&uring->ring, cqes, BATCH);
	for (unsigned i = 0; i < count; i++) {
		struct loop_op *op = io_uring_cqe_get_data(cqes[i]);
		int result = cqes[i]->res;
		io_uring_cqe_seen(&uring->ring, cqes[i]);
		ended(loop, op, result);
	}
}

const struct loop_ops loop_uring_ops = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.prepare = uring_prepare,
	.begin = uring_begin,
	.wait = uring_wait,
};
