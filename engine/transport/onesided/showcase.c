#include "engine/transport/onesided/showcase.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

enum stage { WISHED, MAKING, READY };

/* A place in the showcase. */
struct display {
	struct display *next; /* in its bucket */
	struct display *older, *newer;
	uint64_t id;
	enum stage stage;
	bool gone;		 /* out of the showcase; who makes it ends it */
	struct exhibit *exhibit; /* READY: counted; MAKING: its maker's, NULL at first */
};

/* --- the table ------------------------------------------------------------------ */

static struct display **bucket_of(struct showcase *showcase, uint64_t id)
{
	return &showcase->buckets[(id * 0x9e3779b97f4a7c15ull >> 32) % SHOWCASE_BUCKETS];
}

static struct display *find_locked(struct showcase *showcase, uint64_t id)
{
	struct display *display = *bucket_of(showcase, id);

	while (display && display->id != id)
		display = display->next;
	return display;
}

static void add_locked(struct showcase *showcase, struct display *display)
{
	struct display **bucket = bucket_of(showcase, display->id);

	display->next = *bucket;
	*bucket = display;
	display->older = showcase->newest;
	if (showcase->newest)
		showcase->newest->newer = display;
	else
		showcase->oldest = display;
	showcase->newest = display;
	showcase->count++;
}

static void unlink_locked(struct showcase *showcase, struct display *display)
{
	struct display **at = bucket_of(showcase, display->id);

	while (*at != display)
		at = &(*at)->next;
	*at = display->next;
	if (display->older)
		display->older->newer = display->newer;
	else
		showcase->oldest = display->newer;
	if (display->newer)
		display->newer->older = display->older;
	else
		showcase->newest = display->older;
	showcase->count--;
}

/* To let go of it takes time: that comes later. */
static void clear_locked(struct showcase *showcase, struct exhibit *exhibit)
{
	if (!exhibit)
		return;
	exhibit->next = showcase->cleared;
	showcase->cleared = exhibit;
	pthread_cond_signal(&showcase->wake);
}

static void remove_locked(struct showcase *showcase, struct display *display)
{
	unlink_locked(showcase, display);
	if (display->stage == MAKING) {
		display->gone = true;
		return;
	}
	if (display->stage == READY) {
		showcase->bytes -= display->exhibit->size;
		showcase->ready--;
		clear_locked(showcase, display->exhibit);
	}
	free(display);
}

/* Make room for one that is made, at the cost of older ones.  False: there are none. */
static bool room_locked(struct showcase *showcase, const struct display *display, uint64_t size)
{
	while (showcase->bytes + size > showcase->config.bytes_max) {
		if (showcase->oldest == display)
			return false;
		remove_locked(showcase, showcase->oldest);
	}
	return true;
}

/* --- making one ----------------------------------------------------------------- */

/* It was made, or not; takes the reference to the exhibit. */
static void made_locked(struct showcase *showcase, struct display *display, enum mc_status status,
			struct exhibit *exhibit)
{
	display->exhibit = NULL;
	if (display->gone) {
		clear_locked(showcase, exhibit);
		free(display);
		return;
	}
	display->stage = WISHED;
	if (status == MC_AGAIN) {
		pthread_cond_signal(&showcase->wake);
		return;
	}
	if (status || !room_locked(showcase, display, exhibit->size)) {
		clear_locked(showcase, exhibit);
		remove_locked(showcase, display);
		return;
	}
	display->stage = READY;
	display->exhibit = exhibit;
	showcase->bytes += exhibit->size;
	showcase->ready++;
}

/* How long to be quiet still: until nothing has moved, or come to rest, for long enough. */
static uint64_t quiet_in_ns_locked(const struct showcase *showcase, uint64_t moved)
{
	uint64_t now = clock_ns(), quiet = SHOWCASE_QUIET_MS * 1000000ull;

	if (moved < showcase->rested_ns)
		moved = showcase->rested_ns;
	if (moved == UINT64_MAX || moved > now)
		return quiet;
	return now - moved < quiet ? quiet - (now - moved) : 0;
}

static uint64_t moved_ns(const struct showcase *showcase)
{
	return showcase->config.moved_ns(showcase->config.context);
}

static bool go_on(struct showcase *showcase, const struct display *display)
{
	uint64_t moved = moved_ns(showcase);

	WITH_LOCK(&showcase->lock);
	return !showcase->stopping && !display->gone && quiet_in_ns_locked(showcase, moved) == 0;
}

/* Whoever asks takes over what is summed. */
static void lay_open(struct showcase *showcase, struct display *display, struct exhibit *exhibit)
{
	WITH_LOCK(&showcase->lock);
	display->exhibit = exhibit;
}

static void set_policy(pthread_t thread, int policy)
{
	const struct sched_param none = {0};

	if (pthread_setschedparam(thread, policy, &none))
		log_debug("the showcase's thread runs as before");
}

/*
 * The thread runs at SCHED_IDLE here only: whoever is held up there with a lock, its own, the
 * node's or one of the kernel's, holds up all who want that.
 */
