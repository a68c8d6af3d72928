/* Large objects that are read while they arrive, over a transport that a test can hold up. */
#include "engine/base/cleanup.h"
#include "engine/transport/transport.h"
#include "tests/unit/node/cluster.h"

#define MIB (1ull << 20)
#define ALL UINT64_MAX

/* -- the transport: TCP, whose bytes wait at a gate -- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	uint64_t limit; /* bytes that may pass */
	uint64_t passed;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, ALL, 0};

static const struct transport_sink *node_sink;
static struct transport_sink gated_sink;

/* So many bytes more may pass from now on; ALL: without end. */
static void gate_set(uint64_t bytes)
{
	WITH_LOCK(&gate.lock);
	gate.limit = bytes == ALL ? ALL : gate.passed + bytes;
	pthread_cond_broadcast(&gate.change);
}

static void gated_arrived(struct transport_pull *pull, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.passed + length > gate.limit)
		pthread_cond_wait(&gate.change, &gate.lock);
	gate.passed += length;
	pthread_mutex_unlock(&gate.lock);
	node_sink->arrived(pull, offset, length);
}

struct gated {
	struct transport base;
	struct transport *tcp;
};

static struct transport *tcp_of(struct transport *transport)
{
	return ((struct gated *)transport)->tcp;
}

static const struct transport_ops gated_ops;

static enum mc_status gated_open(const struct transport_config *config,
				 struct transport **transport)
{
	struct gated *gated = calloc(1, sizeof(*gated));

	gated->base.ops = &gated_ops;
	*transport = &gated->base;
	return transport_tcp_ops.open(config, &gated->tcp);
}

static void gated_close(struct transport *transport)
{
	transport_tcp_ops.close(tcp_of(transport));
	free(transport);
}

static void gated_endpoint(struct transport *transport, char text[MC_ENDPOINT_SIZE])
{
	transport_tcp_ops.endpoint(tcp_of(transport), text);
}

static unsigned gated_score(struct transport *transport, const char *endpoint)
{
	return transport_tcp_ops.score(tcp_of(transport), endpoint);
}

static void gated_pull(struct transport *transport, const char *endpoint,
		       struct transport_pull *pull)
{
	node_sink = pull->sink;
	gated_sink = *pull->sink;
	gated_sink.arrived = gated_arrived;
	pull->sink = &gated_sink;
	transport_tcp_ops.pull(tcp_of(transport), endpoint, pull);
}

static void gated_want(struct transport *transport, struct transport_pull *pull, uint64_t offset,
		       uint64_t length)
{
	transport_tcp_ops.want(tcp_of(transport), pull, offset, length);
}

static void gated_cancel(struct transport *transport, struct transport_pull *pull)
{
	transport_tcp_ops.cancel(tcp_of(transport), pull);
}

static void gated_counters(struct transport *transport, struct transport_counters *counters)
{
	transport_tcp_ops.counters(tcp_of(transport), counters);
}

static const struct transport_ops gated_ops = {
	.name = "tcp",
	.open = gated_open,
	.close = gated_close,
	.endpoint = gated_endpoint,
	.score = gated_score,
	.pull = gated_pull,
	.want = gated_want,
	.cancel = gated_cancel,
	.counters = gated_counters,
};

/* The only transport of this program. */
const struct transport_ops *const transport_table[] = {&gated_ops, NULL};

const struct transport_ops *transport_find(const char *name)
{
	return strcmp(name, gated_ops.name) == 0 ? &gated_ops : NULL;
}

/* -- a reader -- */

static struct node *reader;

static void begin(uint32_t stream_after_ms)
{
	reader = cluster_start(&(struct cluster_node){.name = "reader",
						      .size = 256 * MIB,
						      .stream_threshold = MIB,
						      .stream_after_ms = stream_after_ms});
}

static void end(void)
{
	node_close(reader, true);
}

/* "key" as the reader finds it; of its bytes so many come. */
static struct object *found(uint64_t bytes)
{
	struct object *object;

	gate_set(bytes);
	ck_assert_int_eq(lookup(reader, "key", &object), MC_OK);
	return object;
}

static bool arriving(struct object *object)
{
	node_lock(reader);
	bool arriving = node_arriving_locked(reader, object);
	node_unlock(reader);
	return arriving;
}

static void open_begin(struct object *object, struct turn *turn)
{
	turn_init(turn, reader);
	node_open_object(reader, object, 0, TID, turn_done, turn);
}

