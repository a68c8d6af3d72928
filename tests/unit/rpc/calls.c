/* What calls come to: their deadlines, what is sent again, and what a close ends. */
#include "engine/rpc/calls.h"

#include "tests/unit/rpc/peer.h"

#define CONNECT_MS 3000 /* how long the only master may take to say welcome */

/* -- deadlines -- */

START_TEST(a_call_without_an_answer_times_out)
{
	struct answer answer = {0}, next = {0};

	connected();
	uint64_t begin = clock_ns();
	call(client, 1, 100, &answer);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_TIMEOUT);
	ck_assert_uint_ge(ms_since(begin), 100);
	ck_assert_uint_lt(ms_since(begin), PEER_WAIT_MS);
	/* A late reply is nobody's; the connection goes on. */
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 1);
	call(client, 2, 5000, &next);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 6);
	answer_wait(&next);
	ck_assert_uint_eq(next.value, 6);
	ck_assert_int_eq(seen_get(&answer.count), 1);
	ck_assert_int_eq(seen_get(&seen.losses), 0);
}
END_TEST

START_TEST(a_call_times_out_where_nobody_listens)
{
	struct answer answer = {0};

	client = peer_client(address);
	uint64_t begin = clock_ns();
	call(client, 1, 100, &answer);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_UNREACHABLE);
	ck_assert(!answer.resent);
	ck_assert_uint_lt(ms_since(begin), PEER_WAIT_MS);
}
END_TEST

START_TEST(a_call_times_out_where_nobody_says_welcome)
{
	struct answer answer = {0};

	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_accept(&peer);
	uint64_t begin = clock_ns();
	call(client, 1, 100, &answer);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_UNREACHABLE);
	ck_assert_uint_lt(ms_since(begin), CONNECT_MS);
	ck_assert(!peer_readable(peer.fd, 0)); /* nothing is sent before the welcome */
}
END_TEST

/* -- sent again -- */

START_TEST(a_call_waits_for_the_connection)
{
	struct answer answer = {0};

	client = peer_client(address);
	call(client, 5, 10000, &answer);
	usleep(50000);
	peer_listen(&peer, peer.name);
	peer_welcome(&peer);
	peer_receive(&peer);
	ck_assert_uint_eq(get_u32(&peer.in), 5);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 6);
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 6);
	ck_assert(!answer.resent);
}
END_TEST

START_TEST(what_was_not_answered_is_sent_again_in_order)
{
	enum { COUNT = 3000, LATER = 3 }; /* more than a bucket holds one of */
	static struct answer answers[COUNT + LATER];

	connected();
	for (uint32_t i = 0; i < COUNT; i++)
		call(client, i, 30000, &answers[i]);
	for (uint32_t i = 0; i < COUNT; i++) {
		peer_receive(&peer);
		if (i % 10 == 0)
			peer_reply(&peer, peer.frame.request_id, MC_OK, i);
	}
	for (uint32_t i = 0; i < COUNT; i += 10)
		answer_wait(&answers[i]);
	peer_hang_up(&peer);
	SEEN_WAIT(seen.losses == 1);
	for (uint32_t i = COUNT; i < COUNT + LATER; i++)
		call(client, i, 30000, &answers[i]);
	peer_welcome(&peer);
	for (uint32_t i = 0; i < COUNT + LATER; i++) {
		if (i < COUNT && i % 10 == 0)
			continue;
		peer_receive(&peer);
		ck_assert_uint_eq(get_u32(&peer.in), i);
		peer_reply(&peer, peer.frame.request_id, MC_OK, i);
	}
	for (uint32_t i = 0; i < COUNT + LATER; i++) {
		answer_wait(&answers[i]);
		ck_assert_int_eq(answers[i].count, 1);
		ck_assert_uint_eq(answers[i].value, i);
		ck_assert_int_eq(answers[i].resent, i < COUNT && i % 10 != 0);
	}
	ck_assert_int_eq(seen_get(&seen.hellos), 2);
	ck_assert_int_eq(seen_get(&seen.losses), 1);
}
END_TEST

START_TEST(a_refusal_of_what_was_sent_before_tells_nothing_of_that)
{
	struct answer first = {0}, again = {0};

	connected();
	call(client, 1, 30000, &first);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_READ_ONLY, 0);
	answer_wait(&first);
	ck_assert_int_eq(first.status, MC_READ_ONLY); /* nothing happened */
	call(client, 2, 30000, &again);
	peer_receive(&peer);
	peer_hang_up(&peer);
	peer_welcome(&peer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_READ_ONLY, 0);
	answer_wait(&again);
	ck_assert_int_eq(again.status, MC_TIMEOUT);
}
END_TEST

START_TEST(what_belongs_to_a_session_is_not_sent_in_the_next)
{
	struct answer here = {0}, unsent = {0}, any = {0};

	connected();
	client_call_here(client, MC_VERB_ANNOUNCED, NULL, 30000, on_answer, &here);
	call(client, 7, 30000, &any);
	peer_receive(&peer);
	peer_receive(&peer);
	peer_hang_up(&peer);
	answer_wait(&here);
	ck_assert_int_eq(here.status, MC_TIMEOUT);
	ck_assert_int_eq(seen_get(&seen.losses), 1); /* the owner knows before */
	peer_welcome(&peer);
	peer_receive(&peer);
	ck_assert_uint_eq(peer.frame.verb, MC_VERB_STATFS);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 8);
	answer_wait(&any);
	ck_assert(any.resent);
	/* Nor what was made while nobody says welcome. */
	peer_hang_up(&peer);
	SEEN_WAIT(seen.losses == 2);
	client_call_here(client, MC_VERB_ANNOUNCED, NULL, 30000, on_answer, &unsent);
	peer_accept(&peer);
	peer_hang_up(&peer);
	answer_wait(&unsent);
	ck_assert_int_eq(unsent.status, MC_UNREACHABLE);
}
END_TEST

