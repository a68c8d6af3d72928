/* Puts whose answer does not come: they are made, or they are not, and nothing else. */
#include "tests/unit/node/doubtful.h"

#define DOUBT_MS 1500 /* of the test that waits for it: an answer has not come */

/* -- ways to put "key" -- */

static enum mc_status put_by_close(size_t size, unsigned number)
{
	return try_put(writer, "key", size, number);
}

static enum mc_status put_over(uint32_t flags, size_t size, unsigned number)
{
	struct object *object;
	enum mc_status status = MC_STALE;

	while (status == MC_STALE) { /* once: what stands in for it is found then */
		EVENTUALLY(lookup(writer, "key", &object) == MC_OK);
		status = open_object(writer, object, flags);
		if (status)
			cluster_forget(writer, object);
	}
	ck_assert_int_eq(status, MC_OK);
	write_bytes(writer, object, size, number);
	status = flush(writer, object);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	return status;
}

static enum mc_status put_by_truncation(size_t size, unsigned number)
{
	return put_over(NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE, size, number);
}

static enum mc_status put_in_place(size_t size, unsigned number)
{
	return put_over(NODE_OPEN_WRITE, size, number);
}

static const struct {
	enum mc_status (*put)(size_t size, unsigned number);
	bool replaces;
} ways[] = {{put_by_close, false},
	    {put_by_rename, false},
	    {put_by_rename, true},
	    {put_by_truncation, true},
	    {put_in_place, true}};

static void put_first(int way)
{
	if (ways[way].replaces)
		EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
}

START_TEST(a_put_that_the_master_has_stays)
{
	begin();
	put_first(_i);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	ck_assert_int_eq(ways[_i].put(100, 2), MC_TIMEOUT);
	EVENTUALLY(reads(b, "key", 100, 2));
	EVENTUALLY(reads(writer, "key", 100, 2));
	ck_assert(absent(writer, "key.tmp"));
	EVENTUALLY(local(writer) == 1);
	between_let_go(&between);
	EVENTUALLY(put_by_rename(100, 3) == MC_OK);
	EVENTUALLY(reads(b, "key", 100, 3));
	end();
}
END_TEST

START_TEST(a_put_that_the_master_has_not_leaves_what_was_there)
{
	begin();
	put_first(_i);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	ck_assert_int_eq(ways[_i].put(100, 2), MC_TIMEOUT);
	/* What is changed in place is what there is; it is not lost. */
	bool in_place = ways[_i].put == put_in_place;
	if (ways[_i].replaces) {
		EVENTUALLY(reads(b, "key", 100, in_place ? 2 : 1));
		EVENTUALLY(reads(writer, "key", 100, in_place ? 2 : 1));
	} else {
		EVENTUALLY(absent(b, "key"));
		EVENTUALLY(absent(writer, "key"));
	}
	between_let_go(&between);
	EVENTUALLY(put_by_rename(100, 3) == MC_OK);
	EVENTUALLY(reads(b, "key", 100, 3));
	EVENTUALLY(local(writer) == 1);
	end();
}
END_TEST

/* -- while it is in doubt -- */

/* The put has reached the master or not, its writer knows nothing, and can't ask. */
static void put_in_doubt(int way, enum between_way lost)
{
	put_first(way);
	between_do(&between, BETWEEN_TIME_OUT, lost, MC_VERB_PUBLISH);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	ck_assert_int_eq(ways[way].put(100, 2), MC_TIMEOUT);
	EVENTUALLY(between_kept(&between) >= 2);
}

START_TEST(what_is_looked_up_before_the_answer_is_not_withdrawn)
{
	struct node_rename how = {MC_ROOT_ID, "key.tmp", MC_ROOT_ID, "key", false, TID};
	struct object *object;
	struct turn turn;

	timeout_ms = DOUBT_MS;
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	object = create(writer, "key.tmp");
	write_bytes(writer, object, 200, 2);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	between_do(&between, BETWEEN_LOSE, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	turn_init(&turn, writer);
	node_rename(writer, &how, turn_done, &turn);
	EVENTUALLY(size_of(b, "key") == 200);
	/* Its own lookup goes past its memory, as after an invalidation. */
	struct turn own;
	turn_init(&own, writer);
	node_lookup(writer, MC_ROOT_ID, "key", turn_done, &own);
	(void)turn_end(&own, NULL);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_TIMEOUT);
	between_let_go(&between);
	EVENTUALLY(reads(b, "key", 200, 2));
	EVENTUALLY(reads(writer, "key", 200, 2));
	EVENTUALLY(local(writer) == 1);
	end();
}
END_TEST

