/*
 * tools/bench/master.c -- how fast the master answers, and what an object costs it
 *
 * One thread sends requests straight to a master of its own, without a node.
 * Where a Python with Mooncake's wheel is given, its master has its turn after
 * each round, driven by its own client at its best number of threads.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/caller.h"
#include "tools/bench/mooncake.h"
#include "tools/bench/port.h"
#include "tools/bench/resident.h"
#include "tools/bench/run.h"
#include "tools/bench/sample.h"
#include "tools/bench/seat.h"
#include "tools/bench/workload.h"

#define BATCH		 128u
#define KEY_SIZE	 80u
#define OBJECT_SIZE	 4096u
#define IDS_MAX		 (1u << 20) /* that one grant of ids holds */
#define STREAM_NAMES	 (1024u * BATCH)
#define ROUND_NS	 300000000u
#define ROUND_SECONDS	 0.3
#define ALONE_COUNT	 2000u /* lookups of a round, one at a time */
#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS	 60000
#define LOOKUP_STEP	 7919u /* a prime: lookups jump about */
#define BAR_LOOKUPS	 1e6

struct contest {
	struct run *run;
	struct child master;
	char address[64];
	char socket[64];
	struct caller caller;
	uint64_t count; /* objects with a name, 0 to count - 1 */
	bool peer;	/* there is Mooncake's own */
	struct mooncake mooncake;
};

/* Whole requests, one after the other, all of one size, to be sent again and again. */
struct stream {
	struct writer frames;
	size_t frame_size;
	size_t count;
	size_t next;
};

static void name_of(uint64_t number, char *name)
{
	snprintf(name, KEY_SIZE + 1, "%0*llu", (int)KEY_SIZE, (unsigned long long)number);
}

static enum mc_status master_start(struct contest *contest, const char *journal,
				   const char *threads)
{
	struct run *run = contest->run;
	char program[PATH_MAX + 32], log[PATH_MAX];
	unsigned port = port_free();

	MUST(snprintf(program, sizeof(program), "%s/mooncake-master", run->bin) < PATH_MAX);
	MUST(snprintf(log, sizeof(log), "%s/master.log", run->scratch) < PATH_MAX);
	snprintf(contest->address, sizeof(contest->address), "127.0.0.1:%u", port);
	snprintf(contest->socket, sizeof(contest->socket), "@mooncake-bench-%d-%u", (int)getpid(),
		 port);
	char *argv[] = {
		program,	 "--listen",  contest->address, "--socket",
		contest->socket, "--journal", (char *)journal,	"--threads",
		(char *)threads, "--ttl-ms",  "600000",		NULL,
	};
	enum mc_status status = child_start(&contest->master, "master", log, argv);
	if (status)
		return status;
	if (!port_wait(port, &contest->master, START_TIMEOUT_MS)) {
		child_show_log(&contest->master);
		return MC_TIMEOUT;
	}
	contest->count = 0;
	return caller_open(&contest->caller, contest->address, MC_ROLE_NODE);
}

static void master_stop(struct contest *contest)
{
	caller_close(&contest->caller);
	if (child_running(&contest->master) && !child_stop(&contest->master, STOP_TIMEOUT_MS)) {
		log_warn("the master ended badly status=0x%x", contest->master.wait_status);
		child_show_log(&contest->master);
	}
}

static void publish_write(struct contest *contest, unsigned batch)
{
	struct writer *w = &contest->caller.out;
	struct mc_attr attr = {.version = 1,
			       .size = OBJECT_SIZE,
			       .allocated = OBJECT_SIZE,
			       .mode = S_IFREG | 0644,
			       .nlink = 1};
	size_t begin = caller_begin(&contest->caller);
	char name[KEY_SIZE + 1];

	put_u16(w, (uint16_t)batch);
	for (unsigned i = 0; i < batch; i++) {
		name_of(contest->count++, name);
		attr.id = contest->caller.next_id++;
		put_u64(w, MC_ROOT_ID);
		put_string(w, name, KEY_SIZE);
		put_u32(w, 0);
		put_attr(w, &attr);
	}
	caller_end(&contest->caller, begin, MC_VERB_PUBLISH);
}

