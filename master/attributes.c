/* Verbs about the attributes of an entry, known by its id. */
#include "master/service.h"

#include <sys/xattr.h>

#include "engine/base/log.h"
#include "master/repair.h"
#include "master/replicas.h"
#include "master/view.h"
#include "master/xattrs.h"

#define PERMISSION_BITS 07777u

static enum mc_status entry_by_id(const struct mc_master *master, uint64_t id, struct entry **entry)
{
	struct entry *found = catalog_find(&master->catalog, id);

	if (!found || !replicas_show(master, found))
		return MC_NOT_FOUND;
	*entry = found;
	return MC_OK;
}

static void ctime_now(const struct mc_master *master, struct entry *entry)
{
	entry->ctime_s = master->now.s;
	entry->ctime_ns = master->now.ns;
}

/* The attributes of a touched entry have changed: to the others, into the reply. */
static void changed(struct call *call, struct entry *entry)
{
	struct mc_attr attr;

	master_session_invalidate(call->master, call->session, MC_INVALIDATE_ATTR,
				  entry->parent ? entry->parent->entry->id : 0, entry->id, NULL, 0);
	entry_attr(entry, &attr);
	put_attr(call->w, &attr);
}

void setattr_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->mask = get_u32(r);
	get_attr(r, &item->attr);
	if (item->mask >= MC_SET_REPLICAS << 1)
		r->failed = true;
}

enum mc_status setattr_apply(struct call *call, const struct item *item)
{
	const struct mc_attr *attr = &item->attr;
	struct entry *entry;
	enum mc_status status = entry_by_id(call->master, item->id, &entry);

	if (status != MC_OK)
		return status;
	/* Of a directory, policies tell. */
	if (item->mask & MC_SET_REPLICAS && entry_is_directory(entry))
		return MC_IS_DIRECTORY;
	master_touch(call->master, entry);
	if (item->mask)
		ctime_now(call->master, entry);
	if (item->mask & MC_SET_MODE)
		entry->mode = (entry->mode & ~PERMISSION_BITS) | (attr->mode & PERMISSION_BITS);
	if (item->mask & MC_SET_UID)
		entry->uid = attr->uid;
	if (item->mask & MC_SET_GID)
		entry->gid = attr->gid;
	if (item->mask & MC_SET_ATIME) {
		entry->atime_s = attr->atime.s;
		entry->atime_ns = attr->atime.ns;
	}
	if (item->mask & MC_SET_MTIME) {
		entry->mtime_s = attr->mtime.s;
		entry->mtime_ns = attr->mtime.ns;
	}
	if (item->mask & MC_SET_CTIME) {
		entry->ctime_s = attr->ctime.s;
		entry->ctime_ns = attr->ctime.ns;
	}
	if (item->mask & MC_SET_PINNED)
		entry->flags = (uint8_t)((entry->flags & ~MC_ATTR_PINNED) |
					 (attr->flags & MC_ATTR_PINNED));
	if (item->mask & MC_SET_REPLICAS) {
		entry->flags = (uint8_t)((entry->flags & ~MC_ATTR_REPLICAS) |
					 (attr->flags & MC_ATTR_REPLICAS));
		repair_changed(call->master, entry);
	}
	changed(call, entry);
	return MC_OK;
}

/* An attribute's name: no NUL, not empty, not too long. */
static const char *attribute_read(struct reader *r, size_t *size)
{
	const char *name = get_string(r, size);

	if (*size == 0 || *size > MC_XATTR_NAME_MAX)
		r->failed = true;
	for (size_t i = 0; !r->failed && i < *size; i++) {
		if (name[i] == '\0')
			r->failed = true;
	}
	return name;
}

void setxattr_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->name = attribute_read(r, &item->name_size);
	item->flags = get_u32(r);
	item->value = get_string(r, &item->value_size);
	if (item->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		r->failed = true;
}

static void attributes_replaced(struct mc_master *master, struct entry *entry,
				struct xattrs *before)
{
	master->catalog.xattrs_size += entry->xattrs ? entry->xattrs->size : 0;
	master->catalog.xattrs_size -= before ? before->size : 0;
	grace_free(&master->catalog.grace, before);
	entry->flags = (uint8_t)(entry->xattrs ? entry->flags | MC_ATTR_XATTRS
					       : entry->flags & ~MC_ATTR_XATTRS);
	ctime_now(master, entry);
}

enum mc_status setxattr_apply(struct call *call, const struct item *item)
{
	struct entry *entry;
	enum mc_status status = entry_by_id(call->master, item->id, &entry);

	if (status != MC_OK)
		return status;
	struct xattrs *before = entry->xattrs;
	master_touch(call->master, entry);
	status = xattrs_set(&entry->xattrs, item->name, item->name_size, item->value,
			    item->value_size, item->flags);
	if (status != MC_OK)
		return status;
	attributes_replaced(call->master, entry, before);
	changed(call, entry);
	return MC_OK;
}

enum mc_status getxattrs_apply(struct call *call, const struct item *item)
{
	const struct entry *entry;
	enum mc_status status = view_id(call, item->id, &entry);
	const struct xattrs *xattrs;

	if (status == MC_OK)
		status = view_xattrs(call, entry, &xattrs);
	if (status == MC_OK)
		xattrs_put(xattrs, call->w);
	return status;
}

void removexattr_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->name = attribute_read(r, &item->name_size);
}

enum mc_status removexattr_apply(struct call *call, const struct item *item)
{
	struct entry *entry;
	enum mc_status status = entry_by_id(call->master, item->id, &entry);

	if (status != MC_OK)
		return status;
	struct xattrs *before = entry->xattrs;
	master_touch(call->master, entry);
	status = xattrs_remove(&entry->xattrs, item->name, item->name_size);
	if (status != MC_OK)
		return status;
	attributes_replaced(call->master, entry, before);
	changed(call, entry);
	return MC_OK;
}
