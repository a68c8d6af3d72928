/*
 * engine/transport/fetch.h -- one pull on its way
 *
 *     SENT ──reply──► MOVING ──last byte──► ended
 *       │ ▲              │ ▲
 *       ▼ │ MC_AGAIN     ▼ │
 *     PAUSED          PAUSED
 *
 * PAUSED is retry_ns != 0, MOVING is begun.  Every other way out, from
 * anywhere, is fetch_end() with the status that done() shall get.
 *
 * A large object can come over several links, of pullers with threads of their own:
 * helpers (puller_help()) take chunks off the same list as the pull's first fetch, which
 * alone tells the sink how it begins and ends.  A helper ends when it has nothing in
 * flight; what it could not bring goes back to the list, and the first asks for it.  The
 * first ends after its helpers.
 *
 * Threads   As marked; fetch_end and the reply functions: only the puller's.
 */
#ifndef ENGINE_TRANSPORT_FETCH_H
#define ENGINE_TRANSPORT_FETCH_H

#include "engine/transport/link.h"
#include "engine/transport/pull.h"
#include "engine/transport/span.h"
#include "engine/transport/transport.h"

#define PULLER_CHUNK_SIZE (512u << 10)
#define PULLER_WINDOW_MIN 2u
#define PULLER_WINDOW_MAX 8u

/* What the fetches of one pull have in common. */
struct whole {
	pthread_mutex_t sink; /* held by who calls the sink's arrived() */
	/* protected by lock, a leaf */
	pthread_mutex_t lock;
	struct span todo; /* chunks that nobody has asked for */
	uint64_t left;	  /* bytes that have not come */
	uint32_t helper_count;
	bool over; /* nobody asks for more */
	bool lost; /* some chunk found no way back to the list */
};

struct fetch {
	struct transport_pull *pull;
	struct puller *puller;
	struct whole *whole; /* its own, or that of the fetch it helps */
	/* protected by the puller's lock */
	struct fetch *next, **at;
	struct link *link;
	struct span_range wanted;	   /* chunks, as last told; kept for when todo is known */
	uint64_t taken[PULLER_WINDOW_MAX]; /* a helper's chunks that have not come */
	uint32_t taken_count;
	uint32_t in_flight; /* requests ... */
	uint32_t window;    /* ... and how many there may be */
	uint64_t version;   /* asked for; the object's once that is known */
	uint64_t retry_ns;  /* ask again then; 0: nothing to ask again */
	bool cancelled;
	bool moving;	       /* by whom described() told; only that one ends it */
	bool given_up;	       /* and was told that it need not go on */
	enum mc_status failed; /* before it was sent; or as it ended */
	bool ended;	       /* but for its helpers */
	/* owned by the puller's thread (and by puller_pull before that knows of it) */
	uint64_t deadline_ns;
	uint32_t again_ms;
	bool begun;
	bool redialled;
	struct mc_attr attr;
	struct transport_target target;
	uint8_t *note; /* what the owner said of where they lie */
	uint32_t note_size;
	void *own; /* of who moves it */
	struct whole own_whole;
};

#define FETCH_NOTE_SIZE_MAX (64u << 10)

/* The first fetch of a pull.  NULL: out of memory. */
struct fetch *fetch_new(struct puller *puller, struct transport_pull *pull);

/* One more by another puller, on its link; `first` has begun.  NULL: out of memory. */
struct fetch *fetch_new_helper(struct puller *puller, const struct fetch *first, struct link *link);

bool fetch_helps(const struct fetch *fetch);

/* Nothing of it is on its way. */
bool fetch_idles_locked(const struct fetch *fetch);

/* How a pull stands: there is more to ask for; the rest is on its way; all is there; or it
 * never will be. */
enum whole_state { WHOLE_MORE, WHOLE_COMING, WHOLE_DONE, WHOLE_LOST };

enum whole_state whole_state(struct whole *whole);
bool whole_is_helped(struct whole *whole);
bool whole_is_over(struct whole *whole);

/* What an owner gave, until it is given back. */
struct loan {
	struct loan *next, **at;
	struct link *link; /* NULL: gone, and the hold with it */
	uint64_t id;
	uint64_t version; /* 0: taken off the owner's shelf */
};

/* Note what a link's owner has lent.  NULL: out of memory. */
struct loan *loan_new_locked(struct link *link, uint64_t id, uint64_t version);

/* Put it on a list, take it off. */
void fetch_list_locked(struct fetch *fetch, struct fetch **list);

/* Take it off its link and off the puller's list; want and cancel know it no longer. */
void fetch_detach_locked(struct fetch *fetch);

/* Ask for the first chunk, or for as many as the window allows, on its link. */
MC_MUST_CHECK enum mc_status fetch_ask_locked(struct fetch *fetch);

/* Tell the sink, and free the fetch.  It is detached if it was not. */
void fetch_end(struct fetch *fetch, enum mc_status status);

/*
 * A reply came with a refusal, or with the fixed part of a success; the bytes
 * are then due as link->body.  MC_PROTOCOL: the owner broke the protocol,
 * the link must go.
 */
void fetch_refused(struct link *link, const struct link_request *request, enum mc_status status);
MC_MUST_CHECK enum mc_status fetch_accepted(struct link *link, const struct link_request *request,
					    const struct frame *frame,
					    const uint8_t fixed[PULL_FIXED_SIZE]);

/* The bytes of link->body are all there. */
void fetch_body_done(struct link *link);

#endif
