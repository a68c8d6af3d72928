/*
 * What is particular to the fabric between processes of a host: who borrows, who breaks
 * the rules, who dies, and that memory is its owner's again once it is unregistered.
 * The fabric behaves as all do: tests/conformance/fabric.c.  Trouble: shm_trouble.c.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/unit/fabric/shm_pair.h"

/* The slot of the lender's first region. */
static uint32_t borrow(int socket, const struct lender *lender)
{
	const struct segment_buffer *buffer = &lender->desc->buffers[0];
	struct shm_message message = {
		.kind = SHM_BORROW, .key = buffer->key, .address = buffer->addr, .length = 1};
	int fd;

	ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(message.kind, SHM_LEND);
	ck_assert_int_eq(message.status, MC_OK);
	ck_assert_int_eq(message.mapped, lender->allocated);
	if (fd >= 0)
		close(fd);
	return message.slot;
}

struct unregistering {
	struct lender *lender;
	atomic_int over;
};

static void *unregister(void *argument)
{
	struct unregistering *it = argument;

	ops->unregister_region(it->lender->fabric, it->lender->key);
	it->lender->key = NULL;
	atomic_store(&it->over, 1);
	return NULL;
}

/* It has been withdrawn by now. */
static void wait_until_withdrawn(struct ledger *ledger, uint32_t slot)
{
	for (int i = 0; !atomic_load(&ledger->slots[slot].withdrawn); i++) {
		ck_assert_int_lt(i, 20000);
		usleep(1000);
	}
}

START_TEST(unregistering_waits_for_who_copies)
{
	struct lender lender;
	struct unregistering it = {.lender = &lender};
	struct shm_message message;
	pthread_t thread;
	int fd;

	lender_open(&lender, _i);
	int socket = dial(&lender);
	struct ledger *ledger = greet(socket);
	uint32_t slot = borrow(socket, &lender);
	ck_assert(ledger_enter(ledger, slot));
	ck_assert_int_eq(pthread_create(&thread, NULL, unregister, &it), 0);
	wait_until_withdrawn(ledger, slot);
	usleep(50000);
	ck_assert_int_eq(atomic_load(&it.over), 0);
	ledger_leave(ledger, slot);
	pthread_join(thread, NULL);
	ck_assert(!ledger_enter(ledger, slot));
	/* And asks for it back. */
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(message.kind, SHM_RECALL);
	close(socket);
	ledger_free(ledger);
	lender_close(&lender);
}
END_TEST

