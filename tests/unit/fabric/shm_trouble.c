/*
 * The fabric between processes of a host in trouble: a lender that is silent or means ill, a
 * process without descriptors, or gone while a child of it lives.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/base/log.h"
#include "engine/fabric/shm/memory.h"
#include "tests/support/scarcity.h"
#include "tests/support/suite.h"
#include "tests/unit/fabric/shm_pair.h"

/* --- out of descriptors -------------------------------------------------------------------------
 */

START_TEST(who_is_out_of_descriptors_says_so_once_and_takes_who_waited)
{
	struct lender lender;

	lender_open(&lender, true);
	int log = catch_log();
	rlim_t before = leave_one_descriptor();
	int socket = dial(&lender);
	assert_waits_for_descriptors(log);
	allow_descriptors(before);
	ledger_free(greet(socket));
	close(socket);
	close(log);
	lender_close(&lender);
}
END_TEST

/* --- a lender by hand ---------------------------------------------------------------------------
 */

struct played {
	struct segment_desc *desc;
	int listener;
};

/* Where the lender would be, if it were this one. */
static void play(struct played *played, const struct lender *lender)
{
	const char *real = lender->desc->endpoints[0];
	char name[NET_NAME_SIZE], endpoint[256];

	ck_assert_int_eq(shm_socket_listen(name, &played->listener), MC_OK);
	snprintf(endpoint, sizeof(endpoint), "%.*s%s", (int)(strrchr(real, '/') + 1 - real), real,
		 name);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "played", &played->desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(played->desc, endpoint), MC_OK);
}

static void play_end(struct played *played)
{
	segment_desc_unref(played->desc);
	close(played->listener);
}

/* --- a lender that breaks them -------------------------------------------------------------------
 */

/* Answers once, with a ledger that can be cut off. */
static void *lend_wrongly(void *argument)
{
	int listener = *(int *)argument, fd;
	struct shm_message message;
	struct pollfd readable = {.fd = listener, .events = POLLIN};

	ck_assert_int_eq(poll(&readable, 1, 20000), 1);
	int socket = accept(listener, NULL, NULL);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	int loose = memfd_create("loose", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(loose, sizeof(struct ledger)), 0);
	message = (struct shm_message){.kind = SHM_WELCOME};
	ck_assert_int_eq(shm_message_send(socket, &message, loose), MC_OK);
	close(loose);
	/* Until it hangs up. */
	ck_assert_int_eq(hear(socket, &message, &fd), MC_UNREACHABLE);
	close(socket);
	return NULL;
}

START_TEST(a_lender_that_could_kill_us_is_left)
{
	struct lender lender;
	struct borrower borrower;
	struct played played;
	struct fabric_peer *peer;
	char local[8];
	pthread_t thread;

	lender_open(&lender, true);
	borrower_open(&borrower, &lender);
	play(&played, &lender);
	ck_assert_int_eq(pthread_create(&thread, NULL, lend_wrongly, &played.listener), 0);
	ck_assert_int_eq(ops->connect(borrower.fabric, played.desc, &peer), MC_OK);
	ck_assert_int_eq(move(peer, FABRIC_READ, local, &lender.desc->buffers[0], 8),
			 MC_UNREACHABLE);
	pthread_join(thread, NULL);
	ops->disconnect(peer);
	play_end(&played);
	borrower_close(&borrower);
	lender_close(&lender);
}
END_TEST

struct patient {
	struct fabric *fabric;
	struct waited waited;
};

static void *wait_in_one_go(void *argument)
{
	struct patient *patient = argument;

	while (!atomic_load(&patient->waited.ended))
		ops->progress(patient->fabric, 20000000000u);
	return NULL;
}

START_TEST(who_waits_for_a_silent_lender_keeps_nobody_else_waiting)
{
	struct lender lender;
	struct borrower borrower;
	struct played played;
	struct patient patient;
	struct fabric_peer *silent;
	struct waited other;
	pthread_t thread;
	char far[8], local[8];
	const struct segment_buffer *buffer;

	lender_open(&lender, true);
	buffer = &lender.desc->buffers[0];
	borrower_open(&borrower, &lender);
	ck_assert_int_eq(move(borrower.peer, FABRIC_READ, local, buffer, 8), MC_OK);
	play(&played, &lender);
	ck_assert_int_eq(ops->connect(borrower.fabric, played.desc, &silent), MC_OK);
	patient.fabric = borrower.fabric;
	submit(silent, &patient.waited, far, buffer, 8);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_one_go, &patient), 0);
	usleep(100000);
	for (int i = 0; i < 10; i++) {
		submit(borrower.peer, &other, local, buffer, 8);
		ck_assert(has_ended(&other, 1000));
		ck_assert_int_eq(other.status, MC_OK);
	}
	ck_assert_int_eq(atomic_load(&patient.waited.ended), 0);
	ops->disconnect(silent);
	pthread_join(thread, NULL);
	ck_assert_int_eq(patient.waited.status, MC_CANCELLED);
	play_end(&played);
	borrower_close(&borrower);
	lender_close(&lender);
}
END_TEST

