/*
 * tests/unit/master/own_clock.h -- time that the test owns, and a master that lives by it
 *
 * It stands still until a test says that it passes, so no machine is too slow
 * for a deadline.
 */
#ifndef TESTS_UNIT_MASTER_OWN_CLOCK_H
#define TESTS_UNIT_MASTER_OWN_CLOCK_H

#include <stdatomic.h>

#include "tests/unit/master/raw.h"

#define OWN_CLOCK_TTL_MS 5000
#define OWN_CLOCK_REAL_S 1000000

static atomic_uint_fast64_t own_clock_ms = 1000000;
static atomic_int_fast64_t own_clock_real_s = OWN_CLOCK_REAL_S;

static inline uint64_t own_clock_monotonic(void *context)
{
	(void)context;
	return atomic_load(&own_clock_ms) * 1000000u;
}

static inline struct mc_time own_clock_real(void *context)
{
	(void)context;
	return (struct mc_time){.s = atomic_load(&own_clock_real_s)};
}

static const struct mc_clock own_clock = {own_clock_monotonic, own_clock_real, NULL};

static inline void own_clock_pass(uint64_t ms)
{
	atomic_fetch_add(&own_clock_ms, ms);
}

static inline struct mc_master *own_clock_master(void)
{
	struct mc_master_config config = {.socket = "auto",
					  .heartbeat_ms = 1000,
					  .ttl_ms = OWN_CLOCK_TTL_MS,
					  .clock = &own_clock};
	struct mc_master *master = NULL;

	/* Set once: a master that runs already reads it. */
	if (log_level_now != LOG_LEVEL_ERROR)
		log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	return master;
}

static inline void own_clock_beat(struct raw *raw)
{
	for (int i = 0; i < 3; i++)
		put_u64(&raw->out, 1);
	ck_assert_int_eq(raw_call(raw, MC_VERB_HEARTBEAT), MC_OK);
}

#endif
