/*
 * tools/bench/options.h -- what the command line asked for
 *
 * The options stand in one table, from which --help is printed.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OPTIONS_SIZE_COUNT_MAX	 16
#define OPTIONS_THREAD_COUNT_MAX 8

struct options {
	uint64_t sizes[OPTIONS_SIZE_COUNT_MAX];
	size_t size_count;
	unsigned threads[OPTIONS_THREAD_COUNT_MAX];
	size_t thread_count;
	unsigned ops; /* bit i: enum operation i */
	unsigned rounds;
	uint64_t object_count; /* of memory and flat */
	bool json;
	bool quick;
	bool setup; /* start a master and nodes; else mounts are given */
	bool check; /* a missed bar is an exit status of 1 */
	bool io_uring;
	bool references_given, rounds_given;
	const char *references; /* comma-separated */
	const char *mount_a, *mount_b;
	const char *dev_shm;
	const char *passthrough_off;
	const char *transports; /* comma-separated */
	const char *segment;
	const char *node_options;
	const char *master_options;
	const char *bin;
	const char *plot;
	const char *python, *venv, *script;
	pid_t node_pid, master_pid;
	/* of engine */
	uint64_t block, batch, seconds; /* 0: what the bench thinks right */
	uint64_t buffer;		/* bytes */
	const char *role, *op, *protocol, *memory, *metadata, *target, *listen;
	const char *devices, *target_devices, *file; /* NULL: all; none */
};

/* Fill options from the defaults and argv, which begins with the first option.
 *
 * Returns -1 to go on, or the exit status of a command line that is wrong (2)
 * or asked for help (0); then everything is said already.
 */
int options_parse(struct options *options, int argc, char **argv);

void options_help(void);

/* Is word among the comma-separated words of list? */
bool list_has(const char *list, const char *word);

#endif
