/* tools/mooncake/document.h: what --json prints */
#include <check.h>
#include <stdlib.h>

/* The program is no library: its files are a part of this test. */
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "tests/support/suite.h"
#include "tools/mooncake/document.c"
#include "tools/mooncake/format.c"
/* NOLINTEND(bugprone-suspicious-include) */

static const struct {
	const char *name;
	size_t size;
	const char *json; /* the whole object */
} names[] = {
	{"plain", 5, "{\"f\":\"plain\"}"},
	{"", 0, "{\"f\":\"\"}"},
	{"q\"\\\n", 4, "{\"f\":\"q\\\"\\\\\\n\"}"},
	{"\xc3\xa9\xf0\x9f\x8c\x99", 6, "{\"f\":\"\xc3\xa9\xf0\x9f\x8c\x99\"}"},
	{"\xff", 1, "{\"f\":\"\xef\xbf\xbd\",\"f_base64\":\"/w==\"}"},
	{"a\xc3", 2, "{\"f\":\"a\xef\xbf\xbd\",\"f_base64\":\"YcM=\"}"},
	/* an overlong slash, a surrogate, a code beyond the last */
	{"\xc0\xaf", 2, "{\"f\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"f_base64\":\"wK8=\"}"},
	{"\xed\xa0\x80", 3,
	 "{\"f\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"f_base64\":\"7aCA\"}"},
	{"\xf4\x90\x80\x80", 4,
	 "{\"f\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"f_base64\":\"9JCAgA==\"}"},
};

START_TEST(a_name_is_utf8_and_stands_in_base64_where_it_is_not)
{
	cJSON *object = document_object();

	document_add_name(object, "f", names[_i].name, names[_i].size);
	char *json = cJSON_PrintUnformatted(object);
	ck_assert_str_eq(json, names[_i].json);
	free(json);
	cJSON_Delete(object);
}
END_TEST

START_TEST(a_text_in_a_list_is_utf8)
{
	cJSON *list = document_list();

	document_append_text(list, "\xff\"");
	char *json = cJSON_PrintUnformatted(list);
	ck_assert_str_eq(json, "[\"\xef\xbf\xbd\\\"\"]");
	free(json);
	cJSON_Delete(list);
}
END_TEST

START_TEST(a_number_is_exact_to_64_bits)
{
	cJSON *object = document_object();

	document_add_number(object, "n", UINT64_MAX);
	document_add_number(object, "m", (1ull << 53) + 1);
	char *json = cJSON_PrintUnformatted(object);
	ck_assert_str_eq(json, "{\"n\":18446744073709551615,\"m\":9007199254740993}");
	free(json);
	cJSON_Delete(object);
}
END_TEST

START_TEST(an_entry_tells_its_kind_times_and_copies)
{
	const struct mc_entry entry = {
		.attr = {.id = 0xab, .version = 7, .size = 5, .mode = 0100640, .mtime = {1, 2}},
		.replica_count = 2,
	};
	cJSON *object = document_object();

	document_add_entry(object, &entry);
	char *json = cJSON_PrintUnformatted(object);
	ck_assert_ptr_nonnull(strstr(json, "\"kind\":\"object\",\"id\":\"ab\",\"size\":5"));
	ck_assert_ptr_nonnull(strstr(json, "\"mode\":\"0640\""));
	ck_assert_ptr_nonnull(strstr(json, "\"mtime\":\"1970-01-01T00:00:01.000000002Z\""));
	ck_assert_ptr_nonnull(strstr(json, "\"replicas\":2"));
	free(json);
	cJSON_Delete(object);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tools/document");
	TCase *tcase = tcase_create("document");

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, a_name_is_utf8_and_stands_in_base64_where_it_is_not, 0,
			    sizeof(names) / sizeof(names[0]));
	tcase_add_test(tcase, a_text_in_a_list_is_utf8);
	tcase_add_test(tcase, a_number_is_exact_to_64_bits);
	tcase_add_test(tcase, an_entry_tells_its_kind_times_and_copies);
	return suite_run(suite);
}
