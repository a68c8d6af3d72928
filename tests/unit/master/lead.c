/* A leader that was replaced and has not heard of it from etcd. */
#include "engine/base/clock.h"
#include "master/predecessor.h"
#include "tests/support/etcd.h"
#include "tests/unit/master/raw.h"

#define WAIT_NS 20000000000ull

static struct etcd_server server;
static char journal[80];

static void setup(void)
{
	log_open("/dev/null");
	server = (struct etcd_server){0};
	etcd_server_start(&server);
	snprintf(journal, sizeof(journal), "etcd://%s", server.client);
}

static void teardown(void)
{
	etcd_server_end(&server);
}

static struct mc_master *master_new(const char *where)
{
	const struct mc_master_config config = {.listen = "127.0.0.1:0",
						.journal = where,
						.heartbeat_ms = 1000,
						.ttl_ms = 60000,
						.etcd = {.lease_s = 1}};
	struct mc_master *master = NULL;

	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	return master;
}

/* As raw_send(), to a master that may have hung up. */
static bool try_send(struct raw *raw, enum mc_verb verb)
{
	const struct frame frame = {.verb = (uint16_t)verb, .request_id = ++raw->request_id};
	struct writer w;

	writer_init(&w);
	size_t begin = frame_begin(&w);
	put_bytes(&w, raw->out.data, raw->out.size);
	frame_finish(&w, begin, &frame);
	bool sent = send(raw->fd, w.data, w.size, MSG_NOSIGNAL) == (ssize_t)w.size;
	writer_fini(&w);
	writer_reset(&raw->out);
	return sent;
}

/* A session of a client, when the master welcomes any. */
static bool welcomed(struct raw *raw, const struct mc_master *master)
{
	raw_connect(raw, mc_master_address(master));
	raw_hello_write(raw, MC_ROLE_CLIENT, "client", 0);
	if (!try_send(raw, MC_VERB_HELLO) || !raw_receive(raw)) {
		raw_close(raw);
		return false;
	}
	ck_assert_int_eq(raw->frame.status, MC_OK);
	raw->epoch = raw->frame.epoch;
	(void)get_u64(&raw->in);
	raw->cluster = get_u64(&raw->in);
	raw->next_id = get_u64(&raw->in);
	return true;
}

/* Wait until it leads. */
static void meet(struct raw *raw, const struct mc_master *master)
{
	uint64_t until_ns = clock_ns() + WAIT_NS;

	while (!welcomed(raw, master)) {
		ck_assert_msg(clock_ns() < until_ns, "it does not lead");
		usleep(5000);
	}
}

