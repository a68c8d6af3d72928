/* Names that a node asked to be taken, and has no answer yet: who has them, and for how long. */
#include "tests/unit/node/doubtful.h"

/* -- a name that means another object than is known here -- */

static enum mc_status rename_other(void)
{
	return rename_name(writer, "other", "key", false);
}

static enum mc_status put_other(void)
{
	return put_by_rename(100, 2);
}

static enum mc_status (*const replacing[])(void) = {rename_other, put_other};

/* What it is known to replace has been renamed; the word of that is late. */
START_TEST(what_was_renamed_before_it_could_be_replaced_stays)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(try_put(writer, "other", 100, 2) == MC_OK);
	between_do(&between, BETWEEN_LOSE, BETWEEN_REPLIES, MC_VERB_INVALIDATE);
	EVENTUALLY(look(b, "key") == MC_OK);
	ck_assert_int_eq(rename_name(b, "key", "moved", false), MC_OK);
	uint64_t asked = stat_of_node(writer, "rpc_announce");
	ck_assert_int_eq(replacing[_i](), MC_OK);
	EVENTUALLY(stat_of_node(writer, "rpc_announce") > asked);
	between_let_go(&between);
	EVENTUALLY(reads(writer, "moved", 100, 1));
	ck_assert(reads(b, "moved", 100, 1));
	ck_assert(reads(b, "key", 100, 2));
	end();
}
END_TEST

/* The same of what is known to be removed: the master removes what has the name. */
START_TEST(what_was_renamed_before_it_could_be_removed_stays)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(try_put(writer, "other", 100, 2) == MC_OK);
	between_do(&between, BETWEEN_LOSE, BETWEEN_REPLIES, MC_VERB_INVALIDATE);
	EVENTUALLY(look(b, "other") == MC_OK);
	EVENTUALLY(look(b, "key") == MC_OK);
	ck_assert_int_eq(rename_name(b, "key", "moved", false), MC_OK);
	ck_assert_int_eq(rename_name(b, "other", "key", false), MC_OK);
	ck_assert_int_eq(unlink_name(writer, "key"), MC_OK);
	between_let_go(&between);
	EVENTUALLY(reads(writer, "moved", 100, 1));
	ck_assert(reads(b, "moved", 100, 1));
	EVENTUALLY(absent(b, "key")); /* told by the master, behind the answer to the other */
	EVENTUALLY(local(writer) == 1);
	end();
}
END_TEST

/* Its answer is lost, and the name is taken again before it is sent once more. */
START_TEST(a_remove_that_is_sent_again_frees_what_it_removed)
{
	struct turn turn;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	between_do(&between, BETWEEN_LOSE, BETWEEN_REPLIES, MC_VERB_REMOVE);
	turn_init(&turn, writer);
	node_unlink(writer, MC_ROOT_ID, "key", turn_done, &turn);
	EVENTUALLY(between_kept(&between) > 0);
	put(b, "key", 100, 2);
	between_let_go(&between);
	between_cut(&between, NULL);
	enum mc_status status = turn_end(&turn, NULL);
	ck_assert_msg(status == MC_OK || status == MC_TIMEOUT, "%s", mc_status_text(status));
	EVENTUALLY(local(writer) == 0);
	EVENTUALLY(reads(writer, "key", 100, 2));
	ck_assert(reads(b, "key", 100, 2));
	end();
}
END_TEST

/* -- a close while the name is being taken -- */

static enum mc_status remove_key(void)
{
	return unlink_name(writer, "key");
}

static enum mc_status (*const taking[])(void) = {remove_key, rename_other, put_other};

/* It was done, and the answer is late: a close of what had the name comes after it. */
START_TEST(a_close_does_not_take_back_the_name_that_is_being_taken)
{
	enum mc_status (*call)(void) = taking[_i];
	struct object *object;
	struct turn turn;
	pthread_t thread;
	void *status;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(try_put(writer, "other", 100, 2) == MC_OK);
	ck_assert_int_eq(lookup(writer, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(writer, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(writer, object, 100, 3);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_REMOVE);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_RENAME);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_call, &call), 0);
	EVENTUALLY(between_kept(&between) == 1);
	turn_init(&turn, writer);
	node_flush(writer, object, turn_done, &turn);
	EVENTUALLY(between_kept(&between) == 2);
	between_let_go(&between);
	pthread_join(thread, &status);
	ck_assert_int_eq((intptr_t)status, MC_OK);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	for (int i = 0; i < 2; i++) {
		struct node *node = i ? writer : b;
		EVENTUALLY(call == remove_key ? absent(node, "key") : reads(node, "key", 100, 2));
	}
	end();
}
END_TEST

/* It is asked for twice; the answer that comes first says that nothing may have been done. */
START_TEST(a_close_does_not_take_back_a_name_that_is_being_taken_twice)
{
	struct turn removal, turn;
	struct object *object;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	ck_assert_int_eq(lookup(writer, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(writer, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(writer, object, 100, 3);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_REMOVE);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(&removal, writer);
	node_unlink(writer, MC_ROOT_ID, "key", turn_done, &removal);
	EVENTUALLY(between_kept(&between) == 1);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REQUESTS, MC_VERB_REMOVE);
	ck_assert_int_eq(remove_key(), MC_TIMEOUT);
	turn_init(&turn, writer);
	node_flush(writer, object, turn_done, &turn);
	EVENTUALLY(between_kept(&between) == 3);
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&removal, NULL), MC_OK);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	EVENTUALLY(absent(b, "key"));
	EVENTUALLY(absent(writer, "key"));
	end();
}
END_TEST

