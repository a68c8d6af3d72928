/*
 * tools/bench/counters.c -- what a put and a get cost in requests, not in time
 *
 * The mount's own counters, read before and after a window of operations.
 * Several windows are taken, and their median: a heartbeat that falls into
 * one of them is no cost of the operation.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

#define STATS_XATTR	"user.mooncake.stats"
#define STATS_SIZE_MAX	65536
#define WINDOW_COUNT	7
#define OPERATION_COUNT 20
#define OBJECT_SIZE	((uint64_t)1 << 20)
#define COUNTER_COUNT	3
#define PUT_EXCL	OP_COUNT

/* What is counted, the counter that the mount calls it, and how the report does. */
static const struct {
	const char *name;
	const char *unit;
} counters[COUNTER_COUNT] = {
	{"rpc_total", "rpcs"},
	{"fuse_read", "reads"},
	{"bytes_copied", "bytes"},
};

struct stats {
	double values[COUNTER_COUNT]; /* NAN: the mount has no such counter */
};

/* One line a counter: the name, a space, the value. */
static double stats_find(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0 && line[length] == ' ')
			return strtod(line + length + 1, NULL);
		if (*line == '\0')
			break;
	}
	return NAN;
}

static enum mc_status stats_read(const char *mount, struct stats *stats)
{
	CLEANUP_FREE char *text = malloc(STATS_SIZE_MAX + 1);

	if (!text)
		return MC_NO_MEMORY;
	ssize_t n = getxattr(mount, STATS_XATTR, text, STATS_SIZE_MAX);
	if (n < 0)
		return mc_status_from_errno(errno);
	text[n] = '\0';
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		stats->values[i] = stats_find(text, counters[i].name);
	return MC_OK;
}

static enum mc_status put_exclusive(const char *path, const void *pattern)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		return mc_status_from_errno(errno);
	ssize_t n = write(fd, pattern, OBJECT_SIZE);
	if (close(fd) != 0 || n != (ssize_t)OBJECT_SIZE)
		return MC_IO;
	return MC_OK;
}

static enum mc_status operate(unsigned op, const char *path, void *buffer)
{
	if (op == PUT_EXCL)
		return put_exclusive(path, buffer);
	if (op == OP_PUT)
		return put_object(path, buffer, OBJECT_SIZE);
	return get_object(path, op, buffer, OBJECT_SIZE);
}

/* Count one window; the cost of an operation goes to samples. */
static enum mc_status window(const char *mount, const char *directory, unsigned op, unsigned number,
			     void *buffer, struct sample *samples)
{
	char path[PATH_MAX + 64];
	struct stats before, after;
	bool get = op == OP_GET_READ || op == OP_GET_MMAP;
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < OPERATION_COUNT && get && !status; i++) {
		snprintf(path, sizeof(path), "%s/%u-%u-%u", directory, op, number, i);
		status = put_object(path, buffer, OBJECT_SIZE);
		if (!status)
			status = get_object(path, op, buffer, OBJECT_SIZE);
	}
	if (!status)
		status = stats_read(mount, &before);
	for (unsigned i = 0; i < OPERATION_COUNT && !status; i++) {
		snprintf(path, sizeof(path), "%s/%u-%u-%u", directory, op, number, i);
		status = operate(op, path, buffer);
	}
	if (!status)
		status = stats_read(mount, &after);
	for (unsigned i = 0; i < OPERATION_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/%u-%u-%u", directory, op, number, i);
		unlink(path);
	}
	for (size_t i = 0; i < COUNTER_COUNT && !status; i++)
		sample_add(&samples[i], (after.values[i] - before.values[i]) / OPERATION_COUNT);
	return status;
}

static enum mc_status measure(struct run *run, const char *mount, const char *directory,
			      unsigned op, void *buffer)
{
	struct sample samples[COUNTER_COUNT] = {0};
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < WINDOW_COUNT && !status; i++)
		status = window(mount, directory, op, i, buffer, samples);
	for (size_t i = 0; i < COUNTER_COUNT; i++) {
		struct row row = {
			.bench = "counters",
			.op = op == PUT_EXCL ? "put_excl" : operation_name(op),
			.size = OBJECT_SIZE,
			.threads = 1,
			.value = sample_median(&samples[i]),
			.unit = counters[i].unit,
			.reference_value = NAN,
		};

		if (!status && isnan(row.value))
			report_note(&run->report, "%s is not available", counters[i].name);
		else if (!status)
			report_row(&run->report, &row);
		sample_fini(&samples[i]);
	}
	return status;
}

static enum mc_status measure_all(struct run *run, const char *mount)
{
	static const unsigned ops[] = {OP_PUT, PUT_EXCL, OP_GET_READ, OP_GET_MMAP};
	char directory[PATH_MAX];
	struct stats stats;
	CLEANUP_FREE void *buffer = pattern_new(OBJECT_SIZE);

	if (!buffer)
		return MC_NO_MEMORY;
	if (stats_read(mount, &stats)) {
		report_note(&run->report, "counters are not available: no %s on %s", STATS_XATTR,
			    mount);
		return MC_OK;
	}
	enum mc_status status = workplace_make(mount, directory);
	if (status)
		return status;
	for (size_t i = 0; i < ARRAY_SIZE(ops) && !status; i++)
		status = measure(run, mount, directory, ops[i], buffer);
	workplace_remove(directory);
	return status;
}

enum mc_status bench_counters(struct run *run)
{
	struct cluster cluster = {0};
	const char *mount = run->options.mount_a;
	enum mc_status status = MC_OK;

	if (run->options.setup) {
		status = cluster_start(&cluster, run, "counters", 1, "");
		mount = cluster.nodes[0].mount;
	}
	if (!status)
		status = measure_all(run, mount);
	cluster_stop(&cluster);
	return status;
}
