/*
 * tools/bench/machine.h -- what this machine can do at all, in the same run
 *
 * A figure in microseconds says little without the price of a wake-up on the
 * day it was taken.  The echo processes and the null file system stay open
 * for the whole run, so that references made of them (rtt) can be measured
 * between the rounds they stand beside.
 *
 * Ownership   machine_close() ends all processes and removes the mount.
 * Threads     One at a time; open before threads are started.
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdbool.h>

#include "tools/bench/echo.h"
#include "tools/bench/nullfs.h"
#include "tools/bench/report.h"

struct machine {
	struct echo tcp;
	struct echo unix_;
	struct nullfs nullfs;
};

/* Start what is measured against; scratch is a directory for a mount.  What fails is left out. */
void machine_open(struct machine *machine, const char *scratch, bool io_uring);

/* Measure and report all figures; quick skips iperf3's second stream. */
void machine_report(struct machine *machine, struct report *report, bool quick);

/* Measure one round of rtt_unix + a FUSE request, in us: NAN where there is no mount. */
double machine_rtt_fuse_us(struct machine *machine);
/* One long round of rtt_tcp, in us: for what goes on without a pause. */
double machine_rtt_tcp_us(struct machine *machine);
/* One round of rtt_unix, in us. */
double machine_rtt_unix_us(struct machine *machine);

/* MiB/s of one iperf3 stream over loopback, NAN without iperf3. */
double iperf3_mib_per_s(bool zero_copy, unsigned seconds);

void machine_close(struct machine *machine);

#endif
