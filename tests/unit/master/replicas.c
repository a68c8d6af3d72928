/* The verbs and pushes of replicas, policies and drains, byte by byte and as a client sees them. */
#include <stdatomic.h>

#include "engine/base/clock.h"
#include "tests/unit/master/raw.h"

#define TTL_MS	60000
#define LEAP_MS (TTL_MS / 10)

/*
 * Time goes on as everywhere, and leaps where a test says so: the nodes here don't beat,
 * and no machine is too slow for this TTL.
 */
static atomic_uint_fast64_t leapt_ms;

static uint64_t leaping_monotonic(void *context)
{
	(void)context;
	return clock_ns() + atomic_load(&leapt_ms) * 1000000u;
}

static struct mc_time leaping_real(void *context)
{
	(void)context;
	return clock_real();
}

static const struct mc_clock leaping_clock = {leaping_monotonic, leaping_real, NULL};

/* A part of the TTL passes; whoever asks something between two of these is not lost. */
static void leap(void)
{
	atomic_fetch_add(&leapt_ms, LEAP_MS);
	usleep(10000);
}

static struct mc_master *master;
static struct raw watcher; /* a client */
static char journal[128];

static void start(void)
{
	struct mc_master_config config = {.listen = "127.0.0.1:0",
					  .socket = "auto",
					  .journal = journal,
					  .journal_sync = "never",
					  .heartbeat_ms = 20,
					  .ttl_ms = TTL_MS,
					  .repair_delay_ms = 50,
					  .clock = &leaping_clock,
					  .fresh = true};

	log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	raw_connect(&watcher, mc_master_socket(master));
	raw_hello(&watcher, MC_ROLE_CLIENT, "watcher", 0);
}

static void setup(void)
{
	snprintf(journal, sizeof(journal), "file:/tmp/mooncake-replicas-%d.journal", getpid());
	start();
}

static void stop(void)
{
	raw_close(&watcher);
	mc_master_stop(master);
}

static void teardown(void)
{
	stop();
	unlink(journal + strlen("file:"));
}

/* A node of this name on a host of its own, which has not told what it holds. */
static void node_hello(struct raw *raw, const char *name, uint8_t uuid)
{
	uint8_t bytes[16] = {uuid};

	raw_connect(raw, mc_master_socket(master));
	put_u8(&raw->out, MC_ROLE_NODE);
	put_bytes(&raw->out, bytes, sizeof(bytes));
	put_string(&raw->out, name, strlen(name));
	put_string(&raw->out, name, strlen(name));
	put_u64(&raw->out, 1 << 30);
	put_u64(&raw->out, 0);
	put_u8(&raw->out, 1);
	put_string(&raw->out, "tcp:127.0.0.1:1", 15);
	ck_assert_int_eq(raw_call(raw, MC_VERB_HELLO), MC_OK);
	raw->session = get_u32(&raw->in);
	raw->node = get_u32(&raw->in);
	raw->cluster = get_u64(&raw->in);
	raw->next_id = get_u64(&raw->in);
}

/* And one that holds nothing. */
static void node_begin(struct raw *raw, const char *name, uint8_t uuid)
{
	node_hello(raw, name, uuid);
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCED), MC_OK);
}

/* It holds this object. */
static void announce(struct raw *raw, const char *name, enum mc_replica_kind kind,
		     const struct mc_attr *attr)
{
	put_u16(&raw->out, 1);
	put_string(&raw->out, name, strlen(name));
	put_u8(&raw->out, (uint8_t)kind);
	put_attr(&raw->out, attr);
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCE), MC_OK);
	ck_assert_int_eq(raw_call(raw, MC_VERB_ANNOUNCED), MC_OK);
}

static enum mc_status policy_set(const char *prefix, const struct mc_placement *placement)
{
	put_string(&watcher.out, prefix, strlen(prefix));
	put_placement(&watcher.out, placement);
	return raw_call(&watcher, MC_VERB_POLICY_SET);
}

/* Publish with a placement; the recorded attributes. */
static struct mc_attr put_placed(struct raw *raw, const char *name,
				 const struct mc_placement *placement)
{
	struct mc_attr attr = raw_attr(raw->next_id++, 100, 4096);

	put_u16(&raw->out, 1);
	raw_name(raw, MC_ROOT_ID, name);
	put_u32(&raw->out, MC_PUBLISH_PLACED);
	put_attr(&raw->out, &attr);
	put_placement(&raw->out, placement);
	ck_assert_int_eq(raw_call(raw, MC_VERB_PUBLISH), MC_OK);
	ck_assert_int_eq(raw_one_attr(raw, &attr), MC_OK);
	return attr;
}

