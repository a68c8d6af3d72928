/* Notifications that are refused, that fail, and that nobody hears. */
#include <arpa/inet.h>
#include <check.h>
#include <mooncake/engine.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/metadata/handshake_frame.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/suite.h"
#include "tests/support/usage.h"
#include "tests/unit/engine/fake.h"

#define STORE "memory://notify"
#define SIZE  65536u
#define LIMIT 60000 /* ms until something must have come */

static uint8_t here[SIZE], there[SIZE];

static struct mc_engine *open_at(const char *metadata, const char *name, bool notifications)
{
	struct mc_engine_config config = {
		.metadata = metadata,
		.name = name,
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
		.protocols = "tcp",
		.notifications = notifications,
	};
	struct mc_engine *engine;

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	return engine;
}

struct pair {
	struct mc_engine *near, *far;
	mc_segment_id segment;
};

static void pair_open(struct pair *pair)
{
	pair->near = open_at(STORE, "near", false);
	pair->far = open_at(STORE, "far", true);
	ck_assert_int_eq(mc_engine_register(pair->near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(pair->far, there, SIZE, "*", MC_REGION_REMOTE_READ),
			 MC_OK);
	ck_assert_int_eq(mc_segment_open(pair->near, "far", 0, &pair->segment), MC_OK);
}

static void pair_close(struct pair *pair)
{
	mc_engine_close(pair->near);
	mc_engine_close(pair->far);
}

static enum mc_status tell(struct pair *pair, const char *text)
{
	return mc_engine_notify(pair->near, pair->segment, "near", text, LIMIT);
}

static size_t take(struct mc_engine *engine)
{
	struct mc_notification *list;
	size_t count;

	ck_assert_int_eq(mc_engine_notifications(engine, 0, &list, &count), MC_OK);
	free(list);
	return count;
}

/* --- what is refused at once --------------------------------------------------------------- */

START_TEST(who_takes_none_is_told_none)
{
	struct pair pair;
	struct mc_notification *list;
	mc_segment_id back;
	size_t count;

	pair_open(&pair);
	ck_assert_int_eq(mc_segment_open(pair.far, "near", 0, &back), MC_OK);
	ck_assert_int_eq(mc_engine_notify(pair.far, back, "far", "", LIMIT), MC_NOT_SUPPORTED);
	ck_assert_int_eq(mc_engine_notify(pair.near, MC_SEGMENT_LOCAL, "near", "", LIMIT),
			 MC_NOT_SUPPORTED);
	ck_assert_int_eq(mc_engine_notifications(pair.near, 0, &list, &count), MC_NOT_SUPPORTED);
	pair_close(&pair);
}
END_TEST

START_TEST(wrong_ones_are_refused_and_nothing_of_their_call_begins)
{
	static char name[MC_NOTIFY_NAME_MAX + 2], text[MC_NOTIFY_TEXT_MAX + 2];
	struct pair pair;
	struct mc_batch *batch;
	struct mc_task_status status;

	memset(name, 'n', sizeof(name) - 1);
	memset(text, 't', sizeof(text) - 1);
	pair_open(&pair);
	struct mc_request request = {MC_READ, here, pair.segment, (uintptr_t)there, 8};
	struct mc_request wrong = {MC_READ, there, pair.segment, (uintptr_t)there, 8};
	ck_assert_int_eq(mc_batch_new(pair.near, 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit_notify(batch, &request, 1, pair.segment, "", ""),
			 MC_TOO_BIG);
	ck_assert_int_eq(mc_batch_submit_notify(batch, NULL, 0, pair.segment, name, ""),
			 MC_TOO_BIG);
	ck_assert_int_eq(mc_batch_submit_notify(batch, NULL, 0, pair.segment, "", text),
			 MC_TOO_BIG);
	ck_assert_int_eq(mc_batch_submit_notify(batch, NULL, 0, 77, "", ""), MC_NOT_FOUND);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_batch_new(pair.near, 2, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit_notify(batch, &wrong, 1, pair.segment, "", ""),
			 MC_INVALID);
	mc_batch_summary(batch, &status);
	ck_assert_int_eq(status.state, MC_TASK_WAITING);
	/* The room is there still, and the segment is not held. */
	ck_assert_int_eq(mc_batch_submit_notify(batch, &request, 1, pair.segment, "", ""), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, LIMIT), MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_uint_eq(take(pair.far), 1);
	ck_assert_int_eq(mc_segment_close(pair.near, pair.segment), MC_OK);
	pair_close(&pair);
}
END_TEST

START_TEST(an_engine_can_tell_itself)
{
	struct mc_engine *engine = open_at(STORE, "self", true);
	struct mc_notification *list;
	size_t count;

	ck_assert_int_eq(mc_engine_notify(engine, MC_SEGMENT_LOCAL, "me", "remember", LIMIT),
			 MC_OK);
	ck_assert_int_eq(mc_engine_notifications(engine, 0, &list, &count), MC_OK);
	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(list->text, "remember");
	free(list);
	mc_engine_close(engine);
}
END_TEST

/* --- bounds ---------------------------------------------------------------------------------- */

START_TEST(what_finds_no_room_is_refused_until_some_is_taken)
{
	static char text[MC_NOTIFY_TEXT_MAX + 1];
	struct pair pair;
	struct mc_engine_stats stats;
	unsigned fits =
		_i ? MC_NOTIFY_SIZE_MAX / (sizeof(text) + sizeof("near")) : MC_NOTIFY_COUNT_MAX;

	memset(text, 't', _i ? sizeof(text) - 1 : 1);
	pair_open(&pair);
	for (unsigned i = 0; i < fits; i++)
		ck_assert_int_eq(tell(&pair, text), MC_OK);
	ck_assert_int_eq(tell(&pair, text), MC_NO_SPACE);
	mc_engine_stats(pair.far, &stats);
	ck_assert_uint_eq(stats.notifications, fits);
	ck_assert_uint_eq(take(pair.far), fits);
	ck_assert_int_eq(tell(&pair, text), MC_OK);
	/* What was not taken goes with the engine. */
	pair_close(&pair);
}
END_TEST

static void *take_one(void *context)
{
	struct mc_notification *list = NULL;
	size_t count = 0;
	enum mc_status status = mc_engine_notifications(context, -1, &list, &count);

	free(list);
	return (void *)(uintptr_t)(status == MC_OK && count == 1);
}

START_TEST(one_is_waited_for_no_longer_than_asked)
{
	struct pair pair;
	struct mc_notification *list;
	pthread_t taker;
	size_t count = 7;
	void *took;

	pair_open(&pair);
	uint64_t begin_ns = clock_ns();
	ck_assert_int_eq(mc_engine_notifications(pair.far, 30, &list, &count), MC_OK);
	ck_assert_uint_ge(clock_ns() - begin_ns, 30000000);
	ck_assert_uint_eq(count, 0);
	ck_assert_ptr_null(list);
	ck_assert_int_eq(pthread_create(&taker, NULL, take_one, pair.far), 0);
	ck_assert_int_eq(tell(&pair, ""), MC_OK);
	pthread_join(taker, &took);
	ck_assert_ptr_nonnull(took);
	pair_close(&pair);
}
END_TEST

/* --- peers that go and come --------------------------------------------------------------------
 */

START_TEST(a_peer_that_restarted_is_told_where_it_is_now)
{
	struct pair pair;

	pair_open(&pair);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(tell(&pair, ""), MC_OK);
		ck_assert_uint_eq(take(pair.far), 1);
		mc_engine_close(pair.far);
		ck_assert_int_eq(tell(&pair, ""), MC_UNREACHABLE);
		pair.far = open_at(STORE, "far", true);
		usleep(25000);
	}
	pair_close(&pair);
}
END_TEST

struct lender {
	pid_t child;
	char name[64];
};

/* An engine in a process of its own, made before there are threads here. */
static void lender_start(struct lender *lender)
{
	int names[2];

	ck_assert_int_eq(pipe(names), 0);
	lender->child = fork();
	ck_assert_int_ge(lender->child, 0);
	if (lender->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct mc_engine *engine = open_at("P2PHANDSHAKE", NULL, true);
		dprintf(names[1], "%s", mc_engine_name(engine));
		close(names[0]);
		close(names[1]);
		while (true)
			pause();
	}
	close(names[1]);
	ssize_t size = read(names[0], lender->name, sizeof(lender->name) - 1);
	ck_assert_int_gt(size, 0);
	lender->name[size] = '\0';
	close(names[0]);
}

START_TEST(a_peer_that_stops_or_dies_fails_its_own_only)
{
	struct lender lender;
	struct mc_batch *batch;
	struct mc_task_status status;
	mc_segment_id dead, alive;

	lender_start(&lender);
	struct mc_engine *near = open_at("P2PHANDSHAKE", NULL, false);
	struct mc_engine *far = open_at("P2PHANDSHAKE", NULL, true);
	ck_assert_int_eq(mc_segment_open(near, lender.name, 0, &dead), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, mc_engine_name(far), 0, &alive), MC_OK);
	ck_assert_int_eq(mc_engine_notify(near, dead, "near", "", LIMIT), MC_OK);

	ck_assert_int_eq(kill(lender.child, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(lender.child, NULL, WUNTRACED), lender.child);
	ck_assert_int_eq(mc_engine_notify(near, dead, "near", "", 50), MC_TIMEOUT);
	ck_assert_int_eq(mc_batch_new(near, 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit_notify(batch, NULL, 0, dead, "near", ""), MC_OK);
	mc_batch_deadline(batch, 50);
	ck_assert_int_eq(mc_batch_wait(batch, LIMIT), MC_TIMEOUT);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_batch_new(near, 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit_notify(batch, NULL, 0, dead, "near", ""), MC_OK);
	ck_assert_int_eq(mc_batch_wait(batch, 0), MC_TIMEOUT);
	ck_assert_int_eq(mc_batch_free(batch), MC_BUSY);
	ck_assert_int_eq(mc_segment_close(near, dead), MC_BUSY);
	ck_assert_int_eq(mc_engine_notify(near, alive, "near", "", LIMIT), MC_OK);

	ck_assert_int_eq(kill(lender.child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(lender.child, NULL, 0), lender.child);
	/* Nobody knows whether it heard that. */
	ck_assert_int_eq(mc_batch_wait(batch, LIMIT), MC_TIMEOUT);
	ck_assert_int_eq(mc_batch_status(batch, 0, &status), MC_OK);
	ck_assert_int_eq(status.state, MC_TASK_TIMEOUT);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_engine_notify(near, dead, "near", "", LIMIT), MC_UNREACHABLE);
	ck_assert_int_eq(mc_engine_notify(near, alive, "near", "", LIMIT), MC_OK);
	ck_assert_uint_eq(take(far), 2);
	mc_engine_close(near);
	mc_engine_close(far);
}
END_TEST

/* --- strangers
 * ------------------------------------------------------------------------------------ */

/* Bytes that no engine sends, to where notifications are taken. */
START_TEST(garbage_is_no_notification)
{
	static const char *const texts[] = {"", "{}", "{\"name\":\"a\"}", "null", "[[[[[[[["};
	struct pair pair;
	struct net_address address;
	unsigned seed = (unsigned)clock_ns();
	mc_segment_id unused;

	printf("seed %u\n", seed);
	pair.near = open_at("P2PHANDSHAKE", NULL, false);
	pair.far = open_at("P2PHANDSHAKE", NULL, true);
	ck_assert_int_eq(mc_segment_open(pair.near, mc_engine_name(pair.far), 0, &pair.segment),
			 MC_OK);
	ck_assert_int_eq(net_parse(mc_engine_name(pair.far), &address), MC_OK);
	for (unsigned i = 0; i < 300; i++) {
		struct writer frame;
		char byte;
		int fd;
		writer_init(&frame);
		handshake_frame_put(&frame, HANDSHAKE_NOTIFY, texts[i % ARRAY_SIZE(texts)]);
		for (int j = 0; j < 16 && i >= 100; j++)
			put_u8(&frame, (uint8_t)rand_r(&seed));
		if (i >= 200)
			frame.data[(size_t)rand_r(&seed) % 9] ^= (uint8_t)(1 + rand_r(&seed) % 255);
		ck_assert_int_eq(net_connect(&address, 5000, &fd), MC_OK);
		(void)!send(fd, frame.data, frame.size, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		while (recv(fd, &byte, 1, 0) > 0)
			continue;
		close(fd);
		writer_fini(&frame);
	}
	ck_assert_uint_eq(take(pair.far), 0);
	ck_assert_int_eq(tell(&pair, ""), MC_OK);
	ck_assert_uint_eq(take(pair.far), 1);
	/* Who takes none has no ear for them either. */
	ck_assert_int_eq(mc_segment_open(pair.far, mc_engine_name(pair.near), 0, &unused), MC_OK);
	ck_assert_int_eq(mc_engine_notify(pair.far, unused, "", "", LIMIT), MC_NOT_SUPPORTED);
	pair_close(&pair);
}
END_TEST

enum manner { ABSENT, SILENT, HANGS_UP, RESETS, GARBLES, MUMBLES };

struct stranger {
	enum manner manner;
	int listener;
	pthread_t thread;
	atomic_bool ended;
};

static void answer_badly(enum manner manner, int fd)
{
	struct linger none = {.l_onoff = 1};
	struct writer frame;

	writer_init(&frame);
	if (manner == RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	if (manner == GARBLES)
		put_bytes(&frame, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	if (manner == MUMBLES)
		handshake_frame_put(&frame, HANDSHAKE_NOTIFY, "{\"notify_msg\":\"perhaps\"}");
	(void)!send(fd, frame.data, frame.size, MSG_NOSIGNAL);
	writer_fini(&frame);
}

static void *serve(void *context)
{
	struct stranger *stranger = context;
	uint8_t bytes[4096];

	while (!atomic_load(&stranger->ended)) {
		struct pollfd waits = {.fd = stranger->listener, .events = POLLIN};
		if (poll(&waits, 1, LIMIT) < 1)
			continue;
		int fd = accept(stranger->listener, NULL, NULL);
		if (fd < 0)
			continue;
		if (recv(fd, bytes, sizeof(bytes), 0) > 0)
			answer_badly(stranger->manner, fd);
		close(fd);
	}
	return NULL;
}

/* Publish a segment whose engine is none. */
static void publish(uint16_t port)
{
	struct metadata *metadata;
	struct segment_desc *desc;
	char endpoint[64], key[METADATA_KEY_SIZE_MAX + 1];
	char *text;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "stranger", &desc), MC_OK);
	snprintf(endpoint, sizeof(endpoint), "tcp:127.0.0.1:%u", port);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	snprintf(endpoint, sizeof(endpoint), "notify:127.0.0.1:%u", port);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	ck_assert_int_eq(segment_desc_print(desc, &text), MC_OK);
	segment_desc_unref(desc);
	ck_assert_int_eq(segment_key("stranger", key, sizeof(key)), MC_OK);
	ck_assert_int_eq(metadata_open(&(struct metadata_config){.url = STORE}, &metadata), MC_OK);
	ck_assert_int_eq(metadata_put(metadata, key, text), MC_OK);
	metadata_close(metadata);
	free(text);
}

static void stranger_start(struct stranger *stranger, enum manner manner)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	stranger->manner = manner;
	stranger->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(stranger->listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(getsockname(stranger->listener, (struct sockaddr *)&address, &size), 0);
	if (manner != ABSENT)
		ck_assert_int_eq(listen(stranger->listener, 100), 0);
	if (manner > SILENT)
		ck_assert_int_eq(pthread_create(&stranger->thread, NULL, serve, stranger), 0);
	publish(ntohs(address.sin_port));
}

static void stranger_end(struct stranger *stranger)
{
	atomic_store(&stranger->ended, true);
	shutdown(stranger->listener, SHUT_RDWR);
	if (stranger->manner > SILENT)
		pthread_join(stranger->thread, NULL);
	close(stranger->listener);
}

/* --- nothing is left
 * -------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILURES 500u
#else
#define FAILURES 10000u
#endif
#define MANY 100u /* at once: more than are under way at a time */

static const struct kind {
	const char *name;
	enum manner manner;
	enum mc_status expected;
	bool late, cancelled; /* by whoever waits */
	bool full;	      /* the far engine is */
	bool after;	      /* a request that fails */
} kinds[] = {
	{"nobody listens", ABSENT, MC_UNREACHABLE},
	{"deadline", SILENT, MC_TIMEOUT, .late = true},
	{"cancelled", SILENT, MC_CANCELLED, .cancelled = true},
	{"hung up", HANGS_UP, MC_TIMEOUT},
	{"connection reset", RESETS, MC_TIMEOUT},
	{"no frame", GARBLES, MC_PROTOCOL},
	{"no answer of ours", MUMBLES, MC_PROTOCOL},
	{"no room", ABSENT, MC_NO_SPACE, .full = true},
	{"the request failed", ABSENT, MC_ACCESS, .after = true},
};

static void fail_many(struct pair *pair, const struct kind *kind, mc_segment_id segment)
{
	struct mc_request wrong = {MC_WRITE, here, pair->segment, (uintptr_t)there, 8};
	struct mc_task_status status;
	struct mc_batch *batch;
	size_t tasks = kind->after ? 2 : 1;

	ck_assert_int_eq(mc_batch_new(pair->near, MANY * tasks, &batch), MC_OK);
	if (kind->late)
		mc_batch_deadline(batch, 1);
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert_int_eq(
			mc_batch_submit_notify(batch, &wrong, tasks - 1, segment, "near", "text"),
			MC_OK);
	if (kind->cancelled)
		mc_batch_cancel(batch);
	ck_assert_int_eq(mc_batch_wait(batch, LIMIT), kind->expected);
	for (uint32_t i = tasks - 1; i < MANY * tasks; i += tasks) {
		ck_assert_int_eq(mc_batch_status(batch, i, &status), MC_OK);
		ck_assert_int_eq(status.status, kind->expected);
	}
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
}

static bool is_as_before(struct pair *pair, const struct usage *before)
{
	struct mc_engine_stats stats;
	struct usage now = usage_now();

	mc_engine_stats(pair->near, &stats);
	return stats.tasks == 0 && stats.slices == 0 && stats.batches == 0 &&
	       usage_fits(&now, before);
}

static void set_stack_size(size_t size)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	ck_assert_int_eq(pthread_attr_setstacksize(&attributes, size), 0);
	ck_assert_int_eq(pthread_setattr_default_np(&attributes), 0);
	pthread_attr_destroy(&attributes);
}

/* After this fabric no thread can be started: there is no room for its stack. */
static enum mc_status open_the_last_thread(const struct fabric_config *config,
					   struct fabric **fabric)
{
	enum mc_status status = fake_open(config, fabric);

	set_stack_size((size_t)1 << 46);
	return status;
}

START_TEST(an_engine_that_cannot_listen_leaves_nothing)
{
	struct mc_engine_config config = {
		.metadata = STORE, .name = "none", .listen = "127.0.0.1", .notifications = true};
	struct fabric_ops last = *fake_table[0];
	const struct fabric_ops *const table[] = {&last, NULL};
	struct mc_engine *engine;

	last.open = open_the_last_thread;
	for (int i = 0; i < 2; i++) {
		struct usage before = usage_settled();
		ck_assert_int_eq(engine_open(&config, table, &engine), MC_NO_MEMORY);
		set_stack_size(1u << 20);
		if (i > 0)
			ck_assert_int_eq(usage_settled().descriptors, before.descriptors);
	}
}
END_TEST

START_TEST(ten_thousand_failures_leave_nothing)
{
	const struct kind *kind = &kinds[_i];
	struct stranger stranger = {0};
	struct pair pair;
	mc_segment_id strange;

	usage_share_heap();
	setenv("MC_RETRY_CNT", "1", 1);
	pair_open(&pair);
	stranger_start(&stranger, kind->manner);
	ck_assert_int_eq(mc_segment_open(pair.near, "stranger", 0, &strange), MC_OK);
	ck_assert_int_eq(tell(&pair, ""), MC_OK);
	for (uint32_t i = 1; i < MC_NOTIFY_COUNT_MAX && kind->full; i++)
		ck_assert_int_eq(tell(&pair, ""), MC_OK);
	mc_segment_id segment = kind->full || kind->after ? pair.segment : strange;
	for (unsigned i = 0; i < 4; i++)
		fail_many(&pair, kind, segment);
	struct usage before = usage_settled();
	for (unsigned failures = 0; failures < FAILURES; failures += MANY)
		fail_many(&pair, kind, segment);
	uint64_t until = clock_ns() + LIMIT * 1000000ull;
	while (!is_as_before(&pair, &before)) {
		if (clock_ns() > until) {
			usage_print("before", &before);
			struct usage now = usage_now();
			usage_print("after", &now);
			ck_abort_msg("something is left of failures: %s", kind->name);
		}
		usleep(1000);
	}
	ck_assert_uint_eq(take(pair.far), kind->full ? MC_NOTIFY_COUNT_MAX : 1);
	ck_assert_int_eq(tell(&pair, ""), MC_OK);
	stranger_end(&stranger);
	pair_close(&pair);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("notify");

	log_set_level("error");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, who_takes_none_is_told_none);
	tcase_add_test(tc, wrong_ones_are_refused_and_nothing_of_their_call_begins);
	tcase_add_test(tc, an_engine_can_tell_itself);
	tcase_add_loop_test(tc, what_finds_no_room_is_refused_until_some_is_taken, 0, 2);
	tcase_add_test(tc, one_is_waited_for_no_longer_than_asked);
	tcase_add_test(tc, a_peer_that_restarted_is_told_where_it_is_now);
	tcase_add_test(tc, a_peer_that_stops_or_dies_fails_its_own_only);
	tcase_add_test(tc, garbage_is_no_notification);
	tcase_add_test(tc, an_engine_that_cannot_listen_leaves_nothing);
	tcase_add_loop_test(tc, ten_thousand_failures_leave_nothing, 0, (int)ARRAY_SIZE(kinds));
	suite_add_tcase(s, tc);
	return suite_run(s);
}
