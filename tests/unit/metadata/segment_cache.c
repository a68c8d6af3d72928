/* When the store is asked, and by whom. */
#include "engine/metadata/segment_cache.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/store.h"
#include "tests/support/suite.h"

/* A store that counts, and answers as it is told. */
struct counting {
	struct metadata base;
	_Atomic unsigned gets;
	unsigned pause_us;
	unsigned nested; /* so many more names are asked for before the answer */
	enum mc_status failure;
	struct metadata *behind;
};

static struct counting store;
static struct segment_cache *cache;

/* One name within the fetch of another, as of a thread more. */
static void fetch_nested(void)
{
	struct segment_desc *desc = NULL;
	char name[16];

	snprintf(name, sizeof(name), "n%u", store.nested--);
	ck_assert_int_eq(segment_cache_get(cache, name, &desc), MC_OK);
	segment_desc_unref(desc);
}

static enum mc_status counting_get(struct metadata *metadata, const char *key, char **text)
{
	(void)metadata;
	store.gets++;
	if (store.pause_us)
		usleep(store.pause_us);
	if (store.nested > 0)
		fetch_nested();
	return store.failure ? store.failure : metadata_get(store.behind, key, text);
}

static enum mc_status counting_put(struct metadata *metadata, const char *key, const char *text)
{
	(void)metadata;
	return metadata_put(store.behind, key, text);
}

static enum mc_status counting_remove(struct metadata *metadata, const char *key)
{
	(void)metadata;
	return metadata_remove(store.behind, key);
}

static const struct metadata_ops counting_ops = {
	.get = counting_get, .put = counting_put, .remove = counting_remove};

static void setup(void)
{
	struct metadata_config config = {.url = "memory://cache"};

	log_set_level("error");
	unsetenv("MC_DISABLE_METACACHE");
	store.base.ops = &counting_ops;
	store.gets = store.nested = 0;
	store.failure = MC_OK;
	ck_assert_int_eq(metadata_open(&config, &store.behind), MC_OK);
	ck_assert_int_eq(segment_cache_new(&store.base, &cache), MC_OK);
}

static void teardown(void)
{
	segment_cache_free(cache);
	metadata_close(store.behind);
}

/* Another engine writes its descriptor, with one buffer of this length. */
static void owner_writes(const char *name, uint64_t length)
{
	char key[128];
	char text[256];

	ck_assert_int_eq(segment_key(name, key, sizeof(key)), MC_OK);
	snprintf(text, sizeof(text),
		 "{\"name\":\"%s\",\"protocol\":\"tcp\",\"buffers\":[{\"name\":\"n\",\"addr\":1,"
		 "\"length\":%lu}]}",
		 name, (unsigned long)length);
	ck_assert_int_eq(metadata_put(store.behind, key, text), MC_OK);
}

static void assert_length(const char *name, uint64_t length)
{
	struct segment_desc *desc = NULL;

	ck_assert_int_eq(segment_cache_get(cache, name, &desc), MC_OK);
	ck_assert_uint_eq(desc->buffers[0].length, length);
	segment_desc_unref(desc);
}

START_TEST(a_descriptor_is_fetched_once)
{
	owner_writes("n", 5);
	for (int i = 0; i < 10; i++)
		assert_length("n", 5);
	ck_assert_uint_eq(store.gets, 1);
	owner_writes("n", 6);
	assert_length("n", 5);
}
END_TEST

START_TEST(without_the_cache_each_is_fetched_anew)
{
	segment_cache_free(cache);
	setenv("MC_DISABLE_METACACHE", "", 1);
	ck_assert_int_eq(segment_cache_new(&store.base, &cache), MC_OK);
	owner_writes("n", 5);
	assert_length("n", 5);
	owner_writes("n", 6);
	assert_length("n", 6);
	ck_assert_uint_eq(store.gets, 2);
}
END_TEST

START_TEST(a_stale_one_is_replaced_once_for_all_who_found_out)
{
	struct segment_desc *old = NULL;
	struct segment_desc *first = NULL;
	struct segment_desc *second = NULL;

	owner_writes("n", 5);
	ck_assert_int_eq(segment_cache_get(cache, "n", &old), MC_OK);
	owner_writes("n", 6);
	ck_assert_int_eq(segment_cache_refresh(cache, "n", old, &first), MC_OK);
	ck_assert_int_eq(segment_cache_refresh(cache, "n", old, &second), MC_OK);
	ck_assert_ptr_eq(first, second);
	ck_assert_uint_eq(first->buffers[0].length, 6);
	ck_assert_uint_eq(old->buffers[0].length, 5);
	ck_assert_uint_eq(store.gets, 2);
	segment_desc_unref(old);
	segment_desc_unref(first);
	segment_desc_unref(second);
}
END_TEST

