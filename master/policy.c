#include "master/policy.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "master/record.h"
#include "master/repair.h"
#include "master/service.h"
#include "master/walk.h"

void policies_fini(struct policies *policies)
{
	for (uint32_t i = 0; i < policies->count; i++)
		free(policies->table[i].prefix);
	free(policies->table);
	*policies = (struct policies){0};
}

struct policy *policies_find_key(const struct policies *policies, uint64_t key)
{
	for (uint32_t i = 0; i < policies->count; i++) {
		if (policies->table[i].key == key)
			return &policies->table[i];
	}
	return NULL;
}

static bool is_prefix(const struct policy *policy, const char *prefix, size_t size)
{
	return policy->prefix_size == size && memcmp(policy->prefix, prefix, size) == 0;
}

/* The policy of exactly this prefix, or of a key.  NULL: none. */
static struct policy *policies_find(const struct policies *policies, const char *prefix,
				    size_t prefix_size)
{
	struct policy *policy = policies_find_key(policies, mc_name_hash(prefix, prefix_size));

	return policy && is_prefix(policy, prefix, prefix_size) ? policy : NULL;
}

static enum mc_status add(struct policies *policies, const char *prefix, size_t prefix_size,
			  struct policy **policy)
{
	if (policies->count == MC_POLICY_MAX)
		return MC_NO_SPACE;
	struct policy *table = reallocarray(policies->table, policies->count + 1, sizeof(*table));
	if (!table)
		return MC_NO_MEMORY;
	policies->table = table;
	char *copy = malloc(prefix_size + 1);
	if (!copy)
		return MC_NO_MEMORY;
	memcpy(copy, prefix, prefix_size);
	policies->prefixes_size += prefix_size;
	*policy = &table[policies->count++];
	**policy = (struct policy){.key = mc_name_hash(prefix, prefix_size),
				   .prefix = copy,
				   .prefix_size = prefix_size};
	return MC_OK;
}

enum mc_status policies_set(struct policies *policies, const char *prefix, size_t prefix_size,
			    const struct mc_placement *placement)
{
	struct policy *policy = policies_find_key(policies, mc_name_hash(prefix, prefix_size));

	if (policy && !is_prefix(policy, prefix, prefix_size))
		return MC_EXISTS;
	if (!policy) {
		enum mc_status status = add(policies, prefix, prefix_size, &policy);
		if (status != MC_OK)
			return status;
	}
	struct mc_placement *has = &policy->placement;
	has->replicas = placement->replicas ? placement->replicas : has->replicas;
	has->ack = placement->ack ? placement->ack : has->ack;
	has->pin = placement->pin ? placement->pin : has->pin;
	if (placement->preferred_count) {
		has->preferred_count = placement->preferred_count;
		memcpy(has->preferred, placement->preferred, sizeof(has->preferred));
	}
	return MC_OK;
}

void policies_remove(struct policies *policies, struct policy *policy)
{
	policies->prefixes_size -= policy->prefix_size;
	free(policy->prefix);
	*policy = policies->table[--policies->count];
}

static bool covers(const struct policy *policy, const char *path, size_t size)
{
	size_t prefix = policy->prefix_size;

	if (prefix == 0)
		return true;
	return prefix <= size && memcmp(policy->prefix, path, prefix) == 0 &&
	       (prefix == size || path[prefix] == '/');
}

const struct policy *policies_of(const struct policies *policies, const char *path,
				 size_t path_size, struct mc_placement *placement)
{
	/* Of which prefix each field is; by size + 1, 0: nobody has said it. */
	size_t replicas = 0;
	size_t ack = 0;
	size_t pin = 0;
	size_t preferred = 0;
	const struct policy *longest = NULL;

	*placement = (struct mc_placement){0};
	for (uint32_t i = 0; i < policies->count; i++) {
		const struct policy *policy = &policies->table[i];
		const struct mc_placement *said = &policy->placement;
		size_t size = policy->prefix_size + 1;
		if (!covers(policy, path, path_size))
			continue;
		if (!longest || policy->prefix_size > longest->prefix_size)
			longest = policy;
		if (said->replicas && size > replicas) {
			placement->replicas = said->replicas;
			replicas = size;
		}
		if (said->ack && size > ack) {
			placement->ack = said->ack;
			ack = size;
		}
		if (said->pin && size > pin) {
			placement->pin = said->pin;
			pin = size;
		}
		if (said->preferred_count && size > preferred) {
			placement->preferred_count = said->preferred_count;
			memcpy(placement->preferred, said->preferred, sizeof(said->preferred));
			preferred = size;
		}
	}
	return longest;
}

