/* A record: golden bytes, its rules, and that no damage passes for a record. */
#include "engine/node/record.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/buffer.h"
#include "engine/base/crc32c.h"
#include "tests/support/suite.h"
#include "tests/unit/node/seed.h"

static const struct mc_attr attr = {
	.id = 0x0102030405060708,
	.version = 0x1112131415161718,
	.size = 0x2122232425,
	.allocated = 0x3132333435,
	.mode = S_IFREG | 0640,
	.uid = 1000,
	.gid = 1001,
	.nlink = 1,
	.flags = MC_ATTR_PINNED,
	.atime = {1, 2},
	.mtime = {-3, 4},
	.ctime = {5, 999999999},
};

static const uint8_t golden[] = {
	0x4d, 0x63, 0x6f, 0x6a, 0x01, 0x01, 0x01, 0x00,				/* magic */
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,				/* id */
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,				/* version */
	0x25, 0x24, 0x23, 0x22, 0x21, 0x00, 0x00, 0x00,				/* size */
	0x35, 0x34, 0x33, 0x32, 0x31, 0x00, 0x00, 0x00,				/* allocated */
	0xa0, 0x81, 0x00, 0x00,							/* mode */
	0xe8, 0x03, 0x00, 0x00, 0xe9, 0x03, 0x00, 0x00,				/* owner */
	0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,				/* nlink, flags */
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, /* atime */
	0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x04, 0x00, 0x00, 0x00, /* mtime */
	0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xc9, 0x9a, 0x3b, /* ctime */
	0x03, 0x00, 'a',  '/',	'b',						/* path */
};

static uint8_t bytes[RECORD_SIZE_MAX + 16];

static size_t encode_path(const char *path, size_t path_size)
{
	struct record record = {MC_REPLICA_CACHE, RECORD_UNANSWERED, attr, path, path_size};

	return record_encode(&record, bytes);
}

/* Make the checksum right again after a change. */
static void seal(size_t size)
{
	store_u32(bytes + size - 4, crc32c(0, bytes, size - 4));
}

static enum mc_status decode(size_t size)
{
	struct record record;
	uint8_t *exact = malloc(size ? size : 1); /* a sanitizer sees the byte after */

	memcpy(exact, bytes, size);
	enum mc_status status = record_decode(exact, size, &record);
	free(exact);
	return status;
}

START_TEST(the_bytes_are_as_documented)
{
	size_t size = encode_path("a/b", 3);

	ck_assert_uint_eq(size, sizeof(golden) + 4);
	ck_assert_mem_eq(bytes, golden, sizeof(golden));
	ck_assert_uint_eq(load_u32(bytes + sizeof(golden)), crc32c(0, golden, sizeof(golden)));
}
END_TEST

START_TEST(what_was_written_is_read_back)
{
	struct record record;
	size_t size = encode_path("a/b", 3);

	ck_assert_int_eq(record_decode(bytes, size, &record), MC_OK);
	ck_assert_uint_eq(record.kind, MC_REPLICA_CACHE);
	ck_assert_uint_eq(record.flags, RECORD_UNANSWERED);
	ck_assert_uint_eq(record.attr.id, attr.id);
	ck_assert_uint_eq(record.attr.version, attr.version);
	ck_assert_uint_eq(record.attr.size, attr.size);
	ck_assert_uint_eq(record.attr.allocated, attr.allocated);
	ck_assert_uint_eq(record.attr.mode, attr.mode);
	ck_assert_uint_eq(record.attr.uid, attr.uid);
	ck_assert_uint_eq(record.attr.gid, attr.gid);
	ck_assert_uint_eq(record.attr.flags, attr.flags);
	ck_assert_int_eq(record.attr.mtime.s, -3);
	ck_assert_uint_eq(record.attr.ctime.ns, 999999999);
	ck_assert_uint_eq(record.path_size, 3);
	ck_assert_ptr_eq(record.path, bytes + 98); /* inside the bytes given */
	ck_assert_mem_eq(record.path, "a/b", 3);
}
END_TEST

