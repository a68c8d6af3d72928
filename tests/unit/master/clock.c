/* A master whose time the test owns: it stands still, runs on, and jumps. */
#include "tests/unit/master/own_clock.h"

static struct mc_master *master;
static struct raw watcher; /* a client */
static struct raw node;

static void setup(void)
{
	master = own_clock_master();
	raw_connect(&watcher, mc_master_socket(master));
	raw_hello(&watcher, MC_ROLE_CLIENT, "watcher", 0);
	raw_node(&node, mc_master_socket(master), 1);
}

static void teardown(void)
{
	raw_close(&node);
	raw_close(&watcher);
	mc_master_stop(master);
}

/* Let little time pass until it is so: the master looks for silence now and then. */
static void seen_becomes(const char *name, enum mc_status status)
{
	for (int i = 0; i < 200; i++) {
		own_clock_beat(&watcher);
		if (raw_lookup(&watcher, MC_ROOT_ID, name).status == status)
			return;
		usleep(10000);
		own_clock_pass(20);
	}
	ck_abort_msg("%s is not as it should be", name);
}

START_TEST(a_real_clock_that_jumps_ends_no_session)
{
	raw_put(&node, MC_ROOT_ID, "key");
	for (int64_t jump = -10 * OWN_CLOCK_REAL_S; jump <= 10 * OWN_CLOCK_REAL_S;
	     jump += 5 * OWN_CLOCK_REAL_S) {
		atomic_store(&own_clock_real_s, OWN_CLOCK_REAL_S + jump);
		usleep(120000);
		own_clock_beat(&node);
		own_clock_beat(&watcher);
		ck_assert_int_eq(raw_lookup(&watcher, MC_ROOT_ID, "key").status, MC_OK);
	}
}
END_TEST

START_TEST(directories_bear_the_time_that_the_clock_says)
{
	atomic_store(&own_clock_real_s, OWN_CLOCK_REAL_S + 100);
	raw_mkdir(&node, MC_ROOT_ID, "later");
	ck_assert_int_eq(raw_stat(&node, "later").mtime.s, OWN_CLOCK_REAL_S + 100);
	/* Back in time: it says so, and goes on. */
	atomic_store(&own_clock_real_s, -5);
	raw_mkdir(&node, MC_ROOT_ID, "earlier");
	ck_assert_int_eq(raw_stat(&node, "earlier").mtime.s, -5);
	ck_assert_int_eq(raw_stat(&node, "").mtime.s, -5);
}
END_TEST

START_TEST(ids_never_repeat_when_the_real_clock_goes_back)
{
	uint64_t id = node.next_id;

	atomic_store(&own_clock_real_s, 1);
	ck_assert_int_eq(raw_call(&node, MC_VERB_GRANT_IDS), MC_OK);
	ck_assert_uint_ge(get_u64(&node.in), id + (1 << 20));
}
END_TEST

START_TEST(a_clock_that_stands_still_loses_nobody)
{
	raw_put(&node, MC_ROOT_ID, "key");
	usleep(400000);
	ck_assert_int_eq(raw_lookup(&watcher, MC_ROOT_ID, "key").status, MC_OK);
	own_clock_beat(&node);
}
END_TEST

START_TEST(silence_is_measured_by_the_given_clock)
{
	raw_put(&node, MC_ROOT_ID, "key");
	own_clock_pass(OWN_CLOCK_TTL_MS - 1);
	own_clock_beat(&watcher);
	usleep(120000);
	ck_assert_int_eq(raw_lookup(&watcher, MC_ROOT_ID, "key").status, MC_OK);
	/* Its session ends at once, and so do its replicas: heard of last a ttl ago. */
	own_clock_pass(2);
	seen_becomes("key", MC_NOT_FOUND);
}
END_TEST

START_TEST(a_jump_ahead_ends_all_at_once_and_they_come_back)
{
	uint64_t id = raw_put(&node, MC_ROOT_ID, "key");

	/* As when the machine slept. */
	own_clock_pass(3600 * 1000);
	struct raw *ended[] = {&node, &watcher};
	for (int i = 0; i < 2; i++) {
		raw_forget_pushes(ended[i]);
		while (raw_receive(ended[i]))
			ck_assert_int_eq(ended[i]->frame.kind, MC_FRAME_PUSH);
		raw_close(ended[i]);
	}
	raw_connect(&watcher, mc_master_socket(master));
	raw_hello(&watcher, MC_ROLE_CLIENT, "watcher", 0);
	seen_becomes("key", MC_NOT_FOUND);
	raw_node(&node, mc_master_socket(master), 1);
	struct mc_attr attr = raw_attr(id, 100, 4096);
	put_u16(&node.out, 1);
	put_string(&node.out, "key", 3);
	put_u8(&node.out, MC_REPLICA_PRIMARY);
	put_attr(&node.out, &attr);
	ck_assert_int_eq(raw_call(&node, MC_VERB_ANNOUNCE), MC_OK);
	ck_assert_int_eq(raw_lookup(&watcher, MC_ROOT_ID, "key").status, MC_OK);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_real_clock_that_jumps_ends_no_session);
	tcase_add_test(tc, directories_bear_the_time_that_the_clock_says);
	tcase_add_test(tc, ids_never_repeat_when_the_real_clock_goes_back);
	tcase_add_test(tc, a_clock_that_stands_still_loses_nobody);
	tcase_add_test(tc, silence_is_measured_by_the_given_clock);
	tcase_add_test(tc, a_jump_ahead_ends_all_at_once_and_they_come_back);
}

int main(void)
{
	return raw_run("clock", add, setup, teardown);
}
