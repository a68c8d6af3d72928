/*
 * tools/bench/remote.c -- objects put through one node and got through another
 *
 * Every object is got once, so the second node never has a copy.  Over TCP
 * the reference is one iperf3 stream, taken before and after each size; by
 * descriptor passing it is a get of an equally fresh object on the first
 * node plus three round trips, taken round by round.
 */
#include <math.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

#define ROUND_TRIPS_ALLOWED 3
#define IPERF3_SECONDS	    1

static const struct transport {
	const char *name;
	const char *mount_options;
	bool by_bytes; /* judged in bytes a second against iperf3 */
} transports[] = {
	{"tcp", ",transport=tcp", true},
	{"engine-tcp", ",transport=engine-tcp", true},
	{"shm", "", false},
};

struct remote {
	struct run *run;
	const struct transport *transport;
	struct cluster cluster;
	char put_at[PATH_MAX]; /* the same directory, through the first node */
	char get_at[PATH_MAX]; /* and through the second */
	struct sample rtt;
};

static enum mc_status remote_open(struct remote *remote)
{
	struct run *run = remote->run;
	const char *mount_a = run->options.mount_a, *mount_b = run->options.mount_b;

	if (run->options.setup) {
		enum mc_status status =
			cluster_start(&remote->cluster, run, remote->transport->name, 2,
				      remote->transport->mount_options);

		if (status)
			return status;
		mount_a = remote->cluster.nodes[0].mount;
		mount_b = remote->cluster.nodes[1].mount;
	} else if (!mount_b) {
		report_note(&run->report, "remote needs --mount-b DIR beside --mount DIR");
		return MC_INVALID;
	}
	enum mc_status status = workplace_make(mount_a, remote->put_at);
	return status ? status : workplace_make(mount_b, remote->get_at);
}

static void remote_close(struct remote *remote)
{
	workplace_remove(remote->put_at);
	cluster_stop(&remote->cluster);
}

static void rtt_sample(void *context)
{
	struct remote *remote = context;
	double rtt_us = machine_rtt_unix_us(&remote->run->machine);

	if (!isnan(rtt_us))
		sample_add(&remote->rtt, rtt_us);
}

static double mib_per_s(uint64_t size, unsigned threads, double us)
{
	return (double)size * threads / (1 << 20) / us * 1e6;
}

static enum mc_status measure(struct remote *remote, struct workload *workload, double iperf3,
			      struct row *row)
{
	struct sample samples[2] = {0};

	workload->places[0] = remote->get_at;
	workload->sources[0] = remote->put_at;
	workload->places[1] = remote->put_at;
	workload->sources[1] = remote->put_at;
	workload->place_count = remote->transport->by_bytes ? 1 : 2;
	workload->after_round = remote->transport->by_bytes ? NULL : rtt_sample;
	workload->context = remote;
	enum mc_status status = workload_run(workload, samples);
	row->value = sample_median(&samples[0]);
	row->unit = "us";
	row->reference = "local";
	row->reference_value =
		sample_median(&samples[1]) + ROUND_TRIPS_ALLOWED * sample_median(&remote->rtt);
	if (remote->transport->by_bytes) {
		row->value = mib_per_s(workload->size, workload->threads, row->value);
		row->unit = "MiB/s";
		row->reference = "iperf3";
		row->reference_value = iperf3;
	}
	sample_fini(&samples[0]);
	sample_fini(&samples[1]);
	sample_fini(&remote->rtt);
	return status;
}

/*
 * Both pools take their memory once: the first touch of a page costs a virtual
 * machine many times what a copy costs, and is no part of a get.
 */
static enum mc_status warm_up(struct remote *remote, uint64_t size)
{
	struct workload workload = {.op = OP_GET_MMAP,
				    .size = size,
				    .threads = 1,
				    .rounds = remote->run->options.rounds};
	struct row row;

	return measure(remote, &workload, NAN, &row);
}

/* All operations and threads on one size, between two runs of iperf3. */
static enum mc_status measure_size(struct remote *remote, uint64_t size)
{
	static const enum operation ops[] = {OP_GET_READ, OP_GET_MMAP};
	const struct options *options = &remote->run->options;
	struct row rows[ARRAY_SIZE(ops) * OPTIONS_THREAD_COUNT_MAX];
	bool by_bytes = remote->transport->by_bytes;
	enum mc_status status = warm_up(remote, size);
	double before = by_bytes && !status ? iperf3_mib_per_s(false, IPERF3_SECONDS) : NAN;
	size_t count = 0;

	for (size_t t = 0; t < options->thread_count; t++) {
		for (size_t o = 0; o < ARRAY_SIZE(ops) && !status; o++) {
			struct workload workload = {.op = ops[o],
						    .size = size,
						    .threads = options->threads[t],
						    .rounds = options->rounds};

			if (!(options->ops & 1u << ops[o]))
				continue;
			rows[count] = (struct row){.bench = "remote",
						   .op = operation_name(ops[o]),
						   .size = size,
						   .threads = workload.threads};
			status = measure(remote, &workload, before, &rows[count++]);
		}
	}
	double after = by_bytes && !status ? iperf3_mib_per_s(false, IPERF3_SECONDS) : NAN;
	for (size_t i = 0; i < count && !status; i++) {
		if (by_bytes)
			rows[i].reference_value = (before + after) / 2;
		report_row(&remote->run->report, &rows[i]);
	}
	return status;
}

static enum mc_status measure_transport(struct run *run, const struct transport *transport)
{
	CLEANUP_FREE struct remote *remote = calloc(1, sizeof(*remote));

	if (!remote)
		return MC_NO_MEMORY;
	remote->run = run;
	remote->transport = transport;
	enum mc_status status = remote_open(remote);
	for (size_t s = 0; s < run->options.size_count && !status; s++)
		status = measure_size(remote, run->options.sizes[s]);
	remote_close(remote);
	return status;
}

enum mc_status bench_remote(struct run *run)
{
	enum mc_status status = MC_OK;

	for (size_t i = 0; i < ARRAY_SIZE(transports) && !status; i++) {
		if (list_has(run->options.transports, transports[i].name))
			status = measure_transport(run, &transports[i]);
	}
	return status;
}
