/*
 * tests/support/scarcity.h -- a process that is out of descriptors, and what it says of that
 *
 * Threads   One at a time.
 */
#ifndef TESTS_SUPPORT_SCARCITY_H
#define TESTS_SUPPORT_SCARCITY_H

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/log.h"

/* Let exactly one more be opened; what was allowed before. */
static inline rlim_t leave_one_descriptor(void)
{
	struct rlimit limit;
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	rlim_t before = limit.rlim_cur;
	limit.rlim_cur = (rlim_t)lowest + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

static inline void allow_descriptors(rlim_t count)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* From here on the log goes to a file, from which its lines are counted. */
static inline int catch_log(void)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", log);
	ck_assert(log >= 0 && log_open(path));
	log_set_level("warn");
	return log;
}

static inline int count_lines(int log, const char *what)
{
	char text[65536] = "";
	int count = 0;

	ck_assert_int_ge(pread(log, text, sizeof(text) - 1, 0), 0);
	for (const char *at = text; (at = strstr(at, what)); at++)
		count++;
	return count;
}

static inline double cpu_ms(void)
{
	struct rusage used;

	ck_assert_int_eq(getrusage(RUSAGE_SELF, &used), 0);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

/* Who can't accept a connection that waits says so once, and waits too. */
static inline void assert_waits_for_descriptors(int log)
{
	double before = cpu_ms();

	usleep(400000);
	ck_assert_double_lt(cpu_ms() - before, 50);
	ck_assert_int_eq(count_lines(log, "can't accept"), 1);
}

#endif
