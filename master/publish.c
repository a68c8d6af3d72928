/* Verbs by which objects get a name: published, or announced from a pool. */
#include "master/service.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/change.h"
#include "master/grant.h"
#include "master/lead.h"
#include "master/rank.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/walk.h"
#include "master/xattrs.h"

#define MADE_MODE 0755u /* of directories that a path brings with it */

/* The attributes of what a node brings: ids and versions will grow from these. */
static void offer_read(struct reader *r, struct mc_attr *attr)
{
	get_attr(r, attr);
	if (attr->id > MC_OFFER_MAX || attr->version > MC_OFFER_MAX)
		r->failed = true;
}

void publish_read(struct reader *r, struct item *item)
{
	item->parent = get_u64(r);
	item->name = get_string(r, &item->name_size);
	item->flags = get_u32(r);
	offer_read(r, &item->attr);
	if (item->flags & MC_PUBLISH_PLACED)
		placement_read(r, item);
	if (r->failed)
		return;
	if (item->flags >= MC_PUBLISH_STANDING << 1 ||
	    (item->flags & (MC_PUBLISH_PLACED | MC_PUBLISH_OWN)) == MC_PUBLISH_OWN)
		r->failed = true;
	else if (item->flags & MC_PUBLISH_PARENTS)
		r->failed = !walk_path_valid(item->name, item->name_size);
	else
		r->failed = !mc_name_valid(item->name, item->name_size);
}

static bool path_clear(struct call *call, struct directory *from, const char *path, size_t size)
{
	struct walk walk;

	if (walk_path(call->master, from, path, size, &walk) != MC_OK || walk.entry)
		return true;
	return grant_clear(call->master, call->session, walk.directory);
}

bool publish_clear(struct call *call, const struct item *item)
{
	struct directory *from;

	if (walk_directory(call->master, item->parent, &from) != MC_OK)
		return true;
	return path_clear(call, from, item->name, item->name_size);
}

/* Make what the walk found missing above the last component. */
static enum mc_status parents_make(struct call *call, const struct mc_attr *attr, struct walk *walk)
{
	struct mc_master *master = call->master;

	while (walk->rest_size > 0) {
		struct mc_attr made = {
			.mode = S_IFDIR | MADE_MODE, .uid = attr->uid, .gid = attr->gid};
		struct entry *entry;
		made.id = master_id(master);
		enum mc_status status = change_path_fits(walk->directory, walk->name_size);
		if (status != MC_OK)
			return status;
		if (walk->entry)
			change_remove(master, call->session, walk->entry);
		status = change_mkdir(master, call->session, walk->directory, walk->name,
				      walk->name_size, &made, &entry);
		if (status == MC_OK)
			status = walk_path(master, entry->directory, walk->rest, walk->rest_size,
					   walk);
		if (status != MC_OK)
			return status;
	}
	return MC_OK;
}

static uint64_t version_next(uint64_t offered, uint64_t last)
{
	return offered > last ? offered : last + 1;
}

static void version_record(struct entry *entry, uint64_t offered, uint64_t version)
{
	uint64_t raised = version - offered;

	entry->version = version;
	entry->version_raised = raised <= UINT32_MAX ? (uint32_t)raised : 0;
}

/* The same publication again, its answer got lost. */
static bool is_repeated(const struct entry *entry, const struct mc_attr *attr)
{
	return attr->version == entry->version ||
	       attr->version + entry->version_raised == entry->version;
}

/* A new version of an object that is known; its name is whatever it is now. */
static enum mc_status republish(struct call *call, struct entry *entry, const struct mc_attr *attr)
{
	struct mc_master *master = call->master;
	struct node *node = call->session->node;
	uint64_t version = version_next(attr->version, entry->version);
	uint8_t flags = entry->flags;

	master_session_drop(master, call->session, entry);
	master_touch(master, entry);
	replicas_clear(master, entry);
	entry_attr_set(entry, attr);
	entry->flags = flags & (uint8_t)~MC_ATTR_THINNED;
	version_record(entry, attr->version, version);
	master_session_invalidate(master, call->session, MC_INVALIDATE_ATTR,
				  entry->parent->entry->id, entry->id, NULL, 0);
	return replicas_add(master, entry, node, MC_REPLICA_PRIMARY);
}

/* Another object takes a name over. */
static enum mc_status take_over(struct call *call, struct entry *entry, const struct mc_attr *attr)
{
	struct mc_master *master = call->master;
	uint64_t version = version_next(attr->version, entry->version);

	/* Told before the number changes: it names the old one. */
	change_lost(master, call->session, entry);
	enum mc_status status = catalog_renumber(&master->catalog, entry, attr->id);
	if (status != MC_OK)
		return status;
	replicas_clear(master, entry);
	if (entry->xattrs) {
		master->catalog.xattrs_size -= entry->xattrs->size;
		grace_free(&master->catalog.grace, entry->xattrs);
		entry->xattrs = NULL;
	}
	entry_attr_set(entry, attr);
	entry->flags &= MC_ATTR_PINNED | MC_ATTR_REPLICAS;
	version_record(entry, attr->version, version);
	change_stamp(master, entry->parent);
	return MC_OK;
}

