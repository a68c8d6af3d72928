/* What every store of metadata promises; a row a store. */
#include "engine/metadata/metadata.h"

#include <check.h>
#include <mooncake/master.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/etcd.h"
#include "tests/support/suite.h"

#define THREAD_COUNT 8
#define ROUND_COUNT  50

/* A store that runs for one test, and two engines that use it. */
static struct mc_master *master;
static char url[256];
static struct metadata *one;
static struct metadata *other;
static char key[METADATA_KEY_SIZE_MAX + 1]; /* that the one may put and the other gets */

static struct etcd_server etcd;

static bool start_nothing(void)
{
	return true;
}

static bool start_etcd(void)
{
	if (!etcd_installed())
		return false;
	etcd_server_start(&etcd);
	/* The first of the two is not there. */
	snprintf(url, sizeof(url), "etcd://127.0.0.1:1,%s", etcd.client);
	return true;
}

/* One that only a user with a password may touch. */
static bool start_guarded_etcd(void)
{
	static const char *const steps[] = {"user add root:pw", "auth enable"};
	char command[256];

	if (!start_etcd())
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		snprintf(command, sizeof(command),
			 "ETCDCTL_API=3 etcdctl --endpoints=%s %s >/dev/null 2>&1", etcd.client,
			 steps[i]);
		ck_assert_msg(system(command) == 0, "%s", command);
	}
	return true;
}

static bool start_master(void)
{
	struct mc_master_config config = {
		.listen = "127.0.0.1:0", .journal = "memory", .fresh = true, .http = "127.0.0.1:0"};

	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	snprintf(url, sizeof(url), "http://%s/metadata", mc_master_http(master));
	return true;
}

static const struct row {
	const char *url;     /* NULL: start() knows it */
	bool (*start)(void); /* false: this machine lacks it */
	bool shares_all;     /* what is put under any key is seen by others */
	const char *user;
	const char *password;
} rows[] = {
	{"memory://conformance", start_nothing, true},
	{NULL, start_master, true},
	{NULL, start_etcd, true},
	{NULL, start_guarded_etcd, true, "root", "pw"},
	{"P2PHANDSHAKE", start_nothing, false},
};

static struct metadata *open_one(const struct row *row)
{
	struct metadata_config config = {.url = row->url ? row->url : url,
					 .listen_host = "127.0.0.1",
					 .user = row->user,
					 .password = row->password};
	struct metadata *metadata = NULL;

	ck_assert_int_eq(metadata_open(&config, &metadata), MC_OK);
	return metadata;
}

static bool begin(const struct row *row)
{
	log_set_level("error");
	if (!row->start())
		return false;
	one = open_one(row);
	other = open_one(row);
	const char *name = metadata_local_name(one);
	ck_assert_int_eq(segment_key(name ? name : "node1:12345", key, sizeof(key)), MC_OK);
	return true;
}

static void end(void)
{
	metadata_close(one);
	metadata_close(other);
	mc_master_stop(master);
	master = NULL;
	etcd_server_end(&etcd);
}

static void assert_text(struct metadata *metadata, const char *name, const char *text)
{
	CLEANUP_FREE char *found = NULL;

	ck_assert_int_eq(metadata_get(metadata, name, &found), MC_OK);
	ck_assert_str_eq(found, text);
}

static void assert_missing(struct metadata *metadata, const char *name)
{
	char *text = NULL;

	ck_assert_int_eq(metadata_get(metadata, name, &text), MC_NOT_FOUND);
	ck_assert_ptr_null(text);
}

START_TEST(what_one_puts_the_other_gets)
{
	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, key, "{\"name\":\"x\"}\n"), MC_OK);
	assert_text(other, key, "{\"name\":\"x\"}\n");
	assert_text(one, key, "{\"name\":\"x\"}\n");
	end();
}
END_TEST

START_TEST(a_put_takes_the_place_of_what_was_there)
{
	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, key, "first, and longer"), MC_OK);
	ck_assert_int_eq(metadata_put(one, key, "second"), MC_OK);
	assert_text(other, key, "second");
	end();
}
END_TEST

START_TEST(what_is_removed_is_gone)
{
	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, key, "x"), MC_OK);
	ck_assert_int_eq(metadata_remove(one, key), MC_OK);
	assert_missing(one, key);
	assert_missing(other, key);
	enum mc_status again = metadata_remove(one, key);
	ck_assert(again == MC_OK || again == MC_NOT_FOUND);
	ck_assert_int_eq(metadata_put(one, key, "y"), MC_OK);
	assert_text(other, key, "y");
	end();
}
END_TEST

START_TEST(what_nobody_put_is_not_found)
{
	if (!begin(&rows[_i]))
		return;
	assert_missing(one, key);
	assert_missing(other, key);
	assert_missing(other, "mooncake/ram/nobody");
	assert_missing(other, "no/such/key");
	end();
}
END_TEST