START_TEST(what_is_sent_again_is_the_same_request_and_says_since_when)
{
	struct answer answer = {0}, later = {0};

	connected();
	call(client, 7, 20000, &answer);
	peer_receive(&peer);
	uint64_t id = peer.frame.request_id;
	ck_assert_uint_eq(peer.frame.age_s, 0);
	for (unsigned again = 1; again <= 2; again++) {
		peer_hang_up(&peer);
		peer_welcome(&peer);
		peer_receive(&peer);
		ck_assert_uint_eq(peer.frame.request_id, id);
		ck_assert_uint_ge(peer.frame.age_s, 1);
		ck_assert_uint_le(peer.frame.age_s, 20 + 1);
	}
	peer_reply(&peer, id, MC_OK, 8);
	answer_wait(&answer);
	call(client, 8, 20000, &later);
	peer_receive(&peer);
	ck_assert_uint_eq(peer.frame.request_id, id + 1);
	ck_assert_uint_eq(peer.frame.age_s, 0);
	peer_reply(&peer, id + 1, MC_OK, 8);
	answer_wait(&later);
}
END_TEST

START_TEST(no_two_clients_use_the_same_requests)
{
	struct calls one, two;

	calls_init(&one);
	calls_init(&two);
	uint64_t apart = one.next_id - two.next_id;
	ck_assert_uint_gt(apart < -apart ? apart : -apart, 1ull << 32);
}
END_TEST

/* -- closing -- */

START_TEST(close_cancels_what_waits)
{
	enum { COUNT = 50 };
	struct answer answers[COUNT] = {{0}};

	if (_i == 1) {
		connected();
	} else {
		client = peer_client(address); /* nobody listens */
	}
	for (uint32_t i = 0; i < COUNT; i++)
		call(client, i, 60000, &answers[i]);
	client_close(client);
	client = NULL;
	for (uint32_t i = 0; i < COUNT; i++) {
		ck_assert_int_eq(answers[i].count, 1);
		ck_assert_int_eq(answers[i].status, MC_CANCELLED);
	}
}
END_TEST

START_TEST(a_call_made_while_closing_is_cancelled)
{
	struct answer answer = {0};

	connected();
	client_call(client, MC_VERB_NODES, NULL, 60000, call_again, &answer);
	client_close(client);
	client = NULL;
	ck_assert_int_eq(answer.count, 1);
	ck_assert_int_eq(answer.status, MC_CANCELLED);
}
END_TEST

START_TEST(close_does_not_wait_for_a_welcome)
{
	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_accept(&peer);
	uint64_t begin = clock_ns();
	client_close(client);
	client = NULL;
	ck_assert_uint_lt(ms_since(begin), CONNECT_MS);
}
END_TEST

/* -- limits -- */

START_TEST(more_than_the_limit_in_flight_is_again)
{
	struct answer *answers = calloc(CLIENT_IN_FLIGHT_MAX + 1, sizeof(*answers));

	client = peer_client(address);
	for (uint32_t i = 0; i <= CLIENT_IN_FLIGHT_MAX; i++)
		call(client, i, 60000, &answers[i]);
	seen_lock();
	int count = answers[CLIENT_IN_FLIGHT_MAX].count;
	enum mc_status status = answers[CLIENT_IN_FLIGHT_MAX].status;
	int first = answers[0].count;
	seen_unlock();
	ck_assert_int_eq(count, 1);
	ck_assert_int_eq(status, MC_AGAIN);
	ck_assert_int_eq(first, 0);
	client_close(client);
	client = NULL;
	for (uint32_t i = 0; i < CLIENT_IN_FLIGHT_MAX; i++)
		ck_assert_int_eq(answers[i].status, MC_CANCELLED);
	free(answers);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("calls");
	TCase *tc = tcase_create("calls");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_call_without_an_answer_times_out);
	tcase_add_test(tc, a_call_times_out_where_nobody_listens);
	tcase_add_test(tc, a_call_times_out_where_nobody_says_welcome);
	tcase_add_test(tc, a_call_waits_for_the_connection);
	tcase_add_test(tc, what_was_not_answered_is_sent_again_in_order);
	tcase_add_test(tc, a_refusal_of_what_was_sent_before_tells_nothing_of_that);
	tcase_add_test(tc, what_belongs_to_a_session_is_not_sent_in_the_next);
	tcase_add_test(tc, what_is_sent_again_is_the_same_request_and_says_since_when);
	tcase_add_test(tc, no_two_clients_use_the_same_requests);
	tcase_add_loop_test(tc, close_cancels_what_waits, 0, 2);
	tcase_add_test(tc, a_call_made_while_closing_is_cancelled);
	tcase_add_test(tc, close_does_not_wait_for_a_welcome);
	tcase_add_test(tc, more_than_the_limit_in_flight_is_again);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
