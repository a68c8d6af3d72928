#include "engine/transport/onesided/carrier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/engine.h"
#include "engine/transport/onesided/note.h"
#include "engine/transport/puller.h"
#include "engine/transport/span.h"

#define AHEAD	  2u /* pieces in flight */
#define HOSTS_MAX 4096u

/*
 * A peer that was read from: its channel stays, whatever object is asked for, as long
 * as something is now and then.  (One that was started again has another name.)
 */
struct host {
	struct host *next;
	mc_segment_id segment;
	unsigned users;	  /* jobs under way */
	uint64_t used_ns; /* when the last of them ended */
	char name[SEGMENT_NAME_SIZE];
};

struct piece {
	struct mc_batch *batch; /* NULL: none */
	uint64_t index;
	bool again;
};

struct job {
	struct job *next;
	struct carrier *carrier;
	struct fetch *fetch;
	/* protected by the carrier's lock */
	struct span todo; /* pieces */
	struct mc_batch *batches[AHEAD];
	bool cancelled;
	/* owned by its thread */
	struct segment_desc *desc;
	const uint8_t *sums;
	struct transport_target target;
	struct host *host; /* NULL: the segment is its own */
	mc_segment_id segment;
	uint64_t address; /* of the object, at its owner */
	struct piece pieces[AHEAD];
};

/* --- peers ---------------------------------------------------------------------- */

static struct host *host_locked(const struct carrier *carrier, const char *name)
{
	struct host *host = carrier->hosts;

	while (host && strcmp(host->name, name) != 0)
		host = host->next;
	return host;
}

/* Remember how the peer is reached, by the segment of this job. */
static void host_note(struct carrier *carrier, struct job *job)
{
	struct host *host = calloc(1, sizeof(*host));

	if (!host)
		return;
	snprintf(host->name, sizeof(host->name), "%s", job->desc->name);
	host->segment = job->segment;
	host->users = 1;
	WITH_LOCK(&carrier->lock);
	if (carrier->host_count == HOSTS_MAX || host_locked(carrier, host->name)) {
		free(host);
		return;
	}
	host->next = carrier->hosts;
	carrier->hosts = host;
	carrier->host_count++;
	job->host = host;
}

/* Take out those that nothing was read from lately. */
static struct host *take_idle_locked(struct carrier *carrier, uint64_t now_ns)
{
	struct host *idle = NULL;

	for (struct host **at = &carrier->hosts; *at;) {
		struct host *host = *at;
		if (host->users > 0 || now_ns < host->used_ns + CARRIER_IDLE_MS * 1000000ull) {
			at = &host->next;
			continue;
		}
		*at = host->next;
		carrier->host_count--;
		host->next = idle;
		idle = host;
	}
	return idle;
}

static void leave(struct carrier *carrier, mc_segment_id segment)
{
	if (mc_segment_close(carrier->engine, segment))
		log_error("the segment of an object is busy");
}

/* Open the object as a segment of its own, on the channel of its peer if there is one. */
static enum mc_status open_object(struct carrier *carrier, struct job *job)
{
	char name[32];

	pthread_mutex_lock(&carrier->lock);
	struct host *idle = take_idle_locked(carrier, clock_ns());
	struct host *host = host_locked(carrier, job->desc->name);
	if (host)
		host->users++;
	snprintf(name, sizeof(name), "@%lu", (unsigned long)++carrier->segments);
	pthread_mutex_unlock(&carrier->lock);
	while (idle) {
		struct host *next = idle->next;
		leave(carrier, idle->segment);
		free(idle);
		idle = next;
	}
	job->host = host;
	enum mc_status status =
		segment_adopt(&carrier->engine->segments, name, segment_desc_ref(job->desc),
			      host ? host->segment : 0, &job->segment);
	if (!status && !host)
		host_note(carrier, job);
	return status;
}

/* What was opened is closed, but for the segment that stands for the peer. */
static void close_object(struct carrier *carrier, struct job *job, bool opened)
{
	bool stays = false;

	pthread_mutex_lock(&carrier->lock);
	if (job->host) {
		stays = job->host->segment == job->segment;
		job->host->used_ns = clock_ns();
		job->host->users--;
	}
	pthread_mutex_unlock(&carrier->lock);
	if (opened && !stays)
		leave(carrier, job->segment);
}

/* --- pieces ----------------------------------------------------------------------- */

static uint32_t piece_length(const struct job *job, uint64_t index)
{
	uint64_t left = job->fetch->attr.size - index * NOTE_PIECE_SIZE;

	return left < NOTE_PIECE_SIZE ? (uint32_t)left : NOTE_PIECE_SIZE;
}

