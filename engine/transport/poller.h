/*
 * engine/transport/poller.h -- one thread that waits for many descriptors
 *
 * Each descriptor has a `watch`, embedded in what it belongs to; its ready()
 * is called with the epoll events.  After each batch of events turn() is
 * called, with `alarmed` true when the alarm's time has come.  Level
 * triggered: what was not read is reported again.
 *
 * Ownership   The caller owns descriptors and watches.  A watch may be freed
 *             from turn(), not from ready(): later events of the same batch
 *             may still name it (they are dropped once its fd is -1).
 * Threads     poller_wake: any thread.  poller_alarm: any, one at a time.
 *             poller_watch, poller_forget: any thread, the owner of the watch
 *             sees to it that they do not meet.
 */
#ifndef ENGINE_TRANSPORT_POLLER_H
#define ENGINE_TRANSPORT_POLLER_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
	void (*ready)(struct watch *watch, uint32_t events);
	int fd;		 /* -1: forgotten */
	uint32_t events; /* what is waited for now */
};

struct poller {
	/* fixed after start */
	int epoll_fd;
	pthread_t thread;
	pthread_mutex_t serving; /* held while events are served; who holds it serves instead */
	void (*turn)(void *context, bool alarmed);
	void *context;
	char name[16];
	struct watch wake;
	struct watch timer;
	/* atomic */
	atomic_bool stopping;
	atomic_uint_fast64_t alarm_ns; /* when it rings; 0: not set */
	/* owned by the thread */
	bool alarmed;
};

/* Start the thread.  name: at most 15 bytes. */
MC_MUST_CHECK enum mc_status poller_start(struct poller *poller, const char *name,
					  void (*turn)(void *context, bool alarmed), void *context);

/* End the thread, after one last turn(), and wait for it. */
void poller_stop(struct poller *poller);

/* Wait for these epoll events from now on; the first call adds the descriptor. */
MC_MUST_CHECK enum mc_status poller_watch(struct poller *poller, struct watch *watch,
					  uint32_t events);

/* Wait for it no longer, and set its fd to -1; the caller closes the descriptor it returns. */
int poller_forget(struct poller *poller, struct watch *watch);

/* Have turn() called soon. */
void poller_wake(struct poller *poller);

/* Have turn(alarmed) called at this time (CLOCK_MONOTONIC), unless it will be before. */
void poller_alarm(struct poller *poller, uint64_t at_ns);

#endif
