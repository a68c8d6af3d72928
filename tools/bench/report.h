/*
 * tools/bench/report.h -- what was measured, for people and for programs
 *
 * A row is one measurement beside its reference, with the same fields in
 * every bench.  A row is printed as soon as it is known: as a line of a table
 * or as a JSON object a line.  The bars that a row has to meet stand in one
 * table in report.c; report_missed() counts those that were not met.
 *
 * Ownership   The report copies rows; their strings must be literals or
 *             outlive it.
 * Threads     One at a time.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct row {
	const char *bench; /* local, remote, peer, master, memory, flat, counters, machine */
	const char *op;	   /* put, get_read, …: what was done */
	uint64_t size;	   /* bytes of an object, 0: no matter */
	unsigned threads;
	double value;
	const char *unit;
	const char *reference;	/* NULL: none */
	double reference_value; /* NAN: not available */
	const char *protocol;	/* of a transfer, where its bar depends on it; else NULL */
};

struct report {
	FILE *out;
	bool json;
	bool header_printed;
	struct row *rows;
	size_t row_count;
	unsigned missed_count;
};

/* Print a row and keep it. */
void report_row(struct report *report, const struct row *row);

/* Print a sentence about what was not measured, and why; a comment in JSON mode goes to stderr. */
void report_note(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Print how many bars were missed, for people. */
void report_close(struct report *report);

void report_fini(struct report *report);

/* value / reference_value, NAN where there is none. */
double row_ratio(const struct row *row);

#endif
