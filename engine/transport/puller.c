#include "engine/transport/puller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/transport/fetch.h"
#include "engine/transport/receive.h"

#define MS_NS		  1000000ull
#define LINK_SHARE	  8u /* fetches on each link before another is opened */
#define LINK_IDLE_MS	  120000u
#define RELEASE_MS	  50u
#define RELEASES_SIZE_MAX 4096u
#define LOOK_MS		  20u
#define PATIENCE	  8u /* steps a fetch may wait while others on its link go on */

struct peer {
	struct peer *next;
	struct link *links;
	uint32_t link_count;
	bool wished; /* somebody would use a link */
	char endpoint[MC_ENDPOINT_SIZE];
};

/* --- links ---------------------------------------------------------------- */

static struct peer *peer_of_locked(struct puller *puller, const char *endpoint)
{
	struct peer *peer;

	for (peer = puller->peers; peer; peer = peer->next) {
		if (strcmp(peer->endpoint, endpoint) == 0)
			return peer;
	}
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return NULL;
	snprintf(peer->endpoint, sizeof(peer->endpoint), "%s", endpoint);
	peer->next = puller->peers;
	puller->peers = peer;
	return peer;
}

static void link_ready(struct watch *watch, uint32_t events);

static enum mc_status dial_locked(struct puller *puller, struct peer *peer, struct link **dialled)
{
	int fd;
	enum mc_status status = puller->config.dial(peer->endpoint, &fd);

	if (status)
		return status;
	struct link *link = link_new(puller, peer, fd);
	if (!link) {
		close(fd);
		return MC_NO_MEMORY;
	}
	link->watch.ready = link_ready;
	/* A Unix socket is connected at once, or not at all. */
	link->state = puller->config.descriptors ? LINK_OPEN : LINK_CONNECTING;
	status = poller_watch(&puller->poller, &link->watch,
			      link->state == LINK_OPEN ? EPOLLIN : EPOLLOUT);
	if (status) {
		link_free(link);
		return status;
	}
	if (puller->config.descriptors)
		link_shelf_locked(link); /* it goes out with the first request */
	link->next = peer->links;
	peer->links = link;
	peer->link_count++;
	atomic_fetch_add(&puller->dials, 1);
	*dialled = link;
	return MC_OK;
}

/* --- a thread that attends to what it asked for (descriptors: one short answer) --- */

static void link_break(struct link *link, enum mc_status status);

static bool attended_receive(void *context, int *fd)
{
	struct puller *puller = context;
	struct link *link = puller->attended;
	enum mc_status status = receive(link);

	if (status) {
		link_break(link, status);
		poller_wake(&puller->poller); /* it frees what is dead */
		return true;
	}
	*fd = link->watch.fd;
	WITH_LOCK(&puller->lock);
	return puller->attended_fetch == NULL;
}

static void attended_release(void *context, bool answered)
{
	struct puller *puller = context;

	(void)answered;
	pthread_mutex_lock(&puller->lock);
	struct link *link = puller->attended;
	puller->attended = NULL;
	puller->attended_fetch = NULL;
	link->attended = false;
	link_flush_locked(link);
	pthread_mutex_unlock(&puller->lock);
	pthread_mutex_unlock(&puller->poller.serving);
}

/* Keep the thread from waking for this link's next answer; the caller receives it. */
static void attend_locked(struct fetch *fetch, struct link *link)
{
	struct puller *puller = fetch->puller;

	if (!puller->config.descriptors || link->state != LINK_OPEN || !attend_wanted() ||
	    pthread_mutex_trylock(&puller->poller.serving) != 0)
		return;
	/* Nothing is sent yet: what waits for company goes out with the request. */
	if (poller_watch(&puller->poller, &link->watch, EPOLLRDHUP)) {
		pthread_mutex_unlock(&puller->poller.serving);
		return;
	}
	link->attended = true;
	puller->attended = link;
	puller->attended_fetch = fetch;
	attend_to(&(struct attention){attended_receive, attended_release, puller});
}

