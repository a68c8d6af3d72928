/*
 * What is particular to the fabric between processes of a host: who borrows, who breaks
 * the rules, who dies, and that memory is its owner's again once it is unregistered.
 * The fabric behaves as all do: tests/conformance/fabric.c.
 */
#include <check.h>
#include <dirent.h>
#include <linux/capability.h>
#include <mooncake/engine.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/memory.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/shm.h"
#include "engine/fabric/shm/socket.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/suite.h"

#define SIZE (1u << 20)
#define BOTH (FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE)

static const struct fabric_ops *const ops = &fabric_shm_ops;

/* --- a lender and the one slice that is enough here ------------------------------------- */

struct lender {
	struct fabric *fabric;
	struct segment_desc *desc;
	uint8_t *memory;
	bool allocated;
	const void *key;
};

/* Memory that can be mapped, or that the kernel has to copy. */
static uint8_t *memory_new(bool allocated, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (allocated) {
		munmap(memory, size);
		ck_assert_int_eq(mc_memory_alloc(size, &memory), MC_OK);
	}
	return memory;
}

static void memory_end(bool allocated, void *memory, size_t size)
{
	if (allocated)
		mc_memory_free(memory);
	else
		munmap(memory, size);
}

static const void *lend_memory(struct lender *lender, uint8_t *memory, uint64_t length)
{
	struct fabric_region region = {memory, length, "*", BOTH};
	struct segment_buffer *buffer;
	const void *key;

	ck_assert_int_eq(segment_desc_add_buffer(lender->desc, "*", &buffer), MC_OK);
	buffer->addr = (uint64_t)(uintptr_t)memory;
	buffer->length = length;
	ck_assert_int_eq(ops->register_region(lender->fabric, &region, buffer, &key), MC_OK);
	return key;
}

static void lender_open(struct lender *lender, bool allocated)
{
	*lender = (struct lender){.allocated = allocated};
	ck_assert_int_eq(ops->open(&(struct fabric_config){.name = "lender"}, &lender->fabric),
			 MC_OK);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "lender", &lender->desc), MC_OK);
	ck_assert_int_eq(ops->describe(lender->fabric, lender->desc), MC_OK);
	lender->memory = memory_new(allocated, SIZE);
	lender->key = lend_memory(lender, lender->memory, SIZE);
}

static void lender_close(struct lender *lender)
{
	if (lender->key)
		ops->unregister_region(lender->fabric, lender->key);
	ops->close(lender->fabric);
	segment_desc_unref(lender->desc);
	memory_end(lender->allocated, lender->memory, SIZE);
}

struct waited {
	struct fabric_slice slice;
	atomic_int ended;
	enum mc_status status;
};

static void ended(struct fabric_slice *slice, enum mc_status status)
{
	struct waited *waited = container_of(slice, struct waited, slice);

	waited->status = status;
	atomic_store(&waited->ended, 1);
}

static enum mc_status move(struct fabric_peer *peer, enum fabric_opcode opcode, void *local,
			   const struct segment_buffer *buffer, uint32_t length)
{
	struct fabric *fabric = peer->fabric;
	struct waited waited = {.slice = {.opcode = opcode,
					  .local = local,
					  .length = length,
					  .remote = buffer->addr,
					  .buffer = buffer,
					  .done = ended}};
	struct fabric_slice *slice = &waited.slice;
	uint32_t taken;

	ck_assert_int_eq(ops->submit(peer, &slice, 1, &taken), MC_OK);
	ck_assert_uint_eq(taken, 1);
	while (!atomic_load(&waited.ended))
		ops->progress(fabric, 10000000);
	return waited.status;
}

struct borrower {
	struct fabric *fabric;
	struct fabric_peer *peer;
};

static void borrower_open(struct borrower *borrower, const struct lender *lender)
{
	ck_assert_int_eq(ops->open(&(struct fabric_config){.name = "borrower"}, &borrower->fabric),
			 MC_OK);
	ck_assert_int_eq(ops->connect(borrower->fabric, lender->desc, &borrower->peer), MC_OK);
}

static void borrower_close(struct borrower *borrower)
{
	ops->disconnect(borrower->peer);
	ops->close(borrower->fabric);
}

static uint64_t connections(struct fabric *fabric)
{
	struct fabric_counters counters;

	ops->counters(fabric, &counters);
	return counters.connections;
}

