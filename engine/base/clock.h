/*
 * engine/base/clock.h -- the two clocks
 */
#ifndef ENGINE_BASE_CLOCK_H
#define ENGINE_BASE_CLOCK_H

#include <mooncake/types.h>

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* Monotonic nanoseconds: for deadlines and durations. */
static inline uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_ms(void)
{
	return clock_ns() / 1000000u;
}

/* So long after a moment of clock_ns(); a sum too large is UINT64_MAX, never. */
static inline uint64_t clock_after(uint64_t at_ns, uint64_t duration_ns)
{
	return duration_ns < UINT64_MAX - at_ns ? at_ns + duration_ns : UINT64_MAX;
}

/* A condition for clock_cond_wait(). */
static inline void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

/* Wait for a signal, at most until that moment of clock_ns().  False: it has come. */
static inline bool clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
				 .tv_nsec = (long)(until_ns % 1000000000u)};

	return pthread_cond_timedwait(cond, lock, &until) == 0;
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
