/* A pipelined connection to a master: answered, broken, and silent. */
#include "engine/base/attend.h"
#include "engine/base/cleanup.h"
#include "tests/unit/rpc/peer.h"

/* -- a connection that stands -- */

START_TEST(a_client_says_hello_and_is_welcomed)
{
	char text[128];

	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_accept(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 4711);
	ck_assert(!client_connected(client));
	peer_reply(&peer, peer.frame.request_id, MC_OK, 5);
	SEEN_WAIT(seen.welcomes == 1);
	ck_assert_uint_eq(seen.welcomed_with, 5);
	for (int i = 0; i < 1000 && !client_connected(client); i++)
		usleep(1000);
	ck_assert(client_connected(client));
	ck_assert_uint_eq(client_calls(client, MC_VERB_HELLO), 1);
	client_peer(client, text, sizeof(text));
	ck_assert_str_eq(text, address);
}
END_TEST

START_TEST(a_call_is_answered)
{
	struct answer answer = {0};

	connected();
	call(client, 42, 5000, &answer);
	peer_receive(&peer);
	ck_assert_uint_eq(peer.frame.kind, MC_FRAME_REQUEST);
	ck_assert_uint_eq(peer.frame.verb, MC_VERB_STATFS);
	ck_assert_uint_eq(get_u32(&peer.in), 42);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 43);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_OK);
	ck_assert_uint_eq(answer.value, 43);
	ck_assert(!answer.resent);
	ck_assert_uint_eq(client_calls(client, MC_VERB_STATFS), 1);
}
END_TEST

START_TEST(a_caller_that_attends_takes_the_answer_itself)
{
	int taken = 0;

	connected();
	/* Not when the client's thread is awake for something else just then. */
	for (uint32_t i = 0; i < 20 && !taken; i++) {
		struct answer answer = {0};
		attend_begin();
		call(client, i, 5000, &answer);
		peer_receive(&peer);
		peer_reply(&peer, peer.frame.request_id, MC_OK, 100 + i);
		usleep(20000); /* the client's thread is not woken by it */
		bool left = seen_get(&answer.count) == 0;
		attend_end();
		taken = left && seen_get(&answer.count) == 1;
		answer_wait(&answer);
		ck_assert_uint_eq(answer.value, 100 + i);
	}
	ck_assert(taken);
}
END_TEST

START_TEST(what_a_caller_attends_to_in_vain_comes_later)
{
	bool later = false;

	connected();
	/* As above: else the first is not attended to, and the second is. */
	for (uint32_t i = 0; i < 20 && !later; i++) {
		struct answer answer = {0}, other = {0};
		attend_begin();
		call(client, 1, 5000, &answer);
		attend_end();
		ck_assert_int_eq(seen_get(&answer.count), 0);
		attend_begin(); /* and is not tried again at once */
		call(client, 2, 5000, &other);
		for (uint32_t k = 0; k < 2; k++) {
			peer_receive(&peer);
			peer_reply(&peer, peer.frame.request_id, MC_OK, 10 + k);
		}
		usleep(20000);
		later = seen_get(&answer.count) == 1 && seen_get(&other.count) == 1;
		attend_end();
		answer_wait(&answer);
		answer_wait(&other);
		ck_assert_uint_eq(answer.value, 10);
		ck_assert_uint_eq(other.value, 11);
	}
	ck_assert(later);
}
END_TEST

START_TEST(others_are_answered_by_the_one_that_attends)
{
	struct answer mine = {0}, other = {0};

	connected();
	call(client, 1, 5000, &other);
	peer_receive(&peer);
	uint64_t id = peer.frame.request_id;
	attend_begin();
	call(client, 2, 5000, &mine);
	peer_receive(&peer);
	peer_reply(&peer, id, MC_OK, 5);
	peer_push(&peer, MC_VERB_INVALIDATE, 9);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 6);
	attend_end();
	answer_wait(&mine);
	answer_wait(&other);
	SEEN_WAIT(seen.push_count == 1);
}
END_TEST

START_TEST(a_connection_that_ends_while_it_is_attended_to_is_made_anew)
{
	struct answer answer = {0};

	connected();
	attend_begin();
	call(client, 7, 20000, &answer);
	peer_receive(&peer);
	peer_hang_up(&peer);
	attend_end();
	peer_welcome(&peer);
	peer_receive(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 7);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 8);
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 8);
	ck_assert(answer.resent);
}
END_TEST

