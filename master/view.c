#include "master/view.h"

#include <string.h>

#include "master/ahead.h"
#include "master/replicas.h"
#include "master/unstored.h"
#include "master/walk.h"

/* What is told is not stored yet: a reader tells it to nobody, the writer when it is. */
static void unstored_met(struct call *call, bool met)
{
	if (met && call->reading)
		call->left = true;
	else if (met)
		call->unstored = true;
}

/* An entry is told of.  What a directory has in it is another matter (view_listed). */
static void unstored_look(struct call *call, const struct entry *entry)
{
	const struct unstored *unstored = call->master->unstored;
	bool now; /* in this turn: readers do not get here then */

	if (!unstored)
		return;
	if (entry_is_directory(entry)) {
		now = !call->reading && entry_placed(entry);
		unstored_met(call, now || unstored_place(unstored, entry_id(entry)));
	} else {
		now = !call->reading && entry_stamp(entry) & STAMP_TOUCHED;
		unstored_met(call, now || unstored_entry(unstored, entry_id(entry)));
	}
}

enum mc_status view_id(struct call *call, uint64_t id, const struct entry **entry)
{
	*entry = catalog_find(&call->master->catalog, id);
	if (*entry)
		return MC_OK;
	/* Whether it has just gone is not written anywhere. */
	call->left = call->reading;
	if (!call->reading)
		unstored_met(call, unstored_entry(call->master->unstored, id));
	return MC_NOT_FOUND;
}

enum mc_status view_directory(struct call *call, uint64_t id, struct directory **directory)
{
	const struct entry *entry;
	enum mc_status status = view_id(call, id, &entry);

	if (status != MC_OK)
		return status;
	if (!entry_is_directory(entry))
		return MC_NOT_DIRECTORY;
	*directory = entry_directory(entry);
	return MC_OK;
}

const struct entry *view_find(struct call *call, const struct directory *directory,
			      const char *name, size_t name_size)
{
	const struct entry *own = directory_entry(directory);
	uint32_t stamp = entry_stamp(own);
	const struct entry *entry = catalog_lookup_hashed(
		&call->master->catalog, ahead_hash(call, directory, name, name_size), directory,
		name, name_size);

	/* Names come and go in touched directories only. */
	if (!entry && (stamp & STAMP_TOUCHED || entry_stamp(own) != stamp))
		call->left = call->reading;
	if (!entry)
		unstored_met(call, unstored_name(call->master->unstored, entry_id(own), name,
						 name_size) ||
					   (!call->reading && stamp & STAMP_TOUCHED));
	return entry;
}

/* An object where the path needs a directory. */
static enum mc_status not_directory(struct call *call, const struct entry *entry)
{
	call->left = call->reading;
	return !call->reading && replicas_show(call->master, entry) ? MC_NOT_DIRECTORY
								    : MC_NOT_FOUND;
}

enum mc_status view_path(struct call *call, const char *path, size_t size,
			 const struct entry **entry)
{
	const struct entry *found = call->master->catalog.root;

	if (size > MC_PATH_MAX)
		return MC_NAME_TOO_LONG;
	if (size > 0 && !walk_path_valid(path, size))
		return MC_INVALID;
	while (size > 0) {
		size_t length = walk_component(path, size);
		/* The way here must not be one that a crash could take back. */
		if (call->reading && entry_placed(found))
			call->left = true;
		if (!entry_is_directory(found))
			return not_directory(call, found);
		unstored_look(call, found);
		found = view_find(call, entry_directory(found), path, length);
		if (!found)
			return MC_NOT_FOUND;
		length += length < size;
		path += length;
		size -= length;
	}
	*entry = found;
	return MC_OK;
}

bool view_entry(struct call *call, const struct entry *entry, struct mc_entry *out,
		uint64_t *parent_id)
{
	struct entry copy;

	if (call->reading) {
		call->left |= !entry_copy(entry, &copy);
		if (call->left)
			return false;
		entry = &copy;
	}
	unstored_look(call, entry);
	if (call->left)
		return false;
	replicas_entry(call->master, entry, out);
	*parent_id = entry->parent ? directory_id(entry->parent) : MC_ROOT_ID;
	return entry_is_directory(entry) || out->replica_count > 0;
}

bool view_shows(struct call *call, const struct entry *entry)
{
	struct entry copy;

	if (call->reading)
		call->left |= !entry_copy_replicas(entry, &copy);
	unstored_look(call, entry);
	if (!call->reading)
		return replicas_show(call->master, entry);
	return !call->left && replicas_show(call->master, &copy);
}

void view_list(const struct directory *directory, struct listed *listed)
{
	listed->own = directory_entry(directory);
	listed->stamp = entry_stamp(listed->own);
	listed->order = directory_order(directory);
}

void view_listed(struct call *call, const struct listed *listed)
{
	/* Names come and go in touched directories only. */
	if (call->reading &&
	    (listed->stamp & STAMP_TOUCHED || entry_stamp(listed->own) != listed->stamp))
		call->left = true;
	unstored_met(call, unstored_entry(call->master->unstored, entry_id(listed->own)) ||
				   (!call->reading && listed->stamp & STAMP_TOUCHED));
}

enum mc_status view_xattrs(struct call *call, const struct entry *entry,
			   const struct xattrs **xattrs)
{
	struct entry copy;

	if (call->reading) {
		call->left |= !entry_copy(entry, &copy);
		/* What it points to was written before it was settled. */
		call->left |= entry_stamp(entry) & STAMP_TOUCHED;
		if (call->left)
			return MC_NOT_FOUND;
		entry = &copy;
	}
	unstored_look(call, entry);
	if (!replicas_show(call->master, entry))
		return MC_NOT_FOUND;
	*xattrs = entry->xattrs;
	return MC_OK;
}

/* In one walk, bounded: what is above may be moving. */
static void path_read(struct call *call, const struct entry *entry)
{
	uint64_t moves = catalog_moves(&call->master->catalog);
	char path[MC_PATH_MAX];
	size_t at = sizeof(path);

	while (entry->parent) {
		/* Nor may a crash take the way there back. */
		call->left |= at <= entry->name_size || entry_placed(entry);
		if (call->left)
			return;
		at -= entry->name_size;
		memcpy(path + at, entry->name, entry->name_size);
		path[--at] = '/';
		entry = directory_entry(entry->parent);
	}
	/* One move is seen or not, of two one alone might be. */
	call->left |= catalog_moves(&call->master->catalog) != moves;
	at += at < sizeof(path);
	put_string(call->w, path + at, sizeof(path) - at);
}

enum mc_status view_path_of(struct call *call, const struct entry *entry)
{
	if (call->reading) {
		path_read(call, entry);
		return MC_OK;
	}
	size_t size = entry_path_size(entry);
	if (size > UINT16_MAX)
		return MC_NAME_TOO_LONG;
	put_u16(call->w, (uint16_t)size);
	char *path = writer_reserve(call->w, size);
	if (path)
		entry_path(entry, path);
	return MC_OK;
}
