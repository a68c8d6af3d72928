/* The values of journal records: their bytes, and what broken ones get. */
#include "master/record.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/log.h"
#include "master/xattrs.h"
#include "tests/support/suite.h"

static struct mc_master *master;
static uint8_t value[4096];
static size_t value_size;
static uint8_t key[RECORD_KEY_MAX];
static size_t key_size;
static enum record_kind kind;

/* A journal that keeps the record put last. */
static void keep(struct journal *journal, enum record_kind put_kind, const uint8_t *put_key,
		 size_t put_key_size, const uint8_t *put_value, size_t put_value_size)
{
	(void)journal;
	ck_assert_uint_le(put_value_size, sizeof(value));
	kind = put_kind;
	key_size = put_key_size;
	value_size = put_value_size;
	if (key_size)
		memcpy(key, put_key, key_size);
	memcpy(value, put_value, value_size);
}

static const struct journal_ops keep_ops = {.name = "keep", .put = keep};
static struct journal keeper = {.ops = &keep_ops};

static struct mc_master *state_new(void)
{
	struct mc_master *m = calloc(1, sizeof(*m));

	ck_assert_int_eq(catalog_init(&m->catalog), MC_OK);
	ck_assert_int_eq(nodes_init(&m->nodes), MC_OK);
	ck_assert_int_eq(ledger_init(&m->ledger), MC_OK);
	writer_init(&m->record);
	m->journal = &keeper;
	return m;
}

static void state_free(struct mc_master *m)
{
	catalog_fini(&m->catalog);
	nodes_fini(&m->nodes);
	ledger_fini(&m->ledger);
	policies_fini(&m->policies);
	writer_fini(&m->record);
	free(m);
}

static void setup(void)
{
	log_open("/dev/null");
	master = state_new();
}

static void teardown(void)
{
	state_free(master);
}

static struct entry *entry_make(uint64_t id, uint32_t mode)
{
	struct mc_attr attr = {.id = id,
			       .version = 3,
			       .size = 4,
			       .allocated = 5,
			       .mode = mode,
			       .uid = 6,
			       .gid = 7,
			       .atime = {8, 9},
			       .mtime = {10, 11},
			       .ctime = {-12, 13}};
	struct entry *entry;

	ck_assert_int_eq(catalog_add(&master->catalog, master->catalog.root->directory, "n", 1,
				     &attr, &entry),
			 MC_OK);
	return entry;
}

START_TEST(an_object_is_these_bytes)
{
	static const uint8_t golden[] = {
		1,					     /* version */
		1,    0,    0,	  0,	0,    0,    0,	  0, /* parent */
		1,    0,    0,	  0,	0,    0,    0,	  0, /* sequence */
		1,    0,    'n',			     /* name */
		2,    0,    0,	  0,	0,    0,    0,	  0, /* attr: id */
		3,    0,    0,	  0,	0,    0,    0,	  0, /* version */
		4,    0,    0,	  0,	0,    0,    0,	  0, /* size */
		5,    0,    0,	  0,	0,    0,    0,	  0, /* allocated */
		0xa4, 0x81, 0,	  0,			     /* mode */
		6,    0,    0,	  0,	7,    0,    0,	  0,	1,   0,	  0, 0, 1,
		0,    0,    0, /* uid gid nlink flags */
		8,    0,    0,	  0,	0,    0,    0,	  0,	9,   0,	  0, 0, /* atime */
		10,   0,    0,	  0,	0,    0,    0,	  0,	11,  0,	  0, 0, /* mtime */
		0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,			/* ctime */
		13,   0,    0,	  0, /* its nanoseconds */
		1,    0,    6,	  0,	'u',  's',  'e',  'r',	'.', 'a', 1, 0, 'v', /* xattrs */
		2,    0,    0,	  0,						     /* raised */
		1,    4,    0x10, /* node 5's cache replica */
	};
	struct entry *entry = entry_make(2, S_IFREG | 0644);

	ck_assert_int_eq(xattrs_set(&entry->xattrs, "user.a", 6, "v", 1, 0), MC_OK);
	master->catalog.xattrs_size += entry->xattrs->size;
	entry->flags = MC_ATTR_XATTRS;
	entry->version_raised = 2;
	entry->replica_count = 1;
	entry->replicas[0] = REPLICA_PACK(4, MC_REPLICA_CACHE, 7);
	ck_assert_int_eq(record_entry(master, entry, false), MC_OK);
	ck_assert_int_eq(kind, RECORD_OBJECT);
	ck_assert_uint_eq(value_size, sizeof(golden));
	ck_assert_mem_eq(value, golden, sizeof(golden));
	ck_assert_uint_eq(key_size, 8);
	ck_assert_uint_eq(load_u64(key), 2);
}
END_TEST

