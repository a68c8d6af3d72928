#include "engine/base/cpu_latency.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

#define IDLE_DRIVER "/sys/devices/system/cpu/cpuidle/current_driver"
#define NO_LIMIT    (-1) /* to the kernel: what it is without us */

struct cpu_latency {
	/* fixed after init */
	uint32_t us;
	int fd;
	pthread_t thread;

	/* atomic */
	_Atomic uint64_t busy_ns; /* the last sign of work, to a tick */
	_Atomic bool held;	  /* written under lock */

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending;
};

/* A tick old at most, and read without a look at the hardware. */
static uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool cpu_latency_read(const char *text, uint32_t *us)
{
	char *end;

	if (strcmp(text, "auto") == 0 || strcmp(text, "any") == 0) {
		*us = text[1] == 'u' ? cpu_latency_auto() : CPU_LATENCY_ANY;
		return true;
	}
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value > CPU_LATENCY_MAX_US)
		return false;
	*us = (uint32_t)value;
	return true;
}

uint32_t cpu_latency_auto(void)
{
	char driver[32] = "";
	FILE *file = fopen(IDLE_DRIVER, "re");

	if (file) {
		if (!fgets(driver, sizeof(driver), file))
			driver[0] = '\0';
		fclose(file);
	}
	return strcmp(driver, "haltpoll\n") == 0 ? 0 : CPU_LATENCY_ANY;
}

static void ask_locked(struct cpu_latency *latency, bool hold)
{
	int32_t limit = hold ? (int32_t)latency->us : NO_LIMIT;

	atomic_store_explicit(&latency->held, hold, memory_order_relaxed);
	if (write(latency->fd, &limit, sizeof(limit)) != (ssize_t)sizeof(limit))
		log_debug("cpu latency: the kernel refused a limit us=%d error=\"%s\"", limit,
			  strerror(errno));
}

/* Let the machine sleep when there has been no sign of work for a while. */
static void *watch_thread(void *context)
{
	struct cpu_latency *latency = context;

	pthread_setname_np(pthread_self(), "mc-cpu-latency");
	WITH_LOCK(&latency->lock);
	while (!latency->ending) {
		uint64_t until_ns = atomic_load_explicit(&latency->busy_ns, memory_order_relaxed) +
				    CPU_LATENCY_HOLD_MS * 1000000ull;

		if (!latency->held)
			pthread_cond_wait(&latency->wake, &latency->lock);
		else if (coarse_ns() < until_ns)
			(void)clock_cond_wait(&latency->wake, &latency->lock, until_ns);
		else
			ask_locked(latency, false);
	}
	if (latency->held)
		ask_locked(latency, false);
	return NULL;
}

enum mc_status cpu_latency_open(const char *device, uint32_t us, struct cpu_latency **latency)
{
	CLEANUP_FD int fd = open(device, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == EACCES || errno == EPERM ? MC_PERMISSION : MC_NOT_SUPPORTED;
	struct cpu_latency *l = calloc(1, sizeof(*l));
	if (!l)
		return MC_NO_MEMORY;
	l->us = us;
	l->fd = fd;
	pthread_mutex_init(&l->lock, NULL);
	clock_cond_init(&l->wake);
	if (thread_start(&l->thread, watch_thread, l) != 0) {
		pthread_cond_destroy(&l->wake);
		pthread_mutex_destroy(&l->lock);
		free(l);
		return MC_NO_MEMORY;
	}
	(void)STEAL_FD(fd);
	*latency = l;
	return MC_OK;
}

struct cpu_latency *cpu_latency_begin(const char *text, char *why, size_t size)
{
	bool automatic = text && strcmp(text, "auto") == 0;
	struct cpu_latency *latency = NULL;
	uint32_t us;

	MUST(cpu_latency_read(text ? text : "any", &us));
	if (us == CPU_LATENCY_ANY) {
		snprintf(why, size, "off: %s",
			 automatic ? "idle processors stay with this machine (not haltpoll)"
				   : "by option");
		return NULL;
	}
	enum mc_status status = cpu_latency_open(CPU_LATENCY_DEVICE, us, &latency);
	if (status)
		snprintf(why, size, "off: %s: %s", CPU_LATENCY_DEVICE, mc_status_text(status));
	else
		snprintf(why, size, "on: %u us while requests come", us);
	if (status && !automatic)
		log_warn("idle processors are not kept ready device=%s reason=\"%s\"",
			 CPU_LATENCY_DEVICE, mc_status_text(status));
	return latency;
}

void cpu_latency_close(struct cpu_latency *latency)
{
	if (!latency)
		return;
	pthread_mutex_lock(&latency->lock);
	latency->ending = true;
	pthread_cond_signal(&latency->wake);
	pthread_mutex_unlock(&latency->lock);
	pthread_join(latency->thread, NULL);
	pthread_cond_destroy(&latency->wake);
	pthread_mutex_destroy(&latency->lock);
	close(latency->fd);
	free(latency);
}

static void hold(struct cpu_latency *latency)
{
	WITH_LOCK(&latency->lock);
	if (latency->held || latency->ending)
		return;
	ask_locked(latency, true);
	pthread_cond_signal(&latency->wake);
}

void cpu_latency_busy(struct cpu_latency *latency)
{
	if (!latency)
		return;
	uint64_t now_ns = coarse_ns();
	/* Stored once a tick: all request threads read it. */
	if (atomic_load_explicit(&latency->busy_ns, memory_order_relaxed) != now_ns)
		atomic_store_explicit(&latency->busy_ns, now_ns, memory_order_relaxed);
	if (!atomic_load_explicit(&latency->held, memory_order_relaxed))
		hold(latency);
}