/* The reply to a batch: as many results, the first of them good. */
static enum mc_status batch_receive(struct caller *caller, unsigned count)
{
	struct reader body;
	enum mc_status status = caller_receive(caller, &body);

	if (!status && (get_u16(&body) != count || body.failed))
		status = MC_PROTOCOL;
	return status ? status : get_status(&body);
}

/* Publish batches, two in flight, until so many are or the time is over. */
static enum mc_status publish(struct contest *contest, uint64_t count, uint64_t time_ns)
{
	uint64_t end_ns = clock_ns() + time_ns, left = IDS_MAX;
	unsigned in_flight = 0;
	enum mc_status status = caller_more_ids(&contest->caller);

	while (!status && (count > 0 || in_flight > 0)) {
		while (!status && in_flight < 2 && count > 0 && left >= BATCH) {
			publish_write(contest, BATCH);
			status = caller_flush(&contest->caller);
			in_flight++;
			left -= BATCH;
			count = count > BATCH && clock_ns() < end_ns ? count - BATCH : 0;
		}
		if (!status && in_flight > 0) {
			status = batch_receive(&contest->caller, BATCH);
			in_flight--;
		}
		if (!status && in_flight == 0 && count > 0) {
			status = caller_more_ids(&contest->caller);
			left = IDS_MAX;
		}
	}
	return status;
}

static void stream_make(struct contest *contest, enum mc_verb verb, unsigned batch,
			struct stream *stream)
{
	struct caller *caller = &contest->caller;
	struct writer *w = &caller->out;
	char name[KEY_SIZE + 1];
	uint64_t number = 0;

	stream->count = STREAM_NAMES / batch;
	stream->next = 0;
	for (size_t i = 0; i < stream->count; i++) {
		size_t begin = caller_begin(caller);
		put_u16(w, (uint16_t)batch);
		for (unsigned j = 0; j < batch; j++) {
			number += LOOKUP_STEP;
			name_of(number % contest->count, name);
			if (verb == MC_VERB_LOOKUP)
				put_u64(w, MC_ROOT_ID);
			put_string(w, name, KEY_SIZE);
		}
		caller_end(caller, begin, verb);
	}
	stream->frames = caller->out;
	stream->frame_size = stream->frames.size / stream->count;
	MUST(!stream->frames.failed);
	writer_init(&caller->out);
}

static enum mc_status stream_send(struct stream *stream, struct caller *caller, size_t count)
{
	enum mc_status status = MC_OK;

	while (count > 0 && !status) {
		size_t now = stream->count - stream->next;
		now = now < count ? now : count;
		status =
			caller_send(caller, stream->frames.data + stream->next * stream->frame_size,
				    now * stream->frame_size);
		stream->next = (stream->next + now) % stream->count;
		count -= now;
	}
	return status;
}

/* One round: names a second, so many requests in flight. */
static enum mc_status stream_run(struct stream *stream, struct caller *caller, unsigned batch,
				 unsigned in_flight, double *per_second)
{
	uint64_t start_ns = clock_ns(), now_ns = start_ns, names = 0;
	enum mc_status status = stream_send(stream, caller, in_flight);
	size_t answered = 0;

	while (!status && now_ns - start_ns < ROUND_NS) {
		status = batch_receive(caller, batch);
		names += batch;
		answered++;
		/* Send as many as came together. */
		if (status || (caller_has_more(caller) && answered < in_flight))
			continue;
		status = stream_send(stream, caller, answered);
		answered = 0;
		now_ns = clock_ns();
	}
	for (size_t left = in_flight - answered; left > 0 && !status; left--)
		status = batch_receive(caller, batch);
	*per_second = (double)names * 1e9 / (double)(now_ns - start_ns);
	return status;
}