START_TEST(a_call_without_a_body_is_answered)
{
	struct answer answer = {0};

	connected();
	client_call(client, MC_VERB_NODES, NULL, 5000, on_answer, &answer);
	peer_receive(&peer);
	ck_assert_uint_eq(peer.frame.size, 0);
	peer_reply(&peer, peer.frame.request_id, MC_EXISTS, 0);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_EXISTS);
}
END_TEST

START_TEST(replies_come_in_any_order)
{
	enum { COUNT = 100 };
	struct answer answers[COUNT] = {{0}};
	uint64_t ids[COUNT];

	connected();
	for (uint32_t i = 0; i < COUNT; i++)
		call(client, i, 5000, &answers[i]);
	for (uint32_t i = 0; i < COUNT; i++) {
		peer_receive(&peer);
		ck_assert_uint_eq(get_u32(&peer.in), i);
		ids[i] = peer.frame.request_id;
		for (uint32_t j = 0; j < i; j++)
			ck_assert_uint_ne(ids[j], ids[i]);
	}
	for (uint32_t i = COUNT; i-- > 0;)
		peer_reply(&peer, ids[i], MC_OK, 1000 + i);
	for (uint32_t i = 0; i < COUNT; i++) {
		answer_wait(&answers[i]);
		ck_assert_uint_eq(answers[i].value, 1000 + i);
	}
}
END_TEST

START_TEST(a_reply_to_nobody_is_ignored)
{
	struct answer answer = {0};

	connected();
	peer_reply(&peer, 123456, MC_OK, 1);
	peer_send(&peer, (struct frame){.kind = MC_FRAME_REQUEST, .verb = 1}, NULL, 0);
	call(client, 1, 5000, &answer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 2);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 3); /* twice */
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 2);
	ck_assert_int_eq(seen_get(&answer.count), 1);
	ck_assert_int_eq(seen_get(&seen.losses), 0);
}
END_TEST

START_TEST(large_bodies_arrive_whole_both_ways)
{
	enum { SIZE = 8 << 20 };
	struct answer answer = {0};
	struct writer w;

	connected();
	writer_init(&w);
	uint8_t *bytes = writer_reserve(&w, SIZE);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 7 ^ i >> 9);
	client_call(client, MC_VERB_ANNOUNCE, &w, 20000, on_answer, &answer);
	struct answer small = {0};
	call(client, 9, 20000, &small); /* waits its turn behind it */
	usleep(20000);			/* nobody reads for a while */
	peer_receive(&peer);
	ck_assert_uint_eq(peer.frame.size, SIZE);
	ck_assert_mem_eq(peer.body, w.data, SIZE);
	peer_send(&peer,
		  (struct frame){.kind = MC_FRAME_REPLY, .request_id = peer.frame.request_id},
		  w.data, SIZE);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_OK);
	ck_assert_uint_eq(answer.value, load_u32(w.data));
	peer_receive(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 9);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 10);
	answer_wait(&small);
	writer_fini(&w);
}
END_TEST

START_TEST(a_frame_may_come_byte_by_byte)
{
	struct answer answer = {0};
	uint8_t bytes[MC_FRAME_HEADER_SIZE + 4];

	connected();
	call(client, 1, 5000, &answer);
	peer_receive(&peer);
	frame_encode(bytes, &(struct frame){.kind = MC_FRAME_REPLY,
					    .size = 4,
					    .request_id = peer.frame.request_id});
	store_u32(bytes + MC_FRAME_HEADER_SIZE, 31);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		peer_write(&peer, bytes + i, 1);
		usleep(500);
	}
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 31);
}
END_TEST

START_TEST(pushes_arrive_in_order)
{
	connected();
	for (uint32_t i = 0; i < 20; i++)
		peer_push(&peer, i % 2 ? MC_VERB_DROP : MC_VERB_RECALL, i);
	SEEN_WAIT(seen.push_count == 20);
	for (uint32_t i = 0; i < 20; i++) {
		ck_assert_uint_eq(seen.pushes[i].verb, i % 2 ? MC_VERB_DROP : MC_VERB_RECALL);
		ck_assert_uint_eq(seen.pushes[i].value, i);
	}
}
END_TEST

