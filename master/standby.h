/*
 * master/standby.h -- what a master reads of etcd before it leads
 *
 * A follower tells of every record on its own thread, where they are read from
 * text; they wait here, in order, until the master's thread takes them.
 *
 * Ownership   The standby owns its follower.
 * Threads     The master's.  Takes standby->lock, a leaf.
 * Limits      STANDBY_SIZE_MAX bytes wait; the follower waits for room.
 */
#ifndef MASTER_STANDBY_H
#define MASTER_STANDBY_H

#include "engine/etcd/etcd.h"
#include "master/journal.h"

#define STANDBY_SIZE_MAX  (32u << 20)
#define STANDBY_MARK_SIZE (64u + JOURNAL_ADDRESS_SIZE)

struct leader;
struct standby;

struct standby_config {
	const struct etcd_config *etcd;
	struct etcd_bytes prefix;
	bool without_objects;
	struct leader *leader;	     /* is told of its key */
	void (*wake)(void *context); /* the follower's thread */
	void *context;
};

MC_MUST_CHECK enum mc_status standby_new(const struct standby_config *config,
					 struct standby **standby);
/* Takes NULL. */
void standby_free(struct standby *standby);

/* Take in what waits, for some time.  MC_AGAIN: there is more. */
MC_MUST_CHECK enum mc_status standby_take(struct standby *standby,
					  const struct journal_reader *reader, uint64_t until_ns);

/* Everything up to a revision was told and taken. */
bool standby_told(struct standby *standby, int64_t revision);

/* Records that there were when it began. */
uint64_t standby_records(struct standby *standby);

/* What the last leader left at the key `journal`, "" for nothing. */
void standby_mark(struct standby *standby, char mark[STANDBY_MARK_SIZE]);

#endif
