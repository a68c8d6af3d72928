/*
 * engine/node/counters.h -- what a node counts
 *
 * A row a counter; `mooncake stats`, the attribute user.mooncake.stats of the
 * mount's root and the docs show them under these names.
 *
 * Threads   Any thread; relaxed atomics, each exact by itself.
 */
#ifndef ENGINE_NODE_COUNTERS_H
#define ENGINE_NODE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNTER_ROWS(ROW)                                                                          \
	ROW(BYTES_COPIED, "bytes_copied", "bytes that the daemon copied for reads and writes")     \
	ROW(OPEN_PASSTHROUGH, "open_passthrough", "opens handed to the kernel")                    \
	ROW(OPEN_CACHED_OFF, "open_cached_off", "opens served by us: passthrough is off")          \
	ROW(OPEN_CACHED_BUSY, "open_cached_busy", "opens served by us: the inode was open so")     \
	ROW(OPEN_CACHED_STREAM, "open_cached_stream", "opens served by us: bytes still arrive")    \
	ROW(OPEN_CACHED_REFUSED, "open_cached_refused", "opens served by us: the kernel refused")  \
	ROW(CREATES_STOCKED, "create_stocked", "creates that found a draft made ahead")            \
	ROW(PUBLISHES, "publishes", "objects and versions published")                              \
	ROW(PULLS_TCP, "pull_tcp", "objects pulled over tcp")                                      \
	ROW(PULLS_SHM, "pull_shm", "objects lent by a daemon of this host")                        \
	ROW(TAKEN, "pull_taken", "of pull_shm: taken off the shelf, nobody was asked")             \
	ROW(PULLS_RDMA, "pull_rdma", "objects read one-sided over RDMA")                           \
	ROW(PULLS_OTHER, "pull_other", "objects pulled over another transport")                    \
	ROW(PULLS_STOCKED, "pull_stocked", "objects pulled into a file that was ready")            \
	ROW(PULL_BYTES, "pull_bytes", "bytes pulled")                                              \
	ROW(PULL_FAILURES, "pull_failures", "replicas that could not be pulled")                   \
	ROW(REPLICATIONS, "replications", "copies made because the master said so")                \
	ROW(SNAPSHOTS, "snapshots", "copies made to serve an object that is open for writing")     \
	ROW(EVICTIONS, "evictions", "objects dropped for space")                                   \
	ROW(EVICTION_BYTES, "eviction_bytes", "bytes freed by eviction")                           \
	ROW(EVICTED_CACHE, "evictions_cache", "of the evictions: cache replicas")                  \
	ROW(NO_SPACE, "no_space", "requests that found nothing left to evict")                     \
	ROW(INVALIDATIONS, "invalidations", "names and attributes that the master took back")      \
	ROW(DROPS, "drops", "objects deleted because the master said so")                          \
	ROW(RECALLS, "recalls", "directories whose grant was taken back")                          \
	ROW(LOOKUP_LOCAL, "lookup_local", "names answered from memory")                            \
	ROW(LOOKUP_ABSENT, "lookup_absent", "names known to be absent by a grant")                 \
	ROW(LOOKUP_ASKED, "lookup_asked", "names asked of the master")                             \
	ROW(SCAN_ASIDE, "scan_aside", "files of the pool that were damaged or foreign")

enum counter {
#define COUNTER_ENUM(id, name, help) COUNTER_##id,
	COUNTER_ROWS(COUNTER_ENUM)
#undef COUNTER_ENUM
		COUNTER_LIMIT
};

struct counters {
	_Atomic uint64_t values[COUNTER_LIMIT];
};

static inline void counter_add(struct counters *counters, enum counter counter, uint64_t value)
{
	atomic_fetch_add_explicit(&counters->values[counter], value, memory_order_relaxed);
}

static inline uint64_t counter_get(const struct counters *counters, enum counter counter)
{
	return atomic_load_explicit(&counters->values[counter], memory_order_relaxed);
}

#endif