START_TEST(a_push_right_behind_the_welcome_arrives)
{
	struct writer w;

	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_accept(&peer);
	writer_init(&w);
	size_t begin = frame_begin(&w);
	put_u32(&w, 1);
	frame_finish(&w, begin, &(struct frame){.kind = MC_FRAME_REPLY});
	begin = frame_begin(&w);
	put_u32(&w, 2);
	frame_finish(&w, begin, &(struct frame){.kind = MC_FRAME_PUSH, .verb = MC_VERB_NODES});
	peer_write(&peer, w.data, w.size);
	writer_fini(&w);
	SEEN_WAIT(seen.push_count == 1);
	ck_assert_uint_eq(seen.pushes[0].verb, MC_VERB_NODES);
	ck_assert_uint_eq(seen.pushes[0].value, 2);
}
END_TEST

START_TEST(a_callback_may_call)
{
	struct answer answer = {0};

	connected();
	client_call(client, MC_VERB_NODES, NULL, 5000, call_again, &answer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 0);
	peer_receive(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 2);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 8);
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 8);
}
END_TEST

START_TEST(a_body_that_failed_is_not_sent)
{
	struct answer answer = {0};
	uint8_t memory[1];
	struct writer w;

	connected();
	writer_init_fixed(&w, memory, sizeof(memory));
	put_u32(&w, 1);
	client_call(client, MC_VERB_NODES, &w, 5000, on_answer, &answer);
	ck_assert_int_eq(seen_get(&answer.count), 1);
	ck_assert_int_eq(answer.status, MC_NO_MEMORY);
	ck_assert(!peer_readable(peer.fd, 50));
}
END_TEST

/* -- many threads -- */

enum { THREADS = 8, CALLS = 300 };

static void *call_many(void *context)
{
	struct answer *answers = context;

	for (uint32_t i = 0; i < CALLS; i++)
		call(client, i, 30000, &answers[i]);
	return NULL;
}

START_TEST(eight_threads_call_at_once)
{
	static struct answer answers[THREADS][CALLS];
	pthread_t threads[THREADS];

	connected();
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, call_many, answers[i]), 0);
	for (int i = 0; i < THREADS * CALLS; i++) {
		peer_receive(&peer);
		peer_reply(&peer, peer.frame.request_id, MC_OK, get_u32(&peer.in) * 3);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		for (uint32_t n = 0; n < CALLS; n++) {
			answer_wait(&answers[i][n]);
			ck_assert_int_eq(answers[i][n].status, MC_OK);
			ck_assert_uint_eq(answers[i][n].value, n * 3);
		}
	}
	ck_assert_uint_eq(client_calls(client, MC_VERB_STATFS), THREADS * CALLS);
}
END_TEST

/* -- a connection that breaks -- */

static void garbage_nothing(uint8_t *header)
{
	memset(header, 0, MC_FRAME_HEADER_SIZE);
}

static void garbage_version(uint8_t *header)
{
	header[2]++;
}

static void garbage_kind(uint8_t *header)
{
	header[3] = MC_FRAME_PUSH + 1;
}

static void garbage_size(uint8_t *header)
{
	store_u32(header + 8, MC_BODY_SIZE_MAX + 1);
}

static void (*const garbage[])(uint8_t *header) = {garbage_nothing, garbage_version, garbage_kind,
						   garbage_size};

/* After the connection broke: the call that waits is sent again, and answered. */
static void assert_comes_back(struct answer *answer)
{
	peer_welcome(&peer);
	SEEN_WAIT(seen.losses == 1);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 12);
	answer_wait(answer);
	ck_assert_uint_eq(answer->value, 12);
	ck_assert(answer->resent);
}

START_TEST(garbage_breaks_the_connection)
{
	struct answer answer = {0};
	uint8_t header[MC_FRAME_HEADER_SIZE];

	connected();
	call(client, 1, 20000, &answer);
	peer_receive(&peer);
	frame_encode(header, &(struct frame){.kind = MC_FRAME_PUSH, .verb = MC_VERB_DROP});
	garbage[_i](header);
	peer_write(&peer, header, sizeof(header));
	assert_comes_back(&answer);
	ck_assert_int_eq(seen_get(&seen.push_count), 0);
}
END_TEST

START_TEST(half_a_frame_is_none)
{
	struct answer answer = {0};
	uint8_t bytes[MC_FRAME_HEADER_SIZE + 3];

	connected();
	call(client, 1, 20000, &answer);
	peer_receive(&peer);
	frame_encode(bytes, &(struct frame){.kind = MC_FRAME_REPLY,
					    .size = 4,
					    .request_id = peer.frame.request_id});
	memset(bytes + MC_FRAME_HEADER_SIZE, 0xff, 3);
	peer_write(&peer, bytes, sizeof(bytes));
	assert_comes_back(&answer);
}
END_TEST

