/*
 * engine/fabric/fabric.h -- what every fabric promises
 *
 * A fabric moves slices: one-sided READs and WRITEs between registered memory
 * of this process and registered memory (or files) of a segment elsewhere.  It
 * knows nothing of requests, batches or objects.  The engine cuts requests into
 * slices, chooses the fabric and retries (engine/transfer.h); engine/transport/
 * moves whole objects on top of it.
 *
 *     transfer ── fabric->submit(slices) ──►  work requests, frames, sqes …
 *     slice->done(status)              ◄───  fabric->progress(), or its own thread
 *
 * What a peer must know of this process stands in its segment's descriptor
 * (engine/metadata/segment_desc.h): the fabric adds what it needs of devices
 * with describe(), and of each region with register_region().
 *
 * All fabrics pass one conformance suite (tests/conformance/fabric.c).
 *
 * Ownership   A slice belongs to the caller and must stay until its done()
 *             has returned.  A peer is freed by disconnect, which may be called
 *             with slices in flight: they are ended first, with MC_CANCELLED.
 *             A descriptor's buffer that a slice names stays until its done() too.
 *             close ends everything; by then all regions are unregistered.
 * Threads     Any thread.  submit never waits for the network.  done() is
 *             called by whoever makes progress: the fabric's own thread, or a
 *             thread inside progress(); never inside submit, never under a lock
 *             of the fabric.  It may submit again.
 * Errors      Of a slice, through done(): MC_UNREACHABLE the path or the peer is
 *             gone (another path may do), MC_ACCESS the remote side refused
 *             address or key (its descriptor may be stale), MC_TIMEOUT, MC_IO the
 *             device or the bytes, MC_CANCELLED, MC_PROTOCOL the peer broke the
 *             protocol.  After an error the local bytes of a READ are undefined,
 *             and a WRITE may have happened in part.
 * Limits      Fixed at open; submit takes what has room and says how many.
 */
#ifndef ENGINE_FABRIC_FABRIC_H
#define ENGINE_FABRIC_FABRIC_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fabric;
struct fabric_peer;
struct segment_desc;
struct segment_buffer;

enum fabric_opcode { FABRIC_READ = 0, FABRIC_WRITE = 1 };

enum fabric_access {
	FABRIC_REMOTE_READ = 1u << 0,
	FABRIC_REMOTE_WRITE = 1u << 1,
};

/* Memory of this process that a fabric may touch. */
struct fabric_region {
	void *memory;
	uint64_t length;      /* bytes */
	const char *location; /* "cpu:0", "cuda:1", "*" */
	uint32_t access; /* enum fabric_access: what peers may do; local use is always allowed */
};

/* Memory of a GPU, which the processor can't touch. */
static inline bool fabric_location_is_gpu(const char *location)
{
	return strncmp(location, "cuda:", 5) == 0;
}

/* One piece of a request, moved by one operation on one path. */
struct fabric_slice {
	/* set by the caller */
	enum fabric_opcode opcode;
	void *local;
	uint32_t length;
	uint32_t path;	 /* which of the peer's paths; fabric_ops.paths() says how many */
	uint64_t remote; /* address in the peer, or offset in a segment of files */
	const void *key; /* of the local region, from register_region() */
	const struct segment_buffer *buffer; /* the remote one, whole; NULL: of files */
	uint64_t deadline_ns;		     /* CLOCK_MONOTONIC; 0: the fabric's own limits */
	void (*done)(struct fabric_slice *slice, enum mc_status status);
	/* the fabric's, between submit and done */
	struct fabric_slice *next;
	void *state;
	uint64_t word;
};

struct fabric_config {
	const char *name;	 /* of the local segment: what peers connect to */
	const char *listen_host; /* "0.0.0.0", "::", "127.0.0.1" … */
	uint16_t port_first;	 /* both 0: any free port; else a random free one of the range */
	uint16_t port_last;
	const char *announce_host; /* NULL: worked out from the routes */
	const char *devices;	   /* comma-separated names to use; NULL: all */
	const char *priority;	   /* JSON priority matrix; NULL: discovered */
};

/* What must be zero when nothing is under way, and what was done. */
struct fabric_counters {
	uint64_t slices_done;
	uint64_t slices_failed;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t slices;      /* in flight now */
	uint64_t regions;     /* registered now */
	uint64_t peers;	      /* connected to now */
	uint64_t connections; /* sockets or queue pairs open now, either way */
	uint64_t connects;    /* made since open */
	uint64_t connects_cm; /* of these, by librdmacm */
};

