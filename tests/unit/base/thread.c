/* Threads that a program did not start itself. */
#include "engine/base/thread.h"

#include <check.h>
#include <signal.h>

#include "tests/support/suite.h"

static void *ask(void *mask)
{
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, NULL, mask), 0);
	return mask;
}

START_TEST(a_thread_takes_no_signals_but_its_own_faults)
{
	sigset_t before, theirs, after;
	pthread_t thread;
	void *returned;

	ask(&before);
	ck_assert_int_eq(thread_start(&thread, ask, &theirs), 0);
	ck_assert_int_eq(pthread_join(thread, &returned), 0);
	ck_assert_ptr_eq(returned, &theirs);
	ask(&after);
	ck_assert_int_eq(sigismember(&theirs, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&theirs, SIGUSR1), 1);
	ck_assert_int_eq(sigismember(&theirs, SIGSEGV), 0);
	for (int number = 1; number < 32; number++)
		ck_assert_int_eq(sigismember(&before, number), sigismember(&after, number));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("thread");
	TCase *tc = tcase_create("signals");

	tcase_add_test(tc, a_thread_takes_no_signals_but_its_own_faults);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
