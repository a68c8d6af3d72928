/*
 * engine/transport/owner.h -- the owner's side of a stream transport
 *
 * Listens, reads requests, holds objects for those who ask, and has the
 * transport answer: with bytes (tcp) or with a descriptor (shm).  A peer that
 * connected is a `visitor`.  Requests of one visitor are answered in order,
 * and while it does not take its answer nothing more is read from it, so a
 * visitor costs bounded memory whatever it sends.
 *
 * An object stays held for a visitor while it is lent to it (descriptors), or
 * for OWNER_KEEP_MS after its last request (bytes), so that a pull in many
 * requests sees one version.  A visitor whose machine is gone is noticed
 * (net_watch_peer()), and what was lent to it is held no longer.
 *
 * Several owners, each with its thread, can serve what one of them listens for
 * (owner_config.host).
 *
 * Ownership   The owner owns the listening socket after owner_start.
 * Threads     One thread of its own; the source is called on it.
 *             owner_adopt, owner_visitor_count, owner_counters: any thread.
 * Errors      A visitor that breaks the protocol is dropped with one warning.
 * Limits      OWNER_VISITORS_MAX; OWNER_KEPT_MAX objects kept for a visitor.
 */
#ifndef ENGINE_TRANSPORT_OWNER_H
#define ENGINE_TRANSPORT_OWNER_H

#include <mooncake/protocol.h>

#include "engine/rpc/wire.h"
#include "engine/transport/held.h"
#include "engine/transport/pull.h"
#include "engine/transport/poller.h"
#include "engine/transport/transport.h"

#define OWNER_KEEP_MS	   1000u
#define OWNER_KEPT_MAX	   64u
#define OWNER_VISITORS_MAX 4096u
#define OWNER_STUCK_MS	   60000u  /* an answer that is not taken for so long ends the visit */
#define OWNER_IDLE_MS	   600000u /* and so does silence, unless something is lent */
#define OWNER_INPUT_SIZE   4096u

struct owner;

/* What is being sent to a visitor. */
struct answer {
	uint8_t head[PULL_HEAD_SIZE];
	uint32_t head_size; /* 0: nothing is being sent */
	uint32_t head_sent;
	bool put_off;		     /* respond() is called again for ... */
	struct pull_request request; /* ... this */
	int fd;		    /* what goes with the head's first byte, not its own; -1: nothing */
	struct held *held;  /* what it is about; must not go meanwhile */
	const uint8_t *map; /* all of the object; NULL: it is read */
	uint64_t offset;    /* in the object, of the next byte to send */
	uint32_t remaining; /* bytes of the object that follow the head */
};

struct visitor {
	struct watch watch;
	struct owner *owner;
	struct visitor *next, **at;
	uint64_t active_ns; /* the last byte that went either way */
	bool known;	    /* sent at least one right request */
	bool shelf;	    /* has the source's shelf */
	uint32_t skip;	    /* bytes of a body to pass over */
	uint32_t input_begin, input_end;
	uint8_t input[OWNER_INPUT_SIZE];
	struct answer answer;
	struct held **buckets; /* by id */
	uint32_t bucket_count, held_count;
};

struct owner_config {
	const char *name; /* of the thread */
	int listen_fd;	  /* -1: it serves what it adopts */
	const struct transport_source *source;
	bool local;    /* visitors must prove that they are root or this user */
	uint32_t flag; /* enum mc_pull_flag that requests must have; 0: none */
	bool lends;    /* what was answered is held until RELEASE */
	/* Undo what respond() made of it: it is let go.  NULL: nothing.  With it, what was
	 * released is kept as bytes are, for whoever asks again. */
	void (*drop)(struct visitor *visitor, struct held *held);
	/*
	 * Put the answer's head and what follows it together, to be sent by send(); or a
	 * part of it, and put the rest off.  The object is held.
	 */
	void (*respond)(struct visitor *visitor, const struct pull_request *request,
			struct held *held);
	/* Send more of visitor->answer.  MC_AGAIN: when the socket is writable again. */
	enum mc_status (*send)(struct visitor *visitor);
	/* Which owner shall serve a connection that was accepted.  NULL: this one. */
	struct owner *(*host)(struct owner *owner, int fd);
	void *context; /* the transport's */
};

struct owner {
	struct owner_config config;
	struct poller poller;
	struct watch listener;
	/* owned by the thread */
	struct visitor *visitors;
	struct visitor *gone; /* to be freed after the batch */
	bool deaf;	      /* out of descriptors: not accepting until the next alarm */
	/* atomic */
	_Atomic(struct visitor *) adopted; /* not served yet; only added to, or taken as a whole */
	atomic_uint visitor_count;
	atomic_uint_fast64_t pulls_served, bytes_served, visits, holds;
	atomic_uint_fast64_t active_ns; /* a visitor last said something */
	atomic_uint lent;
};

MC_MUST_CHECK enum mc_status owner_start(struct owner *owner, const struct owner_config *config);

/* Drop all visitors, release all holds, end the thread, close the listener; nothing is
 * adopted any more. */
void owner_stop(struct owner *owner);

/* Serve this connection, from now on the owner's. */
void owner_adopt(struct owner *owner, int fd);
unsigned owner_visitor_count(const struct owner *owner);

/* Add what the owner's side counts. */
void owner_counters(struct owner *owner, struct transport_counters *counters);

/* What is not lent (any more) is kept for a while, for whoever asks again. */
bool owner_keeps(const struct owner *owner);

/* For respond(): make the answer a refusal, or the head of a success. */
void owner_refuse(struct visitor *visitor, const struct pull_request *request,
		  enum mc_status status);
void owner_accept(struct visitor *visitor, const struct pull_request *request,
		  const struct held *held, uint32_t length, uint32_t crc);

/* The same: it takes long, so call respond() again when others have been served.  Who
 * leaves meanwhile is dropped. */
void owner_put_off(struct visitor *visitor, const struct pull_request *request, struct held *held);

/* The same: what the answer is about is lent until RELEASE. */
void owner_lend(struct visitor *visitor, struct held *held);

/* When a visitor last said something; UINT64_MAX: something is lent. */
uint64_t owner_moved_ns(const struct owner *owner);

/* For send(): send what is left of the head, with the descriptor if there is one.
 * flags as for sendmsg(2).  MC_AGAIN: the socket is full.  MC_UNREACHABLE: it is broken. */
MC_MUST_CHECK enum mc_status owner_send_head(struct visitor *visitor, int flags);

#endif