static enum mc_status open_staging(void)
{
	struct object *object;
	enum mc_status status = lookup(writer, "key.tmp", &object);

	if (status)
		return status;
	status = open_object(writer, object, NODE_OPEN_WRITE | NODE_OPEN_TRUNCATE);
	if (!status)
		node_release(writer, object, true);
	cluster_forget(writer, object);
	return status;
}

static enum mc_status rename_staging(void)
{
	return rename_name(writer, "key.tmp", "key", false);
}

static enum mc_status unlink_staging(void)
{
	return unlink_name(writer, "key.tmp");
}

static enum mc_status (*const calls[])(void) = {open_staging, rename_staging, unlink_staging};

static bool done_at_last(enum mc_status (*call)(void))
{
	enum mc_status status = call();

	return status == MC_OK || (status == MC_NOT_FOUND && call != open_staging);
}

/* Not before the master has said is there a draft that can be changed. */
START_TEST(what_changes_a_draft_in_doubt_waits)
{
	enum mc_status (*call)(void) = calls[_i];
	pthread_t thread;
	void *status;

	begin();
	put_in_doubt(2, BETWEEN_REQUESTS);
	between_do(&between, BETWEEN_PASS, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_call, &call), 0);
	between_let_go(&between);
	pthread_join(thread, &status);
	/* A try to ask may have ended just before, or what it asked for was done unanswered. */
	if ((intptr_t)status == MC_TIMEOUT)
		EVENTUALLY(done_at_last(call));
	else
		ck_assert_int_eq((intptr_t)status, MC_OK);
	EVENTUALLY(reads(b, "key", 100, call == rename_staging ? 2 : 1));
	end();
}
END_TEST

/* -- while it is on offer -- */

/* Put "key" as far as its answer, which is held; it stays open. */
static struct object *offer_begin(struct turn *content)
{
	struct object *object = create(writer, "key");

	write_bytes(writer, object, 100, 1);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(content, writer);
	node_flush(writer, object, turn_done, content);
	EVENTUALLY(between_kept(&between) == 1);
	return object;
}

static void rename_begin(const char *name, const char *new_name, bool noreplace, struct turn *turn)
{
	struct node_rename how = {MC_ROOT_ID, name, MC_ROOT_ID, new_name, noreplace, TID};

	turn_init(turn, writer);
	node_rename(writer, &how, turn_done, turn);
}

/* It will be refused, and is a draft again then. */
START_TEST(what_changes_a_draft_on_offer_waits)
{
	struct turn refused, turn;

	begin();
	put(writer, "key.tmp", 100, 2);
	put(b, "key", 100, 1);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	rename_begin("key.tmp", "key", true, &refused);
	EVENTUALLY(between_kept(&between) == 1);
	if (_i == 0) {
		rename_begin("key.tmp", "other", false, &turn);
	} else {
		turn_init(&turn, writer);
		node_unlink(writer, MC_ROOT_ID, "key.tmp", turn_done, &turn);
	}
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&refused, NULL), MC_EXISTS);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert(absent(writer, "key.tmp"));
	ck_assert(_i == 0 ? reads(b, "other", 100, 2) : absent(b, "other"));
	ck_assert(reads(b, "key", 100, 1));
	end();
}
END_TEST

/* What a close is publishing is renamed then, and published once. */
START_TEST(what_is_published_under_its_name_is_renamed_after_it)
{
	struct turn content, turn;

	begin();
	struct object *object = offer_begin(&content);
	rename_begin("key", "other", false, &turn);
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&content, NULL), MC_OK);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert_uint_eq(counted(writer, COUNTER_PUBLISHES), 1);
	ck_assert(absent(b, "key"));
	ck_assert(reads(b, "other", 100, 1));
	node_release(writer, object, true);
	cluster_forget(writer, object);
	end();
}
END_TEST

/* -- what is refused -- */