struct fabric_ops {
	const char *name;    /* the protocol of segments that it serves: "rdma", "tcp", … */
	uint32_t slice_size; /* bytes that requests are cut into; 0: MC_SLICE_SIZE says */
	/*
	 * Memory is pinned, and its paths depend on the NUMA node where it is: its pages
	 * are touched before it is registered, and regions end where the node changes.
	 */
	bool by_node;

	/* MC_NOT_SUPPORTED: this machine has no device for it. */
	enum mc_status (*open)(const struct fabric_config *config, struct fabric **fabric);
	void (*close)(struct fabric *fabric);

	/* Add to the descriptor of the local segment what peers need: devices, ports, host. */
	enum mc_status (*describe)(struct fabric *fabric, struct segment_desc *desc);

	/*
	 * The most bytes that one region may have, a multiple of 2 MiB.  Larger memory
	 * is registered in pieces, each a region and a buffer of the descriptor.
	 * NULL: there is no limit.
	 */
	uint64_t (*region_max)(struct fabric *fabric);

	/*
	 * Make memory usable, and fill in what a remote buffer's descriptor says of
	 * it (keys).  *key is what slices give back, valid until unregister.  Slow:
	 * may pin pages; not called under locks, and by several threads at once.
	 *
	 * MC_NO_MEMORY       the device or the system has no room for it
	 * MC_NOT_SUPPORTED   it is a GPU's, which this fabric can't touch
	 */
	enum mc_status (*register_region)(struct fabric *fabric, const struct fabric_region *region,
					  struct segment_buffer *buffer, const void **key);
	/* No slice may use it any more.  Peers' requests fail with MC_ACCESS from now on. */
	void (*unregister_region)(struct fabric *fabric, const void *key);

	/*
	 * Get to know a peer by its segment's descriptor, which is copied as far as it
	 * is needed.  Does not wait: connections are made by the first slices.
	 *
	 * MC_NOT_SUPPORTED   the descriptor is not for this fabric
	 */
	enum mc_status (*connect)(struct fabric *fabric, const struct segment_desc *desc,
				  struct fabric_peer **peer);
	void (*disconnect)(struct fabric_peer *peer);

	/*
	 * How many paths there are to the peer's buffer from the local region, over
	 * which slices are spread.  They are equally good: where there are several, it is
	 * because several devices are as near as can be.  A path that failed is left out
	 * until it is proved to work again, and farther ones count only while no near
	 * one works.  At least 1; a larger number in a slice is taken modulo the count.
	 */
	uint32_t (*paths)(struct fabric_peer *peer, const void *key,
			  const struct segment_buffer *buffer);

	/*
	 * Hand over the first of these slices, as many as have room: *taken.  The
	 * doorbell is rung once.  Whoever has slices left submits them again when some
	 * are done; 0 taken happens only while others of this fabric are in flight.
	 */
	enum mc_status (*submit)(struct fabric_peer *peer, struct fabric_slice *const *slices,
				 uint32_t count, uint32_t *taken);

	/*
	 * End this slice early if that can be: done(MC_CANCELLED), or as it would have
	 * anyway.  It may have ended already, and then nothing happens: the caller only
	 * sees to it that it is not submitted again meanwhile.
	 */
	void (*cancel)(struct fabric_peer *peer, struct fabric_slice *slice);

	/*
	 * Complete what can be completed, waiting for it at most timeout_ns (0: not
	 * at all).  For those who wait for their own slices: it saves the wake-up of
	 * the fabric's thread, which stands back meanwhile.  One thread at a time makes
	 * progress; to others it returns when that one has completed something.
	 */
	void (*progress)(struct fabric *fabric, uint64_t timeout_ns);

	void (*counters)(struct fabric *fabric, struct fabric_counters *counters);
};

/* Every open fabric, and every peer, begins with this. */
struct fabric {
	const struct fabric_ops *ops;
};

struct fabric_peer {
	struct fabric *fabric;
};

/* The table, ended by NULL: best first.  What this build lacks is not in it. */
extern const struct fabric_ops *const fabric_table[];

/* The row that serves segments of this protocol; NULL: there is none. */
const struct fabric_ops *fabric_find(const char *protocol);

#endif
