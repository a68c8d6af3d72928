/* Records come back from text as they were, whatever is in them. */
#include "master/etcd_text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/rpc/wire.h"
#include "tests/support/suite.h"

static struct writer value;
static struct writer key_text;
static struct writer value_text;
static struct etcd_record record;

static void setup(void)
{
	writer_init(&value);
	writer_init(&key_text);
	writer_init(&value_text);
	writer_init(&record.key);
	writer_init(&record.value);
}

static void teardown(void)
{
	writer_fini(&value);
	writer_fini(&key_text);
	writer_fini(&value_text);
	writer_fini(&record.key);
	writer_fini(&record.value);
}

/* An object or directory in `value`. */
static void entry(bool directory, const char *name, size_t name_size)
{
	struct mc_attr attr = {
		.id = 0x187c000000000001,
		.version = 0x187c000000000002,
		.size = 4194304,
		.mode = directory ? 0041777 : 0100644,
		.uid = 1000,
		.nlink = 1,
		.mtime = {1764115200, 1},
		.atime = {-5, 999999999},
	};

	put_u8(&value, 1);
	put_u64(&value, 0xabc);
	put_u64(&value, 12);
	put_string(&value, name, name_size);
	put_attr(&value, &attr);
	put_u16(&value, 0);
	if (directory)
		return;
	put_u32(&value, 0);
	put_u8(&value, 2);
	put_u16(&value, 0);
	put_u16(&value, 0x1002);
}

/* Through text and back: the same. */
static void round_trip(enum record_kind kind, const void *key, size_t key_size)
{
	ck_assert(etcd_text_key(&key_text, kind, key, key_size, value.data, value.size));
	etcd_text_value(&value_text, kind, value.data, value.size);
	ck_assert_int_eq(etcd_text_read((char *)key_text.data, key_text.size,
					(char *)value_text.data, value_text.size, &record),
			 MC_OK);
	ck_assert_int_eq(record.kind, kind);
	ck_assert_uint_eq(record.key.size, key_size);
	if (key_size)
		ck_assert_mem_eq(record.key.data, key, key_size);
	ck_assert_uint_eq(record.value.size, value.size);
	ck_assert_mem_eq(record.value.data, value.data, value.size);
}

static void said(const struct writer *w, const char *text)
{
	char copy[4096];

	ck_assert_uint_lt(w->size, sizeof(copy));
	memcpy(copy, w->data, w->size);
	copy[w->size] = '\0';
	ck_assert_str_eq(copy, text);
}

START_TEST(an_object_is_words)
{
	uint8_t key[8];

	entry(false, "block 1\xff", 8);
	store_u64(key, 0x187c000000000001);
	round_trip(RECORD_OBJECT, key, 8);
	said(&key_text, "objects/abc/block 1\xff");
	said(&value_text,
	     "object sequence=12 id=187c000000000001 version=187c000000000002 size=4194304 "
	     "mode=100644 uid=1000 nlink=1 atime=-5.999999999 mtime=1764115200.000000001 "
	     "replicas=1,3c");
}
END_TEST

START_TEST(a_directory_is_words)
{
	uint8_t key[8];

	entry(true, "d", 1);
	store_u64(key, 0x187c000000000001);
	round_trip(RECORD_DIRECTORY, key, 8);
	said(&key_text, "objects/abc/d");
	ck_assert_mem_eq(value_text.data, "directory sequence=12 ", 22);
}
END_TEST

START_TEST(what_is_not_known_is_kept)
{
	uint8_t key[8];

	entry(false, "n", 1);
	store_u64(key, 0x187c000000000001);
	if (_i == 0) {
		put_u32(&value, 77); /* a field of a later version of this kind */
	} else if (_i == 1) {
		value.data[0] = 2; /* a later version */
	} else {
		value.size -= 3; /* cut off */
	}
	round_trip(RECORD_OBJECT, key, 8);
	put_u8(&value_text, 0);
	ck_assert_ptr_nonnull(
		strstr((char *)value_text.data, _i == 0 ? " rest=4d000000" : "object raw="));
}
END_TEST

