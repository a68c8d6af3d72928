/* Segments of one peer share what was connected, as long as it is reached the same way. */
#include "engine/segment.h"

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/fake.h"
#include "tests/unit/engine/move.h"

/* How a peer may be told of. */
struct telling {
	const char *endpoint, *device;
	uint8_t gid;
	uint16_t lid;
};

static struct segment_desc *describe(const struct telling *telling)
{
	struct segment_desc *desc;
	struct segment_device *device;

	ck_assert_int_eq(segment_desc_new(SEGMENT_RDMA, "peer", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, telling->endpoint), MC_OK);
	ck_assert_int_eq(segment_desc_add_device(desc, telling->device, &device), MC_OK);
	device->gid[15] = telling->gid;
	device->lid = telling->lid;
	return desc;
}

static const struct telling first = {"fake:here", "nic", 1, 1};

static const struct {
	struct telling second;
	uint32_t peers;
} rows[] = {
	{{"fake:here", "nic", 1, 1}, 1},
	/* A link went and came: the peer is where it was. */
	{{"fake:here", "nic", 2, 1}, 1},
	{{"fake:here", "nic", 1, 2}, 1},
	{{"fake:there", "nic", 1, 1}, 2},
	{{"fake:here", "other", 1, 1}, 2},
};

START_TEST(what_is_reached_alike_is_connected_once)
{
	struct mc_engine_config config = {.metadata = "memory://segment", .name = "near"};
	struct fabric_counters counters;
	struct mc_engine *engine;
	mc_segment_id a, b;

	ck_assert_int_eq(engine_open(&config, fake_table, &engine), MC_OK);
	ck_assert_int_eq(segment_adopt(&engine->segments, "@1", describe(&first), 0, &a), MC_OK);
	ck_assert_int_eq(segment_adopt(&engine->segments, "@2", describe(&rows[_i].second), a, &b),
			 MC_OK);
	fake_ops.counters(engine->fabrics[0], &counters);
	ck_assert_uint_eq(counters.peers, rows[_i].peers);
	/* The first may go, and the second keeps what both had. */
	ck_assert_int_eq(mc_segment_close(engine, a), MC_OK);
	fake_ops.counters(engine->fabrics[0], &counters);
	ck_assert_uint_eq(counters.peers, 1);
	ck_assert_int_eq(mc_segment_close(engine, b), MC_OK);
	mc_engine_close(engine);
}
END_TEST

/* --- what a peer registers while it is known ------------------------------------------------- */

#define PART 4096u

static uint8_t here[8 * PART], there[8 * PART];

static enum mc_status read_part(struct mc_engine *engine, mc_segment_id segment, size_t part)
{
	return move(engine, MC_READ, here, segment, there + part * PART, PART);
}

struct pair {
	struct mc_engine *near, *far;
	mc_segment_id segment;
};

static void pair_open(struct pair *pair)
{
	struct mc_engine_config config = {.metadata = "memory://segment", .name = "near"};

	ck_assert_int_eq(engine_open(&config, fake_table, &pair->near), MC_OK);
	config.name = "far";
	ck_assert_int_eq(engine_open(&config, fake_table, &pair->far), MC_OK);
	ck_assert_int_eq(
		mc_engine_register(pair->near, here, sizeof(here), "cpu:0", MC_REGION_LOCAL),
		MC_OK);
	ck_assert_int_eq(mc_segment_open(pair->near, "far", 0, &pair->segment), MC_OK);
}

static void register_part(const struct pair *pair, size_t part)
{
	ck_assert_int_eq(mc_engine_register(pair->far, there + part * PART, PART, "cpu:0",
					    MC_REGION_DEFAULT),
			 MC_OK);
}

static void pair_close(struct pair *pair)
{
	mc_engine_close(pair->near);
	mc_engine_close(pair->far);
}

START_TEST(memory_is_found_however_soon_after_other_memory)
{
	struct pair pair;

	pair_open(&pair);
	for (size_t part = 0; part < 8; part++) {
		register_part(&pair, part);
		ck_assert_int_eq(read_part(pair.near, pair.segment, part), MC_OK);
	}
	ck_assert_int_eq(read_part(pair.near, pair.segment, 8), MC_ACCESS);
	pair_close(&pair);
}
END_TEST

START_TEST(who_is_refused_asks_anew_however_soon)
{
	struct pair pair;

	pair_open(&pair);
	register_part(&pair, 0);
	ck_assert_int_eq(read_part(pair.near, pair.segment, 0), MC_OK);
	atomic_store(&fake_rules.failure, (int)MC_ACCESS);
	atomic_store(&fake_rules.fail_count, 1);
	atomic_store(&fake_rules.fail_paths, 7);
	ck_assert_int_eq(read_part(pair.near, pair.segment, 0), MC_OK);
	atomic_store(&fake_rules.fail_count, -1);
	ck_assert_int_eq(read_part(pair.near, pair.segment, 0), MC_ACCESS);
	pair_close(&pair);
}
END_TEST

struct finder {
	pthread_t thread;
	const struct pair *pair;
	uint8_t *into;
};

static void *find_part(void *argument)
{
	const struct finder *finder = argument;
	const struct pair *pair = finder->pair;
	struct mc_segment_buffer buffers[8];
	struct mc_request request = {MC_READ, finder->into, pair->segment,
				     (uint64_t)(uintptr_t)there, PART};
	struct mc_batch *batch;
	size_t count = ARRAY_SIZE(buffers);

	ck_assert_int_eq(mc_batch_new(pair->near, 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit(batch, &request, 1), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 20000), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_segment_buffers(pair->near, pair->segment, buffers, &count), MC_OK);
	ck_assert_uint_eq(count, 1);
	return NULL;
}

START_TEST(many_that_look_for_new_memory_at_once_all_find_it)
{
	struct finder finders[8];
	struct pair pair;

	pair_open(&pair);
	register_part(&pair, 0);
	for (size_t i = 0; i < ARRAY_SIZE(finders); i++) {
		struct finder *finder = &finders[i];
		*finder = (struct finder){.pair = &pair, .into = here + i * PART};
		ck_assert_int_eq(pthread_create(&finder->thread, NULL, find_part, finder), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(finders); i++)
		pthread_join(finders[i].thread, NULL);
	pair_close(&pair);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("segment");
	TCase *tc = tcase_create("channels");

	log_set_level("error");
	tcase_add_loop_test(tc, what_is_reached_alike_is_connected_once, 0, ARRAY_SIZE(rows));
	tcase_add_test(tc, memory_is_found_however_soon_after_other_memory);
	tcase_add_test(tc, who_is_refused_asks_anew_however_soon);
	tcase_add_loop_test(tc, many_that_look_for_new_memory_at_once_all_find_it, 0, 10);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