START_TEST(a_refresh_of_nothing_fetches_anew)
{
	struct segment_desc *desc = NULL;

	owner_writes("n", 5);
	assert_length("n", 5);
	owner_writes("n", 6);
	ck_assert_int_eq(segment_cache_refresh(cache, "n", NULL, &desc), MC_OK);
	ck_assert_uint_eq(desc->buffers[0].length, 6);
	segment_desc_unref(desc);
	assert_length("n", 6);
	ck_assert_uint_eq(store.gets, 2);
	owner_writes("m", 7);
	ck_assert_int_eq(segment_cache_refresh(cache, "m", NULL, &desc), MC_OK);
	segment_desc_unref(desc);
	ck_assert_uint_eq(store.gets, 3);
}
END_TEST

START_TEST(a_store_that_fails_leaves_what_is_kept)
{
	struct segment_desc *old = NULL;
	struct segment_desc *desc = NULL;

	owner_writes("n", 5);
	ck_assert_int_eq(segment_cache_get(cache, "n", &old), MC_OK);
	store.failure = MC_UNREACHABLE;
	ck_assert_int_eq(segment_cache_refresh(cache, "n", old, &desc), MC_UNREACHABLE);
	ck_assert_int_eq(segment_cache_sync(cache, "n"), MC_UNREACHABLE);
	ck_assert_int_eq(segment_cache_sync(cache, NULL), MC_UNREACHABLE);
	assert_length("n", 5);
	ck_assert_int_eq(segment_cache_get(cache, "m", &desc), MC_UNREACHABLE);
	store.failure = MC_OK;
	owner_writes("m", 7);
	assert_length("m", 7);
	segment_desc_unref(old);
}
END_TEST

START_TEST(a_sync_fetches_all_and_forgets_what_is_gone)
{
	struct segment_desc *desc = NULL;

	owner_writes("a", 1);
	owner_writes("b", 1);
	assert_length("a", 1);
	assert_length("b", 1);
	owner_writes("a", 2);
	ck_assert_int_eq(metadata_remove(store.behind, "mooncake/ram/b"), MC_OK);
	ck_assert_int_eq(segment_cache_sync(cache, NULL), MC_OK);
	ck_assert_uint_eq(store.gets, 4);
	assert_length("a", 2);
	ck_assert_uint_eq(store.gets, 4);
	ck_assert_int_eq(segment_cache_get(cache, "b", &desc), MC_NOT_FOUND);
}
END_TEST

START_TEST(a_corrupted_one_is_said_to_be_so)
{
	struct segment_desc *desc = NULL;

	ck_assert_int_eq(metadata_put(store.behind, "mooncake/ram/n", "{\"name\":1}"), MC_OK);
	ck_assert_int_eq(segment_cache_get(cache, "n", &desc), MC_PROTOCOL);
	owner_writes("n", 5);
	assert_length("n", 5);
}
END_TEST

START_TEST(our_own_is_published_and_withdrawn)
{
	struct segment_desc *desc = NULL;
	struct segment_address address = {.host = "10.0.0.1", .port = 15001};
	struct segment_address found;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "me", &desc), MC_OK);
	ck_assert_int_eq(segment_cache_publish(cache, "me", desc), MC_OK);
	segment_desc_unref(desc);
	ck_assert_int_eq(segment_cache_get(cache, "me", &desc), MC_OK);
	ck_assert_str_eq(desc->name, "me");
	segment_desc_unref(desc);
	ck_assert_int_eq(segment_cache_withdraw(cache, "me"), MC_OK);
	ck_assert_int_eq(segment_cache_withdraw(cache, "me"), MC_OK);
	ck_assert_int_eq(segment_cache_get(cache, "me", &desc), MC_NOT_FOUND);
	ck_assert_int_eq(segment_cache_announce(cache, "me", &address), MC_OK);
	ck_assert_int_eq(segment_cache_address(cache, "me", &found), MC_OK);
	ck_assert_str_eq(found.host, "10.0.0.1");
	ck_assert_uint_eq(found.port, 15001);
	ck_assert_int_eq(segment_cache_address(cache, "you", &found), MC_NOT_FOUND);
	ck_assert_int_eq(segment_cache_withdraw(cache, "me"), MC_OK);
	ck_assert_int_eq(segment_cache_address(cache, "me", &found), MC_NOT_FOUND);
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
	char name[32];

	for (unsigned i = 0; i < SEGMENT_CACHE_MAX + 10; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		owner_writes(name, i + 1);
		assert_length(name, i + 1);
	}
	ck_assert_uint_eq(store.gets, SEGMENT_CACHE_MAX + 10);
	assert_length(name, SEGMENT_CACHE_MAX + 10);
	ck_assert_uint_eq(store.gets, SEGMENT_CACHE_MAX + 10);
	assert_length("n0", 1);
	ck_assert_uint_eq(store.gets, SEGMENT_CACHE_MAX + 11);
}
END_TEST