/* One round of the other master; NAN where there is none. */
static double peer_round(struct contest *contest, const char *command, unsigned threads)
{
	double per_second = NAN;

	if (!contest->peer)
		return NAN;
	cJSON *answer =
		mooncake_ask(&contest->mooncake, "%s %u %g", command, threads, ROUND_SECONDS);
	const cJSON *value = cJSON_GetObjectItem(answer, "per_second");
	if (cJSON_IsNumber(value))
		per_second = value->valuedouble;
	cJSON_Delete(answer);
	return per_second;
}

/* The number of threads with which the other one is fastest. */
static unsigned peer_threads(struct contest *contest, const char *command, unsigned max)
{
	unsigned best = 1;
	double fastest = 0;

	for (unsigned threads = 1; threads <= max && contest->peer; threads *= 2) {
		double per_second = peer_round(contest, command, threads);
		if (per_second > fastest) {
			fastest = per_second;
			best = threads;
		}
	}
	return best;
}

static void rate_row(struct contest *contest, const char *op, double value, const char *reference,
		     double reference_value)
{
	struct row row = {
		.bench = "master",
		.op = op,
		.threads = 1,
		.value = value,
		.unit = "1/s",
		.reference = reference,
		.reference_value = reference_value,
	};

	report_row(&contest->run->report, &row);
}

/* Lookups of one kind, beside the other master's where it has the like. */
static enum mc_status lookups_measure(struct contest *contest, const char *op, enum mc_verb verb,
				      unsigned batch, unsigned in_flight, const char *peer_command)
{
	struct sample ours = {0}, theirs = {0};
	struct stream stream;
	enum mc_status status = MC_OK;
	unsigned threads = peer_command ? peer_threads(contest, peer_command, 64) : 0;
	double before_s = processor_seconds(contest->master.pid), names = 0;

	stream_make(contest, verb, batch, &stream);
	for (unsigned i = 0; i <= contest->run->options.rounds && !status; i++) {
		double per_second;
		status = stream_run(&stream, &contest->caller, batch, in_flight, &per_second);
		names += per_second * ROUND_SECONDS;
		if (i > 0)
			sample_add(&ours, per_second);
		if (i > 0 && peer_command && contest->peer)
			sample_add(&theirs, peer_round(contest, peer_command, threads));
	}
	double used_s = processor_seconds(contest->master.pid) - before_s;
	/* One thread answers: this is what it can do where nobody takes its core away. */
	if (!status && !peer_command)
		rate_row(contest, "lookup_core", names / used_s, "bar", BAR_LOOKUPS);
	else if (!status)
		report_note(&contest->run->report,
			    "%s: %.2f us of the master's processor time a name", op,
			    used_s * 1e6 / names);
	if (!status)
		rate_row(contest, op, sample_median(&ours),
			 peer_command && contest->peer ? "mooncake" : NULL, sample_median(&theirs));
	if (threads && contest->peer)
		report_note(&contest->run->report, "%s: Mooncake's is best with %u threads", op,
			    threads);
	writer_fini(&stream.frames);
	sample_fini(&ours);
	sample_fini(&theirs);
	return status;
}

static enum mc_status publish_measure(struct contest *contest)
{
	struct sample ours = {0}, theirs = {0};
	/* With more its transfers begin to fail. */
	unsigned threads = peer_threads(contest, "publish", 4);
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i <= contest->run->options.rounds && !status; i++) {
		uint64_t before = contest->count, start_ns = clock_ns();
		status = publish(contest, UINT64_MAX, ROUND_NS);
		double per_second =
			(double)(contest->count - before) * 1e6 / clock_since_us(start_ns);
		if (i == 0)
			continue;
		sample_add(&ours, per_second);
		if (contest->peer)
			sample_add(&theirs, peer_round(contest, "publish", threads));
	}
	if (!status)
		rate_row(contest, "publish_batch", sample_median(&ours),
			 contest->peer ? "mooncake" : NULL, sample_median(&theirs));
	if (contest->peer)
		report_note(&contest->run->report,
			    "publish_batch: Mooncake's is best with %u threads", threads);
	sample_fini(&ours);
	sample_fini(&theirs);
	return status;
}

