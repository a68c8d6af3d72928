/* Verbs that take names away, move them and make directories. */
#include "master/change.h"
#include "engine/base/failpoint.h"
#include "master/service.h"

#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "master/grant.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/walk.h"

#define DIRECTORY_SIZE 4096u /* bytes that stat reports of one */

void change_stamp(struct mc_master *master, struct directory *directory)
{
	struct entry *entry = directory->entry;

	master_touch(master, entry);
	entry->mtime_s = entry->ctime_s = master->now.s;
	entry->mtime_ns = entry->ctime_ns = master->now.ns;
}

enum mc_status change_reserved(struct mc_master *master, struct session *session,
			       const struct directory *directory, const char *name,
			       size_t name_size, bool exclusive)
{
	struct reservation *held =
		reservations_find(&master->reservations, directory->entry->id, name, name_size);

	if (held && held->session != session && exclusive)
		return MC_EXISTS;
	reservations_end(&master->reservations, held);
	return MC_OK;
}

enum mc_status change_path_fits(const struct directory *directory, size_t name_size)
{
	size_t size = entry_path_size(directory->entry);

	return size + 1 + name_size > MC_PATH_MAX ? MC_NAME_TOO_LONG : MC_OK;
}

void change_lost(struct mc_master *master, const struct session *session, const struct entry *entry)
{
	master_part(master);
	ledger_gone(&master->ledger, master->now.s, entry->id, entry->version);
	if (!entry_is_directory(entry))
		master_session_drop(master, session, entry);
	master_session_invalidate(master, session, MC_INVALIDATE_NAME, entry->parent->entry->id,
				  entry->id, entry->name, entry->name_size);
}

void change_remove(struct mc_master *master, const struct session *session, struct entry *entry)
{
	struct directory *parent = entry->parent;

	change_lost(master, session, entry);
	if (entry_is_directory(entry) && entry->directory->grant)
		grant_end(master, entry->directory->grant);
	replicas_forget(master, entry);
	change_stamp(master, parent);
}

/* Remove the objects that nobody can see.  False: one is shown, nothing happened. */
static bool change_empty(struct mc_master *master, struct session *session,
			 struct directory *directory)
{
	struct entry *entry;
	uint32_t place = 0;

	while ((entry = directory_next(directory, &place)) != NULL) {
		if (replicas_show(master, entry))
			return false;
	}
	while (directory->count > 0) {
		place = 0;
		entry = directory_next(directory, &place);
		MUST(entry != NULL);
		change_lost(master, session, entry);
		replicas_forget(master, entry);
	}
	return true;
}

/* What a directory has when it is made as asked for. */
static struct mc_attr made_attr(const struct mc_master *master, const struct mc_attr *asked)
{
	return (struct mc_attr){
		.id = asked->id,
		.version = asked->id,
		.size = DIRECTORY_SIZE,
		.mode = S_IFDIR | (asked->mode & 07777),
		.uid = asked->uid,
		.gid = asked->gid,
		.nlink = 2,
		.atime = master->now,
		.mtime = master->now,
		.ctime = master->now,
	};
}

enum mc_status change_mkdir(struct mc_master *master, const struct session *session,
			    struct directory *parent, const char *name, size_t name_size,
			    const struct mc_attr *attr, struct entry **entry)
{
	struct mc_attr made = made_attr(master, attr);
	enum mc_status status =
		catalog_add(&master->catalog, parent, name, name_size, &made, entry);

	if (status != MC_OK)
		return status;
	change_stamp(master, parent);
	grant_added(master, session, parent);
	return MC_OK;
}

/* REMOVE or RMDIR that was done before: the name may be another's by now.  NULL: it was not. */
static const struct deed *removed_before(const struct call *call)
{
	return ledger_asked(&call->master->ledger, call->request_id, call->item);
}

enum mc_status remove_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *directory;

	failpoint("remove.received");
	const struct deed *deed = removed_before(call);
	if (deed) {
		put_u64(call->w, deed->id);
		return MC_OK;
	}
	if (call_too_late(call))
		return MC_TIMEOUT;
	enum mc_status status = walk_directory(master, item->parent, &directory);
	if (status != MC_OK)
		return status;
	/* Also one whose nodes are away: the name shall not come back with them. */
	struct entry *entry =
		catalog_lookup(&master->catalog, directory, item->name, item->name_size);
	if (!entry)
		return MC_NOT_FOUND;
	if (entry_is_directory(entry))
		return MC_IS_DIRECTORY;
	put_u64(call->w, entry->id);
	change_remove(master, call->session, entry);
	ledger_sign(&master->ledger, call->request_id, call->item);
	failpoint("remove.applied");
	return MC_OK;
}

