/*
 * tools/bench/engine.c -- one-sided transfers beside what the machine can do
 *
 * The target is a process of its own (or a file); rounds of ours and of what else can
 * do the same (yardstick.h) follow each other.  Latency is measured with both ends on
 * one processor, with each on its own (seat.h) and where the scheduler puts them, and
 * the bare round trip beside it with its ends placed alike.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/child.h"
#include "tools/bench/machine.h"
#include "tools/bench/run.h"
#include "tools/bench/seat.h"
#include "tools/bench/transfers.h"
#include "tools/bench/workload.h"
#include "tools/bench/yardstick.h"

#define KIB	     ((uint64_t)1 << 10)
#define MIB	     ((uint64_t)1 << 20)
#define ROUNDS	     3u
#define NAME_SIZE    300
#define IDLE_PEERS   100
#define IDLE_SECONDS 2
#define TARGET_PEERS "MOONCAKE_BENCH_TARGETS" /* how many engines a target opens */

/* --- the target ------------------------------------------------------------------ */

/* Say the names of the engines and stay until nobody reads any more. */
static enum mc_status be_target(struct run *run)
{
	const char *text = getenv(TARGET_PEERS);
	long count = text ? strtol(text, NULL, 10) : 1;
	struct transfers targets[IDLE_PEERS];
	enum mc_status status = MC_OK;
	char name[NAME_SIZE], byte;
	int opened = 0;

	while (opened < count && opened < IDLE_PEERS && !status) {
		snprintf(name, sizeof(name), "target-%d-%d", getpid(), opened);
		status = transfers_open(&run->options, name, run->options.devices,
					count > 1 ? MIB : run->options.buffer, &targets[opened]);
		if (!status)
			printf("%s\n", mc_engine_name(targets[opened++].engine));
	}
	(void)fflush(stdout);
	while (!status && !workload_interrupted && read(STDIN_FILENO, &byte, 1) > 0)
		;
	while (opened > 0)
		transfers_close(&targets[--opened]);
	return status;
}

struct target {
	struct child child;
	int to;
	FILE *from;
};

static enum mc_status target_start(struct run *run, const char *peers, struct target *target)
{
	const struct options *options = &run->options;
	char self[PATH_MAX], log[PATH_MAX], buffer[24];
	char *devices = options->target_devices ? "--devices" : NULL;
	int in[2], out[2];

	snprintf(buffer, sizeof(buffer), "%lu", (unsigned long)options->buffer);
	MUST(snprintf(self, sizeof(self), "%s/mooncake-bench", run->home) < PATH_MAX);
	MUST(snprintf(log, sizeof(log), "%s/target.log", run->scratch) < PATH_MAX);
	char *argv[] = {self,	      "engine",
			"--role",     "target",
			"--metadata", (char *)options->metadata,
			"--protocol", (char *)options->protocol,
			"--memory",   (char *)options->memory,
			"--listen",   (char *)options->listen,
			"--buffer",   buffer,
			devices,      (char *)options->target_devices,
			NULL};
	if (pipe2(in, O_CLOEXEC) != 0)
		return mc_status_from_errno(errno);
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[0]);
		close(in[1]);
		return MC_NO_MEMORY;
	}
	setenv(TARGET_PEERS, peers, 1);
	enum mc_status status =
		child_start_piped(&target->child, "target", log, argv, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	target->to = in[1];
	target->from = fdopen(out[0], "r");
	MUST(target->from != NULL);
	return status;
}

static enum mc_status target_name(struct target *target, char name[NAME_SIZE])
{
	if (!fgets(name, NAME_SIZE, target->from)) {
		child_show_log(&target->child);
		return MC_UNREACHABLE;
	}
	name[strcspn(name, "\n")] = '\0';
	return MC_OK;
}

static void target_stop(struct target *target)
{
	close(target->to);
	(void)fclose(target->from);
	child_stop(&target->child, 5000);
}

/* --- cases -------------------------------------------------------------------------- */

#define YARDSTICKS_MAX 2u

