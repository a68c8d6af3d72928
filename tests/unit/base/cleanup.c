/*
 * What ends with its scope: memory, descriptors and locks, and what was handed
 * over does not.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "tests/support/suite.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool is_free(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}

START_TEST(a_descriptor_closes_with_its_scope)
{
	int seen;
	{
		CLEANUP_FD int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		seen = fd;
	}
	ck_assert(!is_open(seen));
}
END_TEST

START_TEST(a_descriptor_that_was_never_open_is_left_alone)
{
	errno = 0;
	{
		CLEANUP_FD int fd = -1;
		ck_assert_int_lt(fd, 0);
	}
	ck_assert_int_eq(errno, 0);
}
END_TEST

START_TEST(a_stolen_descriptor_stays_open)
{
	int kept;
	{
		CLEANUP_FD int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		kept = STEAL_FD(fd);
		ck_assert_int_eq(fd, -1);
	}
	ck_assert(is_open(kept));
	close(kept);
}
END_TEST

START_TEST(stolen_memory_stays)
{
	int *kept;
	{
		CLEANUP_FREE int *number = malloc(sizeof(*number));
		ck_assert_ptr_nonnull(number);
		*number = 42;
		kept = STEAL(number);
		ck_assert_ptr_null(number);
	}
	ck_assert_int_eq(*kept, 42);
	free(kept);
}
END_TEST

START_TEST(a_lock_is_held_until_the_scope_ends)
{
	pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;
	{
		WITH_LOCK(&first);
		WITH_LOCK(&second);
		ck_assert(!is_free(&first));
		ck_assert(!is_free(&second));
	}
	ck_assert(is_free(&first));
	ck_assert(is_free(&second));
}
END_TEST

static int leave_early(pthread_mutex_t *lock)
{
	WITH_LOCK(lock);
	return 7;
}

START_TEST(a_lock_is_let_go_by_return)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	ck_assert_int_eq(leave_early(&lock), 7);
	ck_assert(is_free(&lock));
}
END_TEST

START_TEST(a_container_is_found_by_its_member)
{
	struct pair {
		int first;
		int second;
	} pair;

	ck_assert_ptr_eq(container_of(&pair.second, struct pair, second), &pair);
	ck_assert_uint_eq(ARRAY_SIZE(((int[]){1, 2, 3})), 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/cleanup");
	TCase *tcase = tcase_create("cleanup");

	tcase_add_test(tcase, a_descriptor_closes_with_its_scope);
	tcase_add_test(tcase, a_descriptor_that_was_never_open_is_left_alone);
	tcase_add_test(tcase, a_stolen_descriptor_stays_open);
	tcase_add_test(tcase, stolen_memory_stays);
	tcase_add_test(tcase, a_lock_is_held_until_the_scope_ends);
	tcase_add_test(tcase, a_lock_is_let_go_by_return);
	tcase_add_test(tcase, a_container_is_found_by_its_member);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