static enum mc_status add_new(struct call *call, struct directory *directory, const char *name,
			      size_t name_size, const struct mc_attr *attr, struct entry **entry)
{
	struct mc_master *master = call->master;
	enum mc_status status = change_path_fits(directory, name_size);

	if (status == MC_OK)
		status = catalog_add(&master->catalog, directory, name, name_size, attr, entry);
	if (status != MC_OK)
		return status;
	(*entry)->flags &= MC_ATTR_PINNED | MC_ATTR_REPLICAS;
	change_stamp(master, directory);
	grant_added(master, call->session, directory);
	return MC_OK;
}

/* Give the last component of a walk to an object that has no name yet. */
static enum mc_status name_give(struct call *call, const struct walk *walk, bool exclusive,
				const struct mc_attr *attr, struct entry **entry)
{
	struct mc_master *master = call->master;
	struct entry *taken = walk->entry;

	if (taken && entry_is_directory(taken))
		return MC_IS_DIRECTORY;
	if (taken && exclusive && replicas_show(master, taken))
		return MC_EXISTS;
	enum mc_status status = change_reserved(master, call->session, walk->directory, walk->name,
						walk->name_size, exclusive);
	if (status != MC_OK)
		return status;
	if (taken) {
		*entry = taken;
		return take_over(call, taken, attr);
	}
	return add_new(call, walk->directory, walk->name, walk->name_size, attr, entry);
}

static enum mc_status publish_known(struct call *call, struct entry *entry,
				    const struct mc_attr *attr)
{
	if (entry_is_directory(entry))
		return MC_INVALID;
	if (is_repeated(entry, attr))
		return replicas_add(call->master, entry, call->session->node, MC_REPLICA_PRIMARY);
	/* Another node has published since it was sent first: it may have been done before. */
	if (call->age_s > 0 && attr->version < entry->version)
		return MC_TIMEOUT;
	return republish(call, entry, attr);
}

static enum mc_status publish_new(struct call *call, const struct item *item, struct entry **entry)
{
	struct mc_master *master = call->master;
	bool exclusive = item->flags & MC_PUBLISH_EXCLUSIVE;
	struct directory *from;
	struct walk walk;

	enum mc_status status = walk_directory(master, item->parent, &from);
	if (status == MC_OK)
		status = walk_path(master, from, item->name, item->name_size, &walk);
	if (status == MC_OK)
		status = parents_make(call, &item->attr, &walk);
	if (status == MC_OK)
		status = name_give(call, &walk, exclusive, &item->attr, entry);
	if (status != MC_OK)
		return status;
	master_id_seen(master, item->attr.id);
	return replicas_add(master, *entry, call->session->node, MC_REPLICA_PRIMARY);
}

/* See to the other replicas; returns for how many the writer is to wait. */
static uint8_t placement_apply(struct mc_master *master, const struct item *item,
			       struct entry *entry)
{
	struct mc_placement placement;

	if (!(item->flags & MC_PUBLISH_PLACED))
		return repair_published(master, entry, NULL, false);
	placement_take(item, &placement);
	return repair_published(master, entry, &placement, item->flags & MC_PUBLISH_OWN);
}

enum mc_status publish_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	const struct mc_attr *attr = &item->attr;
	struct mc_attr recorded;

	failpoint("publish.received");
	if (!call->session->node)
		return MC_PERMISSION;
	if (!S_ISREG(attr->mode) || attr->id <= MC_ROOT_ID)
		return MC_INVALID;
	struct entry *entry = catalog_find(&master->catalog, attr->id);
	uint64_t since = item->flags & MC_PUBLISH_STANDING ? 0 : attr->version;
	if (!entry && ledger_knows_gone(&master->ledger, attr->id, since)) {
		recorded = *attr;
		recorded.nlink = 0;
		put_attr(call->w, &recorded);
		return MC_OK;
	}
	if (!entry && call_too_late(call))
		return MC_TIMEOUT;
	enum mc_status status =
		entry ? publish_known(call, entry, attr) : publish_new(call, item, &entry);
	if (status != MC_OK)
		return status;
	uint8_t ack = placement_apply(master, item, entry);
	entry_attr(entry, &recorded);
	recorded.flags |= MC_ATTR_ACK_PUT(ack);
	put_attr(call->w, &recorded);
	failpoint("publish.applied");
	return MC_OK;
}

void announce_read(struct reader *r, struct item *item)
{
	item->name = get_string(r, &item->name_size);
	item->kind = get_u8(r);
	offer_read(r, &item->attr);
	if (r->failed)
		return;
	r->failed = !walk_path_valid(item->name, item->name_size) || item->kind > MC_REPLICA_CACHE;
}

/* The master has handed the id out and has it no longer: its object was removed. */
static bool was_removed(const struct mc_master *master, const struct mc_attr *attr)
{
	if (ledger_knows_gone(&master->ledger, attr->id, attr->version))
		return true;
	return attr->id >= master->id_known && attr->id < master->id_next &&
	       lead_knew(master, attr->version);
}