enum mc_status rmdir_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *directory;

	if (removed_before(call))
		return MC_OK;
	if (call_too_late(call))
		return MC_TIMEOUT;
	enum mc_status status = walk_directory(master, item->parent, &directory);
	if (status != MC_OK)
		return status;
	struct entry *entry = walk_visible(master, directory, item->name, item->name_size);
	if (!entry)
		return MC_NOT_FOUND;
	if (!entry_is_directory(entry))
		return MC_NOT_DIRECTORY;
	if (!change_empty(master, call->session, entry->directory))
		return MC_NOT_EMPTY;
	change_remove(master, call->session, entry);
	ledger_sign(&master->ledger, call->request_id, call->item);
	return MC_OK;
}

void mkdir_read(struct reader *r, struct item *item)
{
	item->parent = get_u64(r);
	item->name = get_name(r, &item->name_size);
	item->id = item->attr.id = get_u64(r);
	item->attr.mode = get_u32(r);
	item->attr.uid = get_u32(r);
	item->attr.gid = get_u32(r);
	if (item->id > MC_OFFER_MAX)
		r->failed = true;
}

/* The name is not in the directory, and someone else holds a grant of it. */
static bool name_clear(struct call *call, uint64_t parent, const char *name, size_t name_size)
{
	struct directory *directory;

	if (walk_directory(call->master, parent, &directory) != MC_OK)
		return true;
	if (catalog_lookup(&call->master->catalog, directory, name, name_size))
		return true;
	return grant_clear(call->master, call->session, directory);
}

bool mkdir_clear(struct call *call, const struct item *item)
{
	return name_clear(call, item->parent, item->name, item->name_size);
}

/* A directory that was made before, and has another name or none since. */
static enum mc_status made_before(const struct call *call, const struct item *item)
{
	struct mc_attr attr = made_attr(call->master, &item->attr);

	put_attr(call->w, &attr);
	put_u8(call->w, 0); /* no grant */
	/* Whoever asked takes it for what the name means, until it reads on. */
	master_session_unname(call->master, call->session, item->parent, item->id, item->name,
			      item->name_size);
	return MC_OK;
}

enum mc_status mkdir_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *parent;
	struct entry *made;
	struct mc_attr attr;

	enum mc_status status = walk_directory(master, item->parent, &parent);
	if (status != MC_OK)
		return status;
	struct entry *taken = catalog_lookup(&master->catalog, parent, item->name, item->name_size);
	if (taken && taken->id == item->id) { /* asked again, its answer was lost */
		entry_attr(taken, &attr);
		put_attr(call->w, &attr);
		put_u8(call->w, 0); /* no grant */
		return MC_OK;
	}
	struct entry *elsewhere = catalog_find(&master->catalog, item->id);
	if ((elsewhere && entry_is_directory(elsewhere) && call->age_s > 0) ||
	    ledger_knows_gone(&master->ledger, item->id, 0))
		return made_before(call, item);
	if (call_too_late(call))
		return MC_TIMEOUT;
	if (taken && replicas_show(master, taken))
		return MC_EXISTS;
	if (item->id == 0 || catalog_find(&master->catalog, item->id))
		return MC_INVALID;
	status = change_path_fits(parent, item->name_size);
	if (status == MC_OK)
		status = change_reserved(master, call->session, parent, item->name, item->name_size,
					 true);
	if (status != MC_OK)
		return status;
	if (taken)
		change_remove(master, call->session, taken);
	status = change_mkdir(master, call->session, parent, item->name, item->name_size,
			      &item->attr, &made);
	if (status != MC_OK)
		return status;
	master_id_seen(master, item->id);
	entry_attr(made, &attr);
	put_attr(call->w, &attr);
	grant_put(master, call->session, made->directory, call->w);
	return MC_OK;
}

void rename_read(struct reader *r, struct item *item)
{
	item->parent = get_u64(r);
	item->name = get_name(r, &item->name_size);
	item->new_parent = get_u64(r);
	item->new_name = get_name(r, &item->new_name_size);
	item->flags = get_u32(r);
	if (item->flags & ~(uint32_t)MC_RENAME_NOREPLACE)
		r->failed = true;
}

bool rename_clear(struct call *call, const struct item *item)
{
	return name_clear(call, item->new_parent, item->new_name, item->new_name_size);
}

/* The directory is the entry's own, or lies below it. */
static bool lies_below(const struct directory *directory, const struct entry *entry)
{
	for (; directory; directory = directory->entry->parent) {
		if (directory->entry == entry)
			return true;
	}
	return false;
}

/* The name that is to be taken may be: clears away what nobody sees there. */
static enum mc_status target_check(struct call *call, const struct entry *moved,
				   struct entry *target, bool noreplace)
{
	if (noreplace)
		return MC_EXISTS;
	if (!entry_is_directory(target))
		return entry_is_directory(moved) ? MC_NOT_DIRECTORY : MC_OK;
	if (!entry_is_directory(moved))
		return MC_IS_DIRECTORY;
	return change_empty(call->master, call->session, target->directory) ? MC_OK : MC_NOT_EMPTY;
}

