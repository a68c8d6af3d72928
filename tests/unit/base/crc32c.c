#include "engine/base/crc32c.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/suite.h"

/* RFC 3720, B.4, and the usual check value. */
START_TEST(known_vectors_match)
{
	uint8_t bytes[32];

	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c(0, "", 0), 0);
	memset(bytes, 0, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	ck_assert_uint_eq(crc32c(0, bytes, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(crc32c(0, bytes, 32), 0x113fdb5c);
}
END_TEST

static unsigned seed_draw(void)
{
	unsigned seed = (unsigned)time(NULL);
	const char *given = getenv("SEED");

	if (given)
		seed = (unsigned)strtoul(given, NULL, 10);
	printf("seed %u\n", seed);
	return seed;
}

START_TEST(all_ways_agree_at_any_size_and_alignment)
{
	enum { SIZE = 40000 };
	uint8_t *bytes = malloc(SIZE);
	unsigned seed = seed_draw();

	for (int i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)rand_r(&seed);
	for (int round = 0; round < 500; round++) {
		size_t offset = (size_t)rand_r(&seed) % 64;
		size_t size = (size_t)rand_r(&seed) % (round % 2 ? 1024 : SIZE - 64);
		size_t cut = size ? (size_t)rand_r(&seed) % size : 0;
		uint32_t whole = crc32c(0, bytes + offset, size);
		uint32_t first = crc32c(0, bytes + offset, cut);

		ck_assert_uint_eq(crc32c_by_table(0, bytes + offset, size), whole);
		ck_assert_uint_eq(crc32c(first, bytes + offset + cut, size - cut), whole);
	}
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crc32c");
	TCase *tc = tcase_create("crc32c");

	tcase_add_test(tc, known_vectors_match);
	tcase_add_test(tc, all_ways_agree_at_any_size_and_alignment);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
