#include "engine/loop/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

enum { STARTING, RUNNING, FAILED };

static void told_state(struct loop *loop, int state)
{
	pthread_mutex_lock(&loop->lock);
	loop->state = state;
	pthread_cond_signal(&loop->started);
	pthread_mutex_unlock(&loop->lock);
}

/* A ring belongs to the thread that made it, so the thread opens its own. */
static bool open_backend(struct loop *loop)
{
	loop->ops = &loop_uring_ops;
	if (!loop->config.plain && loop->ops->open(loop) == MC_OK)
		return true;
	if (!loop->config.plain)
		log_info("%s: no io_uring here, epoll does its work", loop->config.name);
	loop->ops = &loop_epoll_ops;
	return loop->ops->open(loop) == MC_OK;
}

static void *loop_main(void *argument)
{
	struct loop *loop = argument;

	pthread_setname_np(pthread_self(), loop->config.name);
	if (!open_backend(loop)) {
		told_state(loop, FAILED);
		return NULL;
	}
	told_state(loop, RUNNING);
	loop->config.start(loop->config.context);
	while (!atomic_load(&loop->stopping)) {
		loop->ops->wait(loop, loop->alarm_ns);
		if (loop->alarm_ns && loop->alarm_ns <= clock_ns()) {
			loop->alarm_ns = 0;
			loop->config.woken(loop->config.context);
		}
		loop->config.turn(loop->config.context);
	}
	loop->ops->close(loop);
	return NULL;
}

enum mc_status loop_open(struct loop *loop, const struct loop_config *config)
{
	*loop = (struct loop){.config = *config};
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0)
		return MC_NO_SPACE;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->started, NULL);
	bool runs = thread_start(&loop->thread, loop_main, loop) == 0;
	pthread_mutex_lock(&loop->lock);
	while (runs && loop->state == STARTING)
		pthread_cond_wait(&loop->started, &loop->lock);
	bool failed = !runs || loop->state == FAILED;
	pthread_mutex_unlock(&loop->lock);
	if (!failed)
		return MC_OK;
	if (runs)
		pthread_join(loop->thread, NULL);
	close(loop->wake_fd);
	return MC_NO_MEMORY;
}

void loop_close(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	loop_wake(loop);
	pthread_join(loop->thread, NULL);
	close(loop->wake_fd);
	pthread_cond_destroy(&loop->started);
	pthread_mutex_destroy(&loop->lock);
}

void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* A full counter has woken it already. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void begin(struct loop *loop, struct loop_op *op, enum loop_kind kind, int fd)
{
	MUST(op->kind == LOOP_NONE && op->done);
	op->kind = kind;
	op->fd = fd;
	loop->ops->begin(loop, op);
}

void loop_accept(struct loop *loop, struct loop_op *op, int fd)
{
	loop->ops->prepare(fd);
	begin(loop, op, LOOP_ACCEPT, fd);
}

void loop_receive(struct loop *loop, struct loop_op *op, int fd, void *buffer, size_t size,
		  int flags)
{
	op->buffer = buffer;
	op->size = size;
	op->flags = flags;
	begin(loop, op, LOOP_RECEIVE, fd);
}

void loop_send(struct loop *loop, struct loop_op *op, int fd, struct msghdr *message)
{
	op->message = message;
	begin(loop, op, LOOP_SEND, fd);
}

bool loop_may_spin(struct loop *loop)
{
	bool soon = loop->soon;

	loop->soon = false;
	return soon && spin_begin(&loop->spin, clock_ns());
}

void loop_ended(struct loop_op *op, int result)
{
	if (op->kind != LOOP_ACCEPT)
		op->kind = LOOP_NONE;
	op->done(op, result);
}