static enum mc_status move(struct call *call, struct entry **entry, struct entry *target,
			   struct directory *directory, const struct item *item)
{
	struct mc_master *master = call->master;

	master_part(master);
	master_session_invalidate(master, call->session, MC_INVALIDATE_MOVED, item->parent,
				  (*entry)->id, item->name, item->name_size);
	if (target && entry_is_directory(target) == entry_is_directory(*entry)) {
		change_lost(master, call->session, target);
		if (entry_is_directory(target) && target->directory->grant)
			grant_end(master, target->directory->grant);
		if (!entry_is_directory(target))
			replicas_clear(master, target);
		*entry = catalog_replace(&master->catalog, target, *entry);
		return MC_OK;
	}
	if (target)
		change_remove(master, call->session, target);
	else
		grant_added(master, call->session, directory);
	return catalog_move(&master->catalog, entry, directory, item->new_name,
			    item->new_name_size);
}

static enum mc_status rename_check(struct call *call, const struct item *item,
				   const struct entry *entry, struct directory *directory,
				   struct entry *target)
{
	bool noreplace = item->flags & MC_RENAME_NOREPLACE;

	if (entry_is_directory(entry) && lies_below(directory, entry))
		return MC_INVALID;
	enum mc_status status = change_path_fits(directory, item->new_name_size);
	if (status == MC_OK && target && replicas_show(call->master, target))
		status = target_check(call, entry, target, noreplace);
	if (status == MC_OK)
		status = change_reserved(call->master, call->session, directory, item->new_name,
					 item->new_name_size, noreplace);
	return status;
}

/* Under its new path another policy may hold. */
static void policy_changed(struct mc_master *master, struct entry *entry)
{
	if (master->policies.count == 0)
		return;
	if (entry_is_directory(entry))
		repair_look(master, master->repair_delay_ms);
	else
		repair_changed(master, entry);
}

/* It was done before; what moved may have gone on, or be gone. */
static enum mc_status renamed_before(const struct call *call, const struct deed *deed,
				     const struct item *item)
{
	const struct entry *entry = catalog_find(&call->master->catalog, deed->id);
	struct mc_attr attr = {0};

	if (entry && entry->parent && entry->parent->entry->id == item->new_parent &&
	    entry->name_size == item->new_name_size &&
	    memcmp(entry->name, item->new_name, item->new_name_size) == 0)
		entry_attr(entry, &attr);
	put_attr(call->w, &attr);
	return MC_OK;
}

enum mc_status rename_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *from;
	struct directory *to;
	struct mc_attr attr;

	failpoint("rename.received");
	const struct deed *deed = ledger_asked(&master->ledger, call->request_id, 0);
	if (deed)
		return renamed_before(call, deed, item);
	if (call_too_late(call))
		return MC_TIMEOUT;
	enum mc_status status = walk_directory(master, item->parent, &from);
	if (status == MC_OK)
		status = walk_directory(master, item->new_parent, &to);
	if (status != MC_OK)
		return status;
	struct entry *entry = catalog_lookup(&master->catalog, from, item->name, item->name_size);
	if (!entry)
		return MC_NOT_FOUND;
	struct entry *target =
		catalog_lookup(&master->catalog, to, item->new_name, item->new_name_size);
	if (target != entry) {
		status = rename_check(call, item, entry, to, target);
		if (status == MC_OK)
			status = move(call, &entry, target, to, item);
		if (status != MC_OK)
			return status;
		master_touch(master, entry);
		entry->ctime_s = master->now.s;
		entry->ctime_ns = master->now.ns;
		change_stamp(master, from);
		change_stamp(master, to);
		policy_changed(master, entry);
		ledger_moved(&master->ledger, master->now.s, entry->id, entry->version);
		ledger_sign(&master->ledger, call->request_id, 0);
		failpoint("rename.applied");
	} else if (item->flags & MC_RENAME_NOREPLACE) {
		return MC_EXISTS;
	}
	entry_attr(entry, &attr);
	put_attr(call->w, &attr);
	return MC_OK;
}

void reserve_read(struct reader *r, struct item *item)
{
	item->parent = get_u64(r);
	item->name = get_name(r, &item->name_size);
	item->id = get_u64(r);
}

enum mc_status reserve_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *directory;

	enum mc_status status = walk_directory(master, item->parent, &directory);
	if (status != MC_OK)
		return status;
	if (walk_visible(master, directory, item->name, item->name_size))
		return MC_EXISTS;
	return reservations_add(&master->reservations, call->session, item->parent, item->id,
				item->name, item->name_size);
}

enum mc_status unreserve_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct reservation *held =
		reservations_find(&master->reservations, item->parent, item->name, item->name_size);

	/* Broken or consumed meanwhile: nothing is left to undo. */
	if (held && held->session == call->session && held->id == item->id)
		reservations_end(&master->reservations, held);
	return MC_OK;
}
