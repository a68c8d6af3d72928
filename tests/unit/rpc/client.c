/* A pipelined connection to a master: answered, broken, silent, and closed. */
#include "engine/base/attend.h"
#include "tests/unit/rpc/peer.h"

#include "engine/rpc/calls.h"

static struct peer peer;
static struct client *client;
static char address[NET_TEXT_SIZE + 8];

static void setup(void)
{
	peer_name(&peer);
	snprintf(address, sizeof(address), "unix:%s", peer.name);
}

static void teardown(void)
{
	client_close(client);
	peer_end(&peer);
}

/* A client that has been welcomed. */
static void connected(void)
{
	peer_listen(&peer, peer.name);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
}

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
	struct answer answer = {0}, other = {0};

	connected();
	attend_begin();
	call(client, 1, 5000, &answer);
	attend_end();
	ck_assert_int_eq(seen_get(&answer.count), 0);
	attend_begin(); /* and is not tried again at once */
	call(client, 2, 5000, &other);
	for (uint32_t i = 0; i < 2; i++) {
		peer_receive(&peer);
		peer_reply(&peer, peer.frame.request_id, MC_OK, 10 + i);
	}
	answer_wait(&answer);
	answer_wait(&other);
	attend_end();
	ck_assert_uint_eq(answer.value, 10);
	ck_assert_uint_eq(other.value, 11);
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

static void call_again(void *context, enum mc_status status, struct reader *body, bool resent)
{
	(void)status;
	(void)body;
	(void)resent;
	call(client, 2, 5000, context);
}

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

/* -- deadlines -- */

static uint64_t ms_since(uint64_t begin_ns)
{
	return (clock_ns() - begin_ns) / 1000000;
}

START_TEST(a_call_without_an_answer_times_out)
{
	struct answer answer = {0}, next = {0};

	connected();
	uint64_t begin = clock_ns();
	call(client, 1, 100, &answer);
	answer_wait(&answer);
	ck_assert_int_eq(answer.status, MC_TIMEOUT);
	ck_assert_uint_ge(ms_since(begin), 100);
	ck_assert_uint_lt(ms_since(begin), 2000);
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
	ck_assert_uint_lt(ms_since(begin), 2500);
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
	ck_assert_uint_lt(ms_since(begin), 1000);
	ck_assert(!peer_readable(peer.fd, 0)); /* nothing is sent before the welcome */
}
END_TEST

/* -- reconnecting -- */

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
	ck_assert_uint_lt(ms_since(begin), 2000);
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
	ck_assert_uint_lt(ms_since(begin), 1500);
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

/* -- addresses -- */

static const char *const bad_addresses[] = {
	"",
	":",
	":80",
	"unix:",
	"host:",
	"host:port",
	"host:0",
	"host:65536",
	"host:80x",
	"[::1]:",
	",",
	"host:1,",
	",host:1",
	"host:1,host:0",
	"etcd://",
	"etcd://host",
	"etcd://host:1/a/b",
	"etcd://host:1?",
	"etcd://host:1?ca",
	"etcd://host:1?color=red",
	"etcd://host:1?user=a&password_file=/nonexistent",
};

START_TEST(an_address_that_is_none_is_invalid)
{
	struct client *none = NULL;

	ck_assert_int_eq(client_open(bad_addresses[_i], &peer_events, &none), MC_INVALID);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(of_several_masters_the_one_that_answers_is_found)
{
	struct answer answer = {0};
	char list[256];

	peer_listen(&peer, peer.name);
	snprintf(list, sizeof(list), "127.0.0.1:1,unix:@test-nobody,%s", address);
	client = peer_client(list);
	peer_welcome(&peer);
	call(client, 5, PEER_WAIT_MS, &answer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 6);
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 6);
}
END_TEST

START_TEST(one_of_several_that_says_nothing_is_left_soon)
{
	struct peer silent;
	char list[256];

	peer_name(&silent);
	peer_listen(&silent, silent.name);
	peer_listen(&peer, peer.name);
	snprintf(list, sizeof(list), "unix:%s,%s", silent.name, address);
	uint64_t begun = clock_ns();
	client = peer_client(list);
	peer_welcome(&peer);
	ck_assert_uint_lt(clock_ns() - begun, 2000000000u);
	peer_end(&silent);
}
END_TEST

/* Say welcome as the master of a cluster and an epoch. */
static void welcome_as(uint64_t cluster, uint32_t epoch)
{
	struct writer w;

	peer_accept(&peer);
	writer_init(&w);
	put_u32(&w, 1);
	put_u32(&w, 1);
	put_u64(&w, cluster);
	peer_send(&peer,
		  (struct frame){.kind = MC_FRAME_REPLY,
				 .epoch = epoch,
				 .request_id = peer.frame.request_id},
		  w.data, w.size);
	writer_fini(&w);
}

