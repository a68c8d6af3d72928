/*
 * tools/bench/flight.h -- how many requests are under way
 *
 *     begin ─► request ─► its callback: end       land: none is under way any more
 *
 * Threads   Any thread.
 */
#ifndef BENCH_FLIGHT_H
#define BENCH_FLIGHT_H

#include <pthread.h>
#include <stdbool.h>

/* Zero but for the two initializers. */
struct flight {
	pthread_mutex_t lock;
	pthread_cond_t change;
	unsigned out;
	unsigned failed;
};

/* Wait until fewer than limit are under way, and be one of them. */
struct flight *flight_begin(struct flight *flight, unsigned limit);
void flight_end(struct flight *flight, bool good);

/* Wait until nothing is in flight.  False: something failed. */
bool flight_land(struct flight *flight);

#endif
