/*
 * tests/unit/engine/move.h -- one request, in a batch of its own, to its end
 */
#ifndef TESTS_UNIT_ENGINE_MOVE_H
#define TESTS_UNIT_ENGINE_MOVE_H

#include <check.h>
#include <mooncake/engine.h>

static inline enum mc_status move(struct mc_engine *engine, enum mc_opcode opcode, void *local,
				  mc_segment_id segment, const void *remote, uint64_t length)
{
	struct mc_request request = {opcode, local, segment, (uint64_t)(uintptr_t)remote, length};
	struct mc_batch *batch;

	ck_assert_int_eq(mc_batch_new(engine, 1, &batch), MC_OK);
	enum mc_status status = mc_batch_submit(batch, &request, 1);
	if (!status)
		status = mc_batch_wait(batch, 20000);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	return status;
}

#endif