START_TEST(a_deed_is_these_bytes)
{
	static const uint8_t golden[] = {
		1, 2,			/* version, what: moved */
		1, 0, 0, 0, 0, 0, 0, 0, /* number */
		8, 0, 0, 0, 0, 0, 0, 0, /* request */
		9, 0, 0, 0,		/* item */
		6, 0, 0, 0, 0, 0, 0, 0, /* id */
		7, 0, 0, 0, 0, 0, 0, 0, /* version */
		5, 0, 0, 0, 0, 0, 0, 0, /* done_s */
	};

	ledger_moved(&master->ledger, 5, 6, 7);
	ledger_sign(&master->ledger, 8, 9);
	ck_assert_int_eq(record_deed(master, ledger_at(&master->ledger, 1), false), MC_OK);
	ck_assert_int_eq(kind, RECORD_DEED);
	ck_assert_uint_eq(value_size, sizeof(golden));
	ck_assert_mem_eq(value, golden, sizeof(golden));
	ck_assert_uint_eq(key_size, 8);
	ck_assert_uint_eq(load_u64(key), 1);
	/* A deed of another slot, or of no kind, is damage. */
	store_u64(key, 2);
	ck_assert_int_eq(record_load(master, kind, key, key_size, value, value_size), MC_IO);
	store_u64(key, 1);
	value[1] = 3;
	ck_assert_int_eq(record_load(master, kind, key, key_size, value, value_size), MC_IO);
}
END_TEST

START_TEST(what_was_written_is_read_back)
{
	struct mc_master *other = state_new();
	struct node *node;
	uint8_t uuid[16] = {5};
	struct mc_attr attr;
	uint8_t bytes[2][MC_ATTR_WIRE_SIZE];
	struct writer w;
	uint64_t lost;

	master->cluster = 1;
	master->epoch = 2;
	master->id_next = 3;
	master->id_known = 4;
	ck_assert_int_eq(record_meta(master, false), MC_OK);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	ck_assert_uint_eq(other->cluster, 1);
	ck_assert_uint_eq(other->epoch, 2);
	ck_assert_uint_eq(other->id_next, 3);
	ck_assert_uint_eq(other->id_known, 4);
	ck_assert_int_eq(nodes_get(&master->nodes, uuid, &node), MC_OK);
	strcpy(node->public.name, "five");
	ck_assert_int_eq(record_node(master, node, false), MC_OK);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	ck_assert_str_eq(nodes_find(&other->nodes, uuid)->public.name, "five");
	ledger_gone(&master->ledger, -5, 6, 7);
	ledger_sign(&master->ledger, 8, 9);
	ck_assert_int_eq(record_deed(master, ledger_at(&master->ledger, 1), false), MC_OK);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	const struct deed *deed = ledger_at(&other->ledger, 1);
	ck_assert_ptr_nonnull(deed);
	ck_assert_mem_eq(deed, ledger_at(&master->ledger, 1), sizeof(*deed));
	struct entry *entry = entry_make(9, S_IFDIR | 0755);
	ck_assert_int_eq(record_entry(master, entry, false), MC_OK);
	ck_assert_int_eq(kind, RECORD_DIRECTORY);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	ck_assert_int_eq(catalog_settle(&other->catalog, &lost), MC_OK);
	ck_assert_uint_eq(lost, 0);
	for (int i = 0; i < 2; i++) {
		entry_attr(i ? catalog_find(&other->catalog, 9) : entry, &attr);
		writer_init_fixed(&w, bytes[i], sizeof(bytes[i]));
		put_attr(&w, &attr);
	}
	ck_assert_mem_eq(bytes[0], bytes[1], sizeof(bytes[0]));
	state_free(other);
}
END_TEST

static void policy_say(const char *prefix, const struct mc_placement *placement)
{
	ck_assert_int_eq(policies_set(&master->policies, prefix, strlen(prefix), placement), MC_OK);
	ck_assert_int_eq(record_policy(master, &master->policies.table[0], false), MC_OK);
}

