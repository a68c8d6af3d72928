/*
 * tests/unit/node/seed.h -- random numbers that can be drawn again
 *
 * The seed is printed; SEED=N in the environment sets it.
 */
#ifndef TESTS_UNIT_NODE_SEED_H
#define TESTS_UNIT_NODE_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned seed;

static inline void seed_draw(void)
{
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
}

/* A number from 0 to below - 1. */
static inline unsigned draw(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

#endif
