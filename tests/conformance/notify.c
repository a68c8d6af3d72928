/*
 * Notifications over every fabric, and with every kind of listener: they come whole, once,
 * and not before the bytes that they tell of.
 */
#include <check.h>
#include <mooncake/engine.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/memory.h"
#include "tests/support/suite.h"

#define SIZE  (4u << 20)
#define PARTS 4u
#define LIMIT 60000 /* ms until something must have come */

static const struct row {
	const char *protocol;
	const char *variable; /* in the environment, if any */
	bool allocated;	      /* memory that others can map */
	const char *metadata;
} rows[] = {
	{"tcp", NULL, false, "memory://notify"},
	{"tcp", NULL, false, "P2PHANDSHAKE"},
	{"shm", NULL, false, "memory://notify"},
	{"shm", NULL, true, "P2PHANDSHAKE"},
	{"tcp", "MC_DISABLE_IO_URING", false, "memory://notify"},
	{"rdma", NULL, false, "memory://notify"},
};

#define ROWS ((int)ARRAY_SIZE(rows))

/* The view is the same memory: a race detector can't see that sockets order what is done. */
struct side {
	struct mc_engine *engine;
	uint8_t *memory, *view;
};

static struct side near, far;
static bool allocated;
static mc_segment_id segment;

static uint8_t *map(int fd)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static void side_memory(struct side *side)
{
	uint64_t offset;
	void *memory;
	int fd;

	if (allocated) {
		ck_assert_int_eq(mc_memory_alloc(SIZE, &memory), MC_OK);
		ck_assert_int_eq(memory_lend(memory, SIZE, true, &fd, &offset), MC_OK);
		side->memory = memory;
	} else {
		fd = memfd_create("notify", MFD_CLOEXEC);
		ck_assert_int_eq(ftruncate(fd, SIZE), 0);
		side->memory = map(fd);
	}
	side->view = map(fd);
	close(fd);
}

/* False: not on this machine. */
static bool side_open(struct side *side, const struct row *row, const char *name, uint32_t access)
{
	struct mc_engine_config config = {
		.metadata = row->metadata,
		.name = name,
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
		.protocols = row->protocol,
		.notifications = true,
	};
	enum mc_status status = mc_engine_open(&config, &side->engine);

	if (status == MC_NOT_SUPPORTED) {
		fprintf(stderr, "skipped: no %s on this machine\n", row->protocol);
		return false;
	}
	ck_assert_int_eq(status, MC_OK);
	side_memory(side);
	ck_assert_int_eq(mc_engine_register(side->engine, side->memory, SIZE, "*", access), MC_OK);
	return true;
}

static bool open_row(int row)
{
	/* Each test is a process of its own. */
	if (rows[row].variable)
		setenv(rows[row].variable, "1", 1);
	allocated = rows[row].allocated;
	if (!side_open(&near, &rows[row], "near", MC_REGION_LOCAL))
		return false;
	ck_assert(side_open(&far, &rows[row], "far", MC_REGION_REMOTE_WRITE));
	ck_assert_int_eq(mc_segment_open(near.engine, mc_engine_name(far.engine), 0, &segment),
			 MC_OK);
	return true;
}

static void side_close(struct side *side)
{
	struct mc_engine_stats stats;

	mc_engine_stats(side->engine, &stats);
	ck_assert_uint_eq(stats.tasks, 0);
	ck_assert_uint_eq(stats.notifications, 0);
	mc_engine_close(side->engine);
	munmap(side->view, SIZE);
	if (allocated)
		mc_memory_free(side->memory);
	else
		munmap(side->memory, SIZE);
}

static void close_row(void)
{
	side_close(&near);
	side_close(&far);
}

/* The whole memory in parts, and a word of it. */
static struct mc_batch *write_all(enum mc_opcode opcode, const char *text)
{
	struct mc_request requests[PARTS];
	struct mc_batch *batch;

	for (size_t i = 0; i < PARTS; i++) {
		size_t at = i * (SIZE / PARTS);
		requests[i] =
			(struct mc_request){opcode, near.memory + at, segment,
					    (uint64_t)(uintptr_t)far.memory + at, SIZE / PARTS};
	}
	ck_assert_int_eq(mc_batch_new(near.engine, PARTS + 1, &batch), MC_OK);
	ck_assert_int_eq(mc_batch_submit_notify(batch, requests, PARTS, segment, "near", text),
			 MC_OK);
	return batch;
}

/* --- order ------------------------------------------------------------------------------- */

#define ROUNDS 50

static pthread_barrier_t seen;

static bool all_are(const uint8_t *bytes, uint8_t value)
{
	return bytes[0] == value && memcmp(bytes, bytes + 1, SIZE - 1) == 0;
}

/* Looks at the memory as soon as it is told to, whatever the sender knows by then. */
static void *look_when_told(void *context)
{
	atomic_int *wrong = context;

	for (int round = 1; round <= ROUNDS; round++) {
		struct mc_notification *list = NULL;
		size_t count = 0;
		if (mc_engine_notifications(far.engine, LIMIT, &list, &count) || count != 1 ||
		    atoi(list->text) != round || !all_are(far.view, (uint8_t)round))
			atomic_fetch_add(wrong, 1);
		free(list);
		pthread_barrier_wait(&seen);
	}
	return NULL;
}