START_TEST(the_longest_path_fits)
{
	struct record record;
	char path[MC_PATH_MAX];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 256 == 255 ? '/' : 'p';
	size_t size = encode_path(path, sizeof(path));
	ck_assert_uint_eq(size, RECORD_SIZE_MAX);
	ck_assert_int_eq(record_decode(bytes, size, &record), MC_OK);
	ck_assert_uint_eq(record.path_size, sizeof(path));
	ck_assert_mem_eq(record.path, path, sizeof(path));
}
END_TEST

/* R1 */
START_TEST(a_foreign_magic_or_version_is_refused)
{
	size_t size = encode_path("a/b", 3);

	bytes[_i]++;
	seal(size);
	ck_assert_int_eq(decode(size), MC_IO);
}
END_TEST

START_TEST(any_other_size_is_refused)
{
	size_t size = encode_path("a/b", 3);

	for (size_t cut = 0; cut < size; cut++)
		ck_assert_int_eq(decode(cut), MC_IO);
	for (size_t more = 1; more < 8; more++)
		ck_assert_int_eq(decode(size + more), MC_IO);
	ck_assert_int_eq(decode(size), MC_OK);
}
END_TEST

START_TEST(a_path_size_that_disagrees_is_refused)
{
	size_t size = encode_path("a/b", 3);

	for (uint32_t path_size = 0; path_size <= UINT16_MAX; path_size++) {
		if (path_size == 3)
			continue;
		store_u16(bytes + 96, (uint16_t)path_size);
		seal(size);
		ck_assert_int_eq(decode(size), MC_IO);
	}
}
END_TEST

