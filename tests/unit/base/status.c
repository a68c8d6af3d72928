/*
 * The closed list of statuses: each has a text of its own and is the negative
 * of its errno; every errno becomes a member.
 */
#include <check.h>
#include <string.h>

#include <mooncake/status.h>

#include "engine/base/cleanup.h"
#include "tests/support/suite.h"

static const enum mc_status statuses[] = {
	MC_OK,
	MC_PERMISSION,
	MC_NOT_FOUND,
	MC_IO,
	MC_AGAIN,
	MC_NO_MEMORY,
	MC_ACCESS,
	MC_BUSY,
	MC_EXISTS,
	MC_CROSS_DEVICE,
	MC_NOT_DIRECTORY,
	MC_IS_DIRECTORY,
	MC_INVALID,
	MC_TOO_BIG,
	MC_NO_SPACE,
	MC_READ_ONLY,
	MC_NAME_TOO_LONG,
	MC_NOT_EMPTY,
	MC_NO_DATA,
	MC_PROTOCOL,
	MC_STALE,
	MC_NOT_SUPPORTED,
	MC_UNREACHABLE,
	MC_TIMEOUT,
	MC_CANCELLED,
};
enum { STATUS_COUNT = ARRAY_SIZE(statuses) };

START_TEST(a_status_survives_the_way_through_errno)
{
	enum mc_status status = statuses[_i];

	ck_assert_int_le((int)status, 0);
	ck_assert_int_eq(mc_status_from_errno(-(int)status), status);
}
END_TEST

START_TEST(each_status_has_a_text_of_its_own)
{
	const char *text = mc_status_text(statuses[_i]);

	ck_assert_ptr_nonnull(text);
	ck_assert_str_ne(text, "");
	ck_assert_str_ne(text, mc_status_text((enum mc_status)1));
	for (int i = 0; i < _i; i++)
		ck_assert_str_ne(text, mc_status_text(statuses[i]));
}
END_TEST

START_TEST(a_foreign_status_has_a_text_too)
{
	ck_assert_str_eq(mc_status_text((enum mc_status)12345), "unknown status");
}
END_TEST

START_TEST(an_errno_without_a_member_is_an_io_error)
{
	ck_assert_int_eq(mc_status_from_errno(EXFULL), MC_IO);
	ck_assert_int_eq(mc_status_from_errno(-1), MC_IO);
}
END_TEST

START_TEST(a_lost_connection_is_unreachable)
{
	static const int errors[] = {ECONNREFUSED, ECONNRESET, EPIPE, ENETUNREACH, ENOTCONN};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		ck_assert_int_eq(mc_status_from_errno(errors[i]), MC_UNREACHABLE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/status");
	TCase *tcase = tcase_create("status");

	tcase_add_loop_test(tcase, a_status_survives_the_way_through_errno, 0, STATUS_COUNT);
	tcase_add_loop_test(tcase, each_status_has_a_text_of_its_own, 0, STATUS_COUNT);
	tcase_add_test(tcase, a_foreign_status_has_a_text_too);
	tcase_add_test(tcase, an_errno_without_a_member_is_an_io_error);
	tcase_add_test(tcase, a_lost_connection_is_unreachable);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
