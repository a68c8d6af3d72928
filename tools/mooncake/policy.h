/*
 * tools/mooncake/policy.h -- ask a master about policies and nodes, and change them
 *
 * Ownership   What a call allocates belongs to the caller.
 * Threads     One at a time.
 * Errors      As master.h; what the master answered.
 */
#ifndef TOOLS_MOONCAKE_POLICY_H
#define TOOLS_MOONCAKE_POLICY_H

#include "tools/mooncake/document.h"
#include "tools/mooncake/master.h"

struct master_policy {
	char *prefix; /* terminated; "" is the root, or that none says anything */
	struct mc_placement placement;
};

/* All policies. */
MC_MUST_CHECK enum mc_status master_policies(struct master *master, struct master_policy **policies,
					     size_t *count);
void master_policies_free(struct master_policy *policies, size_t count);

/* What holds for a key. */
MC_MUST_CHECK enum mc_status master_policy_of(struct master *master, const char *key,
					      struct master_policy *policy);

MC_MUST_CHECK enum mc_status master_policy_set(struct master *master, const char *prefix,
					       const struct mc_placement *placement);
/* MC_NOT_FOUND */
MC_MUST_CHECK enum mc_status master_policy_unset(struct master *master, const char *prefix);

/* MC_NOT_FOUND, MC_BUSY, MC_NOT_EMPTY */
MC_MUST_CHECK enum mc_status master_node_set(struct master *master, uint32_t node,
					     enum mc_node_op op);

struct master_drain {
	bool draining;
	bool done;
	uint64_t replicas; /* that the node still has */
	uint64_t left;	   /* of them without sufficient copies elsewhere */
	uint64_t coming;   /* objects of the cluster that have copies under way, or wait for them */
};
MC_MUST_CHECK enum mc_status master_drain(struct master *master, uint32_t node,
					  struct master_drain *drain);

/* "replicas=2 ack=1 pin=on preferred=a,b"; the caller frees.  Never NULL. */
char *placement_text(const struct mc_placement *placement);
void document_add_placement(cJSON *object, const struct mc_placement *placement);

#endif
