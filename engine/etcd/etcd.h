/*
 * engine/etcd/etcd.h -- a client of etcd's JSON gateway
 *
 * Requests go over HTTP to one of several endpoints; many are in flight at
 * once, each over a connection of its own that is kept for the next.  An
 * endpoint that fails is left for the next one, and tried again after a pause.
 * What one client finds out others need not: clients of the same endpoints may
 * share which of them fail.
 * A request is repeated until its deadline as long as that is harmless: always
 * when nothing was sent, and after that when it changes nothing or may happen
 * twice (`repeatable`).
 *
 * With a user, a token is asked for first and renewed when it is refused.
 *
 *     etcd_open ─► etcd_range, etcd_put, etcd_txn_send …  ─► etcd_close
 *                     └─► done(reply), once for each
 *
 * Ownership   A request copies what it is given.  A reply belongs to the client
 *             and ends with the callback, unless etcd_reply_keep() takes it.
 * Threads     Any thread asks.  Callbacks: the client's thread "mc-etcd"; they
 *             must not wait for another reply of this client, but may ask.
 * Errors      In the reply's status:
 *             MC_UNREACHABLE   no endpoint answered, nothing happened
 *             MC_TIMEOUT       the deadline passed, the effect is unknown
 *             MC_NO_SPACE      the alarm NOSPACE is raised, nothing happened
 *             MC_ACCESS        user, password or certificate are refused
 *             MC_PERMISSION    the user may not do this
 *             MC_STALE         the revision was compacted, or is none yet
 *             MC_NOT_FOUND     no such lease
 *             MC_TOO_BIG       beyond the server's limits
 *             MC_INVALID       the server refuses the request as malformed
 *             MC_PROTOCOL      the answer is not one of etcd
 *             MC_CANCELLED     the client is closed
 *             Each change of an endpoint's state is logged once, by whom of those
 *             that share it finds out first.
 * Limits      Those below.
 */
#ifndef ENGINE_ETCD_ETCD_H
#define ENGINE_ETCD_ETCD_H

#include <mooncake/status.h>

#include <pthread.h>
#include <string.h>

#include "engine/base/buffer.h"

#define ETCD_ENDPOINT_MAX    16u
#define ETCD_CONNECTION_MAX  64u
#define ETCD_OPERATION_MAX   128u	   /* of one transaction, the server's default */
#define ETCD_REQUEST_MAX     (1536u << 10) /* bytes of one, the server's default */
#define ETCD_ANSWER_SIZE_MAX (64u << 20)   /* bytes of one answer */
#define ETCD_FRAME_SIZE_MAX  (64u << 20)   /* bytes of one message of a watch */
#define ETCD_PASSWORD_SIZE   256u
#define ETCD_TIMEOUT_MS	     5000u /* of a request, unless told otherwise */

struct etcd;

struct etcd_config {
	const char *endpoints; /* "HOST:PORT[,HOST:PORT...]", "http://" or "https://" may lead */
	const char *ca;	       /* PEM files; NULL: none.  With one of them TLS is the default */
	const char *certificate;
	const char *key;
	const char *user; /* NULL: no authentication */
	const char *password;
	uint32_t connections; /* at most at once; 0: 8 */
	uint32_t timeout_ms;  /* 0: ETCD_TIMEOUT_MS */
	/*
	 * A bit for each endpoint that did not answer when it was asked last; 0 at first.
	 * Outlives the client, which shares it with others of the same endpoints.
	 * NULL: it shares nothing.
	 */
	_Atomic uint32_t *failing;
};

struct etcd_bytes {
	const void *data;
	size_t size;
};

#define ETCD_TEXT(text) ((struct etcd_bytes){(text), strlen(text)})

struct etcd_pair {
	struct etcd_bytes key;
	struct etcd_bytes value;
	int64_t create_revision;
	int64_t mod_revision;
	int64_t lease; /* 0: none */
};

struct etcd_reply {
	enum mc_status status;
	uint64_t cluster; /* id of the etcd cluster that answered */
	int64_t revision; /* of its store then */
	bool succeeded;	  /* txn: the comparisons held */
	bool more;	  /* range: there are more than the limit */
	int64_t count;	  /* range: pairs in it, of all pages; delete: pairs deleted */
	int64_t lease;	  /* grant */
	int64_t ttl_s;	  /* grant, keepalive; 0: the lease is gone */
	size_t pair_count;
	struct etcd_pair *pairs; /* of the range, or of all ranges of the txn, in order */
};

typedef void etcd_done_fn(void *context, struct etcd_reply *reply);

/*
 * Begin.  Nothing is asked yet.
 *
 * MC_INVALID   the endpoints make no sense (logged)
 */
