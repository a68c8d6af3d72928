/* Verbs that find entries and change nothing. */
#include "master/service.h"

#include "engine/base/log.h"
#include "master/grant.h"
#include "master/replicas.h"
#include "master/walk.h"

#define LIST_SIZE_MAX (1u << 20) /* bytes of one page */

enum mc_status lookup_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct directory *directory;
	struct mc_entry out;

	enum mc_status status = walk_directory(master, item->parent, &directory);
	if (status != MC_OK) {
		put_u8(call->w, 0);
		return status;
	}
	const struct entry *entry = walk_visible(master, directory, item->name, item->name_size);
	if (!entry) {
		grant_put(master, call->session, directory, call->w);
		return MC_NOT_FOUND;
	}
	replicas_entry(master, entry, &out);
	put_entry(call->w, &out);
	return MC_OK;
}

enum mc_status lookup_path_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	const struct entry *entry = master->catalog.root;
	struct mc_entry out;
	struct walk walk;

	if (item->name_size > MC_PATH_MAX)
		return MC_NAME_TOO_LONG;
	if (item->name_size > 0) {
		enum mc_status status = walk_path(master, master->catalog.root->directory,
						  item->name, item->name_size, &walk);
		if (status != MC_OK)
			return status;
		if (walk.rest_size > 0 || !walk.entry || !replicas_show(master, walk.entry))
			return MC_NOT_FOUND;
		entry = walk.entry;
	}
	replicas_entry(master, entry, &out);
	put_u64(call->w, entry->parent ? entry->parent->entry->id : MC_ROOT_ID);
	put_entry(call->w, &out);
	return MC_OK;
}

void list_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->cursor = get_u64(r);
	item->count_max = get_u32(r);
}

enum mc_status list_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct writer *w = call->w;
	uint32_t count_max = item->count_max < UINT16_MAX ? item->count_max : UINT16_MAX;
	struct directory *directory;
	const struct entry *entry = NULL;
	size_t begin = w->size;
	uint16_t count = 0;

	enum mc_status status = walk_directory(master, item->id, &directory);
	if (status != MC_OK)
		return status;
	uint32_t place = directory_seek(directory, item->cursor);
	put_u8(w, 0);
	put_u16(w, 0);
	while (count < count_max && w->size - begin < LIST_SIZE_MAX &&
	       (entry = directory_next(directory, &place)) != NULL) {
		struct mc_entry out;
		if (!replicas_show(master, entry))
			continue;
		replicas_entry(master, entry, &out);
		put_u64(w, entry->sequence);
		put_string(w, entry->name, entry->name_size);
		put_entry(w, &out);
		count++;
	}
	bool end = !directory_next(directory, &place);
	if (!w->failed)
		w->data[begin] = end;
	patch_u16(w, begin + 1, count);
	return MC_OK;
}

enum mc_status path_apply(struct call *call, const struct item *item)
{
	const struct entry *entry = catalog_find(&call->master->catalog, item->id);

	if (!entry || !replicas_show(call->master, entry))
		return MC_NOT_FOUND;
	size_t size = entry_path_size(entry);
	if (size > UINT16_MAX)
		return MC_NAME_TOO_LONG;
	put_u16(call->w, (uint16_t)size);
	char *path = writer_reserve(call->w, size);
	if (path)
		entry_path(entry, path);
	return MC_OK;
}
