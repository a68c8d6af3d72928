/* Segments of one peer share what was connected, as long as it is reached the same way. */
#include "engine/segment.h"

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/fake.h"

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

int main(void)
{
	Suite *s = suite_create("segment");
	TCase *tc = tcase_create("channels");

	log_set_level("error");
	tcase_add_loop_test(tc, what_is_reached_alike_is_connected_once, 0, ARRAY_SIZE(rows));
	suite_add_tcase(s, tc);
	return suite_run(s);
}