/* R2 */
START_TEST(any_flipped_bit_is_refused)
{
	size_t size = encode_path("a/b", 3);

	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(decode(size), MC_IO);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

/* What protocol.h forbids of an attr, though the checksum is right. */
START_TEST(an_impossible_attr_is_refused)
{
	size_t size = encode_path("a/b", 3);

	store_u32(bytes + 60 + 8 + (size_t)_i * 12, 1000000000); /* atime, mtime, ctime */
	seal(size);
	ck_assert_int_eq(decode(size), MC_IO);
	size = encode_path("a/b", 3);
	store_u64(bytes + 24, MC_OBJECT_SIZE_MAX + 1);
	seal(size);
	ck_assert_int_eq(decode(size), MC_IO);
}
END_TEST

/* R4 */
static const struct {
	const char *path;
	size_t size;
} bad_paths[] = {
	{"", 0},    {"/", 1},	{"/a", 2},     {"a/", 2},   {"a//b", 4}, {".", 1},	{"..", 2},
	{"a/.", 3}, {"./a", 3}, {"a/../b", 6}, {"a\0b", 3}, {"\0", 1},	 {"a/b/..", 6},
};

START_TEST(a_path_that_is_none_is_refused)
{
	ck_assert_int_eq(decode(encode_path(bad_paths[_i].path, bad_paths[_i].size)), MC_IO);
}
END_TEST

START_TEST(a_component_over_255_bytes_is_refused)
{
	char path[300];

	memset(path, 'p', sizeof(path));
	ck_assert_int_eq(decode(encode_path(path, 255)), MC_OK);
	ck_assert_int_eq(decode(encode_path(path, 256)), MC_IO);
	path[255] = '/';
	ck_assert_int_eq(decode(encode_path(path, 300)), MC_OK);
}
END_TEST

START_TEST(a_path_over_4095_bytes_is_refused)
{
	static uint8_t large[RECORD_SIZE_MAX + 1];
	struct record record;
	struct writer w;
	char path[MC_PATH_MAX + 1];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 200 == 199 ? '/' : 'p';
	encode_path("a", 1);
	memcpy(large, bytes, 96);
	writer_init_fixed(&w, large + 96, sizeof(large) - 96);
	put_string(&w, path, sizeof(path));
	put_u32(&w, crc32c(0, large, 98 + sizeof(path)));
	ck_assert(!w.failed);
	ck_assert_int_eq(record_decode(large, sizeof(large), &record), MC_IO);
}
END_TEST

START_TEST(every_other_byte_is_allowed_in_a_path)
{
	char path[255];
	size_t size = 0;

	for (int c = 1; c < 256; c++) {
		if (c != '/')
			path[size++] = (char)c;
	}
	ck_assert_int_eq(decode(encode_path(path, size)), MC_OK);
}
END_TEST

START_TEST(random_damage_never_passes_for_a_record)
{
	static uint8_t whole[RECORD_SIZE_MAX];
	char path[600];

	seed_draw();
	for (int round = 0; round < 20000; round++) {
		size_t path_size = 1 + draw(sizeof(path) - 1);
		for (size_t i = 0; i < path_size; i++)
			path[i] = i % 100 == 99 && i + 1 < path_size ? '/' : 'q';
		size_t size = encode_path(path, path_size);
		memcpy(whole, bytes, size);
		for (unsigned n = 1 + draw(8); n > 0; n--)
			bytes[draw((unsigned)size)] = (uint8_t)draw(256);
		size_t now = draw(8) ? size : draw((unsigned)size + 8);
		bool same = now == size && memcmp(bytes, whole, size) == 0;
		bool right = now >= 4 && load_u32(bytes + now - 4) == crc32c(0, bytes, now - 4);
		enum mc_status status = decode(now);
		if (same)
			ck_assert_int_eq(status, MC_OK);
		else if (!right)
			ck_assert_int_eq(status, MC_IO);
	}
}
END_TEST

/* The checksum is right, so what is behind it is reached. */
START_TEST(random_bytes_under_a_right_checksum_are_read_within_their_bounds)
{
	seed_draw();
	for (int round = 0; round < 50000; round++) {
		size_t size = encode_path("some/path", 9);
		for (unsigned n = 1 + draw(8); n > 0; n--) {
			unsigned at = draw((unsigned)size);
			bytes[at] = draw(2) ? (uint8_t)draw(256) : (uint8_t)(bytes[at] + 1);
		}
		size_t now = draw(4) ? size : 4 + draw((unsigned)size + 8);
		seal(now);
		struct record record;
		uint8_t *exact = malloc(now);
		memcpy(exact, bytes, now);
		if (record_decode(exact, now, &record) == MC_OK) {
			ck_assert_uint_eq(record.path_size, now - 102);
			ck_assert_ptr_eq(record.path, exact + 98);
			ck_assert_uint_le(record.attr.size, MC_OBJECT_SIZE_MAX);
			for (size_t i = 0; i < record.path_size; i++)
				ck_assert_int_ne(record.path[i], '\0');
		}
		free(exact);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_test(tc, the_bytes_are_as_documented);
	tcase_add_test(tc, what_was_written_is_read_back);
	tcase_add_test(tc, the_longest_path_fits);
	tcase_add_loop_test(tc, a_foreign_magic_or_version_is_refused, 0, 5);
	tcase_add_test(tc, any_other_size_is_refused);
	tcase_add_test(tc, a_path_size_that_disagrees_is_refused);
	tcase_add_test(tc, any_flipped_bit_is_refused);
	tcase_add_loop_test(tc, an_impossible_attr_is_refused, 0, 3);
	tcase_add_loop_test(tc, a_path_that_is_none_is_refused, 0,
			    sizeof(bad_paths) / sizeof(bad_paths[0]));
	tcase_add_test(tc, a_component_over_255_bytes_is_refused);
	tcase_add_test(tc, a_path_over_4095_bytes_is_refused);
	tcase_add_test(tc, every_other_byte_is_allowed_in_a_path);
	tcase_add_test(tc, random_damage_never_passes_for_a_record);
	tcase_add_test(tc, random_bytes_under_a_right_checksum_are_read_within_their_bounds);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
