#include "tools/bench/memcopy.h"

#include <math.h>
#include <mooncake/engine.h>
#include <stddef.h>
#include <string.h>

#include "engine/base/clock.h"

static double measure(uint8_t *to, const uint8_t *from, uint64_t size, uint64_t block,
		      double seconds)
{
	uint64_t begin_ns = clock_ns(), now_ns = begin_ns, at = 0, bytes = 0;

	while ((double)(now_ns - begin_ns) < seconds * 1e9) {
		at = at + block > size ? 0 : at;
		memcpy(to + at, from + at, block);
		at += block;
		bytes += block;
		now_ns = clock_ns();
	}
	return (double)bytes / (1 << 20) / ((double)(now_ns - begin_ns) / 1e9);
}

/* The same kind of memory as the target's. */
double memcopy_mib_per_s(uint64_t size, uint64_t block, double seconds)
{
	void *to = NULL, *from = NULL;
	double result = NAN;

	if (!mc_memory_alloc(size, &to) && !mc_memory_alloc(size, &from)) {
		memset(from, 1, size);
		memset(to, 1, size);
		result = measure(to, from, size, block, seconds);
	}
	mc_memory_free(to);
	mc_memory_free(from);
	return result;
}
