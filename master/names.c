/* Verbs that find entries and change nothing. */
#include "master/service.h"

#include "engine/base/log.h"
#include "master/gather.h"
#include "master/grant.h"
#include "master/replicas.h"
#include "master/view.h"
#include "master/walk.h"

#define LIST_SIZE_MAX	   (1u << 20)	/* bytes of one page */
#define LIST_READ_SIZE_MAX (128u << 10) /* the same of a reader: others of its loop wait */
#define LIST_READ_MAX	   4096u	/* entries that it looks at, shown or not */

/* A miss: the directory may be granted with it, which only the writer can. */
static void miss_write(struct call *call, struct directory *directory)
{
	bool grants = !gather_on(call->master); /* else nobody hears of it */

	if (grants && !call->reading)
		grant_put(call->master, call->session, directory, call->w);
	else if (grants && grant_likely(call->session, directory, call->now_ms))
		call->left = true;
	else
		put_u8(call->w, 0);
}

enum mc_status lookup_apply(struct call *call, const struct item *item)
{
	struct directory *directory;
	struct mc_entry out;
	uint64_t parent_id;

	enum mc_status status = view_directory(call, item->parent, &directory);
	if (status != MC_OK) {
		put_u8(call->w, 0);
		return status;
	}
	const struct entry *entry = view_find(call, directory, item->name, item->name_size);
	if (!entry || !view_entry(call, entry, &out, &parent_id)) {
		miss_write(call, directory);
		return MC_NOT_FOUND;
	}
	put_entry(call->w, &out);
	return MC_OK;
}

enum mc_status lookup_path_apply(struct call *call, const struct item *item)
{
	const struct entry *entry;
	struct mc_entry out;
	uint64_t parent_id;

	enum mc_status status = view_path(call, item->name, item->name_size, &entry);
	if (status != MC_OK)
		return status;
	if (!view_entry(call, entry, &out, &parent_id))
		return MC_NOT_FOUND;
	put_u64(call->w, parent_id);
	put_entry(call->w, &out);
	return MC_OK;
}

enum mc_status exists_apply(struct call *call, const struct item *item)
{
	const struct entry *entry;

	enum mc_status status = view_path(call, item->name, item->name_size, &entry);
	if (status == MC_OK && !view_shows(call, entry))
		status = MC_NOT_FOUND;
	return status;
}

void list_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->cursor = get_u64(r);
	item->count_max = get_u32(r);
}

enum mc_status list_apply(struct call *call, const struct item *item)
{
	struct writer *w = call->w;
	uint32_t count_max = item->count_max < UINT16_MAX ? item->count_max : UINT16_MAX;
	size_t size_max = call->reading ? LIST_READ_SIZE_MAX : LIST_SIZE_MAX;
	struct directory *directory;
	const struct entry *entry;
	struct listed listed;
	size_t begin = w->size;
	uint32_t left = call->reading ? LIST_READ_MAX : UINT32_MAX;
	uint16_t count = 0;

	enum mc_status status = view_directory(call, item->id, &directory);
	if (status != MC_OK)
		return status;
	view_list(directory, &listed);
	uint32_t place = order_seek(listed.order, item->cursor);
	put_u8(w, 0);
	put_u16(w, 0);
	while (!call->left && count < count_max && w->size - begin < size_max && left-- > 0 &&
	       (entry = order_next(listed.order, &place)) != NULL) {
		struct mc_entry out;
		uint64_t parent_id;
		if (!view_entry(call, entry, &out, &parent_id))
			continue;
		put_u64(w, entry->sequence);
		put_string(w, entry->name, entry->name_size);
		put_entry(w, &out);
		count++;
	}
	bool end = !order_next(listed.order, &place);
	if (!w->failed)
		w->data[begin] = end;
	patch_u16(w, begin + 1, count);
	view_listed(call, &listed);
	/* A page without a name would say nothing about where to go on. */
	call->left |= call->reading && count == 0 && !end;
	return MC_OK;
}

enum mc_status path_apply(struct call *call, const struct item *item)
{
	const struct entry *entry;
	enum mc_status status = view_id(call, item->id, &entry);

	return status == MC_OK ? view_path_of(call, entry) : status;
}