struct contest {
	const struct yard *yard;
	struct transfers *transfers;
	enum seating seating;
	struct transfer_case one;
	struct sample quantities[QUANTITY_COUNT], p99, p999;
	/* what it is held against */
	const struct yardstick *yardsticks[YARDSTICKS_MAX];
	struct sample theirs[YARDSTICKS_MAX];
	unsigned yardstick_count;
};

static void sample_known(struct sample *sample, double value)
{
	if (!isnan(value))
		sample_add(sample, value);
}

static void contest_yardsticks(struct contest *contest)
{
	const char *protocol = contest->yard->run->options.protocol;
	const struct yardstick *at = NULL;

	while ((at = yardstick_next(at, protocol, &contest->one))) {
		MUST(contest->yardstick_count < YARDSTICKS_MAX);
		contest->yardsticks[contest->yardstick_count++] = at;
	}
}

/* Only a round trip over a socket wakes two processes, and only ours can be placed. */
static bool is_seated(const struct contest *contest)
{
	return case_kind(&contest->one) == CASE_ALONE && contest->yard->target != 0;
}

/* Ours and the bare round trip, with their ends on the same processors, or where they like. */
static void take_seats(const struct contest *contest)
{
	const struct yard *yard = contest->yard;

	if (contest->seating == SEAT_FREE)
		return;
	int far = contest->seating == SEAT_APART ? yard->seats.other : yard->seats.near;

	seat_process(getpid(), yard->seats.near);
	seat_process(yard->target, far);
	seat_process(yard->run->machine.tcp.pid, far);
}

static void leave_seats(const struct contest *contest)
{
	const struct yard *yard = contest->yard;

	seat_free(&yard->seats, getpid());
	seat_free(&yard->seats, yard->target);
	seat_free(&yard->seats, yard->run->machine.tcp.pid);
}

static void contest_measure(struct contest *contest)
{
	for (unsigned i = 0; i < contest->yardstick_count; i++) {
		const struct yardstick *yardstick = contest->yardsticks[i];
		sample_known(&contest->theirs[i],
			     yardstick->measure(yardstick, contest->yard, &contest->one));
	}
}

/* One round of everything that this case is held against. */
static enum mc_status contest_round(struct contest *contest)
{
	struct transfer_case *one = &contest->one;
	bool seated = is_seated(contest);

	if (seated)
		take_seats(contest);
	enum mc_status status = transfers_run(contest->transfers, one);
	if (!status)
		contest_measure(contest);
	if (seated)
		leave_seats(contest);
	if (status)
		return status;
	sample_add(&contest->quantities[MIB_PER_S], one->mib_per_s);
	sample_add(&contest->quantities[OPS_PER_S], one->ops_per_s);
	sample_add(&contest->quantities[MEDIAN_US], sample_percentile(&one->batch_us, 0.5));
	sample_add(&contest->p99, sample_percentile(&one->batch_us, 0.99));
	sample_add(&contest->p999, sample_percentile(&one->batch_us, 0.999));
	sample_fini(&one->batch_us);
	return MC_OK;
}

static const char *const seating_suffixes[SEATING_COUNT] = {"", "_apart", "_free"};

static void contest_row(struct contest *contest, const char *suffix, double value, const char *unit,
			const char *reference, double reference_value)
{
	const char *protocol = contest->yard->run->options.protocol;
	char op[32];

	snprintf(op, sizeof(op), "%s%s%s", contest->one.opcode == MC_READ ? "read" : "write",
		 suffix, seating_suffixes[contest->seating]);
	report_row(&contest->yard->run->report, &(struct row){.bench = "engine",
							      .op = op,
							      .size = contest->one.block,
							      .threads = contest->one.threads,
							      .value = value,
							      .unit = unit,
							      .reference = reference,
							      .reference_value = reference_value,
							      .protocol = protocol});
}

/* Our number beside each yardstick of its kind, or alone. */
static void contest_quantity(struct contest *contest, enum quantity quantity)
{
	static const struct {
		const char *suffix, *unit;
	} words[QUANTITY_COUNT] = {{"", "MiB/s"}, {"", "ops/s"}, {"_p50", "us"}};
	double ours = sample_median(&contest->quantities[quantity]);
	bool alone = true;

	for (unsigned i = 0; i < contest->yardstick_count; i++) {
		const struct yardstick *yardstick = contest->yardsticks[i];
		if (yardstick->quantity != quantity)
			continue;
		alone = false;
		contest_row(contest, words[quantity].suffix, ours, words[quantity].unit,
			    yardstick->names[contest->one.opcode],
			    sample_median(&contest->theirs[i]));
	}
	if (alone)
		contest_row(contest, words[quantity].suffix, ours, words[quantity].unit, NULL, NAN);
}

