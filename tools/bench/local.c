/*
 * tools/bench/local.c -- put, get, stat and unlink on one node
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

#define PLACE_COUNT_MAX 3

struct place {
	const char *name; /* as the reference is called in the report */
	char directory[PATH_MAX];
};

struct local {
	struct run *run;
	struct cluster ours;
	struct cluster passthrough_off;
	struct place places[PLACE_COUNT_MAX]; /* the first is ours */
	size_t place_count;
	struct sample rtt; /* of one measurement of missing names */
};

static enum mc_status place_add(struct local *local, const char *name, const char *parent)
{
	struct place *place = &local->places[local->place_count];
	enum mc_status status = workplace_make(parent, place->directory);

	if (status)
		return status;
	place->name = name;
	local->place_count++;
	return MC_OK;
}

static enum mc_status ours_open(struct local *local)
{
	struct run *run = local->run;

	if (!run->options.setup)
		return place_add(local, "ours", run->options.mount_a);
	enum mc_status status = cluster_start(&local->ours, run, "local", 1, "");
	return status ? status : place_add(local, "ours", local->ours.nodes[0].mount);
}

static enum mc_status passthrough_off_open(struct local *local)
{
	struct run *run = local->run;
	const struct options *options = &run->options;

	if (!list_has(options->references, "passthrough_off"))
		return MC_OK;
	if (options->passthrough_off)
		return place_add(local, "passthrough_off", options->passthrough_off);
	if (!options->setup) {
		if (options->references_given)
			report_note(&run->report, "passthrough_off needs --passthrough-off DIR");
		return MC_OK;
	}
	enum mc_status status = cluster_start(&local->passthrough_off, run, "passthrough-off", 1,
					      ",passthrough=off");
	return status ? status
		      : place_add(local, "passthrough_off", local->passthrough_off.nodes[0].mount);
}

static enum mc_status places_open(struct local *local)
{
	const struct options *options = &local->run->options;
	enum mc_status status = ours_open(local);

	if (!status && list_has(options->references, "dev_shm"))
		status = place_add(local, "dev_shm", options->dev_shm);
	if (!status)
		status = passthrough_off_open(local);
	return status;
}

static void places_close(struct local *local)
{
	for (size_t i = 0; i < local->place_count; i++)
		workplace_remove(local->places[i].directory);
	cluster_stop(&local->passthrough_off);
	cluster_stop(&local->ours);
}

static void rtt_sample(void *context)
{
	struct local *local = context;
	double rtt_us = machine_rtt_fuse_us(&local->run->machine);

	if (!isnan(rtt_us))
		sample_add(&local->rtt, rtt_us);
}

static void local_row(struct local *local, const struct workload *workload, double value,
		      const char *reference, double reference_value)
{
	struct row row = {
		.bench = "local",
		.op = operation_name(workload->op),
		.size = operation_sized(workload->op) ? workload->size : 0,
		.threads = workload->threads,
		.value = value,
		.unit = "us",
		.reference = reference,
		.reference_value = reference_value,
	};

	report_row(&local->run->report, &row);
}

static enum mc_status measure(struct local *local, enum operation op, uint64_t size,
			      unsigned threads)
{
	struct sample samples[PLACE_COUNT_MAX] = {0};
	bool missing = op == OP_STAT_MISSING;
	struct workload workload = {
		.op = op,
		.size = size,
		.threads = threads,
		.rounds = local->run->options.rounds,
		.place_count = missing ? 1 : local->place_count,
		.after_round = missing ? rtt_sample : NULL,
		.context = local,
	};

	for (size_t i = 0; i < workload.place_count; i++)
		workload.places[i] = local->places[i].directory;
	enum mc_status status = workload_run(&workload, samples);
	double value = sample_median(&samples[0]);
	if (!status && missing)
		local_row(local, &workload, value, "rtt", sample_median(&local->rtt));
	if (!status && workload.place_count == 1 && !missing)
		local_row(local, &workload, value, NULL, NAN);
	for (size_t i = 1; i < workload.place_count && !status; i++)
		local_row(local, &workload, value, local->places[i].name,
			  sample_median(&samples[i]));
	for (size_t i = 0; i < workload.place_count; i++)
		sample_fini(&samples[i]);
	sample_fini(&local->rtt);
	return status;
}

static enum mc_status measure_all(struct local *local)
{
	const struct options *options = &local->run->options;
	enum mc_status status = MC_OK;

	for (unsigned op = 0; op < OP_COUNT; op++) {
		size_t size_count = operation_sized(op) ? options->size_count : 1;

		if (!(options->ops & 1u << op))
			continue;
		for (size_t t = 0; t < options->thread_count; t++) {
			for (size_t s = 0; s < size_count && !status; s++)
				status = measure(local, op, options->sizes[s], options->threads[t]);
		}
	}
	return status;
}

enum mc_status bench_local(struct run *run)
{
	CLEANUP_FREE struct local *local = calloc(1, sizeof(*local));

	if (!local)
		return MC_NO_MEMORY;
	local->run = run;
	enum mc_status status = places_open(local);
	if (!status)
		status = measure_all(local);
	places_close(local);
	return status;
}