/* As an operator would: the lease goes on, so only the new leader can tell the old one. */
static void leader_key_remove(void)
{
	const struct etcd_config config = {.endpoints = server.client};
	struct etcd_waiter waiter;
	struct etcd_txn txn;
	struct etcd *etcd;

	ck_assert_int_eq(etcd_open(&config, &etcd), MC_OK);
	etcd_txn_begin(&txn);
	etcd_txn_then(&txn);
	etcd_txn_delete(&txn, ETCD_TEXT("/mooncake/default/leader"));
	etcd_waiter_init(&waiter);
	etcd_txn_send(etcd, &txn, true, 0, etcd_waiter_done, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	ck_assert_int_eq(reply->status, MC_OK);
	etcd_reply_free(reply);
	etcd_close(etcd);
}

/* A lookup is not answered: the connection ends. */
static bool left_alone(struct raw *raw)
{
	put_u16(&raw->out, 1);
	raw_name(raw, MC_ROOT_ID, "key");
	if (!try_send(raw, MC_VERB_LOOKUP))
		return true;
	errno = 0;
	while (raw_receive(raw)) {
		if (raw->frame.kind == MC_FRAME_REPLY)
			return false;
	}
	return errno != EAGAIN;
}

START_TEST(nobody_is_answered_by_the_leader_before_once_the_next_one_serves)
{
	struct mc_master *masters[2];
	struct raw before, reader, after;

	masters[0] = master_new(journal);
	meet(&reader, masters[0]);
	meet(&before, masters[0]);
	ck_assert_int_eq(raw_lookup(&reader, MC_ROOT_ID, "key").status, MC_NOT_FOUND);
	masters[1] = master_new(journal);
	leader_key_remove();
	meet(&after, masters[1]);
	ck_assert_uint_gt(after.epoch, reader.epoch);
	ck_assert_uint_ne(raw_mkdir(&after, MC_ROOT_ID, "key"), 0);
	ck_assert(left_alone(&reader));
	ck_assert(left_alone(&before));
	raw_close(&reader);
	raw_close(&before);
	raw_close(&after);
	mc_master_stop(masters[0]);
	mc_master_stop(masters[1]);
}
END_TEST

static void succeeded_write(struct raw *raw, uint64_t cluster, uint32_t epoch)
{
	put_u64(&raw->out, cluster);
	put_u32(&raw->out, epoch);
}

START_TEST(a_leader_believes_a_newer_epoch_of_its_own_cluster_only)
{
	struct mc_master *master = master_new(journal);
	struct raw reader, teller;

	meet(&reader, master);
	raw_connect(&teller, mc_master_address(master));
	succeeded_write(&teller, reader.cluster, reader.epoch);
	ck_assert_int_eq(raw_call(&teller, MC_VERB_SUCCEEDED), MC_STALE);
	succeeded_write(&teller, reader.cluster + 1, reader.epoch + 1);
	ck_assert_int_eq(raw_call(&teller, MC_VERB_SUCCEEDED), MC_STALE);
	ck_assert_int_eq(raw_lookup(&reader, MC_ROOT_ID, "key").status, MC_NOT_FOUND);
	succeeded_write(&teller, reader.cluster, reader.epoch + 1);
	ck_assert_int_eq(raw_call(&teller, MC_VERB_SUCCEEDED), MC_OK);
	ck_assert(left_alone(&reader));
	raw_close(&teller);
	raw_close(&reader);
	/* Nobody else leads in truth, so it does again. */
	meet(&reader, master);
	raw_close(&reader);
	mc_master_stop(master);
}
END_TEST

START_TEST(a_leader_before_that_hangs_or_is_gone_is_not_waited_for)
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	int fd;

	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &fd), MC_OK);
	ck_assert_int_eq(net_bound(fd, &address), MC_OK);
	net_format(&address, text);
	predecessor_tell(text, 1, 2);
	close(fd);
	predecessor_tell(text, 1, 2);
	predecessor_tell("unix:@nobody-listens-here", 1, 2);
	predecessor_tell("no address", 1, 2);
}
END_TEST

START_TEST(a_heartbeat_tells_that_changes_are_refused)
{
	struct mc_master *master = master_new(journal);
	uint64_t until_ns = clock_ns() + WAIT_NS;
	enum mc_status status = MC_OK;
	struct raw reader;

	meet(&reader, master);
	etcd_server_kill(&server);
	while (status == MC_OK) {
		ck_assert_msg(clock_ns() < until_ns, "heartbeats are taken");
		usleep(5000);
		for (int i = 0; i < 3; i++)
			put_u64(&reader.out, 0);
		status = raw_call(&reader, MC_VERB_HEARTBEAT);
	}
	ck_assert_int_eq(status, MC_READ_ONLY);
	ck_assert_int_eq(raw_lookup(&reader, MC_ROOT_ID, "key").status, MC_NOT_FOUND);
	raw_close(&reader);
	etcd_server_spawn(&server);
	mc_master_stop(master);
}
END_TEST

START_TEST(a_master_alone_has_no_successor)
{
	struct mc_master *master = master_new("memory");
	struct raw teller;

	raw_connect(&teller, mc_master_address(master));
	succeeded_write(&teller, 1, 1000);
	ck_assert_int_eq(raw_call(&teller, MC_VERB_SUCCEEDED), MC_NOT_SUPPORTED);
	raw_close(&teller);
	mc_master_stop(master);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, nobody_is_answered_by_the_leader_before_once_the_next_one_serves);
	tcase_add_test(tc, a_leader_believes_a_newer_epoch_of_its_own_cluster_only);
	tcase_add_test(tc, a_leader_before_that_hangs_or_is_gone_is_not_waited_for);
	tcase_add_test(tc, a_heartbeat_tells_that_changes_are_refused);
	tcase_add_test(tc, a_master_alone_has_no_successor);
}

int main(void)
{
	return etcd_installed() ? raw_run("lead", add, setup, teardown) : ETCD_TEST_SKIP;
}