void policy_of_entry(const struct mc_master *master, const struct entry *entry,
		     struct mc_placement *placement)
{
	char path[MC_PATH_MAX + 1];
	size_t size = entry_path_size(entry);

	*placement = (struct mc_placement){0};
	if (master->policies.count == 0 || size > MC_PATH_MAX)
		return;
	entry_path(entry, path);
	policies_of(&master->policies, path, size, placement);
}

uint8_t policy_wanted(const struct mc_master *master, const struct entry *entry)
{
	struct mc_placement placement;
	uint8_t own = MC_ATTR_REPLICAS_GET(entry->flags);

	if (own)
		return own < MC_REPLICA_MAX ? own : MC_REPLICA_MAX;
	policy_of_entry(master, entry, &placement);
	return placement.replicas ? placement.replicas : 1;
}

/* -- the journal -- */

enum mc_status policies_record(struct mc_master *master)
{
	enum mc_status status = MC_OK;

	for (uint32_t i = 0; i < master->policies.count && status == MC_OK; i++)
		status = record_policy(master, &master->policies.table[i], true);
	return status;
}

enum mc_status policy_load(struct mc_master *master, uint64_t key, struct reader *r)
{
	struct mc_placement placement;
	size_t prefix_size;
	const char *prefix = get_string(r, &prefix_size);

	get_placement(r, &placement);
	if (!reader_done(r) || (prefix_size > 0 && !walk_path_valid(prefix, prefix_size)) ||
	    mc_name_hash(prefix, prefix_size) != key)
		return MC_IO;
	/* The record is all of it: what an older one said besides is said no more. */
	struct policy *before = policies_find(&master->policies, prefix, prefix_size);
	if (before)
		before->placement = (struct mc_placement){0};
	return policies_set(&master->policies, prefix, prefix_size, &placement);
}

/* -- the verbs -- */

static void prefix_read(struct reader *r, struct item *item)
{
	item->name = get_string(r, &item->name_size);
	if (!r->failed && item->name_size > 0 && !walk_path_valid(item->name, item->name_size))
		r->failed = true;
}

void policy_set_read(struct reader *r, struct item *item)
{
	prefix_read(r, item);
	placement_read(r, item);
}

enum mc_status policy_set_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct mc_placement placement;

	placement_take(item, &placement);
	if (placement.ack > 1 && placement.replicas && placement.ack > placement.replicas)
		return MC_INVALID;
	enum mc_status status =
		policies_set(&master->policies, item->name, item->name_size, &placement);
	if (status != MC_OK)
		return status;
	status = record_policy(
		master, policies_find(&master->policies, item->name, item->name_size), false);
	/* So that the group is written with this turn. */
	master->meta_touched = true;
	repair_look(master, 0);
	return status;
}

void policy_prefix_read(struct reader *r, struct item *item)
{
	prefix_read(r, item);
}

enum mc_status policy_unset_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct policy *policy = policies_find(&master->policies, item->name, item->name_size);

	if (!policy)
		return MC_NOT_FOUND;
	record_policy_gone(master, policy->key);
	policies_remove(&master->policies, policy);
	master->meta_touched = true;
	repair_look(master, 0);
	return MC_OK;
}

static void policy_put(struct writer *w, const char *prefix, size_t prefix_size,
		       const struct mc_placement *placement)
{
	put_string(w, prefix, prefix_size);
	put_placement(w, placement);
}

enum mc_status policies_apply(struct call *call, const struct item *item)
{
	const struct policies *policies = &call->master->policies;

	(void)item;
	put_u16(call->w, (uint16_t)policies->count);
	for (uint32_t i = 0; i < policies->count; i++)
		policy_put(call->w, policies->table[i].prefix, policies->table[i].prefix_size,
			   &policies->table[i].placement);
	return MC_OK;
}

enum mc_status policy_apply(struct call *call, const struct item *item)
{
	struct mc_placement placement;
	const struct policy *policy =
		policies_of(&call->master->policies, item->name, item->name_size, &placement);

	if (placement.replicas == 0)
		placement.replicas = 1;
	policy_put(call->w, policy ? policy->prefix : "", policy ? policy->prefix_size : 0,
		   &placement);
	return MC_OK;
}
