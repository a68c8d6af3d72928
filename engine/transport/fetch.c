#include "engine/transport/fetch.h"

#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/transport/puller.h"

#define MS_NS	       1000000ull
#define AGAIN_MS_FIRST 1u
#define AGAIN_MS_MAX   50u
#define CHUNK_US       40u /* the least that a chunk takes on the wire, at 100 Gb/s */

/* --- one pull, and who brings it ---------------------------------------------- */

static struct fetch *new_fetch(struct puller *puller, struct transport_pull *pull)
{
	struct fetch *fetch = calloc(1, sizeof(*fetch));

	if (!fetch)
		return NULL;
	fetch->pull = pull;
	fetch->puller = puller;
	fetch->whole = &fetch->own_whole;
	pthread_mutex_init(&fetch->own_whole.sink, NULL);
	pthread_mutex_init(&fetch->own_whole.lock, NULL);
	atomic_fetch_add_explicit(&puller->fetch_count, 1, memory_order_relaxed);
	return fetch;
}

struct fetch *fetch_new(struct puller *puller, struct transport_pull *pull)
{
	struct fetch *fetch = new_fetch(puller, pull);

	if (!fetch)
		return NULL;
	fetch->version = pull->version;
	fetch->deadline_ns = pull->deadline_ns;
	if (fetch->deadline_ns == 0)
		fetch->deadline_ns = clock_ns() + pull->step_ms * MS_NS;
	return fetch;
}

static void fetch_free(struct fetch *fetch)
{
	struct puller *puller = fetch->puller;

	pthread_mutex_destroy(&fetch->own_whole.lock);
	pthread_mutex_destroy(&fetch->own_whole.sink);
	free(fetch->note);
	free(fetch);
	puller_freed(puller);
}

bool fetch_helps(const struct fetch *fetch)
{
	return fetch->whole != &fetch->own_whole;
}

bool fetch_idles_locked(const struct fetch *fetch)
{
	return fetch->in_flight == 0 && !(fetch->link && fetch->link->body.fetch == fetch);
}

enum whole_state whole_state(struct whole *whole)
{
	WITH_LOCK(&whole->lock);
	if (whole->todo.count > 0 && !whole->over)
		return WHOLE_MORE;
	if (whole->helper_count > 0)
		return WHOLE_COMING;
	if (whole->lost)
		return WHOLE_LOST;
	return whole->left ? WHOLE_COMING : WHOLE_DONE;
}

bool whole_is_helped(struct whole *whole)
{
	WITH_LOCK(&whole->lock);
	return whole->helper_count > 0;
}

bool whole_is_over(struct whole *whole)
{
	WITH_LOCK(&whole->lock);
	return whole->over;
}

static bool take_chunk(struct whole *whole, uint64_t *chunk)
{
	WITH_LOCK(&whole->lock);
	return !whole->over && span_take(&whole->todo, chunk);
}

/* False: there is no room for it. */
static bool return_chunk(struct whole *whole, uint64_t chunk)
{
	WITH_LOCK(&whole->lock);
	return span_return(&whole->todo, chunk);
}

void fetch_list_locked(struct fetch *fetch, struct fetch **list)
{
	fetch->next = *list;
	fetch->at = list;
	if (fetch->next)
		fetch->next->at = &fetch->next;
	*list = fetch;
}

static void fetch_unlist_locked(struct fetch *fetch)
{
	*fetch->at = fetch->next;
	if (fetch->next)
		fetch->next->at = fetch->at;
	fetch->at = NULL;
}

/* No answer to it is due that its thread could wait for. */
static void unattend_locked(struct fetch *fetch)
{
	if (fetch->puller->attended_fetch == fetch)
		fetch->puller->attended_fetch = NULL;
}

void fetch_detach_locked(struct fetch *fetch)
{
	if (fetch->at)
		fetch_unlist_locked(fetch);
	if (fetch->link) {
		/* The owner shows it for nobody now. */
		if (fetch->note && !fetch->moving)
			link_release_locked(fetch->link, fetch->attr.id, fetch->attr.version);
		link_orphan_locked(fetch->link, fetch);
		fetch->link->fetch_count--;
		fetch->link = NULL;
	}
	if (!fetch_helps(fetch))
		fetch->pull->state = NULL;
	unattend_locked(fetch);
}

static uint32_t chunk_length(const struct fetch *fetch, uint64_t chunk)
{
	uint64_t left = fetch->attr.size - chunk * PULLER_CHUNK_SIZE;

	return left < PULLER_CHUNK_SIZE ? (uint32_t)left : PULLER_CHUNK_SIZE;
}

enum mc_status fetch_ask_locked(struct fetch *fetch)
{
	enum mc_status status = MC_OK;
	uint64_t chunk;