static void alone_row(struct contest *contest, const char *op, struct sample *ours,
		      const char *reference, struct sample *theirs)
{
	struct row row = {
		.bench = "master",
		.op = op,
		.threads = 1,
		.value = sample_median(ours),
		.unit = "us",
		.reference = reference,
		.reference_value = sample_median(theirs),
	};

	report_row(&contest->run->report, &row);
	sample_fini(ours);
	sample_fini(theirs);
}

/* One lookup at a time, beside bare round trips over the same kind of socket. */
struct alone {
	struct contest *contest;
	const char *address;
	struct echo *echo;
	const char *reference;
	struct seats seats;
	enum seating seating;
};

/* Both pairs with their ends on the same processors, or where they like. */
static void seats_take(const struct alone *alone)
{
	int near = alone->seats.near;
	int far = alone->seating == SEAT_APART ? alone->seats.other : near;

	if (alone->seating == SEAT_FREE)
		return;
	seat_process(getpid(), near);
	seat_process(alone->contest->master.pid, far);
	seat_process(alone->echo->pid, far);
}

static void seats_leave(const struct alone *alone)
{
	if (alone->seating == SEAT_FREE)
		return;
	seat_free(&alone->seats, getpid());
	seat_free(&alone->seats, alone->contest->master.pid);
	seat_free(&alone->seats, alone->echo->pid);
}

static enum mc_status lookups_alone(struct stream *stream, struct caller *caller,
				    struct sample *sample)
{
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < ALONE_COUNT && !status; i++) {
		uint64_t start_ns = clock_ns();
		status = stream_send(stream, caller, 1);
		if (!status)
			status = batch_receive(caller, 1);
		sample_add(sample, clock_since_us(start_ns));
	}
	return status;
}

static enum mc_status lookup_alone_seated(const struct alone *alone)
{
	static const char *const ops[SEATING_COUNT] = {"lookup_alone", "lookup_alone_apart",
						       "lookup_alone_free"};
	struct contest *contest = alone->contest;
	struct sample ours = {0}, theirs = {0};
	struct stream stream;
	struct caller caller;
	enum mc_status status = caller_open(&caller, alone->address, MC_ROLE_CLIENT);

	stream_make(contest, MC_VERB_LOOKUP, 1, &stream);
	for (unsigned i = 0; i < contest->run->options.rounds && !status; i++) {
		seats_take(alone);
		status = echo_measure(alone->echo, ALONE_COUNT, &theirs);
		if (!status)
			status = lookups_alone(&stream, &caller, &ours);
		seats_leave(alone);
	}
	caller_close(&caller);
	writer_fini(&stream.frames);
	alone_row(contest, ops[alone->seating], &ours, alone->reference, &theirs);
	return status;
}

/* Latency depends on whether a wake-up stays on its processor. */
static enum mc_status lookup_alone_measure(struct contest *contest, const char *address,
					   struct echo *echo, const char *reference)
{
	struct alone alone = {contest, address, echo, reference, .seating = SEAT_TOGETHER};
	enum mc_status status = MC_OK;

	if (seats_find(&alone.seats)) {
		report_note(&contest->run->report, "one processor: nothing is placed");
		alone.seating = SEAT_FREE;
		return lookup_alone_seated(&alone);
	}
	for (unsigned i = 0; i < SEATING_COUNT && !status; i++) {
		alone.seating = (enum seating)i;
		status = lookup_alone_seated(&alone);
	}
	return status;
}