MC_MUST_CHECK enum mc_status etcd_open(const struct etcd_config *config, struct etcd **etcd);
/* End every request (MC_CANCELLED) and the thread.  Takes NULL. */
void etcd_close(struct etcd *etcd);

/* In what follows timeout_ms 0 means the config's. */

struct etcd_range {
	struct etcd_bytes key;
	struct etcd_bytes end; /* first key beyond it; size 0: the one key */
	int64_t revision;      /* 0: the present */
	uint32_t limit;	       /* pairs; 0: all */
};

void etcd_range(struct etcd *etcd, const struct etcd_range *range, uint32_t timeout_ms,
		etcd_done_fn *done, void *context);
void etcd_put(struct etcd *etcd, struct etcd_bytes key, struct etcd_bytes value, int64_t lease,
	      uint32_t timeout_ms, etcd_done_fn *done, void *context);
void etcd_delete(struct etcd *etcd, struct etcd_bytes key, struct etcd_bytes end,
		 uint32_t timeout_ms, etcd_done_fn *done, void *context);

void etcd_lease_grant(struct etcd *etcd, int64_t ttl_s, uint32_t timeout_ms, etcd_done_fn *done,
		      void *context);
/* A reply with ttl_s 0: the lease is gone. */
void etcd_lease_keepalive(struct etcd *etcd, int64_t lease, uint32_t timeout_ms, etcd_done_fn *done,
			  void *context);
void etcd_lease_revoke(struct etcd *etcd, int64_t lease, uint32_t timeout_ms, etcd_done_fn *done,
		       void *context);

/*
 * Call back after some time, once.  The status: MC_TIMEOUT; MC_CANCELLED or
 * MC_NO_MEMORY before that.
 */
void etcd_after(struct etcd *etcd, uint32_t ms, etcd_done_fn *done, void *context);

/*
 * A transaction is written step by step:
 *
 *     begin ─► compare* ─► then ─► (put | delete | get)* ─► [else ─► …] ─► send
 *
 * No key may be put twice in one.  What goes beyond the limits, or memory,
 * makes the reply MC_TOO_BIG or MC_NO_MEMORY.
 */
struct etcd_txn {
	struct writer json;
	uint32_t operations; /* of the branch that is written */
	uint32_t listed;     /* entries of the list that is written */
	bool branched;
	bool beyond;
};

void etcd_txn_begin(struct etcd_txn *txn);
/* A key was created at this revision; 0: there is no such key. */
void etcd_txn_compare_created(struct etcd_txn *txn, struct etcd_bytes key, int64_t revision);
void etcd_txn_compare_value(struct etcd_txn *txn, struct etcd_bytes key, struct etcd_bytes value);
void etcd_txn_then(struct etcd_txn *txn);
void etcd_txn_else(struct etcd_txn *txn);
void etcd_txn_put(struct etcd_txn *txn, struct etcd_bytes key, struct etcd_bytes value,
		  int64_t lease);
void etcd_txn_delete(struct etcd_txn *txn, struct etcd_bytes key);
void etcd_txn_get(struct etcd_txn *txn, struct etcd_bytes key);
/* Ends the transaction; repeatable: it may happen twice. */
void etcd_txn_send(struct etcd *etcd, struct etcd_txn *txn, bool repeatable, uint32_t timeout_ms,
		   etcd_done_fn *done, void *context);

/* Called from a callback: the reply stays beyond it, until etcd_reply_free(). */
void etcd_reply_keep(struct etcd_reply *reply);
void etcd_reply_free(struct etcd_reply *reply);

/* The first key that does not begin with a prefix, written to `end`; size 0 (all 0xff): "\0". */
void etcd_prefix_end(struct etcd_bytes prefix, struct writer *end);

/* Read the password in the first line of a file.  False: it can't be; logged. */
bool etcd_password_read(const char *path, char password[ETCD_PASSWORD_SIZE]);

/*
 * To ask and wait: init, ask with etcd_waiter_done and the waiter as context,
 * then wait, which returns the reply as the caller's own.  Not on the client's
 * thread.
 */
struct etcd_waiter {
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct etcd_reply *reply;
};

void etcd_waiter_init(struct etcd_waiter *waiter);
etcd_done_fn etcd_waiter_done;
struct etcd_reply *etcd_waiter_wait(struct etcd_waiter *waiter);

/*
 * The same for the common cases.  MC_NOT_FOUND: there is no such key; nothing
 * was appended to the value.
 */
MC_MUST_CHECK enum mc_status etcd_get_wait(struct etcd *etcd, struct etcd_bytes key,
					   struct writer *value);
MC_MUST_CHECK enum mc_status etcd_put_wait(struct etcd *etcd, struct etcd_bytes key,
					   struct etcd_bytes value);
MC_MUST_CHECK enum mc_status etcd_delete_wait(struct etcd *etcd, struct etcd_bytes key);

#endif
