/*
 * Ten thousand failed transfers of each kind over sockets and shared memory: memory,
 * mappings, descriptors, regions, peers and slices are what they were.  RDMA, whose
 * failures need a fake NIC, has the like of it in rdma/growth.c, files in
 * nvmeof/growth.c.
 */
#include <arpa/inet.h>
#include <check.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/socket.h"
#include "engine/fabric/tcp/frame.h"
#include "tests/support/fabric_world.h"
#include "tests/support/suite.h"
#include "tests/support/usage.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILURES 500u
#else
#define FAILURES 10000u
#endif
#define WARM_UP	  400u
#define MANY	  100u
#define LENGTH	  (4 * KIB)
#define ROW_FIRST 1 /* of the world's: without RDMA */

/* --- who is connected to, and does not serve ------------------------------------------- */

enum manner {
	ABSENT,	 /* nobody listens */
	SILENT,	 /* never says a word */
	RESETS,	 /* greets, takes a request, and resets the connection */
	GARBLES, /* greets, and answers what is no answer */
	MUMBLES, /* greets with what is no greeting */
};

struct stranger {
	enum manner manner;
	bool shm;
	int listener;
	pthread_t thread;
	atomic_bool ended;
	char endpoint[300];
};

static bool readable(int fd)
{
	struct pollfd waits = {.fd = fd, .events = POLLIN};

	return poll(&waits, 1, (int)LIMIT) == 1;
}

/* At least so many bytes; what is asked is of no interest. */
static void hear(int fd, size_t size)
{
	uint8_t bytes[65536];
	ssize_t got;

	for (size_t sum = 0; sum < size && readable(fd); sum += (size_t)got) {
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got <= 0)
			return;
	}
}