/* What may stand where the welcome should. */
static void no_welcome_status(void)
{
	peer_reply(&peer, peer.frame.request_id, MC_PROTOCOL, 0);
}

static void no_welcome_push(void)
{
	peer_push(&peer, MC_VERB_NODES, 1);
}

static void no_welcome_garbage(void)
{
	peer_write(&peer, "HTTP/1.1 400 Bad Request", 24);
}

static void no_welcome_end(void)
{
	peer_hang_up(&peer);
}

static void (*const no_welcomes[])(void) = {no_welcome_status, no_welcome_push, no_welcome_garbage,
					    no_welcome_end};

START_TEST(without_a_welcome_it_tries_again)
{
	struct answer answer = {0};

	peer_listen(&peer, peer.name);
	client = peer_client(address);
	call(client, 1, 20000, &answer);
	peer_accept(&peer);
	no_welcomes[_i]();
	peer_welcome(&peer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 3);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_OK);
	ck_assert(!answer.resent); /* never sent before */
	ck_assert_int_eq(seen_get(&seen.welcomes), 1);
	ck_assert_int_eq(seen_get(&seen.losses), 0);
}
END_TEST

START_TEST(a_welcome_that_the_owner_refuses_is_none)
{
	struct answer answer = {0};

	peer_listen(&peer, peer.name);
	seen.welcome = MC_PROTOCOL;
	client = peer_client(address);
	call(client, 1, 20000, &answer);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
	seen_lock();
	seen.welcome = MC_OK;
	seen_unlock();
	ck_assert(!client_connected(client));
	peer_welcome(&peer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 3);
	answer_wait(&answer);
	ck_assert(!answer.resent);
}
END_TEST

/* -- silence -- */

START_TEST(silence_beyond_the_ttl_is_the_end)
{
	struct answer answer = {0};

	connected();
	client_set_ttl(client, 300);
	call(client, 1, 20000, &answer);
	peer_receive(&peer);
	uint64_t begin = clock_ns();
	SEEN_WAIT(seen.losses == 1); /* the socket is still open here */
	ck_assert_uint_lt(ms_since(begin), PEER_WAIT_MS);
	ck_assert(!client_connected(client));
	peer_welcome(&peer);
	peer_receive(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 1);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 1);
	answer_wait(&answer);
	ck_assert(answer.resent);
}
END_TEST

START_TEST(whoever_is_heard_lives)
{
	connected();
	client_set_ttl(client, 1000);
	for (uint32_t i = 0; i < 30; i++) {
		peer_push(&peer, MC_VERB_NODES, i);
		usleep(50000);
	}
	ck_assert_int_eq(seen_get(&seen.losses), 0);
	ck_assert(client_connected(client));
	ck_assert_int_gt(seen_get(&seen.ticks), 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");
	TCase *tc = tcase_create("client");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_client_says_hello_and_is_welcomed);
	tcase_add_test(tc, a_call_is_answered);
	tcase_add_test(tc, a_caller_that_attends_takes_the_answer_itself);
	tcase_add_test(tc, what_a_caller_attends_to_in_vain_comes_later);
	tcase_add_test(tc, others_are_answered_by_the_one_that_attends);
	tcase_add_test(tc, a_connection_that_ends_while_it_is_attended_to_is_made_anew);
	tcase_add_test(tc, a_call_without_a_body_is_answered);
	tcase_add_test(tc, replies_come_in_any_order);
	tcase_add_test(tc, a_reply_to_nobody_is_ignored);
	tcase_add_test(tc, large_bodies_arrive_whole_both_ways);
	tcase_add_test(tc, a_frame_may_come_byte_by_byte);
	tcase_add_test(tc, pushes_arrive_in_order);
	tcase_add_test(tc, a_push_right_behind_the_welcome_arrives);
	tcase_add_test(tc, a_callback_may_call);
	tcase_add_test(tc, a_body_that_failed_is_not_sent);
	tcase_add_test(tc, eight_threads_call_at_once);
	tcase_add_loop_test(tc, garbage_breaks_the_connection, 0, (int)ARRAY_SIZE(garbage));
	tcase_add_test(tc, half_a_frame_is_none);
	tcase_add_loop_test(tc, without_a_welcome_it_tries_again, 0, (int)ARRAY_SIZE(no_welcomes));
	tcase_add_test(tc, a_welcome_that_the_owner_refuses_is_none);
	tcase_add_test(tc, silence_beyond_the_ttl_is_the_end);
	tcase_add_test(tc, whoever_is_heard_lives);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
