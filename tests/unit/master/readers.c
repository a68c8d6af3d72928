/*
 * Readers beside a writer: nothing torn, nothing missing that is there all along,
 * nothing old after it was told to be.
 *
 * Most of all for ThreadSanitizer.  MOONCAKE_READERS_MS sets how long each runs.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/clock.h"
#include "master/state.h"
#include "tests/unit/master/raw.h"

#define READER_COUNT 3
#define STAY_COUNT   40
#define BATCH	     80	  /* more than are loaded ahead at once */
#define CHURN_COUNT  3000 /* names that come and go: the tables grow and are cleaned up */

static struct mc_master *master;
static struct raw writer;
static uint64_t stay_ids[STAY_COUNT];
static uint64_t moving_id, inside_id; /* a directory that moves, an object in it */
static atomic_bool over;
static atomic_uint_fast64_t answered[STAY_COUNT]; /* version of each that was answered last */

static void stay_name(int i, char *name)
{
	sprintf(name, "stay-%02d", i);
}

/* Every field follows from the version: a mix of two shows. */
static struct mc_attr attr_of(uint64_t id, uint64_t version)
{
	struct mc_attr attr = raw_attr(id, version, version * 3);

	attr.allocated = version * 5;
	attr.uid = (uint32_t)version;
	attr.gid = (uint32_t)version + 1;
	attr.mtime = (struct mc_time){(int64_t)version, (uint32_t)version};
	attr.atime = (struct mc_time){(int64_t)version + 1, (uint32_t)version};
	attr.ctime = (struct mc_time){(int64_t)version + 2, (uint32_t)version};
	return attr;
}

static void check_whole(const struct mc_entry *entry)
{
	const struct mc_attr *attr = &entry->attr;
	struct mc_attr wanted = attr_of(attr->id, attr->version);

	ck_assert_uint_eq(attr->size, wanted.size);
	ck_assert_uint_eq(attr->allocated, wanted.allocated);
	ck_assert_uint_eq(attr->uid, wanted.uid);
	ck_assert_uint_eq(attr->gid, wanted.gid);
	ck_assert_int_eq(attr->mtime.s, wanted.mtime.s);
	ck_assert_int_eq(attr->atime.s, wanted.atime.s);
	/* A rename sets it to the master's time. */
	ck_assert(attr->ctime.s == wanted.ctime.s || attr->ctime.s > 1000000000);
	ck_assert_uint_eq(attr->mtime.ns, wanted.mtime.ns);
	ck_assert_uint_eq(entry->replica_count, 1);
}

static void setup(void)
{
	struct mc_master_config config = {
		.socket = "auto", .heartbeat_ms = 1000, .ttl_ms = 60000, .threads = 2};
	char name[16];

	if (log_level_now != LOG_LEVEL_ERROR)
		log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	raw_timeout_ms = 30000;
	raw_node(&writer, mc_master_socket(master), 1);
	for (int i = 0; i < STAY_COUNT; i++) {
		struct mc_attr attr = attr_of(stay_ids[i] = writer.next_id++, 1);
		stay_name(i, name);
		ck_assert_int_eq(raw_publish(&writer, MC_ROOT_ID, name, 0, &attr), MC_OK);
		atomic_store(&answered[i], 1);
	}
	moving_id = raw_mkdir(&writer, MC_ROOT_ID, "moving-0");
	struct mc_attr attr = attr_of(inside_id = writer.next_id++, 7);
	ck_assert_int_eq(raw_publish(&writer, moving_id, "inside", 0, &attr), MC_OK);
	atomic_store(&over, false);
}

static void teardown(void)
{
	raw_close(&writer);
	mc_master_stop(master);
}

/* A page of a listing, or a path, while all of it changes. */
static void look_wider(struct raw *raw, bool path)
{
	size_t size;

	put_u64(&raw->out, path ? inside_id : MC_ROOT_ID);
	if (path) {
		ck_assert_int_eq(raw_call(raw, MC_VERB_PATH), MC_OK);
		const char *text = get_string(&raw->in, &size);
		ck_assert_uint_eq(size, 15);
		ck_assert_mem_eq(text, "moving-", 7);
		ck_assert_mem_eq(text + 8, "/inside", 7);
		return;
	}
	put_u64(&raw->out, 0);
	put_u32(&raw->out, STAY_COUNT);
	ck_assert_int_eq(raw_call(raw, MC_VERB_LIST), MC_OK);
	get_u8(&raw->in);
	ck_assert_uint_eq(get_u16(&raw->in), STAY_COUNT);
	for (int i = 0; i < STAY_COUNT; i++) {
		char wanted[16], name[MC_NAME_MAX + 1];
		struct mc_entry entry;
		stay_name(i, wanted);
		get_u64(&raw->in);
		get_text(&raw->in, name, sizeof(name));
		get_entry(&raw->in, &entry);
		ck_assert_str_eq(name, wanted);
		check_whole(&entry);
	}
}

