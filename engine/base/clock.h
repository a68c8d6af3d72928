/*
 * engine/base/clock.h -- the two clocks
 */
#ifndef ENGINE_BASE_CLOCK_H
#define ENGINE_BASE_CLOCK_H

#include <mooncake/types.h>

#include <time.h>

/* Monotonic nanoseconds: for deadlines and durations. */
static inline uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Real time: for what people read. */
static inline struct mc_time clock_real(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct mc_time){.s = now.tv_sec, .ns = (uint32_t)now.tv_nsec};
}

static inline uint64_t clock_real_ns(void)
{
	struct mc_time now = clock_real();

	return (uint64_t)now.s * 1000000000u + now.ns;
}

#endif
