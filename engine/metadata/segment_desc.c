#include "engine/metadata/segment_desc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define GROW_MIN 4u

/* False: too long, or empty. */
static bool name_copy(char *to, size_t size, const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= size)
		return false;
	memcpy(to, name, length + 1);
	return true;
}

enum mc_status segment_desc_new(enum segment_protocol protocol, const char *name,
				struct segment_desc **desc)
{
	struct segment_desc *d = calloc(1, sizeof(*d));

	if (!d)
		return MC_NO_MEMORY;
	d->references = 1;
	d->protocol = protocol;
	if (!name_copy(d->name, sizeof(d->name), name)) {
		free(d);
		return MC_INVALID;
	}
	*desc = d;
	return MC_OK;
}

/* Make room for one more of `size` bytes, zeroed; arrays grow at powers of two. */
static enum mc_status grow(void **array, uint32_t count, uint32_t max, size_t size)
{
	if (count >= max)
		return MC_TOO_BIG;
	if (count == 0 || (count >= GROW_MIN && (count & (count - 1)) == 0)) {
		uint32_t capacity = count == 0 ? GROW_MIN : count * 2;
		void *grown = realloc(*array, capacity * size);
		if (!grown)
			return MC_NO_MEMORY;
		*array = grown;
	}
	memset((char *)*array + count * size, 0, size);
	return MC_OK;
}

enum mc_status segment_desc_add_device(struct segment_desc *desc, const char *name,
				       struct segment_device **device)
{
	void *array = desc->devices;

	MUST(desc->buffer_count == 0);
	enum mc_status status =
		grow(&array, desc->device_count, SEGMENT_DEVICE_MAX, sizeof(*desc->devices));
	desc->devices = array;
	if (status != MC_OK)
		return status;
	struct segment_device *added = &desc->devices[desc->device_count];
	if (!name_copy(added->name, sizeof(added->name), name))
		return MC_INVALID;
	desc->device_count++;
	*device = added;
	return MC_OK;
}

static void buffer_fini(struct segment_buffer *buffer)
{
	for (uint32_t i = 0; i < buffer->local_path_count; i++) {
		free(buffer->local_paths[i].host);
		free(buffer->local_paths[i].path);
	}
	free(buffer->local_paths);
	free(buffer->name);
	free(buffer->file_path);
	free(buffer->rkey);
	free(buffer->lkey);
}

enum mc_status segment_desc_add_buffer(struct segment_desc *desc, const char *name,
				       struct segment_buffer **buffer)
{
	void *array = desc->buffers;
	enum mc_status status =
		grow(&array, desc->buffer_count, SEGMENT_BUFFER_MAX, sizeof(*desc->buffers));

	desc->buffers = array;
	if (status != MC_OK)
		return status;
	if (strlen(name) >= SEGMENT_NAME_SIZE)
		return MC_TOO_BIG;
	struct segment_buffer *added = &desc->buffers[desc->buffer_count];
	added->name = strdup(name);
	if (desc->device_count) {
		added->rkey = calloc(desc->device_count, sizeof(*added->rkey));
		added->lkey = calloc(desc->device_count, sizeof(*added->lkey));
	}
	if (!added->name || (desc->device_count && (!added->rkey || !added->lkey))) {
		buffer_fini(added);
		return MC_NO_MEMORY;
	}
	desc->buffer_count++;
	*buffer = added;
	return MC_OK;
}

enum mc_status segment_desc_add_endpoint(struct segment_desc *desc, const char *endpoint)
{
	void *array = desc->endpoints;
	enum mc_status status =
		grow(&array, desc->endpoint_count, SEGMENT_ENDPOINT_MAX, sizeof(*desc->endpoints));

	desc->endpoints = array;
	if (status != MC_OK)
		return status;
	if (strlen(endpoint) >= SEGMENT_NAME_SIZE)
		return MC_TOO_BIG;
	char *copy = strdup(endpoint);
	if (!copy)
		return MC_NO_MEMORY;
	desc->endpoints[desc->endpoint_count++] = copy;
	return MC_OK;
}

enum mc_status segment_buffer_add_path(struct segment_buffer *buffer, const char *host,
				       const char *path)
{
	void *array = buffer->local_paths;
	enum mc_status status = grow(&array, buffer->local_path_count, SEGMENT_HOST_MAX,
				     sizeof(*buffer->local_paths));

	buffer->local_paths = array;
	if (status != MC_OK)
		return status;
	if (strlen(host) >= SEGMENT_NAME_SIZE || strlen(path) >= SEGMENT_PATH_SIZE)
		return MC_TOO_BIG;
	struct segment_local_path *added = &buffer->local_paths[buffer->local_path_count];
	added->host = strdup(host);
	added->path = strdup(path);
	buffer->local_path_count++;
	return added->host && added->path ? MC_OK : MC_NO_MEMORY;
}

struct segment_desc *segment_desc_ref(struct segment_desc *desc)
{
	atomic_fetch_add_explicit(&desc->references, 1, memory_order_relaxed);
	return desc;
}

void segment_desc_unref(struct segment_desc *desc)
{
	/* Pairs with itself: who frees sees all that others did before they let go. */
	if (!desc || atomic_fetch_sub_explicit(&desc->references, 1, memory_order_acq_rel) > 1)
		return;
	for (uint32_t i = 0; i < desc->buffer_count; i++)
		buffer_fini(&desc->buffers[i]);
	for (uint32_t i = 0; i < desc->endpoint_count; i++)
		free(desc->endpoints[i]);
	free(desc->buffers);
	free(desc->endpoints);
	free(desc->devices);
	free(desc->priority_matrix);
	free(desc);
}

const struct segment_buffer *segment_desc_find(const struct segment_desc *desc, uint64_t addr,
					       uint64_t length)
{
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		const struct segment_buffer *buffer = &desc->buffers[i];
		if (addr >= buffer->addr && addr - buffer->addr <= buffer->length &&
		    length <= buffer->length - (addr - buffer->addr))
			return buffer;
	}
	return NULL;
}

static enum mc_status make_key(const char *folder, const char *name, char *key, size_t size)
{
	const char *cluster = getenv("MC_METADATA_CLUSTER_ID");
	bool named = cluster && cluster[0];
	bool slash = named && cluster[strlen(cluster) - 1] != '/';

	if (!name[0])
		return MC_INVALID;
	int length = snprintf(key, size, "mooncake/%s%s%s%s", named ? cluster : "",
			      slash ? "/" : "", folder, name);
	return length > 0 && (size_t)length < size ? MC_OK : MC_INVALID;
}

enum mc_status segment_key(const char *name, char *key, size_t size)
{
	return make_key(strchr(name, '/') ? "" : "ram/", name, key, size);
}

enum mc_status segment_address_key(const char *server, char *key, size_t size)
{
	return make_key("rpc_meta/", server, key, size);
}
