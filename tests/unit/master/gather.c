/* A leader that has just begun: what it does not find yet waits for the nodes. */
#include "tests/unit/master/own_clock.h"

#include "master/gather.h"

static struct mc_master *master;
static struct raw a; /* holds "key" */
static struct raw b; /* asks */
static struct mc_attr key;
static char journal[64];

static void start(void)
{
	struct mc_master_config config = {.socket = "auto",
					  .listen = "127.0.0.1:0",
					  .journal = journal,
					  .journal_sync = "never",
					  .fresh = true,
					  .heartbeat_ms = 1000,
					  .ttl_ms = OWN_CLOCK_TTL_MS,
					  .clock = &own_clock};

	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
}

/* "key" is in the journal, its node away, and the clock stands still. */
static void setup(void)
{
	log_set_level("error");
	snprintf(journal, sizeof(journal), "file:/tmp/gather-%d", getpid());
	start();
	raw_node(&a, mc_master_address(master), 1);
	key = raw_attr(a.next_id, 1, 4096);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", 0, &key), MC_OK);
	raw_close(&a);
	mc_master_stop(master);
	start();
	raw_node(&b, mc_master_address(master), 2);
}

static void teardown(void)
{
	raw_close(&a);
	raw_close(&b);
	mc_master_stop(master);
	unlink(journal + strlen("file:"));
}

static void announce(void)
{
	raw_node(&a, mc_master_address(master), 1);
	put_u16(&a.out, 1);
	put_string(&a.out, "key", 3);
	put_u8(&a.out, MC_REPLICA_PRIMARY);
	put_attr(&a.out, &key);
	ck_assert_int_eq(raw_call(&a, MC_VERB_ANNOUNCE), MC_OK);
	ck_assert_int_eq(raw_call(&a, MC_VERB_ANNOUNCED), MC_OK);
}

static void lookup_write(void)
{
	put_u16(&b.out, 1);
	raw_name(&b, MC_ROOT_ID, "key");
}

static void path_write(void)
{
	put_u16(&b.out, 1);
	put_string(&b.out, "key", 3);
}

static void list_write(void)
{
	put_u64(&b.out, MC_ROOT_ID);
	put_u64(&b.out, 0);
	put_u32(&b.out, 100);
}

/* What asks for "key", and what it comes to: the first status, or the count of a listing. */
static const struct {
	enum mc_verb verb;
	void (*write)(void);
} questions[] = {
	{MC_VERB_LOOKUP, lookup_write},
	{MC_VERB_LOOKUP_PATH, path_write},
	{MC_VERB_EXISTS, path_write},
	{MC_VERB_LIST, list_write},
};

static uint64_t ask(int question)
{
	questions[question].write();
	return raw_send(&b, questions[question].verb);
}

static bool found(int question, uint64_t request)
{
	ck_assert_int_eq(raw_reply(&b, request), MC_OK);
	if (questions[question].verb == MC_VERB_LIST) {
		(void)get_u8(&b.in);
		return get_u16(&b.in) == 1;
	}
	ck_assert_uint_eq(get_u16(&b.in), 1);
	return get_status(&b.in) == MC_OK;
}

START_TEST(what_a_node_is_about_to_tell_is_waited_for)
{
	uint64_t request = ask(_i);
	own_clock_beat(&b); /* is answered, and comes after it */
	announce();
	ck_assert(found(_i, request));
}
END_TEST

START_TEST(what_nobody_tells_in_time_is_not_there)
{
	uint64_t request = ask(_i);

	own_clock_pass(GATHER_MS);
	ck_assert(!found(_i, request));
	announce();
	ck_assert(found(_i, ask(_i)));
}
END_TEST

START_TEST(what_is_there_is_found_at_once)
{
	announce();
	raw_close(&a); /* it is shown until it was silent for the TTL */
	ck_assert(found(_i, ask(_i)));
}
END_TEST

START_TEST(a_name_is_not_free_before_all_have_told)
{
	raw_name(&b, MC_ROOT_ID, "key");
	put_u64(&b.out, 77);
	uint64_t request = raw_send(&b, MC_VERB_RESERVE);
	own_clock_beat(&b);
	announce();
	ck_assert_int_eq(raw_reply(&b, request), MC_EXISTS);
}
END_TEST

START_TEST(a_change_need_not_wait)
{
	struct mc_attr attr = raw_attr(b.next_id, 1, 5);

	ck_assert_int_eq(raw_publish(&b, MC_ROOT_ID, "other", 0, &attr), MC_OK);
	ck_assert_int_eq(raw_lookup(&b, MC_ROOT_ID, "other").status, MC_OK);
}
END_TEST

START_TEST(who_waits_may_leave)
{
	(void)ask(_i);
	raw_close(&b);
	announce();
	raw_node(&b, mc_master_address(master), 2);
	ck_assert(found(_i, ask(_i)));
}
END_TEST

static enum mc_status node_set(enum mc_node_op op)
{
	put_u32(&b.out, a.node);
	put_u8(&b.out, (uint8_t)op);
	return raw_call(&b, MC_VERB_NODE_SET);
}

/* Time passes, and b is heard. */
static void pass(uint64_t ms)
{
	own_clock_pass(ms);
	own_clock_beat(&b);
}

START_TEST(a_node_is_not_forgotten_before_it_had_time_to_come_back)
{
	ck_assert_int_eq(node_set(MC_NODE_REMOVE_ALL), MC_BUSY);
	pass(OWN_CLOCK_TTL_MS - 1);
	ck_assert_int_eq(node_set(MC_NODE_REMOVE_ALL), MC_BUSY);
	pass(1);
	ck_assert_int_eq(node_set(MC_NODE_REMOVE), MC_NOT_EMPTY);
	ck_assert_int_eq(node_set(MC_NODE_REMOVE_ALL), MC_OK);
	ck_assert_int_eq(node_set(MC_NODE_REMOVE), MC_NOT_FOUND);
}
END_TEST

static bool drained(void)
{
	put_u32(&b.out, a.node);
	ck_assert_int_eq(raw_call(&b, MC_VERB_DRAIN), MC_OK);
	(void)get_u8(&b.in);
	return get_u8(&b.in);
}

/* The records need not have all that it holds. */
START_TEST(nor_is_it_said_to_be_empty)
{
	ck_assert_int_eq(raw_remove(&b, MC_ROOT_ID, "key"), MC_OK);
	ck_assert_int_eq(node_set(MC_NODE_DRAIN), MC_OK);
	ck_assert(!drained());
	pass(OWN_CLOCK_TTL_MS - 1);
	ck_assert(!drained());
	pass(1);
	ck_assert(drained());
}
END_TEST

static void add(TCase *tc)
{
	int count = sizeof(questions) / sizeof(questions[0]);

	tcase_add_loop_test(tc, what_a_node_is_about_to_tell_is_waited_for, 0, count);
	tcase_add_loop_test(tc, what_nobody_tells_in_time_is_not_there, 0, count);
	tcase_add_loop_test(tc, what_is_there_is_found_at_once, 0, count);
	tcase_add_test(tc, a_name_is_not_free_before_all_have_told);
	tcase_add_test(tc, a_change_need_not_wait);
	tcase_add_loop_test(tc, who_waits_may_leave, 0, count);
	tcase_add_test(tc, a_node_is_not_forgotten_before_it_had_time_to_come_back);
	tcase_add_test(tc, nor_is_it_said_to_be_empty);
}

int main(void)
{
	return raw_run("gather", add, setup, teardown);
}
