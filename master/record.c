#include "master/record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "engine/rpc/wire.h"
#include "master/xattrs.h"

#define VERSION	     1u
#define NODE_VERSION 2u
#define REPLICA_BITS 0x1fffu /* node and kind: a round means nothing later */
#define FIXED_SIZE   180u    /* of a typical object's record, without its name */
#define DEED_SIZE    74u     /* of a deed's record */
#define POLICY_SIZE  31u     /* of a policy's, without its prefix and its nodes */
#define NODE_SIZE    39u     /* of a node's, without its names */

static enum mc_status record_write(struct mc_master *master, enum record_kind kind,
				   const uint8_t *key, size_t key_size, struct writer *w,
				   bool snapshot)
{
	const struct journal_ops *ops = master->journal->ops;
	enum mc_status status = MC_OK;

	if (w->failed)
		status = MC_NO_MEMORY;
	else if (snapshot)
		status = ops->snapshot_put(master->journal, kind, key, key_size, w->data, w->size);
	else
		ops->put(master->journal, kind, key, key_size, w->data, w->size);
	writer_reset(w);
	return status;
}

enum mc_status record_meta(struct mc_master *master, bool snapshot)
{
	struct writer *w = &master->record;

	put_u8(w, VERSION);
	put_u64(w, master->cluster);
	put_u32(w, master->epoch);
	put_u64(w, master_ids_reserve(master));
	put_u64(w, master->id_known);
	return record_write(master, RECORD_META, NULL, 0, w, snapshot);
}

enum mc_status record_node(struct mc_master *master, const struct node *node, bool snapshot)
{
	const struct mc_node *public = &node->public;
	struct writer *w = &master->record;

	put_u8(w, public->draining ? NODE_VERSION : VERSION);
	put_u32(w, public->id);
	put_string(w, public->name, strlen(public->name));
	put_string(w, public->host, strlen(public->host));
	if (public->draining)
		put_u8(w, 1);
	return record_write(master, RECORD_NODE, public->uuid, sizeof(public->uuid), w, snapshot);
}

enum mc_status record_entry(struct mc_master *master, const struct entry *entry, bool snapshot)
{
	struct writer *w = &master->record;
	bool directory = entry_is_directory(entry);
	struct mc_attr attr;
	uint8_t key[8];

	entry_attr(entry, &attr);
	put_u8(w, VERSION);
	put_u64(w, entry->parent ? entry->parent->entry->id : 0);
	put_u64(w, entry->sequence);
	put_string(w, entry->name, entry->name_size);
	put_attr(w, &attr);
	xattrs_put(entry->xattrs, w);
	if (!directory) {
		put_u32(w, entry->version_raised);
		put_u8(w, entry->replica_count);
		for (uint8_t i = 0; i < entry->replica_count; i++)
			put_u16(w, entry->replicas[i] & REPLICA_BITS);
	}
	store_u64(key, entry->id);
	return record_write(master, directory ? RECORD_DIRECTORY : RECORD_OBJECT, key, sizeof(key),
			    w, snapshot);
}

enum mc_status record_policy(struct mc_master *master, const struct policy *policy, bool snapshot)
{
	struct writer *w = &master->record;
	uint8_t key[8];

	put_u8(w, VERSION);
	put_string(w, policy->prefix, policy->prefix_size);
	put_placement(w, &policy->placement);
	store_u64(key, policy->key);
	return record_write(master, RECORD_POLICY, key, sizeof(key), w, snapshot);
}

enum mc_status record_deed(struct mc_master *master, const struct deed *deed, bool snapshot)
{
	struct writer *w = &master->record;
	uint8_t key[8];

	put_u8(w, VERSION);
	put_u8(w, (uint8_t)deed->what);
	put_u64(w, deed->number);
	put_u64(w, deed->request);
	put_u32(w, deed->item);
	put_u64(w, deed->id);
	put_u64(w, deed->version);
	put_u64(w, (uint64_t)deed->done_s);
	store_u64(key, ledger_slot(deed));
	return record_write(master, RECORD_DEED, key, sizeof(key), w, snapshot);
}