/* In a process of its own: enter, say so, and stay. */
static pid_t stay_inside(const struct lender *lender, int *socket)
{
	int pipes[2];
	char byte;

	*socket = dial(lender);
	ck_assert_int_eq(pipe(pipes), 0);
	pid_t child = fork();
	if (child == 0) {
		/* Of the child: a connection says whose it is when it is made. */
		close(*socket);
		*socket = dial(lender);
		struct ledger *ledger = greet(*socket);
		uint32_t slot = borrow(*socket, lender);
		if (!ledger_enter(ledger, slot) || write(pipes[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	close(pipes[1]);
	return child;
}

START_TEST(unregistering_does_not_wait_for_the_dead)
{
	struct lender lender;
	struct unregistering it = {.lender = &lender};
	pthread_t thread;
	int socket;

	lender_open(&lender, _i);
	pid_t child = stay_inside(&lender, &socket);
	ck_assert_int_eq(pthread_create(&thread, NULL, unregister, &it), 0);
	usleep(50000);
	ck_assert_int_eq(atomic_load(&it.over), 0);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	pthread_join(thread, NULL);
	close(socket);
	wait_for_connections(lender.fabric, 0);
	lender_close(&lender);
}
END_TEST

/* --- who breaks the rules ----------------------------------------------------------------------
 */

enum offence { GARBAGE, SHORT, TWO_HELLOS, NO_HELLO, DESCRIPTOR, NOT_ITS_KIND, OFFENCES };

static void offend(int socket, enum offence offence)
{
	struct shm_message message = {.kind = SHM_HELLO};
	uint8_t bytes[4096];

	memset(bytes, 0xa5, sizeof(bytes));
	switch (offence) {
	case GARBAGE:
		ck_assert_int_eq(send(socket, bytes, sizeof(bytes), 0), sizeof(bytes));
		break;
	case SHORT:
		ck_assert_int_eq(send(socket, bytes, 1, 0), 1);
		break;
	case TWO_HELLOS:
		ledger_free(greet(socket));
		ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
		break;
	case NO_HELLO:
		message.kind = SHM_BORROW;
		ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
		break;
	case DESCRIPTOR:
		ck_assert_int_eq(shm_message_send(socket, &message, socket), MC_OK);
		break;
	case NOT_ITS_KIND:
		ledger_free(greet(socket));
		message = (struct shm_message){.kind = SHM_LEND, .length = 1};
		ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
		break;
	case OFFENCES:
		break;
	}
}

START_TEST(who_breaks_the_rules_is_dropped_and_others_go_on)
{
	struct lender lender;
	struct borrower borrower;
	struct shm_message message;
	char local[64] = "";
	int fd;

	lender_open(&lender, true);
	borrower_open(&borrower, &lender);
	ck_assert_int_eq(
		move(borrower.peer, FABRIC_READ, local, &lender.desc->buffers[0], sizeof(local)),
		MC_OK);
	int socket = dial(&lender);
	offend(socket, (enum offence)_i);
	enum mc_status status;
	while (!(status = hear(socket, &message, &fd))) {
		if (fd >= 0)
			close(fd);
	}
	ck_assert_int_eq(status, MC_UNREACHABLE);
	close(socket);
	wait_for_connections(lender.fabric, 1);
	ck_assert_int_eq(
		move(borrower.peer, FABRIC_WRITE, local, &lender.desc->buffers[0], sizeof(local)),
		MC_OK);
	borrower_close(&borrower);
	lender_close(&lender);
}
END_TEST

START_TEST(who_is_dropped_in_the_middle_of_a_copy_is_waited_for)
{
	struct lender lender;
	struct unregistering it = {.lender = &lender};
	pthread_t thread;

	lender_open(&lender, true);
	int socket = dial(&lender);
	struct ledger *ledger = greet(socket);
	uint32_t slot = borrow(socket, &lender);
	ck_assert(ledger_enter(ledger, slot));
	offend(socket, GARBAGE);
	wait_until_withdrawn(ledger, slot);
	ck_assert_int_eq(pthread_create(&thread, NULL, unregister, &it), 0);
	usleep(100000);
	ck_assert_int_eq(atomic_load(&it.over), 0);
	ledger_leave(ledger, slot);
	pthread_join(thread, NULL);
	wait_for_connections(lender.fabric, 0);
	close(socket);
	ledger_free(ledger);
	lender_close(&lender);
}
END_TEST

START_TEST(a_segment_of_another_host_is_not_connected_to)
{
	struct lender lender;
	struct segment_desc *desc;
	struct fabric_peer *peer;
	char endpoint[256];

	lender_open(&lender, true);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "far", &desc), MC_OK);
	snprintf(endpoint, sizeof(endpoint), "%s", lender.desc->endpoints[0]);
	endpoint[4] = endpoint[4] == '0' ? '1' : '0';
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	ck_assert_int_eq(ops->connect(lender.fabric, desc, &peer), MC_NOT_SUPPORTED);
	segment_desc_unref(desc);
	lender_close(&lender);
}
END_TEST

START_TEST(memory_of_a_gpu_is_refused)
{
	struct lender lender;
	struct segment_buffer buffer = {0};
	const void *key;

	lender_open(&lender, true);
	struct fabric_region region = {lender.memory, SIZE, "cuda:0", BOTH};
	ck_assert_int_eq(ops->register_region(lender.fabric, &region, &buffer, &key),
			 MC_NOT_SUPPORTED);
	ck_assert_uint_eq(buffer.key, 0);
	lender_close(&lender);
}
END_TEST

/* --- who is somebody else ------------------------------------------------------------------------
 */

#define STRANGER 65534u

/* Not a test's failure: nobody else can be had. */
static bool can_be_another(void)
{
	if (geteuid() == 0)
		return true;
	fprintf(stderr, "skipped: only root can become another user\n");
	return false;
}

static void become_another(void)
{
	if (setresgid(STRANGER, STRANGER, STRANGER) != 0 ||
	    setresuid(STRANGER, STRANGER, STRANGER) != 0)
		_exit(2);
}

static int outcome_of(pid_t child)
{
	int outcome;

	ck_assert_int_eq(waitpid(child, &outcome, 0), child);
	ck_assert(WIFEXITED(outcome));
	return WEXITSTATUS(outcome);
}

/* It may connect, as anybody may to such a socket, and hears nothing but the end. */
static int borrow_as_another(const struct lender *lender)
{
	struct shm_message message = {.kind = SHM_HELLO};
	int fd;

	become_another();
	int socket = shm_socket_connect(strrchr(lender->desc->endpoints[0], '/') + 1);
	if (socket < 0)
		return 3;
	struct pollfd readable = {.fd = socket, .events = POLLIN};
	(void)!shm_message_send(socket, &message, -1);
	if (poll(&readable, 1, 20000) != 1)
		return 4;
	return shm_message_receive(socket, &message, &fd) == MC_UNREACHABLE ? 0 : 5;
}

START_TEST(another_user_is_lent_nothing)
{
	struct lender lender;

	if (!can_be_another())
		return;
	lender_open(&lender, _i);
	pid_t child = fork();
	if (child == 0)
		_exit(borrow_as_another(&lender));
	ck_assert_int_eq(outcome_of(child), 0);
	wait_for_connections(lender.fabric, 0);
	lender_close(&lender);
}
END_TEST

/* Say where another user lends memory, and stay until told to go. */
static int lend_as_another(int to, int from)
{
	struct lender lender;
	char endpoint[256] = "", byte;

	become_another();
	lender_open(&lender, true);
	snprintf(endpoint, sizeof(endpoint), "%s", lender.desc->endpoints[0]);
	if (write(to, endpoint, sizeof(endpoint)) != sizeof(endpoint))
		return 3;
	(void)!read(from, &byte, 1);
	return 0;
}

START_TEST(from_another_user_nothing_is_borrowed)
{
	struct lender own;
	struct segment_desc *desc;
	struct fabric_peer *peer;
	char endpoint[256];
	int up[2], down[2];

	if (!can_be_another())
		return;
	ck_assert(pipe(up) == 0 && pipe(down) == 0);
	pid_t child = fork();
	if (child == 0) {
		close(down[1]);
		_exit(lend_as_another(up[1], down[0]));
	}
	ck_assert_int_eq(read(up[0], endpoint, sizeof(endpoint)), sizeof(endpoint));
	lender_open(&own, true);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "another", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	ck_assert_int_eq(ops->connect(own.fabric, desc, &peer), MC_NOT_SUPPORTED);
	ck_assert_uint_eq(connections(own.fabric), 0);
	segment_desc_unref(desc);
	lender_close(&own);
	close(down[1]);
	ck_assert_int_eq(outcome_of(child), 0);
}
END_TEST

/* Whom the kernel lets copy from processes of all users. */
static void become_another_who_may_trace(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};

	caps[0].permitted = caps[0].effective = 1u << CAP_SYS_PTRACE;
	if (prctl(PR_SET_KEEPCAPS, 1) != 0)
		_exit(2);
	become_another();
	if (syscall(SYS_capset, &head, caps) != 0)
		_exit(3);
}

/* It would be refused, so it must not be told that this way works. */
static int connect_to_root(const struct lender *lender)
{
	struct fabric *fabric;
	struct fabric_peer *peer;

	become_another_who_may_trace();
	if (ops->open(&(struct fabric_config){.name = "another"}, &fabric))
		return 4;
	return ops->connect(fabric, lender->desc, &peer) == MC_NOT_SUPPORTED ? 0 : 5;
}

START_TEST(who_may_trace_root_is_not_connected_to_it)
{
	struct lender lender;

	if (!can_be_another())
		return;
	lender_open(&lender, true);
	/* So that it is not refused before it has said its first word. */
	pthread_mutex_t *lock = &container_of(lender.fabric, struct shm, fabric)->lock;
	pthread_mutex_lock(lock);
	pid_t child = fork();
	if (child == 0)
		_exit(connect_to_root(&lender));
	ck_assert_int_eq(outcome_of(child), 0);
	pthread_mutex_unlock(lock);
	lender_close(&lender);
}
END_TEST

/* --- under load --------------------------------------------------------------------------------
 */

struct writer {
	struct borrower *borrower;
	struct segment_buffer buffer; /* a copy, of its part: the descriptor grows */
	enum mc_status status;
};

/* Write until it is refused. */
static void *write_on(void *argument)
{
	struct writer *writer = argument;
	uint8_t *local = malloc(writer->buffer.length);

	memset(local, 0x11, writer->buffer.length);
	while (!writer->status)
		writer->status = move(writer->borrower->peer, FABRIC_WRITE, local, &writer->buffer,
				      (uint32_t)writer->buffer.length);
	free(local);
	return NULL;
}

START_TEST(nobody_writes_to_memory_that_was_unregistered)
{
	enum { THREADS = 4, ROUNDS = 20, PART = SIZE / THREADS };
	struct lender lender;
	struct borrower borrower;
	struct writer writers[THREADS];
	pthread_t threads[THREADS];
	uint8_t *own = malloc(SIZE);

	lender_open(&lender, _i);
	borrower_open(&borrower, &lender);
	memset(own, 0x22, SIZE);
	for (int round = 1; round <= ROUNDS; round++) {
		uint8_t *memory = memory_new(_i, SIZE);
		const void *key = lend_memory(&lender, memory, SIZE);
		for (int i = 0; i < THREADS; i++) {
			writers[i] = (struct writer){&borrower, lender.desc->buffers[round], MC_OK};
			writers[i].buffer.addr += (uint64_t)i * PART;
			writers[i].buffer.length = PART;
			ck_assert_int_eq(pthread_create(&threads[i], NULL, write_on, &writers[i]),
					 0);
		}
		while (((volatile uint8_t *)memory)[SIZE - 1] != 0x11)
			usleep(100);
		ops->unregister_region(lender.fabric, key);
		memset(memory, 0x22, SIZE);
		for (int i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			ck_assert_int_eq(writers[i].status, MC_ACCESS);
		}
		ck_assert_int_eq(memcmp(memory, own, SIZE), 0);
		memory_end(_i, memory, SIZE);
	}
	free(own);
	borrower_close(&borrower);
	lender_close(&lender);
}
END_TEST

static size_t count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "mooncake-memory") != NULL;
	(void)fclose(maps);
	return count;
}

