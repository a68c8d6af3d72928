/*
 * tools/bench/flat.c -- lookups in a directory of very many names
 *
 * One node fills a large directory and several small ones; another node, whose
 * kernel has never seen the names, looks each up once, from the large and a
 * small directory in turn.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/population.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

#define OBJECT_SIZE	      64u
#define SMALL_ENTRY_COUNT     100u
#define SMALL_DIRECTORY_COUNT 10u
#define LARGE_STEP	      7919u /* a prime: lookups jump about */

struct flat {
	char put_at[PATH_MAX];
	char look_at[PATH_MAX];
};

static void directory_path(const char *parent, unsigned small, char *path)
{
	MUST(snprintf(path, PATH_MAX, small ? "%s/small-%u" : "%s/large", parent, small) <
	     PATH_MAX);
}

static enum mc_status populate(const struct flat *flat, uint64_t count)
{
	char directory[PATH_MAX];

	directory_path(flat->put_at, 0, directory);
	enum mc_status status = population_put(directory, count, OBJECT_SIZE);
	for (unsigned i = 1; i <= SMALL_DIRECTORY_COUNT && !status; i++) {
		directory_path(flat->put_at, i, directory);
		status = population_put(directory, SMALL_ENTRY_COUNT, OBJECT_SIZE);
	}
	return status;
}

static enum mc_status look(const char *directory, uint64_t number, struct sample *sample)
{
	char path[PATH_MAX];
	struct stat st;

	population_path(directory, number, path);
	uint64_t start_ns = clock_ns();
	if (stat(path, &st) != 0) {
		log_error("stat failed path=%s", path);
		return mc_status_from_errno(errno);
	}
	sample_add(sample, clock_since_us(start_ns));
	return MC_OK;
}

static enum mc_status look_all(const struct flat *flat, uint64_t count, struct sample *large,
			       struct sample *small)
{
	char large_path[PATH_MAX], small_path[PATH_MAX];
	struct sample warmup = {0};
	uint64_t number = 0;
	enum mc_status status = MC_OK;

	directory_path(flat->look_at, 0, large_path);
	for (unsigned i = 1; i <= SMALL_DIRECTORY_COUNT && !status; i++) {
		directory_path(flat->look_at, i, small_path);
		/* The directories themselves are known from the first lookup on. */
		status = look(small_path, 0, &warmup);
		for (unsigned j = 1; j < SMALL_ENTRY_COUNT && !status; j++) {
			number += LARGE_STEP;
			status = look(large_path, number % count, large);
			if (!status)
				status = look(small_path, j, small);
		}
	}
	sample_fini(&warmup);
	return status;
}

static enum mc_status measure(struct run *run, const struct flat *flat)
{
	struct sample large = {0}, small = {0};
	uint64_t count = run->options.object_count;

	if (count < SMALL_ENTRY_COUNT * SMALL_DIRECTORY_COUNT)
		count = SMALL_ENTRY_COUNT * SMALL_DIRECTORY_COUNT;
	enum mc_status status = populate(flat, count);
	if (!status)
		status = look_all(flat, count, &large, &small);
	if (!status) {
		struct row row = {
			.bench = "flat",
			.op = "stat",
			.threads = 1,
			.value = sample_median(&large),
			.unit = "us",
			.reference = "dir_100",
			.reference_value = sample_median(&small),
		};

		report_note(&run->report, "a lookup among %llu names beside one among %u",
			    (unsigned long long)count, SMALL_ENTRY_COUNT);
		report_row(&run->report, &row);
	}
	sample_fini(&large);
	sample_fini(&small);
	return status;
}

enum mc_status bench_flat(struct run *run)
{
	struct cluster cluster = {0};
	struct flat flat;
	const char *mount_a = run->options.mount_a, *mount_b = run->options.mount_b;
	enum mc_status status = MC_OK;

	if (run->options.setup) {
		status = cluster_start(&cluster, run, "flat", 2, "");
		mount_a = cluster.nodes[0].mount;
		mount_b = cluster.nodes[1].mount;
	} else if (!mount_b) {
		report_note(&run->report, "flat needs --mount-b DIR beside --mount DIR");
		return MC_INVALID;
	}
	if (!status)
		status = workplace_make(mount_a, flat.put_at);
	if (!status) {
		status = workplace_make(mount_b, flat.look_at);
		if (!status)
			status = measure(run, &flat);
		if (!run->options.setup)
			workplace_remove(flat.put_at);
	}
	cluster_stop(&cluster);
	return status;
}
