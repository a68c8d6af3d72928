#include "tools/bench/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define BURST_COUNT	   40
#define BURST_SAMPLE_COUNT 50
#define BURST_PAUSE_US	   2000
#define ROUND_SAMPLE_COUNT 32
#define LONG_SAMPLE_COUNT  2000 /* most of them warm, as in a second of transfers */
#define MEMCPY_BYTES	   ((size_t)64 << 20)
#define MEMCPY_COUNT	   11

void machine_open(struct machine *machine, const char *scratch, bool io_uring)
{
	char mountpoint[PATH_MAX];

	*machine = (struct machine){0};
	if (echo_open_tcp(&machine->tcp) || echo_open_unix(&machine->unix_))
		return;
	snprintf(mountpoint, sizeof(mountpoint), "%s/null", scratch);
	if (mkdir(mountpoint, 0755) != 0 || nullfs_open(&machine->nullfs, mountpoint, io_uring))
		machine->nullfs.pid = 0;
}

/* One burst of round trips over the echo, or of requests to the file system, in us. */
static double burst_us(struct echo *echo, struct nullfs *fs, unsigned count)
{
	struct sample sample = {0};
	double median = NAN;
	enum mc_status status =
		echo ? echo_measure(echo, count, &sample) : nullfs_measure(fs, count, &sample);

	if (!status)
		median = sample_median(&sample);
	sample_fini(&sample);
	return median;
}

/*
 * Two processes may share a core or not: an answer costs a switch in one case
 * and the wake-up of an idle core, ten times as much, in the other.  A long
 * burst stays in one of the two; many bursts with pauses see both.
 */
static double bursts_us(struct echo *echo, struct nullfs *fs)
{
	struct sample sample = {0};
	double median;

	for (int i = 0; i < BURST_COUNT; i++) {
		double value = burst_us(echo, fs, BURST_SAMPLE_COUNT);

		if (!isnan(value))
			sample_add(&sample, value);
		usleep(BURST_PAUSE_US);
	}
	median = sample_median(&sample);
	sample_fini(&sample);
	return median;
}

double machine_rtt_tcp_us(struct machine *machine)
{
	return burst_us(&machine->tcp, NULL, LONG_SAMPLE_COUNT);
}

double machine_rtt_unix_us(struct machine *machine)
{
	return burst_us(&machine->unix_, NULL, ROUND_SAMPLE_COUNT);
}

double machine_rtt_fuse_us(struct machine *machine)
{
	return machine_rtt_unix_us(machine) + burst_us(NULL, &machine->nullfs, ROUND_SAMPLE_COUNT);
}

static double copy_gb_per_s(char *to, const char *from)
{
	struct sample sample = {0};
	double median_us;

	for (int i = 0; i < MEMCPY_COUNT; i++) {
		uint64_t start_ns = clock_ns();

		memcpy(to, from, MEMCPY_BYTES);
		__asm__ volatile("" : : "r"(to) : "memory");
		sample_add(&sample, clock_since_us(start_ns));
	}
	median_us = sample_median(&sample);
	sample_fini(&sample);
	return (double)MEMCPY_BYTES / 1e3 / median_us;
}

static double memcpy_gb_per_s(void)
{
	double rate = NAN;
	char *memory = malloc(2 * MEMCPY_BYTES);

	if (memory) {
		memset(memory, 1, 2 * MEMCPY_BYTES);
		rate = copy_gb_per_s(memory, memory + MEMCPY_BYTES);
	}
	free(memory);
	return rate;
}

static void machine_row(struct report *report, const char *op, uint64_t size, double value,
			const char *unit)
{
	struct row row = {
		.bench = "machine",
		.op = op,
		.size = size,
		.threads = 1,
		.value = value,
		.unit = unit,
		.reference_value = NAN,
	};

	if (isnan(value))
		report_note(report, "%s is not available here", op);
	else
		report_row(report, &row);
}

void machine_report(struct machine *machine, struct report *report, bool quick)
{
	unsigned seconds = quick ? 1 : 2;

	if (machine->nullfs.pid)
		report_note(report, "a bare FUSE request comes %s",
			    machine->nullfs.io_uring ? "by io_uring"
						     : "by /dev/fuse, without io_uring");
	machine_row(report, "rtt_tcp", 64, bursts_us(&machine->tcp, NULL), "us");
	machine_row(report, "rtt_unix", 64, bursts_us(&machine->unix_, NULL), "us");
	machine_row(report, "fuse_request", 0, bursts_us(NULL, &machine->nullfs), "us");
	machine_row(report, "memcpy", MEMCPY_BYTES, memcpy_gb_per_s(), "GB/s");
	machine_row(report, "iperf3", 0, iperf3_mib_per_s(false, seconds), "MiB/s");
	machine_row(report, "iperf3_zero_copy", 0, iperf3_mib_per_s(true, seconds), "MiB/s");
}

void machine_close(struct machine *machine)
{
	echo_close(&machine->tcp);
	echo_close(&machine->unix_);
	nullfs_close(&machine->nullfs);
}