/* One REPLICA item; its status. */
static enum mc_status tell(struct raw *raw, enum mc_replica_op op, const struct mc_attr *attr,
			   enum mc_replica_kind kind, uint32_t node, enum mc_status reason)
{
	put_u16(&raw->out, 1);
	put_u8(&raw->out, (uint8_t)op);
	put_u64(&raw->out, attr->id);
	put_u64(&raw->out, attr->version);
	put_u8(&raw->out, (uint8_t)kind);
	if (op == MC_REPLICA_BAD || op == MC_REPLICA_REFUSE) {
		put_u32(&raw->out, node);
		put_status(&raw->out, reason);
	}
	ck_assert_int_eq(raw_call(raw, MC_VERB_REPLICA), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 1);
	return get_status(&raw->in);
}

static uint64_t await(struct raw *raw, const struct mc_attr *attr, uint8_t count)
{
	put_u64(&raw->out, attr->id);
	put_u64(&raw->out, attr->version);
	put_u8(&raw->out, count);
	return raw_send(raw, MC_VERB_AWAIT);
}

static enum mc_status node_set(uint32_t node, enum mc_node_op op)
{
	put_u32(&watcher.out, node);
	put_u8(&watcher.out, (uint8_t)op);
	return raw_call(&watcher, MC_VERB_NODE_SET);
}

static const struct mc_placement twice = {.replicas = 2, .ack = 2};

START_TEST(a_placement_is_these_bytes)
{
	static const uint8_t golden[] = {2, 1, 2, 2, 1, 0, 'a', 3, 0, 'b', 'c', 'd'};
	struct mc_placement placement = {.replicas = 2,
					 .ack = 1,
					 .pin = MC_PIN_ON,
					 .preferred_count = 2,
					 .preferred = {"a", "bcd"}};
	struct mc_placement read;
	struct writer w;
	struct reader r;

	writer_init(&w);
	put_placement(&w, &placement);
	ck_assert_uint_eq(w.size, sizeof(golden));
	ck_assert_mem_eq(w.data, golden, sizeof(golden));
	reader_init(&r, w.data, w.size);
	get_placement(&r, &read);
	ck_assert(reader_done(&r));
	ck_assert_str_eq(read.preferred[1], "bcd");
	writer_fini(&w);
}
END_TEST

static const uint8_t bad_placements[][5] = {
	{9, 0, 0, 0, 0}, {0, 9, 0, 0, 0}, {0, 0, 3, 0, 0}, {0, 0, 0, 9, 0}, {0, 0, 0, 1, 0},
};

START_TEST(a_placement_beyond_its_limits_is_refused)
{
	put_string(&watcher.out, "p", 1);
	put_bytes(&watcher.out, bad_placements[_i], _i == 4 ? 5 : 4);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICY_SET), MC_PROTOCOL);
	put_u32(&watcher.out, 1);
	put_u8(&watcher.out, 4);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_NODE_SET), MC_PROTOCOL);
	put_u64(&watcher.out, 1);
	put_u64(&watcher.out, 1);
	put_u8(&watcher.out, 9);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_AWAIT), MC_PROTOCOL);
}
END_TEST

START_TEST(a_copy_is_asked_for_by_these_bytes_and_a_writer_waits_for_it)
{
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	ck_assert_uint_eq(MC_ATTR_ACK_GET(attr.flags), 2);
	ck_assert_uint_eq(MC_ATTR_REPLICAS_GET(attr.flags), 2);
	uint64_t request = await(&a, &attr, 2);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	/* kind u8, path string, attr, count u8, node u32, kind u8 */
	ck_assert_uint_eq(b.in.size, 1 + 3 + MC_ATTR_WIRE_SIZE + 1 + 5);
	ck_assert_mem_eq(b.in.data, "\0\1\0k", 4);
	ck_assert_uint_eq(load_u64(b.in.data + 4), attr.id);
	ck_assert_uint_eq(load_u64(b.in.data + 12), attr.version);
	ck_assert_uint_eq(load_u32(b.in.data + 4 + 48), MC_ATTR_REPLICAS_PUT(2));
	ck_assert_mem_eq(b.in.data + 4 + MC_ATTR_WIRE_SIZE, "\1\1\0\0\0\0", 6);
	ck_assert(raw_quiet(&a, 30));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	ck_assert_int_eq(raw_reply(&a, request), MC_OK);
	ck_assert_uint_eq(raw_lookup(&watcher, MC_ROOT_ID, "k").entry.replica_count, 2);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_writer_hears_at_once_when_there_is_no_node_for_a_copy)
{
	struct raw a;

	node_begin(&a, "a", 1);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	ck_assert_int_eq(raw_reply(&a, await(&a, &attr, 2)), MC_NO_SPACE);
	ck_assert_int_eq(raw_reply(&a, await(&a, &attr, 1)), MC_OK);
	attr.version++;
	ck_assert_int_eq(raw_reply(&a, await(&a, &attr, 2)), MC_NOT_FOUND);
	raw_close(&a);
}
END_TEST

