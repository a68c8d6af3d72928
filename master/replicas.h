/*
 * master/replicas.h -- which nodes hold an object
 *
 * Keeps the replicas of entries and the counts of nodes in step.
 *
 * Threads   The writer.
 */
#ifndef MASTER_REPLICAS_H
#define MASTER_REPLICAS_H

#include <mooncake/status.h>

#include "master/state.h"

/* A directory, or an object that a live node holds. */
bool replicas_show(const struct mc_master *master, const struct entry *entry);

/* Fill an entry of the protocol. */
void replicas_entry(const struct mc_master *master, const struct entry *entry,
		    struct mc_entry *out);

bool replicas_has(const struct entry *entry, const struct node *node);

/* The node holds the current version; told in its present round.  MC_TOO_BIG: too many do. */
MC_MUST_CHECK enum mc_status replicas_add(struct mc_master *master, struct entry *entry,
					  struct node *node, enum mc_replica_kind kind);
/* False: it was none. */
bool replicas_remove(struct mc_master *master, struct entry *entry, const struct node *node);
void replicas_clear(struct mc_master *master, struct entry *entry);

/* Remove what the node did not tell in this round; names without a replica go.  How many went. */
uint64_t replicas_sweep(struct mc_master *master, struct session *session);

/* Rounds of a node have run out: see nodes_reset(). */
void replicas_reset(struct mc_master *master, struct node *node);

/* The last replica of an object is gone: so is its name, of which all sessions but one hear. */
void replicas_lost(struct mc_master *master, const struct session *except, struct entry *entry);

/* Forget an entry: replicas, id, name; touched.  Tells nobody. */
void replicas_forget(struct mc_master *master, struct entry *entry);

#endif