	if (!fetch->begun) {
		const struct puller_config *config = &fetch->puller->config;
		uint32_t length = config->descriptors || config->described ? 0 : PULLER_CHUNK_SIZE;
		status = link_request_locked(fetch->link, fetch, 0, length, false);
	}
	while (fetch->begun && !status && fetch->in_flight < fetch->window &&
	       take_chunk(fetch->whole, &chunk)) {
		if (fetch_helps(fetch))
			fetch->taken[fetch->taken_count++] = chunk;
		status = link_request_locked(fetch->link, fetch, chunk * PULLER_CHUNK_SIZE,
					     chunk_length(fetch, chunk), false);
	}
	link_flush_locked(fetch->link);
	return status;
}

/* What it could not bring goes back.  The first fetch looks at what is left to do. */
static void helper_end(struct fetch *fetch)
{
	struct whole *whole = fetch->whole;
	/* Not touched any more once it may find itself alone. */
	struct puller *home = container_of(whole, struct fetch, own_whole)->puller;

	pthread_mutex_lock(&whole->lock);
	for (uint32_t i = 0; i < fetch->taken_count; i++)
		whole->lost |= !span_return(&whole->todo, fetch->taken[i]);
	whole->helper_count--;
	pthread_mutex_unlock(&whole->lock);
	puller_look(home);
	fetch_free(fetch);
}

/* No chunk is asked for any more.  True: who helps has some on its way. */
static bool close_whole(struct whole *whole)
{
	WITH_LOCK(&whole->lock);
	whole->over = true;
	return whole->helper_count > 0;
}

/* It is still the pull's, for who cancels it. */
static void await_helpers_locked(struct fetch *fetch, enum mc_status status)
{
	fetch->ended = true;
	fetch->failed = status;
	fetch->pull->state = fetch;
	fetch_list_locked(fetch, &fetch->puller->fetches);
}

void fetch_end(struct fetch *fetch, enum mc_status status)
{
	struct transport_pull *pull = fetch->pull;
	struct puller *puller = fetch->puller;
	bool helps = fetch_helps(fetch);

	pthread_mutex_lock(&puller->lock);
	/* All bytes are here: the owner may evict it again.  Who moved them has told it so. */
	if (status == MC_OK && fetch->link && !puller->config.descriptors && !fetch->moving)
		puller_release_locked(puller, fetch->link, fetch->attr.id, fetch->attr.version);
	fetch_detach_locked(fetch);
	bool helped = !helps && close_whole(fetch->whole);
	if (helped)
		await_helpers_locked(fetch, status);
	pthread_mutex_unlock(&puller->lock);
	if (helped)
		return;
	if (helps) {
		helper_end(fetch);
		return;
	}
	if (status == MC_OK)
		atomic_fetch_add_explicit(&puller->pulls_done, 1, memory_order_relaxed);
	fetch_free(fetch);
	/* Last: who hears of it may close the transport. */
	pull->sink->done(pull, status);
}

static void renew(struct fetch *fetch, uint64_t now_ns)
{
	fetch->deadline_ns = now_ns + fetch->pull->step_ms * MS_NS;
	fetch->again_ms = 0;
}

static void ask_or_end(struct fetch *fetch)
{
	pthread_mutex_lock(&fetch->puller->lock);
	enum mc_status status = fetch_ask_locked(fetch);
	bool ends = status || (fetch_helps(fetch) && fetch_idles_locked(fetch));
	pthread_mutex_unlock(&fetch->puller->lock);
	if (ends)
		fetch_end(fetch, status);
}

/* The owner can't say now: the same request again in a moment. */
static bool put_off(struct fetch *fetch, const struct link_request *request)
{
	struct puller *puller = fetch->puller;
	uint64_t now_ns = clock_ns();

	WITH_LOCK(&puller->lock);
	if (fetch->begun && !return_chunk(fetch->whole, request->offset / PULLER_CHUNK_SIZE))
		return false;
	fetch->again_ms = fetch->again_ms ? 2 * fetch->again_ms : AGAIN_MS_FIRST;
	if (fetch->again_ms > AGAIN_MS_MAX)
		fetch->again_ms = AGAIN_MS_MAX;
	fetch->retry_ns = now_ns + fetch->again_ms * MS_NS;
	unattend_locked(fetch);
	poller_alarm(&puller->poller, fetch->retry_ns);
	return true;
}

void fetch_refused(struct link *link, const struct link_request *request, enum mc_status status)
{
	(void)link;
	if (status == MC_AGAIN && !fetch_helps(request->fetch) && put_off(request->fetch, request))
		return;
	fetch_end(request->fetch, status);
}

/* --- descriptors ---------------------------------------------------------- */

struct loan *loan_new_locked(struct link *link, uint64_t id, uint64_t version)
{
	struct loan *loan = calloc(1, sizeof(*loan));

