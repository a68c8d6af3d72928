/*
 * tools/bench/seat.h -- on which processors a measured pair of processes runs
 *
 * A wake-up within a processor costs a switch, one across processors that of an
 * idle one coming back: four times as much on some machines.  The scheduler chooses
 * anew every few milliseconds, so two figures compare only when both pairs sat alike.
 *
 * Threads   One at a time.  Threads that a seated one starts sit where it does.
 * Errors    MC_NOT_SUPPORTED where there is one processor only.
 */
#ifndef BENCH_SEAT_H
#define BENCH_SEAT_H

#include <sched.h>
#include <sys/types.h>

#include <mooncake/status.h>

enum seating { SEAT_TOGETHER, SEAT_APART, SEAT_FREE };

#define SEATING_COUNT (SEAT_FREE + 1)

struct seats {
	cpu_set_t all;	 /* what the bench may use */
	int near, other; /* the first two of them */
};

MC_MUST_CHECK enum mc_status seats_find(struct seats *seats);

/* Keep all threads of a process on this processor. */
void seat_process(pid_t pid, int cpu);

/* Let it run everywhere again. */
void seat_free(const struct seats *seats, pid_t pid);

#endif
