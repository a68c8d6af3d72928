/* JSON and metrics, byte for byte. */
#include <check.h>
#include <string.h>

#include "engine/http/json.h"
#include "engine/http/metrics.h"
#include "tests/support/suite.h"

static struct writer w;

static void setup(void)
{
	writer_init(&w);
}

static void teardown(void)
{
	writer_fini(&w);
}

static void assert_written(const char *text)
{
	ck_assert(!w.failed);
	put_u8(&w, 0);
	ck_assert_str_eq((const char *)w.data, text);
}

START_TEST(a_document_has_its_commas_and_brackets)
{
	struct json json;

	json_init(&json, &w);
	json_begin_object(&json, NULL);
	json_begin_list(&json, "none");
	json_end_list(&json);
	json_begin_list(&json, "list");
	json_number(&json, NULL, 18446744073709551615ull);
	json_bool(&json, NULL, true);
	json_begin_object(&json, NULL);
	json_text(&json, "a", "b");
	json_end_object(&json);
	json_text(&json, NULL, "");
	json_end_list(&json);
	json_raw(&json, "raw", "[1]");
	json_bool(&json, "no", false);
	json_end_object(&json);
	assert_written("{\"none\":[],\"list\":[18446744073709551615,true,{\"a\":\"b\"},\"\"],"
		       "\"raw\":[1],\"no\":false}");
}
END_TEST

START_TEST(texts_are_escaped)
{
	static const char bytes[] = "a\"b\\c\n\x01\x7f/\xc3\xa9\xff\xc3\xe2\x82";
	struct json json;

	json_init(&json, &w);
	json_bytes(&json, NULL, bytes, sizeof(bytes)); /* with the zero */
	assert_written("\"a\\\"b\\\\c\\u000a\\u0001\\u007f/\xc3\xa9\\udcff\\udcc3\\udce2\\udc82"
		       "\\u0000\"");
}
END_TEST

START_TEST(a_metric_has_its_help_its_type_and_its_values)
{
	static const struct metric counter = {"x_total", METRIC_COUNTER, "Counts."};
	static const struct metric gauge = {"y", METRIC_GAUGE, "Is."};

	metrics_begin(&w, &counter);
	metrics_value(&w, &counter, "a=\"1\"", 5);
	metrics_milli(&w, &counter, NULL, 1002);
	metrics_one(&w, &gauge, 0);
	assert_written("# HELP mooncake_x_total Counts.\n# TYPE mooncake_x_total counter\n"
		       "mooncake_x_total{a=\"1\"} 5\nmooncake_x_total 1.002\n"
		       "# HELP mooncake_y Is.\n# TYPE mooncake_y gauge\nmooncake_y 0\n");
}
END_TEST

START_TEST(labels_are_escaped_and_joined)
{
	char text[64] = "";

	metrics_label(text, sizeof(text), "a", "b\"\\\n\xff");
	metrics_label(text, sizeof(text), "c", "");
	ck_assert_str_eq(text, "a=\"b\\\"\\\\\\n\xef\xbf\xbd\",c=\"\"");
}
END_TEST

START_TEST(labels_that_do_not_fit_are_cut_whole)
{
	for (size_t size = 1; size <= 16; size++) {
		char text[17] = "";
		memset(text + size, 'X', sizeof(text) - size);
		metrics_label(text, size, "a", "b\"\xc3\xa9");
		size_t length = strlen(text);
		ck_assert_uint_lt(length, size);
		ck_assert(length == 0 || (text[length - 1] == '"' && text[length - 2] != '\\'));
		ck_assert(text[sizeof(text) - 1] == 'X');
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http/text");
	TCase *tcase = tcase_create("text");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_document_has_its_commas_and_brackets);
	tcase_add_test(tcase, texts_are_escaped);
	tcase_add_test(tcase, a_metric_has_its_help_its_type_and_its_values);
	tcase_add_test(tcase, labels_are_escaped_and_joined);
	tcase_add_test(tcase, labels_that_do_not_fit_are_cut_whole);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
