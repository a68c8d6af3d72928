/* Copies that the master wants: made, kept under their path, refused, and of another kind. */
#include "engine/node/internal.h"
#include "engine/node/record.h"
#include "engine/rpc/wire.h"
#include "tests/unit/node/cluster.h"

static struct node *writer; /* a third node, whose puts are copied */

static void begin(const char *transport, struct mc_placement placement)
{
	writer = cluster_start(
		&(struct cluster_node){.transport = transport, .placement = placement});
}

static uint64_t id_of(struct node *node, const char *name)
{
	struct object *object;

	ck_assert_int_eq(lookup(node, name, &object), MC_OK);
	uint64_t id = object->attr.id;
	cluster_forget(node, object);
	return id;
}

/* The record beside the bytes in a node's pool; false: the object is not there. */
static bool record_in(struct node *node, uint64_t id, struct record *record, uint8_t *bytes)
{
	size_t size = RECORD_SIZE_MAX;

	return pool_read_record(node_pool(node), id, bytes, &size) == MC_OK &&
	       record_decode(bytes, size, record) == MC_OK;
}

static bool has_kind(struct node *node, uint64_t id, enum mc_replica_kind kind)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	struct record record;

	return record_in(node, id, &record, bytes) && record.kind == kind;
}

static struct node *holder(uint64_t id)
{
	if (has_kind(a, id, MC_REPLICA_PRIMARY))
		return a;
	return has_kind(b, id, MC_REPLICA_PRIMARY) ? b : NULL;
}

static const char *const transports[] = {"tcp", "auto"};

START_TEST(a_put_is_copied_whole_and_under_its_path)
{
	uint8_t bytes[RECORD_SIZE_MAX];
	struct record record;

	begin(transports[_i], (struct mc_placement){.replicas = 2});
	uint64_t directory = make_directory_in(writer, MC_ROOT_ID, "d");
	struct object *object;
	ck_assert_int_eq(create_in(writer, directory, "k", false, &object), MC_OK);
	write_bytes(writer, object, 300000, 5);
	ck_assert_int_eq(flush(writer, object), MC_OK);
	uint64_t id = object->attr.id;
	node_release(writer, object, true);
	cluster_forget(writer, object);
	EVENTUALLY(holder(id) != NULL);
	ck_assert(record_in(holder(id), id, &record, bytes));
	ck_assert_uint_eq(record.path_size, 3);
	ck_assert_mem_eq(record.path, "d/k", 3);
	ck_assert_uint_eq(record.attr.size, 300000);
	ck_assert_uint_eq(MC_ATTR_REPLICAS_GET(record.attr.flags), 2);
	ck_assert_uint_eq(counted(a, COUNTER_REPLICATIONS) + counted(b, COUNTER_REPLICATIONS), 1);
	struct node *other = holder(id);
	/* Its own bytes: the writer may go. */
	EVENTUALLY(stat_of_node(other, "rpc_replica") >= 1);
	node_close(writer, true);
	ck_assert_int_eq(lookup_in(other, MC_ROOT_ID, "d", &object), MC_OK);
	cluster_forget(other, object);
	ck_assert_int_eq(lookup_in(other, directory, "k", &object), MC_OK);
	ck_assert_int_eq(open_object(other, object, 0), MC_OK);
	ck_assert(holds_bytes(other, object, 300000, 5));
	node_release(other, object, false);
	cluster_forget(other, object);
}
END_TEST

START_TEST(a_new_version_is_copied_again_and_the_old_one_goes)
{
	struct object *object;

	begin("tcp", (struct mc_placement){.replicas = 3});
	put(writer, "k", 1000, 1);
	uint64_t id = id_of(writer, "k");
	EVENTUALLY(has_kind(a, id, MC_REPLICA_PRIMARY) && has_kind(b, id, MC_REPLICA_PRIMARY));
	for (unsigned version = 2; version < 12; version++) {
		ck_assert_int_eq(lookup(writer, "k", &object), MC_OK);
		enum mc_status status = open_object(writer, object, NODE_OPEN_WRITE);
		if (status == MC_STALE) { /* it is being copied just now: a draft stands in */
			cluster_forget(writer, object);
			ck_assert_int_eq(lookup(writer, "k", &object), MC_OK);
			status = open_object(writer, object, NODE_OPEN_WRITE);
		}
		ck_assert_int_eq(status, MC_OK);
		write_bytes(writer, object, 1000, version);
		ck_assert_int_eq(flush(writer, object), MC_OK);
		node_release(writer, object, true);
		cluster_forget(writer, object);
	}
	id = id_of(writer, "k");
	EVENTUALLY(has_kind(a, id, MC_REPLICA_PRIMARY) && has_kind(b, id, MC_REPLICA_PRIMARY));
	node_close(writer, true);
	EVENTUALLY(look(a, "k") == MC_OK);
	assert_reads(a, "k", 1000, 11);
	assert_reads(b, "k", 1000, 11);
	EVENTUALLY(stat_of_node(a, "objects_local") == 1);
}
END_TEST

