/*
 * A large object comes over several connections, of threads that help the first: what
 * happens when one of them, or the first, does not bring its part.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE ((8u << 20) + 1)

#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/rpc/wire.h"
#include "engine/transport/pull.h"
#include "tests/support/suite.h"
#include "tests/unit/transport/played.h"

#define STEP_MS		1000u
#define CONNECTIONS_MAX 16
#define TRIES_MAX	1000
#define SLOW_US		50000  /* so that a pull has not ended when something is done to it */
#define LATE_US		100000 /* by then who still wrote would have */

enum part { PART_FIRST, PART_HELPER };

/* What the owner does to the one or the other, after some right answers. */
enum act {
	ACT_ANSWERS,
	ACT_CLOSES,
	ACT_CUTS,    /* closes in the middle of the bytes */
	ACT_SILENT,  /* never answers again */
	ACT_DAMAGES, /* from now on */
	ACT_REFUSES_STALE,
	ACT_REFUSES_AGAIN,
	ACT_LIES, /* breaks the protocol */
};

struct play {
	int listen_fd;
	char endpoint[MC_ENDPOINT_SIZE];
	pthread_t thread;
	/* atomic */
	atomic_bool acts; /* else all is answered */
	atomic_bool acted;
	enum part part;
	enum act act;
	int rights; /* answers before it acts */
	atomic_int connection_count;
	atomic_int helped; /* chunks that a helper was given */
	atomic_int slow_us;
	_Atomic(struct visit *) first; /* over which the pull was begun */
	/* owned by thread */
	struct visit {
		struct play *play;
		int fd;
		pthread_t thread;
		atomic_bool holds; /* the object, for whom it was pulled last */
	} visits[CONNECTIONS_MAX];
};

static uint8_t *object; /* SIZE bytes that differ */

static bool send_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		bytes += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* Answer a request for bytes, right or as told.  False: the connection ends. */
static bool answer(int fd, const struct pull_request *request, enum act act)
{
	uint32_t left = SIZE - (uint32_t)request->offset;
	uint32_t length = request->length < left ? request->length : left;
	struct frame frame = {.kind = MC_FRAME_REPLY,
			      .verb = MC_VERB_PULL,
			      .size = PULL_FIXED_SIZE + length,
			      .request_id = request->request_id};
	struct mc_attr attr = {.id = ID, .version = VERSION, .size = SIZE, .mode = S_IFREG};
	const uint8_t *bytes = object + request->offset;
	uint8_t head[PULL_HEAD_SIZE];
	struct writer w;

	if (act == ACT_CLOSES)
		return false;
	if (act == ACT_REFUSES_STALE || act == ACT_REFUSES_AGAIN) {
		frame.status = act == ACT_REFUSES_STALE ? MC_STALE : MC_AGAIN;
		frame.size = 0;
		frame_encode(head, &frame);
		return send_all(fd, head, MC_FRAME_HEADER_SIZE);
	}
	if (act == ACT_LIES)
		frame.verb = MC_VERB_LOOKUP;
	frame_encode(head, &frame);
	writer_init_fixed(&w, head + MC_FRAME_HEADER_SIZE, PULL_FIXED_SIZE);
	put_attr(&w, &attr);
	put_u64(&w, request->offset);
	put_u32(&w, length);
	put_u32(&w, crc32c(0, bytes, length) ^ (act == ACT_DAMAGES));
	if (!send_all(fd, head, sizeof(head)))
		return false;
	if (act == ACT_CUTS)
		length /= 2;
	return send_all(fd, bytes, length) && act != ACT_CUTS;
}

/* The next PULL; a RELEASE is not answered. */
static bool read_request(struct visit *visit, struct pull_request *request)
{
	int fd = visit->fd;
	uint8_t bytes[MC_FRAME_HEADER_SIZE + PULL_REQUEST_SIZE];
	struct frame frame;
	struct reader r;

	for (;;) {
		if (recv(fd, bytes, MC_FRAME_HEADER_SIZE, MSG_WAITALL) != MC_FRAME_HEADER_SIZE)
			return false;
		ck_assert_int_eq(frame_decode(bytes, &frame), MC_OK);
		ck_assert_uint_le(frame.size, PULL_REQUEST_SIZE);
		if (recv(fd, bytes, frame.size, MSG_WAITALL) != (ssize_t)frame.size)
			return false;
		if (frame.verb == MC_VERB_PULL)
			break;
		ck_assert_int_eq(frame.verb, MC_VERB_RELEASE);
		atomic_store(&visit->holds, false);
	}
	atomic_store(&visit->holds, true);
	reader_init(&r, bytes, frame.size);
	*request = (struct pull_request){.request_id = frame.request_id};
	request->id = get_u64(&r);
	request->version = get_u64(&r);
	request->offset = get_u64(&r);
	request->length = get_u32(&r);
	return true;
}

