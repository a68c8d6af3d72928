/*
 * The thread that does what is slow: handshakes, queue pairs, events of devices,
 * paths that are to be tried again, deadlines, and the end of endpoints.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/rdma/internal.h"

#define EVENT_BATCH 64

/* --- from other threads ---------------------------------------------------------------- */

void control_wake(struct rdma_fabric *fabric)
{
	uint64_t one = 1;

	if (write(fabric->control.wake_fd, &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
}

void control_queue(struct rdma_fabric *fabric, struct endpoint *endpoint)
{
	struct control *control = &fabric->control;

	WITH_LOCK(&control->lock);
	if (endpoint->queued)
		return;
	endpoint->queued = true;
	endpoint->todo_next = NULL;
	if (control->todo_last)
		control->todo_last->todo_next = endpoint;
	else
		control->todo = endpoint;
	control->todo_last = endpoint;
	control_wake(fabric);
}

static struct endpoint *take_todo(struct control *control)
{
	WITH_LOCK(&control->lock);
	struct endpoint *endpoint = control->todo;

	if (!endpoint)
		return NULL;
	control->todo = endpoint->todo_next;
	if (!control->todo)
		control->todo_last = NULL;
	endpoint->queued = false;
	return endpoint;
}

void control_unqueue(struct rdma_fabric *fabric, struct endpoint *endpoint)
{
	struct control *control = &fabric->control;
	struct endpoint *before = NULL;

	WITH_LOCK(&control->lock);
	for (struct endpoint *at = control->todo; at; before = at, at = at->todo_next) {
		if (at != endpoint)
			continue;
		if (before)
			before->todo_next = at->todo_next;
		else
			control->todo = at->todo_next;
		if (control->todo_last == at)
			control->todo_last = before;
		return;
	}
}

static void join(struct rdma_ended *to, struct rdma_ended *from)
{
	if (!from->first)
		return;
	if (to->last)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	*from = (struct rdma_ended){NULL, NULL};
}

void control_tell(struct rdma_fabric *fabric, struct rdma_ended *ended)
{
	if (!ended->first)
		return;
	WITH_LOCK(&fabric->control.lock);
	join(&fabric->control.ended, ended);
	control_wake(fabric);
}

void control_path_news(const struct endpoint *endpoint, enum path_event event,
		       const struct ibv_wc *wc)
{
	struct control *control = &endpoint->device->fabric->control;
	struct path_news *news = &control->news[event];
	const struct rdma_peer *peer = endpoint->peer;

	WITH_LOCK(&control->lock);
	if (news->count++ > 0)
		return;
	snprintf(news->device, sizeof(news->device), "%s", endpoint->device->name);
	snprintf(news->peer, sizeof(news->peer), "%s", peer->name);
	snprintf(news->remote, sizeof(news->remote), "%s", peer->devices[endpoint->remote]);
	news->wc_status = wc ? (int)wc->status : 0;
	news->vendor = wc ? wc->vendor_err : 0;
}

static void tell_all(struct rdma_fabric *fabric)
{
	struct rdma_ended ended = {NULL, NULL};

	pthread_mutex_lock(&fabric->control.lock);
	join(&ended, &fabric->control.ended);
	pthread_mutex_unlock(&fabric->control.lock);
	rdma_ended_tell(fabric, &ended);
}

/* --- endpoints ------------------------------------------------------------------------------ */

static void start_endpoint(struct rdma_fabric *fabric, struct endpoint *endpoint)
{
	enum mc_status status = MC_UNREACHABLE;

	if (atomic_load(&endpoint->device->up))
		status = endpoint_make(endpoint);
	if (!status)
		status = link_begin(fabric, endpoint);
	WITH_LOCK(&endpoint->device->lock);
	if (status)
		endpoint_fail(endpoint, status, true);
	else if (endpoint->state == ENDPOINT_NEW)
		endpoint->state = ENDPOINT_SHAKING;
}

static void end_endpoint(struct rdma_fabric *fabric, struct endpoint *endpoint)
{
	struct rdma_ended ended = {NULL, NULL};

	if (endpoint->deadline_ns == 0)
		endpoint_begin_end(endpoint, &ended);
	if (endpoint->link)
		link_close(fabric, endpoint->link);
	cm_end(endpoint);
	(void)endpoint_finish_end(endpoint, &ended);
	rdma_ended_tell(fabric, &ended);
}

static enum endpoint_state look(struct endpoint *endpoint)
{
	WITH_LOCK(&endpoint->device->lock);
	if (endpoint->leaving && endpoint->state == ENDPOINT_READY && work_idle(endpoint))
		endpoint_fail(endpoint, MC_UNREACHABLE, false);
	return endpoint->state;
}

static void do_todo(struct rdma_fabric *fabric)
{
	struct endpoint *endpoint;

	while ((endpoint = take_todo(&fabric->control))) {
		switch (look(endpoint)) {
		case ENDPOINT_NEW:
			start_endpoint(fabric, endpoint);
			break;
		case ENDPOINT_ENDING:
			end_endpoint(fabric, endpoint);
			break;
		case ENDPOINT_SHAKING:
		case ENDPOINT_READY:
			break;
		}
	}
}

/* --- now and then ------------------------------------------------------------------------------
 */

static void check_endpoint(struct rdma_fabric *fabric, struct endpoint *endpoint, uint64_t now_ns,
			   struct rdma_ended *ended)
{
	if (endpoint->state == ENDPOINT_ENDING) {
		if (endpoint->deadline_ns && now_ns >= endpoint->deadline_ns)
			control_queue(fabric, endpoint);
		return;
	}
	if (!endpoint->peer)
		return;
	if (endpoint->state != ENDPOINT_READY)
		work_withdraw(endpoint, NULL, now_ns, ended);
	else if (work_overdue(endpoint, now_ns))
		endpoint_fail(endpoint, MC_TIMEOUT, false);
}

static void check_device(struct rdma_device *device, uint64_t now_ns)
{
	struct rdma_ended ended = {NULL, NULL};

	pthread_mutex_lock(&device->lock);
	for (struct endpoint *at = device->endpoints; at; at = at->next)
		check_endpoint(device->fabric, at, now_ns, &ended);
	pthread_mutex_unlock(&device->lock);
	control_tell(device->fabric, &ended);
	if (!atomic_load(&device->up))
		device_recover(device);
}

static void take_news(struct control *control, struct path_news news[PATH_EVENTS])
{
	WITH_LOCK(&control->lock);
	memcpy(news, control->news, sizeof(control->news));
	for (enum path_event event = 0; event < PATH_EVENTS; event++)
		control->news[event].count = 0;
}

/* A NIC that fails takes the paths to all peers with it. */
static void log_paths(struct control *control)
{
	static const char *const facts[] = {
		[PATH_WORK_FAILED] = "rdma work failed",
		[PATH_DOWN] = "rdma paths down",
		[PATH_BACK] = "rdma paths work again",
	};
	struct path_news all[PATH_EVENTS];

	take_news(control, all);
	for (enum path_event event = 0; event < PATH_EVENTS; event++) {
		const struct path_news *news = &all[event];
		char why[64] = "";
		if (news->count == 0)
			continue;
		if (news->wc_status)
			snprintf(why, sizeof(why), " wc_status=%d vendor=%#x", news->wc_status,
				 news->vendor);
		log_at(event == PATH_BACK ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		       "%s count=%u, the first: device=%s peer=%s remote=%s%s", facts[event],
		       news->count, news->device, news->peer, news->remote, why);
		control->news_ns = clock_ns() + RDMA_NEWS_NS;
	}
}

static enum mc_status watch_fd(struct control *control, int fd, struct watch *watch)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

	return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? mc_status_from_errno(errno)
								       : MC_OK;
}

/* Where connections wait that can't be taken, don't ask in a circle: the tick asks again. */
static void accept_links(struct rdma_fabric *fabric)
{
	struct control *control = &fabric->control;
	bool was_deaf = control->deaf;
	enum mc_status status = link_accept(fabric);

	control->deaf = status != MC_OK;
	if (control->deaf && !was_deaf) {
		log_warn("rdma can't accept connections for now status=\"%s\"",
			 mc_status_text(status));
		MUST(epoll_ctl(control->epoll_fd, EPOLL_CTL_DEL, control->listen_fd, NULL) == 0);
	} else if (was_deaf && !control->deaf) {
		control->deaf = watch_fd(control, control->listen_fd, &control->listen) != MC_OK;
	}
}

static void tick(struct rdma_fabric *fabric)
{
	uint64_t now = clock_ns();

	if (now < fabric->control.tick_ns)
		return;
	fabric->control.tick_ns = now + RDMA_TICK_MS * 1000000ull;
	if (fabric->control.deaf)
		accept_links(fabric);
	link_check(fabric, now);
	for (uint32_t i = 0; i < fabric->device_count; i++)
		check_device(fabric->devices[i], now);
	peer_probe_all(fabric, now);
	if (now >= fabric->control.news_ns)
		log_paths(&fabric->control);
}

static bool has_news(struct control *control)
{
	WITH_LOCK(&control->lock);
	return control->news[PATH_WORK_FAILED].count > 0 || control->news[PATH_DOWN].count > 0 ||
	       control->news[PATH_BACK].count > 0;
}

/*
 * With nobody connected there is nothing to look after, but for a device that is down,
 * who waits to be accepted, and what is still to be said.
 */
static int patience_ms(struct rdma_fabric *fabric)
{
	bool quiet = atomic_load(&fabric->peer_count) == 0 && !fabric->control.links &&
		     atomic_load(&fabric->connections) == 0;

	for (uint32_t i = 0; quiet && i < fabric->device_count; i++)
		quiet = atomic_load(&fabric->devices[i]->up);
	quiet = quiet && !fabric->control.deaf && !has_news(&fabric->control);
	return quiet ? -1 : RDMA_TICK_MS;
}

/* --- the thread
 * ----------------------------------------------------------------------------------- */

static void take_event(struct rdma_fabric *fabric, const struct epoll_event *event)
{
	struct watch *watch = event->data.ptr;
	uint64_t count;

	switch (watch->kind) {
	case WATCH_WAKE:
		if (read(fabric->control.wake_fd, &count, sizeof(count)) < 0)
			MUST(errno == EAGAIN || errno == EINTR);
		break;
	case WATCH_LISTEN:
		accept_links(fabric);
		break;
	case WATCH_LINK:
		link_ready(fabric, watch->of, event->events);
		break;
	case WATCH_DEVICE:
		while (device_event(watch->of)) {
		}
		break;
	case WATCH_CM:
		while (cm_event(fabric)) {
		}
		break;
	}
}

static void *run(void *argument)
{
	struct rdma_fabric *fabric = argument;
	struct control *control = &fabric->control;
	struct epoll_event events[EVENT_BATCH];

	pthread_setname_np(pthread_self(), "mc-rdma");
	while (!atomic_load(&control->stopping)) {
		int count = epoll_wait(control->epoll_fd, events, EVENT_BATCH, patience_ms(fabric));
		MUST(count >= 0 || errno == EINTR);
		for (int i = 0; i < count; i++)
			take_event(fabric, &events[i]);
		link_free_dead(fabric);
		tick(fabric);
		do_todo(fabric);
		tell_all(fabric);
		link_free_dead(fabric);
	}
	return NULL;
}

static enum mc_status announce(struct rdma_fabric *fabric, const struct fabric_config *config,
			       const char *listen_host)
{
	const char *host = config->announce_host ? config->announce_host : listen_host;
	char text[NET_TEXT_SIZE];
	enum mc_status status = net_announce(fabric->control.listen_fd, host, text);

	if (!status)
		snprintf(fabric->endpoint, sizeof(fabric->endpoint), "rdma:%s", text);
	return status;
}

enum mc_status control_open(struct rdma_fabric *fabric, const struct fabric_config *config)
{
	struct control *control = &fabric->control;
	const char *host = config->listen_host ? config->listen_host : "0.0.0.0";

	pthread_mutex_init(&control->lock, NULL);
	control->listen_fd = -1;
	control->wake = (struct watch){.kind = WATCH_WAKE};
	control->listen = (struct watch){.kind = WATCH_LISTEN};
	control->cm = (struct watch){.kind = WATCH_CM};
	control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->epoll_fd < 0 || control->wake_fd < 0)
		return MC_NO_SPACE;
	enum mc_status status =
		net_listen_range(host, config->port_first, config->port_last, &control->listen_fd);
	if (!status)
		status = announce(fabric, config, host);
	if (!status)
		status = watch_fd(control, control->wake_fd, &control->wake);
	if (!status)
		status = watch_fd(control, control->listen_fd, &control->listen);
	for (uint32_t i = 0; !status && i < fabric->device_count; i++) {
		struct rdma_device *device = fabric->devices[i];
		device->watch = (struct watch){.kind = WATCH_DEVICE, .of = device};
		status = watch_fd(control, device->context->async_fd, &device->watch);
	}
	cm_open(fabric);
	if (!status && control->cm_channel)
		status = watch_fd(control, control->cm_channel->fd, &control->cm);
	return status;
}

