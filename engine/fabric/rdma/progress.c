/*
 * Progress by those who wait.  One thread at a time leads: it polls every
 * completion queue itself, then sleeps on all channels at once.  The others wait
 * for it.  And the telling of slices that they have ended, wherever they did.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/internal.h"

#define POLLS_A_CLOCK 32
#define SPIN_NS_MIN   25000u
#define SPIN_NS_MAX   400000u

/* --- slices that have ended -------------------------------------------------- */

void rdma_ended_add(struct rdma_ended *ended, struct rdma_peer *peer, struct fabric_slice *slice,
		    enum mc_status status)
{
	slice->state = peer;
	slice->word = (uint64_t)(int64_t)status;
	slice->next = NULL;
	if (ended->last)
		ended->last->next = slice;
	else
		ended->first = slice;
	ended->last = slice;
}

void peer_drop(struct rdma_fabric *fabric, struct rdma_peer *peer, uint32_t users)
{
	/* The peer may be freed as soon as it has no users. */
	if (atomic_fetch_sub(&peer->users, users) != users || atomic_load(&fabric->leaving) == 0)
		return;
	pthread_mutex_lock(&fabric->lock);
	pthread_cond_broadcast(&fabric->gone);
	pthread_mutex_unlock(&fabric->lock);
}