START_TEST(more_regions_than_loans_are_all_reached_and_all_let_go)
{
	enum { COUNT = LEDGER_SLOTS + 200 };
	struct lender lender;
	struct borrower borrower;
	static const void *keys[COUNT];
	void *memory;
	char local[8];

	lender_open(&lender, true);
	borrower_open(&borrower, &lender);
	ck_assert_int_eq(mc_memory_alloc(COUNT * 4096, &memory), MC_OK);
	for (unsigned i = 0; i < COUNT; i++) {
		((uint8_t *)memory)[i * 4096] = (uint8_t)i;
		keys[i] = lend_memory(&lender, (uint8_t *)memory + i * 4096, 4096);
	}
	size_t before = count_maps();
	for (unsigned i = 0; i < 2 * COUNT; i++) {
		const struct segment_buffer *buffer = &lender.desc->buffers[1 + i % COUNT];
		ck_assert_int_eq(move(borrower.peer, FABRIC_READ, local, buffer, 8), MC_OK);
		ck_assert_uint_eq((uint8_t)local[0], (uint8_t)(i % COUNT));
	}
	ck_assert_uint_le(count_maps(), before + LEDGER_SLOTS);
	for (unsigned i = 0; i < COUNT; i++)
		ops->unregister_region(lender.fabric, keys[i]);
	/* Without being asked for anything, the borrower unmaps what was recalled. */
	for (int i = 0; count_maps() > before && i < 20000; i++)
		usleep(1000);
	ck_assert_uint_le(count_maps(), before);
	mc_memory_free(memory);
	borrower_close(&borrower);
	lender_close(&lender);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("shm");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, unregistering_waits_for_who_copies, 0, 2);
	tcase_add_loop_test(tcase, unregistering_does_not_wait_for_the_dead, 0, 2);
	tcase_add_loop_test(tcase, who_breaks_the_rules_is_dropped_and_others_go_on, 0, OFFENCES);
	tcase_add_test(tcase, who_is_dropped_in_the_middle_of_a_copy_is_waited_for);
	tcase_add_test(tcase, a_segment_of_another_host_is_not_connected_to);
	tcase_add_test(tcase, memory_of_a_gpu_is_refused);
	tcase_add_loop_test(tcase, another_user_is_lent_nothing, 0, 2);
	tcase_add_test(tcase, from_another_user_nothing_is_borrowed);
	tcase_add_test(tcase, who_may_trace_root_is_not_connected_to_it);
	tcase_add_loop_test(tcase, nobody_writes_to_memory_that_was_unregistered, 0, 2);
	tcase_add_test(tcase, more_regions_than_loans_are_all_reached_and_all_let_go);
	suite_add_tcase(s, tcase);
	return s;
}

int main(void)
{
	log_set_level("error");
	return suite_run(suite());
}
