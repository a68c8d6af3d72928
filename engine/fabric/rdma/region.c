/*
 * Memory that devices may touch.  One registration a device and region.  Devices
 * register at the same time; the engine has touched the pages before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/rdma/cuda.h"
#include "engine/fabric/rdma/internal.h"
#include "engine/metadata/segment_desc.h"

#define REGISTER_TOGETHER (1ull << 20)

/* --- registering ---------------------------------------------------------------- */

struct registration {
	struct rdma_device *device;
	const struct fabric_region *region;
	struct region *made;
	pthread_t thread;
	bool threaded;
	int error;
	int dmabuf_fd; /* -1: memory of the processor */
	uint64_t dmabuf_offset;
};

static struct ibv_mr *register_memory(const struct registration *registration, int access)
{
	const struct fabric_region *region = registration->region;
	const struct rdma_device *device = registration->device;

	if (registration->dmabuf_fd >= 0)
		return device->verbs->reg_dmabuf_mr(device->pd, registration->dmabuf_offset,
						    region->length, (uintptr_t)region->memory,
						    registration->dmabuf_fd, access);
	return device->verbs->reg_mr(device->pd, region->memory, region->length, access);
}

static void *register_on_device(void *argument)
{
	struct registration *registration = argument;
	struct rdma_device *device = registration->device;
	int access = IBV_ACCESS_LOCAL_WRITE;

	if (registration->region->access & FABRIC_REMOTE_READ)
		access |= IBV_ACCESS_REMOTE_READ;
	if (registration->region->access & FABRIC_REMOTE_WRITE)
		access |= IBV_ACCESS_REMOTE_WRITE;
	/* The library leaves this bit out where the device does not know it. */
	if (device->config.relaxed_ordering)
		access |= IBV_ACCESS_RELAXED_ORDERING;
	struct ibv_mr *mr = register_memory(registration, access);
	/* Memory that is mapped to be read only can still be sent. */
	if (!mr && errno == EFAULT && !(access & IBV_ACCESS_REMOTE_WRITE))
		mr = register_memory(registration, access & ~IBV_ACCESS_LOCAL_WRITE);
	registration->error = mr ? 0 : errno;
	registration->made->mrs[device->index] = mr;
	return NULL;
}

static void forget_all(struct region *region)
{
	struct rdma_fabric *fabric = region->fabric;

	for (uint32_t i = 0; i < fabric->device_count; i++) {
		int error = region->mrs[i] ? fabric->verbs->dereg_mr(region->mrs[i]) : 0;
		if (error)
			(void)verbs_failed(fabric->devices[i], "dereg_mr", error);
	}
}

static enum mc_status register_all(struct region *made, const struct fabric_region *region, int fd,
				   uint64_t offset)
{
	struct rdma_fabric *fabric = made->fabric;
	struct registration registrations[TOPOLOGY_DEVICE_MAX];
	enum mc_status status = MC_OK;
	bool together = region->length >= REGISTER_TOGETHER;

	for (uint32_t i = 0; i < fabric->device_count; i++) {
		struct registration *one = &registrations[i];
		*one = (struct registration){.device = fabric->devices[i],
					     .region = region,
					     .made = made,
					     .dmabuf_fd = fd,
					     .dmabuf_offset = offset};
		/* The last one is this thread's. */
		one->threaded = together && i + 1 < fabric->device_count &&
				thread_start(&one->thread, register_on_device, one) == 0;
		if (!one->threaded)
			register_on_device(one);
	}
	for (uint32_t i = 0; i < fabric->device_count; i++) {
		if (registrations[i].threaded)
			pthread_join(registrations[i].thread, NULL);
		if (registrations[i].error)
			status = verbs_failed(fabric->devices[i], "reg_mr", registrations[i].error);
	}
	return status;
}

/* --- the calls ------------------------------------------------------------------------ */

static enum mc_status fill_region(struct region *made, const struct fabric_region *region)
{
	uint64_t offset = 0;
	int fd = -1;
	enum mc_status status = MC_OK;

	if (fabric_location_is_gpu(region->location))
		status = cuda_export(region->memory, region->length, &fd, &offset);
	if (!status)
		status = register_all(made, region, fd, offset);
	if (fd >= 0)
		close(fd);
	made->rank = topology_rank(made->fabric->topology, region->location);
	return status;
}

enum mc_status region_register(struct fabric *base, const struct fabric_region *region,
			       struct segment_buffer *buffer, const void **key)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;
	size_t size = sizeof(struct region) + fabric->device_count * sizeof(struct ibv_mr *);
	struct region *made = calloc(1, size);

	if (!made)
		return MC_NO_MEMORY;
	made->fabric = fabric;
	enum mc_status status = fill_region(made, region);
	if (status) {
		forget_all(made);
		free(made);
		return status;
	}
	for (uint32_t i = 0; buffer && i < fabric->device_count; i++) {
		buffer->rkey[i] = made->mrs[i]->rkey;
		buffer->lkey[i] = made->mrs[i]->lkey;
	}
	atomic_fetch_add(&fabric->regions, 1);
	*key = made;
	return MC_OK;
}

void region_unregister(struct fabric *base, const void *key)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;
	struct region *region = (struct region *)key;

	forget_all(region);
	free(region);
	atomic_fetch_sub(&fabric->regions, 1);
}
