/*
 * master/policy.h -- how often, and where, the objects below a prefix are kept
 *
 * A prefix is a path from the root ("" is the root itself); a policy holds for
 * what has this path and for all below it.  Of several that say something, the
 * longest prefix counts, field by field.  A policy is a record of the journal
 * of its own and needs no directory of that name.
 *
 * Ownership   The table copies what it is given.
 * Threads     The master's.
 * Limits      MC_POLICY_MAX policies.
 */
#ifndef MASTER_POLICY_H
#define MASTER_POLICY_H

#include <mooncake/status.h>
#include <mooncake/types.h>

struct entry;
struct mc_master;
struct reader;

struct policy {
	uint64_t key; /* FNV-1a of the prefix: its key in the journal */
	struct mc_placement placement;
	size_t prefix_size;
	char *prefix; /* not terminated */
};

struct policies {
	struct policy *table;
	uint32_t count;
	uint64_t prefixes_size; /* bytes of all prefixes */
};

void policies_fini(struct policies *policies);

/*
 * Set the policy of a prefix, or what is said of it; the rest stays as it was.
 *
 * MC_NO_SPACE   there are MC_POLICY_MAX already
 * MC_EXISTS     another prefix has the same key; choose a prefix beside it
 */
MC_MUST_CHECK enum mc_status policies_set(struct policies *policies, const char *prefix,
					  size_t prefix_size, const struct mc_placement *placement);

/* The policy of a prefix, by mc_name_hash() of it.  NULL: none. */
struct policy *policies_find_key(const struct policies *policies, uint64_t key);
void policies_remove(struct policies *policies, struct policy *policy);

/*
 * What holds for a path: every field that no policy says is zero.  Returns the
 * policy with the longest prefix that says anything; NULL: none does.
 */
const struct policy *policies_of(const struct policies *policies, const char *path,
				 size_t path_size, struct mc_placement *placement);

/* The same for an entry. */
void policy_of_entry(const struct mc_master *master, const struct entry *entry,
		     struct mc_placement *placement);

/* The count of primary replicas that an object should have, at least 1. */
uint8_t policy_wanted(const struct mc_master *master, const struct entry *entry);

/* Put all into the journal's snapshot; take one from its records (value NULL: removed). */
MC_MUST_CHECK enum mc_status policies_record(struct mc_master *master);
MC_MUST_CHECK enum mc_status policy_load(struct mc_master *master, uint64_t key, struct reader *r);

#endif
