/*
 * engine/fabric/tcp/warden.h -- lets peers read and write what the vault opens
 *
 * Accepts connections, checks each request against the vault, and answers in
 * order.  What is read goes to the socket from where it lies, what is written
 * comes from the socket to where it belongs; only what is small passes through
 * the visitor's input buffer.  A visitor that does not take its answers is read
 * from no more, so it costs bounded memory whatever it sends.
 *
 * Ownership   The warden owns the listening socket from warden_start.
 * Threads     One of its own (loop.h).  warden_withdrawn, warden_count: any.
 * Errors      A visitor that breaks the protocol is dropped, with one warning; one
 *             that says nothing for 5 s, without.
 * Limits      WARDEN_VISITORS_MAX.
 */
#ifndef ENGINE_FABRIC_TCP_WARDEN_H
#define ENGINE_FABRIC_TCP_WARDEN_H

#include <mooncake/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/fabric/tcp/frame.h"
#include "engine/fabric/vault.h"
#include "engine/loop/loop.h"

#define WARDEN_VISITORS_MAX 4096u
#define WARDEN_INPUT_SIZE   (32u << 10)
#define WARDEN_ANSWERS_MAX  128u /* of one visitor that were not sent yet */

struct visitor;

struct warden {
	/* fixed after start */
	struct loop loop;
	struct vault *vault;
	int listen_fd;
	/* owned by the thread */
	struct loop_op accepting;
	struct visitor *visitors;
	uint32_t visitor_count, leaving_count;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a withdrawn entry has lost its users, or all visitors are gone */
	bool stopping, empty;
	/* atomic */
	atomic_uint count;
};

/* plain: without io_uring. */
MC_MUST_CHECK enum mc_status warden_start(struct warden *warden, struct vault *vault, int listen_fd,
					  bool plain);

/* Drop all visitors, end the thread, close the listener. */
void warden_stop(struct warden *warden);

/* Wait until nobody touches the memory of an entry that was withdrawn: who does is dropped. */
void warden_withdrawn(struct warden *warden, struct vault_entry *entry);

/* Visitors now. */
uint32_t warden_count(struct warden *warden);

#endif
