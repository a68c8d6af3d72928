#include "master/xattrs.h"

#include <mooncake/types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "engine/base/buffer.h"

/* Copy all pairs but the named one; returns whether it was there. */
static bool copy_without(struct writer *w, const struct xattrs *xattrs, const char *name,
			 size_t name_size, uint16_t *kept)
{
	struct reader r;
	bool found = false;

	*kept = 0;
	if (!xattrs)
		return false;
	reader_init(&r, xattrs->bytes, xattrs->size);
	for (uint16_t i = 0; i < xattrs->count; i++) {
		size_t size;
		size_t value_size;
		const char *has = get_string(&r, &size);
		const char *value = get_string(&r, &value_size);
		if (size == name_size && memcmp(has, name, size) == 0) {
			found = true;
			continue;
		}
		put_string(w, has, size);
		put_string(w, value, value_size);
		(*kept)++;
	}
	return found;
}

static enum mc_status block_replace(struct xattrs **xattrs, const struct writer *w, uint16_t count)
{
	struct xattrs *block = NULL;

	if (w->failed)
		return MC_NO_MEMORY;
	if (count) {
		block = malloc(sizeof(*block) + w->size);
		if (!block)
			return MC_NO_MEMORY;
		block->size = (uint32_t)w->size;
		block->count = count;
		memcpy(block->bytes, w->data, w->size);
	}
	*xattrs = block;
	return MC_OK;
}

enum mc_status xattrs_set(struct xattrs **xattrs, const char *name, size_t name_size,
			  const void *value, size_t value_size, uint32_t flags)
{
	enum mc_status status = MC_OK;
	struct writer w;
	uint16_t count;

	writer_init(&w);
	bool found = copy_without(&w, *xattrs, name, name_size, &count);
	put_string(&w, name, name_size);
	put_string(&w, value, value_size);
	if (found && flags & XATTR_CREATE)
		status = MC_EXISTS;
	else if (!found && flags & XATTR_REPLACE)
		status = MC_NO_DATA;
	else if (w.size > MC_XATTR_TOTAL_MAX)
		status = MC_NO_SPACE;
	if (status == MC_OK)
		status = block_replace(xattrs, &w, count + 1);
	writer_fini(&w);
	return status;
}

enum mc_status xattrs_remove(struct xattrs **xattrs, const char *name, size_t name_size)
{
	enum mc_status status = MC_NO_DATA;
	struct writer w;
	uint16_t count;

	writer_init(&w);
	if (copy_without(&w, *xattrs, name, name_size, &count))
		status = block_replace(xattrs, &w, count);
	writer_fini(&w);
	return status;
}

void xattrs_put(const struct xattrs *xattrs, struct writer *w)
{
	put_u16(w, xattrs ? xattrs->count : 0);
	if (xattrs)
		put_bytes(w, xattrs->bytes, xattrs->size);
}

enum mc_status xattrs_get(struct reader *r, struct xattrs **xattrs)
{
	uint16_t count = get_u16(r);
	size_t begin = r->offset;

	*xattrs = NULL;
	for (uint16_t i = 0; i < count; i++) {
		size_t name_size;
		size_t value_size;
		get_string(r, &name_size);
		get_string(r, &value_size);
		if (r->failed || name_size == 0 || name_size > MC_XATTR_NAME_MAX)
			return MC_PROTOCOL;
	}
	if (r->failed || r->offset - begin > MC_XATTR_TOTAL_MAX)
		return MC_PROTOCOL;
	struct writer w;
	writer_init_fixed(&w, (void *)(r->data + begin), r->offset - begin);
	w.size = w.capacity;
	return block_replace(xattrs, &w, count);
}