static void greet(const struct stranger *stranger, int fd)
{
	uint8_t bytes[TCP_HELLO_SIZE];
	struct ledger *ledger;
	int ledger_fd;

	if (!stranger->shm) {
		hear(fd, TCP_HELLO_SIZE);
		tcp_welcome_encode(bytes, &(struct tcp_welcome){.version = TCP_VERSION});
		(void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
		return;
	}
	hear(fd, 1);
	ck_assert_int_eq(ledger_new(&ledger, &ledger_fd), MC_OK);
	(void)!shm_message_send(fd, &(struct shm_message){.kind = SHM_WELCOME}, ledger_fd);
	ledger_free(ledger);
	close(ledger_fd);
}

static void babble(int fd)
{
	uint8_t bytes[4096];

	memset(bytes, 0xa5, sizeof(bytes));
	(void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void receive_one(const struct stranger *stranger, int fd)
{
	struct linger none = {.l_onoff = 1};

	if (stranger->manner == RESETS || stranger->manner == GARBLES) {
		greet(stranger, fd);
		hear(fd, 1);
	}
	if (stranger->manner == RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	else if (stranger->manner != SILENT)
		babble(fd);
	/* Until the other side has enough of it. */
	if (stranger->manner != RESETS)
		hear(fd, SIZE_MAX);
	close(fd);
}

static void *receive_all(void *context)
{
	struct stranger *stranger = context;

	while (readable(stranger->listener) && !atomic_load(&stranger->ended)) {
		int fd = accept(stranger->listener, NULL, NULL);
		if (fd >= 0)
			receive_one(stranger, fd);
	}
	return NULL;
}

static void listen_tcp(struct stranger *stranger)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	stranger->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(stranger->listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(getsockname(stranger->listener, (struct sockaddr *)&address, &size), 0);
	if (stranger->manner != ABSENT)
		ck_assert_int_eq(listen(stranger->listener, 100), 0);
	snprintf(stranger->endpoint, sizeof(stranger->endpoint), "tcp:127.0.0.1:%u",
		 ntohs(address.sin_port));
}

static void listen_shm(struct stranger *stranger, const char *real)
{
	char name[NET_NAME_SIZE];

	ck_assert_int_eq(shm_socket_listen(name, &stranger->listener), MC_OK);
	if (stranger->manner == ABSENT)
		shutdown(stranger->listener, SHUT_RDWR);
	snprintf(stranger->endpoint, sizeof(stranger->endpoint), "%.*s%s",
		 (int)(strrchr(real, '/') + 1 - real), real, name);
}

static void stranger_start(struct stranger *stranger, const struct world *world, enum manner manner)
{
	stranger->manner = manner;
	stranger->shm = strcmp(world->near.ops->name, "shm") == 0;
	if (stranger->shm)
		listen_shm(stranger, world->desc->endpoints[0]);
	else
		listen_tcp(stranger);
	if (manner != ABSENT)
		ck_assert_int_eq(pthread_create(&stranger->thread, NULL, receive_all, stranger), 0);
}

static void stranger_end(struct stranger *stranger)
{
	atomic_store(&stranger->ended, true);
	shutdown(stranger->listener, SHUT_RDWR);
	if (stranger->manner != ABSENT)
		pthread_join(stranger->thread, NULL);
	close(stranger->listener);
}

/* --- failures ---------------------------------------------------------------------------- */

struct trial {
	struct world world;
	int row;
	struct stranger stranger;
	struct segment_desc *guarded; /* to be read only */
	uint8_t *guard;
	const void *guard_key;
	pid_t nursery;
	int orders, cards; /* to and from it */
	struct moving movings[MANY];
};

static uint32_t fail_one(struct trial *trial, enum mc_status expected)
{
	ck_assert_int_eq(world_move_one(&trial->world, &trial->movings[0]), expected);
	return 1;
}

static uint32_t fail_with_a_wrong_key(struct trial *trial)
{
	struct segment_buffer other = trial->world.desc->buffers[0];

	other.key ^= 1;
	moving_prepare(&trial->world, &trial->movings[0], FABRIC_READ, 0, 0, LENGTH);
	trial->movings[0].slice.buffer = &other;
	return fail_one(trial, MC_ACCESS);
}

static uint32_t fail_beyond_the_end(struct trial *trial)
{
	moving_prepare(&trial->world, &trial->movings[0], FABRIC_WRITE, 0, SIZE - 8, LENGTH);
	return fail_one(trial, MC_ACCESS);
}

static uint32_t fail_to_write_what_is_read_only(struct trial *trial)
{
	moving_prepare(&trial->world, &trial->movings[0], FABRIC_WRITE, 0, 0, LENGTH);
	trial->movings[0].slice.remote = (uint64_t)(uintptr_t)trial->guard;
	trial->movings[0].slice.buffer = &trial->guarded->buffers[0];
	return fail_one(trial, MC_ACCESS);
}

/* What the descriptor tells of is there no more. */
static uint32_t fail_with_a_stale_region(struct trial *trial)
{
	struct world *world = &trial->world;
	const void *key;
	struct segment_desc *desc =
		world_describe(&world->far, "stale", trial->guard + LENGTH, LENGTH, BOTH, &key);

	for (int stale = 0; stale < 2; stale++) {
		moving_prepare(world, &trial->movings[0], FABRIC_READ, 0, 0, LENGTH);
		trial->movings[0].slice.remote = (uint64_t)(uintptr_t)trial->guard + LENGTH;
		trial->movings[0].slice.buffer = &desc->buffers[0];
		fail_one(trial, stale ? MC_ACCESS : MC_OK);
		if (!stale)
			world->far.ops->unregister_region(world->far.fabric, key);
	}
	segment_desc_unref(desc);
	return 1;
}

static struct fabric_peer *meet(struct trial *trial, const char *endpoint)
{
	const struct fabric_ops *ops = trial->world.near.ops;
	struct fabric_peer *peer = NULL;
	struct segment_desc *desc;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "stranger", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	enum mc_status status = ops->connect(trial->world.near.fabric, desc, &peer);
	/* Whoever isn't there isn't of this host either. */
	ck_assert(status == MC_OK ||
		  (status == MC_NOT_SUPPORTED && trial->stranger.manner == ABSENT));
	segment_desc_unref(desc);
	return peer;
}

/* Many at once to whoever it is; they are under way when it returns. */
static void begin_many(struct trial *trial, struct fabric_peer *peer, uint64_t deadline_ns)
{
	for (uint32_t i = 0; i < MANY; i++) {
		moving_prepare(&trial->world, &trial->movings[i],
			       i % 2 ? FABRIC_READ : FABRIC_WRITE, i * LENGTH, i * LENGTH, LENGTH);
		trial->movings[i].slice.deadline_ns = deadline_ns;
	}
	lender_submit(&trial->world, peer, trial->movings, MANY);
}

static uint32_t all_are(const struct trial *trial, enum mc_status expected)
{
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert_int_eq(trial->movings[i].status, expected);
	return MANY;
}

static uint32_t fail_with_the_stranger(struct trial *trial)
{
	const struct fabric_ops *ops = trial->world.near.ops;
	struct fabric_peer *peer = meet(trial, trial->stranger.endpoint);

	if (!peer)
		return 1;
	begin_many(trial, peer, 0);
	moving_wait(&trial->world, trial->movings, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert(trial->movings[i].status == MC_UNREACHABLE ||
			  trial->movings[i].status == MC_PROTOCOL);
	ops->disconnect(peer);
	return MANY;
}

static uint32_t fail_in_time(struct trial *trial)
{
	struct fabric_peer *peer = meet(trial, trial->stranger.endpoint);

	begin_many(trial, peer, clock_ns() + 1000000);
	moving_wait(&trial->world, trial->movings, MANY);
	trial->world.near.ops->disconnect(peer);
	return all_are(trial, MC_TIMEOUT);
}

static uint32_t fail_when_cancelled(struct trial *trial)
{
	const struct fabric_ops *ops = trial->world.near.ops;
	struct fabric_peer *peer = meet(trial, trial->stranger.endpoint);

	begin_many(trial, peer, 0);
	for (uint32_t i = 0; i < MANY; i++)
		ops->cancel(peer, &trial->movings[i].slice);
	moving_wait(&trial->world, trial->movings, MANY);
	ops->disconnect(peer);
	return all_are(trial, MC_CANCELLED);
}

static uint32_t fail_when_disconnected(struct trial *trial)
{
	struct fabric_peer *peer = meet(trial, trial->stranger.endpoint);

	begin_many(trial, peer, 0);
	trial->world.near.ops->disconnect(peer);
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert_int_eq(atomic_load(&trial->movings[i].ended), 1);
	return all_are(trial, MC_CANCELLED);
}

/*
 * Where lenders come from: a process without threads, forked before there are any here.
 * Told to go on it has a lender and stops it, so that nothing ends too soon; told once
 * more it kills it.
 */
static void breed(int row, int from, int to)
{
	static struct card card;
	char byte;

	while (read(from, &byte, 1) == 1) {
		pid_t child = lender_start(row, &card);
		if (child <= 0 || kill(child, SIGSTOP) != 0 ||
		    waitpid(child, NULL, WUNTRACED) != child ||
		    write(to, &card, sizeof(card)) != sizeof(card))
			_exit(1);
		if (read(from, &byte, 1) != 1)
			_exit(0);
		lender_end(child);
		if (write(to, "", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static void nursery_start(struct trial *trial)
{
	int orders[2], cards[2];

	ck_assert(pipe(orders) == 0 && pipe(cards) == 0);
	trial->nursery = fork();
	ck_assert_int_ge(trial->nursery, 0);
	if (trial->nursery == 0) {
		close(orders[1]);
		close(cards[0]);
		breed(trial->row, orders[0], cards[1]);
	}
	close(orders[0]);
	close(cards[1]);
	trial->orders = orders[1];
	trial->cards = cards[0];
}

static void nursery_end(struct trial *trial)
{
	close(trial->orders);
	close(trial->cards);
	ck_assert_int_eq(waitpid(trial->nursery, NULL, 0), trial->nursery);
}

static void order(struct trial *trial, void *answer, size_t size)
{
	ck_assert_int_eq(write(trial->orders, "", 1), 1);
	for (size_t sum = 0; sum < size;) {
		ssize_t got = read(trial->cards, (char *)answer + sum, size - sum);
		ck_assert_int_gt(got, 0);
		sum += (size_t)got;
	}
}

static uint32_t fail_when_the_peer_dies(struct trial *trial)
{
	const struct fabric_ops *ops = trial->world.near.ops;
	struct card *card = malloc(sizeof(*card));
	struct fabric_peer *peer;
	struct segment_desc *desc;
	char byte;

	ck_assert_ptr_nonnull(card);
	order(trial, card, sizeof(*card));
	ck_assert_int_eq(segment_desc_parse(card->text, card->size, &desc), MC_OK);
	ck_assert_int_eq(ops->connect(trial->world.near.fabric, desc, &peer), MC_OK);
	for (uint32_t i = 0; i < MANY; i++)
		lender_prepare(&trial->world, &trial->movings[i], card, desc, i * LENGTH, LENGTH);
	lender_submit(&trial->world, peer, trial->movings, MANY);
	order(trial, &byte, 1);
	moving_wait(&trial->world, trial->movings, MANY);
	ops->disconnect(peer);
	segment_desc_unref(desc);
	free(card);
	return all_are(trial, MC_UNREACHABLE);
}

static const struct {
	const char *name;
	uint32_t (*provoke)(struct trial *trial); /* how many failed */
	enum manner manner;			  /* of the stranger, where there is one */
} kinds[] = {
	{"wrong key", fail_with_a_wrong_key, ABSENT},
	{"beyond the end", fail_beyond_the_end, ABSENT},
	{"read only", fail_to_write_what_is_read_only, ABSENT},
	{"stale region", fail_with_a_stale_region, ABSENT},
	{"nobody listens", fail_with_the_stranger, ABSENT},
	{"connection reset", fail_with_the_stranger, RESETS},
	{"no answer", fail_with_the_stranger, GARBLES},
	{"no greeting", fail_with_the_stranger, MUMBLES},
	{"deadline", fail_in_time, SILENT},
	{"cancelled", fail_when_cancelled, SILENT},
	{"disconnected", fail_when_disconnected, SILENT},
	{"the peer dies", fail_when_the_peer_dies, ABSENT},
};

#define KINDS ((int)ARRAY_SIZE(kinds))

/* --- what is left of them ------------------------------------------------------------------ */

static bool trial_open(struct trial *trial, int row)
{
	trial->row = row;
	nursery_start(trial);
	if (!world_open(&trial->world, row, BOTH))
		return false;
	trial->guard =
		mmap(NULL, 2 * LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(trial->guard, MAP_FAILED);
	trial->guarded = world_describe(&trial->world.far, "guarded", trial->guard, LENGTH,
					FABRIC_REMOTE_READ, &trial->guard_key);
	return true;
}

static void trial_close(struct trial *trial)
{
	struct side *far = &trial->world.far;

	far->ops->unregister_region(far->fabric, trial->guard_key);
	segment_desc_unref(trial->guarded);
	munmap(trial->guard, 2 * LENGTH);
	world_close(&trial->world);
	nursery_end(trial);
}

/* Everything is as before, and transfers work.  What is being closed may take a while. */
static bool is_as_before(struct trial *trial, const struct usage *before)
{
	struct fabric_counters near, far;

	if (world_move(&trial->world, FABRIC_READ, 0, 0, LENGTH) != MC_OK)
		return false;
	trial->world.near.ops->counters(trial->world.near.fabric, &near);
	trial->world.far.ops->counters(trial->world.far.fabric, &far);
	struct usage now = usage_now();
	return near.slices == 0 && near.peers == 1 && near.regions == 1 && far.regions == 2 &&
	       usage_fits(&now, before);
}

static void fail_often(struct trial *trial, int kind, uint32_t failures)
{
	for (uint32_t done = 0; done < failures;)
		done += kinds[kind].provoke(trial);
}

START_TEST(ten_thousand_failures_leave_nothing)
{
	static struct trial trial;
	int kind = _i % KINDS;

	if (!trial_open(&trial, ROW_FIRST + _i / KINDS))
		return;
	stranger_start(&trial.stranger, &trial.world, kinds[kind].manner);
	fail_often(&trial, kind, WARM_UP);
	ck_assert_int_eq(world_move(&trial.world, FABRIC_READ, 0, 0, LENGTH), MC_OK);
	struct usage before = usage_settled();
	fail_often(&trial, kind, FAILURES);
	uint64_t until = clock_ns() + LIMIT * 1000000ull;
	while (!is_as_before(&trial, &before)) {
		if (clock_ns() > until) {
			usage_print("before", &before);
			struct usage now = usage_now();
			usage_print("after", &now);
			ck_abort_msg("row %d: something is left of failures: %s", trial.row,
				     kinds[kind].name);
		}
		usleep(1000);
	}
	stranger_end(&trial.stranger);
	trial_close(&trial);
}
END_TEST

static void set_up(void)
{
	/* What is provoked here is logged; that is not what is looked at. */
	ck_assert(log_open("/dev/null"));
	usage_share_heap();
}

int main(void)
{
	Suite *s = suite_create("growth");
	TCase *tc = tcase_create("failures");

	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_loop_test(tc, ten_thousand_failures_leave_nothing, 0,
			    KINDS * (WORLD_ROWS - ROW_FIRST));
	suite_add_tcase(s, tc);
	return suite_run(s);
}
