/* An object that is changed in place where it is open: which version who has of it. */
#include <sched.h>

#include "tests/unit/node/cluster.h"

#define SIZE 100000u

static const struct {
	const char *transport;
	const char *served; /* the owner's counter */
	size_t next;	    /* the size of the version after the first */
} rows[] = {
	{"auto", "shm_pulls_served", SIZE},	{"auto", "shm_pulls_served", SIZE / 2},
	{"auto", "shm_pulls_served", 2 * SIZE}, {"tcp", "tcp_pulls_served", SIZE},
	{"tcp", "tcp_pulls_served", SIZE / 2},	{"tcp", "tcp_pulls_served", 2 * SIZE},
};

/* What both nodes use. */
static void begin(int row)
{
	const struct cluster_node how = {.transport = rows[row].transport};

	node_close(a, true);
	node_close(b, true);
	a = cluster_start(&how);
	b = cluster_start(&how);
}

/* Open at its owner until the end, so that its file is changed whoever reads it. */
struct writing {
	struct object *object;
	int fd;
};

static struct writing write_begin(void)
{
	struct writing writing = {.object = create(a, "key")};

	ck_assert_int_eq(node_descriptor(a, writing.object, true, &writing.fd), MC_OK);
	return writing;
}

static void publish(const struct writing *writing, size_t size, unsigned number)
{
	write_bytes(a, writing->object, size, number);
	ck_assert_int_eq(ftruncate(writing->fd, (off_t)size), 0);
	ck_assert_int_eq(flush(a, writing->object), MC_OK);
}

static void write_end(const struct writing *writing)
{
	close(writing->fd);
	node_release(a, writing->object, true);
	cluster_forget(a, writing->object);
}

START_TEST(what_is_open_stays_one_version_until_its_last_close)
{
	struct object *object, *again;

	begin(_i);
	struct writing writing = write_begin();
	publish(&writing, SIZE, 1);
	ck_assert_int_eq(lookup(b, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(b, object, 0), MC_OK);
	uint64_t heard = counted(b, COUNTER_INVALIDATIONS);
	publish(&writing, rows[_i].next, 2);
	EVENTUALLY(counted(b, COUNTER_INVALIDATIONS) > heard);
	ck_assert_int_eq(lookup(b, "key", &again), MC_OK);
	ck_assert_ptr_eq(again, object);
	ck_assert_uint_eq(object->attr.size, SIZE);
	ck_assert_int_eq(open_object(b, again, 0), MC_OK);
	ck_assert(holds_bytes(b, again, SIZE, 1));
	node_release(b, object, false);
	ck_assert_uint_eq(version_of(b, "key"), object->attr.version);
	ck_assert(holds_bytes(b, again, SIZE, 1));
	node_release(b, again, false);
	assert_reads(b, "key", rows[_i].next, 2);
	cluster_forget(b, object);
	cluster_forget(b, again);
	write_end(&writing);
}
END_TEST

/* -- a version that comes when the next is known -- */

/* All pulls of the nodes end in one thread then. */
static void run_on_one_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Opened, by that thread; it waits to be let go. */
struct stopper {
	struct turn turn; /* first */
	pthread_mutex_t held;
	_Atomic bool entered;
};

static void stop(void *context, enum mc_status status, struct object *object)
{
	struct stopper *stopper = context;

	atomic_store(&stopper->entered, true);
	pthread_mutex_lock(&stopper->held);
	pthread_mutex_unlock(&stopper->held);
	turn_done(&stopper->turn, status, object);
}

START_TEST(what_was_on_its_way_when_the_next_version_was_heard_of_is_not_taken_for_it)
{
	struct stopper stopper = {.held = PTHREAD_MUTEX_INITIALIZER};
	struct object *first, *object;
	struct turn turn;

	run_on_one_processor();
	begin(_i);
	struct writing writing = write_begin();
	publish(&writing, SIZE, 1);
	put(a, "first", SIZE, 3);
	ck_assert_int_eq(lookup(b, "first", &first), MC_OK);
	ck_assert_int_eq(lookup(b, "key", &object), MC_OK);
	pthread_mutex_lock(&stopper.held);
	turn_init(&stopper.turn, b);
	node_open_object(b, first, 0, TID, stop, &stopper);
	EVENTUALLY(atomic_load(&stopper.entered));
	uint64_t served = stat_of_node(a, rows[_i].served);
	turn_init(&turn, b);
	node_open_object(b, object, 0, TID, turn_done, &turn);
	EVENTUALLY(stat_of_node(a, rows[_i].served) > served);
	publish(&writing, rows[_i].next, 2);
	EVENTUALLY(version_of(b, "key") == writing.object->attr.version);
	pthread_mutex_unlock(&stopper.held);
	ck_assert_int_eq(turn_end(&stopper.turn, NULL), MC_OK);
	ck_assert_int_eq(turn_end(&turn, NULL), MC_OK);
	ck_assert_uint_eq(object->attr.version, writing.object->attr.version);
	ck_assert_uint_eq(object->attr.size, rows[_i].next);
	ck_assert(holds_bytes(b, object, rows[_i].next, 2));
	node_release(b, object, false);
	node_release(b, first, false);
	cluster_forget(b, object);
	cluster_forget(b, first);
	write_end(&writing);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, what_is_open_stays_one_version_until_its_last_close, 0, ROWS(rows));
	tcase_add_loop_test(
		tc, what_was_on_its_way_when_the_next_version_was_heard_of_is_not_taken_for_it, 0,
		ROWS(rows));
}

int main(void)
{
	return cluster_run("version", add);
}
