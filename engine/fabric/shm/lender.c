#include "engine/fabric/shm/lender.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/memory.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/mover.h"

#define LOOK_NS	   1000000u	 /* between looks at a count that is to fall */
#define GRUMBLE_NS 1000000000ull /* a wait that the log hears of */

struct visitor {
	struct visitor *next;
	uint64_t id;
	int fd;
	int pid_fd; /* -1: it can't be seen from here */
	pid_t pid;
	bool leaving;
	struct ledger *ledger; /* NULL: it has not said HELLO */
	uint32_t hint;
	struct shm_region *slots[LEDGER_SLOTS]; /* NULL: free */
};

/* In a slot: recalled, and perhaps not returned yet. */
static struct shm_region recalled;

/* --- visitors come and go ------------------------------------------------------------ */

static void visitor_free_locked(struct shm *shm, struct visitor *visitor)
{
	struct visitor **at = &shm->visitors;

	while (*at != visitor)
		at = &(*at)->next;
	*at = visitor->next;
	shm->visitor_count--;
	shm->leaving -= visitor->leaving;
	shm_unwatch_locked(shm, visitor->fd);
	/* A child of ours may have it as well. */
	shutdown(visitor->fd, SHUT_RDWR);
	close(visitor->fd);
	if (visitor->pid_fd >= 0)
		close(visitor->pid_fd);
	ledger_free(visitor->ledger);
	free(visitor);
	mover_round_locked(shm);
}

/* All threads of the process have ended, even if a child of it keeps the socket open. */
static bool is_dead(const struct visitor *visitor)
{
	struct pollfd end = {.fd = visitor->pid_fd, .events = POLLIN};

	return visitor->pid_fd >= 0 && poll(&end, 1, 0) > 0;
}

static bool uses_slot(const struct visitor *visitor, uint32_t slot)
{
	return visitor->slots[slot] && ledger_used(visitor->ledger, slot) && !is_dead(visitor);
}

static bool uses_any(const struct visitor *visitor)
{
	for (uint32_t slot = 0; visitor->ledger && slot < LEDGER_SLOTS; slot++) {
		if (uses_slot(visitor, slot))
			return true;
	}
	return false;
}

/* Lend no more, and know it until it has let go of what it has. */
static void visitor_leave_locked(struct shm *shm, struct visitor *visitor)
{
	for (uint32_t slot = 0; visitor->ledger && slot < LEDGER_SLOTS; slot++)
		ledger_withdraw(visitor->ledger, slot);
	shm_unwatch_locked(shm, visitor->fd);
	shutdown(visitor->fd, SHUT_RDWR);
	visitor->leaving = true;
	shm->leaving++;
}

void lender_look_locked(struct shm *shm)
{
	for (struct visitor *visitor = shm->visitors, *next; visitor && shm->leaving;
	     visitor = next) {
		next = visitor->next;
		if (visitor->leaving && !uses_any(visitor))
			visitor_free_locked(shm, visitor);
	}
}

static int open_process(pid_t pid)
{
	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static void visitor_new_locked(struct shm *shm, int fd)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	struct visitor *visitor = NULL;

	if (shm->visitor_count >= LENDER_VISITORS_MAX || !net_peer_trusted(fd) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
		log_warn("mc-shm: refused a connection visitors=%u uid=%u", shm->visitor_count,
			 peer.uid);
		close(fd);
		return;
	}
	visitor = calloc(1, sizeof(*visitor));
	uint64_t id = visitor ? shm_watch_locked(shm, fd) : 0;
	if (id == 0) {
		free(visitor);
		close(fd);
		return;
	}
	visitor->id = id;
	visitor->fd = fd;
	visitor->pid = peer.pid;
	visitor->pid_fd = open_process(peer.pid);
	visitor->next = shm->visitors;
	shm->visitors = visitor;
	shm->visitor_count++;
}