/* Take a borrower in, lend it memory whatever it asks for, and say no more. */
static int lend_once(const struct played *played, void *memory, uint32_t slot,
		     struct ledger **ledger)
{
	struct pollfd readable = {.fd = played->listener, .events = POLLIN};
	struct shm_message message;
	int fd;

	ck_assert_int_eq(poll(&readable, 1, 20000), 1);
	int socket = accept4(played->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(ledger_new(ledger, &fd), MC_OK);
	message = (struct shm_message){.kind = SHM_WELCOME};
	ck_assert_int_eq(shm_message_send(socket, &message, fd), MC_OK);
	close(fd);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(message.kind, SHM_BORROW);
	message = (struct shm_message){.kind = SHM_LEND,
				       .slot = slot,
				       .key = message.key,
				       .address = (uint64_t)(uintptr_t)memory,
				       .length = SIZE,
				       .access = BOTH,
				       .mapped = true};
	ck_assert_int_eq(memory_lend(memory, SIZE, true, &fd, &message.offset), MC_OK);
	ck_assert_int_eq(shm_message_send(socket, &message, fd), MC_OK);
	close(fd);
	return socket;
}

/* A page whose first touch waits until it is let through; the fabric's thread goes on at once. */
static struct {
	void *page;
	int gate[2];
	atomic_int held, passed;
} barred;

static bool on_the_thread_of_the_fabric(void)
{
	char name[16] = "";

	return prctl(PR_GET_NAME, name) == 0 && strcmp(name, "mc-shm") == 0;
}

static void wait_at_the_gate(int number, siginfo_t *info, void *context)
{
	char byte;

	(void)context;
	if ((void *)((uintptr_t)info->si_addr & ~(uintptr_t)4095) != barred.page) {
		signal(number, SIG_DFL);
		return;
	}
	if (!on_the_thread_of_the_fabric()) {
		atomic_store(&barred.held, 1);
		if (read(barred.gate[0], &byte, 1) != 1)
			_exit(6);
	}
	if (mprotect(barred.page, 4096, PROT_READ | PROT_WRITE) != 0)
		_exit(7);
	atomic_store(&barred.passed, 1);
}

static void bar(void)
{
	struct sigaction action = {.sa_sigaction = wait_at_the_gate, .sa_flags = SA_SIGINFO};

	barred.page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_int_eq(pipe(barred.gate), 0);
	ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
}

static void let_through(void)
{
	ck_assert_int_eq(write(barred.gate[1], "", 1), 1);
}

struct copying {
	struct fabric_peer *peer;
	const struct segment_buffer *buffer;
	enum mc_status status;
};

static void *copy_behind_bars(void *argument)
{
	struct copying *copying = argument;

	copying->status = move(copying->peer, FABRIC_READ, barred.page, copying->buffer, 8);
	return NULL;
}

/* Have a thread that is not the fabric's in the middle of a copy. */
static pthread_t hold_a_copy(struct copying *copying)
{
	pthread_t thread;

	for (;;) {
		atomic_store(&barred.passed, 0);
		ck_assert_int_eq(mprotect(barred.page, 4096, PROT_NONE), 0);
		ck_assert_int_eq(pthread_create(&thread, NULL, copy_behind_bars, copying), 0);
		while (!atomic_load(&barred.held) && !atomic_load(&barred.passed))
			usleep(1000);
		if (atomic_load(&barred.held))
			return thread;
		pthread_join(thread, NULL);
	}
}

START_TEST(a_link_that_is_given_up_ends_after_its_copies)
{
	enum { SLOT = 5 };
	struct lender lender;
	struct played played;
	struct fabric *fabric;
	struct fabric_peer *peer;
	struct waited asking;
	struct ledger *ledger;
	char local[8];

	lender_open(&lender, true);
	struct segment_buffer first = lender.desc->buffers[0], second = first;
	second.key++;
	ck_assert_int_eq(ops->open(&(struct fabric_config){.name = "borrower"}, &fabric), MC_OK);
	container_of(fabric, struct shm, fabric)->answer_ns = 100000000;
	play(&played, &lender);
	bar();
	ck_assert_int_eq(ops->connect(fabric, played.desc, &peer), MC_OK);
	submit(peer, &asking, local, &first, 8);
	int socket = lend_once(&played, lender.memory, SLOT, &ledger);
	ck_assert(has_ended(&asking, 20000));
	struct copying slow = {peer, &first, MC_IO};
	pthread_t thread = hold_a_copy(&slow);
	ck_assert_int_eq(move(peer, FABRIC_READ, local, &second, 8), MC_UNREACHABLE);
	ck_assert(ledger_used(ledger, SLOT));
	struct pollfd hangs_up = {.fd = socket, .events = POLLRDHUP};
	ck_assert_int_eq(poll(&hangs_up, 1, 100), 0);
	let_through();
	pthread_join(thread, NULL);
	ck_assert_int_eq(slow.status, MC_OK);
	ck_assert_int_eq(poll(&hangs_up, 1, 20000), 1);
	ck_assert(!ledger_used(ledger, SLOT));
	close(socket);
	ledger_free(ledger);
	ops->disconnect(peer);
	ops->close(fabric);
	play_end(&played);
	lender_close(&lender);
}
END_TEST

/* --- who has a child, which keeps the sockets that were there when it was made -----------------
 */

static pid_t child_new(void)
{
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child > 0)
		return child;
	for (;;)
		pause();
}

