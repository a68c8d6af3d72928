/*
 * master/leader.h -- which master of a cluster may write
 *
 * The key `leader` belongs to a lease that its master keeps alive.  Whoever
 * finds no such key tries to put it, in one transaction that can succeed once.
 * Its create revision is the token that fences everything the leader writes:
 * each of its transactions compares it, so once the key is gone nothing of an
 * old leader is taken any more, however late it arrives.
 *
 *               key is absent           put           not renewed in time
 *   STANDBY ──────────────► CAMPAIGN ───────► LEADER ────────────────────► UNSURE
 *      ▲                        │               │  ◄──────────────────────   │
 *      └────────────────────────┴───────────────┴─── key or lease is gone ───┘
 *                another was first
 *
 * A standby is told by its follower when the key goes.  It looks for itself too: a
 * watch at a member of etcd that hangs tells nothing, and a campaign may have failed.
 *
 * A leader counts its time from before it asked for each renewal, and leaves
 * part of it unused (LEADER_MARGIN), so it stops before the lease can have
 * ended.  UNSURE is not the end: etcd may be away, and nobody else can have
 * been elected meanwhile without it.
 *
 * Ownership   The leader has a client of etcd of its own, so that a renewal
 *             never waits behind records, and renews by that client's thread, so
 *             that a long turn of the master does not end the lead.  A master
 *             that has not ticked for LEADER_PATIENCE_MS is given up.
 * Threads     leader_tick(), leader_resign() and leader_free(): the master's.
 *             The rest: any thread.  Takes leader->lock, a leaf.
 */
#ifndef MASTER_LEADER_H
#define MASTER_LEADER_H

#include <stdbool.h>

#include "engine/etcd/etcd.h"

#define LEADER_LEASE_S_MIN 1u
#define LEADER_MARGIN	   5u /* of the lease, the last of so many parts is not used */
#define LEADER_NAME_SIZE   17u
#define LEADER_PATIENCE_MS 60000u

struct leader;

enum leader_state { LEADER_STANDBY, LEADER_CAMPAIGN, LEADER_LEADER, LEADER_UNSURE };

struct leader_config {
	const struct etcd_config *etcd;
	struct etcd_bytes prefix; /* "/mooncake/CLUSTER/" */
	uint32_t lease_s;
	unsigned lanes; /* keys lanes/0 … that an election puts to "NAME 0" */
	/* Something changed: any thread. */
	void (*changed)(void *context);
	void *context;
};

MC_MUST_CHECK enum mc_status leader_new(const struct leader_config *config, struct leader **leader);
/* Ends the lease, when this one leads, so that another can follow at once.  Takes NULL. */
void leader_free(struct leader *leader);

/* Where it can be reached, before the first tick; goes into the key. */
void leader_announce(struct leader *leader, const char *address);

/* The master turns; campaign where that is due. */
void leader_tick(struct leader *leader);

/* What a follower saw of the key: `there` false lets a standby campaign at once. */
void leader_seen(struct leader *leader, bool there);

/* The follower reads all anew: no campaign before it has. */
void leader_unseen(struct leader *leader);

/* The key is not ours: a transaction was refused, or the new leader said so. */
void leader_lost(struct leader *leader);

/* Give it up, and leave the next election to others for a lease's time. */
void leader_resign(struct leader *leader);

enum leader_state leader_state(struct leader *leader);

/* The create revision of our key, 0 when we have none. */
int64_t leader_token(struct leader *leader);

/* Drawn at each election; the values of lanes begin with it. */
void leader_name(struct leader *leader, char name[LEADER_NAME_SIZE]);

#endif