START_TEST(a_writer_hears_when_all_nodes_refuse_or_the_object_goes)
{
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	uint64_t request = await(&a, &attr, 2);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(
		tell(&b, MC_REPLICA_REFUSE, &attr, MC_REPLICA_PRIMARY, b.node, MC_NO_SPACE), MC_OK);
	ck_assert_int_eq(raw_reply(&a, request), MC_NO_SPACE);
	attr = put_placed(&a, "gone", &twice);
	request = await(&a, &attr, 2);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(raw_remove(&watcher, MC_ROOT_ID, "gone"), MC_OK);
	ck_assert_int_eq(
		tell(&b, MC_REPLICA_REFUSE, &attr, MC_REPLICA_PRIMARY, b.node, MC_NOT_FOUND),
		MC_OK);
	ck_assert_int_eq(raw_reply(&a, request), MC_NOT_FOUND);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_writer_may_ask_the_next_leader_for_its_copies)
{
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	raw_close(&a);
	raw_close(&b);
	stop();
	start();
	node_hello(&a, "a", 1);
	uint64_t request = await(&a, &attr, 2);
	announce(&a, "k", MC_REPLICA_PRIMARY, &attr);
	node_begin(&b, "b", 2);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	ck_assert_int_eq(raw_reply(&a, request), MC_OK);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_writer_that_leaves_while_it_waits_harms_nobody)
{
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	await(&a, &attr, 2);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	raw_close(&a);
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	ck_assert_int_eq(raw_lookup(&watcher, MC_ROOT_ID, "k").status, MC_OK);
	raw_close(&b);
}
END_TEST

START_TEST(kinds_are_changed_by_these_bytes)
{
	struct raw a;
	struct raw b;
	struct mc_placement once = {.replicas = 1};

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	/* The object's own count goes, then the policy lowers it. */
	put_u64(&watcher.out, attr.id);
	put_u32(&watcher.out, MC_SET_REPLICAS);
	put_attr(&watcher.out, &(struct mc_attr){0});
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_SETATTR), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_KIND));
	ck_assert_uint_eq(b.in.size, 2 + 17);
	ck_assert_uint_eq(load_u16(b.in.data), 1);
	ck_assert_uint_eq(load_u64(b.in.data + 2), attr.id);
	ck_assert_uint_eq(load_u64(b.in.data + 10), attr.version);
	ck_assert_uint_eq(b.in.data[18], MC_REPLICA_CACHE);
	/* And back, by a policy of the root. */
	ck_assert_int_eq(policy_set("", &(struct mc_placement){.replicas = 2}), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_KIND));
	ck_assert_uint_eq(b.in.data[18], MC_REPLICA_PRIMARY);
	ck_assert_int_eq(policy_set("", &once), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_KIND));
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_copy_that_was_raised_while_its_node_was_away_is_primary_when_it_returns)
{
	struct raw a;
	struct raw b;
	struct raw c;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	node_begin(&c, "c", 3);
	struct mc_attr attr = put_placed(&a, "k", &(struct mc_placement){0});
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_CACHE, 0, MC_OK), MC_OK);
	raw_close(&b); /* it is shown until the ttl has passed */
	ck_assert_int_eq(policy_set("", &(struct mc_placement){.replicas = 2}), MC_OK);
	for (int i = 0; i < 1000 && raw_stat_value(&watcher, "replicas_raised") == 0; i++)
		usleep(10000);
	ck_assert_uint_eq(raw_stat_value(&watcher, "replicas_raised"), 1);
	node_hello(&b, "b", 2);
	announce(&b, "k", MC_REPLICA_CACHE, &attr);
	ck_assert(raw_push(&b, MC_VERB_KIND));
	ck_assert_uint_eq(b.in.data[18], MC_REPLICA_PRIMARY);
	raw_close(&a);
	raw_close(&b);
	raw_close(&c);
}
END_TEST