void record_policy_gone(struct mc_master *master, uint64_t policy_key)
{
	uint8_t key[8];

	store_u64(key, policy_key);
	master->journal->ops->remove(master->journal, RECORD_POLICY, key, sizeof(key));
}

void record_node_gone(struct mc_master *master, const struct node *node)
{
	master->journal->ops->remove(master->journal, RECORD_NODE, node->public.uuid,
				     sizeof(node->public.uuid));
}

void record_gone(struct mc_master *master, uint64_t id, bool directory)
{
	uint8_t key[8];

	store_u64(key, id);
	master->journal->ops->remove(master->journal, directory ? RECORD_DIRECTORY : RECORD_OBJECT,
				     key, sizeof(key));
}

uint64_t record_live_size(const struct mc_master *master)
{
	const struct catalog *catalog = &master->catalog;
	const struct policies *policies = &master->policies;
	uint64_t deeds = master->ledger.last < LEDGER_COUNT ? master->ledger.last : LEDGER_COUNT;

	return (catalog->objects + catalog->directories) * FIXED_SIZE + catalog->names_size +
	       catalog->xattrs_size + deeds * DEED_SIZE + policies->prefixes_size +
	       policies->count * (POLICY_SIZE + sizeof(struct mc_placement)) +
	       (uint64_t)master->nodes.used * (NODE_SIZE + 2 * MC_NODE_NAME_SIZE);
}

static enum mc_status meta_load(struct mc_master *master, struct reader *r)
{
	uint64_t cluster = get_u64(r);
	uint32_t epoch = get_u32(r);
	uint64_t id_next = get_u64(r);
	uint64_t id_known = get_u64(r);

	if (!reader_done(r))
		return MC_IO;
	master->cluster = cluster;
	master->epoch = epoch;
	master->id_next = id_next;
	master->id_known = id_known;
	return MC_OK;
}

static enum mc_status node_load(struct mc_master *master, const uint8_t *key, size_t key_size,
				uint8_t version, struct reader *r)
{
	struct mc_node said = {0};

	if (key_size != sizeof(said.uuid))
		return MC_IO;
	memcpy(said.uuid, key, key_size);
	said.id = get_u32(r);
	get_text(r, said.name, sizeof(said.name));
	get_text(r, said.host, sizeof(said.host));
	if (version >= NODE_VERSION)
		said.draining = get_u8(r) == 1;
	if (!reader_done(r))
		return MC_IO;
	return nodes_restore(&master->nodes, &said);
}

static bool replicas_load(struct reader *r, struct entry *loaded)
{
	loaded->version_raised = get_u32(r);
	loaded->replica_count = get_u8(r);
	if (loaded->replica_count > MC_REPLICA_MAX)
		return false;
	for (uint8_t i = 0; i < loaded->replica_count; i++)
		loaded->replicas[i] = get_u16(r) & REPLICA_BITS;
	return true;
}

/* The parts of an entry's value, checked; `loaded` takes those beyond attr and name. */
static bool entry_read(struct reader *r, enum record_kind kind, struct mc_attr *attr,
		       struct catalog_place *place, struct entry *loaded)
{
	mode_t type = kind == RECORD_DIRECTORY ? S_IFDIR : S_IFREG;

	place->parent = get_u64(r);
	place->sequence = get_u64(r);
	place->name = get_string(r, &place->name_size);
	get_attr(r, attr);
	if (r->failed || (attr->mode & S_IFMT) != type)
		return false;
	if (attr->id == MC_ROOT_ID ? place->name_size != 0
				   : !mc_name_valid(place->name, place->name_size))
		return false;
	if (xattrs_get(r, &loaded->xattrs) != MC_OK)
		return false;
	return (kind == RECORD_DIRECTORY || replicas_load(r, loaded)) && reader_done(r);
}

