/*
 * engine/loop/loop.h -- one thread that moves bytes of many sockets
 *
 * An operation (accept, receive, send) is handed over, and its done() is called
 * on the loop's thread when it has ended.  On io_uring, where the kernel lets us
 * have a ring, a turn of the loop is one system call however many operations
 * begin and end in it.  Where it doesn't (sysctl kernel.io_uring_disabled, a
 * seccomp filter, an old kernel), epoll and plain calls do the same.
 *
 *     loop_receive(loop, &op, fd, buffer, size, 0)
 *          └── op.done(&op, bytes)      0: the peer has closed; negative: -errno
 *
 * Operations are ended early by shutdown(2) of their socket.  Sockets are the
 * listening ones and those that this loop has accepted.
 *
 * Ownership   An operation and its memory are the caller's and must stay until
 *             done() has been called.  At close none may be left, but accepts.
 * Threads     loop_wake: any thread.  All else: the loop's own thread, that is
 *             in done(), woken() and turn().
 * Errors      loop_open as it says; of operations -errno in done().
 */
#ifndef ENGINE_LOOP_LOOP_H
#define ENGINE_LOOP_LOOP_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "engine/base/spin.h"

struct loop;

enum loop_kind { LOOP_NONE, LOOP_ACCEPT, LOOP_RECEIVE, LOOP_SEND };

struct loop_op {
	/* set by the caller, once */
	void (*done)(struct loop_op *op, int result);
	/* the loop's; LOOP_NONE: not under way */
	enum loop_kind kind;
	int fd;
	void *buffer;
	size_t size;
	struct msghdr *message;
	int flags;
	struct loop_op *next; /* of those that epoll has to try */
};

struct loop_config {
	const char *name;	      /* of the thread, at most 15 bytes */
	void (*start)(void *context); /* on the thread, first: begin operations */
	void (*woken)(void *context); /* after loop_wake() */
	void (*turn)(void *context);  /* after each turn */
	void *context;
	bool plain; /* don't try io_uring */
};

/* What serves a loop: one row a kernel interface. */
struct loop_ops {
	const char *name;
	/* On the thread.  MC_NOT_SUPPORTED: the kernel refuses it. */
	enum mc_status (*open)(struct loop *loop);
	void (*close)(struct loop *loop);
	void (*prepare)(int listen_fd);
	void (*begin)(struct loop *loop, struct loop_op *op);
	/* Complete what can be, waiting until alarm_ns (0: for ever). */
	void (*wait)(struct loop *loop, uint64_t alarm_ns);
};

struct loop {
	/* fixed after open */
	struct loop_config config;
	const struct loop_ops *ops;
	void *backend;
	pthread_t thread;
	int wake_fd;
	/* atomic */
	atomic_bool stopping;
	/* owned by the thread */
	uint64_t alarm_ns; /* woken() then; 0: never.  Set by the caller */
	bool soon;	   /* something is likely to end soon: spin first.  Set by the caller */
	struct spin spin;
	/* start-up: protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t started;
	int state;
};

extern const struct loop_ops loop_uring_ops;
extern const struct loop_ops loop_epoll_ops;

/* Start the thread.  MC_NO_MEMORY, MC_NO_SPACE: no descriptors. */
MC_MUST_CHECK enum mc_status loop_open(struct loop *loop, const struct loop_config *config);

/* End the thread, after a last turn(). */
void loop_close(struct loop *loop);

/* Have woken() called soon. */
void loop_wake(struct loop *loop);

/* Accept connections until the socket is shut down: done() for each, with its descriptor. */
void loop_accept(struct loop *loop, struct loop_op *op, int fd);

/* Receive at most size bytes; flags MSG_WAITALL: all of them. */
void loop_receive(struct loop *loop, struct loop_op *op, int fd, void *buffer, size_t size,
		  int flags);

/* Send a message, or a part of it. */
void loop_send(struct loop *loop, struct loop_op *op, int fd, struct msghdr *message);

/* For backends: whether to spin before this wait. */
bool loop_may_spin(struct loop *loop);

/* For backends: it has ended (an accept may go on). */
void loop_ended(struct loop_op *op, int result);

#endif