/* What writes behind may tell who follows only of the last that was made of a key. */
START_TEST(a_policy_that_was_unset_and_set_again_is_the_new_one)
{
	const struct mc_placement first = {.replicas = 3, .ack = 2}, again = {.replicas = 2};
	struct mc_master *other = state_new();
	struct mc_placement said;

	policy_say("a", &first);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	policies_remove(&master->policies, &master->policies.table[0]);
	policy_say("a", &again);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	ck_assert_ptr_nonnull(policies_of(&other->policies, "a", 1, &said));
	ck_assert_uint_eq(said.replicas, 2);
	ck_assert_uint_eq(said.ack, 0);
	state_free(other);
}
END_TEST

START_TEST(a_node_that_was_forgotten_and_came_back_has_one_place)
{
	struct mc_master *other = state_new();
	uint8_t uuid[16] = {5}, another[16] = {6};
	struct node *node;

	ck_assert_int_eq(nodes_get(&master->nodes, uuid, &node), MC_OK);
	ck_assert_int_eq(record_node(master, node, false), MC_OK);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	nodes_forget(node);
	ck_assert_int_eq(nodes_get(&master->nodes, another, &node), MC_OK);
	ck_assert_int_eq(nodes_get(&master->nodes, uuid, &node), MC_OK);
	ck_assert_uint_eq(node->public.id, 3);
	ck_assert_int_eq(record_node(master, node, false), MC_OK);
	ck_assert_int_eq(record_load(other, kind, key, key_size, value, value_size), MC_OK);
	ck_assert_uint_eq(nodes_find(&other->nodes, uuid)->public.id, 3);
	ck_assert_int_eq(other->nodes.table[0].state, NODE_FREE);
	state_free(other);
}
END_TEST

START_TEST(in_a_full_table_only_a_node_that_is_forgotten_makes_room)
{
	uint8_t uuid[16] = {0}, another[16] = {[15] = 1};
	struct node *node;

	for (uint32_t i = 0; i < MC_NODE_MAX; i++) {
		store_u32(uuid, i);
		ck_assert_int_eq(nodes_get(&master->nodes, uuid, &node), MC_OK);
		node->replicas = i != 7;
	}
	ck_assert_int_eq(nodes_get(&master->nodes, another, &node), MC_NO_SPACE);
	nodes_forget(nodes_spare(&master->nodes));
	ck_assert_ptr_null(nodes_spare(&master->nodes));
	ck_assert_int_eq(nodes_get(&master->nodes, another, &node), MC_OK);
	ck_assert_uint_eq(node->public.id, 8);
	store_u32(uuid, 7);
	ck_assert_ptr_null(nodes_find(&master->nodes, uuid));
}
END_TEST

START_TEST(broken_values_are_refused_and_harm_nothing)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct entry *entry = entry_make(2, S_IFREG | 0644);
	int refused = 0;

	printf("seed %u\n", seed);
	fflush(stdout);
	ck_assert_int_eq(xattrs_set(&entry->xattrs, "user.a", 6, "v", 1, 0), MC_OK);
	master->catalog.xattrs_size += entry->xattrs->size;
	entry->replica_count = 2;
	ck_assert_int_eq(record_entry(master, entry, false), MC_OK);
	for (int i = 0; i < 100000; i++) {
		struct mc_master *other = i % 64 == 0 ? state_new() : NULL;
		static struct mc_master *target;
		uint8_t mutated[sizeof(value)];
		size_t size = value_size;
		if (other) {
			if (target)
				state_free(target);
			target = other;
		}
		memcpy(mutated, value, size);
		for (int k = rand_r(&seed) % 4; k >= 0; k--)
			mutated[(size_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
		if (rand_r(&seed) % 4 == 0)
			size = (size_t)rand_r(&seed) % (size + 1);
		/* In memory of its own, so that a sanitizer sees a read beyond it. */
		uint8_t *exact = malloc(size ? size : 1);
		memcpy(exact, mutated, size);
		refused += record_load(target, (enum record_kind)(1 + rand_r(&seed) % 6), key,
				       key_size, exact, size) != MC_OK;
		free(exact);
		if (i == 99999)
			state_free(target);
	}
	ck_assert_int_gt(refused, 10000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_object_is_these_bytes);
	tcase_add_test(tc, a_deed_is_these_bytes);
	tcase_add_test(tc, what_was_written_is_read_back);
	tcase_add_test(tc, a_policy_that_was_unset_and_set_again_is_the_new_one);
	tcase_add_test(tc, a_node_that_was_forgotten_and_came_back_has_one_place);
	tcase_add_test(tc, in_a_full_table_only_a_node_that_is_forgotten_makes_room);
	tcase_add_test(tc, broken_values_are_refused_and_harm_nothing);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