/* A batch of lookups by one of three verbs; the first name is that of a directory that moves. */
static void look(struct raw *raw, unsigned turn)
{
	static const enum mc_verb verbs[] = {MC_VERB_LOOKUP, MC_VERB_LOOKUP_PATH, MC_VERB_EXISTS};
	enum mc_verb verb = verbs[turn % 3];
	uint64_t before[BATCH];
	char name[16];

	put_u16(&raw->out, BATCH);
	for (unsigned i = 0; i < BATCH; i++) {
		unsigned which = (turn * 7 + i) % STAY_COUNT;
		before[i] = atomic_load(&answered[which]);
		stay_name((int)which, name);
		if (verb == MC_VERB_LOOKUP && i == 0)
			raw_name(raw, moving_id, "inside");
		else if (verb == MC_VERB_LOOKUP)
			raw_name(raw, MC_ROOT_ID, name);
		else
			put_string(&raw->out, name, strlen(name));
	}
	ck_assert_int_eq(raw_call(raw, verb), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), BATCH);
	for (unsigned i = 0; i < BATCH; i++) {
		struct mc_entry entry;
		ck_assert_int_eq(get_status(&raw->in), MC_OK);
		if (verb == MC_VERB_EXISTS)
			continue;
		if (verb == MC_VERB_LOOKUP_PATH)
			ck_assert_uint_eq(get_u64(&raw->in), MC_ROOT_ID);
		get_entry(&raw->in, &entry);
		check_whole(&entry);
		if (verb == MC_VERB_LOOKUP && i == 0)
			ck_assert_uint_eq(entry.attr.id, inside_id);
		else
			ck_assert_uint_ge(entry.attr.version, before[i]);
	}
	ck_assert(reader_done(&raw->in));
	raw_forget_pushes(raw);
}

static void *reader(void *context)
{
	struct raw raw;

	raw_connect(&raw, mc_master_socket(master));
	raw_hello(&raw, MC_ROLE_CLIENT, "reader", 0);
	for (unsigned turn = *(unsigned *)context; !atomic_load(&over); turn++) {
		look(&raw, turn);
		look_wider(&raw, turn % 2);
		raw_forget_pushes(&raw);
	}
	raw_close(&raw);
	return NULL;
}

/* A name's object becomes a new version, another object, or one that is renamed onto it. */
static void change_stay(unsigned turn)
{
	unsigned which = turn % STAY_COUNT;
	uint64_t version = atomic_load(&answered[which]) + 1;
	char name[16];

	stay_name((int)which, name);
	struct mc_attr attr = attr_of(stay_ids[which], version);
	if (turn % 3 != 0)
		attr.id = writer.next_id++;
	if (turn % 3 == 1) {
		ck_assert_int_eq(raw_publish(&writer, MC_ROOT_ID, "new", 0, &attr), MC_OK);
		ck_assert_int_eq(raw_rename(&writer, MC_ROOT_ID, "new", MC_ROOT_ID, name, 0),
				 MC_OK);
		/* A rename is a change too: its time is the master's, so publish it whole again. */
		attr = attr_of(attr.id, version + 1);
	}
	ck_assert_int_eq(raw_publish(&writer, MC_ROOT_ID, name, 0, &attr), MC_OK);
	stay_ids[which] = attr.id;
	atomic_store(&answered[which], attr.version);
}

/* The directory goes back and forth, also onto an empty one. */
static void change_moving(unsigned turn)
{
	char from[16];
	char to[16];

	sprintf(from, "moving-%u", turn % 2);
	sprintf(to, "moving-%u", (turn + 1) % 2);
	if (turn % 4 == 0)
		raw_mkdir(&writer, MC_ROOT_ID, to);
	ck_assert_int_eq(raw_rename(&writer, MC_ROOT_ID, from, MC_ROOT_ID, to, 0), MC_OK);
}

