/*
 * engine/transport/transport.h -- what every transport promises
 *
 * A transport moves the bytes of an object from the node that holds it (the
 * owner) to the node that wants it (the puller).  It knows nothing of names,
 * placement or eviction: the owner's side asks a `source` for an object by id
 * and version, the puller's side feeds a `sink`.
 *
 *     puller                                      owner
 *     transport->pull(endpoint, pull) ── id ──►   source->hold()
 *     sink->begin(attr) ◄───────────── attr ──    { bytes, or the descriptor }
 *     sink->arrived(offset, length) ◄─ bytes ─
 *     sink->done(status)                          source->release()
 *
 * An endpoint is text: "tcp:HOST:PORT", "shm:NAME".  score() says
 * whether this process can use a peer's endpoint, and how good it is; the
 * puller takes the best.  All transports pass one conformance suite
 * (tests/conformance/transport.c).
 *
 * Ownership   A transport is freed by close, after its threads have ended and
 *             every pull's done() has been called.  A pull belongs to the
 *             caller and must stay until its done() has returned.
 * Threads     pull, want and cancel: any thread, and they never wait for the
 *             network.  Sink and source are called on the transport's own
 *             threads, the sink also on the thread that pulled while it attends
 *             (attend.h), and must not wait for the network either; the sink
 *             of one pull is called by one thread at a time.
 * Errors      Through done(): MC_NOT_FOUND and MC_STALE as the owner said,
 *             MC_UNREACHABLE no connection, MC_TIMEOUT the deadline passed,
 *             MC_IO a checksum did not match twice, MC_PROTOCOL the peer
 *             broke the protocol, MC_CANCELLED.  What begin() refuses comes
 *             back from done(), and so does what the target's file says
 *             (MC_NO_SPACE).
 */
#ifndef ENGINE_TRANSPORT_TRANSPORT_H
#define ENGINE_TRANSPORT_TRANSPORT_H

#include <mooncake/status.h>
#include <mooncake/types.h>
#include <stdbool.h>

struct transport;

/* An object that the owner's side holds for somebody. */
struct source_hold {
	int fd;		     /* open for reading; stays open until release */
	struct mc_attr attr; /* of the version that is held; its size is the file's */
	void *object;	     /* for the source's own use */
	bool ahead; /* set by who holds: nobody has asked, so it is no use, and no copy is made */
};

/* The owner's side, given at open.  Both may be called by several threads at once. */
struct transport_source {
	/*
	 * Hold the object so that its bytes neither change nor go away, nor is its
	 * file cut short: what is sent may come out of a map of it.  Version
	 * 0 asks for whatever there is.
	 *
	 * MC_NOT_FOUND, MC_STALE   as for PULL in protocol.h
	 * MC_AGAIN                 it is being written now; ask again in a moment
	 */
	enum mc_status (*hold)(void *context, uint64_t id, uint64_t version,
			       struct source_hold *hold);
	void (*release)(void *context, struct source_hold *hold);
	void *context;
	/*
	 * The directory whose files processes of this host may open without asking
	 * (engine/node/shelf.h); it stays the source's.  -1: none.  NULL: the same.
	 */
	int (*shelf)(void *context);
	/* One of them was used so.  NULL where shelf is. */
	void (*used)(void *context, uint64_t id);
};

struct transport_pull;

/* Where the bytes of an object go, as its sink says.  Both stay until done(). */
struct transport_target {
	void *memory; /* as many bytes as the object has; not used when it has none */
	/*
	 * The regular file that memory maps, shared, from offset 0, open for
	 * writing; -1: it maps none, or its pages are there, so that writing to
	 * memory costs less.  A transport may write to either.
	 */
	int fd;
};

/* The puller's side of one pull. */
struct transport_sink {
	/*
	 * Called once, before any byte: the object is attr->size bytes.  The sink
	 * answers where they go, or an error that ends the pull.
	 */
	enum mc_status (*begin)(struct transport_pull *pull, const struct mc_attr *attr,
				struct transport_target *target);
	/*
	 * Instead of begin, on a transport that passes descriptors: the file
	 * itself, open for reading, now the sink's to close.  The owner holds the
	 * object until give_back(loan), or until either process ends.  An error ends the
	 * pull, and the loan with it.
	 */
	enum mc_status (*lend)(struct transport_pull *pull, const struct mc_attr *attr, int fd,
			       void *loan);
	/* These bytes are in place and their checksum is right.  May be NULL. */
	void (*arrived)(struct transport_pull *pull, uint64_t offset, uint64_t length);
	/* Called once, last.  The pull may be freed here. */
	void (*done)(struct transport_pull *pull, enum mc_status status);
};