static enum mc_status sum_idly(const struct showcase *showcase, struct exhibit *exhibit,
			       const struct source_hold *hold)
{
	if (showcase->lowers)
		set_policy(pthread_self(), SCHED_IDLE);
	enum mc_status status = exhibit_sum(exhibit, hold);
	if (showcase->lowers)
		set_policy(pthread_self(), SCHED_OTHER);
	return status;
}

static enum mc_status make_held(struct showcase *showcase, struct display *display,
				const struct source_hold *hold, struct exhibit **exhibit)
{
	struct exhibit *made;

	if (hold->attr.size > showcase->config.bytes_max)
		return MC_TOO_BIG;
	enum mc_status status = exhibit_new(showcase->config.engine, hold, &made);
	if (status)
		return status;
	lay_open(showcase, display, made);
	while (!status && !exhibit_summed(made))
		status = go_on(showcase, display) ? sum_idly(showcase, made, hold) : MC_AGAIN;
	if (!status)
		status = exhibit_show(made);
	lay_open(showcase, display, NULL);
	if (status)
		exhibit_unref(made);
	else
		*exhibit = made;
	return status;
}

static enum mc_status make(struct showcase *showcase, struct display *display, uint64_t id,
			   struct exhibit **exhibit)
{
	const struct transport_source *source = showcase->config.source;
	struct source_hold hold = {.fd = -1, .ahead = true};
	enum mc_status status = source->hold(source->context, id, 0, &hold);

	/* What is being written comes to rest again, and is shown again then. */
	if (status)
		return MC_NOT_FOUND;
	status = make_held(showcase, display, &hold, exhibit);
	source->release(source->context, &hold);
	return status;
}

/* --- the thread ------------------------------------------------------------------- */

static void make_next_locked(struct showcase *showcase, struct display *display)
{
	struct exhibit *exhibit = NULL;

	display->stage = MAKING;
	pthread_mutex_unlock(&showcase->lock);
	enum mc_status status = make(showcase, display, display->id, &exhibit);
	pthread_mutex_lock(&showcase->lock);
	made_locked(showcase, display, status, exhibit);
}

static void let_go(struct exhibit *exhibits)
{
	while (exhibits) {
		struct exhibit *next = exhibits->next;
		exhibit_unref(exhibits);
		exhibits = next;
	}
}

static struct display *wished_locked(const struct showcase *showcase)
{
	struct display *display = showcase->newest;

	while (display && display->stage != WISHED)
		display = display->older;
	return display;
}

static void wait_locked(struct showcase *showcase, uint64_t ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(ns / 1000000000u);
	until.tv_nsec = (long)(ns % 1000000000u);
	pthread_cond_timedwait(&showcase->wake, &showcase->lock, &until);
}

static void clear_all_locked(struct showcase *showcase)
{
	pthread_mutex_unlock(&showcase->lock);
	showcase_clear(showcase);
	pthread_mutex_lock(&showcase->lock);
}

static void *work(void *context)
{
	struct showcase *showcase = context;

	pthread_setname_np(pthread_self(), "mc-showcase");
	/* Who can't be raised again is not lowered. */
	showcase->lowers = sched_getscheduler(0) == SCHED_OTHER &&
			   setpriority(PRIO_PROCESS, 0, 1) == 0 &&
			   setpriority(PRIO_PROCESS, 0, 0) == 0;
	pthread_mutex_lock(&showcase->lock);
	while (!showcase->stopping) {
		struct display *display = wished_locked(showcase);
		uint64_t quiet_ns = display ? quiet_in_ns_locked(showcase, moved_ns(showcase)) : 0;
		if (showcase->cleared) {
			clear_all_locked(showcase);
		} else if (!display) {
			pthread_cond_wait(&showcase->wake, &showcase->lock);
		} else if (quiet_ns > 0) {
			wait_locked(showcase, quiet_ns);
		} else {
			make_next_locked(showcase, display);
		}
	}
	pthread_mutex_unlock(&showcase->lock);
	return NULL;
}

enum mc_status showcase_start(struct showcase *showcase, const struct showcase_config *config)
{
	pthread_condattr_t attr;

	*showcase = (struct showcase){.config = *config};
	pthread_mutex_init(&showcase->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&showcase->wake, &attr);
	pthread_condattr_destroy(&attr);
	return thread_start(&showcase->thread, work, showcase) == 0 ? MC_OK : MC_NO_MEMORY;
}

void showcase_stop(struct showcase *showcase)
{
	pthread_mutex_lock(&showcase->lock);
	showcase->stopping = true;
	pthread_cond_signal(&showcase->wake);
	pthread_mutex_unlock(&showcase->lock);
	pthread_join(showcase->thread, NULL);
	MUST(!showcase->makings);
	pthread_mutex_lock(&showcase->lock);
	while (showcase->oldest)
		remove_locked(showcase, showcase->oldest);
	pthread_mutex_unlock(&showcase->lock);
	showcase_clear(showcase);
	pthread_cond_destroy(&showcase->wake);
	pthread_mutex_destroy(&showcase->lock);
}