static void *fetch_all(void *context)
{
	(void)context;
	fetch_nested();
	return NULL;
}

/* None that is being fetched can go, and as many threads may fetch as there are. */
START_TEST(what_is_kept_is_bounded_once_all_is_fetched)
{
	pthread_attr_t deep;
	pthread_t thread;
	char name[16];

	for (unsigned i = 1; i <= SEGMENT_CACHE_MAX + 100; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		owner_writes(name, i);
	}
	store.nested = SEGMENT_CACHE_MAX + 100;
	pthread_attr_init(&deep);
	ck_assert_int_eq(pthread_attr_setstacksize(&deep, 256u << 20), 0);
	ck_assert_int_eq(pthread_create(&thread, &deep, fetch_all, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&deep);
	ck_assert_uint_eq(store.gets, SEGMENT_CACHE_MAX + 100);
	ck_assert_int_eq(segment_cache_sync(cache, NULL), MC_OK);
	ck_assert_uint_eq(store.gets, SEGMENT_CACHE_MAX + 100 + SEGMENT_CACHE_MAX);
}
END_TEST

static void *get_it(void *context)
{
	struct segment_desc *desc = NULL;

	(void)context;
	ck_assert_int_eq(segment_cache_get(cache, "n", &desc), MC_OK);
	segment_desc_unref(desc);
	return NULL;
}

START_TEST(of_many_who_want_a_name_one_fetches)
{
	pthread_t threads[16];

	owner_writes("n", 5);
	store.pause_us = 100000;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, get_it, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	store.pause_us = 0;
	ck_assert_uint_eq(store.gets, 1);
}
END_TEST

/* Everything at once; the sanitizers watch. */
static void *churn(void *context)
{
	unsigned seed = *(unsigned *)context;
	struct segment_desc *held = NULL;
	char name[8];

	for (int i = 0; i < 2000; i++) {
		struct segment_desc *desc = NULL;
		snprintf(name, sizeof(name), "n%d", rand_r(&seed) % 4);
		switch (rand_r(&seed) % 5) {
		case 0:
			segment_cache_forget(cache, name);
			continue;
		case 1:
			ck_assert_int_eq(segment_cache_sync(cache, NULL), MC_OK);
			continue;
		case 2:
			ck_assert_int_eq(segment_cache_refresh(cache, name, held, &desc), MC_OK);
			break;
		default:
			ck_assert_int_eq(segment_cache_get(cache, name, &desc), MC_OK);
			break;
		}
		segment_desc_unref(held);
		held = desc;
		ck_assert_str_eq(held->name, name);
	}
	segment_desc_unref(held);
	return NULL;
}

START_TEST(threads_do_all_of_it_at_once)
{
	pthread_t threads[4];
	unsigned seeds[4] = {1, 2, 3, 4};

	for (int i = 0; i < 4; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%d", i);
		owner_writes(name, 5);
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &seeds[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metadata/segment_cache");
	TCase *tcase = tcase_create("cache");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_descriptor_is_fetched_once);
	tcase_add_test(tcase, without_the_cache_each_is_fetched_anew);
	tcase_add_test(tcase, a_stale_one_is_replaced_once_for_all_who_found_out);
	tcase_add_test(tcase, a_refresh_of_nothing_fetches_anew);
	tcase_add_test(tcase, a_store_that_fails_leaves_what_is_kept);
	tcase_add_test(tcase, a_sync_fetches_all_and_forgets_what_is_gone);
	tcase_add_test(tcase, a_corrupted_one_is_said_to_be_so);
	tcase_add_test(tcase, our_own_is_published_and_withdrawn);
	tcase_add_test(tcase, what_is_kept_is_bounded);
	tcase_add_test(tcase, what_is_kept_is_bounded_once_all_is_fetched);
	tcase_add_test(tcase, of_many_who_want_a_name_one_fetches);
	tcase_add_test(tcase, threads_do_all_of_it_at_once);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
