/* Grants: who gets one, and that no name appears before it was given back. */
#include "tests/unit/master/raw.h"

static struct mc_master *master;
static struct raw a;
static struct raw b;

static void setup(void)
{
	master = raw_master("memory", 60000);
	raw_node(&a, mc_master_address(master), 1);
	raw_node(&b, mc_master_socket(master), 2);
}

static void teardown(void)
{
	raw_close(&a);
	raw_close(&b);
	mc_master_stop(master);
}

START_TEST(a_miss_grants_a_directory_once)
{
	raw_put(&a, MC_ROOT_ID, "key");
	struct raw_found found = raw_lookup(&a, MC_ROOT_ID, "no");

	ck_assert(found.granted);
	ck_assert_uint_eq(found.grant_count, 1);
	ck_assert_uint_eq(found.grant_first, mc_name_hash("key", 3));
	ck_assert(!raw_lookup(&a, MC_ROOT_ID, "no").granted);
	ck_assert(!raw_lookup(&b, MC_ROOT_ID, "no").granted);
}
END_TEST

START_TEST(a_directory_that_others_add_to_is_not_granted)
{
	raw_put(&a, MC_ROOT_ID, "key");
	ck_assert(!raw_lookup(&b, MC_ROOT_ID, "no").granted);
	ck_assert(raw_lookup(&a, MC_ROOT_ID, "no").granted);
}
END_TEST

START_TEST(a_made_directory_is_granted_to_its_maker)
{
	uint64_t id = a.next_id++;
	bool granted = false;

	ck_assert_int_eq(raw_mkdir_id(&a, MC_ROOT_ID, "dir", id, &granted), MC_OK);
	ck_assert(granted);
	ck_assert(!raw_lookup(&b, id, "no").granted);
}
END_TEST

START_TEST(a_grant_given_back_unasked_can_be_had_again)
{
	ck_assert(raw_lookup(&a, MC_ROOT_ID, "no").granted);
	put_u64(&a.out, MC_ROOT_ID);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	ck_assert(raw_lookup(&b, MC_ROOT_ID, "no").granted);
}
END_TEST

static uint64_t held;	   /* by a */
static uint64_t elsewhere; /* a directory that nobody holds, with "key" of b in it */
static struct mc_attr fresh;

/* Each way in which a name may appear in `held` through b: writes the request. */
static enum mc_verb way_publish(void)
{
	raw_publish_write(&b, held, "new", 0, &fresh);
	return MC_VERB_PUBLISH;
}

static enum mc_verb way_publish_path(void)
{
	raw_publish_write(&b, MC_ROOT_ID, "held/new", MC_PUBLISH_PARENTS, &fresh);
	return MC_VERB_PUBLISH;
}

static enum mc_verb way_publish_parents(void)
{
	raw_publish_write(&b, MC_ROOT_ID, "held/new/deep/er", MC_PUBLISH_PARENTS, &fresh);
	return MC_VERB_PUBLISH;
}

static enum mc_verb way_publish_in_batch(void)
{
	struct mc_attr other = raw_attr(b.next_id++, 1, 1);

	put_u16(&b.out, 2);
	raw_name(&b, elsewhere, "other");
	put_u32(&b.out, 0);
	put_attr(&b.out, &other);
	raw_name(&b, held, "new");
	put_u32(&b.out, 0);
	put_attr(&b.out, &fresh);
	return MC_VERB_PUBLISH;
}

static enum mc_verb way_mkdir(void)
{
	raw_mkdir_write(&b, held, "new", fresh.id);
	return MC_VERB_MKDIR;
}

static enum mc_verb way_rename(void)
{
	raw_name(&b, elsewhere, "key");
	raw_name(&b, held, "new");
	put_u32(&b.out, 0);
	return MC_VERB_RENAME;
}

static enum mc_verb way_announce(void)
{
	fresh.id = 12345; /* of an earlier life */
	put_u16(&b.out, 1);
	put_string(&b.out, "held/new", 8);
	put_u8(&b.out, MC_REPLICA_PRIMARY);
	put_attr(&b.out, &fresh);
	return MC_VERB_ANNOUNCE;
}