bool announce_clear(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;

	if (catalog_find(&master->catalog, item->attr.id))
		return true;
	/* What is unknown may be about to be published by a request that waits. */
	if (call->session->parked_size[PARKED_FOR_GRANT] > 0)
		return false;
	if (was_removed(master, &item->attr))
		return true;
	return path_clear(call, master->catalog.root->directory, item->name, item->name_size);
}

/* An object that the master never heard of: it lost its journal, or had none. */
static enum mc_status adopt(struct call *call, const struct item *item, struct entry **entry)
{
	struct mc_master *master = call->master;
	const struct mc_attr *attr = &item->attr;
	struct walk walk;

	enum mc_status status = walk_path(master, master->catalog.root->directory, item->name,
					  item->name_size, &walk);
	if (status == MC_OK)
		status = parents_make(call, attr, &walk);
	if (status != MC_OK)
		return status;
	/* Two nodes have the name: the newer one is what was published last. */
	if (walk.entry &&
	    (entry_is_directory(walk.entry) ||
	     (walk.entry->version >= attr->version && replicas_show(master, walk.entry))))
		return MC_NOT_FOUND;
	status = name_give(call, &walk, false, attr, entry);
	if (status == MC_OK)
		master_id_seen(master, attr->id);
	return status;
}

static enum mc_status announce_known(struct call *call, const struct item *item,
				     struct entry *entry)
{
	const struct mc_attr *attr = &item->attr;

	bool same = !entry_is_directory(entry) && is_repeated(entry, attr);

	if (entry_is_directory(entry) || (!same && attr->version < entry->version))
		return MC_NOT_FOUND;
	/* A version whose publication did not get here, or not into the journal. */
	if (!same && attr->version > entry->version) {
		/* As what is new: only a file is taken in, else it was only asked for. */
		if (item->kind != MC_REPLICA_PRIMARY || !S_ISREG(attr->mode))
			return MC_NOT_FOUND;
		call->session->announcement.newer++;
		return republish(call, entry, attr);
	}
	enum mc_replica_kind said = (enum mc_replica_kind)item->kind;
	enum mc_replica_kind kind = rank_returned(call->master, entry, call->session->node, said);
	call->session->announcement.lowered +=
		said == MC_REPLICA_PRIMARY && kind == MC_REPLICA_CACHE;
	call->session->announcement.known++;
	return replicas_add(call->master, entry, call->session->node, kind);
}

enum mc_status announce_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	const struct mc_attr *attr = &item->attr;
	struct entry *entry = catalog_find(&master->catalog, attr->id);
	struct mc_attr recorded;
	enum mc_status status = MC_OK;

	if (!call->session->node)
		return MC_PERMISSION;
	if (!entry) {
		if (!S_ISREG(attr->mode) || attr->id <= MC_ROOT_ID || was_removed(master, attr)) {
			call->session->announcement.refused++;
			return MC_NOT_FOUND;
		}
		status = adopt(call, item, &entry);
		call->session->announcement.adopted += status == MC_OK;
		if (status == MC_OK)
			status = replicas_add(master, entry, call->session->node,
					      (enum mc_replica_kind)item->kind);
	} else {
		status = announce_known(call, item, entry);
	}
	/* Whatever is in the way of it, the pool's copy is of no use. */
	if (status != MC_OK) {
		call->session->announcement.refused++;
		return status == MC_NO_MEMORY ? status : MC_NOT_FOUND;
	}
	failpoint("announce.applied");
	entry_attr(entry, &recorded);
	put_u64(call->w, entry->parent->entry->id);
	put_attr(call->w, &recorded);
	return MC_OK;
}

/* One line of what its inventory and the records came to. */
static void announcement_log(struct session *session, uint64_t missing)
{
	const struct announcement *a = &session->announcement;
	const struct mc_node *node = &session->node->public;

	log_info("took an inventory node=%u name=%s known=%lu adopted=%lu newer=%lu refused=%lu "
		 "lowered=%lu missing=%lu",
		 node->id, node->name, (unsigned long)a->known, (unsigned long)a->adopted,
		 (unsigned long)a->newer, (unsigned long)a->refused, (unsigned long)a->lowered,
		 (unsigned long)missing);
	if (missing)
		log_warn("a node lost replicas node=%u name=%s replicas=%lu", node->id, node->name,
			 (unsigned long)missing);
	session->announcement = (struct announcement){0};
}

enum mc_status announced_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct node *node = call->session->node;

	(void)item;
	if (!node)
		return MC_PERMISSION;
	uint64_t dropped = replicas_sweep(master, call->session);
	failpoint("announce.swept");
	nodes_settle(node);
	const struct announcement *announcement = &call->session->announcement;
	/* Those who have the other copies may be on their way. */
	if (announcement->newer || announcement->adopted)
		repair_look(master, master->repair_delay_ms);
	if (dropped || !node_keeps(node))
		repair_look(master, 0);
	announcement_log(call->session, dropped);
	put_u64(call->w, dropped);
	return MC_OK;
}
