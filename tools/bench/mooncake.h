/*
 * tools/bench/mooncake.h -- Mooncake's own store, beside ours in the same run
 *
 * tools/bench/mooncake_store.py holds its processes and takes commands, a line
 * each; it answers with a line of JSON.
 *
 * Ownership   mooncake_close() ends them; it may be called for one that was
 *             not opened, or in part.
 * Threads     One at a time.
 */
#ifndef BENCH_MOONCAKE_H
#define BENCH_MOONCAKE_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "tools/bench/child.h"
#include "tools/bench/run.h"

struct mooncake {
	struct run *run;
	struct child child;
	FILE *to, *from;
};

/*
 * Find the interpreter that has its wheel, making the virtual environment of --venv
 * where there is none; python has room for PATH_MAX.
 */
MC_MUST_CHECK enum mc_status mooncake_python(struct run *run, char *python);

/* Find or make its virtual environment and start it.  MC_NOT_SUPPORTED: it does not start. */
MC_MUST_CHECK enum mc_status mooncake_open(struct mooncake *mooncake, struct run *run);

/* Send a command and wait for the answer, which is the caller's; NULL: it has ended. */
cJSON *mooncake_ask(struct mooncake *mooncake, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void mooncake_close(struct mooncake *mooncake);

#endif