static enum mc_status piece_begin(struct job *job, struct piece *piece, uint64_t index, bool again)
{
	struct mc_engine *engine = job->carrier->engine;
	uint64_t at = index * NOTE_PIECE_SIZE;
	struct mc_request request = {MC_READ, (uint8_t *)job->target.memory + at, job->segment,
				     job->address + at, piece_length(job, index)};
	struct mc_batch *batch;
	enum mc_status status = mc_batch_new(engine, 1, &batch);

	if (status)
		return status;
	mc_batch_deadline(batch, job->fetch->pull->step_ms);
	status = mc_batch_submit(batch, &request, 1);
	if (status) {
		(void)!mc_batch_free(batch);
		return status;
	}
	*piece = (struct piece){batch, index, again};
	WITH_LOCK(&job->carrier->lock);
	job->batches[piece - job->pieces] = batch;
	if (job->cancelled)
		mc_batch_cancel(batch);
	return MC_OK;
}

static enum mc_status piece_wait(struct job *job, struct piece *piece)
{
	enum mc_status status = mc_batch_wait(piece->batch, -1);

	pthread_mutex_lock(&job->carrier->lock);
	job->batches[piece - job->pieces] = NULL;
	pthread_mutex_unlock(&job->carrier->lock);
	if (mc_batch_free(piece->batch))
		log_error("a batch that has ended is busy");
	piece->batch = NULL;
	return status;
}

static bool piece_right(const struct job *job, uint64_t index)
{
	const uint8_t *bytes = (const uint8_t *)job->target.memory + index * NOTE_PIECE_SIZE;

	return crc32c(0, bytes, piece_length(job, index)) == load_u32(job->sums + index * 4);
}

/* Begin the next one that is left.  False: none is. */
static bool begin_next(struct job *job, struct piece *piece, enum mc_status *status)
{
	uint64_t index;

	pthread_mutex_lock(&job->carrier->lock);
	bool left = span_take(&job->todo, &index);
	pthread_mutex_unlock(&job->carrier->lock);
	if (left)
		*status = piece_begin(job, piece, index, false);
	return left && !*status;
}

/* One piece is there, or failed. */
static enum mc_status piece_end(struct job *job, struct piece *piece)
{
	struct transport_pull *pull = job->fetch->pull;
	uint64_t index = piece->index;
	bool again = piece->again;
	enum mc_status status = piece_wait(job, piece);

	if (status)
		return status;
	if (!piece_right(job, index)) {
		atomic_fetch_add(&job->carrier->puller->checksum_errors, 1);
		log_warn("bytes came damaged id=%lu piece=%lu again=%d", pull->id, index, again);
		return again ? MC_IO : piece_begin(job, piece, index, true);
	}
	if (pull->sink->arrived)
		pull->sink->arrived(pull, index * NOTE_PIECE_SIZE, piece_length(job, index));
	return MC_OK;
}

static enum mc_status carry_pieces(struct job *job)
{
	enum mc_status status = MC_OK;
	unsigned turn = 0;

	for (unsigned i = 0; i < AHEAD && begin_next(job, &job->pieces[i], &status); i++)
		;
	while (!status && job->pieces[turn].batch) {
		struct piece *piece = &job->pieces[turn];
		status = piece_end(job, piece);
		if (!status && !piece->batch)
			begin_next(job, piece, &status);
		turn = (turn + 1) % AHEAD;
	}
	for (unsigned i = 0; i < AHEAD; i++) {
		if (!job->pieces[i].batch)
			continue;
		mc_batch_cancel(job->pieces[i].batch);
		(void)!piece_wait(job, &job->pieces[i]);
	}
	return status;
}

/* --- a job -------------------------------------------------------------------------- */

static enum mc_status carry_object(struct job *job)
{
	struct carrier *carrier = job->carrier;
	enum mc_status status = open_object(carrier, job);
	bool opened = !status;

	if (opened)
		status = mc_engine_register(carrier->engine, job->target.memory,
					    job->fetch->attr.size, NULL, MC_REGION_LOCAL);
	if (!status) {
		status = carry_pieces(job);
		if (mc_engine_unregister(carrier->engine, job->target.memory))
			log_error("memory that was read into is busy");
	}
	close_object(carrier, job, opened);
	return status;
}

static enum mc_status carry(struct job *job)
{
	struct fetch *fetch = job->fetch;
	enum mc_status status =
		note_read(fetch->note, fetch->note_size, fetch->attr.size, &job->sums, &job->desc);

	if (status)
		return status;
	job->target.fd = -1;
	status = fetch->pull->sink->begin(fetch->pull, &fetch->attr, &job->target);
	if (!status && job->desc) {
		job->address = job->desc->buffers[0].addr;
		status = carry_object(job);
	}
	segment_desc_unref(job->desc);
	/* What the owner showed is there no more: another may have it. */
	return status == MC_ACCESS ? MC_UNREACHABLE : status;
}

/* Nobody finds the job by its fetch after this. */
static void finish(struct carrier *carrier, struct job *job, enum mc_status status)
{
	puller_finish(carrier->puller, job->fetch, status);
	free(job);
	atomic_store(&carrier->ended_ns, clock_ns());
	atomic_fetch_sub(&carrier->jobs, 1);
}