static void await_begin(struct object *object, uint64_t offset, uint64_t length, struct turn *turn)
{
	turn_init(turn, reader);
	node_await(reader, object, offset, length, turn_done, turn);
}

static bool turn_ended(struct turn *turn)
{
	WITH_LOCK(&turn->lock);
	return turn->ended;
}

static enum mc_status await(struct object *object, uint64_t offset, uint64_t length)
{
	struct turn turn;

	await_begin(object, offset, length, &turn);
	return turn_end(&turn, NULL);
}

static void let_go(struct object *object)
{
	node_release(reader, object, false);
	cluster_forget(reader, object);
}

/* -- tests -- */

START_TEST(what_takes_long_is_read_while_it_arrives)
{
	struct turn turn;

	begin(0);
	put(a, "key", 16 * MIB, 1);
	struct object *object = found(4 * MIB);
	ck_assert_int_eq(open_object(reader, object, 0), MC_OK);
	ck_assert(arriving(object));
	ck_assert_int_eq(await(object, 0, 4096), MC_OK);
	await_begin(object, 0, 16 * MIB, &turn);
	usleep(20000);
	ck_assert(!turn_ended(&turn));
	ck_assert_int_eq(open_object(reader, object, 0), MC_OK); /* another */
	gate_set(ALL);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert(holds_bytes(reader, object, 16 * MIB, 1));
	EVENTUALLY(!arriving(object));
	ck_assert_int_eq(await(object, 16 * MIB - 1, 1), MC_OK);
	ck_assert(holds_bytes(reader, object, 16 * MIB, 1));
	node_release(reader, object, false);
	let_go(object);
	end();
}
END_TEST

START_TEST(what_comes_soon_is_opened_whole)
{
	struct turn turn;

	begin(600000);
	put(a, "key", 16 * MIB, 1);
	struct object *object = found(4 * MIB);
	open_begin(object, &turn);
	usleep(50000);
	ck_assert(!turn_ended(&turn));
	gate_set(ALL);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert(!arriving(object));
	ck_assert(holds_bytes(reader, object, 16 * MIB, 1));
	let_go(object);
	end();
}
END_TEST

/* It comes at a fifth of a second a mebibyte: known after an eighth of a second. */
START_TEST(what_will_take_long_is_not_waited_for)
{
	struct turn turn;

	begin(2000);
	put(a, "key", 16 * MIB, 1);
	struct object *object = found(0);
	open_begin(object, &turn);
	for (int i = 0; i < 15 && !turn_ended(&turn); i++) {
		usleep(200000);
		gate_set(MIB);
	}
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert(arriving(object));
	gate_set(ALL);
	ck_assert_int_eq(await(object, 0, 16 * MIB), MC_OK);
	ck_assert(holds_bytes(reader, object, 16 * MIB, 1));
	let_go(object);
	end();
}
END_TEST

/* Alone, or beside another that has a copy. */
START_TEST(a_stream_that_loses_its_source_goes_on_elsewhere_or_fails)
{
	struct turn turn;

	begin(0);
	struct node *owner =
		cluster_start(&(struct cluster_node){.name = "owner", .size = 256 * MIB});
	put(owner, "key", 48 * MIB, 1);
	if (_i == 1)
		assert_reads(a, "key", 48 * MIB, 1);
	struct object *object = found(4 * MIB);
	ck_assert_int_eq(open_object(reader, object, 0), MC_OK);
	ck_assert_int_eq(await(object, 0, 4096), MC_OK);
	await_begin(object, 0, 48 * MIB, &turn);
	node_close(owner, true);
	gate_set(ALL);
	enum mc_status status = turn_end(&turn, NULL);
	if (_i == 1) {
		ck_assert_int_eq(status, MC_OK);
		ck_assert(holds_bytes(reader, object, 48 * MIB, 1));
	} else { /* not before all have closed it */
		ck_assert_int_ne(status, MC_OK);
		ck_assert_int_eq(open_object(reader, object, 0), MC_IO);
	}
	let_go(object);
	end();
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, what_takes_long_is_read_while_it_arrives);
	tcase_add_test(tc, what_comes_soon_is_opened_whole);
	tcase_add_test(tc, what_will_take_long_is_not_waited_for);
	tcase_add_loop_test(tc, a_stream_that_loses_its_source_goes_on_elsewhere_or_fails, 0, 2);
}

int main(void)
{
	return cluster_run("stream", add);
}
