/* Notifications as text: byte for byte, and what is none. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/notice.h"
#include "tests/support/suite.h"

START_TEST(what_is_said_is_what_mooncake_says)
{
	CLEANUP_FREE char *json = NULL, *yes = NULL, *no = NULL;

	ck_assert_int_eq(notice_print("node7", "layer \"3\"\n", &json), MC_OK);
	ck_assert_str_eq(json, "{\"name\":\"node7\",\"notify_msg\":\"layer \\\"3\\\"\\n\"}");
	ck_assert_int_eq(notice_answer_print(MC_OK, &yes), MC_OK);
	ck_assert_str_eq(yes, "{\"name\":\"\",\"notify_msg\":\"success\"}");
	ck_assert_int_eq(notice_answer_print(MC_NO_SPACE, &no), MC_OK);
	ck_assert_str_eq(no, "{\"name\":\"\",\"notify_msg\":\"full\"}");
	ck_assert_int_eq(notice_answer_parse(yes), MC_OK);
	ck_assert_int_eq(notice_answer_parse(no), MC_NO_SPACE);
}
END_TEST

/* As jsoncpp prints it, with members that are none of ours. */
START_TEST(what_mooncake_prints_is_understood)
{
	CLEANUP_FREE char *name = NULL, *text = NULL;

	ck_assert_int_eq(notice_parse("{\"name\" : \"a\",\n\t\"notify_msg\" : \"b\","
				      "\"trace_carrier\" : \"c\"}\n",
				      &name, &text),
			 MC_OK);
	ck_assert_str_eq(name, "a");
	ck_assert_str_eq(text, "b");
	ck_assert_int_eq(notice_answer_parse("{\"name\":\"\",\"notify_msg\":\"success\"}\n"),
			 MC_OK);
}
END_TEST

static const char *const bad[] = {
	"",
	"{}",
	"[]",
	"null",
	"\"success\"",
	"{\"name\":\"a\"}",
	"{\"notify_msg\":\"a\"}",
	"{\"name\":1,\"notify_msg\":\"a\"}",
	"{\"name\":\"a\",\"notify_msg\":null}",
	"{\"name\":\"a\",\"notify_msg\":\"b\"",
	"{\"name\":\"a\",\"notify_msg\":\"b\"}x",
	"{\"Name\":\"a\",\"notify_msg\":\"b\"}",
	"{\"name\":\"a\",\"notify_msg\":\"\\ud800\"}",
};

START_TEST(what_is_no_notification_is_refused)
{
	char *name = NULL, *text = NULL;

	ck_assert_int_eq(notice_parse(bad[_i], &name, &text), MC_PROTOCOL);
	ck_assert_ptr_null(name);
	ck_assert_ptr_null(text);
	ck_assert_int_eq(notice_answer_parse(bad[_i]), MC_PROTOCOL);
}
END_TEST

/* Texts as long as may be, and one byte more, on either side. */
START_TEST(texts_have_a_limit)
{
	static char name[MC_NOTIFY_NAME_MAX + 2], text[MC_NOTIFY_TEXT_MAX + 2];
	static char long_name[1024], long_text[MC_NOTIFY_TEXT_MAX + 1024];
	CLEANUP_FREE char *json = NULL, *none = NULL;
	char *a = NULL, *b = NULL;

	memset(name, 'n', sizeof(name) - 2);
	memset(text, '\1', sizeof(text) - 2);
	ck_assert_int_eq(notice_print(name, text, &json), MC_OK);
	ck_assert_int_eq(notice_parse(json, &a, &b), MC_OK);
	ck_assert_str_eq(a, name);
	ck_assert_str_eq(b, text);
	free(a);
	free(b);
	name[sizeof(name) - 2] = text[sizeof(text) - 2] = 'm';
	ck_assert_int_eq(notice_print(name, "", &none), MC_TOO_BIG);
	ck_assert_int_eq(notice_print("", text, &none), MC_TOO_BIG);
	snprintf(long_name, sizeof(long_name), "{\"name\":\"%s\",\"notify_msg\":\"\"}", name);
	ck_assert_int_eq(notice_parse(long_name, &a, &b), MC_PROTOCOL);
	memset(text, 't', sizeof(text) - 1);
	snprintf(long_text, sizeof(long_text), "{\"name\":\"\",\"notify_msg\":\"%s\"}", text);
	ck_assert_int_eq(notice_parse(long_text, &a, &b), MC_PROTOCOL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("notice");

	tcase_add_test(tc, what_is_said_is_what_mooncake_says);
	tcase_add_test(tc, what_mooncake_prints_is_understood);
	tcase_add_loop_test(tc, what_is_no_notification_is_refused, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(tc, texts_have_a_limit);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