void lender_accept_locked(struct shm *shm)
{
	bool was_deaf = shm->deaf;
	int fd;

	while ((fd = accept4(shm->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		visitor_new_locked(shm, fd);
	shm->deaf = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
	if (!shm->deaf)
		return;
	if (!was_deaf)
		log_warn("mc-shm: can't accept connections for now errno=%d", errno);
	shm_unwatch_locked(shm, shm->listen_fd);
}

void lender_close_locked(struct shm *shm)
{
	while (shm->visitors)
		visitor_free_locked(shm, shm->visitors);
}

/* --- what they say ---------------------------------------------------------------------- */

static enum mc_status greet(struct visitor *visitor)
{
	struct shm_message answer = {.kind = SHM_WELCOME};
	CLEANUP_FD int fd = -1;

	if (visitor->ledger)
		return MC_PROTOCOL;
	enum mc_status status = ledger_new(&visitor->ledger, &fd);
	return status ? status : shm_message_send(visitor->fd, &answer, fd);
}

/* The region that the key opens, if what is wanted is in it. */
static struct shm_region *find_region(struct shm *shm, const struct shm_message *wish)
{
	struct shm_region *region = shm->regions;
	struct vault_entry *entry;

	if (vault_use(&shm->vault, wish->key, wish->address, wish->length, 0, &entry))
		return NULL;
	while (region && region->entry != entry)
		region = region->next;
	vault_done(entry);
	return region;
}

static bool find_slot(struct visitor *visitor, uint32_t *slot)
{
	for (uint32_t i = 0; i < LEDGER_SLOTS; i++) {
		uint32_t at = (visitor->hint + i) % LEDGER_SLOTS;
		if (visitor->slots[at] && !ledger_returned(visitor->ledger, at))
			continue;
		visitor->hint = at + 1;
		*slot = at;
		return true;
	}
	return false;
}

static enum mc_status lend(struct shm *shm, struct visitor *visitor, const struct shm_message *wish)
{
	struct shm_region *region = find_region(shm, wish);
	struct shm_message answer = {.kind = SHM_LEND, .status = MC_ACCESS, .key = wish->key};
	CLEANUP_FD int fd = -1;
	uint32_t slot;

	if (!region)
		return shm_message_send(visitor->fd, &answer, -1);
	if (!find_slot(visitor, &slot)) {
		answer.status = MC_NO_SPACE;
		return shm_message_send(visitor->fd, &answer, -1);
	}
	bool writable = (region->access & FABRIC_REMOTE_WRITE) != 0;
	answer.mapped =
		memory_lend(region->memory, region->length, writable, &fd, &answer.offset) == MC_OK;
	answer.status = MC_OK;
	answer.slot = slot;
	answer.address = (uint64_t)(uintptr_t)region->memory;
	answer.length = region->length;
	answer.access = region->access;
	ledger_lend(visitor->ledger, slot);
	visitor->slots[slot] = region;
	return shm_message_send(visitor->fd, &answer, fd);
}

static enum mc_status handle(struct shm *shm, struct visitor *visitor,
			     const struct shm_message *message)
{
	if (message->kind == SHM_HELLO)
		return greet(visitor);
	if (!visitor->ledger)
		return MC_PROTOCOL;
	return message->kind == SHM_BORROW ? lend(shm, visitor, message) : MC_PROTOCOL;
}

static enum mc_status listen_to(struct shm *shm, struct visitor *visitor)
{
	struct shm_message message;
	enum mc_status status;
	int fd = -1;

	while (!(status = shm_message_receive(visitor->fd, &message, &fd))) {
		if (fd >= 0) {
			close(fd);
			return MC_PROTOCOL;
		}
		status = handle(shm, visitor, &message);
		/* It may be that it does not listen, not that it has gone. */
		if (status)
			return MC_PROTOCOL;
	}
	return status;
}

bool lender_ready_locked(struct shm *shm, uint64_t id)
{
	struct visitor *visitor = shm->visitors;

	while (visitor && visitor->id != id)
		visitor = visitor->next;
	if (!visitor || visitor->leaving)
		return visitor != NULL;
	enum mc_status status = listen_to(shm, visitor);
	if (status == MC_UNREACHABLE) {
		visitor_free_locked(shm, visitor);
	} else if (status != MC_AGAIN) {
		log_warn("mc-shm: dropped a borrower that breaks the protocol pid=%d",
			 visitor->pid);
		visitor_leave_locked(shm, visitor);
	}
	return true;
}

/* --- recalling ----------------------------------------------------------------------------- */

static void withdraw_locked(const struct shm *shm, const struct shm_region *region)
{
	for (struct visitor *visitor = shm->visitors; visitor; visitor = visitor->next) {
		for (uint32_t slot = 0; slot < LEDGER_SLOTS; slot++) {
			if (visitor->slots[slot] == region)
				ledger_withdraw(visitor->ledger, slot);
		}
	}
}

/* Somebody who still touches it, or NULL. */
static const struct visitor *user_of_locked(const struct shm *shm, const struct shm_region *region)
{
	for (const struct visitor *visitor = shm->visitors; visitor; visitor = visitor->next) {
		for (uint32_t slot = 0; slot < LEDGER_SLOTS; slot++) {
			if (visitor->slots[slot] == region && uses_slot(visitor, slot))
				return visitor;
		}
	}
	return NULL;
}

/* Nobody does: have the mappings let go. */
static void tell_locked(const struct shm *shm, const struct shm_region *region)
{
	struct shm_message message = {.kind = SHM_RECALL};

	for (struct visitor *visitor = shm->visitors; visitor; visitor = visitor->next) {
		bool has = false;
		for (uint32_t slot = 0; slot < LEDGER_SLOTS; slot++) {
			if (visitor->slots[slot] != region)
				continue;
			visitor->slots[slot] = &recalled;
			has = true;
		}
		/* Nobody is there: the thread will see.  No room: one that is unread will do. */
		if (has)
			(void)!shm_message_send(visitor->fd, &message, -1);
	}
}

void lender_recall(struct shm *shm, struct shm_region *region)
{
	uint64_t grumble_ns = clock_ns() + GRUMBLE_NS;
	const struct visitor *user;

	WITH_LOCK(&shm->lock);
	withdraw_locked(shm, region);
	while ((user = user_of_locked(shm, region))) {
		if (clock_ns() > grumble_ns) {
			log_warn("mc-shm: unregistering waits for a copy of another process "
				 "pid=%d length=%" PRIu64,
				 user->pid, region->length);
			grumble_ns = UINT64_MAX;
		}
		mover_wait_locked(shm, LOOK_NS);
	}
	tell_locked(shm, region);
}