static void contest_report(struct contest *contest)
{
	const struct transfer_case *one = &contest->one;

	report_note(&contest->yard->run->report, "engine: %s, block %llu, batch %u, %u threads",
		    contest->yard->run->options.protocol, (unsigned long long)one->block,
		    one->batch, one->threads);
	if (case_kind(one) == CASE_LARGE)
		contest_quantity(contest, MIB_PER_S);
	else if (case_kind(one) == CASE_MANY)
		contest_quantity(contest, OPS_PER_S);
	contest_quantity(contest, MEDIAN_US);
	contest_row(contest, "_p99", sample_median(&contest->p99), "us", NULL, NAN);
	contest_row(contest, "_p999", sample_median(&contest->p999), "us", NULL, NAN);
}

static enum mc_status contest_run(struct contest *contest)
{
	const struct options *options = &contest->yard->run->options;
	unsigned rounds = options->rounds_given ? options->rounds : ROUNDS;
	enum mc_status status = MC_OK;

	contest_yardsticks(contest);
	for (unsigned i = 0; i < rounds && !status && !workload_interrupted; i++)
		status = contest_round(contest);
	if (!status)
		contest_report(contest);
	for (size_t i = 0; i < QUANTITY_COUNT; i++)
		sample_fini(&contest->quantities[i]);
	for (size_t i = 0; i < YARDSTICKS_MAX; i++)
		sample_fini(&contest->theirs[i]);
	sample_fini(&contest->p99);
	sample_fini(&contest->p999);
	return status;
}

/* Latency depends on whether a wake-up stays on its processor. */
static enum mc_status contest_seatings(const struct contest *contest)
{
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < (is_seated(contest) ? SEATING_COUNT : 1) && !status; i++) {
		struct contest seated = *contest;
		seated.seating = (enum seating)i;
		status = contest_run(&seated);
	}
	return status;
}

/* What the engine is built for, by protocol.  Files have no pieces of 8 bytes. */
static const struct usual {
	const char *protocol;
	struct {
		uint64_t block;
		unsigned batch;
	} cases[3];
} usuals[] = {
	{"rdma", {{1 * MIB, 32}, {4 * KIB, 128}, {8, 1}}},
	{"nvmeof", {{4 * MIB, 8}, {4 * KIB, 128}, {4 * KIB, 1}}},
	{"", {{4 * MIB, 8}, {4 * KIB, 128}, {8, 1}}}, /* any other */
};

static const struct usual *usual_of(const char *protocol)
{
	const struct usual *usual = usuals;

	while (*usual->protocol && strcmp(usual->protocol, protocol) != 0)
		usual++;
	return usual;
}

/* One kind of transfer, with each number of threads. */
static enum mc_status case_run(const struct yard *yard, struct transfers *transfers,
			       enum mc_opcode opcode, uint64_t block, unsigned batch)
{
	const struct options *options = &yard->run->options;
	enum mc_status status = MC_OK;

	for (size_t t = 0; t < options->thread_count && !status; t++) {
		struct contest contest = {
			.yard = yard,
			.transfers = transfers,
			.one = {.opcode = opcode,
				.block = block,
				.batch = options->batch ? (unsigned)options->batch : batch,
				.threads = options->threads[t],
				.seconds = (double)options->seconds},
		};
		status = contest_seatings(&contest);
	}
	return status;
}

/* The usual cases, or the one that was asked for. */
static enum mc_status cases_run(const struct yard *yard, struct transfers *transfers)
{
	static const char *const ops[] = {[MC_READ] = "read", [MC_WRITE] = "write"};
	const struct options *options = &yard->run->options;
	const struct usual *usual = usual_of(options->protocol);
	enum mc_status status = MC_OK;

