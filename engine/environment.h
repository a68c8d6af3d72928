/*
 * engine/environment.h -- the MC_* variables, with their meanings in Mooncake
 *
 * Threads   Any, as long as nobody changes the environment.
 * Errors    A value that is no number, or beyond its range, is logged and the
 *           default or the nearest end of the range taken.
 */
#ifndef ENGINE_ENVIRONMENT_H
#define ENGINE_ENVIRONMENT_H

#include <stdbool.h>
#include <stdint.h>

uint32_t environment_number(const char *name, uint32_t otherwise, uint32_t min, uint32_t max);

/* It is there, whatever its value. */
bool environment_has(const char *name);

#endif