/* The same with publications, into the journal. */
static enum mc_status publish_alone_measure(struct contest *contest)
{
	struct sample ours = {0}, theirs = {0};
	struct caller *caller = &contest->caller;
	enum mc_status status = caller_more_ids(caller);

	for (unsigned i = 0; i < contest->run->options.rounds && !status; i++) {
		status = echo_measure(&contest->run->machine.tcp, ALONE_COUNT, &theirs);
		for (unsigned j = 0; j < ALONE_COUNT && !status; j++) {
			uint64_t start_ns = clock_ns();
			publish_write(contest, 1);
			status = caller_flush(caller);
			if (!status)
				status = batch_receive(caller, 1);
			sample_add(&ours, clock_since_us(start_ns));
		}
	}
	alone_row(contest, "publish_alone", &ours, "rtt_tcp", &theirs);
	return status;
}

static enum mc_status memory_measure(struct contest *contest)
{
	uint64_t count = contest->run->options.object_count;
	double before_mb = resident_mb(contest->master.pid);
	uint64_t start_ns = clock_ns();
	enum mc_status status = publish(contest, count, UINT64_MAX / 2);

	if (status)
		return status;
	struct row row = {
		.bench = "master",
		.op = "memory",
		.size = KEY_SIZE,
		.threads = 1,
		.value = (resident_mb(contest->master.pid) - before_mb) * 1e6 /
			 (double)contest->count,
		.unit = "bytes",
		.reference = "bar",
		.reference_value = 300,
	};
	report_note(&contest->run->report, "memory: %llu objects in %.1f s, keys of %u bytes",
		    (unsigned long long)contest->count, clock_since_us(start_ns) / 1e6, KEY_SIZE);
	report_row(&contest->run->report, &row);
	return MC_OK;
}

/* A master with one thread that answers, and with names in memory only. */
static enum mc_status one_thread(struct contest *contest)
{
	enum mc_status status = master_start(contest, "memory", "1");

	if (!status)
		status = memory_measure(contest);
	if (!status)
		status = lookups_measure(contest, "lookup_batch", MC_VERB_LOOKUP, BATCH, 4, NULL);
	master_stop(contest);
	return status;
}

/* A master as it is started by default. */
static enum mc_status by_default(struct contest *contest)
{
	struct run *run = contest->run;
	char journal[PATH_MAX];

	MUST(snprintf(journal, sizeof(journal), "file:%s/journal", run->scratch) < PATH_MAX);
	enum mc_status status = master_start(contest, journal, "0");
	if (!status)
		status = publish(contest, STREAM_NAMES, UINT64_MAX / 2);
	if (!status)
		status = publish_alone_measure(contest);
	if (!status)
		status = lookup_alone_measure(contest, contest->address, &run->machine.tcp,
					      "rtt_tcp");
	if (!status)
		status = lookup_alone_measure(contest, contest->socket, &run->machine.unix_,
					      "rtt_unix");
	if (!status)
		status = lookups_measure(contest, "lookup_64", MC_VERB_LOOKUP, 1, 64, "lookup");
	if (!status)
		status =
			lookups_measure(contest, "exists_batch", MC_VERB_EXISTS, BATCH, 4, "exist");
	if (!status)
		status = publish_measure(contest);
	master_stop(contest);
	return status;
}

enum mc_status bench_master(struct run *run)
{
	struct contest *contest = calloc(1, sizeof(*contest));
	enum mc_status status = MC_OK;

	if (!contest)
		return MC_NO_MEMORY;
	contest->run = run;
	status = one_thread(contest);
	contest->peer = run->options.python || run->options.venv;
	if (!contest->peer)
		report_note(&run->report, "without --python FILE or --venv DIR there is nothing "
					  "to compare with");
	if (!status && contest->peer)
		status = mooncake_open(&contest->mooncake, run);
	if (!status)
		status = by_default(contest);
	if (contest->peer)
		mooncake_close(&contest->mooncake);
	free(contest);
	return status;
}