START_TEST(extended_attributes_come_back)
{
	uint8_t key[8];
	struct mc_attr attr = {.id = 9, .mode = 0100600};

	put_u8(&value, 1);
	put_u64(&value, 1);
	put_u64(&value, 1);
	put_string(&value, "n", 1);
	put_attr(&value, &attr);
	put_u16(&value, 2);
	put_string(&value, "user.a", 6);
	put_string(&value, "\0\1 =", 4);
	put_string(&value, "user.b", 6);
	put_string(&value, "", 0);
	put_u32(&value, 4000000000u);
	put_u8(&value, 0);
	store_u64(key, 9);
	round_trip(RECORD_OBJECT, key, 8);
}
END_TEST

START_TEST(meta_nodes_policies_and_deeds_are_words)
{
	uint8_t uuid[16] = {0xde, 0xad, [15] = 1};

	put_u8(&value, 1);
	put_u64(&value, 0xdbe563098bcb0ccf);
	put_u32(&value, 3);
	put_u64(&value, 0x100);
	put_u64(&value, 0);
	round_trip(RECORD_META, "", 0);
	said(&key_text, "config");
	said(&value_text, "meta cluster=dbe563098bcb0ccf epoch=3 id_next=100");
	teardown();
	setup();
	put_u8(&value, 2);
	put_u32(&value, 7);
	put_string(&value, "a node\n%", 8);
	put_string(&value, "", 0);
	put_u8(&value, 1);
	round_trip(RECORD_NODE, uuid, 16);
	said(&key_text, "nodes/dead0000000000000000000000000001");
	said(&value_text, "node v=2 id=7 name=a%20node%0a%25 draining=1");
	teardown();
	setup();
	put_u8(&value, 1);
	put_u32(&value, 7);
	put_string(&value, "a", 1);
	put_string(&value, "h", 1);
	round_trip(RECORD_NODE, uuid, 16);
	said(&value_text, "node id=7 name=a host=h");
	teardown();
	setup();
	put_u8(&value, 1);
	put_string(&value, "models/a,b", 10);
	put_u8(&value, 2);
	put_u8(&value, 1);
	put_u8(&value, 0);
	put_u8(&value, 2);
	put_string(&value, "n1", 2);
	put_string(&value, "n,2", 3);
	round_trip(RECORD_POLICY, "12345678", 8);
	said(&key_text, "policies/3132333435363738");
	said(&value_text, "policy prefix=models/a%2cb replicas=2 ack=1 preferred=n1,n%2c2");
	teardown();
	setup();
	put_u8(&value, 1);
	put_u8(&value, 1);
	put_u64(&value, 65537);
	put_u64(&value, 0xabc);
	put_u32(&value, 3);
	put_u64(&value, 0x187c);
	put_u64(&value, 0x187d);
	put_u64(&value, 1764115200);
	round_trip(RECORD_DEED, "\1\0\0\0\0\0\0\0", 8);
	said(&key_text, "deeds/0100000000000000");
	said(&value_text, "deed what=1 number=65537 request=abc item=3 id=187c version=187d "
			  "done=1764115200");
}
END_TEST

START_TEST(a_kind_of_tomorrow_is_kept)
{
	put_bytes(&value, "\x01whatever", 9);
	round_trip((enum record_kind)200, "k\0", 2);
	said(&key_text, "records/200/6b00");
	said(&value_text, "record raw=017768617465766572");
}
END_TEST

START_TEST(a_removal_has_the_id_and_the_place)
{
	static const char key[] = "objects/abc/na/me";
	static const char before[] = "object sequence=12 id=187c size=1";

	ck_assert_int_eq(
		etcd_text_removed(key, strlen(key), before, _i ? strlen(before) : 0, &record),
		MC_OK);
	ck_assert_uint_eq(record.key.size, 16 + 5);
	ck_assert_uint_eq(load_u64(record.key.data), _i ? 0x187c : 0);
	ck_assert_uint_eq(load_u64(record.key.data + 8), 0xabc);
	ck_assert_mem_eq(record.key.data + 16, "na/me", 5);
}
END_TEST