START_TEST(what_was_written_is_seen_whole_by_whoever_was_notified)
{
	atomic_int wrong = 0;
	pthread_t looker;
	char text[16];

	if (!open_row(_i))
		return;
	pthread_barrier_init(&seen, NULL, 2);
	ck_assert_int_eq(pthread_create(&looker, NULL, look_when_told, &wrong), 0);
	for (int round = 1; round <= ROUNDS; round++) {
		memset(near.view, round, SIZE);
		snprintf(text, sizeof(text), "%d", round);
		struct mc_batch *batch = write_all(MC_WRITE, text);
		struct mc_task_status status;
		ck_assert_int_eq(mc_batch_wait(batch, LIMIT), MC_OK);
		ck_assert_int_eq(mc_batch_status(batch, PARTS, &status), MC_OK);
		ck_assert_int_eq(status.state, MC_TASK_COMPLETED);
		ck_assert_uint_eq(status.bytes, 0);
		ck_assert_int_eq(mc_batch_free(batch), MC_OK);
		pthread_barrier_wait(&seen);
	}
	pthread_join(looker, NULL);
	ck_assert_int_eq(wrong, 0);
	pthread_barrier_destroy(&seen);
	close_row();
}
END_TEST

START_TEST(requests_that_fail_tell_nobody)
{
	struct mc_notification *list;
	struct mc_task_status status;
	size_t count;

	if (!open_row(_i))
		return;
	/* It may be written only. */
	struct mc_batch *batch = write_all(MC_READ, "never");
	enum mc_status why = mc_batch_wait(batch, LIMIT);
	ck_assert_int_ne(why, MC_OK);
	ck_assert_int_eq(mc_batch_status(batch, PARTS, &status), MC_OK);
	ck_assert_int_eq(status.state, MC_TASK_FAILED);
	ck_assert_int_ne(status.status, MC_OK);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	ck_assert_int_eq(mc_engine_notifications(far.engine, 0, &list, &count), MC_OK);
	ck_assert_uint_eq(count, 0);
	ck_assert_ptr_null(list);
	close_row();
}
END_TEST

/* --- texts -------------------------------------------------------------------------------- */

static void tell_and_take(const char *name, const char *text)
{
	struct mc_notification *list;
	size_t count;

	ck_assert_int_eq(mc_engine_notify(near.engine, segment, name, text, LIMIT), MC_OK);
	ck_assert_int_eq(mc_engine_notifications(far.engine, 0, &list, &count), MC_OK);
	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(list->name, name);
	ck_assert(strcmp(list->text, text) == 0);
	free(list);
}

START_TEST(texts_come_as_they_were)
{
	static char name[MC_NOTIFY_NAME_MAX + 1], text[MC_NOTIFY_TEXT_MAX + 1];

	if (!open_row(_i))
		return;
	tell_and_take("", "");
	tell_and_take("near", "{\"quoted\":\"\\u0000\"}");
	memset(name, 'n', sizeof(name) - 1);
	memset(text, '\1', sizeof(text) - 1);
	tell_and_take(name, text);
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)(1 + i % 255);
	tell_and_take(name, text);
	close_row();
}
END_TEST

START_TEST(those_that_wait_are_taken_at_once_and_in_order)
{
	struct mc_notification *list;
	char text[16];
	size_t count;

	if (!open_row(_i))
		return;
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%d", i);
		ck_assert_int_eq(mc_engine_notify(near.engine, segment, "near", text, LIMIT),
				 MC_OK);
	}
	ck_assert_int_eq(mc_engine_notifications(far.engine, 0, &list, &count), MC_OK);
	ck_assert_uint_eq(count, 100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(atoi(list[i].text), i);
	free(list);
	close_row();
}
END_TEST

/* --- threads ------------------------------------------------------------------------------- */

#define THREADS 4
#define EACH	100

static void *tell_often(void *context)
{
	size_t at = (size_t)(uintptr_t)context * 4096;
	struct mc_request request = {MC_WRITE, near.memory + at, segment,
				     (uint64_t)(uintptr_t)far.memory + at, 4096};
	uintptr_t failures = 0;

	for (int i = 0; i < EACH; i++) {
		struct mc_batch *batch;
		bool failed = mc_batch_new(near.engine, 2, &batch) != MC_OK;
		if (!failed)
			failed = mc_batch_submit_notify(batch, &request, 1, segment, "near", "") ||
				 mc_batch_wait(batch, LIMIT);
		if (failed || mc_batch_free(batch))
			failures++;
	}
	return (void *)failures;
}

START_TEST(many_threads_may_tell_while_others_take)
{
	pthread_t threads[THREADS];
	size_t came = 0;

	if (!open_row(_i))
		return;
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, tell_often, (void *)(uintptr_t)i), 0);
	while (came < (size_t)THREADS * EACH) {
		struct mc_notification *list;
		size_t count;
		ck_assert_int_eq(mc_engine_notifications(far.engine, LIMIT, &list, &count), MC_OK);
		ck_assert_uint_gt(count, 0);
		came += count;
		free(list);
	}
	for (size_t i = 0; i < THREADS; i++) {
		void *failures;
		pthread_join(threads[i], &failures);
		ck_assert_ptr_null(failures);
	}
	ck_assert_uint_eq(came, THREADS * EACH);
	close_row();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notify");
	TCase *tc = tcase_create("fabrics");

	log_set_level("error");
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, what_was_written_is_seen_whole_by_whoever_was_notified, 0, ROWS);
	tcase_add_loop_test(tc, requests_that_fail_tell_nobody, 0, ROWS);
	tcase_add_loop_test(tc, texts_come_as_they_were, 0, ROWS);
	tcase_add_loop_test(tc, those_that_wait_are_taken_at_once_and_in_order, 0, ROWS);
	tcase_add_loop_test(tc, many_threads_may_tell_while_others_take, 0, ROWS);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