static void *visit_thread(void *context)
{
	struct visit *visit = context;
	struct play *play = visit->play;
	struct pull_request request;
	int rights = 0;
	bool goes_on = true;

	while (goes_on && read_request(visit, &request)) {
		enum act act = ACT_ANSWERS;
		/* Only who is first asks for the beginning. */
		if (request.offset == 0)
			atomic_store(&play->first, visit);
		enum part part = atomic_load(&play->first) == visit ? PART_FIRST : PART_HELPER;
		if (part == PART_HELPER)
			atomic_fetch_add(&play->helped, 1);
		if (atomic_load(&play->acts) && part == play->part && rights++ >= play->rights)
			act = play->act;
		if (act != ACT_ANSWERS)
			atomic_store(&play->acted, true);
		usleep((useconds_t)atomic_load(&play->slow_us));
		if (act != ACT_SILENT)
			goes_on = answer(visit->fd, &request, act);
	}
	shutdown(visit->fd, SHUT_RDWR);
	return NULL;
}

static void *play_thread(void *context)
{
	struct play *play = context;
	int fd, count = 0;

	while ((fd = accept(play->listen_fd, NULL, NULL)) >= 0) {
		ck_assert_int_lt(count, CONNECTIONS_MAX);
		struct visit *visit = &play->visits[count++];
		*visit = (struct visit){.play = play, .fd = fd};
		ck_assert_int_eq(pthread_create(&visit->thread, NULL, visit_thread, visit), 0);
		atomic_store(&play->connection_count, count);
	}
	for (int i = 0; i < count; i++) {
		shutdown(play->visits[i].fd, SHUT_RDWR);
		pthread_join(play->visits[i].thread, NULL);
		close(play->visits[i].fd);
	}
	return NULL;
}

static struct play play;
static struct transport *transport;
static struct getting getting;
static atomic_int done_count;

static void count_done(struct transport_pull *pull, enum mc_status status)
{
	atomic_fetch_add(&done_count, 1);
	get_done(pull, status);
}

/* One thread at a time, as transport.h promises. */
static atomic_int arriving;
static atomic_uint_fast64_t arrived_size;

static void arrived(struct transport_pull *pull, uint64_t offset, uint64_t length)
{
	(void)pull;
	ck_assert_int_eq(atomic_fetch_add(&arriving, 1), 0);
	ck_assert_mem_eq(getting.memory + offset, object + offset, length);
	atomic_fetch_add(&arrived_size, length);
	atomic_fetch_sub(&arriving, 1);
}

static void pull_begin(void)
{
	static const struct transport_sink sink = {
		.begin = get_begin, .arrived = arrived, .done = count_done};

	getting_init(&getting, STEP_MS);
	getting.pull.sink = &sink;
	atomic_store(&done_count, 0);
	atomic_store(&arrived_size, 0);
	transport_tcp_ops.pull(transport, play.endpoint, &getting.pull);
}

/* Some of it has come, and some has not. */
static void pull_half(void)
{
	atomic_store(&play.slow_us, SLOW_US);
	pull_begin();
	while (atomic_load(&arrived_size) == 0)
		usleep(100);
}

static bool helps(void)
{
	cpu_set_t cpus;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	if (CPU_COUNT(&cpus) > 1)
		return true;
	puts("SKIP: there is one processor, and nobody to help");
	return false;
}

static void setup(void)
{
	log_set_level("error");
	object = malloc(SIZE);
	for (uint32_t i = 0; i < SIZE; i++)
		object[i] = (uint8_t)(i * 2654435761u >> 24);
	play = (struct play){.part = PART_HELPER};
	play.listen_fd = played_listen("tcp", play.endpoint);
	ck_assert_int_eq(pthread_create(&play.thread, NULL, play_thread, &play), 0);
	played_open(&transport_tcp_ops, &transport);
	/* Helpers have a connection once one was wished for. */
	for (int i = 0; i < TRIES_MAX && helps() && atomic_load(&play.helped) == 0; i++) {
		pull_begin();
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
	}
	ck_assert(atomic_load(&play.helped) > 0 || !helps());
}

static void teardown(void)
{
	transport_tcp_ops.close(transport);
	shutdown(play.listen_fd, SHUT_RDWR);
	pthread_join(play.thread, NULL);
	close(play.listen_fd);
	free(object);
}

/* Once, with all threads out of the memory. */
static void assert_over(void)
{
	memset(getting.memory, 0xee, SIZE);
	usleep(LATE_US);
	uint32_t same = 0;
	while (same < SIZE && getting.memory[same] == 0xee)
		same++;
	ck_assert_uint_eq(same, SIZE);
	ck_assert_int_eq(atomic_load(&done_count), 1);
}

START_TEST(what_helpers_bring_is_right_and_told_once)
{
	pull_begin();
	ck_assert_int_eq(getting_wait(&getting), MC_OK);
	ck_assert_mem_eq(getting.memory, object, SIZE);
	ck_assert_uint_eq(atomic_load(&arrived_size), SIZE);
	assert_over();
}
END_TEST

static unsigned held(void)
{
	unsigned count = 0;

	for (int i = 0; i < atomic_load(&play.connection_count); i++)
		count += atomic_load(&play.visits[i].holds);
	return count;
}

