#include "engine/fabric/shm/borrower.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/memory.h"
#include "engine/fabric/shm/message.h"
#include "engine/fabric/shm/socket.h"
#include "engine/metadata/segment_desc.h"

/* A region of the peer. */
struct loan {
	/* fixed */
	uint64_t key, address, length;
	uint32_t access;
	uint32_t slot;
	void *map; /* NULL: the kernel copies */
	uint64_t map_size;
	uint8_t *bytes;
	/* protected by the fabric's lock */
	uint32_t users;
	uint64_t used; /* when, by the link's count */
	bool recalled; /* it goes back after its last user */
};

struct link {
	/* fixed */
	uint64_t id;
	int fd;
	int pid_fd;
	pid_t pid;
	struct ledger *ledger; /* NULL: no WELCOME yet */
	/* protected by the fabric's lock */
	uint32_t users; /* copies under way */
	bool dropped;	/* the last of them frees it */
	bool asking;	/* wish has not been answered */
	uint64_t asked_ns;
	struct shm_message wish;
	uint64_t count; /* of uses */
	uint32_t loan_count;
	struct loan *loans[LEDGER_SLOTS]; /* by key */
};

/* --- links ------------------------------------------------------------------------------ */

static void loan_free(struct loan *loan)
{
	if (loan->map)
		memory_unmap(loan->map, loan->map_size);
	free(loan);
}

/* Its socket closes last: the lender takes that as the end of all use. */
static void link_free_locked(struct shm *shm, struct link *link)
{
	for (uint32_t i = 0; i < link->loan_count; i++)
		loan_free(link->loans[i]);
	ledger_free(link->ledger);
	shm_unwatch_locked(shm, link->fd);
	if (link->pid_fd >= 0)
		close(link->pid_fd);
	/* A child of ours may have it as well. */
	shutdown(link->fd, SHUT_RDWR);
	close(link->fd);
	free(link);
	shm->counters.connections--;
}

void borrower_drop_locked(struct shm_peer *peer)
{
	struct link *link = STEAL(peer->link);

	if (!link)
		return;
	shm_unwatch_locked(peer->shm, link->fd);
	link->dropped = true;
	if (link->users == 0)
		link_free_locked(peer->shm, link);
}

/*
 * Whether the kernel would let us copy from that process: no address of its first page is
 * mapped, so the answer is EFAULT where it would.
 */
static bool may_copy(pid_t pid)
{
	char byte;
	struct iovec near = {&byte, 1}, far = {(void *)8, 1};

	return pid > 0 && (process_vm_readv(pid, &near, 1, &far, 1, 0) >= 0 || errno == EFAULT);
}

enum mc_status borrower_connect_locked(struct shm_peer *peer)
{
	struct shm_message hello = {.kind = SHM_HELLO};
	struct shm *shm = peer->shm;
	CLEANUP_FD int fd = shm_socket_connect(peer->name);
	CLEANUP_FD int pid_fd = -1;
	pid_t pid;

	if (fd < 0 || !shm_socket_trusted(fd, &pid))
		return MC_NOT_SUPPORTED;
	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid_fd < 0 || !may_copy(pid)) {
		log_info("mc-shm: the kernel lets nobody copy from that process pid=%d errno=%d",
			 pid, errno);
		return MC_NOT_SUPPORTED;
	}
	CLEANUP_FREE struct link *link = calloc(1, sizeof(*link));
	if (!link)
		return MC_NO_MEMORY;
	if (shm_message_send(fd, &hello, -1))
		return MC_NOT_SUPPORTED;
	link->id = shm_watch_locked(shm, fd);
	if (link->id == 0)
		return MC_NO_MEMORY;
	link->fd = STEAL_FD(fd);
	link->pid_fd = STEAL_FD(pid_fd);
	link->pid = pid;
	link->asked_ns = clock_ns();
	shm->counters.connections++;
	shm->counters.connects++;
	peer->link = STEAL(link);
	return MC_OK;
}

/*
 * Its end is open, and its process lives, for a child of that may keep the socket.  What it
 * says meanwhile is for the thread.
 */