START_TEST(a_damaged_replica_is_dropped_and_copied_again)
{
	struct raw a;
	struct raw b;
	struct raw c;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &twice);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	node_begin(&c, "c", 3);
	ck_assert_int_eq(tell(&c, MC_REPLICA_BAD, &attr, MC_REPLICA_PRIMARY, a.node, MC_IO), MC_OK);
	ck_assert(raw_push(&a, MC_VERB_DROP));
	ck_assert(raw_push(&c, MC_VERB_REPLICATE));
	ck_assert_uint_eq(raw_stat_value(&watcher, "replicas_bad"), 1);
	raw_close(&a);
	raw_close(&b);
	raw_close(&c);
}
END_TEST

START_TEST(policies_are_listed_inherited_taken_back_and_survive_a_restart)
{
	struct mc_placement said;
	struct mc_placement placement = {
		.replicas = 2, .pin = MC_PIN_ON, .preferred_count = 1, .preferred = {"n"}};
	size_t size;

	ck_assert_int_eq(policy_set("a/b", &placement), MC_OK);
	ck_assert_int_eq(policy_set("x", &placement), MC_OK);
	stop();
	start();
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICIES), MC_OK);
	ck_assert_uint_eq(get_u16(&watcher.in), 2);
	put_string(&watcher.out, "a/b/c", 5);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICY), MC_OK);
	const char *prefix = get_string(&watcher.in, &size);
	get_placement(&watcher.in, &said);
	ck_assert(reader_done(&watcher.in));
	ck_assert_uint_eq(size, 3);
	ck_assert_mem_eq(prefix, "a/b", 3);
	ck_assert_uint_eq(said.replicas, 2);
	ck_assert_str_eq(said.preferred[0], "n");
	put_string(&watcher.out, "a/b", 3);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICY_UNSET), MC_OK);
	put_string(&watcher.out, "a/b", 3);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICY_UNSET), MC_NOT_FOUND);
	stop();
	start();
	ck_assert_uint_eq(raw_stat_value(&watcher, "policies"), 1);
	put_string(&watcher.out, "a//b", 4);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_POLICY), MC_PROTOCOL);
}
END_TEST

START_TEST(a_rename_into_a_directory_brings_its_policy)
{
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	ck_assert_int_eq(policy_set("d", &(struct mc_placement){.replicas = 2}), MC_OK);
	uint64_t directory = raw_mkdir(&a, MC_ROOT_ID, "d");
	uint64_t id = raw_put(&a, MC_ROOT_ID, "k");
	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "k", directory, "k", 0), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_mem_eq(b.in.data, "\0\3\0d/k", 6);
	/* And with a directory, after a while. */
	struct mc_attr attr = raw_stat(&a, "d/k");
	ck_assert_uint_eq(attr.id, id);
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	uint64_t other = raw_mkdir(&a, MC_ROOT_ID, "e");
	raw_put(&a, other, "k");
	ck_assert_int_eq(raw_rename(&a, MC_ROOT_ID, "e", directory, "e", 0), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_mem_eq(b.in.data, "\0\5\0d/e/k", 8);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(what_a_node_announces_newer_is_copied_again)
{
	struct mc_attr attr = raw_attr(0, 1000, 4096);
	struct raw a;
	struct raw b;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	attr.id = a.next_id++;
	attr.flags = MC_ATTR_REPLICAS_PUT(2);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "k", 0, &attr), MC_OK);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	/* A version that the master has not heard of: it lost its last records. */
	attr.version += 10;
	announce(&a, "k", MC_REPLICA_PRIMARY, &attr);
	ck_assert(raw_push(&b, MC_VERB_DROP));
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_uint_eq(load_u64(b.in.data + 12), attr.version);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_policy_pins_what_is_put_below_it)
{
	struct mc_placement pinned = {.pin = MC_PIN_ON};
	struct raw a;

	node_begin(&a, "a", 1);
	ck_assert_int_eq(policy_set("k", &pinned), MC_OK);
	struct mc_attr attr = put_placed(&a, "k", &(struct mc_placement){0});
	ck_assert_uint_eq(attr.flags & MC_ATTR_PINNED, MC_ATTR_PINNED);
	raw_put(&a, MC_ROOT_ID, "other");
	ck_assert_uint_eq(raw_stat(&watcher, "other").flags, 0);
	raw_close(&a);
}
END_TEST