uint64_t carrier_moved_ns(const struct carrier *carrier)
{
	return atomic_load(&carrier->jobs) ? UINT64_MAX : atomic_load(&carrier->ended_ns);
}

static struct job *next_locked(struct carrier *carrier, unsigned index)
{
	struct job *job = carrier->first;

	carrier->first = job->next;
	if (!carrier->first)
		carrier->last = &carrier->first;
	carrier->active[index] = job;
	return job;
}

static void *work(void *context)
{
	struct carrier *carrier = context;
	unsigned index = atomic_fetch_add(&carrier->numbered, 1);

	pthread_setname_np(pthread_self(), "mc-carrier");
	pthread_mutex_lock(&carrier->lock);
	while (!carrier->stopping || carrier->first) {
		if (!carrier->first) {
			pthread_cond_wait(&carrier->wake, &carrier->lock);
			continue;
		}
		struct job *job = next_locked(carrier, index);
		bool cancelled = job->cancelled || carrier->stopping;
		pthread_mutex_unlock(&carrier->lock);
		enum mc_status status = cancelled ? MC_CANCELLED : carry(job);
		pthread_mutex_lock(&carrier->lock);
		carrier->active[index] = NULL;
		pthread_mutex_unlock(&carrier->lock);
		finish(carrier, job, status);
		pthread_mutex_lock(&carrier->lock);
	}
	pthread_mutex_unlock(&carrier->lock);
	return NULL;
}

void carrier_take(void *context, struct fetch *fetch)
{
	struct carrier *carrier = context;
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		puller_finish(carrier->puller, fetch, MC_NO_MEMORY);
		return;
	}
	job->carrier = carrier;
	job->fetch = fetch;
	atomic_fetch_add(&carrier->jobs, 1);
	span_init(&job->todo, 0, note_pieces(fetch->attr.size));
	pthread_mutex_lock(&carrier->lock);
	bool stopping = carrier->stopping;
	if (!stopping) {
		fetch->own = job;
		*carrier->last = job;
		carrier->last = &job->next;
		pthread_cond_signal(&carrier->wake);
	}
	pthread_mutex_unlock(&carrier->lock);
	if (!stopping)
		return;
	finish(carrier, job, MC_CANCELLED);
}

static void cancel_locked(struct job *job)
{
	job->cancelled = true;
	for (unsigned i = 0; i < AHEAD; i++) {
		if (job->batches[i])
			mc_batch_cancel(job->batches[i]);
	}
}

void carrier_give_up(void *context, struct fetch *fetch)
{
	struct carrier *carrier = context;

	WITH_LOCK(&carrier->lock);
	if (fetch->own)
		cancel_locked(fetch->own);
}

void carrier_want(struct carrier *carrier, struct transport_pull *pull, uint64_t offset,
		  uint64_t length)
{
	/* The puller's lock keeps the fetch, and with it the job. */
	WITH_LOCK(&carrier->puller->lock);
	struct fetch *fetch = pull->state;

	if (!fetch || length == 0 || offset + length < offset)
		return;
	WITH_LOCK(&carrier->lock);
	struct job *job = fetch->own;
	if (job)
		span_want(&job->todo, offset / NOTE_PIECE_SIZE,
			  (offset + length - 1) / NOTE_PIECE_SIZE + 1);
}

enum mc_status carrier_start(struct carrier *carrier, struct mc_engine *engine,
			     struct puller *puller)
{
	*carrier = (struct carrier){.engine = engine, .puller = puller, .last = &carrier->first};
	pthread_mutex_init(&carrier->lock, NULL);
	pthread_cond_init(&carrier->wake, NULL);
	while (carrier->thread_count < CARRIER_THREADS &&
	       thread_start(&carrier->threads[carrier->thread_count], work, carrier) == 0)
		carrier->thread_count++;
	return carrier->thread_count > 0 ? MC_OK : MC_NO_MEMORY;
}

void carrier_stop(struct carrier *carrier)
{
	pthread_mutex_lock(&carrier->lock);
	carrier->stopping = true;
	for (unsigned i = 0; i < CARRIER_THREADS; i++) {
		if (carrier->active[i])
			cancel_locked(carrier->active[i]);
	}
	pthread_cond_broadcast(&carrier->wake);
	pthread_mutex_unlock(&carrier->lock);
	for (unsigned i = 0; i < carrier->thread_count; i++)
		pthread_join(carrier->threads[i], NULL);
}

void carrier_fini(struct carrier *carrier)
{
	while (carrier->hosts) {
		struct host *host = carrier->hosts;
		carrier->hosts = host->next;
		free(host);
	}
	pthread_cond_destroy(&carrier->wake);
	pthread_mutex_destroy(&carrier->lock);
}
