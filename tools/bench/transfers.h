/*
 * tools/bench/transfers.h -- batches of transfers from an engine to a target
 *
 * The target is an engine with a buffer registered, or a file; what is moved goes
 * through all of it in turn, as a cache's blocks would, so neither side is measured
 * out of its processor's cache.
 *
 * Ownership   The caller closes what it opened.
 * Threads     One at a time; transfers_run starts threads of its own.
 */
#ifndef BENCH_TRANSFERS_H
#define BENCH_TRANSFERS_H

#include <mooncake/engine.h>

#include "tools/bench/options.h"
#include "tools/bench/sample.h"

/* What the segment of files is called, and where its descriptor is. */
#define TRANSFERS_FILE_SEGMENT	"nvmeof/bench"
#define TRANSFERS_FILE_METADATA "memory://bench"

struct transfers {
	struct mc_engine *engine;
	mc_segment_id segment;
	uint8_t *memory;
	size_t mapped; /* 0: it was allocated by the library */
	size_t size;   /* of the buffer, on either side */
	uint64_t remote;
};

/* What is moved, and what came of it. */
struct transfer_case {
	enum mc_opcode opcode;
	uint64_t block;
	unsigned batch, threads;
	double seconds;
	/* results */
	double mib_per_s, ops_per_s;
	uint64_t transfer_count;
	struct sample batch_us;
};

/* An engine with a buffer of that size registered, on these devices (NULL: all). */
MC_MUST_CHECK enum mc_status transfers_open(const struct options *options, const char *name,
					    const char *devices, size_t size,
					    struct transfers *transfers);
/* Register the file of the options as a segment of files that this engine finds. */
MC_MUST_CHECK enum mc_status transfers_register_file(const struct options *options,
						     const char *name);
/* Find the target's buffer; what is moved stays within both. */
MC_MUST_CHECK enum mc_status transfers_connect(struct transfers *transfers, const char *target);
void transfers_close(struct transfers *transfers);

/* Move for so many seconds, after a short warm-up. */
MC_MUST_CHECK enum mc_status transfers_run(struct transfers *transfers, struct transfer_case *one);

#endif