/* It is changed in its file: nobody else can read it before it is published. */
START_TEST(what_was_changed_in_place_and_refused_is_published_later)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	between_do(&between, BETWEEN_REFUSE, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	ck_assert_int_eq(put_in_place(100, 2), MC_READ_ONLY);
	EVENTUALLY(between_kept(&between) >= 3); /* at close, and twice since */
	between_do(&between, BETWEEN_PASS, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	EVENTUALLY(reads(b, "key", 100, 2));
	ck_assert(reads(writer, "key", 100, 2));
	end();
}
END_TEST

/* -- when it is over -- */

START_TEST(what_would_change_a_put_finds_its_name_gone)
{
	begin();
	put_in_doubt(2, BETWEEN_REPLIES);
	between_let_go(&between);
	EVENTUALLY(absent(writer, "key.tmp"));
	ck_assert_int_ne(calls[_i](), MC_OK);
	EVENTUALLY(reads(b, "key", 100, 2));
	end();
}
END_TEST

/* -- what could not even be sent -- */

#define NOBODY "127.0.0.1:1"

/* Also the last try, of the release. */
static bool closed(const char *name)
{
	struct object *object;

	if (lookup(writer, name, &object) != MC_OK)
		return false;
	node_lock(writer);
	bool closed = object->writers == 0;
	node_unlock(writer);
	cluster_forget(writer, object);
	return closed;
}

START_TEST(what_could_not_be_published_in_place_is_when_the_master_is_back)
{
	timeout_ms = DOUBT_MS;
	begin();
	struct node *c =
		cluster_start(&(struct cluster_node){.transport = "tcp", .timeout_ms = DOUBT_MS});
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	between_cut(&between, NOBODY);
	EVENTUALLY(!node_connected(writer));
	ck_assert_int_eq(put_in_place(100, 2), MC_READ_ONLY);
	EVENTUALLY(closed("key"));
	between_cut(&between, mc_master_address(master));
	EVENTUALLY(reads(c, "key", 100, 2));
	EVENTUALLY(put_in_place(100, 3) == MC_OK);
	EVENTUALLY(reads(c, "key", 100, 3));
	node_close(c, true);
	end();
}
END_TEST

START_TEST(what_could_not_be_published_in_place_is_the_next_version_after_a_restart)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	ck_assert(reads(b, "key", 100, 1));
	EVENTUALLY(stat_of_node(writer, "tcp_holds") == 0);
	between_cut(&between, NOBODY);
	EVENTUALLY(!node_connected(writer));
	ck_assert_int_eq(put_in_place(_i ? 200 : 100, 2), MC_READ_ONLY);
	EVENTUALLY(closed("key"));
	node_close(writer, false);
	between_cut(&between, mc_master_address(master));
	start();
	EVENTUALLY(reads(b, "key", _i ? 200 : 100, 2));
	ck_assert(reads(writer, "key", _i ? 200 : 100, 2));
	end();
}
END_TEST

/* -- another connection, another life -- */

static struct object *open_to_write(struct node *node, const char *name, unsigned number)
{
	struct object *object;

