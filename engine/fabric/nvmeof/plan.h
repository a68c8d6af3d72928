/*
 * engine/fabric/nvmeof/plan.h -- how a request is cut into operations on a file
 *
 * Ownership   None: numbers in, numbers out.
 */
#ifndef ENGINE_FABRIC_NVMEOF_PLAN_H
#define ENGINE_FABRIC_NVMEOF_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fabric/fabric.h"

#define BOUNCE_SIZE (128u << 10) /* bytes; a multiple of any block */

/* What a file asks of operations on it; powers of two, in bytes. */
struct geometry {
	uint32_t unit;	      /* offsets and lengths */
	uint32_t memory_unit; /* addresses of memory */
	uint32_t write_unit;  /* what writes must cover whole, a multiple of unit */
	bool ends;	      /* parts of a write_unit can be written over the page cache */
};

enum step_kind {
	STEP_DIRECT,  /* as it is */
	STEP_BOUNCE,  /* by way of a bounce buffer */
	STEP_END,     /* a part of a write_unit, over the page cache */
	STEP_REFUSED, /* a part of a write_unit, where that is not safe */
};

/* One operation. */
struct step {
	enum step_kind kind;
	uint64_t offset; /* in the file */
	uint32_t length; /* bytes of the operation */
	uint32_t skip;	 /* bytes of it before those that were asked for */
	uint32_t count;	 /* bytes of the request that it moves, at least 1 */
};

/* The first operation of a request for `left` bytes at offset, from or to memory. */
struct step plan_step(const struct geometry *geometry, enum fabric_opcode opcode, uint64_t offset,
		      uint32_t left, uintptr_t memory);

/* False: some operation of this request would be refused. */
bool plan_allowed(const struct geometry *geometry, enum fabric_opcode opcode, uint64_t offset,
		  uint32_t length);

#endif