START_TEST(what_is_lent_to_readers_is_copied_by_another_node)
{
	struct object *object;

	begin("auto", (struct mc_placement){0});
	put(writer, "k", 5000, 1);
	/* Open on b by descriptor: b can't have bytes of its own meanwhile. */
	ck_assert_int_eq(lookup(b, "k", &object), MC_OK);
	ck_assert_int_eq(open_object(b, object, 0), MC_OK);
	uint64_t id = object->attr.id;
	struct object *own;
	struct mc_attr attr = {.flags = MC_ATTR_REPLICAS_PUT(2)};
	struct turn turn;
	ck_assert_int_eq(lookup(writer, "k", &own), MC_OK);
	turn_init(&turn, writer);
	node_setattr(writer, own, MC_SET_REPLICAS, &attr, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	cluster_forget(writer, own);
	EVENTUALLY(has_kind(a, id, MC_REPLICA_PRIMARY));
	ck_assert(holds_bytes(b, object, 5000, 1));
	node_release(b, object, false);
	cluster_forget(b, object);
	node_close(writer, true);
}
END_TEST

START_TEST(a_copy_that_was_read_here_before_becomes_primary)
{
	struct object *object;
	struct mc_attr attr = {.flags = MC_ATTR_REPLICAS_PUT(2)};
	struct turn turn;

	begin("tcp", (struct mc_placement){0});
	put(writer, "k", 5000, 1);
	uint64_t id = id_of(writer, "k");
	assert_reads(b, "k", 5000, 1);
	EVENTUALLY(has_kind(b, id, MC_REPLICA_CACHE));
	EVENTUALLY(stat_of_node(b, "rpc_replica") == 1);
	ck_assert_int_eq(lookup(writer, "k", &object), MC_OK);
	turn_init(&turn, writer);
	node_setattr(writer, object, MC_SET_REPLICAS, &attr, turn_done, &turn);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	cluster_forget(writer, object);
	EVENTUALLY(has_kind(b, id, MC_REPLICA_PRIMARY));
	ck_assert_uint_eq(counted(a, COUNTER_REPLICATIONS) + counted(b, COUNTER_REPLICATIONS), 0);
	node_close(writer, true);
}
END_TEST

START_TEST(a_close_waits_for_the_copies_that_ack_asks_for)
{
	begin("tcp", (struct mc_placement){.replicas = 3, .ack = 3});
	for (unsigned i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%u", i);
		put(writer, name, 10000 + i, i);
		uint64_t id = id_of(writer, name);
		ck_assert(has_kind(a, id, MC_REPLICA_PRIMARY));
		ck_assert(has_kind(b, id, MC_REPLICA_PRIMARY));
	}
	ck_assert_uint_eq(stat_of_node(writer, "rpc_await"), 20);
	node_close(writer, true);
}
END_TEST

START_TEST(a_replicate_that_makes_no_sense_is_ignored)
{
	static const char *const paths[] = {"", "/", "a//b", "..", "a/"};
	struct mc_entry entry = {.attr = {.id = 77, .version = 1, .mode = S_IFREG | 0644}};
	struct writer w;
	struct reader r;

	begin("tcp", (struct mc_placement){0});
	for (int i = 0; i < ROWS(paths); i++) {
		writer_init(&w);
		put_u8(&w, MC_REPLICA_PRIMARY);
		put_string(&w, paths[i], strlen(paths[i]));
		put_entry(&w, &entry);
		reader_init(&r, w.data, w.size);
		node_push_replicate(writer, &r);
		writer_fini(&w);
	}
	/* A whole one, cut short at every place, and of a directory. */
	writer_init(&w);
	put_u8(&w, MC_REPLICA_PRIMARY);
	put_string(&w, "k", 1);
	put_entry(&w, &entry);
	for (size_t size = 0; size < w.size; size++) {
		uint8_t *exact = malloc(size + 1);
		memcpy(exact, w.data, size);
		reader_init(&r, exact, size);
		node_push_replicate(writer, &r);
		reader_init(&r, exact, size);
		node_push_kind(writer, &r);
		free(exact);
	}
	writer_fini(&w);
	ck_assert_uint_eq(stat_of_node(writer, "rpc_replica"), 0);
	put(writer, "k", 10, 1);
	node_close(writer, true);
}
END_TEST

/* As after a put in doubt that was withdrawn while the master took no change. */
START_TEST(what_the_master_believes_to_be_here_is_disowned_when_asked_for)
{
	struct object *object;

	put(a, "ghost", 1000, 1);
	put(a, "key", 1000, 2);
	ck_assert_int_eq(lookup(a, "ghost", &object), MC_OK);
	node_lock(a);
	node_discard_locked(a, object);
	object->known_session = 0;
	node_unlock(a);
	ck_assert_int_eq(look(b, "ghost"), MC_OK);
	ck_assert_int_eq(open_object(a, object, 0), MC_NOT_FOUND);
	cluster_forget(a, object);
	EVENTUALLY(look(b, "ghost") == MC_NOT_FOUND);
	assert_reads(b, "key", 1000, 2);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_put_is_copied_whole_and_under_its_path, 0, ROWS(transports));
	tcase_add_test(tc, a_new_version_is_copied_again_and_the_old_one_goes);
	tcase_add_test(tc, what_is_lent_to_readers_is_copied_by_another_node);
	tcase_add_test(tc, a_copy_that_was_read_here_before_becomes_primary);
	tcase_add_test(tc, a_close_waits_for_the_copies_that_ack_asks_for);
	tcase_add_test(tc, a_replicate_that_makes_no_sense_is_ignored);
	tcase_add_test(tc, what_the_master_believes_to_be_here_is_disowned_when_asked_for);
}

int main(void)
{
	return cluster_run("replicate", add);
}
