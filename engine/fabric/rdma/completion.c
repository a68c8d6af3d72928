/*
 * A completion queue, its channel and its thread.  The thread polls while work
 * is in flight and sleeps on the channel when there is none.  It stands back
 * while somebody makes progress (progress.c), and for a while after, since who
 * waited once is about to wait again: then no completion wakes two threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/fabric/rdma/internal.h"

#define REAP_MAX      64
#define STAND_BACK_MS 20
#define STAND_BACK_NS 100000000ull /* without a leader, before the thread is itself again */

static bool stopping(const struct completion *completion)
{
	return atomic_load(&completion->device->fabric->control.stopping);
}

uint32_t completion_reap(struct completion *completion)
{
	struct rdma_device *device = completion->device;
	struct ibv_wc wcs[REAP_MAX];
	struct rdma_ended ended = {NULL, NULL};
	int count = 0;

	/* Somebody else takes them. */
	if (pthread_mutex_trylock(&completion->poll_lock))
		return 0;
	if (completion->cq)
		count = device->verbs->poll_cq(completion->cq, REAP_MAX, wcs);
	if (count > 0) {
		pthread_mutex_lock(&device->lock);
		for (int i = 0; i < count; i++)
			work_retire(completion, &wcs[i], &ended);
		pthread_mutex_unlock(&device->lock);
	}
	pthread_mutex_unlock(&completion->poll_lock);
	rdma_ended_tell(device->fabric, &ended);
	return count > 0 ? (uint32_t)count : 0;
}

void completion_arm(struct completion *completion)
{
	const struct verbs *verbs = completion->device->verbs;

	pthread_mutex_lock(&completion->poll_lock);
	int error = completion->cq ? verbs->req_notify_cq(completion->cq) : 0;
	pthread_mutex_unlock(&completion->poll_lock);
	if (error)
		(void)verbs_failed(completion->device, "req_notify_cq", error);
}

void completion_quiet(struct completion *completion)
{
	const struct verbs *verbs = completion->device->verbs;
	struct ibv_cq *cq;
	void *owner;

	while (verbs->get_cq_event(completion->channel, &cq, &owner) == 0)
		verbs->ack_cq_events(cq, 1);
}

static void drain(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		MUST(errno == EAGAIN || errno == EINTR);
}

static void wait_until_woken(struct completion *completion, int timeout_ms)
{
	struct pollfd fd = {.fd = completion->wake_fd, .events = POLLIN};

	if (poll(&fd, 1, timeout_ms) > 0)
		drain(completion->wake_fd);
}

static void sleep_on_channel(struct completion *completion)
{
	struct pollfd fds[] = {{.fd = completion->channel->fd, .events = POLLIN},
			       {.fd = completion->wake_fd, .events = POLLIN}};

	atomic_store(&completion->asleep, true);
	completion_arm(completion);
	/* What came before it was armed does not ring. */
	if (completion_reap(completion) == 0 && !stopping(completion))
		(void)poll(fds, 2, -1);
	atomic_store(&completion->asleep, false);
	completion_quiet(completion);
	drain(completion->wake_fd);
}

void completion_wake(struct completion *completion)
{
	uint64_t one = 1;

	if (write(completion->wake_fd, &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
}

void completion_took_over(struct completion *completion)
{
	completion_quiet(completion);
	/* It waits for what rang before, and would sleep on. */
	if (atomic_load(&completion->asleep))
		completion_wake(completion);
}

static void *run(void *argument)
{
	struct completion *completion = argument;
	struct rdma_fabric *fabric = completion->device->fabric;
	uint64_t busy_ns = 0;
	uint64_t led_ns = 0;

	while (!stopping(completion)) {
		bool led = atomic_load(&fabric->progress.leading);
		if (led) {
			led_ns = clock_ns();
			wait_until_woken(completion, STAND_BACK_MS);
			continue;
		}
		uint64_t now = clock_ns();
		if (completion_reap(completion) > 0) {
			/* Nobody waited for these: they are ours from now on. */
			busy_ns = now;
			led_ns = 0;
		} else if (led_ns && now - led_ns < STAND_BACK_NS) {
			wait_until_woken(completion, STAND_BACK_MS);
		} else if (atomic_load(&fabric->slices) > 0 && now - busy_ns < RDMA_SPIN_NS) {
			sched_yield();
		} else {
			led_ns = 0;
			sleep_on_channel(completion);
			busy_ns = clock_ns();
		}
	}
	return NULL;
}

/* Threads run on the node of their device; where that is not known, anywhere. */
static void run_near(const struct completion *completion)
{
	const struct rdma_device *device = completion->device;
	int node = topology_node("/sys", "infiniband", device->name);
	char path[64], text[256];
	cpu_set_t set;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	FILE *in = node >= 0 ? fopen(path, "re") : NULL;
	if (!in)
		return;
	CPU_ZERO(&set);
	char *at = fgets(text, sizeof(text), in);
	fclose(in);
	while (at && *at >= '0' && *at <= '9') {
		unsigned long first = strtoul(at, &at, 10);
		unsigned long last = *at == '-' ? strtoul(at + 1, &at, 10) : first;
		for (; first <= last && first < CPU_SETSIZE; first++)
			CPU_SET(first, &set);
		at += *at == ',';
	}
	if (CPU_COUNT(&set) > 0)
		(void)pthread_setaffinity_np(completion->thread, sizeof(set), &set);
}

enum mc_status completion_open(struct completion *completion, struct rdma_device *device)
{
	const struct verbs *verbs = device->verbs;

	completion->device = device;
	completion->credits = (uint32_t)device->config.cqe_max;
	completion->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&completion->poll_lock, NULL);
	if (completion->wake_fd < 0)
		return mc_status_from_errno(errno);
	completion->channel = verbs->create_comp_channel(device->context);
	if (!completion->channel)
		return verbs_failed(device, "create_comp_channel", errno);
	int flags = fcntl(completion->channel->fd, F_GETFL);
	if (flags < 0 || fcntl(completion->channel->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return verbs_failed(device, "fcntl", errno);
	completion->cq = verbs->create_cq(device->context, (int)device->config.cqe_max, completion,
					  completion->channel, 0);
	return completion->cq ? MC_OK : verbs_failed(device, "create_cq", errno);
}

enum mc_status completion_start(struct completion *completion)
{
	char name[16];

	int error = thread_start(&completion->thread, run, completion);
	if (error)
		return mc_status_from_errno(error);
	completion->started = true;
	snprintf(name, sizeof(name), "mc-cq-%.9s", completion->device->name);
	pthread_setname_np(completion->thread, name);
	run_near(completion);
	return MC_OK;
}

void completion_stop(struct completion *completion)
{
	if (!completion->started)
		return;
	completion_wake(completion);
	pthread_join(completion->thread, NULL);
	completion->started = false;
}

void completion_close(struct completion *completion)
{
	const struct verbs *verbs = completion->device->verbs;
	int error = 0;

	if (completion->channel)
		completion_quiet(completion);
	if (completion->cq)
		error = verbs->destroy_cq(completion->cq);
	if (error)
		(void)verbs_failed(completion->device, "destroy_cq", error);
	if (completion->channel)
		error = verbs->destroy_comp_channel(completion->channel);
	if (error)
		(void)verbs_failed(completion->device, "destroy_comp_channel", error);
	if (completion->wake_fd >= 0)
		close(completion->wake_fd);
	pthread_mutex_destroy(&completion->poll_lock);
}
