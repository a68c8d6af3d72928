/*
 * engine/fabric/shm/shm.h -- memory of another process of this host, without a network
 *
 * One side lends its regions (lender.h), the other borrows (borrower.h) and then copies
 * by itself, from memory to memory: the owner's processes need not run, nor wake, and no
 * system call moves the bytes where the region is a mapping of mc_memory_alloc().  All
 * other memory is copied by the kernel (process_vm_readv, process_vm_writev).
 *
 *     submit ──► ready ──► who waits (mover.h) ── has a loan? ──► copy ──► done
 *                  ▲                                  │ no
 *                  └────── LEND ◄── waiting ◄─────────┘  BORROW
 *
 * A region is asked for once.  From then on what keeps a copy from touching memory that
 * was unregistered is the ledger that both sides share; unregistering waits for copies
 * that are under way, and forgets those of a borrower that is dead.  One that is stopped
 * in the middle of a copy can't be cut off: that is waited for, with a line in the log.
 *
 * Trust.  Only processes of the same user, or of root, are lent to, and only those of the
 * same user are borrowed from, since root's would refuse us: all else goes over TCP.  These can
 * read each other's memory anyway; the borrower itself checks bounds and rights of each request
 * against what the lender told it.  A descriptor opens all of one mc_memory_alloc(), and for
 * writing only if the region allows that.
 *
 * Ownership   A fabric owns its peers until disconnect.
 * Threads     As each field says; one lock.
 */
#ifndef ENGINE_FABRIC_SHM_SHM_H
#define ENGINE_FABRIC_SHM_SHM_H

#include <mooncake/status.h>
#include <mooncake/types.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/net.h"
#include "engine/fabric/fabric.h"
#include "engine/fabric/vault.h"

#define SHM_SLICE_SIZE (4u << 20)     /* also how long a copy keeps an owner waiting */
#define SHM_ANSWER_NS  30000000000ull /* an answer that does not come */

/* What the descriptors in epoll are known by; others count up from there. */
enum { SHM_ID_KICK = 0, SHM_ID_LISTEN = 1, SHM_ID_FIRST = 2 };

struct link;
struct visitor;

/* Memory that peers may borrow. */
struct shm_region {
	struct shm_region *next; /* protected by lock */
	/* fixed */
	struct vault_entry *entry;
	void *memory;
	uint64_t length;
	uint32_t access;
};

struct slice_queue {
	struct fabric_slice *first, **last;
};

struct shm {
	struct fabric fabric;
	/* fixed after open */
	char host_id[NET_HOST_SIZE];
	char endpoint[MC_ENDPOINT_SIZE];
	int listen_fd, epoll_fd, kick_fd;
	uint64_t answer_ns; /* SHM_ANSWER_NS; a test's own */
	pthread_t thread;
	struct vault vault;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t round; /* slices have ended, or can go on, or a borrower has gone */
	uint64_t rounds;
	uint64_t next_id;
	struct shm_region *regions;
	struct visitor *visitors;
	uint32_t visitor_count;
	uint32_t leaving; /* visitors that are to go when nothing of them is in use */
	struct shm_peer *peers;
	struct slice_queue ready;
	uint32_t waiting; /* slices for an answer */
	uint32_t callers; /* in progress() now */
	uint32_t idlers;  /* of these: who wait for a round, and copy nothing */
	uint64_t calls;	  /* of progress() so far */
	uint32_t busy;	  /* slices that are copied, or whose done() is called, now */
	bool asleep;	  /* the thread, until it is kicked */
	bool sweep;	  /* some slice that waits was cancelled */
	bool stopping;
	bool deaf; /* out of descriptors */
	struct fabric_counters counters;
};

struct shm_peer {
	struct fabric_peer peer;
	struct shm *shm;
	char name[NET_NAME_SIZE]; /* of its socket; fixed */
	/* protected by the fabric's lock */
	struct shm_peer *next;
	struct link *link; /* NULL: there is none */
	struct slice_queue waiting;
	uint32_t busy; /* of its slices: as above */
};

/* What a slice is at, in its word. */
enum shm_stage { SHM_READY = 1, SHM_WAITING, SHM_CANCELLED };

extern const struct fabric_ops fabric_shm_ops;

/* A descriptor that the thread is to look at from now on; its id, or 0. */
uint64_t shm_watch_locked(struct shm *shm, int fd);
/* No more: to be called before it is closed. */
void shm_unwatch_locked(struct shm *shm, int fd);

#endif
