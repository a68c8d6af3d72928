/* What may be concluded of a directory's names: a set of hashes, as the master sent it. */
#include "engine/node/grant.h"

#include <check.h>
#include <mooncake/protocol.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/suite.h"
#include "tests/unit/node/seed.h"

#define SESSION 3u

/* A grant field with these hashes. */
static void put_grant(struct writer *w, const uint64_t *hashes, uint32_t count)
{
	writer_init(w);
	put_u8(w, 1);
	put_u32(w, count);
	for (uint32_t i = 0; i < count; i++)
		put_u64(w, hashes[i]);
	ck_assert(!w->failed);
}

static struct grant *read_grant(const struct writer *w, size_t size)
{
	struct reader r;

	reader_init(&r, w->data, size);
	return grant_read(&r, SESSION);
}

static struct grant *grant_of(const uint64_t *hashes, uint32_t count)
{
	struct writer w;

	put_grant(&w, hashes, count);
	struct grant *grant = read_grant(&w, w.size);
	writer_fini(&w);
	ck_assert_ptr_nonnull(grant);
	return grant;
}

START_TEST(a_grant_holds_what_was_sent)
{
	static const uint64_t hashes[] = {1, 2, UINT64_MAX, 0x8000000000000000ull, 17};
	struct grant *grant = grant_of(hashes, 5);

	ck_assert_uint_eq(grant->session, SESSION);
	ck_assert_uint_eq(grant->count, 5);
	for (int i = 0; i < 5; i++)
		ck_assert(grant_has(grant, hashes[i]));
	ck_assert(!grant_has(grant, 3));
	ck_assert(!grant_has(grant, 18));
	grant_free(grant);
}
END_TEST