static void churn(unsigned turn)
{
	char name[32];

	for (int i = 0; i < 20; i++) {
		unsigned number = (turn * 20 + (unsigned)i) % (2 * CHURN_COUNT);
		sprintf(name, "churn-%u", number % CHURN_COUNT);
		if (number < CHURN_COUNT)
			raw_put(&writer, MC_ROOT_ID, name);
		else
			ck_assert_int_eq(raw_remove(&writer, MC_ROOT_ID, name), MC_OK);
	}
}

static unsigned run_ms(void)
{
	const char *given = getenv("MOONCAKE_READERS_MS");

	return given ? (unsigned)strtoul(given, NULL, 10) : 2000;
}

START_TEST(lookups_are_whole_and_miss_nothing)
{
	pthread_t threads[READER_COUNT];
	unsigned first[READER_COUNT];
	uint64_t end_ns = clock_ns() + run_ms() * 1000000ull;

	for (unsigned i = 0; i < READER_COUNT; i++) {
		first[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &first[i]), 0);
	}
	for (unsigned turn = 0; clock_ns() < end_ns; turn++) {
		change_stay(turn);
		change_moving(turn);
		churn(turn);
		raw_forget_pushes(&writer);
	}
	atomic_store(&over, true);
	for (int i = 0; i < READER_COUNT; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* What a client that keeps answers until they are invalidated believes. */
struct cache {
	uint64_t version; /* 0: asks anew */
	uint64_t id;
};

static void invalidated(struct raw *raw, struct cache *cache)
{
	struct reader r;

	for (int i = 0; i < raw->push_count; i++) {
		if (raw->pushes[i].verb != MC_VERB_INVALIDATE)
			continue;
		reader_init(&r, raw->pushes[i].body, raw->pushes[i].size);
		uint16_t count = get_u16(&r);
		for (uint16_t j = 0; j < count; j++) {
			size_t size;
			get_u8(&r);
			get_u64(&r);
			uint64_t id = get_u64(&r);
			get_string(&r, &size);
			if (id == cache->id)
				cache->version = 0;
		}
		ck_assert(reader_done(&r));
	}
	raw_forget_pushes(raw);
}

static void *cache_fill(void *context)
{
	struct cache *cache = context;
	struct raw raw;

	raw_connect(&raw, mc_master_socket(master));
	raw_hello(&raw, MC_ROLE_CLIENT, "cache", 0);
	while (!atomic_load(&over)) {
		struct raw_found found = raw_lookup(&raw, MC_ROOT_ID, "stay-00");
		ck_assert_int_eq(found.status, MC_OK);
		/* Those before the answer are about what came before it. */
		cache->id = found.entry.attr.id;
		cache->version = 0;
		raw_forget_pushes(&raw);
		cache->version = found.entry.attr.version;
	}
	/* The writer's: all pushes that were on their way are here before it. */
	for (int i = 0; i < 3; i++)
		put_u64(&raw.out, 0);
	ck_assert_int_eq(raw_call(&raw, MC_VERB_HEARTBEAT), MC_OK);
	invalidated(&raw, cache);
	raw_close(&raw);
	return NULL;
}

START_TEST(an_old_answer_never_follows_its_invalidation)
{
	struct mc_attr attr;

	for (uint64_t round = 0; round < run_ms() / 10; round++) {
		pthread_t threads[READER_COUNT];
		struct cache caches[READER_COUNT] = {0};
		uint64_t version = 0;
		atomic_store(&over, false);
		for (int i = 0; i < READER_COUNT; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, cache_fill, &caches[i]),
					 0);
		for (int i = 0; i < 10; i++) {
			version = 1000 + round * 100 + (uint64_t)i;
			attr = attr_of(stay_ids[0], version);
			ck_assert_int_eq(raw_publish(&writer, MC_ROOT_ID, "stay-00", 0, &attr),
					 MC_OK);
		}
		atomic_store(&over, true);
		for (int i = 0; i < READER_COUNT; i++) {
			pthread_join(threads[i], NULL);
			ck_assert(caches[i].version == 0 || caches[i].version == version);
		}
		raw_forget_pushes(&writer);
	}
}
END_TEST

static bool silent(const struct raw *raw, int ms)
{
	struct pollfd poll_fd = {.fd = raw->fd, .events = POLLIN};

	return poll(&poll_fd, 1, ms) == 0;
}

