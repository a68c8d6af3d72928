#include "engine/fabric/tcp/driver.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/tcp/lane.h"

#define BATCH	     32
#define LIMIT_MAX_MS 1000000

/* --- the clock ------------------------------------------------------------------ */

static void set_timer(const struct tcp *tcp, uint32_t ms)
{
	struct timespec each = {.tv_nsec = (long)ms * 1000000};
	struct itimerspec spec = {.it_interval = each, .it_value = each};

	if (timerfd_settime(tcp->timer_fd, 0, &spec, NULL) < 0)
		log_error("tcp: can't set a timer errno=%d", errno);
}

void tcp_tick(struct tcp *tcp)
{
	if (!atomic_load(&tcp->ticking) && !atomic_exchange(&tcp->ticking, true))
		set_timer(tcp, TICK_MS);
}

static void look_at_peer(struct tcp_peer *peer, uint64_t now_ns, struct endings *endings)
{
	WITH_LOCK(&peer->lock);
	for (struct lane *lane = peer->lanes, *next; lane; lane = next) {
		next = lane->next;
		if (!lane_in_time_locked(lane, now_ns, endings)) {
			log_warn("tcp: gave up a connection where nothing moves any more");
			lane_free_locked(lane, MC_UNREACHABLE, endings);
		}
	}
}

static void ticked(struct tcp *tcp, struct endings *endings)
{
	uint64_t count, now_ns = clock_ns();

	if (read(tcp->timer_fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&tcp->lock);
	for (struct tcp_peer *peer = tcp->peers; peer; peer = peer->next)
		look_at_peer(peer, now_ns, endings);
	pthread_mutex_unlock(&tcp->lock);
	if (atomic_load(&tcp->slices) > 0)
		return;
	set_timer(tcp, 0);
	atomic_store(&tcp->ticking, false);
	/* What was submitted meanwhile found it ticking. */
	if (atomic_load(&tcp->slices) > 0)
		tcp_tick(tcp);
}

/* --- one turn --------------------------------------------------------------------- */

static void lane_event(struct lane *lane, uint32_t events, struct endings *endings)
{
	enum mc_status status = lane_ready(lane, events, endings);

	if (!status)
		return;
	pthread_mutex_t *lock = &lane->peer->lock;
	pthread_mutex_lock(lock);
	lane_free_locked(lane, status, endings);
	pthread_mutex_unlock(lock);
}

/*
 * While slices are under way the clock ticks, and a timer of our own would only cost.
 * (epoll_pwait2 would take nanoseconds, but race detectors don't know it.)
 */
static int wait_for_events(struct tcp *tcp, uint64_t timeout_ns, struct epoll_event events[BATCH])
{
	bool unlimited = timeout_ns == UINT64_MAX ||
			 (timeout_ns >= TICK_MS * 1000000ull && atomic_load(&tcp->ticking));
	uint64_t limit_ms = (timeout_ns + 999999u) / 1000000u;

	if (unlimited)
		return epoll_wait(tcp->epoll_fd, events, BATCH, -1);
	return epoll_wait(tcp->epoll_fd, events, BATCH,
			  limit_ms < LIMIT_MAX_MS ? (int)limit_ms : LIMIT_MAX_MS);
}

/* A reply to little is soon here.  Returns how many events there are. */
static int look_for_events(struct tcp *tcp, struct epoll_event events[BATCH])
{
	int count = 0;

	if (atomic_load(&tcp->bytes) <= TCP_SPIN_SIZE && spin_begin(&tcp->spin, clock_ns())) {
		do
			count = epoll_wait(tcp->epoll_fd, events, BATCH, 0);
		while (spin_on(&tcp->spin, count != 0, clock_ns()));
	}
	return count;
}

/* Wait, and receive what is there.  The caller has the drive. */
static void turn(struct tcp *tcp, uint64_t timeout_ns, struct endings *endings)
{
	struct epoll_event events[BATCH];
	bool tick = false;
	uint64_t word;
	int count = timeout_ns > 0 ? look_for_events(tcp, events) : 0;

	if (count == 0)
		count = wait_for_events(tcp, timeout_ns, events);
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == &tcp->timer_fd)
			tick = true;
		else if (events[i].data.ptr != &tcp->kick_fd)
			lane_event(events[i].data.ptr, events[i].events, endings);
		else if (read(tcp->kick_fd, &word, sizeof(word)) < 0)
			continue;
	}
	/* Last: it may free lanes that other events name. */
	if (tick)
		ticked(tcp, endings);
}

