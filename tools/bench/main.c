/*
 * mooncake-bench -- how fast it is, beside what it could be, on this machine
 */
#include <libgen.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

static const struct {
	const char *name;
	enum mc_status (*run)(struct run *run);
	const char *help;
} benches[] = {
	{"local", bench_local, "put, get, stat, unlink on one node beside /dev/shm"},
	{"remote", bench_remote, "get on a node of objects that another node put"},
	{"counters", bench_counters, "RPCs, requests and copies of a put and a get"},
	{"memory", bench_memory, "memory of node and master for 200 000 objects"},
	{"flat", bench_flat, "lookups in a directory of 200 000 names"},
	{"master", bench_master, "lookups, publications and memory of the master alone"},
	{"journal", bench_journal, "changes and starts of a master beside the etcd it writes to"},
	{"peer", bench_peer, "the same put and get through Mooncake's own store"},
	{"engine", bench_engine, "one-sided transfers beside iperf3 and Mooncake's engine"},
};

static void interrupted(int signal_number)
{
	(void)signal_number;
	workload_interrupted = 1;
}

static void usage(void)
{
	printf("usage: mooncake-bench BENCH [BENCH...] [OPTIONS]\n\n"
	       "Without --mount the bench starts a master and nodes for itself and ends them.\n"
	       "Every number is a median; references are measured in the same run, in turn.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		printf("  %-24s %s\n", benches[i].name, benches[i].help);
	printf("\n");
	options_help();
	printf("\nexit status: 0 done, 1 failed (with --check: or a bar missed), 2 bad usage,\n"
	       "130 interrupted\n");
}

/* A target only lends its memory. */
static bool measures(const struct run *run)
{
	return strcmp(run->options.role, "target") != 0;
}

static enum mc_status run_open(struct run *run)
{
	const char *tmp = getenv("TMPDIR");

	ssize_t n = readlink("/proc/self/exe", run->home, sizeof(run->home) - 1);
	if (n < 0)
		return mc_status_from_errno(errno);
	run->home[n] = '\0';
	dirname(run->home);
	snprintf(run->bin, sizeof(run->bin), "%s", run->options.bin ? run->options.bin : run->home);
	run->report.out = stdout;
	run->report.json = run->options.json;
	enum mc_status status = workplace_make(tmp ? tmp : "/tmp", run->scratch);
	if (!status && measures(run))
		machine_open(&run->machine, run->scratch, run->options.io_uring);
	return status;
}

static void run_close(struct run *run)
{
	machine_close(&run->machine);
	workplace_remove(run->scratch);
	report_fini(&run->report);
}

static enum mc_status run_benches(struct run *run, int count, char **names)
{
	enum mc_status status = MC_OK;

	if (measures(run))
		machine_report(&run->machine, &run->report, run->options.quick);
	for (int i = 0; i < count; i++) {
		for (size_t b = 0; b < ARRAY_SIZE(benches) && !status; b++) {
			if (strcmp(benches[b].name, names[i]) == 0)
				status = benches[b].run(run);
		}
	}
	if (!status && run->options.plot)
		status = plot_write(&run->report, run->options.plot);
	if (!status)
		report_close(&run->report);
	return status;
}

static bool bench_known(const char *name)
{
	for (size_t b = 0; b < ARRAY_SIZE(benches); b++) {
		if (strcmp(benches[b].name, name) == 0)
			return true;
	}
	fprintf(stderr, "mooncake-bench: unknown bench: %s\n", name);
	return false;
}

/* Also after the bench that it is asked about. */
static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	}
	return false;
}

static int exit_status(const struct run *run, enum mc_status status)
{
	if (workload_interrupted)
		return 130;
	if (status) {
		log_error("the bench failed status=\"%s\"", mc_status_text(status));
		return 1;
	}
	return run->options.check && run->report.missed_count ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct run run;
	struct sigaction action = {.sa_handler = interrupted, .sa_flags = SA_RESTART};
	int bench_count = 0;

	if (argc < 2 || wants_help(argc, argv)) {
		usage();
		return argc < 2 ? 2 : 0;
	}
	while (bench_count + 1 < argc && argv[bench_count + 1][0] != '-') {
		if (!bench_known(argv[++bench_count]))
			return 2;
	}
	int rc = options_parse(&run.options, argc - 1 - bench_count, argv + 1 + bench_count);
	if (rc >= 0)
		return rc;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	enum mc_status status = run_open(&run);
	if (!status)
		status = run_benches(&run, bench_count, argv + 1);
	rc = exit_status(&run, status);
	run_close(&run);
	return rc;
}