struct transport_pull {
	const struct transport_sink *sink;
	uint64_t id;
	uint64_t version;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, for the next progress: each step renews it */
	uint32_t step_ms;     /* how long one step may take */
	void *state;	      /* the transport's own ... */
	uint32_t lane;	      /* ... and this */
};

struct transport_config {
	const char *listen_host; /* "0.0.0.0", "::", "127.0.0.1" … */
	uint16_t port_first;	 /* both 0: any free port; else a random free one of the range */
	uint16_t port_last;
	const char *announce_host; /* what peers connect to; NULL: worked out from the routes */
	const char *host_id;	   /* equal for processes that can pass descriptors */
	const struct transport_source *source;
	uint64_t show_bytes_max; /* what show() may keep ready; 0: nothing */
};

struct transport_counters {
	uint64_t pulls_served;
	uint64_t bytes_served;
	uint64_t pulls_done;
	uint64_t bytes_pulled;
	uint64_t checksum_errors;
	uint64_t connections;
	uint64_t holds;	      /* held now */
	uint64_t shown;	      /* objects ready before anybody asks, now */
	uint64_t pulls_shown; /* pulls that found theirs so */
};

struct transport_ops {
	const char *name;
	bool by_name; /* only for those who ask for it by name */
	enum mc_status (*open)(const struct transport_config *config, struct transport **transport);
	void (*close)(struct transport *transport);
	/* The endpoint to announce. */
	void (*endpoint)(struct transport *transport, char text[MC_ENDPOINT_SIZE]);
	/* 0: can't be used from here; more is better. */
	unsigned (*score)(struct transport *transport, const char *endpoint);
	void (*pull)(struct transport *transport, const char *endpoint,
		     struct transport_pull *pull);
	/* A reader waits for this range: fetch it before the rest.  A hint. */
	void (*want)(struct transport *transport, struct transport_pull *pull, uint64_t offset,
		     uint64_t length);
	void (*cancel)(struct transport *transport, struct transport_pull *pull);
	/* Give back what lend() or take() got.  NULL where nothing is lent. */
	void (*give_back)(struct transport *transport, void *loan);
	/*
	 * Open the file of that name on the peer's shelf, for reading, without a word
	 * to the peer: fd and loan are the caller's, the loan to be given back, which tells
	 * the peer that id was used.  What the file holds is for the caller to find out.
	 * NULL: never.
	 *
	 * MC_NOT_SUPPORTED   the peer's shelf is not at hand (yet)
	 * MC_NOT_FOUND       no such file
	 */
	enum mc_status (*take)(struct transport *transport, const char *endpoint, const char *name,
			       uint64_t id, int *fd, void **loan);
	/*
	 * The object rests here, nobody writes it: get ready what it takes to serve it, when
	 * there is nothing else to do.  A hint.  NULL, as the next two: it takes nothing.
	 */
	void (*show)(struct transport *transport, uint64_t id);
	/* Its bytes will change or its file goes: what show() made is not used any more. */
	void (*hide)(struct transport *transport, uint64_t id);
	/* Give up now the files of what is hidden.  Slow; the other two never wait. */
	void (*clear)(struct transport *transport);
	void (*counters)(struct transport *transport, struct transport_counters *counters);
};

/* Every open transport begins with this. */
struct transport {
	const struct transport_ops *ops;
};

extern const struct transport_ops transport_tcp_ops;
extern const struct transport_ops transport_shm_ops;
extern const struct transport_ops transport_rdma_ops;
extern const struct transport_ops transport_engine_ops;

/* The table, ended by NULL: best first. */
extern const struct transport_ops *const transport_table[];

/* The row of that name; NULL: there is none. */
const struct transport_ops *transport_find(const char *name);

#endif
