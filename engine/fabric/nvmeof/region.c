/*
 * engine/fabric/nvmeof/region.c -- memory that the ring knows
 *
 * An engine registers all its memory with all its fabrics, also when it never
 * meets a segment of files.  So nothing is pinned until a slice touches it: that
 * slice goes without, and the fabric's thread registers the part of the region
 * that it touched, for those that follow.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/nvmeof/internal.h"

void region_open(struct nvmeof *fabric)
{
	if (io_uring_register_buffers_sparse(&fabric->ring, SLOTS_MAX) != 0) {
		log_info("nvmeof: this kernel registers no buffers, each transfer pins its pages");
		return;
	}
	for (uint32_t slot = SLOTS_MAX; slot > 0; slot--)
		fabric->free_slots[fabric->free_slot_count++] = slot - 1;
}

uint32_t region_slot(struct nvmeof *fabric, struct nvmeof_region *region, const void *memory,
		     uint32_t length)
{
	const uint8_t *begin = memory;

	if (!region || begin < region->memory)
		return SLOT_NONE;
	uint64_t offset = (uint64_t)(begin - region->memory);
	uint64_t part = offset / REGION_PART;
	if (part >= region->part_count || part != (offset + length - 1) / REGION_PART)
		return SLOT_NONE;
	if (region->slots[part] == SLOT_NONE && fabric->free_slot_count) {
		region->slots[part] = SLOT_WANTED;
		fabric->wanted = true;
	}
	return region->slots[part] < SLOTS_MAX ? region->slots[part] : SLOT_NONE;
}

/* Put a slot to use for this memory, or empty it (size 0).  0 or an errno. */
static int fill_slot(struct nvmeof *fabric, uint32_t slot, void *memory, size_t size)
{
	struct iovec part = {memory, size};
	const __u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&fabric->ring, slot, &part, &tag, 1);

	return rc < 0 ? -rc : 0;
}

/* Register one part; the fabric's lock is held before and after. */
static void fill_part(struct nvmeof *fabric, struct nvmeof_region *region, uint32_t part)
{
	uint64_t offset = (uint64_t)part * REGION_PART;
	uint64_t left = region->length - offset;
	uint32_t slot = fabric->free_slots[--fabric->free_slot_count];

	pthread_mutex_unlock(&fabric->lock);
	int error = fill_slot(fabric, slot, region->memory + offset,
			      left < REGION_PART ? left : REGION_PART);
	pthread_mutex_lock(&fabric->lock);
	region->slots[part] = error ? SLOT_REFUSED : slot;
	if (error) {
		fabric->free_slots[fabric->free_slot_count++] = slot;
		if (!fabric->warned)
			log_warn("nvmeof: memory can't be registered, each transfer pins its "
				 "pages error=%s",
				 strerror(error));
		fabric->warned = true;
	}
}

/* Region_lock keeps the region; the list may change while a part is filled. */
static bool fill_one(struct nvmeof *fabric)
{
	for (struct nvmeof_region *region = fabric->regions; region; region = region->next) {
		for (uint32_t part = 0; part < region->part_count; part++) {
			if (region->slots[part] != SLOT_WANTED)
				continue;
			if (!fabric->free_slot_count) {
				region->slots[part] = SLOT_NONE;
				continue;
			}
			fill_part(fabric, region, part);
			return true;
		}
	}
	return false;
}

void region_fill(struct nvmeof *fabric)
{
	pthread_mutex_lock(&fabric->region_lock);
	pthread_mutex_lock(&fabric->lock);
	fabric->wanted = false;
	while (fill_one(fabric))
		;
	pthread_mutex_unlock(&fabric->lock);
	pthread_mutex_unlock(&fabric->region_lock);
}

enum mc_status nvmeof_register(struct fabric *base, const struct fabric_region *given,
			       struct segment_buffer *buffer, const void **key)
{
	struct nvmeof *fabric = container_of(base, struct nvmeof, base);
	uint64_t parts = (given->length + REGION_PART - 1) / REGION_PART;

	(void)buffer; /* nobody reaches our memory over this fabric */
	if (fabric_location_is_gpu(given->location))
		return MC_NOT_SUPPORTED;
	/* Of a larger one, the rest goes without. */
	if (parts > SLOTS_MAX)
		parts = SLOTS_MAX;
	struct nvmeof_region *region = malloc(sizeof(*region) + parts * sizeof(region->slots[0]));
	if (!region)
		return MC_NO_MEMORY;
	region->memory = given->memory;
	region->length = given->length;
	region->part_count = (uint32_t)parts;
	for (uint32_t part = 0; part < parts; part++)
		region->slots[part] = SLOT_NONE;
	WITH_LOCK(&fabric->lock);
	region->next = fabric->regions;
	fabric->regions = region;
	fabric->counters.regions++;
	*key = region;
	return MC_OK;
}

static void forget(struct nvmeof *fabric, const struct nvmeof_region *region)
{
	struct nvmeof_region **at = &fabric->regions;

	while (*at != region)
		at = &(*at)->next;
	*at = region->next;
	fabric->counters.regions--;
}

void nvmeof_unregister(struct fabric *base, const void *key)
{
	struct nvmeof *fabric = container_of(base, struct nvmeof, base);
	struct nvmeof_region *region = (struct nvmeof_region *)key;

	WITH_LOCK(&fabric->region_lock);
	pthread_mutex_lock(&fabric->lock);
	forget(fabric, region);
	pthread_mutex_unlock(&fabric->lock);
	for (uint32_t part = 0; part < region->part_count; part++) {
		uint32_t slot = region->slots[part];
		if (slot >= SLOTS_MAX)
			continue;
		(void)fill_slot(fabric, slot, NULL, 0);
		pthread_mutex_lock(&fabric->lock);
		fabric->free_slots[fabric->free_slot_count++] = slot;
		pthread_mutex_unlock(&fabric->lock);
	}
	free(region);
}