	if (!loan)
		return NULL;
	*loan = (struct loan){.link = link, .id = id, .version = version};
	loan->next = link->loans;
	loan->at = &link->loans;
	if (loan->next)
		loan->next->at = &loan->next;
	link->loans = loan;
	return loan;
}

static enum mc_status lent(struct fetch *fetch, struct link *link)
{
	struct puller *puller = fetch->puller;
	struct transport_pull *pull = fetch->pull;
	CLEANUP_FD int fd = link_take_fd(link);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) ||
	    (uint64_t)stat.st_size != fetch->attr.size)
		return MC_PROTOCOL;
	pthread_mutex_lock(&puller->lock);
	struct loan *loan = loan_new_locked(link, fetch->attr.id, fetch->attr.version);
	pthread_mutex_unlock(&puller->lock);
	enum mc_status status = MC_NO_MEMORY;
	if (loan)
		status = pull->sink->lend ? pull->sink->lend(pull, &fetch->attr, STEAL_FD(fd), loan)
					  : MC_NOT_SUPPORTED;
	if (status && loan)
		puller_give_back(puller, loan);
	fetch_end(fetch, status);
	return MC_OK;
}

/* --- bytes ---------------------------------------------------------------- */

/*
 * As many chunks as the path holds, and no more: what waits in a socket has left
 * the caches by the time that it is copied, and took fresh pages.
 */
