#include "engine/base/attend.h"

#include <check.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/support/suite.h"

/* A connection that answers after so many looks. */
struct line {
	int fd;
	int looks;
	int due; /* -1: never */
	int released;
	bool answered;
	struct line *next; /* what the answer asks */
};

static void line_release(void *context, bool answered)
{
	struct line *line = context;

	line->released++;
	line->answered = answered;
}

static bool line_receive(void *context, int *fd)
{
	struct line *line = context;
	eventfd_t value;

	*fd = line->fd;
	if (line->due < 0 && eventfd_read(line->fd, &value) < 0)
		return false;
	if (++line->looks < line->due)
		return false;
	if (line->next)
		attend_to(&(struct attention){line_receive, line_release, line->next});
	return true;
}

static void line_take(struct line *line)
{
	attend_to(&(struct attention){line_receive, line_release, line});
}

static struct line line_new(int due)
{
	return (struct line){.fd = eventfd(0, EFD_NONBLOCK), .due = due};
}

START_TEST(nobody_attends_unless_asked_to)
{
	ck_assert(!attend_wanted());
	attend_begin();
	ck_assert(attend_wanted());
	attend_end();
	ck_assert(!attend_wanted());
}
END_TEST

START_TEST(an_answer_that_is_there_is_taken)
{
	struct line line = line_new(1);

	attend_begin();
	line_take(&line);
	ck_assert_int_eq(line.released, 0);
	attend_end();
	ck_assert_int_eq(line.looks, 1);
	ck_assert_int_eq(line.released, 1);
	ck_assert(line.answered);
	close(line.fd);
}
END_TEST

static void *answer_later(void *context)
{
	struct line *line = context;

	usleep(50);
	eventfd_write(line->fd, 1);
	return NULL;
}

START_TEST(an_answer_that_comes_within_the_moment_is_waited_for)
{
	int taken = 0;

	/* A busy machine may be too late, though not every time. */
	for (int i = 0; i < 1000 && !taken; i++) {
		struct line line = line_new(-1);
		pthread_t thread;
		attend_begin();
		line_take(&line);
		ck_assert_int_eq(pthread_create(&thread, NULL, answer_later, &line), 0);
		attend_end();
		pthread_join(thread, NULL);
		ck_assert_int_eq(line.released, 1);
		taken += line.answered;
		close(line.fd);
	}
	ck_assert_int_gt(taken, 0);
}
END_TEST

START_TEST(what_never_comes_is_given_back)
{
	struct line line = line_new(-1);

	attend_begin();
	line_take(&line);
	uint64_t begin_ns = clock_ns();
	attend_end();
	ck_assert_uint_ge(clock_ns() - begin_ns, 100000);
	ck_assert_uint_lt(clock_ns() - begin_ns, 1000000000);
	ck_assert_int_eq(line.released, 1);
	ck_assert(!line.answered);
	close(line.fd);
}
END_TEST

START_TEST(an_answer_may_ask_once_more)
{
	struct line second = line_new(1);
	struct line first = line_new(1);

	first.next = &second;
	attend_begin();
	line_take(&first);
	attend_end();
	ck_assert(first.answered);
	ck_assert(second.answered);
	ck_assert_int_eq(second.released, 1);
	ck_assert(!attend_wanted());
	close(first.fd);
	close(second.fd);
}
END_TEST

START_TEST(no_more_than_two_are_taken_over)
{
	struct line lines[2] = {line_new(1), line_new(1)};

	attend_begin();
	line_take(&lines[0]);
	ck_assert(attend_wanted());
	line_take(&lines[1]);
	ck_assert(!attend_wanted());
	attend_end();
	ck_assert(lines[0].answered && lines[1].answered);
	close(lines[0].fd);
	close(lines[1].fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attend");
	TCase *tc = tcase_create("attend");

	tcase_add_test(tc, nobody_attends_unless_asked_to);
	tcase_add_test(tc, an_answer_that_is_there_is_taken);
	tcase_add_test(tc, an_answer_that_comes_within_the_moment_is_waited_for);
	tcase_add_test(tc, what_never_comes_is_given_back);
	tcase_add_test(tc, an_answer_may_ask_once_more);
	tcase_add_test(tc, no_more_than_two_are_taken_over);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