static void list_check(struct raw *raw)
{
	unsigned names = 0;

	put_u64(&raw->out, MC_ROOT_ID);
	put_u64(&raw->out, 0);
	put_u32(&raw->out, 1000);
	ck_assert_int_eq(raw_call(raw, MC_VERB_LIST), MC_OK);
	ck_assert_uint_eq(get_u8(&raw->in), 1);
	for (uint16_t left = get_u16(&raw->in); left > 0; left--) {
		char name[MC_NAME_MAX + 1];
		struct mc_entry entry;
		get_u64(&raw->in);
		get_text(&raw->in, name, sizeof(name));
		get_entry(&raw->in, &entry);
		names += strncmp(name, "stay-", 5) == 0 && entry.replica_count == 1;
	}
	ck_assert(reader_done(&raw->in));
	ck_assert_uint_eq(names, STAY_COUNT);
}

static void path_check(struct raw *raw)
{
	size_t size;

	put_u64(&raw->out, inside_id);
	ck_assert_int_eq(raw_call(raw, MC_VERB_PATH), MC_OK);
	const char *path = get_string(&raw->in, &size);
	ck_assert_uint_eq(size, 15);
	ck_assert_mem_eq(path, "moving-0/inside", 15);
	put_u64(&raw->out, MC_ROOT_ID);
	ck_assert_int_eq(raw_call(raw, MC_VERB_PATH), MC_OK);
	get_string(&raw->in, &size);
	ck_assert_uint_eq(size, 0);
}

static void xattrs_check(struct raw *raw)
{
	char text[16];

	put_u64(&raw->out, stay_ids[0]);
	ck_assert_int_eq(raw_call(raw, MC_VERB_GETXATTRS), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 1);
	get_text(&raw->in, text, sizeof(text));
	ck_assert_str_eq(text, "user.a");
	get_text(&raw->in, text, sizeof(text));
	ck_assert_str_eq(text, "1");
	put_u64(&raw->out, stay_ids[1]);
	ck_assert_int_eq(raw_call(raw, MC_VERB_GETXATTRS), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 0);
}

static void statfs_check(struct raw *raw)
{
	ck_assert_int_eq(raw_call(raw, MC_VERB_STATFS), MC_OK);
	ck_assert_uint_gt(get_u64(&raw->in), 0);
	get_u64(&raw->in);
	ck_assert_uint_eq(get_u64(&raw->in), STAY_COUNT + 1);
	ck_assert_uint_eq(get_u64(&raw->in), 2);
	ck_assert_uint_eq(get_u32(&raw->in), 1);
	ck_assert(reader_done(&raw->in));
}

START_TEST(a_writer_that_is_stuck_holds_no_lookup_back)
{
	struct mc_attr attr = attr_of(writer.next_id++, 1);
	struct raw asker;

	put_u64(&writer.out, stay_ids[0]);
	put_string(&writer.out, "user.a", 6);
	put_u32(&writer.out, 0);
	put_string(&writer.out, "1", 1);
	ck_assert_int_eq(raw_call(&writer, MC_VERB_SETXATTR), MC_OK);
	raw_connect(&asker, mc_master_socket(master));
	raw_hello(&asker, MC_ROLE_CLIENT, "asker", 0);
	/* As in a turn whose journal waits for its disk. */
	pthread_mutex_lock(&master->writing);
	raw_publish_write(&writer, MC_ROOT_ID, "late", 0, &attr);
	raw_send(&writer, MC_VERB_PUBLISH);
	ck_assert_uint_eq(raw_lookup(&asker, MC_ROOT_ID, "stay-07").entry.attr.id, stay_ids[7]);
	ck_assert_uint_eq(raw_stat(&asker, "moving-0/inside").id, inside_id);
	list_check(&asker);
	path_check(&asker);
	xattrs_check(&asker);
	statfs_check(&asker);
	ck_assert(silent(&writer, 100));
	pthread_mutex_unlock(&master->writing);
	ck_assert(raw_receive(&writer));
	ck_assert_int_eq(raw_lookup(&asker, MC_ROOT_ID, "late").status, MC_OK);
	raw_close(&asker);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, lookups_are_whole_and_miss_nothing);
	tcase_add_test(tc, a_writer_that_is_stuck_holds_no_lookup_back);
	tcase_add_test(tc, an_old_answer_never_follows_its_invalidation);
}

int main(void)
{
	return raw_run("readers", add, setup, teardown);
}