START_TEST(a_master_of_an_older_epoch_is_refused)
{
	peer_listen(&peer, peer.name);
	client = peer_client(address);
	welcome_as(7, 5);
	SEEN_WAIT(seen.welcomes == 1);
	welcome_as(7, 4);
	welcome_as(7, 5);
	SEEN_WAIT(seen.welcomes == 2);
	ck_assert_int_eq(seen_get(&seen.losses), 1);
	/* Another cluster has epochs of its own. */
	welcome_as(8, 1);
	SEEN_WAIT(seen.welcomes == 3);
}
END_TEST

static uint16_t listen_tcp(void)
{
	struct net_address bound;

	peer_listen(&peer, "127.0.0.1:0");
	ck_assert_int_eq(net_bound(peer.listen, &bound), MC_OK);
	return net_port(&bound);
}

START_TEST(a_master_is_reached_over_tcp)
{
	char text[128];

	unsigned port = listen_tcp();
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
	client_peer(client, text, sizeof(text));
	ck_assert_str_eq(text + 4, address);
	ck_assert_mem_eq(text, "tcp:", 4);
}
END_TEST

START_TEST(a_master_on_this_host_is_reached_over_its_socket)
{
	char text[128], name[64];
	struct peer tcp = {.listen = -1, .fd = -1};

	unsigned port = listen_tcp();
	tcp.listen = peer.listen;
	snprintf(name, sizeof(name), "@mooncake-master-%u", port);
	peer_listen(&peer, name);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
	client_peer(client, text, sizeof(text));
	ck_assert_str_eq(text + 5, name);
	ck_assert(!peer_readable(tcp.listen, 0));
	peer_end(&tcp);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

static void add_standing(Suite *suite)
{
	TCase *tc = tcase_create("standing");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_client_says_hello_and_is_welcomed);
	tcase_add_test(tc, a_call_is_answered);
	tcase_add_test(tc, a_caller_that_attends_takes_the_answer_itself);
	tcase_add_test(tc, what_a_caller_attends_to_in_vain_comes_later);
	tcase_add_test(tc, others_are_answered_by_the_one_that_attends);
	tcase_add_test(tc, a_connection_that_ends_while_it_is_attended_to_is_made_anew);
	tcase_add_test(tc, what_is_sent_again_is_the_same_request_and_says_since_when);
	tcase_add_test(tc, no_two_clients_use_the_same_requests);
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
	tcase_add_loop_test(tc, an_address_that_is_none_is_invalid, 0, ROWS(bad_addresses));
	tcase_add_test(tc, of_several_masters_the_one_that_answers_is_found);
	tcase_add_test(tc, one_of_several_that_says_nothing_is_left_soon);
	tcase_add_test(tc, a_master_of_an_older_epoch_is_refused);
	tcase_add_test(tc, a_master_is_reached_over_tcp);
	tcase_add_test(tc, a_master_on_this_host_is_reached_over_its_socket);
	suite_add_tcase(suite, tc);
}

static void add_broken(Suite *suite)
{
	TCase *tc = tcase_create("broken");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_call_without_an_answer_times_out);
	tcase_add_test(tc, a_call_times_out_where_nobody_listens);
	tcase_add_test(tc, a_call_times_out_where_nobody_says_welcome);
	tcase_add_test(tc, a_call_waits_for_the_connection);
	tcase_add_test(tc, what_was_not_answered_is_sent_again_in_order);
	tcase_add_test(tc, what_belongs_to_a_session_is_not_sent_in_the_next);
	tcase_add_test(tc, a_refusal_of_what_was_sent_before_tells_nothing_of_that);
	tcase_add_loop_test(tc, garbage_breaks_the_connection, 0, ROWS(garbage));
	tcase_add_test(tc, half_a_frame_is_none);
	tcase_add_loop_test(tc, without_a_welcome_it_tries_again, 0, ROWS(no_welcomes));
	tcase_add_test(tc, a_welcome_that_the_owner_refuses_is_none);
	tcase_add_test(tc, silence_beyond_the_ttl_is_the_end);
	tcase_add_test(tc, whoever_is_heard_lives);
	tcase_add_loop_test(tc, close_cancels_what_waits, 0, 2);
	tcase_add_test(tc, a_call_made_while_closing_is_cancelled);
	tcase_add_test(tc, close_does_not_wait_for_a_welcome);
	tcase_add_test(tc, more_than_the_limit_in_flight_is_again);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("client");

	add_standing(suite);
	add_broken(suite);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
