/* Engines of one host: which fabric carries their bytes, and that each that could does. */
#include <check.h>
#include <mooncake/engine.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "tests/support/suite.h"

#define SIZE (1u << 20)

static struct mc_engine *open_engine(const char *name, const char *protocols)
{
	struct mc_engine_config config = {
		.metadata = "memory://near",
		.name = name,
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
		.protocols = protocols,
	};
	struct mc_engine *engine;

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	return engine;
}

static enum mc_status move(struct mc_engine *engine, enum mc_opcode opcode, void *local,
			   mc_segment_id segment, const void *remote)
{
	struct mc_request request = {opcode, local, segment, (uint64_t)(uintptr_t)remote, SIZE};
	struct mc_batch *batch;

	ck_assert_int_eq(mc_batch_new(engine, 1, &batch), MC_OK);
	enum mc_status status = mc_batch_submit(batch, &request, 1);
	if (!status)
		status = mc_batch_wait(batch, 20000);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	return status;
}

static const char *carrier_of(struct mc_engine *engine, mc_segment_id id)
{
	return engine->segments.table[id]->target->channel->peer->fabric->ops->name;
}

static const struct {
	const char *near, *far; /* what they may speak */
	const char *disable;	/* in the environment */
	const char *carrier;
} rows[] = {
	{NULL, NULL, NULL, "shm"},   {"tcp,shm", NULL, NULL, "shm"},
	{"shm", "shm", NULL, "shm"}, {"tcp", NULL, NULL, "tcp"},
	{NULL, "tcp", NULL, "tcp"},  {NULL, NULL, "MC_DISABLE_SHM", "tcp"},
};

START_TEST(the_nearest_fabric_that_both_have_carries)
{
	void *here, *there;
	mc_segment_id segment;

	if (rows[_i].disable)
		setenv(rows[_i].disable, "1", 1);
	struct mc_engine *near = open_engine("near", rows[_i].near);
	struct mc_engine *far = open_engine("far", rows[_i].far);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &here), MC_OK);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &there), MC_OK);
	memset(there, 7, SIZE);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
	ck_assert_str_eq(carrier_of(near, segment), rows[_i].carrier);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	ck_assert_uint_eq(((uint8_t *)here)[SIZE - 1], 7);
	ck_assert_int_eq(move(near, MC_WRITE, here, segment, there), MC_OK);
	/* The owner takes it back, and lends it again. */
	ck_assert_int_eq(mc_engine_unregister(far, there), MC_OK);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_ACCESS);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_REMOTE_READ), MC_OK);
	ck_assert_int_eq(mc_segment_sync(near, "far"), MC_OK);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	ck_assert_int_eq(move(near, MC_WRITE, here, segment, there), MC_ACCESS);
	mc_engine_close(near);
	mc_engine_close(far);
	mc_memory_free(here);
	mc_memory_free(there);
}
END_TEST

START_TEST(a_neighbour_that_restarted_is_found_again)
{
	struct mc_engine *near = open_engine("near", NULL), *far = open_engine("far", NULL);
	void *here, *there;
	mc_segment_id segment;

	ck_assert_int_eq(mc_memory_alloc(SIZE, &here), MC_OK);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &there), MC_OK);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
		mc_engine_close(far);
		far = open_engine("far", NULL);
		ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT),
				 MC_OK);
		/* A descriptor is fetched anew no more often than that. */
		usleep(25000);
	}
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	mc_engine_close(near);
	mc_engine_close(far);
	mc_memory_free(here);
	mc_memory_free(there);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("near");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, the_nearest_fabric_that_both_have_carries, 0, ARRAY_SIZE(rows));
	tcase_add_test(tcase, a_neighbour_that_restarted_is_found_again);
	suite_add_tcase(s, tcase);
	log_set_level("error");
	return suite_run(s);
}