static void wait_for_connections(struct fabric *fabric, uint64_t count)
{
	for (int i = 0; connections(fabric) != count; i++) {
		ck_assert_msg(i < 20000, "%lu connections", (unsigned long)connections(fabric));
		usleep(1000);
	}
}

/* --- a borrower by hand --------------------------------------------------------------------- */

static int dial(const struct lender *lender)
{
	const char *name = strrchr(lender->desc->endpoints[0], '/');
	int fd = shm_socket_connect(name + 1);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static enum mc_status hear(int socket, struct shm_message *message, int *fd)
{
	struct pollfd readable = {.fd = socket, .events = POLLIN};

	*fd = -1;
	ck_assert_int_eq(poll(&readable, 1, 20000), 1);
	return shm_message_receive(socket, message, fd);
}

static struct ledger *greet(int socket)
{
	struct shm_message message = {.kind = SHM_HELLO};
	struct ledger *ledger;
	int fd;

	ck_assert_int_eq(shm_message_send(socket, &message, -1), MC_OK);
	ck_assert_int_eq(hear(socket, &message, &fd), MC_OK);
	ck_assert_int_eq(message.kind, SHM_WELCOME);
	ck_assert_int_eq(ledger_map(fd, &ledger), MC_OK);
	close(fd);
	return ledger;
}

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

/* --- out of descriptors -------------------------------------------------------------------------
 */

/* Let exactly one more be opened; what was allowed before. */
static rlim_t leave_one_descriptor(void)
{
	struct rlimit limit;
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	rlim_t before = limit.rlim_cur;
	limit.rlim_cur = (rlim_t)lowest + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

static void allow_descriptors(rlim_t count)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* From here on the log goes to a file, from which its lines are counted. */
static int catch_log(void)
{
	int log = memfd_create("log", MFD_CLOEXEC);

	ck_assert_int_ge(dup2(log, STDERR_FILENO), 0);
	log_set_level("warn");
	return log;
}

static int count_lines(int log, const char *what)
{
	char text[65536] = "";
	int count = 0;

	ck_assert_int_ge(pread(log, text, sizeof(text) - 1, 0), 0);
	for (const char *at = text; (at = strstr(at, what)); at++)
		count++;
	return count;
}

START_TEST(who_is_out_of_descriptors_says_so_once_and_takes_who_waited)
{
	struct lender lender;

	lender_open(&lender, true);
	int log = catch_log();
	rlim_t before = leave_one_descriptor();
	int socket = dial(&lender);
	usleep(300000);
	ck_assert_int_eq(count_lines(log, "can't accept"), 1);
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

/* Submit a slice of these bytes; who waits for it is the caller's matter. */
static void submit(struct fabric_peer *peer, struct waited *waited, void *local,
		   const struct segment_buffer *buffer, uint32_t length)
{
	struct fabric_slice *slice = &waited->slice;
	uint32_t taken;

	*waited = (struct waited){.slice = {.opcode = FABRIC_READ,
					    .local = local,
					    .length = length,
					    .remote = buffer->addr,
					    .buffer = buffer,
					    .done = ended}};
	ck_assert_int_eq(ops->submit(peer, &slice, 1, &taken), MC_OK);
	ck_assert_uint_eq(taken, 1);
}

static bool has_ended(const struct waited *waited, int within_ms)
{
	for (int i = 0; i < within_ms && !atomic_load(&waited->ended); i++)
		usleep(1000);
	return atomic_load(&waited->ended);
}

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
	tcase_add_test(tcase, who_is_out_of_descriptors_says_so_once_and_takes_who_waited);
	tcase_add_test(tcase, a_lender_that_could_kill_us_is_left);
	tcase_add_test(tcase, who_waits_for_a_silent_lender_keeps_nobody_else_waiting);
	tcase_add_test(tcase, a_link_that_is_given_up_ends_after_its_copies);
	tcase_add_test(tcase, a_segment_of_another_host_is_not_connected_to);
	tcase_add_test(tcase, memory_of_a_gpu_is_refused);
	tcase_add_test(tcase, a_borrower_that_left_is_gone_though_its_child_lives);
	tcase_add_test(tcase, a_lender_that_closed_is_gone_though_its_child_lives);
	tcase_add_test(tcase, a_lender_that_died_is_gone_though_its_child_lives);
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
