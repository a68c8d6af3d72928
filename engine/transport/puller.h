/*
 * engine/transport/puller.h -- the puller's side of a stream transport
 *
 * A `link` is a connection to a peer; a peer has a few, opened when needed and
 * closed when idle.  A `fetch` is one pull, or the part of one that helps another
 * puller: it stays on one link, so that the owner keeps one version for it.  Whoever
 * calls puller_pull() sends the first request itself; the thread receives.  Where bytes are moved,
 * they arrive in chunks, a window of which is asked for at a time, straight into the sink's file or
 * memory; where descriptors are, the first reply is all there is.
 *
 * A fetch that has not begun survives the loss of its link once, on a new
 * one: the peer may have closed an idle connection, or have restarted.  One that
 * somebody else moves is given up with its link, since the owner holds nothing then.
 *
 * Ownership   See transport.h.
 * Threads     One of its own; sinks are called on it, with no lock held, or on
 *             the thread that asked, where it attends (attend.h) and descriptors
 *             are passed: one of them at a time, who holds poller.serving.  All
 *             else may be called by any thread.  puller->lock is a leaf.
 * Errors      As transport.h says.
 * Limits      PULLER_WINDOW_MAX chunks of PULLER_CHUNK_SIZE in flight per fetch.
 */
#ifndef ENGINE_TRANSPORT_PULLER_H
#define ENGINE_TRANSPORT_PULLER_H

#include "engine/transport/link.h"
#include "engine/transport/poller.h"
#include "engine/transport/siphon.h"
#include "engine/transport/transport.h"

struct peer;

#define PULLER_SCRATCH_SIZE (256u << 10)

struct puller;

struct puller_config {
	const char *name; /* of the thread */
	/* Start to connect to an endpoint, without waiting. */
	enum mc_status (*dial)(const char *endpoint, int *fd);
	uint32_t links_max; /* per peer */
	bool descriptors;   /* ask for descriptors, not for bytes */
	/*
	 * Ask where the object lies, not for bytes: described() is told, and moves them
	 * or not; puller_finish() ends the fetch.  give_up(): it need not go on.  Called
	 * on the thread, give_up under the puller's lock.  NULL: ask for something else.
	 */
	void (*described)(void *context, struct fetch *fetch);
	void (*give_up)(void *context, struct fetch *fetch);
	/*
	 * A pull has begun, on the thread, and there is more of it than one link shall have on
	 * its way: let others help (puller_help()).  NULL: nobody does.
	 */
	void (*help)(struct puller *puller, const struct fetch *fetch);
	void *context;
};

struct puller {
	struct puller_config config;
	struct poller poller;
	uint8_t *scratch;     /* PULLER_SCRATCH_SIZE bytes: where what nobody wants is read to */
	struct siphon siphon; /* owned by the thread */
	/* protected by lock */
	pthread_mutex_t lock;
	struct peer *peers;
	struct fetch *fetches;
	struct link *dead;	      /* freed after the batch of events */
	struct loan *strays;	      /* loans whose link is gone */
	struct link *attended;	      /* by the thread that asked for ... */
	struct fetch *attended_fetch; /* ... this; NULL: it has ended */
	bool attention;		      /* some fetch was cancelled, or failed before it was sent */
	bool stopping;
	pthread_cond_t freed; /* no fetch is left */
	/* atomic; written under lock when it falls */
	atomic_uint fetch_count;
	/* atomic */
	atomic_uint_fast64_t pulls_done, bytes_pulled, checksum_errors, dials;
};

MC_MUST_CHECK enum mc_status puller_start(struct puller *puller,
					  const struct puller_config *config);
/* End every fetch with MC_CANCELLED, end the thread, close all links. */
void puller_stop(struct puller *puller);
/* The first half of it, to be done for all that help each other before puller_stop. */
void puller_halt(struct puller *puller);
void puller_await_halt(struct puller *puller);

void puller_pull(struct puller *puller, const char *endpoint, struct transport_pull *pull);
void puller_want(struct puller *puller, struct transport_pull *pull, uint64_t offset,
		 uint64_t length);
void puller_cancel(struct puller *puller, struct transport_pull *pull);
/*
 * Fetch a part of what another puller's pull wants, if this one has a connection to its
 * owner; else make one, for the next time.
 */
void puller_help(struct puller *puller, const struct fetch *fetch);
/* Look at all fetches soon: something outside has changed. */
void puller_look(struct puller *puller);
/* A fetch of it is gone. */
void puller_freed(struct puller *puller);
/* See transport.h.  A peer's shelf is at hand once something was pulled from it. */
enum mc_status puller_take(struct puller *puller, const char *endpoint, const char *name,
			   uint64_t id, int *fd, void **loan);
void puller_give_back(struct puller *puller, void *loan);

/* How many pulls are under way. */
unsigned puller_fetch_count(const struct puller *puller);

/* Tell an owner that it need not hold an object any longer. */
void puller_release_locked(struct puller *puller, struct link *link, uint64_t id, uint64_t version);

/* End a fetch that was described, by any thread: the owner lets the object go. */
void puller_finish(struct puller *puller, struct fetch *fetch, enum mc_status status);

/* Add what the puller's side counts. */
void puller_counters(struct puller *puller, struct transport_counters *counters);

#endif
