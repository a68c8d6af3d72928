#include "engine/fabric/shm/mover.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/shm/borrower.h"
#include "engine/fabric/shm/lender.h"

#define TURN_SLICES 32u	       /* copied in one call of progress */
#define TURN_BYTES  (4u << 20) /* not begun beyond */
#define EVENTS	    16
#define WAIT_MAX_NS 3600000000000ull

/* --- slices ------------------------------------------------------------------------ */

void slice_queue_init(struct slice_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

void slice_queue_add(struct slice_queue *queue, struct fabric_slice *slice)
{
	slice->next = NULL;
	*queue->last = slice;
	queue->last = &slice->next;
}

void slice_queue_append(struct slice_queue *queue, struct slice_queue *other)
{
	if (!other->first)
		return;
	*queue->last = other->first;
	queue->last = other->last;
	slice_queue_init(other);
}

static struct fabric_slice *queue_take(struct slice_queue *queue)
{
	struct fabric_slice *slice = queue->first;

	queue->first = slice->next;
	if (!queue->first)
		queue->last = &queue->first;
	return slice;
}

/* It is ours no more, but for its done(). */
static void account_locked(struct shm *shm, const struct fabric_slice *slice, enum mc_status status)
{
	shm->counters.slices--;
	if (status)
		shm->counters.slices_failed++;
	else
		shm->counters.slices_done++;
	if (!status && slice->opcode == FABRIC_READ)
		shm->counters.bytes_read += slice->length;
	else if (!status)
		shm->counters.bytes_written += slice->length;
}

/* From here on it can't be cancelled, and its peer stays. */
static void hold_locked(struct shm_peer *peer, struct fabric_slice *slice)
{
	slice->state = NULL;
	peer->busy++;
	peer->shm->busy++;
}

static void release_locked(struct shm_peer *peer, uint32_t count)
{
	MUST(peer->busy >= count);
	peer->busy -= count;
	peer->shm->busy -= count;
	mover_round_locked(peer->shm);
}

void ended_init(struct ended *ended, struct shm_peer *peer)
{
	*ended = (struct ended){.peer = peer};
	slice_queue_init(&ended->slices);
}

void ended_add_locked(struct ended *ended, struct fabric_slice *slice, enum mc_status status)
{
	hold_locked(ended->peer, slice);
	account_locked(ended->peer->shm, slice, status);
	slice->word = (uint64_t)(int64_t)status;
	slice_queue_add(&ended->slices, slice);
	ended->count++;
}

void ended_tell(struct ended *ended)
{
	struct fabric_slice *slice = ended->slices.first;

	if (!slice)
		return;
	while (slice) {
		struct fabric_slice *next = slice->next;
		slice->done(slice, (enum mc_status)(int64_t)slice->word);
		slice = next;
	}
	WITH_LOCK(&ended->peer->shm->lock);
	release_locked(ended->peer, ended->count);
}

/* --- copying ------------------------------------------------------------------------- */

/* One slice that is ready; the lock is held before and after.  Bytes that were copied. */
static uint32_t move_one(struct shm *shm)
{
	struct fabric_slice *slice = queue_take(&shm->ready);
	struct shm_peer *peer = slice->state;
	struct passage passage;
	uint32_t length = slice->length;
	enum mc_status status = borrower_enter_locked(peer, slice, &passage);
	bool entered = status == MC_OK;

	if (status == MC_AGAIN)
		return 0;
	hold_locked(peer, slice);
	if (entered) {
		pthread_mutex_unlock(&shm->lock);
		status = borrower_copy(&passage, slice);
		pthread_mutex_lock(&shm->lock);
		borrower_leave_locked(shm, &passage);
	}
	account_locked(shm, slice, status);
	pthread_mutex_unlock(&shm->lock);
	slice->done(slice, status);
	pthread_mutex_lock(&shm->lock);
	release_locked(peer, 1);
	return entered ? length : 0;
}

/* Some of what is ready.  False: nothing was. */
static bool move_some(struct shm *shm)
{
	uint64_t bytes = 0;
	uint32_t count = 0;

	for (; shm->ready.first && count < TURN_SLICES && bytes < TURN_BYTES; count++)
		bytes += move_one(shm);
	return count > 0;
}

void mover_wait_locked(struct shm *shm, uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + (timeout_ns < WAIT_MAX_NS ? timeout_ns : WAIT_MAX_NS);
	uint64_t round = shm->rounds;

	while (shm->rounds == round) {
		if (!clock_cond_wait(&shm->round, &shm->lock, end))
			return;
	}
}

void mover_progress(struct fabric *fabric, uint64_t timeout_ns)
{
	struct shm *shm = container_of(fabric, struct shm, fabric);

	WITH_LOCK(&shm->lock);
	shm->callers++;
	shm->calls++;
	if (!move_some(shm) && timeout_ns > 0 && (shm->counters.slices > 0 || shm->busy > 0)) {
		shm->idlers++;
		mover_wait_locked(shm, timeout_ns);
		shm->idlers--;
		(void)move_some(shm);
	}
	shm->callers--;
}

/* --- the thread ------------------------------------------------------------------------ */

void mover_round_locked(struct shm *shm)
{
	shm->rounds++;
	pthread_cond_broadcast(&shm->round);
}

void mover_kick_locked(struct shm *shm)
{
	uint64_t one = 1;

	if (!shm->asleep)
		return;
	shm->asleep = false;
	if (write(shm->kick_fd, &one, sizeof(one)) < 0)
		log_error("mc-shm: can't wake a thread errno=%d", errno);
}

static void tell_unlocked(struct shm *shm, struct ended *ended)
{
	if (ended->count == 0)
		return;
	pthread_mutex_unlock(&shm->lock);
	ended_tell(ended);
	pthread_mutex_lock(&shm->lock);
}

/* Peers may go while their slices are told: then look from the start. */
static void sweep(struct shm *shm)
{
	struct shm_peer *peer = shm->peers;
	struct ended ended;

	shm->sweep = false;
	while (peer && shm->waiting > 0) {
		struct shm_peer *next = peer->next;
		ended_init(&ended, peer);
		borrower_sweep_locked(peer, clock_ns(), &ended);
		tell_unlocked(shm, &ended);
		peer = ended.count > 0 ? shm->peers : next;
	}
}

static void link_event(struct shm *shm, uint64_t id)
{
	for (struct shm_peer *peer = shm->peers; peer; peer = peer->next) {
		struct ended ended;
		ended_init(&ended, peer);
		if (borrower_ready_locked(peer, id, &ended)) {
			tell_unlocked(shm, &ended);
			return;
		}
	}
}

static void event(struct shm *shm, uint64_t id)
{
	uint64_t word;

	if (id == SHM_ID_KICK) {
		if (read(shm->kick_fd, &word, sizeof(word)) < 0 && errno != EAGAIN)
			log_error("mc-shm: can't read a counter errno=%d", errno);
	} else if (id == SHM_ID_LISTEN) {
		lender_accept_locked(shm);
	} else if (!lender_ready_locked(shm, id)) {
		link_event(shm, id);
	}
}

static void watch(const struct shm *shm, int fd, uint64_t id)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = id};

	if (epoll_ctl(shm->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		log_error("mc-shm: can't watch a descriptor errno=%d", errno);
}

/* Do what is to be done.  How long to wait for more, in ms. */
static int attend(struct shm *shm, uint64_t *calls)
{
	bool others = shm->callers > shm->idlers || shm->calls != *calls;

	*calls = shm->calls;
	if (shm->leaving > 0)
		lender_look_locked(shm);
	if (shm->deaf) {
		watch(shm, shm->listen_fd, SHM_ID_LISTEN);
		lender_accept_locked(shm);
	}
	if (shm->sweep || shm->waiting > 0)
		sweep(shm);
	if (others)
		return MOVER_NAP_MS;
	if (move_some(shm))
		return 0;
	return shm->waiting > 0 || shm->leaving > 0 || shm->deaf ? MOVER_TICK_MS : -1;
}

static void *run(void *context)
{
	struct shm *shm = context;
	struct epoll_event events[EVENTS];
	uint64_t calls = 0;

	pthread_setname_np(pthread_self(), "mc-shm");
	WITH_LOCK(&shm->lock);
	while (!shm->stopping) {
		int timeout_ms = attend(shm, &calls);
		/* Whoever said so while a done() was called did not kick. */
		if (shm->stopping)
			break;
		shm->asleep = timeout_ms < 0 || timeout_ms == MOVER_TICK_MS;
		pthread_mutex_unlock(&shm->lock);
		int count = epoll_wait(shm->epoll_fd, events, EVENTS, timeout_ms);
		pthread_mutex_lock(&shm->lock);
		shm->asleep = false;
		for (int i = 0; i < count; i++)
			event(shm, events[i].data.u64);
	}
	return NULL;
}

enum mc_status mover_start(struct shm *shm)
{
	pthread_mutex_init(&shm->lock, NULL);
	clock_cond_init(&shm->round);
	slice_queue_init(&shm->ready);
	watch(shm, shm->kick_fd, SHM_ID_KICK);
	watch(shm, shm->listen_fd, SHM_ID_LISTEN);
	if (thread_start(&shm->thread, run, shm) == 0)
		return MC_OK;
	mover_fini(shm);
	return MC_NO_MEMORY;
}

void mover_stop(struct shm *shm)
{
	pthread_mutex_lock(&shm->lock);
	shm->stopping = true;
	mover_kick_locked(shm);
	pthread_mutex_unlock(&shm->lock);
	pthread_join(shm->thread, NULL);
}

void mover_fini(struct shm *shm)
{
	pthread_cond_destroy(&shm->round);
	pthread_mutex_destroy(&shm->lock);
}