static void drain_read(uint32_t node, bool *done, uint64_t *replicas)
{
	put_u32(&watcher.out, node);
	ck_assert_int_eq(raw_call(&watcher, MC_VERB_DRAIN), MC_OK);
	ck_assert_uint_eq(get_u8(&watcher.in), 1);
	*done = get_u8(&watcher.in);
	*replicas = get_u64(&watcher.in);
	get_u64(&watcher.in);
	get_u64(&watcher.in);
	ck_assert(reader_done(&watcher.in));
}

START_TEST(a_node_is_drained_then_removed_and_the_mark_survives_a_restart)
{
	struct raw a;
	struct raw b;
	bool done;
	uint64_t replicas;

	node_begin(&a, "a", 1);
	node_begin(&b, "b", 2);
	struct mc_attr attr = put_placed(&a, "k", &(struct mc_placement){0});
	ck_assert_int_eq(node_set(9, MC_NODE_DRAIN), MC_NOT_FOUND);
	ck_assert_int_eq(node_set(a.node, MC_NODE_REMOVE), MC_BUSY);
	ck_assert_int_eq(node_set(a.node, MC_NODE_DRAIN), MC_OK);
	drain_read(a.node, &done, &replicas);
	ck_assert(!done);
	ck_assert_uint_eq(replicas, 1);
	ck_assert(raw_push(&b, MC_VERB_REPLICATE));
	ck_assert_int_eq(tell(&b, MC_REPLICA_ADD, &attr, MC_REPLICA_PRIMARY, 0, MC_OK), MC_OK);
	ck_assert(raw_push(&a, MC_VERB_DROP));
	drain_read(a.node, &done, &replicas);
	ck_assert(done);
	uint32_t a_node = a.node;
	raw_close(&a);
	raw_close(&b);
	stop();
	start();
	/* It is not known to be gone before its time to come back is over. */
	drain_read(a_node, &done, &replicas);
	ck_assert(!done);
	for (int i = 0; i < 1000 && !done; i++) {
		leap();
		drain_read(a_node, &done, &replicas);
	}
	ck_assert(done);
	ck_assert_int_eq(node_set(a_node, MC_NODE_REMOVE), MC_OK);
	ck_assert_int_eq(node_set(a_node, MC_NODE_REMOVE), MC_NOT_FOUND);
	stop();
	start();
	ck_assert_int_eq(node_set(a_node, MC_NODE_REMOVE), MC_NOT_FOUND);
}
END_TEST

START_TEST(a_node_with_the_only_copy_is_removed_only_when_told_twice)
{
	struct raw a;
	bool absent = false;

	node_begin(&a, "a", 1);
	raw_put(&a, MC_ROOT_ID, "k");
	raw_close(&a);
	for (int i = 0; i < 1000 && !absent; i++) {
		leap();
		absent = node_set(a.node, MC_NODE_REMOVE) == MC_NOT_EMPTY;
	}
	ck_assert(absent);
	ck_assert_uint_eq(raw_stat_value(&watcher, "objects"), 1);
	ck_assert_int_eq(node_set(a.node, MC_NODE_REMOVE_ALL), MC_OK);
	ck_assert_uint_eq(raw_stat_value(&watcher, "objects"), 0);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_placement_is_these_bytes);
	tcase_add_loop_test(tc, a_placement_beyond_its_limits_is_refused, 0, 5);
	tcase_add_test(tc, a_copy_is_asked_for_by_these_bytes_and_a_writer_waits_for_it);
	tcase_add_test(tc, a_writer_hears_at_once_when_there_is_no_node_for_a_copy);
	tcase_add_test(tc, a_writer_hears_when_all_nodes_refuse_or_the_object_goes);
	tcase_add_test(tc, a_writer_may_ask_the_next_leader_for_its_copies);
	tcase_add_test(tc, a_writer_that_leaves_while_it_waits_harms_nobody);
	tcase_add_test(tc, kinds_are_changed_by_these_bytes);
	tcase_add_test(tc,
		       a_copy_that_was_raised_while_its_node_was_away_is_primary_when_it_returns);
	tcase_add_test(tc, a_damaged_replica_is_dropped_and_copied_again);
	tcase_add_test(tc, policies_are_listed_inherited_taken_back_and_survive_a_restart);
	tcase_add_test(tc, a_rename_into_a_directory_brings_its_policy);
	tcase_add_test(tc, what_a_node_announces_newer_is_copied_again);
	tcase_add_test(tc, a_policy_pins_what_is_put_below_it);
	tcase_add_test(tc, a_node_is_drained_then_removed_and_the_mark_survives_a_restart);
	tcase_add_test(tc, a_node_with_the_only_copy_is_removed_only_when_told_twice);
}

int main(void)
{
	return raw_run("replicas", add, setup, teardown);
}
