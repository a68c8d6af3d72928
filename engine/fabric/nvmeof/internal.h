/*
 * engine/fabric/nvmeof/internal.h -- slices on their way to the files of a segment
 *
 *     slice ── transfer ──┬─ operation ─► ring ─► device
 *                         ├─ operation ─► …
 *                         └─ (not issued yet: no operation or bounce buffer is free)
 *
 * A transfer is a slice under way.  It is `queued` until all of it has been
 * issued or it has failed, and `ended` when none of its operations is in flight
 * either; then whoever makes progress calls the slice's done().
 *
 * Threads   One lock over all of it; the kernel's waits and done() are outside.
 */
#ifndef ENGINE_FABRIC_NVMEOF_INTERNAL_H
#define ENGINE_FABRIC_NVMEOF_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>

#include "engine/fabric/fabric.h"
#include "engine/fabric/nvmeof/file.h"
#include "engine/fabric/nvmeof/plan.h"

#define SLICES_MAX     1024u
#define OPERATIONS_MAX 128u
#define BOUNCES_MAX    16u

#define SLOTS_MAX   16384u	/* registered buffers that a ring can have */
#define REGION_PART (32u << 20) /* bytes of one: pinned in one go */

/* Of a part of a region, in place of a slot. */
#define SLOT_NONE    UINT32_MAX
#define SLOT_WANTED  (UINT32_MAX - 1) /* the fabric's thread will see to it */
#define SLOT_REFUSED (UINT32_MAX - 2) /* the kernel would not */

struct nvmeof;
struct nvmeof_peer;

/* A slice under way. */
struct transfer {
	struct fabric_slice *slice; /* NULL: free */
	struct nvmeof_peer *peer;
	struct transfer *next;
	uint32_t issued;       /* bytes that have become operations */
	uint32_t operations;   /* in flight */
	bool queued;	       /* it stands in the queue */
	enum mc_status status; /* the first failure */
};

/* One entry of the ring. */
struct operation {
	struct transfer *transfer; /* NULL: free */
	struct nvmeof_file *file;
	struct operation *next;
	struct step step;
	uint32_t moved;	 /* bytes of it that are done */
	uint8_t *memory; /* of the request: what it moves */
	uint8_t *bounce; /* NULL: none */
};

struct transfer_list {
	struct transfer *head, **tail;
};

/* Memory that slices may name. */
struct nvmeof_region {
	/* fixed */
	uint8_t *memory;
	uint64_t length;
	uint32_t part_count;
	/* protected by the fabric's lock */
	struct nvmeof_region *next;
	uint32_t slots[]; /* of each REGION_PART: the registered buffer, or SLOT_… */
};

struct nvmeof_peer {
	struct fabric_peer base;
	struct nvmeof_peer *next;
	struct nvmeof_file *files;
	uint32_t file_count;
	uint64_t length; /* bytes of the segment */
	/* protected by lock */
	uint32_t slices; /* whose done() has not returned */
};

struct nvmeof {
	struct fabric base;
	/* fixed after open */
	char *name;
	pthread_t thread;
	uint8_t *bounces;
	/* protected by lock */
	pthread_mutex_t lock;
	struct io_uring ring;
	struct transfer transfers[SLICES_MAX];
	struct operation operations[OPERATIONS_MAX];
	struct transfer *free_transfers;
	struct operation *free_operations;
	uint8_t *free_bounces[BOUNCES_MAX];
	uint32_t free_bounce_count;
	struct transfer_list queue; /* not issued whole */
	struct transfer_list ended; /* done() is to be called */
	struct nvmeof_peer *peers;
	struct fabric_counters counters;
	struct __kernel_timespec alarm;
	uint64_t alarm_ns; /* of the timer in the ring; 0: none */
	bool stopping;
	bool waiting;	     /* a caller waits in the kernel for all callers */
	uint32_t callers;    /* in progress() now */
	uint64_t calls;	     /* of progress() so far */
	uint32_t delivering; /* threads that are calling done() now */
	uint64_t rounds;     /* of done() calls and of waits so far */
	pthread_cond_t round;
	struct nvmeof_region *regions;
	uint32_t free_slots[SLOTS_MAX];
	uint32_t free_slot_count;
	bool wanted; /* some part of a region is SLOT_WANTED */
	bool warned; /* that the kernel refused one */
	/* held while a region's memory is being registered, before the lock */
	pthread_mutex_t region_lock;
};

/* -- work.c: all with the lock held -- */

void work_init(struct nvmeof *fabric);
/* Take a slice in; false: there is no room. */
bool work_begin(struct nvmeof_peer *peer, struct fabric_slice *slice);
/* Issue what can be, and tell the kernel. */
void work_issue(struct nvmeof *fabric);
/* Take what the kernel has completed, and issue what has room now. */
void work_reap(struct nvmeof *fabric);
/* End a transfer early, as far as its operations can be. */
void work_cancel(struct nvmeof *fabric, struct transfer *transfer, enum mc_status status);
/* Have everybody who waits for the ring look. */
void work_kick(struct nvmeof *fabric);

/* -- region.c -- */

void region_open(struct nvmeof *fabric);
/* The registered buffer that holds all of this memory, or SLOT_NONE; the lock is held. */
uint32_t region_slot(struct nvmeof *fabric, struct nvmeof_region *region, const void *memory,
		     uint32_t length);
/* Register what is wanted; no lock is held. */
void region_fill(struct nvmeof *fabric);
MC_MUST_CHECK enum mc_status nvmeof_register(struct fabric *base,
					     const struct fabric_region *region,
					     struct segment_buffer *buffer, const void **key);
void nvmeof_unregister(struct fabric *base, const void *key);

#endif