/* Tell those who wait behind the drive. */
static void turned(struct tcp *tcp)
{
	WITH_LOCK(&tcp->turn_lock);
	tcp->turns++;
	if (tcp->followers > 0)
		pthread_cond_broadcast(&tcp->turned);
}

/* False: somebody else has the drive. */
static bool drive(struct tcp *tcp, uint64_t timeout_ns)
{
	struct endings endings;

	if (atomic_load(&tcp->wanted) > 0 || pthread_mutex_trylock(&tcp->drive) != 0)
		return false;
	endings_init(&endings);
	turn(tcp, timeout_ns, &endings);
	pthread_mutex_unlock(&tcp->drive);
	endings_tell(tcp, &endings);
	turned(tcp);
	return true;
}

static uint64_t turns_now(struct tcp *tcp)
{
	WITH_LOCK(&tcp->turn_lock);
	return tcp->turns;
}

static void follow(struct tcp *tcp, uint64_t turns, uint64_t timeout_ns)
{
	uint64_t until_ns = clock_after(clock_ns(), timeout_ns);

	WITH_LOCK(&tcp->turn_lock);
	tcp->followers++;
	while (tcp->turns == turns && clock_cond_wait(&tcp->turned, &tcp->turn_lock, until_ns))
		;
	tcp->followers--;
}

void driver_progress(struct fabric *fabric, uint64_t timeout_ns)
{
	struct tcp *tcp = container_of(fabric, struct tcp, fabric);
	uint64_t turns = turns_now(tcp);

	atomic_fetch_add(&tcp->drivers, 1);
	atomic_fetch_add(&tcp->drives, 1);
	if (!drive(tcp, timeout_ns) && timeout_ns > 0)
		follow(tcp, turns, timeout_ns);
	atomic_fetch_sub(&tcp->drivers, 1);
}

/* --- the mover ---------------------------------------------------------------------- */

static void *move(void *context)
{
	struct tcp *tcp = context;
	struct timespec nap = {.tv_nsec = MOVER_NAP_NS};
	unsigned long seen = 0;
	struct epoll_event event;

	pthread_setname_np(pthread_self(), "mc-tcp-move");
	while (!atomic_load(&tcp->stopping)) {
		unsigned long drives = atomic_load(&tcp->drives);
		if (drives != seen || atomic_load(&tcp->drivers) > 0) {
			seen = drives;
			nanosleep(&nap, NULL);
			continue;
		}
		/* Level triggered: what is seen here is still there for whoever drives. */
		if (epoll_wait(tcp->epoll_fd, &event, 1, -1) > 0 &&
		    atomic_load(&tcp->drivers) == 0 && !drive(tcp, 0))
			nanosleep(&nap, NULL);
	}
	return NULL;
}

static void kick(const struct tcp *tcp)
{
	uint64_t one = 1;

	if (write(tcp->kick_fd, &one, sizeof(one)) < 0)
		log_error("tcp: can't wake a thread errno=%d", errno);
}

void driver_take(struct tcp *tcp)
{
	atomic_fetch_add(&tcp->wanted, 1);
	kick(tcp);
	pthread_mutex_lock(&tcp->drive);
}

void driver_give(struct tcp *tcp)
{
	atomic_fetch_sub(&tcp->wanted, 1);
	pthread_mutex_unlock(&tcp->drive);
	turned(tcp);
}

static bool watch(struct tcp *tcp, int *fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};

	return *fd >= 0 && epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static void close_all(const struct tcp *tcp)
{
	const int fds[] = {tcp->epoll_fd, tcp->timer_fd, tcp->kick_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

enum mc_status driver_start(struct tcp *tcp)
{
	tcp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	tcp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	tcp->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&tcp->drive, NULL);
	pthread_mutex_init(&tcp->turn_lock, NULL);
	clock_cond_init(&tcp->turned);
	if (tcp->epoll_fd >= 0 && watch(tcp, &tcp->timer_fd) && watch(tcp, &tcp->kick_fd) &&
	    thread_start(&tcp->mover, move, tcp) == 0)
		return MC_OK;
	close_all(tcp);
	return MC_NO_SPACE;
}

void driver_stop(struct tcp *tcp)
{
	atomic_store(&tcp->stopping, true);
	kick(tcp);
	pthread_join(tcp->mover, NULL);
	close_all(tcp);
	pthread_cond_destroy(&tcp->turned);
	pthread_mutex_destroy(&tcp->turn_lock);
	pthread_mutex_destroy(&tcp->drive);
}