START_TEST(all_who_held_it_for_a_pull_are_told_that_it_ended)
{
	for (int i = 0; i < 10; i++) {
		pull_begin();
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		for (int waited_ms = 0; waited_ms < 10000 && held() > 0; waited_ms++)
			usleep(1000);
		ck_assert_uint_eq(held(), 0);
	}
}
END_TEST

static const struct {
	enum act act;
	int rights;
} failures[] = {
	{ACT_CLOSES, 0},	{ACT_CLOSES, 1},	{ACT_CUTS, 0},	  {ACT_CUTS, 2},
	{ACT_SILENT, 0},	{ACT_SILENT, 1},	{ACT_DAMAGES, 0}, {ACT_DAMAGES, 1},
	{ACT_REFUSES_STALE, 0}, {ACT_REFUSES_STALE, 1}, {ACT_LIES, 0},	  {ACT_REFUSES_AGAIN, 0},
	{ACT_REFUSES_AGAIN, 1},
};

START_TEST(what_a_helper_does_not_bring_the_first_does)
{
	if (!helps())
		return;
	play.act = failures[_i].act;
	play.rights = failures[_i].rights;
	atomic_store(&play.slow_us, 1000); /* so that the first does not ask for all itself */
	atomic_store(&play.acts, true);
	/* It may be too late to be asked for so much. */
	for (int i = 0; i < TRIES_MAX && !atomic_load(&play.acted); i++) {
		pull_begin();
		ck_assert_int_eq(getting_wait(&getting), MC_OK);
		ck_assert_mem_eq(getting.memory, object, SIZE);
	}
	ck_assert(atomic_load(&play.acted));
	assert_over();
}
END_TEST

static const struct {
	enum act act;
	enum mc_status expected;
} ends[] = {
	{ACT_CLOSES, MC_UNREACHABLE}, {ACT_CUTS, MC_UNREACHABLE},    {ACT_SILENT, MC_TIMEOUT},
	{ACT_DAMAGES, MC_IO},	      {ACT_REFUSES_STALE, MC_STALE}, {ACT_LIES, MC_PROTOCOL},
};

START_TEST(what_ends_the_first_ends_the_pull_after_its_helpers)
{
	play.part = PART_FIRST;
	play.act = ends[_i].act;
	play.rights = 2;
	atomic_store(&play.slow_us, 1000);
	atomic_store(&play.acts, true);
	pull_begin();
	ck_assert_int_eq(getting_wait(&getting), ends[_i].expected);
	assert_over();
}
END_TEST

START_TEST(a_pull_that_is_cancelled_ends_after_its_helpers)
{
	pull_half();
	transport_tcp_ops.cancel(transport, &getting.pull);
	ck_assert_int_eq(getting_wait(&getting), MC_CANCELLED);
	assert_over();
}
END_TEST

START_TEST(a_pull_whose_helper_has_gone_can_be_cancelled)
{
	if (!helps())
		return;
	play.act = ACT_CLOSES;
	atomic_store(&play.slow_us, SLOW_US);
	atomic_store(&play.acts, true);
	pull_begin();
	while (!atomic_load(&play.acted))
		usleep(100);
	usleep(2 * SLOW_US); /* that connection is closed now, and others have some to bring */
	transport_tcp_ops.cancel(transport, &getting.pull);
	ck_assert_int_eq(getting_wait(&getting), MC_CANCELLED);
	assert_over();
}
END_TEST

START_TEST(a_transport_that_closes_ends_pulls_and_helpers)
{
	pull_half();
	transport_tcp_ops.close(transport);
	transport = NULL;
	ck_assert_int_eq(getting_wait(&getting), MC_CANCELLED);
	assert_over();
}
END_TEST

START_TEST(all_of_an_owner_that_goes_ends_the_pull)
{
	pull_half();
	for (int i = 0; i < atomic_load(&play.connection_count); i++)
		shutdown(play.visits[i].fd, SHUT_RDWR);
	ck_assert_int_eq(getting_wait(&getting), MC_UNREACHABLE);
	assert_over();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lanes");
	TCase *tcase = tcase_create("help");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_helpers_bring_is_right_and_told_once);
	tcase_add_test(tcase, all_who_held_it_for_a_pull_are_told_that_it_ended);
	tcase_add_loop_test(tcase, what_a_helper_does_not_bring_the_first_does, 0,
			    ARRAY_SIZE(failures));
	tcase_add_loop_test(tcase, what_ends_the_first_ends_the_pull_after_its_helpers, 0,
			    ARRAY_SIZE(ends));
	tcase_add_test(tcase, a_pull_that_is_cancelled_ends_after_its_helpers);
	tcase_add_test(tcase, a_pull_whose_helper_has_gone_can_be_cancelled);
	tcase_add_test(tcase, a_transport_that_closes_ends_pulls_and_helpers);
	tcase_add_test(tcase, all_of_an_owner_that_goes_ends_the_pull);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