START_TEST(what_was_replaced_goes)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(try_put(writer, "other", 100, 2) == MC_OK);
	ck_assert_int_eq(replacing[_i](), MC_OK);
	EVENTUALLY(local(writer) == (replacing[_i] == rename_other ? 1 : 2));
	end();
}
END_TEST

/* -- a removal or rename that is not answered -- */

static enum mc_status (*const removing[])(void) = {remove_key, rename_other};

/* Whether it was done or not, and whether the first try to ask is answered or not. */
START_TEST(what_a_lost_answer_was_about_goes_if_it_is_gone)
{
	enum mc_status (*call)(void) = removing[_i / 4];
	enum mc_verb verb = call == remove_key ? MC_VERB_REMOVE : MC_VERB_RENAME;
	bool done = _i & 1, unheard = _i & 2, removed = done && call == remove_key;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(try_put(writer, "other", 100, 2) == MC_OK);
	between_do(&between, BETWEEN_TIME_OUT, done ? BETWEEN_REPLIES : BETWEEN_REQUESTS, verb);
	if (unheard)
		between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_ANNOUNCE);
	ck_assert_int_eq(call(), MC_TIMEOUT);
	EVENTUALLY(!unheard || between_kept(&between) >= 2);
	between_let_go(&between);
	if (done)
		EVENTUALLY(local(writer) == 1);
	usleep(600000); /* what stays would be gone by then */
	ck_assert_uint_eq(local(writer), done ? 1 : 2);
	if (removed)
		ck_assert(absent(b, "key"));
	else
		ck_assert(reads(b, "key", 100, done ? 2 : 1));
	if (!done || removed)
		ck_assert(reads(writer, "other", 100, 2));
	end();
}
END_TEST

static enum mc_status make_directory(void)
{
	struct node_create create = {.parent = MC_ROOT_ID, .name = "new", .mode = S_IFDIR | 0755};
	struct turn turn;

	turn_init(&turn, writer);
	node_mkdir(writer, &create, turn_done, &turn);
	return turn_end(&turn, NULL);
}

static enum mc_status rename_to_new(void)
{
	return rename_name(writer, "key", "new", false);
}

static enum mc_status (*const naming[])(void) = {make_directory, rename_to_new};

/* In a directory of which this node concludes what is not there. */
START_TEST(a_name_that_may_be_there_is_asked_for)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	EVENTUALLY(absent(writer, "new") && counted(writer, COUNTER_LOOKUP_ABSENT) > 0);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_MKDIR);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_RENAME);
	ck_assert_int_eq(naming[_i](), MC_TIMEOUT);
	between_let_go(&between);
	ck_assert_int_eq(look(writer, "new"), MC_OK);
	ck_assert(absent(writer, "key") == (naming[_i] == rename_to_new));
	end();
}
END_TEST

START_TEST(a_directory_that_may_be_gone_is_asked_for)
{
	struct turn turn;

	begin();
	uint64_t directory = make_directory_in(writer, MC_ROOT_ID, "dir");
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_RMDIR);
	turn_init(&turn, writer);
	node_rmdir(writer, MC_ROOT_ID, "dir", turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_TIMEOUT);
	between_let_go(&between);
	ck_assert(absent(writer, "dir"));
	ck_assert_uint_ne(make_directory_in(writer, MC_ROOT_ID, "dir"), directory);
	end();
}
END_TEST

static bool creates(struct node *node, const char *name)
{
	struct object *object;

	if (create_in(node, MC_ROOT_ID, name, true, &object) != MC_OK)
		return false;
	node_release(node, object, true);
	cluster_forget(node, object);
	return true;
}

/* Nobody has the lock file then: it must not be taken for ever. */
START_TEST(a_name_whose_reservation_was_not_answered_is_free)
{
	struct object *object;

	begin();
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_RESERVE);
	ck_assert_int_eq(create_in(writer, MC_ROOT_ID, "key", true, &object), MC_TIMEOUT);
	between_let_go(&between);
	EVENTUALLY(creates(b, "key"));
	end();
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, what_was_renamed_before_it_could_be_replaced_stays, 0,
			    ROWS(replacing));
	tcase_add_test(tc, what_was_renamed_before_it_could_be_removed_stays);
	tcase_add_test(tc, a_remove_that_is_sent_again_frees_what_it_removed);
	tcase_add_loop_test(tc, a_close_does_not_take_back_the_name_that_is_being_taken, 0,
			    ROWS(taking));
	tcase_add_test(tc, a_close_does_not_take_back_a_name_that_is_being_taken_twice);
	tcase_add_loop_test(tc, what_was_replaced_goes, 0, ROWS(replacing));
	tcase_add_loop_test(tc, what_a_lost_answer_was_about_goes_if_it_is_gone, 0,
			    4 * ROWS(removing));
	tcase_add_loop_test(tc, a_name_that_may_be_there_is_asked_for, 0, ROWS(naming));
	tcase_add_test(tc, a_directory_that_may_be_gone_is_asked_for);
	tcase_add_test(tc, a_name_whose_reservation_was_not_answered_is_free);
}

int main(void)
{
	return cluster_run("taking", add);
}