static enum mc_verb (*const ways[])(void) = {
	way_publish, way_publish_path, way_publish_parents, way_publish_in_batch,
	way_mkdir,   way_rename,       way_announce,
};

static void hold(void)
{
	held = raw_mkdir(&a, MC_ROOT_ID, "held");
	put_u64(&a.out, MC_ROOT_ID);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	elsewhere = raw_mkdir(&b, MC_ROOT_ID, "elsewhere");
	raw_put(&b, elsewhere, "key");
	fresh = raw_attr(b.next_id++, 1, 1);
	raw_quiet(&a, 50);
	while (!raw_quiet(&a, 20))
		ck_assert(raw_receive(&a));
	raw_forget_pushes(&a);
}

START_TEST(no_name_appears_before_the_grant_is_back)
{
	hold();
	uint64_t request = raw_send(&b, ways[_i]());

	ck_assert(raw_push(&a, MC_VERB_RECALL));
	ck_assert_uint_eq(get_u64(&a.in), held);
	/* It waits: nothing has happened yet. */
	ck_assert(raw_quiet(&b, 50));
	ck_assert_int_eq(raw_lookup(&a, held, "new").status, MC_NOT_FOUND);
	ck_assert_int_eq(raw_lookup(&a, elsewhere, "other").status, MC_NOT_FOUND);
	put_u64(&a.out, held);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	ck_assert_int_eq(raw_reply(&b, request), MC_OK);
	ck_assert_int_eq(raw_lookup(&a, held, "new").status, MC_OK);
	ck_assert_uint_eq(raw_stat_value(&a, "recalls"), 1);
}
END_TEST

START_TEST(the_end_of_the_holder_lets_the_request_go_on)
{
	hold();
	uint64_t request = raw_send(&b, way_publish());

	ck_assert(raw_push(&a, MC_VERB_RECALL));
	raw_close(&a);
	ck_assert_int_eq(raw_reply(&b, request), MC_OK);
	ck_assert_int_eq(raw_lookup(&b, held, "new").status, MC_OK);
}
END_TEST

START_TEST(the_end_of_the_asker_forgets_the_request)
{
	hold();
	raw_send(&b, way_publish());
	ck_assert(raw_push(&a, MC_VERB_RECALL));
	raw_close(&b);
	usleep(50000);
	put_u64(&a.out, held);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	ck_assert_int_eq(raw_lookup(&a, held, "new").status, MC_NOT_FOUND);
}
END_TEST

/* Its put is not done yet; to say that the object was removed would be wrong a moment later. */
START_TEST(who_asks_for_what_waits_is_answered_after_it)
{
	hold();
	uint64_t request = raw_send(&b, way_publish());

	uint64_t questions[2];
	for (int i = 0; i < 2; i++) {
		put_u16(&b.out, 1);
		put_string(&b.out, "held/new", 8);
		put_u8(&b.out, MC_REPLICA_PRIMARY);
		put_attr(&b.out, &fresh);
		questions[i] = raw_send(&b, MC_VERB_ANNOUNCE);
	}
	ck_assert(raw_push(&a, MC_VERB_RECALL));
	ck_assert(raw_quiet(&b, 50));
	put_u64(&a.out, held);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	ck_assert_int_eq(raw_reply(&b, request), MC_OK);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(raw_reply(&b, questions[i]), MC_OK);
		ck_assert_uint_eq(get_u16(&b.in), 1);
		ck_assert_int_eq(get_status(&b.in), MC_OK);
	}
}
END_TEST

/* None of them waits for the other. */
START_TEST(questions_that_wait_are_answered_in_their_order)
{
	uint64_t questions[2];

	hold();
	fresh.id = 1ull << 60; /* of another life */
	for (int i = 0; i < 2; i++) {
		put_u16(&b.out, 1);
		put_string(&b.out, "held/new", 8);
		put_u8(&b.out, MC_REPLICA_PRIMARY);
		put_attr(&b.out, &fresh);
		questions[i] = raw_send(&b, MC_VERB_ANNOUNCE);
	}
	ck_assert(raw_push(&a, MC_VERB_RECALL));
	put_u64(&a.out, held);
	ck_assert_int_eq(raw_call(&a, MC_VERB_RECALLED), MC_OK);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(raw_reply(&b, questions[i]), MC_OK);
}
END_TEST

