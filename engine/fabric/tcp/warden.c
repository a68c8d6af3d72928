#include "engine/fabric/tcp/warden.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/tcp/visitor.h"

#define DEAF_NS 100000000ull /* out of descriptors: accept again then */

static void accepted(struct loop_op *op, int result)
{
	struct warden *warden = container_of(op, struct warden, accepting);

	if (result >= 0 && warden->visitor_count >= WARDEN_VISITORS_MAX) {
		log_warn("mc-tcp-serve: refused a connection visitors=%u", warden->visitor_count);
		close(result);
		return;
	}
	if (result >= 0) {
		visitor_new(warden, result);
		return;
	}
	if (result == -ECONNABORTED || result == -EINTR)
		return;
	/* The listener is shut down, or there are no descriptors: don't ask in a circle. */
	op->kind = LOOP_NONE;
	if (result == -EINVAL || result == -ECANCELED)
		return;
	log_warn("mc-tcp-serve: can't accept connections for now errno=%d", -result);
	warden->loop.alarm_ns = clock_ns() + DEAF_NS;
}

static void start(void *context)
{
	struct warden *warden = context;

	warden->accepting.done = accepted;
	loop_accept(&warden->loop, &warden->accepting, warden->listen_fd);
}

static void woken(void *context)
{
	struct warden *warden = context;

	pthread_mutex_lock(&warden->lock);
	bool stopping = warden->stopping;
	pthread_mutex_unlock(&warden->lock);
	visitors_look(warden, stopping ? LEAVE_ALL : LEAVE_WITHDRAWN);
	if (!stopping && warden->accepting.kind == LOOP_NONE)
		loop_accept(&warden->loop, &warden->accepting, warden->listen_fd);
	/* Who waits for an entry may have missed that its last user went. */
	WITH_LOCK(&warden->lock);
	pthread_cond_broadcast(&warden->changed);
}

static void turn(void *context)
{
	struct warden *warden = context;

	if (warden->leaving_count > 0)
		visitors_look(warden, LEAVE_NONE);
	if (warden->visitors)
		return;
	WITH_LOCK(&warden->lock);
	warden->empty = warden->stopping;
	if (warden->empty)
		pthread_cond_broadcast(&warden->changed);
}

enum mc_status warden_start(struct warden *warden, struct vault *vault, int listen_fd, bool plain)
{
	struct loop_config config = {
		.name = "mc-tcp-serve",
		.start = start,
		.woken = woken,
		.turn = turn,
		.context = warden,
		.plain = plain,
	};

	*warden = (struct warden){.vault = vault, .listen_fd = listen_fd};
	pthread_mutex_init(&warden->lock, NULL);
	pthread_cond_init(&warden->changed, NULL);
	return loop_open(&warden->loop, &config);
}

void warden_stop(struct warden *warden)
{
	shutdown(warden->listen_fd, SHUT_RDWR);
	pthread_mutex_lock(&warden->lock);
	warden->stopping = true;
	pthread_mutex_unlock(&warden->lock);
	loop_wake(&warden->loop);
	pthread_mutex_lock(&warden->lock);
	while (!warden->empty)
		pthread_cond_wait(&warden->changed, &warden->lock);
	pthread_mutex_unlock(&warden->lock);
	loop_close(&warden->loop);
	close(warden->listen_fd);
	pthread_cond_destroy(&warden->changed);
	pthread_mutex_destroy(&warden->lock);
}

void warden_withdrawn(struct warden *warden, struct vault_entry *entry)
{
	loop_wake(&warden->loop);
	WITH_LOCK(&warden->lock);
	while (atomic_load(&entry->users) > 0)
		pthread_cond_wait(&warden->changed, &warden->lock);
}

uint32_t warden_count(struct warden *warden)
{
	return atomic_load(&warden->count);
}