static void note(struct progress *progress)
{
	uint64_t one = 1;

	atomic_fetch_add(&progress->generation, 1);
	if (atomic_load(&progress->sleeping) && write(progress->wake_fd, &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
	if (atomic_load(&progress->followers) == 0)
		return;
	pthread_mutex_lock(&progress->lock);
	pthread_cond_broadcast(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
}

static void count_one(struct rdma_fabric *fabric, const struct fabric_slice *slice,
		      enum mc_status status)
{
	if (status)
		atomic_fetch_add_explicit(&fabric->slices_failed, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(slice->opcode == FABRIC_READ ? &fabric->bytes_read
								       : &fabric->bytes_written,
					  slice->length, memory_order_relaxed);
	atomic_fetch_add_explicit(&fabric->slices_done, 1, memory_order_relaxed);
	atomic_fetch_sub(&fabric->slices, 1);
}

void rdma_ended_tell(struct rdma_fabric *fabric, struct rdma_ended *ended)
{
	struct fabric_slice *slice = ended->first;

	if (!slice)
		return;
	*ended = (struct rdma_ended){NULL, NULL};
	while (slice) {
		struct fabric_slice *next = slice->next;
		struct rdma_peer *peer = slice->state;
		enum mc_status status = (enum mc_status)(int64_t)slice->word;
		count_one(fabric, slice, status);
		slice->done(slice, status);
		peer_drop(fabric, peer, 1);
		slice = next;
	}
	note(&fabric->progress);
}

/* --- progress ------------------------------------------------------------------ */

enum mc_status progress_open(struct rdma_fabric *fabric)
{
	struct progress *progress = &fabric->progress;
	uint32_t count = 1;

	progress->spin_ns = SPIN_NS_MIN;
	pthread_mutex_init(&progress->lead, NULL);
	pthread_mutex_init(&progress->lock, NULL);
	clock_cond_init(&progress->changed);
	for (uint32_t i = 0; i < fabric->device_count; i++)
		count += fabric->devices[i]->completion_count;
	progress->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	progress->fds = calloc(count, sizeof(*progress->fds));
	if (progress->wake_fd < 0 || !progress->fds)
		return MC_NO_MEMORY;
	progress->fds[0] = (struct pollfd){.fd = progress->wake_fd, .events = POLLIN};
	struct pollfd *fd = progress->fds + 1;
	for (uint32_t i = 0; i < fabric->device_count; i++)
		for (uint32_t k = 0; k < fabric->devices[i]->completion_count; k++)
			*fd++ = (struct pollfd){
				.fd = fabric->devices[i]->completions[k].channel->fd,
				.events = POLLIN};
	return MC_OK;
}

void progress_close(struct rdma_fabric *fabric)
{
	struct progress *progress = &fabric->progress;

	if (progress->wake_fd >= 0)
		close(progress->wake_fd);
	free(progress->fds);
	pthread_cond_destroy(&progress->changed);
	pthread_mutex_destroy(&progress->lock);
	pthread_mutex_destroy(&progress->lead);
}

static uint32_t for_each_completion(struct rdma_fabric *fabric,
				    void (*visit)(struct completion *completion))
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < fabric->device_count; i++) {
		struct rdma_device *device = fabric->devices[i];
		for (uint32_t k = 0; k < device->completion_count; k++) {
			if (visit)
				visit(&device->completions[k]);
			else
				count += completion_reap(&device->completions[k]);
		}
	}
	return count;
}

static uint32_t reap_all(struct rdma_fabric *fabric)
{
	return for_each_completion(fabric, NULL);
}

/* Until a completion, or another thread ends slices, or the time is over. */
static void sleep_on_channels(struct rdma_fabric *fabric, uint64_t generation, uint64_t until_ns)
{
	struct progress *progress = &fabric->progress;
	uint32_t count = 1;
	uint64_t value;

	for (uint32_t i = 0; i < fabric->device_count; i++)
		count += fabric->devices[i]->completion_count;
	atomic_store(&progress->sleeping, true);
	for_each_completion(fabric, completion_arm);
	uint64_t now = clock_ns();
	if (reap_all(fabric) == 0 && atomic_load(&progress->generation) == generation &&
	    now < until_ns) {
		struct timespec left = {.tv_sec = (time_t)((until_ns - now) / 1000000000u),
					.tv_nsec = (long)((until_ns - now) % 1000000000u)};
		(void)ppoll(progress->fds, count, &left, NULL);
	}
	atomic_store(&progress->sleeping, false);
	for_each_completion(fabric, completion_took_over);
	if (read(progress->wake_fd, &value, sizeof(value)) < 0)
		MUST(errno == EAGAIN || errno == EINTR);
}

static bool wanted(struct rdma_fabric *fabric, uint64_t generation)
{
	return atomic_load(&fabric->progress.generation) == generation &&
	       atomic_load(&fabric->slices) > 0;
}

/* The clock may cost more than many looks at a queue: it is not asked each time. */
static bool poll_often(struct rdma_fabric *fabric, uint64_t generation)
{
	for (int i = 0; i < POLLS_A_CLOCK; i++)
		if (reap_all(fabric) > 0 || !wanted(fabric, generation))
			return true;
	return false;
}

/*
 * What came soon after it was slept for was worth polling for; what took long was not,
 * which one slow transfer among many fast ones does not prove.
 */
static void adapt(struct progress *progress, uint64_t took_ns)
{
	uint64_t spin_ns = progress->spin_ns;

	spin_ns = took_ns < SPIN_NS_MAX ? spin_ns * 2 : spin_ns - spin_ns / 16;
	progress->spin_ns = spin_ns < SPIN_NS_MIN   ? SPIN_NS_MIN
			    : spin_ns > SPIN_NS_MAX ? SPIN_NS_MAX
						    : spin_ns;
}

static void lead(struct rdma_fabric *fabric, uint64_t generation, uint64_t timeout_ns)
{
	struct progress *progress = &fabric->progress;
	uint64_t began_ns = 0;
	bool slept = false;

	while (wanted(fabric, generation)) {
		if (poll_often(fabric, generation))
			continue;
		uint64_t now = clock_ns();
		if (began_ns == 0)
			began_ns = now;
		if (now - began_ns >= timeout_ns)
			return;
		if (now - began_ns < progress->spin_ns)
			continue;
		slept = true;
		sleep_on_channels(fabric, generation, clock_after(began_ns, timeout_ns));
	}
	if (slept)
		adapt(progress, clock_ns() - began_ns);
}

static void follow(struct progress *progress, uint64_t generation, uint64_t timeout_ns)
{
	uint64_t until_ns = clock_after(clock_ns(), timeout_ns);

	atomic_fetch_add(&progress->followers, 1);
	pthread_mutex_lock(&progress->lock);
	if (atomic_load(&progress->leading) && atomic_load(&progress->generation) == generation)
		(void)clock_cond_wait(&progress->changed, &progress->lock, until_ns);
	pthread_mutex_unlock(&progress->lock);
	atomic_fetch_sub(&progress->followers, 1);
}

void progress_make(struct rdma_fabric *fabric, uint64_t timeout_ns)
{
	struct progress *progress = &fabric->progress;
	uint64_t generation = atomic_load(&progress->generation);

	if (pthread_mutex_trylock(&progress->lead)) {
		if (timeout_ns > 0)
			follow(progress, generation, timeout_ns);
		return;
	}
	atomic_store(&progress->leading, true);
	if (reap_all(fabric) == 0 && timeout_ns > 0)
		lead(fabric, generation, timeout_ns);
	atomic_store(&progress->leading, false);
	pthread_mutex_unlock(&progress->lead);
	/* Let one of those who waited lead. */
	if (atomic_load(&progress->followers) == 0)
		return;
	pthread_mutex_lock(&progress->lock);
	pthread_cond_broadcast(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
}