static enum mc_status entry_load(struct mc_master *master, enum record_kind kind,
				 const uint8_t *key, size_t key_size, struct reader *r)
{
	struct catalog_place place;
	struct entry loaded = {0};
	struct entry *entry;
	struct mc_attr attr;

	if (key_size != 8 || !entry_read(r, kind, &attr, &place, &loaded) ||
	    attr.id != load_u64(key)) {
		free(loaded.xattrs);
		return MC_IO;
	}
	enum mc_status status = catalog_load(&master->catalog, &attr, &place, &entry);
	if (status != MC_OK) {
		free(loaded.xattrs);
		return status;
	}
	entry->xattrs = loaded.xattrs;
	if (entry->xattrs)
		master->catalog.xattrs_size += entry->xattrs->size;
	if (kind == RECORD_OBJECT) {
		entry->version_raised = loaded.version_raised;
		entry->replica_count = loaded.replica_count;
		memcpy(entry->replicas, loaded.replicas, sizeof(loaded.replicas));
	}
	return MC_OK;
}

static enum mc_status deed_load(struct mc_master *master, uint64_t slot, struct reader *r)
{
	struct deed deed = {.what = get_u8(r)};

	deed.number = get_u64(r);
	deed.request = get_u64(r);
	deed.item = get_u32(r);
	deed.id = get_u64(r);
	deed.version = get_u64(r);
	deed.done_s = (int64_t)get_u64(r);
	return reader_done(r) && ledger_load(&master->ledger, slot, &deed) ? MC_OK : MC_IO;
}

/* Its place is told too: by now the id may have another, and then it stays. */
static enum mc_status left_load(struct mc_master *master, const uint8_t *key, size_t key_size)
{
	uint64_t id = load_u64(key);
	struct catalog_place place = {
		.parent = load_u64(key + 8),
		.name = (const char *)key + 16,
		.name_size = key_size - 16,
	};

	if (id == 0)
		id = catalog_loaded_at(&master->catalog, &place);
	if (id > MC_ROOT_ID && catalog_loaded_there(&master->catalog, id, &place))
		catalog_unload(&master->catalog, id);
	return MC_OK;
}

static enum mc_status gone_load(struct mc_master *master, enum record_kind kind, const uint8_t *key,
				size_t key_size)
{
	struct policy *policy;
	struct node *node;

	if (kind == RECORD_POLICY && key_size == 8) {
		policy = policies_find_key(&master->policies, load_u64(key));
		if (policy)
			policies_remove(&master->policies, policy);
		return MC_OK;
	}
	if (kind == RECORD_NODE && key_size == sizeof(node->public.uuid)) {
		node = nodes_find(&master->nodes, key);
		if (node)
			nodes_forget(node);
		return MC_OK;
	}
	if (kind != RECORD_DIRECTORY && kind != RECORD_OBJECT)
		return MC_IO;
	if (key_size >= 16)
		return left_load(master, key, key_size);
	if (key_size != 8 || load_u64(key) == MC_ROOT_ID)
		return MC_IO;
	catalog_unload(&master->catalog, load_u64(key));
	return MC_OK;
}

enum mc_status record_load(void *context, enum record_kind kind, const uint8_t *key,
			   size_t key_size, const uint8_t *value, size_t value_size)
{
	struct mc_master *master = context;
	struct reader r;

	if (!value)
		return gone_load(master, kind, key, key_size);
	reader_init(&r, value, value_size);
	uint8_t version = get_u8(&r);
	if (version != VERSION && !(kind == RECORD_NODE && version == NODE_VERSION))
		return MC_IO;
	switch (kind) {
	case RECORD_META:
		return key_size == 0 ? meta_load(master, &r) : MC_IO;
	case RECORD_NODE:
		return node_load(master, key, key_size, version, &r);
	case RECORD_POLICY:
		return key_size == 8 ? policy_load(master, load_u64(key), &r) : MC_IO;
	case RECORD_DEED:
		return key_size == 8 ? deed_load(master, load_u64(key), &r) : MC_IO;
	case RECORD_DIRECTORY:
	case RECORD_OBJECT:
		return entry_load(master, kind, key, key_size, &r);
	}
	return MC_IO;
}