static const struct {
	const char *key;
	const char *value;
	enum mc_status status;
} bad[] = {
	{"leader", "address=x", MC_NOT_FOUND},
	{"lanes/0", "x 1", MC_NOT_FOUND},
	{"journal", "open", MC_NOT_FOUND},
	{"objects/1/a", "", MC_IO},
	{"objects/1/a", "object", MC_OK},
	{"objects/1/a", "objects id=1", MC_IO},
	{"objects/1/a", "object id=xyz", MC_IO},
	{"objects/1/a", "object id=11111111111111111", MC_IO},
	{"objects/1/a", "object uid=4294967296", MC_IO},
	{"objects/1/a", "object id=1 sequence=1", MC_IO},
	{"objects/1/a", "object id=1 mtime=5", MC_IO},
	{"objects/1/a", "object id=1 replicas=0", MC_IO},
	{"objects/1/a", "object id=1 replicas=5000", MC_IO},
	{"objects/1/a", "object id=1 replicas=1,", MC_IO},
	{"objects/1/a", "object id=1 rest=abc", MC_IO},
	{"objects/1/a", "object raw=zz", MC_IO},
	{"objects/1/a", "object raw=01", MC_IO},
	{"objects/1/a", "node id=1", MC_IO},
	{"objects//a", "object id=1", MC_IO},
	{"objects/1", "object id=1", MC_IO},
	{"objects/x/a", "object id=1", MC_IO},
	{"nodes/0", "node id=1", MC_IO},
	{"nodes/00", "node name=%", MC_IO},
	{"nodes/00", "node name=%4", MC_IO},
	{"nodes/00", "node name=%zz", MC_IO},
	{"nodes/0000000000000000000000000000000000", "node id=1", MC_IO},
	{"config", "meta epoch=-1", MC_IO},
	{"config/", "meta", MC_IO},
	{"policies/00", "policy pin=256", MC_IO},
	{"nodes/00", "node name=a,b", MC_IO},
	{"records/9", "record raw=", MC_IO},
	{"records/9/", "record", MC_IO},
	{"records/0/", "record", MC_IO},
	{"records/0/", "meta", MC_IO},
};

START_TEST(what_is_no_record_is_refused)
{
	ck_assert_int_eq(etcd_text_read(bad[_i].key, strlen(bad[_i].key), bad[_i].value,
					strlen(bad[_i].value), &record),
			 bad[_i].status);
}
END_TEST

/* Text with a byte changed, removed or doubled is read or refused, and never more than that. */
START_TEST(damaged_text_does_no_harm)
{
	unsigned seed = (unsigned)time(NULL);
	char key[64], text[512];
	uint8_t id[8];

	printf("seed %u\n", seed);
	srand(seed);
	entry(false, "name", 4);
	put_u32(&value, 1);
	store_u64(id, 1);
	ck_assert(etcd_text_key(&key_text, RECORD_OBJECT, id, 8, value.data, value.size));
	etcd_text_value(&value_text, RECORD_OBJECT, value.data, value.size);
	for (int i = 0; i < 200000; i++) {
		size_t size = value_text.size;
		memcpy(key, key_text.data, key_text.size);
		memcpy(text, value_text.data, size);
		for (int k = rand() % 3; k >= 0; k--)
			text[(size_t)rand() % size] = (char)rand();
		if (rand() % 4 == 0)
			key[(size_t)rand() % key_text.size] = (char)rand();
		size -= (size_t)rand() % size;
		enum mc_status status = etcd_text_read(key, key_text.size, text, size, &record);
		ck_assert(status == MC_OK || status == MC_IO || status == MC_NOT_FOUND);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("etcd_text");
	TCase *tc = tcase_create("etcd_text");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_object_is_words);
	tcase_add_test(tc, a_directory_is_words);
	tcase_add_loop_test(tc, what_is_not_known_is_kept, 0, 3);
	tcase_add_test(tc, extended_attributes_come_back);
	tcase_add_test(tc, meta_nodes_policies_and_deeds_are_words);
	tcase_add_test(tc, a_kind_of_tomorrow_is_kept);
	tcase_add_loop_test(tc, a_removal_has_the_id_and_the_place, 0, 2);
	tcase_add_loop_test(tc, what_is_no_record_is_refused, 0,
			    (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tc, damaged_text_does_no_harm);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