	ck_assert_int_eq(lookup(node, name, &object), MC_OK);
	ck_assert_int_eq(open_object(node, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(node, object, 100, number);
	return object;
}

/* Both change it in place; the answer to the first is lost, and the second has come meanwhile. */
START_TEST(a_change_that_is_sent_again_does_not_undo_a_newer_one)
{
	struct turn turn;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	struct object *theirs = open_to_write(b, "key", 3);
	EVENTUALLY(stat_of_node(writer, "tcp_holds") == 0);
	struct object *ours = open_to_write(writer, "key", 2);
	between_do(&between, BETWEEN_LOSE, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(&turn, writer);
	node_flush(writer, ours, turn_done, &turn);
	EVENTUALLY(between_kept(&between) == 1);
	ck_assert_int_eq(flush(b, theirs), MC_OK);
	between_let_go(&between);
	between_cut(&between, NULL);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_TIMEOUT);
	node_release(writer, ours, true);
	cluster_forget(writer, ours);
	node_release(b, theirs, true);
	cluster_forget(b, theirs);
	EVENTUALLY(reads(writer, "key", 100, 3));
	ck_assert(reads(b, "key", 100, 3));
	end();
}
END_TEST

START_TEST(an_announcement_tells_of_what_is_in_doubt)
{
	begin();
	put_in_doubt(_i, BETWEEN_REPLIES);
	between_let_go(&between);
	between_cut(&between, NULL);
	EVENTUALLY(reads(b, "key", 100, 2));
	EVENTUALLY(reads(writer, "key", 100, 2));
	EVENTUALLY(local(writer) == 1);
	end();
}
END_TEST

START_TEST(a_restart_in_doubt_loses_nothing)
{
	begin();
	put_in_doubt(_i, BETWEEN_REPLIES);
	node_close(writer, false);
	between_let_go(&between);
	start();
	EVENTUALLY(reads(b, "key", 100, 2));
	EVENTUALLY(reads(writer, "key", 100, 2));
	EVENTUALLY(local(writer) == 1);
	end();
}
END_TEST

/* Its mode is changed and its content; the answers come together, the second version is here. */
START_TEST(a_restart_after_a_change_of_both_loses_nothing)
{
	struct mc_attr attr = {.mode = S_IFREG | 0600};
	struct object *object;
	struct turn mode, content;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	ck_assert_int_eq(lookup(writer, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(writer, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(writer, object, 100, 2);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_SETATTR);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(&mode, writer);
	turn_init(&content, writer);
	node_setattr(writer, object, MC_SET_MODE, &attr, turn_done, &mode);
	EVENTUALLY(between_kept(&between) == 1);
	node_flush(writer, object, turn_done, &content);
	EVENTUALLY(between_kept(&between) == 2);
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&mode, NULL), MC_OK);
	ck_assert_int_eq(turn_end(&content, NULL), MC_OK);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	node_close(writer, false);
	start();
	EVENTUALLY(reads(b, "key", 100, 2));
	ck_assert_uint_eq(local(writer), 1);
	end();
}
END_TEST

START_TEST(a_restart_in_doubt_brings_nothing_back)
{
	begin();
	put_in_doubt(_i, BETWEEN_REPLIES);
	ck_assert_int_eq(unlink_name(b, "key"), MC_OK);
	node_close(writer, false);
	between_let_go(&between);
	start();
	EVENTUALLY(local(writer) == 0);
	ck_assert(absent(b, "key"));
	end();
}
END_TEST

START_TEST(what_may_replace_nothing_does_not_later)
{
	struct object *object;

	begin();
	object = create(writer, "key.tmp");
	write_bytes(writer, object, 100, 2);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	ck_assert_int_eq(rename_name(writer, "key.tmp", "key", true), MC_TIMEOUT);
	put(b, "key", 100, 1);
	between_let_go(&between);
	EVENTUALLY(rename_name(writer, "key.tmp", "key", true) == MC_EXISTS);
	ck_assert(reads(b, "key", 100, 1));
	end();
}
END_TEST

static bool has_mode(struct node *node, const char *name, uint32_t mode)
{
	struct object *object;

	if (lookup(node, name, &object) != MC_OK)
		return false;
	node_lock(node);
	bool same = object->attr.mode == (S_IFREG | mode);
	node_unlock(node);
	cluster_forget(node, object);
	return same;
}

/* The draft is offered; whether it is answered at once or when it is offered again. */
START_TEST(a_mode_that_is_set_while_a_put_is_answered_is_kept)
{
	struct mc_attr attr = {.mode = S_IFREG | 0600};
	struct turn mode, content;

	begin();
	struct object *object = offer_begin(&content);
	turn_init(&mode, writer);
	node_setattr(writer, object, MC_SET_MODE, &attr, turn_done, &mode);
	ck_assert_int_eq(turn_end(&mode, NULL), MC_OK);
	if (_i == 1) /* and the connection goes */
		between_cut(&between, NULL);
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&content, NULL), MC_OK);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	EVENTUALLY(has_mode(b, "key", 0600));
	ck_assert(has_mode(writer, "key", 0600));
	ck_assert(reads(b, "key", 100, 1));
	end();
}
END_TEST

static bool has_flags(struct node *node, const char *name, uint32_t flags)
{
	struct object *object;

	if (lookup(node, name, &object) != MC_OK)
		return false;
	node_lock(node);
	bool same = (object->attr.flags & (MC_ATTR_PINNED | MC_ATTR_REPLICAS)) == flags;
	node_unlock(node);
	cluster_forget(node, object);
	return same;
}