static void child_end(pid_t child)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(a_borrower_that_left_is_gone_though_its_child_lives)
{
	struct lender lender;
	struct borrower borrower;
	char local[8];

	lender_open(&lender, true);
	borrower_open(&borrower, &lender);
	ck_assert_int_eq(move(borrower.peer, FABRIC_READ, local, &lender.desc->buffers[0], 8),
			 MC_OK);
	pid_t child = child_new();
	borrower_close(&borrower);
	wait_for_connections(lender.fabric, 0);
	child_end(child);
	lender_close(&lender);
}
END_TEST

START_TEST(a_lender_that_closed_is_gone_though_its_child_lives)
{
	struct lender lender;
	struct borrower borrower;
	struct fabric_peer *peer;
	struct waited waiting;
	char local[8];

	lender_open(&lender, true);
	borrower_open(&borrower, &lender);
	struct segment_buffer buffer = lender.desc->buffers[0];
	ck_assert_int_eq(move(borrower.peer, FABRIC_READ, local, &buffer, 8), MC_OK);
	pid_t child = child_new();
	ops->unregister_region(lender.fabric, lender.key);
	ops->close(lender.fabric);
	submit(borrower.peer, &waiting, local, &buffer, 8);
	ck_assert(has_ended(&waiting, 5000));
	ck_assert_int_eq(waiting.status, MC_UNREACHABLE);
	ck_assert_int_eq(ops->connect(borrower.fabric, lender.desc, &peer), MC_NOT_SUPPORTED);
	child_end(child);
	borrower_close(&borrower);
	segment_desc_unref(lender.desc);
	memory_end(true, lender.memory, SIZE);
}
END_TEST

struct place {
	char endpoint[256];
	struct segment_buffer buffer;
	pid_t child;
};

static void say_place(int to, const struct place *place)
{
	if (write(to, place, sizeof(*place)) != sizeof(*place))
		_exit(3);
}

/* Lend memory and say where; when told so, have a child, and stay until killed. */
static void lend_with_a_child(int to, int from)
{
	char byte;
	struct lender lender;
	struct place place = {0};

	lender_open(&lender, true);
	snprintf(place.endpoint, sizeof(place.endpoint), "%s", lender.desc->endpoints[0]);
	place.buffer = lender.desc->buffers[0];
	say_place(to, &place);
	if (read(from, &byte, 1) != 1)
		_exit(4);
	place.child = child_new();
	say_place(to, &place);
	for (;;)
		pause();
}

START_TEST(a_lender_that_died_is_gone_though_its_child_lives)
{
	struct borrower borrower;
	struct lender away = {0};
	struct fabric_peer *peer;
	struct place place;
	struct waited waiting;
	char local[8];
	int up[2], down[2];

	ck_assert(pipe(up) == 0 && pipe(down) == 0);
	pid_t child = fork();
	if (child == 0)
		lend_with_a_child(up[1], down[0]);
	ck_assert_int_eq(read(up[0], &place, sizeof(place)), sizeof(place));
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "away", &away.desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(away.desc, place.endpoint), MC_OK);
	borrower_open(&borrower, &away);
	ck_assert_int_eq(move(borrower.peer, FABRIC_READ, local, &place.buffer, 8), MC_OK);
	ck_assert_int_eq(write(down[1], "", 1), 1);
	ck_assert_int_eq(read(up[0], &place, sizeof(place)), sizeof(place));
	child_end(child);
	submit(borrower.peer, &waiting, local, &place.buffer, 8);
	ck_assert(has_ended(&waiting, 5000));
	ck_assert_int_eq(waiting.status, MC_UNREACHABLE);
	ck_assert_int_eq(ops->connect(borrower.fabric, away.desc, &peer), MC_NOT_SUPPORTED);
	kill(place.child, SIGKILL);
	borrower_close(&borrower);
	segment_desc_unref(away.desc);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shm_trouble");
	TCase *tcase = tcase_create("all");

	log_set_level("error");
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, who_is_out_of_descriptors_says_so_once_and_takes_who_waited);
	tcase_add_test(tcase, a_lender_that_could_kill_us_is_left);
	tcase_add_test(tcase, who_waits_for_a_silent_lender_keeps_nobody_else_waiting);
	tcase_add_test(tcase, a_link_that_is_given_up_ends_after_its_copies);
	tcase_add_test(tcase, a_borrower_that_left_is_gone_though_its_child_lives);
	tcase_add_test(tcase, a_lender_that_closed_is_gone_though_its_child_lives);
	tcase_add_test(tcase, a_lender_that_died_is_gone_though_its_child_lives);
	suite_add_tcase(s, tcase);
	return suite_run(s);
}
