/*
 * A batch, whose names are loaded ahead, is answered as each of them is alone.
 */
#include "master/ahead.h"

#include "engine/base/cleanup.h"
#include "tests/unit/master/raw.h"

#define COUNT (3 * AHEAD_COUNT + 5)

static struct mc_master *master;
static struct raw raw;
static uint64_t shallow_id, deep_id;

/* Names as a batch may have them; where and in what order they stand differs by turn. */
static const char *const paths[] = {
	"here",	      "dir/here", "dir/deep/here", "gone",  "dir/gone",	 "none/here", "here/below",
	"dir",	      "dir/deep", "dir/deep/gone", "dir/",  "/here",	 "..",	      "dir//here",
	"dir/deep/x", "x",	  "dir/x",	   "other", "dir/other", "",
};

struct asked {
	uint64_t parent; /* LOOKUP alone */
	const char *name;
};

static void setup(void)
{
	static const char *const names[] = {"here", "x", "other", "gone"};

	master = raw_master(NULL, 60000);
	raw_node(&raw, mc_master_socket(master), 1);
	shallow_id = raw_mkdir(&raw, MC_ROOT_ID, "dir");
	deep_id = raw_mkdir(&raw, shallow_id, "deep");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		raw_put(&raw, MC_ROOT_ID, names[i]);
		raw_put(&raw, shallow_id, names[i]);
		raw_put(&raw, deep_id, names[i]);
	}
	ck_assert_int_eq(raw_remove(&raw, MC_ROOT_ID, "gone"), MC_OK);
	ck_assert_int_eq(raw_remove(&raw, shallow_id, "gone"), MC_OK);
	ck_assert_int_eq(raw_remove(&raw, deep_id, "gone"), MC_OK);
}

static void teardown(void)
{
	raw_close(&raw);
	mc_master_stop(master);
}

static struct asked asked_of(enum mc_verb verb, unsigned turn, unsigned i)
{
	const uint64_t parents[] = {MC_ROOT_ID, shallow_id, deep_id, shallow_id, 999999999};
	static const char *const names[] = {"here", "gone", "x", "deep", "dir", "other"};
	unsigned which = i * (turn + 1) + i / 7 + turn;

	if (verb == MC_VERB_LOOKUP)
		return (struct asked){parents[which % ARRAY_SIZE(parents)],
				      names[which / 5 % ARRAY_SIZE(names)]};
	return (struct asked){.name = paths[which % ARRAY_SIZE(paths)]};
}

static void asked_write(enum mc_verb verb, const struct asked *asked)
{
	if (verb == MC_VERB_LOOKUP)
		put_u64(&raw.out, asked->parent);
	put_string(&raw.out, asked->name, strlen(asked->name));
}

/* What an item came to: its status, and the id of what was found. */
static void answer_read(enum mc_verb verb, enum mc_status *status, uint64_t *id)
{
	struct mc_entry entry = {0};

	*status = get_status(&raw.in);
	if (*status == MC_NOT_FOUND && verb == MC_VERB_LOOKUP && get_u8(&raw.in)) {
		for (uint32_t count = get_u32(&raw.in); count > 0; count--)
			get_u64(&raw.in);
	}
	if (*status == MC_OK && verb == MC_VERB_LOOKUP_PATH)
		get_u64(&raw.in);
	if (*status == MC_OK && verb != MC_VERB_EXISTS)
		get_entry(&raw.in, &entry);
	*id = entry.attr.id;
}

START_TEST(a_batch_is_answered_as_each_of_its_names_is_alone)
{
	static const enum mc_verb verbs[] = {MC_VERB_LOOKUP, MC_VERB_LOOKUP_PATH, MC_VERB_EXISTS};
	enum mc_verb verb = verbs[_i % 3];
	enum mc_status status[COUNT], alone;
	uint64_t id[COUNT], alone_id;
	unsigned turn = (unsigned)_i / 3, found = 0;

	put_u16(&raw.out, COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		struct asked asked = asked_of(verb, turn, i);
		asked_write(verb, &asked);
	}
	ck_assert_int_eq(raw_call(&raw, verb), MC_OK);
	ck_assert_uint_eq(get_u16(&raw.in), COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		answer_read(verb, &status[i], &id[i]);
	ck_assert(reader_done(&raw.in));
	for (unsigned i = 0; i < COUNT; i++) {
		struct asked asked = asked_of(verb, turn, i);
		put_u16(&raw.out, 1);
		asked_write(verb, &asked);
		ck_assert_int_eq(raw_call(&raw, verb), MC_OK);
		ck_assert_uint_eq(get_u16(&raw.in), 1);
		answer_read(verb, &alone, &alone_id);
		ck_assert_msg(alone == status[i] && alone_id == id[i],
			      "item %u \"%s\": %d, alone %d", i, asked.name, status[i], alone);
		found += alone == MC_OK;
	}
	ck_assert_uint_gt(found, 0);
	ck_assert_uint_lt(found, COUNT);
}
END_TEST

/* The first names are good, and are answered no more than the last. */
START_TEST(a_batch_that_is_cut_off_is_refused_whole)
{
	static const enum mc_verb verbs[] = {MC_VERB_LOOKUP, MC_VERB_LOOKUP_PATH, MC_VERB_EXISTS};
	enum mc_verb verb = verbs[_i % 3];
	unsigned more = (unsigned)_i / 3; /* 0: an item is missing, 1: a byte is left */
	struct asked asked = {MC_ROOT_ID, "here"};

	put_u16(&raw.out, (uint16_t)(COUNT + !more));
	for (unsigned i = 0; i < COUNT; i++)
		asked_write(verb, &asked);
	if (more)
		put_u8(&raw.out, 0);
	ck_assert_int_eq(raw_call(&raw, verb), MC_PROTOCOL);
	ck_assert(reader_done(&raw.in));
	ck_assert_int_eq(raw_lookup(&raw, MC_ROOT_ID, "here").status, MC_OK);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_batch_is_answered_as_each_of_its_names_is_alone, 0, 3 * 20);
	tcase_add_loop_test(tc, a_batch_that_is_cut_off_is_refused_whole, 0, 3 * 2);
}

int main(void)
{
	return raw_run("ahead", add, setup, teardown);
}