/* The same of a pin and of how many copies are wanted, set or taken back. */
START_TEST(a_pin_that_is_set_while_a_put_is_answered_is_kept)
{
	const uint32_t flags = MC_ATTR_PINNED | MC_ATTR_REPLICAS_PUT(2u);
	struct mc_attr before = {.flags = _i & 2 ? flags : 0},
		       attr = {.flags = flags ^ before.flags};
	struct turn pin, content;
	struct object *object;

	begin();
	object = create(writer, "key");
	write_bytes(writer, object, 100, 1);
	turn_init(&pin, writer);
	node_setattr(writer, object, MC_SET_PINNED | MC_SET_REPLICAS, &before, turn_done, &pin);
	ck_assert_int_eq(turn_end(&pin, NULL), MC_OK);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(&content, writer);
	node_flush(writer, object, turn_done, &content);
	EVENTUALLY(between_kept(&between) == 1);
	turn_init(&pin, writer);
	node_setattr(writer, object, MC_SET_PINNED | MC_SET_REPLICAS, &attr, turn_done, &pin);
	ck_assert_int_eq(turn_end(&pin, NULL), MC_OK);
	if (_i & 1) /* and the connection goes */
		between_cut(&between, NULL);
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&content, NULL), MC_OK);
	ck_assert(has_flags(writer, "key", attr.flags));
	node_release(writer, object, true);
	cluster_forget(writer, object);
	EVENTUALLY(has_flags(a, "key", attr.flags));
	ck_assert(has_flags(writer, "key", attr.flags));
	end();
}
END_TEST

static bool is_claimed(const struct object *object)
{
	node_lock(writer);
	bool claimed = object_is(object, OBJECT_CLAIMED);
	node_unlock(writer);
	return claimed;
}

/* As when the process that closes it is killed: nobody may take its file off the shelf until then.
 */
START_TEST(what_is_released_before_its_publish_is_answered_can_be_taken_after_it)
{
	struct object *object;
	struct turn turn;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	ck_assert_int_eq(lookup(writer, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(writer, object, NODE_OPEN_WRITE), MC_OK);
	write_bytes(writer, object, 100, 2);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	turn_init(&turn, writer);
	node_flush(writer, object, turn_done, &turn);
	node_release(writer, object, true);
	ck_assert(is_claimed(object));
	between_let_go(&between);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	EVENTUALLY(!is_claimed(object));
	cluster_forget(writer, object);
	end();
}
END_TEST

/* -- a master that was not told yet -- */

static struct mc_master *other_master(void)
{
	struct mc_master *before = master;

	cluster_master();
	struct mc_master *other = master;
	master = before;
	return other;
}

/* The same with another master, which knows nothing, once the writer is started anew. */
static struct mc_master *restart_elsewhere(void)
{
	struct mc_master *other = other_master();

	node_close(writer, false);
	between_let_go(&between);
	between_cut(&between, mc_master_address(other));
	start();
	return other;
}

static enum mc_status put_where_nothing_is(void)
{
	struct object *object = create(writer, "key.tmp");

	write_bytes(writer, object, 100, 2);
	node_release(writer, object, true);
	cluster_forget(writer, object);
	return rename_name(writer, "key.tmp", "key", true);
}

/* Another may have won the name, which that master has not heard of yet. */
START_TEST(what_may_replace_nothing_is_not_taken_back_unanswered)
{
	begin();
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REQUESTS, MC_VERB_PUBLISH);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	ck_assert_int_eq(put_where_nothing_is(), MC_TIMEOUT);
	struct mc_master *other = restart_elsewhere();
	EVENTUALLY(local(writer) == 0);
	EVENTUALLY(absent(writer, "key"));
	end();
	mc_master_stop(other);
}
END_TEST

START_TEST(what_may_replace_nothing_is_taken_back_when_it_was_answered)
{
	begin();
	enum mc_status status = put_where_nothing_is();
	/* On a busy machine it may be in doubt for a moment. */
	ck_assert_msg(status == MC_OK || status == MC_TIMEOUT, "%s", mc_status_text(status));
	EVENTUALLY(local(writer) == 1);
	struct mc_master *other = restart_elsewhere();
	EVENTUALLY(reads(writer, "key", 100, 2));
	end();
	mc_master_stop(other);
}
END_TEST