static bool is_alive(const struct link *link)
{
	struct pollfd ends[] = {
		{.fd = link->fd, .events = POLLRDHUP},
		{.fd = link->pid_fd, .events = POLLIN},
	};

	return poll(ends, ARRAY_SIZE(ends), 0) <= 0;
}

/*
 * Let the thread find that it is over.  The lender is not to see that yet: it would take it
 * for the end of all use, while others may be copying.
 */
static void give_up(const struct link *link)
{
	shutdown(link->fd, SHUT_RD);
}

/* --- loans ------------------------------------------------------------------------------- */

/* The first loan whose key is not below. */
static uint32_t position(const struct link *link, uint64_t key)
{
	uint32_t low = 0, high = link->loan_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (link->loans[middle]->key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct loan *find_loan(const struct link *link, uint64_t key)
{
	uint32_t at = position(link, key);

	return at < link->loan_count && link->loans[at]->key == key ? link->loans[at] : NULL;
}

/* Unmap it and give it back, or let its last user do that. */
static void return_loan(struct link *link, struct loan *loan)
{
	uint32_t at = position(link, loan->key), slot = loan->slot;

	loan->recalled = true;
	if (loan->users > 0)
		return;
	MUST(link->loans[at] == loan);
	link->loan_count--;
	memmove(link->loans + at, link->loans + at + 1,
		(link->loan_count - at) * sizeof(struct loan *));
	loan_free(loan);
	ledger_return(link->ledger, slot);
}

static void make_room(struct link *link)
{
	struct loan *oldest = NULL;

	if (link->loan_count < LEDGER_SLOTS)
		return;
	for (uint32_t i = 0; i < link->loan_count; i++) {
		struct loan *loan = link->loans[i];
		if (loan->users == 0 && (!oldest || loan->used < oldest->used))
			oldest = loan;
	}
	if (oldest)
		return_loan(link, oldest);
}

static void ask(struct link *link, const struct fabric_slice *slice)
{
	if (link->asking)
		return;
	make_room(link);
	link->wish = (struct shm_message){
		.kind = SHM_BORROW,
		.key = slice->buffer->key,
		.address = slice->remote,
		.length = slice->length,
	};
	link->asking = true;
	link->asked_ns = clock_ns();
	if (shm_message_send(link->fd, &link->wish, -1))
		give_up(link);
}

/* --- slices --------------------------------------------------------------------------------- */

static enum mc_status wait_locked(struct shm_peer *peer, struct fabric_slice *slice)
{
	/* The thread counts the time from now on. */
	if (peer->shm->waiting++ == 0)
		mover_kick_locked(peer->shm);
	slice->word = SHM_WAITING;
	slice_queue_add(&peer->waiting, slice);
	return MC_AGAIN;
}

static bool covers(const struct loan *loan, const struct fabric_slice *slice)
{
	uint32_t need = slice->opcode == FABRIC_READ ? FABRIC_REMOTE_READ : FABRIC_REMOTE_WRITE;

	return (loan->access & need) && slice->remote >= loan->address &&
	       slice->remote - loan->address <= loan->length &&
	       slice->length <= loan->length - (slice->remote - loan->address);
}

static enum mc_status check_slice(const struct fabric_slice *slice)
{
	if (slice->word == SHM_CANCELLED)
		return MC_CANCELLED;
	if (slice->deadline_ns && clock_ns() >= slice->deadline_ns)
		return MC_TIMEOUT;
	return slice->buffer && slice->buffer->key && slice->remote <= UINT64_MAX - slice->length
		       ? MC_OK
		       : MC_ACCESS;
}

enum mc_status borrower_enter_locked(struct shm_peer *peer, struct fabric_slice *slice,
				     struct passage *passage)
{
	enum mc_status status = check_slice(slice);

	if (status)
		return status;
	if (!peer->link && borrower_connect_locked(peer))
		return MC_UNREACHABLE;
	struct link *link = peer->link;
	bool alive = is_alive(link);
	if (!alive)
		give_up(link);
	if (!alive || !link->ledger)
		return wait_locked(peer, slice);
	struct loan *loan = find_loan(link, slice->buffer->key);
	if (!loan) {
		ask(link, slice);
		return wait_locked(peer, slice);
	}
	if (!covers(loan, slice))
		return MC_ACCESS;
	if (!ledger_enter(link->ledger, loan->slot)) {
		return_loan(link, loan);
		return MC_ACCESS;
	}
	loan->users++;
	loan->used = ++link->count;
	link->users++;
	*passage = (struct passage){link, loan};
	return MC_OK;
}

void borrower_leave_locked(struct shm *shm, const struct passage *passage)
{
	struct link *link = passage->link;
	struct loan *loan = passage->loan;

	ledger_leave(link->ledger, loan->slot);
	loan->users--;
	link->users--;
	if (link->dropped && link->users == 0)
		link_free_locked(shm, link);
	else if (!link->dropped && loan->recalled && loan->users == 0)
		return_loan(link, loan);
}

/* By the kernel; its process is there, and so its number is no other's. */
static enum mc_status copy_across(const struct link *link, const struct fabric_slice *slice)
{
	uint32_t done = 0;

	if (syscall(SYS_pidfd_send_signal, link->pid_fd, 0, NULL, 0) != 0 && errno == ESRCH)
		return MC_UNREACHABLE;
	while (done < slice->length) {
		struct iovec near = {(uint8_t *)slice->local + done, slice->length - done};
		struct iovec far = {(void *)(uintptr_t)(slice->remote + done),
				    slice->length - done};
		ssize_t moved = slice->opcode == FABRIC_READ
					? process_vm_readv(link->pid, &near, 1, &far, 1, 0)
					: process_vm_writev(link->pid, &near, 1, &far, 1, 0);
		if (moved <= 0)
			return moved < 0 && (errno == ESRCH || errno == EPERM) ? MC_UNREACHABLE
									       : MC_IO;
		done += (uint32_t)moved;
	}
	return MC_OK;
}

enum mc_status borrower_copy(const struct passage *passage, const struct fabric_slice *slice)
{
	const struct loan *loan = passage->loan;

	if (!loan->map)
		return copy_across(passage->link, slice);
	uint8_t *far = loan->bytes + (slice->remote - loan->address);
	if (slice->opcode == FABRIC_READ)
		memcpy(slice->local, far, slice->length);
	else
		memcpy(far, slice->local, slice->length);
	return MC_OK;
}

/* --- what the lender says ---------------------------------------------------------------- */

/* Those that waited look again. */
static void resume_locked(struct shm_peer *peer)
{
	struct shm *shm = peer->shm;

	for (struct fabric_slice *slice = peer->waiting.first; slice; slice = slice->next) {
		if (slice->word == SHM_WAITING)
			slice->word = SHM_READY;
		shm->waiting--;
	}
	slice_queue_append(&shm->ready, &peer->waiting);
	mover_round_locked(shm);
}

/* End those that `ends` says; the others go on waiting. */
static void end_waiting(struct shm_peer *peer, struct ended *ended, const void *context,
			enum mc_status (*ends)(const struct fabric_slice *slice,
					       const void *context))
{
	struct slice_queue left;
	struct fabric_slice *slice = peer->waiting.first, *next;

	slice_queue_init(&left);
	for (; slice; slice = next) {
		next = slice->next;
		enum mc_status status = ends(slice, context);
		if (status) {
			peer->shm->waiting--;
			ended_add_locked(ended, slice, status);
		} else {
			slice_queue_add(&left, slice);
		}
	}
	slice_queue_init(&peer->waiting);
	slice_queue_append(&peer->waiting, &left);
}

struct refusal {
	const struct shm_message *wish;
	enum mc_status status;
};

static enum mc_status is_refused(const struct fabric_slice *slice, const void *context)
{
	const struct refusal *refusal = context;
	const struct shm_message *wish = refusal->wish;

	return slice->buffer->key == wish->key && slice->remote == wish->address &&
			       slice->length == wish->length
		       ? refusal->status
		       : MC_OK;
}

static enum mc_status loan_new(struct link *link, const struct shm_message *lent, int fd)
{
	CLEANUP_FREE struct loan *loan = calloc(1, sizeof(*loan));
	uint32_t at = position(link, lent->key);

	if (!loan)
		return MC_NO_MEMORY;
	loan->key = lent->key;
	loan->slot = lent->slot;
	loan->address = lent->address;
	loan->length = lent->length;
	loan->access = lent->access;
	if (lent->mapped) {
		bool writable = (lent->access & FABRIC_REMOTE_WRITE) != 0;
		enum mc_status status = memory_map(fd, lent->offset, lent->length, writable,
						   &loan->map, &loan->map_size, &loan->bytes);
		if (status)
			return status;
	}
	memmove(link->loans + at + 1, link->loans + at,
		(link->loan_count - at) * sizeof(struct loan *));
	link->loans[at] = STEAL(loan);
	link->loan_count++;
	return MC_OK;
}

static enum mc_status lent(struct shm_peer *peer, const struct shm_message *answer, int fd,
			   struct ended *ended)
{
	struct link *link = peer->link;
	struct refusal refusal = {&link->wish, answer->status};

	if (!link->asking || answer->key != link->wish.key || answer->mapped != (fd >= 0))
		return MC_PROTOCOL;
	link->asking = false;
	if (!refusal.status) {
		refusal.status =
			link->loan_count < LEDGER_SLOTS ? loan_new(link, answer, fd) : MC_NO_SPACE;
		if (refusal.status == MC_PROTOCOL)
			return MC_PROTOCOL;
		if (refusal.status)
			ledger_return(link->ledger, answer->slot);
	}
	if (refusal.status)
		end_waiting(peer, ended, &refusal, is_refused);
	resume_locked(peer);
	return MC_OK;
}

/* From the end, since those that go make way. */
static void return_withdrawn(struct link *link)
{
	for (uint32_t i = link->loan_count; i > 0; i--) {
		if (ledger_withdrawn(link->ledger, link->loans[i - 1]->slot))
			return_loan(link, link->loans[i - 1]);
	}
}

static enum mc_status welcomed(struct shm_peer *peer, const struct shm_message *message, int fd)
{
	if (peer->link->ledger || fd < 0)
		return MC_PROTOCOL;
	enum mc_status status =
		message->status ? message->status : ledger_map(fd, &peer->link->ledger);
	if (!status)
		resume_locked(peer);
	return status;
}

static enum mc_status handle(struct shm_peer *peer, const struct shm_message *message, int fd,
			     struct ended *ended)
{
	if (message->kind == SHM_WELCOME)
		return welcomed(peer, message, fd);
	if (!peer->link->ledger)
		return MC_PROTOCOL;
	if (message->kind == SHM_LEND)
		return lent(peer, message, fd, ended);
	if (message->kind != SHM_RECALL || fd >= 0)
		return MC_PROTOCOL;
	return_withdrawn(peer->link);
	return MC_OK;
}

static enum mc_status end_all(const struct fabric_slice *slice, const void *context)
{
	const enum mc_status *status = context;

	return slice->word == SHM_CANCELLED ? MC_CANCELLED : *status;
}

bool borrower_ready_locked(struct shm_peer *peer, uint64_t id, struct ended *ended)
{
	struct shm_message message;
	enum mc_status status;

	if (!peer->link || peer->link->id != id)
		return false;
	do {
		int fd = -1;
		status = shm_message_receive(peer->link->fd, &message, &fd);
		if (!status)
			status = handle(peer, &message, fd, ended);
		if (fd >= 0)
			close(fd);
	} while (!status);
	if (status == MC_AGAIN)
		return true;
	if (status != MC_UNREACHABLE)
		log_warn("mc-shm: dropped a lender pid=%d status=\"%s\"", peer->link->pid,
			 mc_status_text(status));
	borrower_drop_locked(peer);
	end_waiting(peer, ended, &(enum mc_status){MC_UNREACHABLE}, end_all);
	return true;
}

static enum mc_status is_over(const struct fabric_slice *slice, const void *context)
{
	const uint64_t *now_ns = context;

	if (slice->word == SHM_CANCELLED)
		return MC_CANCELLED;
	return slice->deadline_ns && slice->deadline_ns <= *now_ns ? MC_TIMEOUT : MC_OK;
}

void borrower_sweep_locked(struct shm_peer *peer, uint64_t now_ns, struct ended *ended)
{
	if (!peer->waiting.first)
		return;
	end_waiting(peer, ended, &now_ns, is_over);
	if (peer->link &&
	    (now_ns - peer->link->asked_ns > peer->shm->answer_ns || !is_alive(peer->link)))
		give_up(peer->link);
}
