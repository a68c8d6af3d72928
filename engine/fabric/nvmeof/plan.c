#include "engine/fabric/nvmeof/plan.h"

static bool aligned(uint64_t value, uint32_t unit)
{
	return (value & (unit - 1)) == 0;
}

static uint64_t round_down(uint64_t value, uint32_t unit)
{
	return value & ~(uint64_t)(unit - 1);
}

static uint32_t least(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

/* Whole blocks around what is wanted, or only the first when the rest can go directly. */
static struct step bounced_read(const struct geometry *geometry, uint64_t offset, uint32_t left,
				uintptr_t memory)
{
	uint64_t start = round_down(offset, geometry->unit);
	uint32_t skip = (uint32_t)(offset - start);
	uint32_t to_block = geometry->unit - skip;
	uint32_t count = least(left, BOUNCE_SIZE - skip);

	if (skip && left > to_block && aligned(memory + to_block, geometry->memory_unit))
		count = to_block;
	return (struct step){
		.kind = STEP_BOUNCE,
		.offset = start,
		.length = (uint32_t)round_down((uint64_t)skip + count + geometry->unit - 1,
					       geometry->unit),
		.skip = skip,
		.count = count,
	};
}

static struct step read_step(const struct geometry *geometry, uint64_t offset, uint32_t left,
			     uintptr_t memory)
{
	uint32_t whole = (uint32_t)round_down(left, geometry->unit);

	if (!aligned(offset, geometry->unit) || !aligned(memory, geometry->memory_unit) || !whole)
		return bounced_read(geometry, offset, left, memory);
	return (struct step){STEP_DIRECT, offset, whole, 0, whole};
}

static struct step write_step(const struct geometry *geometry, uint64_t offset, uint32_t left,
			      uintptr_t memory)
{
	uint32_t into = (uint32_t)(offset - round_down(offset, geometry->write_unit));
	uint32_t whole = (uint32_t)round_down(left, geometry->write_unit);

	if (into || !whole) {
		uint32_t count = least(left, geometry->write_unit - into);
		return (struct step){geometry->ends ? STEP_END : STEP_REFUSED, offset, count, 0,
				     count};
	}
	if (aligned(memory, geometry->memory_unit))
		return (struct step){STEP_DIRECT, offset, whole, 0, whole};
	whole = least(whole, BOUNCE_SIZE);
	return (struct step){STEP_BOUNCE, offset, whole, 0, whole};
}

struct step plan_step(const struct geometry *geometry, enum fabric_opcode opcode, uint64_t offset,
		      uint32_t left, uintptr_t memory)
{
	return opcode == FABRIC_READ ? read_step(geometry, offset, left, memory)
				     : write_step(geometry, offset, left, memory);
}

bool plan_allowed(const struct geometry *geometry, enum fabric_opcode opcode, uint64_t offset,
		  uint32_t length)
{
	return opcode == FABRIC_READ || geometry->ends ||
	       (aligned(offset, geometry->write_unit) && aligned(length, geometry->write_unit));
}