static uint32_t window_of(const struct link *link)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	if (getsockopt(link->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return PULLER_WINDOW_MAX;
	uint32_t window = PULLER_WINDOW_MIN + info.tcpi_min_rtt / CHUNK_US;
	return window < PULLER_WINDOW_MAX ? window : PULLER_WINDOW_MAX;
}

struct fetch *fetch_new_helper(struct puller *puller, const struct fetch *first, struct link *link)
{
	struct fetch *fetch = new_fetch(puller, first->pull);

	if (!fetch)
		return NULL;
	fetch->whole = first->whole;
	fetch->attr = first->attr;
	fetch->version = first->attr.version;
	fetch->target = first->target;
	fetch->begun = true;
	fetch->link = link;
	fetch->window = window_of(link);
	fetch->deadline_ns = clock_ns() + first->pull->step_ms * MS_NS;
	WITH_LOCK(&fetch->whole->lock);
	fetch->whole->helper_count++;
	return fetch;
}

/* The size is known: nothing has come, and nobody asks yet. */
static void open_whole(struct fetch *fetch, uint64_t chunks)
{
	struct whole *whole = fetch->whole;

	WITH_LOCK(&whole->lock);
	whole->left = fetch->attr.size;
	span_init(&whole->todo, 1, chunks);
	span_want(&whole->todo, fetch->wanted.begin, fetch->wanted.end);
}

/* The size is known: ask for the rest before the first bytes are read.  False: it has ended. */
static bool begin(struct fetch *fetch)
{
	struct puller *puller = fetch->puller;
	struct transport_pull *pull = fetch->pull;
	uint64_t chunks =
		fetch->attr.size / PULLER_CHUNK_SIZE + (fetch->attr.size % PULLER_CHUNK_SIZE != 0);
	struct transport_target target = {.fd = -1};

	enum mc_status status = pull->sink->begin(pull, &fetch->attr, &target);
	if (status == MC_OK) {
		WITH_LOCK(&puller->lock);
		fetch->begun = true;
		fetch->target = target;
		fetch->window = window_of(fetch->link);
		open_whole(fetch, chunks);
		if (chunks > 1)
			status = fetch_ask_locked(fetch);
	}
	if (status)
		fetch_end(fetch, status);
	else if (puller->config.help && whole_state(fetch->whole) == WHOLE_MORE)
		puller->config.help(puller, fetch);
	return status == MC_OK;
}

/* --- where it lies ---------------------------------------------------------- */

/* Make room for what the owner says of where the bytes are. */
static enum mc_status note_begin(struct fetch *fetch, uint32_t length)
{
	if (length == 0 || length > FETCH_NOTE_SIZE_MAX || fetch->note)
		return MC_PROTOCOL;
	fetch->note = malloc(length);
	fetch->note_size = length;
	return fetch->note ? MC_OK : MC_NO_MEMORY;
}

static void note_done(struct fetch *fetch)
{
	struct puller *puller = fetch->puller;

	pthread_mutex_lock(&puller->lock);
	fetch->moving = true;
	pthread_mutex_unlock(&puller->lock);
	puller->config.described(puller->config.context, fetch);
}

/* --- replies ---------------------------------------------------------------- */

static bool attr_fits(const struct fetch *fetch, const struct mc_attr *attr)
{
	if (attr->id != fetch->pull->id || attr->size > MC_OBJECT_SIZE_MAX)
		return false;
	if (fetch->version && attr->version != fetch->version)
		return false;
	return !fetch->begun || attr->size == fetch->attr.size;
}

enum mc_status fetch_accepted(struct link *link, const struct link_request *request,
			      const struct frame *frame, const uint8_t fixed[PULL_FIXED_SIZE])
{
	struct fetch *fetch = request->fetch;
	struct mc_attr attr;
	struct reader r;

	reader_init(&r, fixed, PULL_FIXED_SIZE);
	get_attr(&r, &attr);
	uint64_t offset = get_u64(&r);
	uint32_t length = get_u32(&r), crc = get_u32(&r);
	if (r.failed || frame->size - PULL_FIXED_SIZE != length || offset != request->offset)
		return MC_PROTOCOL;
	link->body = (struct link_body){.offset = offset,
					.length = length,
					.left = length,
					.crc_due = crc,
					.again = request->again};
	if (!fetch) {
		/* What was lent to a pull that was given up goes back at once. */
		int fd = link_take_fd(link);
		if (fd >= 0 || link->puller->config.described) {
			if (fd >= 0)
				close(fd);
			WITH_LOCK(&link->puller->lock);
			link_release_locked(link, attr.id, attr.version);
			link_flush_locked(link);
		}
		return MC_OK;
	}
	if (!attr_fits(fetch, &attr))
		return MC_PROTOCOL;
	bool described = fetch->puller->config.described != NULL;
	uint64_t due = attr.size - offset;
	if (!described &&
	    (offset > attr.size || length != (due < request->length ? due : request->length)))
		return MC_PROTOCOL;
	enum mc_status status = described ? note_begin(fetch, length) : MC_OK;
	if (status)
		return status;
	fetch->attr = attr;
	pthread_mutex_lock(&fetch->puller->lock);
	fetch->version = attr.version;
	pthread_mutex_unlock(&fetch->puller->lock);
	if (fetch->puller->config.descriptors)
		return lent(fetch, link);
	renew(fetch, clock_ns());
	if (!described && !fetch->begun && !begin(fetch))
		return MC_OK;
	link->body.fetch = fetch;
	if (length == 0)
		fetch_body_done(link);
	return MC_OK;
}

/* Damaged on the way, or at the owner: once more, then it is an error. */
static void damaged(struct link *link, struct fetch *fetch, const struct link_body *body)
{
	enum mc_status status = MC_IO;

	atomic_fetch_add(&fetch->puller->checksum_errors, 1);
	log_warn("%s: bytes came damaged id=%lu offset=%lu length=%u again=%d",
		 fetch->puller->config.name, fetch->pull->id, body->offset, body->length,
		 body->again);
	if (!body->again) {
		WITH_LOCK(&fetch->puller->lock);
		status = link_request_locked(link, fetch, body->offset, body->length, true);
		link_flush_locked(link);
	}
	if (status)
		fetch_end(fetch, status);
}

static void forget_taken(struct fetch *fetch, uint64_t chunk)
{
	uint32_t i = 0;

	WITH_LOCK(&fetch->puller->lock);
	while (i < fetch->taken_count && fetch->taken[i] != chunk)
		i++;
	if (i < fetch->taken_count)
		fetch->taken[i] = fetch->taken[--fetch->taken_count];
}

/* True: it was the last of the whole, and nobody helps. */
static bool chunk_came(struct fetch *fetch, const struct link_body *body)
{
	struct whole *whole = fetch->whole;
	const struct transport_sink *sink = fetch->pull->sink;

	if (sink->arrived && body->length) {
		WITH_LOCK(&whole->sink);
		sink->arrived(fetch->pull, body->offset, body->length);
	}
	if (fetch_helps(fetch))
		forget_taken(fetch, body->offset / PULLER_CHUNK_SIZE);
	WITH_LOCK(&whole->lock);
	whole->left -= body->length;
	return whole->left == 0 && whole->helper_count == 0;
}

void fetch_body_done(struct link *link)
{
	struct link_body body = link->body;
	struct fetch *fetch = body.fetch;

	link->body.fetch = NULL;
	if (!fetch)
		return;
	if (body.crc != body.crc_due && fetch->note) {
		fetch_end(fetch, MC_IO);
		return;
	}
	if (fetch->note) {
		note_done(fetch);
		return;
	}
	if (body.crc != body.crc_due) {
		damaged(link, fetch, &body);
		return;
	}
	atomic_fetch_add_explicit(&fetch->puller->bytes_pulled, body.length, memory_order_relaxed);
	renew(fetch, link->progress_ns);
	if (chunk_came(fetch, &body))
		fetch_end(fetch, MC_OK);
	else
		ask_or_end(fetch);
}