START_TEST(replacing_a_name_that_is_there_needs_no_recall)
{
	hold();
	raw_put(&a, held, "key");
	ck_assert_int_eq(raw_publish(&b, held, "key", 0, &fresh), MC_OK);
	ck_assert_uint_eq(raw_stat_value(&b, "recalls"), 0);
}
END_TEST

START_TEST(the_holder_adds_names_without_a_recall)
{
	hold();
	raw_put(&a, held, "one");
	raw_mkdir(&a, held, "two");
	ck_assert_int_eq(raw_rename(&a, held, "one", held, "three", 0), MC_OK);
	ck_assert_uint_eq(raw_stat_value(&a, "recalls"), 0);
}
END_TEST

START_TEST(a_holder_that_does_not_answer_is_closed)
{
	struct mc_master *quick = raw_master("memory", 300);
	struct raw holder;
	struct raw asker;

	raw_node(&holder, mc_master_socket(quick), 1);
	raw_node(&asker, mc_master_socket(quick), 2);
	uint64_t dir = raw_mkdir(&holder, MC_ROOT_ID, "held");
	struct mc_attr attr = raw_attr(asker.next_id++, 1, 1);
	put_u64(&holder.out, MC_ROOT_ID);
	raw_call(&holder, MC_VERB_RECALLED);
	raw_publish_write(&asker, dir, "new", 0, &attr);
	uint64_t request = raw_send(&asker, MC_VERB_PUBLISH);
	/* It stays alive, but never says RECALLED. */
	for (int i = 0; i < 10; i++) {
		usleep(50000);
		put_u64(&holder.out, 1);
		put_u64(&holder.out, 1);
		put_u64(&holder.out, 1);
		uint8_t header[MC_FRAME_HEADER_SIZE];
		struct frame frame = {.verb = MC_VERB_HEARTBEAT, .size = 24, .request_id = 99};
		frame_encode(header, &frame);
		if (send(holder.fd, header, sizeof(header), MSG_NOSIGNAL) < 0 ||
		    send(holder.fd, holder.out.data, 24, MSG_NOSIGNAL) < 0)
			break;
		writer_reset(&holder.out);
		/* The asker lives as well. */
		raw_send(&asker, MC_VERB_STATFS);
	}
	bool answered = false;
	while (!answered && raw_receive(&asker))
		answered = asker.frame.request_id == request && asker.frame.kind == MC_FRAME_REPLY;
	ck_assert(answered);
	ck_assert_int_eq(asker.frame.status, MC_OK);
	while (raw_receive(&holder))
		;
	raw_close(&holder);
	raw_close(&asker);
	mc_master_stop(quick);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_miss_grants_a_directory_once);
	tcase_add_test(tc, a_directory_that_others_add_to_is_not_granted);
	tcase_add_test(tc, a_made_directory_is_granted_to_its_maker);
	tcase_add_test(tc, a_grant_given_back_unasked_can_be_had_again);
	tcase_add_loop_test(tc, no_name_appears_before_the_grant_is_back, 0,
			    sizeof(ways) / sizeof(ways[0]));
	tcase_add_test(tc, the_end_of_the_holder_lets_the_request_go_on);
	tcase_add_test(tc, the_end_of_the_asker_forgets_the_request);
	tcase_add_test(tc, who_asks_for_what_waits_is_answered_after_it);
	tcase_add_test(tc, questions_that_wait_are_answered_in_their_order);
	tcase_add_test(tc, replacing_a_name_that_is_there_needs_no_recall);
	tcase_add_test(tc, the_holder_adds_names_without_a_recall);
	tcase_add_test(tc, a_holder_that_does_not_answer_is_closed);
}

int main(void)
{
	return raw_run("grant", add, setup, teardown);
}