/* --- for others --------------------------------------------------------------------- */

void showcase_show(struct showcase *showcase, uint64_t id)
{
	if (showcase->config.bytes_max == 0)
		return;
	WITH_LOCK(&showcase->lock);
	if (find_locked(showcase, id))
		return;
	struct display *display = calloc(1, sizeof(*display));
	if (!display)
		return;
	showcase->rested_ns = clock_ns();
	if (showcase->count == SHOWCASE_MAX)
		remove_locked(showcase, showcase->oldest);
	*display = (struct display){.id = id};
	add_locked(showcase, display);
	pthread_cond_signal(&showcase->wake);
}

void showcase_hide(struct showcase *showcase, uint64_t id)
{
	WITH_LOCK(&showcase->lock);
	struct display *display = find_locked(showcase, id);

	if (display)
		remove_locked(showcase, display);
}

void showcase_clear(struct showcase *showcase)
{
	pthread_mutex_lock(&showcase->lock);
	struct exhibit *cleared = STEAL(showcase->cleared);
	pthread_mutex_unlock(&showcase->lock);
	let_go(cleared);
}

/* The one that is ready; the caller gets a reference. */
static struct exhibit *shown(struct showcase *showcase, const struct source_hold *hold)
{
	WITH_LOCK(&showcase->lock);
	const struct display *display = find_locked(showcase, hold->attr.id);

	if (!display || display->stage != READY || !exhibit_is_of(display->exhibit, hold))
		return NULL;
	exhibit_ref(display->exhibit);
	atomic_fetch_add(&showcase->used, 1);
	return display->exhibit;
}

/* The one that others who asked are making; the same. */
static struct exhibit *joined(struct showcase *showcase, const struct source_hold *hold)
{
	struct exhibit *exhibit = showcase->makings;

	while (exhibit && !exhibit_is_of(exhibit, hold))
		exhibit = exhibit->next;
	if (exhibit)
		exhibit_ref(exhibit);
	return exhibit;
}

/* It gets the place of what is wished for, or being made. */
static void place_locked(struct showcase *showcase, struct exhibit *exhibit,
			 const struct source_hold *hold)
{
	struct display *display = find_locked(showcase, hold->attr.id);

	if (!display || display->stage == READY)
		return;
	if (display->stage == MAKING) {
		if (display->exhibit && exhibit_is_of(display->exhibit, hold))
			exhibit_adopt(exhibit, display->exhibit);
		remove_locked(showcase, display);
		display = calloc(1, sizeof(*display));
		if (!display)
			return;
		display->id = hold->attr.id;
		add_locked(showcase, display);
	}
	display->stage = MAKING;
	display->exhibit = exhibit;
	exhibit->display = display;
}

static enum mc_status begin(struct showcase *showcase, const struct source_hold *hold,
			    struct exhibit **exhibit)
{
	struct exhibit *begun = shown(showcase, hold);

	if (!begun)
		begun = joined(showcase, hold);
	if (!begun) {
		enum mc_status status = exhibit_new(showcase->config.engine, hold, &begun);
		if (status)
			return status;
		begun->next = showcase->makings;
		showcase->makings = begun;
		WITH_LOCK(&showcase->lock);
		place_locked(showcase, begun, hold);
	}
	*exhibit = begun;
	return MC_OK;
}

/* It is made, or nobody goes on with it (MC_AGAIN). */
static void finish(struct showcase *showcase, struct exhibit *exhibit, enum mc_status status)
{
	struct exhibit **at = &showcase->makings;

	while (*at != exhibit)
		at = &(*at)->next;
	*at = exhibit->next;
	if (!exhibit->display)
		return;
	if (!status)
		exhibit_ref(exhibit);
	WITH_LOCK(&showcase->lock);
	made_locked(showcase, STEAL(exhibit->display), status, status ? NULL : exhibit);
}

enum mc_status showcase_exhibit(struct showcase *showcase, const struct source_hold *hold,
				struct exhibit **exhibit)
{
	enum mc_status status = *exhibit ? MC_OK : begin(showcase, hold, exhibit);

	if (status || exhibit_ready(*exhibit))
		return status;
	if (!exhibit_summed(*exhibit))
		return exhibit_sum(*exhibit, hold);
	status = exhibit_show(*exhibit);
	if (!status)
		finish(showcase, *exhibit, MC_OK);
	return status;
}

void showcase_leave(struct showcase *showcase, struct exhibit *exhibit)
{
	/* Only the owner's thread knows of one that is not ready. */
	if (exhibit && !exhibit_ready(exhibit) && atomic_load(&exhibit->references) == 1)
		finish(showcase, exhibit, MC_AGAIN);
	exhibit_unref(exhibit);
}

void showcase_counters(struct showcase *showcase, struct transport_counters *counters)
{
	WITH_LOCK(&showcase->lock);
	counters->shown = showcase->ready;
	counters->pulls_shown = atomic_load(&showcase->used);
}