/* Put the fetch on the least busy link, or on a new one, and send its first request. */
static enum mc_status attach_locked(struct fetch *fetch, struct peer *peer)
{
	struct puller *puller = fetch->puller;
	struct link *best = NULL;
	enum mc_status status;

	for (struct link *link = peer->links; link; link = link->next) {
		if (!link->suspect && (!best || link->fetch_count < best->fetch_count))
			best = link;
	}
	if (!best ||
	    (best->fetch_count >= LINK_SHARE && peer->link_count < puller->config.links_max)) {
		status = dial_locked(puller, peer, &best);
		/* One link more is a wish, the first is a need. */
		if (status && !best)
			return status;
	}
	fetch->link = best;
	best->fetch_count++;
	attend_locked(fetch, best);
	status = fetch_ask_locked(fetch);
	poller_alarm(&puller->poller, fetch->deadline_ns);
	return status;
}

static void loans_stray_locked(struct puller *puller, struct link *link)
{
	while (link->loans) {
		struct loan *loan = link->loans;
		link->loans = loan->next;
		if (loan->next)
			loan->next->at = &link->loans;
		loan->link = NULL;
		loan->next = puller->strays;
		loan->at = &puller->strays;
		if (loan->next)
			loan->next->at = &loan->next;
		puller->strays = loan;
	}
}

/* Take it away from its peer; it is freed after the batch of events. */
static void link_bury_locked(struct link *link)
{
	struct puller *puller = link->puller;
	struct link **at = &link->peer->links;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	link->peer->link_count--;
	link->state = LINK_DEAD;
	close(poller_forget(&puller->poller, &link->watch));
	loans_stray_locked(puller, link);
	link->next = puller->dead;
	puller->dead = link;
}

/* A request may have met a connection that the peer had closed already: once more. */
static bool redial_locked(struct fetch *fetch, struct link *old)
{
	struct peer *peer = old->peer;

	if (fetch->begun || fetch->redialled || fetch->retry_ns || fetch->puller->stopping)
		return false;
	link_orphan_locked(old, fetch);
	old->fetch_count--;
	fetch->link = NULL;
	fetch->in_flight = 0;
	fetch->redialled = true;
	return attach_locked(fetch, peer) == MC_OK;
}

/* Whoever moves its bytes ends it. */
static void give_up_locked(struct fetch *fetch)
{
	const struct puller_config *config = &fetch->puller->config;

	if (!fetch->given_up)
		config->give_up(config->context, fetch);
	fetch->given_up = true;
}

static void link_break(struct link *link, enum mc_status status)
{
	struct puller *puller = link->puller;
	struct fetch *ended = NULL, *next;
	bool was_open = link->state == LINK_OPEN;

	if (status == MC_PROTOCOL)
		log_warn("%s: dropped a peer that broke the protocol endpoint=%s",
			 puller->config.name, link->peer->endpoint);
	else
		log_debug("%s: a connection ended endpoint=%s status=\"%s\"", puller->config.name,
			  link->peer->endpoint, mc_status_text(status));
	pthread_mutex_lock(&puller->lock);
	link_bury_locked(link);
	for (struct fetch *fetch = puller->fetches; fetch; fetch = next) {
		next = fetch->next;
		if (fetch->link != link)
			continue;
		/* Its bytes come another way, but nobody holds them there any more. */
		if (fetch->moving) {
			fetch->link->fetch_count--;
			fetch->link = NULL;
			give_up_locked(fetch);
			continue;
		}
		if (was_open && status == MC_UNREACHABLE && redial_locked(fetch, link))
			continue;
		fetch_detach_locked(fetch);
		fetch_list_locked(fetch, &ended);
	}
	pthread_mutex_unlock(&puller->lock);
	while (ended)
		fetch_end(ended, status);
}