/* The master had it, and said so to the inventory. */
START_TEST(what_may_replace_nothing_is_taken_back_when_it_was_announced)
{
	begin();
	between_do(&between, BETWEEN_TIME_OUT, BETWEEN_REPLIES, MC_VERB_PUBLISH);
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	ck_assert_int_eq(put_where_nothing_is(), MC_TIMEOUT);
	node_close(writer, false);
	between_let_go(&between);
	start();
	EVENTUALLY(stat_of_node(writer, "rpc_announced") > 0);
	EVENTUALLY(reads(writer, "key", 100, 2));
	struct mc_master *other = restart_elsewhere();
	EVENTUALLY(reads(writer, "key", 100, 2));
	end();
	mc_master_stop(other);
}
END_TEST

/* Another master, which knows nothing, and hears what there is only later. */
START_TEST(a_name_of_our_own_is_found_before_the_master_knows_it)
{
	struct turn turn;

	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	struct mc_master *other = other_master();
	between_do(&between, BETWEEN_HOLD, BETWEEN_REQUESTS, MC_VERB_ANNOUNCE);
	between_cut(&between, mc_master_address(other));
	EVENTUALLY(between_kept(&between) > 0);
	turn_init(&turn, writer);
	node_lookup(writer, MC_ROOT_ID, "key", turn_done, &turn);
	between_let_go(&between);
	enum mc_status status = turn_end(&turn, NULL);
	ck_assert_msg(status == MC_OK || status == MC_TIMEOUT, "%s", mc_status_text(status));
	EVENTUALLY(reads(writer, "key", 100, 1));
	end();
	mc_master_stop(other);
}
END_TEST

START_TEST(a_name_that_nobody_has_is_missing_when_the_master_was_told)
{
	begin();
	EVENTUALLY(try_put(writer, "key", 100, 1) == MC_OK);
	struct mc_master *other = other_master();
	between_cut(&between, mc_master_address(other));
	EVENTUALLY(absent(writer, "missing"));
	ck_assert(reads(writer, "key", 100, 1));
	end();
	mc_master_stop(other);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_put_that_the_master_has_stays, 0, ROWS(ways));
	tcase_add_loop_test(tc, a_put_that_the_master_has_not_leaves_what_was_there, 0, ROWS(ways));
	tcase_add_test(tc, what_is_looked_up_before_the_answer_is_not_withdrawn);
	tcase_add_loop_test(tc, what_changes_a_draft_in_doubt_waits, 0, ROWS(calls));
	tcase_add_loop_test(tc, what_changes_a_draft_on_offer_waits, 0, 2);
	tcase_add_test(tc, what_was_changed_in_place_and_refused_is_published_later);
	tcase_add_test(tc, what_is_published_under_its_name_is_renamed_after_it);
	tcase_add_loop_test(tc, what_would_change_a_put_finds_its_name_gone, 0, ROWS(calls));
	tcase_add_test(tc, what_could_not_be_published_in_place_is_when_the_master_is_back);
	tcase_add_loop_test(
		tc, what_could_not_be_published_in_place_is_the_next_version_after_a_restart, 0, 2);
	tcase_add_test(tc, a_change_that_is_sent_again_does_not_undo_a_newer_one);
	tcase_add_loop_test(tc, an_announcement_tells_of_what_is_in_doubt, 0, ROWS(ways));
	tcase_add_loop_test(tc, a_restart_in_doubt_loses_nothing, 0, ROWS(ways));
	tcase_add_test(tc, a_restart_after_a_change_of_both_loses_nothing);
	tcase_add_loop_test(tc, a_restart_in_doubt_brings_nothing_back, 0, ROWS(ways));
	tcase_add_test(tc, what_may_replace_nothing_does_not_later);
	tcase_add_loop_test(tc, a_mode_that_is_set_while_a_put_is_answered_is_kept, 0, 2);
	tcase_add_loop_test(tc, a_pin_that_is_set_while_a_put_is_answered_is_kept, 0, 4);
	tcase_add_test(tc, what_is_released_before_its_publish_is_answered_can_be_taken_after_it);
	tcase_add_test(tc, what_may_replace_nothing_is_not_taken_back_unanswered);
	tcase_add_test(tc, what_may_replace_nothing_is_taken_back_when_it_was_answered);
	tcase_add_test(tc, what_may_replace_nothing_is_taken_back_when_it_was_announced);
	tcase_add_test(tc, a_name_of_our_own_is_found_before_the_master_knows_it);
	tcase_add_test(tc, a_name_that_nobody_has_is_missing_when_the_master_was_told);
}

int main(void)
{
	return cluster_run("doubt", add);
}
