/* How requests are cut into operations on files. */
#include <check.h>
#include <stdlib.h>

#include "engine/fabric/nvmeof/plan.h"
#include "tests/support/suite.h"

static const struct geometry block_device = {512, 4, 512, false};
static const struct geometry file_system = {512, 512, 4096, true};
static const struct geometry page_cache = {1, 1, 1, false};

START_TEST(what_is_aligned_is_one_operation)
{
	struct step step = plan_step(&block_device, FABRIC_READ, 1024, 4096, 0x1000);

	ck_assert_int_eq(step.kind, STEP_DIRECT);
	ck_assert_uint_eq(step.offset, 1024);
	ck_assert_uint_eq(step.length, 4096);
	ck_assert_uint_eq(step.count, 4096);
	step = plan_step(&file_system, FABRIC_WRITE, 8192, 1 << 20, 0x200);
	ck_assert_int_eq(step.kind, STEP_DIRECT);
	ck_assert_uint_eq(step.count, 1 << 20);
	step = plan_step(&page_cache, FABRIC_WRITE, 3, 5, 0x7);
	ck_assert_int_eq(step.kind, STEP_DIRECT);
	ck_assert_uint_eq(step.count, 5);
}
END_TEST

START_TEST(the_ends_of_a_read_take_a_detour)
{
	/* To 512, where memory is aligned too, then directly, then the rest of a block. */
	struct step step = plan_step(&block_device, FABRIC_READ, 500, 1200, 0x1000 - 12);

	ck_assert_int_eq(step.kind, STEP_BOUNCE);
	ck_assert_uint_eq(step.offset, 0);
	ck_assert_uint_eq(step.length, 512);
	ck_assert_uint_eq(step.skip, 500);
	ck_assert_uint_eq(step.count, 12);
	step = plan_step(&block_device, FABRIC_READ, 512, 1188, 0x1000);
	ck_assert_int_eq(step.kind, STEP_DIRECT);
	ck_assert_uint_eq(step.count, 1024);
	step = plan_step(&block_device, FABRIC_READ, 1536, 164, 0x1400);
	ck_assert_int_eq(step.kind, STEP_BOUNCE);
	ck_assert_uint_eq(step.length, 512);
	ck_assert_uint_eq(step.count, 164);
}
END_TEST

START_TEST(a_part_of_a_block_is_written_where_that_is_safe)
{
	ck_assert(!plan_allowed(&block_device, FABRIC_WRITE, 0, 511));
	ck_assert(!plan_allowed(&block_device, FABRIC_WRITE, 1, 512));
	ck_assert(plan_allowed(&block_device, FABRIC_WRITE, 512, 512));
	ck_assert(plan_allowed(&block_device, FABRIC_READ, 1, 1));
	ck_assert(plan_allowed(&file_system, FABRIC_WRITE, 1, 1));
	struct step step = plan_step(&file_system, FABRIC_WRITE, 4095, 4098, 0x1000);
	ck_assert_int_eq(step.kind, STEP_END);
	ck_assert_uint_eq(step.count, 1);
	ck_assert_int_eq(plan_step(&block_device, FABRIC_WRITE, 1, 1, 0).kind, STEP_REFUSED);
}
END_TEST

static struct geometry random_geometry(unsigned *seed)
{
	struct geometry geometry = {.unit = 1u << (rand_r(seed) % 13),
				    .memory_unit = 1u << (rand_r(seed) % 10),
				    .ends = rand_r(seed) % 2};

	geometry.write_unit = geometry.unit << (geometry.ends ? rand_r(seed) % 4 : 0);
	return geometry;
}

/* What each operation must be, whatever was asked for. */
static void check_step(const struct geometry *geometry, enum fabric_opcode opcode,
		       const struct step *step, uint64_t at, uint32_t left, uintptr_t memory)
{
	ck_assert_uint_gt(step->count, 0);
	ck_assert_uint_le(step->count, left);
	ck_assert_uint_eq(step->offset + step->skip, at);
	ck_assert_uint_le(step->skip + step->count, step->length);
	if (step->kind == STEP_END) {
		ck_assert(geometry->ends && opcode == FABRIC_WRITE);
		ck_assert_uint_eq(at / geometry->write_unit,
				  (at + step->count - 1) / geometry->write_unit);
		return;
	}
	ck_assert_uint_eq(step->offset % geometry->unit, 0);
	ck_assert_uint_eq(step->length % geometry->unit, 0);
	if (step->kind == STEP_BOUNCE)
		ck_assert_uint_le(step->length, BOUNCE_SIZE);
	else
		ck_assert_uint_eq(memory % geometry->memory_unit, 0);
	if (opcode == FABRIC_WRITE) {
		ck_assert_uint_eq(step->offset % geometry->write_unit, 0);
		ck_assert_uint_eq(step->length, step->count);
		ck_assert_uint_eq(step->length % geometry->write_unit, 0);
	}
}

START_TEST(any_request_is_moved_whole_and_in_order)
{
	unsigned seed = (unsigned)_i + 1;
	struct geometry geometry = random_geometry(&seed);
	enum fabric_opcode opcode = rand_r(&seed) % 2 ? FABRIC_READ : FABRIC_WRITE;
	uint64_t at = (uint64_t)rand_r(&seed) % 100000;
	uint32_t left = (uint32_t)rand_r(&seed) % 600000;
	uintptr_t memory = 0x100000 + (uintptr_t)rand_r(&seed) % 8192;

	if (!plan_allowed(&geometry, opcode, at, left)) {
		at -= at % geometry.write_unit;
		left -= left % geometry.write_unit;
	}
	while (left) {
		struct step step = plan_step(&geometry, opcode, at, left, memory);
		ck_assert_int_ne(step.kind, STEP_REFUSED);
		check_step(&geometry, opcode, &step, at, left, memory);
		at += step.count;
		memory += step.count;
		left -= step.count;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nvmeof_plan");
	TCase *tcase = tcase_create("plan");

	tcase_add_test(tcase, what_is_aligned_is_one_operation);
	tcase_add_test(tcase, the_ends_of_a_read_take_a_detour);
	tcase_add_test(tcase, a_part_of_a_block_is_written_where_that_is_safe);
	tcase_add_loop_test(tcase, any_request_is_moved_whole_and_in_order, 0, 300);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