START_TEST(the_bytes_are_as_the_protocol_says)
{
	static const uint8_t golden[] = {0x01, 0x01, 0x00, 0x00, 0x00, 0x08, 0x07,
					 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
	struct reader r;

	reader_init(&r, golden, sizeof(golden));
	struct grant *grant = grant_read(&r, SESSION);
	ck_assert_ptr_nonnull(grant);
	ck_assert(reader_done(&r));
	ck_assert(grant_has(grant, 0x0102030405060708ull));
	ck_assert(!grant_has(grant, 0x0807060504030201ull));
	grant_free(grant);
}
END_TEST

START_TEST(the_hash_of_a_name_is_fnv_1a)
{
	ck_assert_uint_eq(mc_name_hash("", 0), 0xcbf29ce484222325ull);
	ck_assert_uint_eq(mc_name_hash("a", 1), 0xaf63dc4c8601ec8cull);
	ck_assert_uint_eq(mc_name_hash("foobar", 6), 0x85944171f73967e8ull);
}
END_TEST

START_TEST(an_empty_grant_has_nothing)
{
	struct grant *grant = grant_of(NULL, 0);

	ck_assert(!grant_has(grant, 0));
	ck_assert(!grant_has(grant, 1));
	ck_assert(!grant_has(grant, 77));
	ck_assert(grant_add(grant, 77));
	ck_assert(grant_has(grant, 77));
	grant_free(grant);
}
END_TEST

START_TEST(a_hash_of_zero_is_kept)
{
	static const uint64_t hashes[] = {0};
	struct grant *sent = grant_of(hashes, 1);
	struct grant *added = grant_of(NULL, 0);

	ck_assert(grant_add(added, 0));
	ck_assert(grant_has(sent, 0));
	ck_assert(grant_has(added, 0));
	ck_assert(!grant_has(sent, 2));
	grant_free(sent);
	grant_free(added);
}
END_TEST

START_TEST(no_grant_is_none)
{
	static const uint8_t none[] = {0x00};
	struct reader r;

	reader_init(&r, none, sizeof(none));
	ck_assert_ptr_null(grant_read(&r, SESSION));
	ck_assert(reader_done(&r));
}
END_TEST

START_TEST(a_grant_cut_anywhere_is_none)
{
	static const uint64_t hashes[] = {1, 2, 3};
	struct writer w;

	put_grant(&w, hashes, 3);
	for (size_t size = 0; size < w.size; size++)
		ck_assert_ptr_null(read_grant(&w, size));
	writer_fini(&w);
}
END_TEST

static const uint32_t counts_too_large[] = {MC_GRANT_NAMES_MAX + 1, 1u << 31, UINT32_MAX};

START_TEST(a_count_beyond_the_limit_is_none)
{
	struct writer w;
	struct reader r;

	writer_init(&w);
	put_u8(&w, 1);
	put_u32(&w, counts_too_large[_i]);
	for (uint32_t i = 0; i < MC_GRANT_NAMES_MAX + 1; i++)
		put_u64(&w, i);
	reader_init(&r, w.data, w.size);
	ck_assert_ptr_null(grant_read(&r, SESSION));
	writer_fini(&w);
}
END_TEST

START_TEST(a_grant_of_the_largest_size_is_read)
{
	uint64_t *hashes = malloc(MC_GRANT_NAMES_MAX * sizeof(*hashes));

	for (uint64_t i = 0; i < MC_GRANT_NAMES_MAX; i++)
		hashes[i] = i * 0x9e3779b97f4a7c15ull;
	struct grant *grant = grant_of(hashes, MC_GRANT_NAMES_MAX);
	for (uint64_t i = 0; i < MC_GRANT_NAMES_MAX; i++)
		ck_assert(grant_has(grant, hashes[i]));
	ck_assert(!grant_has(grant, 12345));
	grant_free(grant);
	free(hashes);
}
END_TEST

START_TEST(a_grant_grows_as_names_are_added)
{
	struct grant *grant = grant_of(NULL, 0);

	seed_draw();
	unsigned begin = seed;
	for (int i = 0; i < 10000; i++)
		ck_assert(grant_add(grant, (uint64_t)draw(1u << 30) << 20));
	ck_assert_uint_eq(grant->size & (grant->size - 1), 0);
	ck_assert_uint_gt(grant->size, grant->count);
	seed = begin;
	for (int i = 0; i < 10000; i++)
		ck_assert(grant_has(grant, (uint64_t)draw(1u << 30) << 20));
	/* What differs in the low bits was never added. */
	for (int i = 0; i < 10000; i++)
		ck_assert(!grant_has(grant, ((uint64_t)draw(1u << 30) << 20) + 1));
	grant_free(grant);
}
END_TEST

START_TEST(the_same_name_again_takes_no_memory)
{
	struct grant *grant = grant_of(NULL, 0);

	for (int i = 0; i < 100000; i++)
		ck_assert(grant_add(grant, (uint64_t)(i % 4)));
	ck_assert_uint_eq(grant->size, 16);
	ck_assert_uint_le(grant->count, 4);
	grant_free(grant);
}
END_TEST

START_TEST(random_bytes_are_read_within_their_bounds)
{
	seed_draw();
	for (int round = 0; round < 20000; round++) {
		size_t size = draw(64);
		uint8_t *bytes = malloc(size + 1);
		struct reader r;
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)draw(draw(2) ? 3 : 256);
		uint8_t *exact = malloc(size ? size : 1); /* a sanitizer sees the byte after */
		memcpy(exact, bytes, size);
		reader_init(&r, exact, size);
		struct grant *grant = grant_read(&r, SESSION);
		if (grant)
			ck_assert_uint_le(5 + 8 * (size_t)grant->count, size);
		grant_free(grant);
		free(exact);
		free(bytes);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("grant");
	TCase *tc = tcase_create("grant");

	tcase_add_test(tc, a_grant_holds_what_was_sent);
	tcase_add_test(tc, the_bytes_are_as_the_protocol_says);
	tcase_add_test(tc, the_hash_of_a_name_is_fnv_1a);
	tcase_add_test(tc, an_empty_grant_has_nothing);
	tcase_add_test(tc, a_hash_of_zero_is_kept);
	tcase_add_test(tc, no_grant_is_none);
	tcase_add_test(tc, a_grant_cut_anywhere_is_none);
	tcase_add_loop_test(tc, a_count_beyond_the_limit_is_none, 0,
			    sizeof(counts_too_large) / sizeof(counts_too_large[0]));
	tcase_add_test(tc, a_grant_of_the_largest_size_is_read);
	tcase_add_test(tc, a_grant_grows_as_names_are_added);
	tcase_add_test(tc, the_same_name_again_takes_no_memory);
	tcase_add_test(tc, random_bytes_are_read_within_their_bounds);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
