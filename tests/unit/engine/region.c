/* Whose memory is in use, and for how long. */
#include <sys/mman.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/fake.h"

#define SIZE (4u << 20)

static uint8_t *map(void)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static struct mc_engine *open_with(const char *name, const struct fabric_ops *const *fabrics)
{
	struct mc_engine_config config = {.metadata = "memory://region", .name = name};
	struct mc_engine *engine;

	ck_assert_int_eq(engine_open(&config, fabrics, &engine), MC_OK);
	return engine;
}

/* Whose memory is read. */
struct far {
	struct mc_engine *engine;
	uint8_t *there;
};

static void far_open(struct far *far)
{
	far->engine = open_with("far", fake_table);
	far->there = map();
	ck_assert_int_eq(
		mc_engine_register(far->engine, far->there, SIZE, "cpu:0", MC_REGION_DEFAULT),
		MC_OK);
}

static void far_close(struct far *far)
{
	mc_engine_close(far->engine);
	munmap(far->there, SIZE);
}

static enum mc_task_state state_of(struct mc_batch *batch, size_t task)
{
	struct mc_task_status status;

	ck_assert_int_eq(mc_batch_status(batch, task, &status), MC_OK);
	return status.state;
}

/* Of several regions side by side, the last may be reached much later than the first. */
START_TEST(memory_of_a_task_that_has_not_been_cut_is_in_use)
{
	struct far far;
	struct mc_engine *near;
	struct mc_batch *batch;
	mc_segment_id segment;
	uint8_t *here = map(), *other = map(), *last = here + SIZE - 4096;

	setenv("MC_SLICE_SIZE", "4096", 1);
	far_open(&far);
	near = open_with("near", fake_table);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE - 4096, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(mc_engine_register(near, last, 4096, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(mc_engine_register(near, other, 8192, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
	struct mc_request both[] = {
		{MC_READ, here, segment, (uint64_t)(uintptr_t)far.there, SIZE},
		{MC_READ, other, MC_SEGMENT_LOCAL, (uint64_t)(uintptr_t)other + 4096, 4096},
	};
	atomic_store(&fake_rules.room, 1);
	atomic_store(&fake_rules.stuck, true);
	ck_assert_int_eq(mc_batch_new(near, 2, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, both, 2), MC_OK);
	ck_assert_int_eq(mc_engine_unregister(near, last), MC_BUSY);
	ck_assert_int_eq(mc_engine_unregister(near, other), MC_BUSY);
	atomic_store(&fake_rules.stuck, false);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_engine_unregister(near, last), MC_OK);
	ck_assert_int_eq(mc_engine_unregister(near, other), MC_OK);
	mc_engine_close(near);
	munmap(here, SIZE);
	munmap(other, SIZE);
	far_close(&far);
}
END_TEST

/* A second fabric, which reaches GPUs and no peer. */
static enum mc_status register_any(struct fabric *fabric, const struct fabric_region *region,
				   struct segment_buffer *buffer, const void **key)
{
	struct fabric_region plain = *region;

	plain.location = "cpu:0";
	return fake_register(fabric, &plain, buffer, key);
}

static enum mc_status connect_none(struct fabric *fabric, const struct segment_desc *desc,
				   struct fabric_peer **peer)
{
	(void)fabric, (void)desc, (void)peer;
	return MC_NOT_SUPPORTED;
}

static struct fabric_ops second_ops;

static enum mc_status open_second(const struct fabric_config *config, struct fabric **fabric)
{
	enum mc_status status = fake_open(config, fabric);

	(*fabric)->ops = &second_ops;
	return status;
}

START_TEST(what_its_fabric_cannot_touch_fails_alone_and_is_let_go)
{
	static const struct fabric_ops *const both[] = {&fake_ops, &second_ops, NULL};
	struct far far;
	struct mc_engine *two;
	struct mc_batch *batch;
	mc_segment_id segment;
	uint8_t *gpu = map(), *plain = map();

	far_open(&far);
	second_ops = fake_ops;
	second_ops.name = "second";
	second_ops.open = open_second;
	second_ops.register_region = register_any;
	second_ops.connect = connect_none;
	two = open_with("two", both);
	ck_assert_int_eq(mc_engine_register(two, gpu, SIZE, "cuda:0", 0), MC_OK);
	ck_assert_int_eq(mc_engine_register(two, plain, SIZE, "cpu:0", 0), MC_OK);
	ck_assert_int_eq(mc_segment_open(two, "far", 0, &segment), MC_OK);
	struct mc_request requests[] = {
		{MC_READ, gpu, segment, (uint64_t)(uintptr_t)far.there, 4096},
		{MC_READ, plain, segment, (uint64_t)(uintptr_t)far.there, 4096},
	};
	ck_assert_int_eq(mc_batch_new(two, 2, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, requests, 2), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_NOT_SUPPORTED);
	ck_assert_int_eq(state_of(batch, 1), MC_TASK_COMPLETED);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_engine_unregister(two, gpu), MC_OK);
	mc_engine_close(two);
	munmap(gpu, SIZE);
	munmap(plain, SIZE);
	far_close(&far);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("region");
	TCase *tcase = tcase_create("all");

	log_set_level("error");
	tcase_add_test(tcase, memory_of_a_task_that_has_not_been_cut_is_in_use);
	tcase_add_test(tcase, what_its_fabric_cannot_touch_fails_alone_and_is_let_go);
	suite_add_tcase(s, tcase);
	return suite_run(s);
}
