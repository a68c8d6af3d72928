/*
 * Bounded readers and writers: bytes go in and come out as documented, and
 * nothing is ever touched outside the bounds.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "tests/support/suite.h"

START_TEST(integers_are_little_endian)
{
	static const uint8_t golden[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
		0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08,
	};
	struct writer w;

	writer_init(&w);
	put_u8(&w, 0x01);
	put_u16(&w, 0x0203);
	put_u32(&w, 0x04050607);
	put_u64(&w, 0x08090a0b0c0d0e0f);
	ck_assert(!w.failed);
	ck_assert_uint_eq(w.size, sizeof(golden));
	ck_assert_mem_eq(w.data, golden, sizeof(golden));
	writer_fini(&w);
}
END_TEST

START_TEST(what_was_written_is_read_back)
{
	struct writer w;
	struct reader r;
	size_t size;

	writer_init(&w);
	put_u8(&w, UINT8_MAX);
	put_u16(&w, UINT16_MAX);
	put_u32(&w, UINT32_MAX);
	put_u64(&w, UINT64_MAX);
	put_string(&w, "key", 3);
	put_bytes(&w, "\0\xff", 2);

	reader_init(&r, w.data, w.size);
	ck_assert_uint_eq(get_u8(&r), UINT8_MAX);
	ck_assert_uint_eq(get_u16(&r), UINT16_MAX);
	ck_assert_uint_eq(get_u32(&r), UINT32_MAX);
	ck_assert_uint_eq(get_u64(&r), UINT64_MAX);
	const char *text = get_string(&r, &size);
	ck_assert_uint_eq(size, 3);
	ck_assert_mem_eq(text, "key", 3);
	ck_assert(!reader_done(&r));
	ck_assert_mem_eq(get_bytes(&r, 2), "\0\xff", 2);
	ck_assert(reader_done(&r));
	writer_fini(&w);
}
END_TEST

START_TEST(a_growable_writer_takes_a_megabyte)
{
	struct writer w;

	writer_init(&w);
	for (uint32_t i = 0; i < 1 << 18; i++)
		put_u32(&w, i);
	ck_assert(!w.failed);
	ck_assert_uint_eq(w.size, 1 << 20);
	for (uint32_t i = 0; i < 1 << 18; i++)
		ck_assert_uint_eq(load_u32(w.data + (size_t)4 * i), i);
	writer_fini(&w);
}
END_TEST

START_TEST(a_fixed_writer_fails_at_its_end_and_stays_failed)
{
	uint8_t memory[8];
	struct writer w;

	memset(memory, 0xee, sizeof(memory));
	writer_init_fixed(&w, memory, 6);
	put_u32(&w, 0);
	put_u32(&w, 0);
	ck_assert(w.failed);
	put_u8(&w, 0);
	ck_assert(w.failed);
	ck_assert_uint_eq(w.size, 4);
	for (size_t i = 4; i < sizeof(memory); i++)
		ck_assert_uint_eq(memory[i], 0xee);
	writer_fini(&w);
}
END_TEST

START_TEST(a_fixed_writer_can_be_filled_to_the_last_byte)
{
	uint8_t memory[3];
	struct writer w;

	writer_init_fixed(&w, memory, sizeof(memory));
	put_u8(&w, 1);
	put_u16(&w, 2);
	ck_assert(!w.failed);
	ck_assert_uint_eq(w.size, sizeof(memory));
	writer_fini(&w);
}
END_TEST

START_TEST(a_reset_writer_starts_over)
{
	uint8_t memory[2];
	struct writer w;

	writer_init_fixed(&w, memory, sizeof(memory));
	put_u32(&w, 0);
	ck_assert(w.failed);
	writer_reset(&w);
	put_u16(&w, 0x1234);
	ck_assert(!w.failed);
	ck_assert_uint_eq(load_u16(memory), 0x1234);
	writer_fini(&w);
}
END_TEST

START_TEST(an_impossible_reservation_fails)
{
	struct writer w;

	writer_init(&w);
	put_u8(&w, 1);
	ck_assert_ptr_null(writer_reserve(&w, SIZE_MAX));
	ck_assert(w.failed);
	ck_assert_uint_eq(w.size, 1);
	writer_fini(&w);
}
END_TEST

START_TEST(a_string_has_at_most_65535_bytes)
{
	char *text = calloc(1, UINT16_MAX + 1);
	struct writer w;
	struct reader r;
	size_t size;

	ck_assert_ptr_nonnull(text);
	writer_init(&w);
	put_string(&w, text, UINT16_MAX);
	ck_assert(!w.failed);
	reader_init(&r, w.data, w.size);
	ck_assert_ptr_nonnull(get_string(&r, &size));
	ck_assert_uint_eq(size, UINT16_MAX);

	put_string(&w, text, UINT16_MAX + 1);
	ck_assert(w.failed);
	ck_assert_uint_eq(w.size, UINT16_MAX + 2);
	writer_fini(&w);
	free(text);
}
END_TEST

START_TEST(an_empty_string_is_a_length_of_zero)
{
	struct writer w;
	struct reader r;
	size_t size = 99;

	writer_init(&w);
	put_string(&w, "", 0);
	ck_assert_uint_eq(w.size, 2);
	reader_init(&r, w.data, w.size);
	(void)get_string(&r, &size);
	ck_assert_uint_eq(size, 0);
	ck_assert(reader_done(&r));
	writer_fini(&w);
}
END_TEST

START_TEST(patching_changes_what_was_written_and_nothing_beyond)
{
	uint8_t memory[8] = {0};
	struct writer w;

	writer_init_fixed(&w, memory, sizeof(memory));
	put_u32(&w, 0);
	patch_u16(&w, 2, 0xabcd);
	ck_assert_uint_eq(load_u32(memory), 0xabcd0000);
	patch_u32(&w, 0, 7);
	ck_assert_uint_eq(load_u32(memory), 7);
	patch_u32(&w, 1, UINT32_MAX);
	patch_u16(&w, 3, UINT16_MAX);
	ck_assert_uint_eq(load_u64(memory), 7);
	writer_fini(&w);
}
END_TEST

START_TEST(a_read_past_the_end_yields_zero_and_stays_failed)
{
	static const uint8_t bytes[] = {1, 2, 3};
	struct reader r;

	reader_init(&r, bytes, sizeof(bytes));
	ck_assert_uint_eq(get_u32(&r), 0);
	ck_assert(r.failed);
	ck_assert_uint_eq(get_u8(&r), 0);
	ck_assert(!reader_done(&r));
}
END_TEST

START_TEST(a_string_longer_than_the_rest_fails)
{
	static const uint8_t bytes[] = {5, 0, 'a', 'b'};
	struct reader r;
	size_t size = 99;

	reader_init(&r, bytes, sizeof(bytes));
	ck_assert_ptr_null(get_string(&r, &size));
	ck_assert_uint_eq(size, 0);
	ck_assert(r.failed);
}
END_TEST

START_TEST(a_huge_read_does_not_wrap_around)
{
	static const uint8_t bytes[4];
	struct reader r;

	reader_init(&r, bytes, sizeof(bytes));
	(void)get_u8(&r);
	ck_assert_ptr_null(get_bytes(&r, SIZE_MAX));
	ck_assert(r.failed);
}
END_TEST

START_TEST(a_reader_of_nothing_is_done)
{
	struct reader r;

	reader_init(&r, NULL, 0);
	ck_assert(reader_done(&r));
	ck_assert_uint_eq(get_u64(&r), 0);
	ck_assert(!reader_done(&r));
}
END_TEST

START_TEST(fixed_places_need_no_alignment)
{
	uint8_t memory[16];

	for (size_t at = 0; at < 8; at++) {
		store_u64(memory + at, 0x0123456789abcdef);
		ck_assert_uint_eq(load_u64(memory + at), 0x0123456789abcdef);
		ck_assert_uint_eq(load_u32(memory + at), 0x89abcdef);
		ck_assert_uint_eq(load_u16(memory + at), 0xcdef);
	}
	store_u32(memory + 1, 0x11223344);
	store_u16(memory + 1, 0x5566);
	ck_assert_uint_eq(load_u32(memory + 1), 0x11225566);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/buffer");
	TCase *writer = tcase_create("writer");
	TCase *reader = tcase_create("reader");

	tcase_add_test(writer, integers_are_little_endian);
	tcase_add_test(writer, what_was_written_is_read_back);
	tcase_add_test(writer, a_growable_writer_takes_a_megabyte);
	tcase_add_test(writer, a_fixed_writer_fails_at_its_end_and_stays_failed);
	tcase_add_test(writer, a_fixed_writer_can_be_filled_to_the_last_byte);
	tcase_add_test(writer, a_reset_writer_starts_over);
	tcase_add_test(writer, an_impossible_reservation_fails);
	tcase_add_test(writer, a_string_has_at_most_65535_bytes);
	tcase_add_test(writer, an_empty_string_is_a_length_of_zero);
	tcase_add_test(writer, patching_changes_what_was_written_and_nothing_beyond);
	tcase_add_test(reader, a_read_past_the_end_yields_zero_and_stays_failed);
	tcase_add_test(reader, a_string_longer_than_the_rest_fails);
	tcase_add_test(reader, a_huge_read_does_not_wrap_around);
	tcase_add_test(reader, a_reader_of_nothing_is_done);
	tcase_add_test(reader, fixed_places_need_no_alignment);
	suite_add_tcase(suite, writer);
	suite_add_tcase(suite, reader);
	return suite_run(suite);
}