	for (unsigned op = 0; op < ARRAY_SIZE(ops) && !status; op++) {
		if (!list_has(options->op, ops[op]))
			continue;
		if (options->block)
			status = case_run(yard, transfers, op, options->block, 1);
		for (size_t i = 0; i < ARRAY_SIZE(usual->cases) && !options->block && !status; i++)
			status = case_run(yard, transfers, op, usual->cases[i].block,
					  usual->cases[i].batch);
	}
	return status;
}

/* --- idle ------------------------------------------------------------------------------ */

static double cpu_seconds(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return NAN;
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static enum mc_status touch_peers(struct transfers *transfers, struct target *target)
{
	struct transfer_case touch = {.block = 8, .batch = 1, .threads = 1, .seconds = 0.001};
	char name[NAME_SIZE];
	enum mc_status status = MC_OK;

	for (int i = 0; i < IDLE_PEERS && !status; i++) {
		status = target_name(target, name);
		if (!status)
			status = transfers_connect(transfers, name);
		if (!status)
			status = transfers_run(transfers, &touch);
		sample_fini(&touch.batch_us);
	}
	return status;
}

static enum mc_status idle_run(struct run *run, struct transfers *transfers)
{
	struct target target = {0};
	char peers[16];

	snprintf(peers, sizeof(peers), "%d", IDLE_PEERS);
	enum mc_status status = target_start(run, peers, &target);
	if (!status)
		status = touch_peers(transfers, &target);
	if (!status) {
		usleep(200000);
		double before = cpu_seconds();
		sleep(IDLE_SECONDS);
		report_row(&run->report,
			   &(struct row){.bench = "engine",
					 .op = "idle",
					 .threads = 1,
					 .value = (cpu_seconds() - before) / IDLE_SECONDS * 100,
					 .unit = "%core",
					 .reference_value = NAN});
	}
	target_stop(&target);
	return status;
}

/* --- the bench --------------------------------------------------------------------------- */

/* target: the process that is the other end; 0: it is elsewhere. */
static enum mc_status measure(struct run *run, struct transfers *transfers, const char *name,
			      pid_t target)
{
	struct rival rival = {.run = run};
	struct yard yard = {.run = run, .rival = &rival, .size = transfers->size};
	bool tcp = strcmp(run->options.protocol, "tcp") == 0;
	enum mc_status status = transfers_connect(transfers, name);

	if (!status && target && tcp)
		status = rival_open(run, &rival);
	if (target && tcp && seats_find(&yard.seats))
		report_note(&run->report, "one processor: nothing is placed");
	else if (tcp)
		yard.target = target;
	if (!status)
		status = cases_run(&yard, transfers);
	rival_close(&rival);
	if (!status && target && !run->options.block)
		status = idle_run(run, transfers);
	return status;
}

static enum mc_status be_initiator(struct run *run, const char *name, pid_t target)
{
	struct transfers transfers;
	const char *devices = run->options.devices;
	enum mc_status status = transfers_open(&run->options, "initiator", devices,
					       run->options.buffer, &transfers);

	if (status)
		return status;
	if (run->options.file)
		status = transfers_register_file(&run->options, "initiator");
	if (!status)
		status = measure(run, &transfers, name, target);
	transfers_close(&transfers);
	return status;
}

static enum mc_status be_both(struct run *run)
{
	struct target target = {0};
	char name[NAME_SIZE];
	enum mc_status status = target_start(run, "1", &target);

	if (!status)
		status = target_name(&target, name);
	if (!status)
		status = be_initiator(run, name, target.child.pid);
	target_stop(&target);
	return status;
}

enum mc_status bench_engine(struct run *run)
{
	const struct options *options = &run->options;

	if ((strcmp(options->protocol, "nvmeof") == 0) != (options->file != NULL)) {
		report_note(&run->report, "--protocol nvmeof and --file PATH go together");
		return MC_INVALID;
	}
	if (options->file)
		return be_initiator(run, TRANSFERS_FILE_SEGMENT, 0);
	if (strcmp(options->role, "target") == 0)
		return be_target(run);
	if (strcmp(options->role, "both") == 0)
		return be_both(run);
	if (options->target)
		return be_initiator(run, options->target, 0);
	report_note(&run->report, "an initiator needs --target NAME");
	return MC_INVALID;
}