START_TEST(keys_are_bytes)
{
	static const char *const names[] = {
		"a b",	  "a%20b", "a&key=b",		"a?b#c", "a=b", "a+b", "\xc3\xa9",
		"a/../b", "/",	   "mooncake/nvmeof/x", "\"'\\", "%2F",
	};
	char text[16];

	if (!begin(&rows[_i]))
		return;
	struct metadata *reader = rows[_i].shares_all ? other : one;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(text, sizeof(text), "%zu", i);
		ck_assert_int_eq(metadata_put(one, names[i], text), MC_OK);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(text, sizeof(text), "%zu", i);
		assert_text(reader, names[i], text);
	}
	end();
}
END_TEST

START_TEST(texts_of_every_size_come_back_whole)
{
	static const size_t sizes[] = {0, 1, 1024, 65536, METADATA_VALUE_SIZE_MAX};

	if (!begin(&rows[_i]))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		CLEANUP_FREE char *text = malloc(sizes[i] + 1);
		ck_assert_ptr_nonnull(text);
		memset(text, 'a' + (int)i, sizes[i]);
		text[sizes[i]] = '\0';
		ck_assert_int_eq(metadata_put(one, key, text), MC_OK);
		assert_text(other, key, text);
	}
	end();
}
END_TEST

START_TEST(what_is_too_big_is_refused_and_changes_nothing)
{
	CLEANUP_FREE char *text = malloc(METADATA_VALUE_SIZE_MAX + 2);
	char long_key[METADATA_KEY_SIZE_MAX + 2];
	char *found;

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', METADATA_VALUE_SIZE_MAX + 1);
	text[METADATA_VALUE_SIZE_MAX + 1] = '\0';
	memset(long_key, 'k', sizeof(long_key) - 1);
	long_key[sizeof(long_key) - 1] = '\0';
	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, key, "small"), MC_OK);
	ck_assert_int_eq(metadata_put(one, key, text), MC_TOO_BIG);
	assert_text(other, key, "small");
	ck_assert_int_eq(metadata_put(one, long_key, "x"), MC_TOO_BIG);
	ck_assert_int_eq(metadata_get(one, long_key, &found), MC_TOO_BIG);
	long_key[METADATA_KEY_SIZE_MAX] = '\0';
	ck_assert_int_eq(metadata_put(one, long_key, "x"), MC_OK);
	assert_text(one, long_key, "x");
	end();
}
END_TEST

START_TEST(an_empty_key_is_none)
{
	char *text;

	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, "", "x"), MC_INVALID);
	ck_assert_int_eq(metadata_get(one, "", &text), MC_INVALID);
	ck_assert_int_eq(metadata_remove(one, ""), MC_INVALID);
	end();
}
END_TEST

/* Put and get a key of its own, over and over, and read the shared one. */
static void *use(void *context)
{
	char own_key[64];
	char text[64];

	snprintf(own_key, sizeof(own_key), "mooncake/ram/thread-%d", *(int *)context);
	for (int i = 0; i < ROUND_COUNT; i++) {
		snprintf(text, sizeof(text), "%d of %d", i, *(int *)context);
		ck_assert_int_eq(metadata_put(one, own_key, text), MC_OK);
		assert_text(one, own_key, text);
		assert_text(other, key, "shared");
	}
	return NULL;
}

START_TEST(many_threads_use_one_store)
{
	pthread_t threads[THREAD_COUNT];
	int numbers[THREAD_COUNT];

	if (!begin(&rows[_i]))
		return;
	ck_assert_int_eq(metadata_put(one, key, "shared"), MC_OK);
	for (int i = 0; i < THREAD_COUNT; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use, &numbers[i]), 0);
	}
	for (int i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metadata");
	TCase *tcase = tcase_create("every store");
	int count = (int)ARRAY_SIZE(rows);

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, what_one_puts_the_other_gets, 0, count);
	tcase_add_loop_test(tcase, a_put_takes_the_place_of_what_was_there, 0, count);
	tcase_add_loop_test(tcase, what_is_removed_is_gone, 0, count);
	tcase_add_loop_test(tcase, what_nobody_put_is_not_found, 0, count);
	tcase_add_loop_test(tcase, keys_are_bytes, 0, count);
	tcase_add_loop_test(tcase, texts_of_every_size_come_back_whole, 0, count);
	tcase_add_loop_test(tcase, what_is_too_big_is_refused_and_changes_nothing, 0, count);
	tcase_add_loop_test(tcase, an_empty_key_is_none, 0, count);
	tcase_add_loop_test(tcase, many_threads_use_one_store, 0, count);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