static void link_ready(struct watch *watch, uint32_t events)
{
	struct link *link = container_of(watch, struct link, watch);
	struct puller *puller = link->puller;
	enum mc_status status = MC_OK;

	if (link->state == LINK_CONNECTING) {
		status = net_connect_finish(watch->fd);
		if (status) {
			link_break(link, MC_UNREACHABLE);
			return;
		}
		WITH_LOCK(&puller->lock);
		link->state = LINK_OPEN;
		link->progress_ns = clock_ns();
		link_flush_locked(link);
		return;
	}
	if (events & EPOLLOUT) {
		WITH_LOCK(&puller->lock);
		link_flush_locked(link);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		status = receive(link);
	if (status)
		link_break(link, status);
}

/* --- time ----------------------------------------------------------------- */

/* While its link goes on, a fetch that waits in line waits on. */
static uint64_t deadline_of_locked(const struct fetch *fetch)
{
	uint64_t step_ns = fetch->pull->step_ms * MS_NS;
	uint64_t limit_ns = fetch->deadline_ns + PATIENCE * step_ns;

	if (!fetch->link || fetch->in_flight == 0 || fetch->retry_ns ||
	    fetch->link->progress_ns + step_ns <= fetch->deadline_ns)
		return fetch->deadline_ns;
	uint64_t line_ns = fetch->link->progress_ns + step_ns;
	return line_ns < limit_ns ? line_ns : limit_ns;
}

static enum mc_status overdue_locked(struct fetch *fetch)
{
	struct link *link = fetch->link;

	if (!link || link->state == LINK_CONNECTING) {
		if (link)
			link->suspect = true;
		return MC_UNREACHABLE;
	}
	if (!fetch->retry_ns && link->progress_ns + fetch->pull->step_ms * MS_NS <= clock_ns())
		link->suspect = true;
	return MC_TIMEOUT;
}

/* Something may have come, and less than its link waits for: look before it is given up. */
static bool look_again_locked(struct fetch *fetch)
{
	struct link *link = fetch->link;

	if (!link || link->state != LINK_OPEN || link->low_water <= 1)
		return false;
	link_low_water(link, 1);
	return link->low_water == 1;
}

/* What helpers have left to do, or have done.  True: it ends. */
static bool look_at_whole_locked(struct fetch *fetch, uint64_t now_ns, enum mc_status *status)
{
	switch (whole_state(fetch->whole)) {
	case WHOLE_MORE:
		fetch->deadline_ns = now_ns + fetch->pull->step_ms * MS_NS;
		*status = fetch_ask_locked(fetch);
		return *status != MC_OK;
	case WHOLE_COMING:
		return false;
	case WHOLE_DONE:
		*status = MC_OK;
		return true;
	case WHOLE_LOST:
		break;
	}
	*status = MC_NO_MEMORY;
	return true;
}

/* True: it must end now, with that status. */
static bool look_at_locked(struct fetch *fetch, uint64_t now_ns, uint64_t *alarm_ns,
			   enum mc_status *status)
{
	*status = fetch->failed;
	if (fetch->ended)
		return !whole_is_helped(fetch->whole);
	if (fetch->moving) {
		if (fetch->puller->stopping || fetch->cancelled)
			give_up_locked(fetch);
		return false;
	}
	if (fetch->puller->stopping || fetch->cancelled ||
	    (fetch_helps(fetch) && whole_is_over(fetch->whole)))
		*status = MC_CANCELLED;
	if (*status)
		return true;
	bool idles = fetch->begun && !fetch->retry_ns && fetch_idles_locked(fetch);
	if (idles && fetch_helps(fetch))
		return true;
	if (idles && look_at_whole_locked(fetch, now_ns, status))
		return true;
	/* Those who help have deadlines of their own. */
	if (idles && fetch_idles_locked(fetch))
		return false;
	uint64_t deadline_ns = deadline_of_locked(fetch);
	if (deadline_ns <= now_ns && look_again_locked(fetch))
		deadline_ns = now_ns + LOOK_MS * MS_NS;
	if (deadline_ns <= now_ns) {
		*status = overdue_locked(fetch);
		return true;
	}
	if (fetch->retry_ns && fetch->retry_ns <= now_ns) {
		fetch->retry_ns = 0;
		*status = fetch_ask_locked(fetch);
	}
	if (deadline_ns < *alarm_ns)
		*alarm_ns = deadline_ns;
	if (fetch->retry_ns && fetch->retry_ns < *alarm_ns)
		*alarm_ns = fetch->retry_ns;
	return *status != MC_OK;
}

struct ending {
	struct fetch *fetch;
	enum mc_status status;
};

#define ENDINGS_MAX 64

/* End what must end.  True: there is more than one batch of it. */
static bool sweep(struct puller *puller, uint64_t now_ns)
{
	struct ending endings[ENDINGS_MAX];
	uint32_t count = 0;
	uint64_t alarm_ns = UINT64_MAX;

	pthread_mutex_lock(&puller->lock);
	for (struct fetch *fetch = puller->fetches, *next; fetch && count < ENDINGS_MAX;
	     fetch = next) {
		next = fetch->next;
		enum mc_status status;
		if (!look_at_locked(fetch, now_ns, &alarm_ns, &status))
			continue;
		endings[count++] = (struct ending){fetch, status};
	}
	if (count < ENDINGS_MAX)
		puller->attention = false;
	if (puller->peers && alarm_ns == UINT64_MAX)
		alarm_ns = now_ns + LINK_IDLE_MS / 2 * MS_NS;
	if (alarm_ns != UINT64_MAX)
		poller_alarm(&puller->poller, alarm_ns);
	pthread_mutex_unlock(&puller->lock);
	for (uint32_t i = 0; i < count; i++)
		fetch_end(endings[i].fetch, endings[i].status);
	return count == ENDINGS_MAX;
}

/*
 * Send what waited for company, and close links that nobody needs: the silent
 * ones at once, idle ones after a while.
 */
static void tend_links(struct puller *puller, uint64_t now_ns)
{
	WITH_LOCK(&puller->lock);
	for (struct peer **at = &puller->peers; *at;) {
		struct peer *peer = *at;
		for (struct link *link = peer->links, *next; link; link = next) {
			next = link->next;
			if (link->out_sent < link->out.size)
				link_flush_locked(link);
			if (link->fetch_count || link->loans)
				continue;
			uint64_t used_ns = link->progress_ns > link->taken_ns ? link->progress_ns
									      : link->taken_ns;
			if (link->suspect || now_ns > used_ns + LINK_IDLE_MS * MS_NS)
				link_bury_locked(link);
		}
		if (!peer->links && peer->wished && !puller->stopping) {
			struct link *link;
			if (dial_locked(puller, peer, &link))
				log_debug("%s: no connection to help with endpoint=%s",
					  puller->config.name, peer->endpoint);
		}
		peer->wished = false;
		if (peer->links) {
			at = &peer->next;
			continue;
		}
		*at = peer->next;
		free(peer);
	}
}

static void free_dead(struct puller *puller)
{
	pthread_mutex_lock(&puller->lock);
	struct link *dead = puller->dead;
	puller->dead = NULL;
	pthread_mutex_unlock(&puller->lock);
	while (dead) {
		struct link *next = dead->next;
		link_free(dead);
		dead = next;
	}
}

static void turn(void *context, bool alarmed)
{
	struct puller *puller = context;
	uint64_t now_ns;

	pthread_mutex_lock(&puller->lock);
	bool attention = puller->attention || puller->stopping;
	bool dead = puller->dead != NULL;
	pthread_mutex_unlock(&puller->lock);
	if (alarmed || attention) {
		now_ns = clock_ns();
		while (sweep(puller, now_ns)) {
		}
		tend_links(puller, now_ns);
		dead = true;
	}
	if (dead)
		free_dead(puller);
}

/* --- what others call ------------------------------------------------------ */

static void attention_locked(struct puller *puller)
{
	puller->attention = true;
	poller_wake(&puller->poller);
}

void puller_pull(struct puller *puller, const char *endpoint, struct transport_pull *pull)
{
	struct fetch *fetch = fetch_new(puller, pull);

	if (!fetch) {
		pull->state = NULL;
		pull->sink->done(pull, MC_NO_MEMORY);
		return;
	}
	WITH_LOCK(&puller->lock);
	struct peer *peer = peer_of_locked(puller, endpoint);
	pull->state = fetch;
	fetch_list_locked(fetch, &puller->fetches);
	if (puller->stopping)
		fetch->failed = MC_CANCELLED;
	else
		fetch->failed = peer ? attach_locked(fetch, peer) : MC_NO_MEMORY;
	if (fetch->failed)
		attention_locked(puller);
}

static struct link *open_link_locked(const struct peer *peer)
{
	struct link *best = NULL;

	for (struct link *link = peer->links; link; link = link->next) {
		if (link->state == LINK_OPEN && !link->suspect &&
		    (!best || link->fetch_count < best->fetch_count))
			best = link;
	}
	return best;
}

void puller_help(struct puller *puller, const struct fetch *first)
{
	WITH_LOCK(&puller->lock);
	struct peer *peer =
		puller->stopping ? NULL : peer_of_locked(puller, first->link->peer->endpoint);
	if (!peer)
		return;
	struct link *link = open_link_locked(peer);
	if (!link) {
		peer->wished = true;
		attention_locked(puller);
		return;
	}
	struct fetch *fetch = fetch_new_helper(puller, first, link);
	if (!fetch)
		return;
	link->fetch_count++;
	fetch_list_locked(fetch, &puller->fetches);
	fetch->failed = fetch_ask_locked(fetch);
	poller_alarm(&puller->poller, fetch->deadline_ns);
	/* Others were faster: its own thread ends it. */
	if (fetch->failed || fetch_idles_locked(fetch))
		attention_locked(puller);
}

void puller_look(struct puller *puller)
{
	WITH_LOCK(&puller->lock);
	attention_locked(puller);
}

void puller_freed(struct puller *puller)
{
	WITH_LOCK(&puller->lock);
	if (atomic_fetch_sub_explicit(&puller->fetch_count, 1, memory_order_relaxed) == 1)
		pthread_cond_broadcast(&puller->freed);
}

unsigned puller_fetch_count(const struct puller *puller)
{
	return atomic_load_explicit(&puller->fetch_count, memory_order_relaxed);
}

void puller_want(struct puller *puller, struct transport_pull *pull, uint64_t offset,
		 uint64_t length)
{
	WITH_LOCK(&puller->lock);
	struct fetch *fetch = pull->state;
	if (!fetch || length == 0 || offset + length < offset)
		return;
	fetch->wanted.begin = offset / PULLER_CHUNK_SIZE;
	fetch->wanted.end = (offset + length - 1) / PULLER_CHUNK_SIZE + 1;
	pthread_mutex_lock(&fetch->whole->lock);
	span_want(&fetch->whole->todo, fetch->wanted.begin, fetch->wanted.end);
	pthread_mutex_unlock(&fetch->whole->lock);
}

void puller_cancel(struct puller *puller, struct transport_pull *pull)
{
	WITH_LOCK(&puller->lock);
	struct fetch *fetch = pull->state;
	if (!fetch)
		return;
	fetch->cancelled = true;
	attention_locked(puller);
}

void puller_release_locked(struct puller *puller, struct link *link, uint64_t id, uint64_t version)
{
	/* It goes along with the next request, or a moment later: no wake-up of its own. */
	link_release_locked(link, id, version);
	if (link->out.size >= RELEASES_SIZE_MAX)
		link_flush_locked(link);
	poller_alarm(&puller->poller, clock_ns() + RELEASE_MS * MS_NS);
}

void puller_finish(struct puller *puller, struct fetch *fetch, enum mc_status status)
{
	pthread_mutex_lock(&puller->lock);
	if (fetch->link) {
		link_release_locked(fetch->link, fetch->attr.id, fetch->attr.version);
		link_flush_locked(fetch->link);
	}
	/* It was not the sink that gave it up. */
	if (status == MC_CANCELLED && fetch->given_up && !fetch->cancelled && !puller->stopping)
		status = MC_UNREACHABLE;
	pthread_mutex_unlock(&puller->lock);
	if (!status)
		atomic_fetch_add(&puller->bytes_pulled, fetch->attr.size);
	fetch_end(fetch, status);
}

enum mc_status puller_take(struct puller *puller, const char *endpoint, const char *name,
			   uint64_t id, int *fd, void **loan)
{
	struct link *link = NULL;
	struct loan *taken;

	WITH_LOCK(&puller->lock);
	for (struct peer *peer = puller->peers; peer && !link; peer = peer->next) {
		if (strcmp(peer->endpoint, endpoint) == 0)
			link = peer->links;
	}
	if (!link || link->shelf < 0)
		return MC_NOT_SUPPORTED;
	CLEANUP_FD int file =
		openat(link->shelf, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file < 0)
		return errno == ENOENT ? MC_NOT_FOUND : mc_status_from_errno(errno);
	taken = loan_new_locked(link, id, 0);
	if (!taken)
		return MC_NO_MEMORY;
	link->taken_ns = clock_ns();
	*fd = STEAL_FD(file);
	*loan = taken;
	return MC_OK;
}

void puller_give_back(struct puller *puller, void *given)
{
	struct loan *loan = given;

	pthread_mutex_lock(&puller->lock);
	*loan->at = loan->next;
	if (loan->next)
		loan->next->at = loan->at;
	if (loan->link)
		puller_release_locked(puller, loan->link, loan->id, loan->version);
	pthread_mutex_unlock(&puller->lock);
	free(loan);
}

enum mc_status puller_start(struct puller *puller, const struct puller_config *config)
{
	MUST(config->dial && config->links_max > 0);
	*puller = (struct puller){.config = *config};
	puller->scratch = malloc(PULLER_SCRATCH_SIZE);
	if (!puller->scratch)
		return MC_NO_MEMORY;
	siphon_init(&puller->siphon);
	pthread_mutex_init(&puller->lock, NULL);
	pthread_cond_init(&puller->freed, NULL);
	enum mc_status status = poller_start(&puller->poller, config->name, turn, puller);
	if (status) {
		pthread_cond_destroy(&puller->freed);
		pthread_mutex_destroy(&puller->lock);
		siphon_fini(&puller->siphon);
		free(puller->scratch);
	}
	return status;
}

static void free_loans(struct loan *loan)
{
	while (loan) {
		struct loan *next = loan->next;
		free(loan);
		loan = next;
	}
}

void puller_halt(struct puller *puller)
{
	WITH_LOCK(&puller->lock);
	puller->stopping = true;
	attention_locked(puller);
}

void puller_await_halt(struct puller *puller)
{
	WITH_LOCK(&puller->lock);
	while (puller->fetch_count > 0)
		pthread_cond_wait(&puller->freed, &puller->lock);
}

void puller_stop(struct puller *puller)
{
	puller_halt(puller);
	poller_stop(&puller->poller);
	MUST(!puller->fetches);
	while (puller->peers) {
		struct peer *peer = puller->peers;
		while (peer->links) {
			struct link *link = peer->links;
			peer->links = link->next;
			free_loans(link->loans);
			link_free(link);
		}
		puller->peers = peer->next;
		free(peer);
	}
	free_loans(puller->strays);
	free_dead(puller);
	siphon_fini(&puller->siphon);
	free(puller->scratch);
	pthread_cond_destroy(&puller->freed);
	pthread_mutex_destroy(&puller->lock);
}

void puller_counters(struct puller *puller, struct transport_counters *counters)
{
	counters->pulls_done += atomic_load(&puller->pulls_done);
	counters->bytes_pulled += atomic_load(&puller->bytes_pulled);
	counters->checksum_errors += atomic_load(&puller->checksum_errors);
	counters->connections += atomic_load(&puller->dials);
}
