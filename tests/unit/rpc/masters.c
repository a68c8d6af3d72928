/* Where a client finds its master: addresses, several of them, and epochs. */
#include "engine/rpc/masters.h"

#include "engine/base/cleanup.h"
#include "tests/unit/rpc/peer.h"

static const char *const bad_addresses[] = {
	"",
	":",
	":80",
	"unix:",
	"host:",
	"host:port",
	"host:0",
	"host:65536",
	"host:80x",
	"[::1]:",
	",",
	"host:1,",
	",host:1",
	"host:1,host:0",
	"etcd://",
	"etcd://host",
	"etcd://host:1/a/b",
	"etcd://host:1?",
	"etcd://host:1?ca",
	"etcd://host:1?color=red",
	"etcd://host:1?user=a&password_file=/nonexistent",
};

START_TEST(an_address_that_is_none_is_invalid)
{
	struct client *none = NULL;

	ck_assert_int_eq(client_open(bad_addresses[_i], &peer_events, &none), MC_INVALID);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(of_several_masters_the_one_that_answers_is_found)
{
	struct answer answer = {0};
	char list[256];

	peer_listen(&peer, peer.name);
	snprintf(list, sizeof(list), "127.0.0.1:1,unix:@test-nobody,%s", address);
	client = peer_client(list);
	peer_welcome(&peer);
	call(client, 5, PEER_WAIT_MS, &answer);
	peer_receive(&peer);
	peer_reply(&peer, peer.frame.request_id, MC_OK, 6);
	answer_wait(&answer);
	ck_assert_uint_eq(answer.value, 6);
}
END_TEST

START_TEST(one_of_several_that_says_nothing_is_left_soon)
{
	struct peer silent;
	char list[256];

	peer_name(&silent);
	peer_listen(&silent, silent.name);
	peer_listen(&peer, peer.name);
	snprintf(list, sizeof(list), "unix:%s,%s", silent.name, address);
	uint64_t begun = clock_ns();
	client = peer_client(list);
	peer_welcome(&peer);
	ck_assert_uint_lt(ms_since(begun), 3000); /* what the only one would be given */
	peer_end(&silent);
}
END_TEST

/* Say welcome as the master of a cluster and an epoch. */
static void welcome_as(uint64_t cluster, uint32_t epoch)
{
	struct writer w;

	peer_accept(&peer);
	writer_init(&w);
	put_u32(&w, 1);
	put_u32(&w, 1);
	put_u64(&w, cluster);
	peer_send(&peer,
		  (struct frame){.kind = MC_FRAME_REPLY,
				 .epoch = epoch,
				 .request_id = peer.frame.request_id},
		  w.data, w.size);
	writer_fini(&w);
}

START_TEST(a_master_of_an_older_epoch_is_refused)
{
	peer_listen(&peer, peer.name);
	client = peer_client(address);
	welcome_as(7, 5);
	SEEN_WAIT(seen.welcomes == 1);
	welcome_as(7, 4);
	welcome_as(7, 5);
	SEEN_WAIT(seen.welcomes == 2);
	ck_assert_int_eq(seen_get(&seen.losses), 1);
	/* Another cluster has epochs of its own. */
	welcome_as(8, 1);
	SEEN_WAIT(seen.welcomes == 3);
}
END_TEST

static uint16_t listen_tcp(void)
{
	struct net_address bound;

	peer_listen(&peer, "127.0.0.1:0");
	ck_assert_int_eq(net_bound(peer.listen, &bound), MC_OK);
	return net_port(&bound);
}

START_TEST(a_master_is_reached_over_tcp)
{
	char text[128];

	unsigned port = listen_tcp();
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
	client_peer(client, text, sizeof(text));
	ck_assert_str_eq(text + 4, address);
	ck_assert_mem_eq(text, "tcp:", 4);
}
END_TEST

START_TEST(a_master_on_this_host_is_reached_over_its_socket)
{
	char text[128], name[64];
	struct peer tcp = {.listen = -1, .fd = -1};

	unsigned port = listen_tcp();
	tcp.listen = peer.listen;
	snprintf(name, sizeof(name), "@mooncake-master-%u", port);
	peer_listen(&peer, name);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	client = peer_client(address);
	peer_welcome(&peer);
	SEEN_WAIT(seen.welcomes == 1);
	client_peer(client, text, sizeof(text));
	ck_assert_str_eq(text + 5, name);
	ck_assert(!peer_readable(tcp.listen, 0));
	peer_end(&tcp);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("masters");
	TCase *tc = tcase_create("masters");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, an_address_that_is_none_is_invalid, 0,
			    (int)ARRAY_SIZE(bad_addresses));
	tcase_add_test(tc, of_several_masters_the_one_that_answers_is_found);
	tcase_add_test(tc, one_of_several_that_says_nothing_is_left_soon);
	tcase_add_test(tc, a_master_of_an_older_epoch_is_refused);
	tcase_add_test(tc, a_master_is_reached_over_tcp);
	tcase_add_test(tc, a_master_on_this_host_is_reached_over_its_socket);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