enum mc_status control_start(struct rdma_fabric *fabric)
{
	int error = thread_start(&fabric->control.thread, run, fabric);
	fabric->control.started = error == 0;
	return mc_status_from_errno(error);
}

static void fail_all(struct rdma_fabric *fabric)
{
	for (uint32_t i = 0; i < fabric->device_count; i++) {
		WITH_LOCK(&fabric->devices[i]->lock);
		device_fail_endpoints(fabric->devices[i]);
	}
}

/* The thread has ended: what it would have done, here. */
static void end_all(struct rdma_fabric *fabric)
{
	fail_all(fabric);
	while (fabric->control.links)
		link_close(fabric, fabric->control.links);
	do_todo(fabric);
	tell_all(fabric);
	link_free_dead(fabric);
	log_paths(&fabric->control);
}

void control_stop(struct rdma_fabric *fabric)
{
	atomic_store(&fabric->control.stopping, true);
	if (!fabric->control.started)
		return;
	control_wake(fabric);
	pthread_join(fabric->control.thread, NULL);
	fabric->control.started = false;
	end_all(fabric);
}

void control_close(struct rdma_fabric *fabric)
{
	struct control *control = &fabric->control;

	cm_close(fabric);
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->wake_fd >= 0)
		close(control->wake_fd);
	if (control->epoll_fd >= 0)
		close(control->epoll_fd);
	pthread_mutex_destroy(&control->lock);
}
