#include "engine/transport/poller.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

#define POLLER_BATCH 64

static void drain(struct watch *watch)
{
	uint64_t count;

	if (read(watch->fd, &count, sizeof(count)) < 0)
		MUST(errno == EAGAIN || errno == EINTR);
}

static void woken(struct watch *watch, uint32_t events)
{
	(void)events;
	drain(watch);
}

static void rung(struct watch *watch, uint32_t events)
{
	struct poller *poller = container_of(watch, struct poller, timer);

	(void)events;
	drain(watch);
	atomic_store(&poller->alarm_ns, 0);
	poller->alarmed = true;
}

static void *run(void *argument)
{
	struct poller *poller = argument;
	struct epoll_event events[POLLER_BATCH];

	pthread_setname_np(pthread_self(), poller->name);
	while (!atomic_load(&poller->stopping)) {
		int count = epoll_wait(poller->epoll_fd, events, POLLER_BATCH, -1);
		MUST(count >= 0 || errno == EINTR);
		WITH_LOCK(&poller->serving);
		for (int i = 0; i < count; i++) {
			struct watch *watch = events[i].data.ptr;
			if (watch->fd >= 0)
				watch->ready(watch, events[i].events);
		}
		bool alarmed = poller->alarmed;
		poller->alarmed = false;
		poller->turn(poller->context, alarmed);
	}
	WITH_LOCK(&poller->serving);
	poller->turn(poller->context, false);
	return NULL;
}

enum mc_status poller_watch(struct poller *poller, struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};
	int op = watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	MUST(events);
	if (watch->events == events)
		return MC_OK;
	if (epoll_ctl(poller->epoll_fd, op, watch->fd, &event) < 0)
		return mc_status_from_errno(errno);
	watch->events = events;
	return MC_OK;
}

int poller_forget(struct poller *poller, struct watch *watch)
{
	int fd = watch->fd;

	if (watch->events)
		(void)epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	watch->events = 0;
	watch->fd = -1;
	return fd;
}

void poller_wake(struct poller *poller)
{
	uint64_t one = 1;

	if (write(poller->wake.fd, &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
}

void poller_alarm(struct poller *poller, uint64_t at_ns)
{
	uint64_t set_ns = atomic_load(&poller->alarm_ns);
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u),
					       .tv_nsec = (long)(at_ns % 1000000000u)}};

	if (at_ns == 0 || (set_ns != 0 && set_ns <= at_ns))
		return;
	atomic_store(&poller->alarm_ns, at_ns);
	int error = timerfd_settime(poller->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
	MUST(error == 0);
}

static void close_all(struct poller *poller)
{
	if (poller->timer.fd >= 0)
		close(poller->timer.fd);
	if (poller->wake.fd >= 0)
		close(poller->wake.fd);
	if (poller->epoll_fd >= 0)
		close(poller->epoll_fd);
}

enum mc_status poller_start(struct poller *poller, const char *name,
			    void (*turn)(void *context, bool alarmed), void *context)
{
	enum mc_status status;

	*poller = (struct poller){
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.turn = turn,
		.context = context,
		.wake = {.ready = woken, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)},
		.timer = {.ready = rung,
			  .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)},
	};
	snprintf(poller->name, sizeof(poller->name), "%s", name);
	pthread_mutex_init(&poller->serving, NULL);
	status = MC_NO_SPACE;
	if (poller->epoll_fd < 0 || poller->wake.fd < 0 || poller->timer.fd < 0)
		goto err_close;
	status = poller_watch(poller, &poller->wake, EPOLLIN);
	if (!status)
		status = poller_watch(poller, &poller->timer, EPOLLIN);
	if (status)
		goto err_close;
	status = mc_status_from_errno(thread_start(&poller->thread, run, poller));
	if (status)
		goto err_close;
	return MC_OK;
err_close:
	close_all(poller);
	return status;
}

void poller_stop(struct poller *poller)
{
	atomic_store(&poller->stopping, true);
	poller_wake(poller);
	pthread_join(poller->thread, NULL);
	pthread_mutex_destroy(&poller->serving);
	close_all(poller);
}
