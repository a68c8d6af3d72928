/*
 * engine/etcd/follow.h -- everything under a prefix, and each change of it
 *
 * First the pairs that are there, in pages of one revision, then what changes
 * after it, as it changes.  A watch that breaks goes on at the next endpoint
 * from the revision it had seen whole; what of the next one was told may be told
 * again.  Where that was compacted, or the store went back in time, all begins
 * anew.
 *
 *     begin ─► put* ─► settled ─► (put | removed)*, progress ─┐
 *       ▲                                                    │ compacted,
 *       └────────────────────────────────────────────────────┘ or another store
 *
 * Ownership   What a callback is given ends with it.
 * Threads     Callbacks: the thread of a client that the follower has for
 *             itself; they may wait for the owner (that holds the next page
 *             back), until etcd_unfollow() is called.
 */
#ifndef ENGINE_ETCD_FOLLOW_H
#define ENGINE_ETCD_FOLLOW_H

#include "engine/etcd/etcd.h"

/*
 * For each page etcd 3.4 looks at its whole index from there to the end of the
 * prefix, so that many small pages take time by the square of what there is.
 * Each is up to twice as large as the one before, while the answer is not too
 * large.
 */
#define ETCD_PAGE_PAIRS_FIRST 1000u
#define ETCD_PAGE_PAIRS_MAX   20000u
#define ETCD_PAGE_PAIRS_LATE  250u /* one that comes too late is made smaller down to this */

struct etcd_follower;

struct etcd_follow_events {
	/* Forget what was told before; `expected` pairs come. */
	void (*begin)(void *context, int64_t expected);
	void (*put)(void *context, const struct etcd_pair *pair);
	/* The pair that went; its value is empty where it is not known any more. */
	void (*removed)(void *context, const struct etcd_pair *before);
	/* The same of a pair whose key is put again: that put comes next. */
	void (*replaced)(void *context, const struct etcd_pair *before);
	/* All that was there is told. */
	void (*settled)(void *context, int64_t revision);
	/* All events up to a revision are told: called after each message. */
	void (*progress)(void *context, int64_t revision);
};

/* Begin; does not wait.  Any event may be NULL. */
MC_MUST_CHECK enum mc_status etcd_follow(const struct etcd_config *config, struct etcd_bytes prefix,
					 const struct etcd_follow_events *events, void *context,
					 struct etcd_follower **follower);
/* End; no callback runs after it.  Takes NULL. */
void etcd_unfollow(struct etcd_follower *follower);

/* Break the watch and take it up at the next endpoint: the owner knows that it stalls. */
void etcd_follow_again(struct etcd_follower *follower);

#endif
