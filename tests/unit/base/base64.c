#include "engine/base/base64.h"

#include <check.h>
#include <string.h>

#include "tests/support/suite.h"

static const struct {
	const char *bytes;
	const char *text;
} pairs[] = {
	{"", ""},
	{"M", "TQ=="},
	{"Ma", "TWE="},
	{"Man", "TWFu"},
	{"Many", "TWFueQ=="},
	{"Many ", "TWFueSA="},
	{"Many k", "TWFueSBr"},
};

START_TEST(text_is_padded_to_fours)
{
	struct writer w;
	uint8_t back[16];
	size_t size;

	writer_init(&w);
	base64_put(&w, pairs[_i].bytes, strlen(pairs[_i].bytes));
	ck_assert_uint_eq(w.size, strlen(pairs[_i].text));
	ck_assert_mem_eq(w.data ? (const char *)w.data : "", pairs[_i].text, w.size);
	ck_assert(base64_get(pairs[_i].text, strlen(pairs[_i].text), back, &size));
	ck_assert_uint_eq(size, strlen(pairs[_i].bytes));
	ck_assert_mem_eq(back, pairs[_i].bytes, size);
	writer_fini(&w);
}
END_TEST

START_TEST(all_bytes_come_back_where_they_stand)
{
	uint8_t bytes[256];
	struct writer w;
	size_t size;

	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(i * 7);
	writer_init(&w);
	base64_put(&w, bytes, sizeof(bytes));
	ck_assert(base64_get((char *)w.data, w.size, w.data, &size));
	ck_assert_uint_eq(size, sizeof(bytes));
	ck_assert_mem_eq(w.data, bytes, size);
	writer_fini(&w);
}
END_TEST

static const char *const bad[] = {"A",	  "AA",	      "AAA",	 "AAAA A==", "A===", "====",
				  "AA=A", "AA==AAAA", "Zm9\xff", "Zm-v",     "Zm_v"};

START_TEST(what_is_not_base64_is_refused)
{
	uint8_t back[16];
	size_t size;

	ck_assert(!base64_get(bad[_i], strlen(bad[_i]), back, &size));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base64");
	TCase *tc = tcase_create("base64");

	tcase_add_loop_test(tc, text_is_padded_to_fours, 0, (int)(sizeof(pairs) / sizeof(*pairs)));
	tcase_add_test(tc, all_bytes_come_back_where_they_stand);
	tcase_add_loop_test(tc, what_is_not_base64_is_refused, 0,
			    (int)(sizeof(bad) / sizeof(*bad)));
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
