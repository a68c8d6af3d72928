/*
 * engine/fabric/rdma/internal.h -- the parts of the RDMA fabric, to each other
 *
 *     fabric ── device ─┬─ completion (queue, channel, thread)
 *        │              └─ endpoint ── queue pairs ── rings of work
 *        ├─ peer ── path (local device, remote device) ── endpoint
 *        └─ control (thread: handshakes, events, the end of endpoints)
 *
 * An endpoint is what connects one local device with one device of a peer: the
 * queue pairs and the TCP connection over which they were agreed, and their ids
 * where librdmacm connects them.  Those that
 * we make carry our slices (peer is set); those that a peer makes only answer
 * it.  Both directions never share one, so nobody has to settle who began.
 *
 *     NEW ──► SHAKING ──► READY ──► ENDING ──► freed
 *      └─────────┴─────────────────────▲
 *
 *   NEW      slices are taken and wait in the rings; control makes the queue pairs
 *   SHAKING  the handshake is under way
 *   READY    work is posted
 *   ENDING   queue pairs go to the error state, what is posted is flushed, a mark
 *            posted last tells when all is.  A slice is ended only after the device
 *            is done with its memory
 *
 * One that is evicted (leaving) gets nothing new and ends when its rings are empty.
 *
 * Credits: a slice takes a place in the ring of its queue pair and an entry of its
 * completion queue when it is taken, and gives them back when it has ended; a work
 * request that fails makes an entry even if it asked for none.  So neither queue
 * can overrun, however many endpoints share it.
 *
 * Locks, in this order: fabric->lock, completion->poll_lock, device->lock,
 * control->lock, progress->lock.
 */
#ifndef ENGINE_FABRIC_RDMA_INTERNAL_H
#define ENGINE_FABRIC_RDMA_INTERNAL_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/net.h"
#include "engine/fabric/fabric.h"
#include "engine/fabric/rdma/config.h"
#include "engine/fabric/rdma/gid.h"
#include "engine/fabric/rdma/rdmacm.h"
#include "engine/fabric/rdma/sieve.h"
#include "engine/fabric/rdma/verbs.h"
#include "engine/fabric/topology.h"

#define RDMA_NAME_SIZE 256u
#define RDMA_CHAIN_MAX 64u     /* work requests a doorbell */
#define RDMA_SPIN_NS   100000u /* how long to poll before sleeping */
#define RDMA_TICK_MS   100
#define RDMA_DRAIN_NS  3000000000ull /* for flushed work to come back, then without */
#define RDMA_RETRY_NS  250000000ull  /* after the first failure of a path; doubles */
#define RDMA_RETRY_MAX 6u	     /* times it doubles */
#define RDMA_ASK_SIZE  12u	     /* bytes of private data: cm.c */
#define RDMA_NEWS_NS   1000000000ull /* between lines about paths */

struct rdma_device;
struct rdma_fabric;
struct rdma_peer;
struct endpoint;
struct link;

/* --- work ------------------------------------------------------------------- */

/* A place in a ring: a slice, or (NULL) an empty WRITE that only proves the path. */
struct work {
	struct fabric_slice *slice;
	uint32_t lkey;
	uint32_t rkey;
};

/*
 * Sequence numbers count up for ever; one modulo the ring's size is its place.
 * head..posted is with the device, posted..tail waits.
 */
struct queue_pair {
	struct endpoint *endpoint;
	struct completion *completion;
	struct ibv_qp *qp;
	struct work *ring;
	uint32_t ring_mask; /* its size, a power of 2, less 1 */
	uint32_t depth;	    /* of the send queue */
	uint32_t inline_max;
	uint32_t head, posted, tail;
	uint32_t unsignalled; /* posted since the last that asks for a completion */
	uint32_t id;	      /* in the device's table: half of a wr_id */
	bool listed;	      /* in device->dirty */
	bool marked;	      /* the mark is posted, nothing comes after it */
	struct queue_pair *dirty_next;
	/* owned by control */
	struct rdma_cm_id *cm_id; /* NULL: not connected by librdmacm */
	bool answered;		  /* of one that answers: it did */
	bool established;	  /* librdmacm is done with it */
	uint64_t asked_ns;	  /* of one that asks: when */
	uint8_t ask[RDMA_ASK_SIZE];
};

/* Slices that have ended, to be told so when no lock is held. */
struct rdma_ended {
	struct fabric_slice *first, *last;
};

/* --- endpoints -------------------------------------------------------------- */

enum endpoint_state {
	ENDPOINT_NEW,
	ENDPOINT_SHAKING,
	ENDPOINT_READY,
	ENDPOINT_ENDING,
};

/* Protected by device->lock, but for what only control touches. */
struct endpoint {
	/* fixed */
	struct rdma_device *device;
	struct rdma_peer *peer; /* NULL: the peer made it */
	struct path *path;
	uint32_t remote; /* device of the peer */
	/* protected by device->lock */
	enum endpoint_state state;
	bool leaving;
	enum mc_status status; /* why it ends */
	uint64_t deadline_ns;  /* ENDING: until when to wait for flushed work; 0: not begun */
	uint32_t turn;	       /* the queue pair that the next slices get */
	struct sieve_entry kept;
	struct endpoint *previous, *next; /* of the device */
	bool queued;			  /* protected by control->lock */
	struct endpoint *todo_next;
	/* owned by control */
	struct link *link;
	uint32_t psn;
	uint32_t mtu, rd_atomic; /* of the other side */
	uint32_t pending;	 /* queue pairs that librdmacm has yet to connect */
	bool by_cm;		 /* librdmacm is to connect them */
	union ibv_gid far;	 /* where to ask, and at which port */
	uint16_t far_port;
	uint32_t qp_count;
	struct queue_pair qps[];
};

/* From a queue pair to the other side's. */
struct way {
	struct ibv_ah_attr ah;
	enum ibv_mtu mtu;
	uint32_t qp_num;
	uint32_t rq_psn, sq_psn;
	uint8_t timeout; /* of an acknowledgement, as in the configuration */
};

/* From one local device to one device of a peer. */
struct path {
	struct endpoint *endpoint; /* protected by the local device's lock */
	atomic_bool down;	   /* failed, and not proved since */
	uint32_t failures;	   /* in a row; the lock */
	uint64_t retry_ns;	   /* when control tries it again; the lock */
	bool by_handshake;	   /* librdmacm did not get through; owned by control */
};

struct rdma_peer {
	struct fabric_peer peer;
	/* fixed */
	char name[RDMA_NAME_SIZE];
	struct net_address address;
	uint32_t device_count;
	char (*devices)[RDMA_NAME_SIZE];
	struct topology *topology;
	struct path *paths; /* local devices x device_count */
	/* protected by fabric->lock */
	struct rdma_peer *previous, *next;
	/* atomic */
	atomic_bool leaving;
	atomic_uint users; /* slices whose done() has not returned, and endpoints */
};

/* What an epoll event is about. */
struct watch {
	enum { WATCH_WAKE, WATCH_LISTEN, WATCH_LINK, WATCH_DEVICE, WATCH_CM } kind;
	void *of;
};

/* --- devices ---------------------------------------------------------------- */

struct completion {
	/* fixed */
	struct rdma_device *device;
	struct ibv_comp_channel *channel;
	int wake_fd;
	pthread_t thread;
	bool started;
	/* protected by poll_lock */
	pthread_mutex_t poll_lock;
	struct ibv_cq *cq; /* NULL: it failed and could not be made again yet */
	/* protected by device->lock */
	uint32_t credits; /* entries that nobody has taken */
	/* atomic */
	atomic_bool asleep; /* the thread waits for the channel to ring */
};

/* What peers connect to, as it is now. */
struct port {
	struct gid_choice gid;
	uint16_t lid;
	uint32_t mtu; /* bytes */
	bool ethernet;
};

struct rdma_device {
	/* fixed */
	struct rdma_fabric *fabric;
	const struct verbs *verbs;
	uint32_t index;
	char name[TOPOLOGY_NAME_SIZE];
	struct rdma_config config;
	struct ibv_device_attr attr;
	struct ibv_context *context;
	struct ibv_pd *pd;
	uint32_t completion_count;
	struct completion *completions;
	/* protected by lock */
	pthread_mutex_t lock;
	struct port port;
	struct sieve store;
	struct endpoint *endpoints;
	struct queue_pair *dirty;  /* have work to post */
	struct queue_pair **table; /* by id */
	uint16_t *generations;
	uint32_t table_size;
	uint32_t next_completion;
	struct ibv_send_wr *wrs; /* RDMA_CHAIN_MAX of each */
	struct ibv_sge *sges;
	/* atomic */
	atomic_bool up;
	/* owned by control */
	bool cq_failed;
	bool inline_refused;
	struct rdma_cm_id *listener; /* NULL: librdmacm can't be used */
	union ibv_gid listening;     /* at which address it was tried last */
	uint16_t cm_port;	     /* 0: not */
	struct watch watch;
};

/* --- fabric ----------------------------------------------------------------- */

struct progress {
	pthread_mutex_t lead; /* held by the one thread that makes progress */
	struct pollfd *fds;   /* the leader's: every channel, and wake_fd */
	uint64_t spin_ns;     /* the leader's: how long to poll before it sleeps */
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* atomic */
	atomic_uint_fast64_t generation; /* grows when slices end */
	atomic_bool leading;
	atomic_bool sleeping; /* the leader waits in poll() */
	atomic_uint followers;
};

enum path_event { PATH_WORK_FAILED, PATH_DOWN, PATH_BACK, PATH_EVENTS };

/* What happened to paths since the last line in the log about it, and to which first. */
struct path_news {
	uint32_t count;
	int wc_status; /* of work that failed */
	uint32_t vendor;
	char device[TOPOLOGY_NAME_SIZE];
	char peer[RDMA_NAME_SIZE];
	char remote[RDMA_NAME_SIZE];
};

struct control {
	int epoll_fd;
	int wake_fd;
	int listen_fd;
	pthread_t thread;
	bool started;
	atomic_bool stopping;
	pthread_mutex_t lock;
	struct endpoint *todo, *todo_last;  /* lock */
	struct rdma_ended ended;	    /* lock: to be told by this thread */
	struct path_news news[PATH_EVENTS]; /* lock */
	struct watch wake, listen, cm;
	struct rdma_event_channel *cm_channel; /* fixed; NULL: none */
	/* owned by the thread */
	struct link *links;
	struct link *dead; /* freed when the batch of events is done */
	uint32_t link_count;
	bool deaf; /* out of descriptors: no connection is accepted until the next tick */
	uint64_t tick_ns;
	uint64_t news_ns; /* when the next line about paths may be written */
};

struct rdma_fabric {
	struct fabric fabric;
	/* fixed */
	const struct verbs *verbs;
	struct rdma_config config;
	char name[RDMA_NAME_SIZE];
	char endpoint[NET_TEXT_SIZE + 8]; /* "rdma:HOST:PORT" */
	uint32_t device_count;
	struct rdma_device **devices;
	struct topology *topology;
	struct control control;
	struct progress progress;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t gone; /* a peer's users came to 0 */
	struct rdma_peer *peers;
	/* atomic */
	atomic_uint leaving; /* peers whose end somebody waits for */
	atomic_uint_fast64_t slices, slices_done, slices_failed, bytes_read, bytes_written;
	atomic_uint_fast64_t regions, peer_count, connections, connects;
	atomic_uint_fast64_t connects_cm; /* of connects, those by librdmacm */
};

struct region {
	struct rdma_fabric *fabric;
	const struct topology_rank *rank;
	struct ibv_mr *mrs[]; /* one a device */
};

/* --- device.c ---------------------------------------------------------------- */

/* Open one of a list; MC_NOT_SUPPORTED: it has no port or GID that will do (logged). */
MC_MUST_CHECK enum mc_status device_open(struct rdma_fabric *fabric, struct ibv_device *found,
					 struct rdma_device **device);
MC_MUST_CHECK enum mc_status device_start(struct rdma_device *device);
void device_stop(struct rdma_device *device);
void device_close(struct rdma_device *device);
/* Ask the port how it is now.  True: it can be used.  *changed: with another address. */
bool device_query(struct rdma_device *device, bool *changed);
/* The port as it was when it was asked last. */
struct port device_port(struct rdma_device *device);
/* For control: one asynchronous event, or false. */
bool device_event(struct rdma_device *device);
/* Fail every endpoint. Device locked. */
void device_fail_endpoints(struct rdma_device *device);
/* Look after a device that is down; after a failed completion queue make another. */
void device_recover(struct rdma_device *device);

/* A log line and the one status that a failed call is folded into. */
enum mc_status verbs_failed(const struct rdma_device *device, const char *call, int error);

/* --- completion.c ------------------------------------------------------------- */

MC_MUST_CHECK enum mc_status completion_open(struct completion *completion,
					     struct rdma_device *device);
MC_MUST_CHECK enum mc_status completion_start(struct completion *completion);
void completion_stop(struct completion *completion);
void completion_close(struct completion *completion);
/* Take what has completed, end those slices.  How many completions there were. */
uint32_t completion_reap(struct completion *completion);
/* Make the channel ring at the next one, and forget what it rang for before. */
void completion_arm(struct completion *completion);
void completion_quiet(struct completion *completion);
/* Who leads has waited on the channel: what rang is his, the thread is not to wait for it. */
void completion_took_over(struct completion *completion);
void completion_wake(struct completion *completion);

/* --- progress.c ---------------------------------------------------------------- */

MC_MUST_CHECK enum mc_status progress_open(struct rdma_fabric *fabric);
void progress_close(struct rdma_fabric *fabric);
void progress_make(struct rdma_fabric *fabric, uint64_t timeout_ns);

/* Add a slice that has ended to a list; the device is done with its memory. */
void rdma_ended_add(struct rdma_ended *ended, struct rdma_peer *peer, struct fabric_slice *slice,
		    enum mc_status status);
/* Call done() of all.  No lock held. */
void rdma_ended_tell(struct rdma_fabric *fabric, struct rdma_ended *ended);
/* One user less of a peer. */
void peer_drop(struct rdma_fabric *fabric, struct rdma_peer *peer, uint32_t users);

/* --- work.c --------------------------------------------------------------------- */

/* All with device->lock held. */
MC_MUST_CHECK enum mc_status work_table_add(struct rdma_device *device, struct queue_pair *pair);
void work_table_remove(struct rdma_device *device, struct queue_pair *pair);
/* Take a slice; false: no room. */
bool work_take(struct endpoint *endpoint, struct fabric_slice *slice, uint32_t rkey);
/* Put the proof before everything else. */
void work_prove(struct queue_pair *pair);
/* An endpoint is ready: post what waited for that. */
void work_ready(struct endpoint *endpoint);
/* A queue pair is about to go. */
void work_unlist(struct queue_pair *pair);
/* Post what waits in endpoints that are ready. */
void work_post(struct rdma_device *device);
/* Post the mark behind everything; false: it could not be. */
bool work_mark(struct queue_pair *pair);
/* What a completion says. */
void work_retire(struct completion *completion, const struct ibv_wc *wc, struct rdma_ended *ended);
/* End what was not posted, and (all) also what was: the queue pair is gone by then. */
void work_abandon(struct queue_pair *pair, bool all, struct rdma_ended *ended);
/* Nothing is with the device. */
bool work_idle(const struct endpoint *endpoint);
/* Take slices out that are not posted yet: this one, or those past their deadline. */
void work_withdraw(struct endpoint *endpoint, const struct fabric_slice *slice, uint64_t now_ns,
		   struct rdma_ended *ended);
/* The deadline of something posted has passed. */
bool work_overdue(const struct endpoint *endpoint, uint64_t now_ns);

/* --- endpoint.c ----------------------------------------------------------------- */

/* All with device->lock held.  Open one to a peer; NULL: no credits or no memory. */
struct endpoint *endpoint_open(struct rdma_device *device, struct rdma_peer *peer, uint32_t remote);
/* One that answers: count queue pairs. */
struct endpoint *endpoint_answer(struct rdma_device *device, uint32_t count);
/* It is to end; broken: the path failed with it, not only what was asked of it. */
void endpoint_fail(struct endpoint *endpoint, enum mc_status status, bool broken);
void endpoint_proved(struct endpoint *endpoint);

/* It gets nothing new, and ends when what it has is done. */
void endpoint_leave(struct endpoint *endpoint);

/* For control, no lock held: make queue pairs; connect them to the other side's; end. */
MC_MUST_CHECK enum mc_status endpoint_make(struct endpoint *endpoint);
struct handshake;
/* Take what the other side said; MC_PROTOCOL: it has another number of queue pairs. */
MC_MUST_CHECK enum mc_status endpoint_agree(struct endpoint *endpoint,
					    const struct handshake *other);
/* By the handshake alone. */
MC_MUST_CHECK enum mc_status endpoint_connect(struct endpoint *endpoint,
					      const struct handshake *other);
/* Forget what it was connected with. */
MC_MUST_CHECK enum mc_status endpoint_reset(struct queue_pair *pair);
/* One queue pair, by this way; then, when all are, it is ready. */
MC_MUST_CHECK enum mc_status endpoint_connect_by(struct queue_pair *pair, const struct way *way);
void endpoint_ready(struct endpoint *endpoint);
void endpoint_describe(struct endpoint *endpoint, struct handshake *ours);
void endpoint_begin_end(struct endpoint *endpoint, struct rdma_ended *ended);
/* True: it is freed. */
bool endpoint_finish_end(struct endpoint *endpoint, struct rdma_ended *ended);

/* --- control.c ------------------------------------------------------------------- */

MC_MUST_CHECK enum mc_status control_open(struct rdma_fabric *fabric,
					  const struct fabric_config *config);
MC_MUST_CHECK enum mc_status control_start(struct rdma_fabric *fabric);
void control_stop(struct rdma_fabric *fabric);
void control_close(struct rdma_fabric *fabric);
/* Have control look at an endpoint.  device->lock held. */
void control_queue(struct rdma_fabric *fabric, struct endpoint *endpoint);
/* It is about to be freed. */
void control_unqueue(struct rdma_fabric *fabric, struct endpoint *endpoint);
/* Have control tell slices that have ended. */
void control_tell(struct rdma_fabric *fabric, struct rdma_ended *ended);
void control_wake(struct rdma_fabric *fabric);
/* Have control log what happened to a path: many at once are one line.  wc: of work. */
void control_path_news(const struct endpoint *endpoint, enum path_event event,
		       const struct ibv_wc *wc);

/* --- link.c: handshakes, for control ------------------------------------------------ */

/* Begin the handshake of an endpoint that has its queue pairs. */
MC_MUST_CHECK enum mc_status link_begin(struct rdma_fabric *fabric, struct endpoint *endpoint);
MC_MUST_CHECK enum mc_status link_accept(struct rdma_fabric *fabric);
void link_ready(struct rdma_fabric *fabric, struct link *link, uint32_t events);
void link_check(struct rdma_fabric *fabric, uint64_t now_ns);
/* Close; freed with the batch. */
void link_close(struct rdma_fabric *fabric, struct link *link);
void link_free_dead(struct rdma_fabric *fabric);

/* --- cm.c: queue pairs by librdmacm, for control ------------------------------ */

/* Without a channel or a listener connections are made by handshakes alone (logged). */
void cm_open(struct rdma_fabric *fabric);
void cm_close(struct rdma_fabric *fabric);
/* Have the device listen at its GID's address, where it does not yet. */
void cm_listen(struct rdma_device *device);
/* Connect queue pairs with those of an answer; or expect to be asked to. */
MC_MUST_CHECK enum mc_status cm_connect(struct endpoint *endpoint, const struct handshake *theirs);
void cm_expect(struct endpoint *endpoint);
/* Ask again what was not answered.  It may fail the endpoint. */
void cm_check(struct endpoint *endpoint, uint64_t now_ns);
/* The endpoint ends. */
void cm_end(struct endpoint *endpoint);
/* One event, or false. */
bool cm_event(struct rdma_fabric *fabric);

/* --- region.c, peer.c ---------------------------------------------------------------- */

enum mc_status region_register(struct fabric *fabric, const struct fabric_region *region,
			       struct segment_buffer *buffer, const void **key);
void region_unregister(struct fabric *fabric, const void *key);

enum mc_status peer_connect(struct fabric *fabric, const struct segment_desc *desc,
			    struct fabric_peer **peer);
void peer_disconnect(struct fabric_peer *peer);
uint32_t peer_paths(struct fabric_peer *peer, const void *key, const struct segment_buffer *buffer);
enum mc_status peer_submit(struct fabric_peer *peer, struct fabric_slice *const *slices,
			   uint32_t count, uint32_t *taken);
void peer_cancel(struct fabric_peer *peer, struct fabric_slice *slice);
/* Paths of this device are due: what failed before says nothing now. */
void peer_device_up(struct rdma_device *device);
/* Try paths again that are due. */
void peer_probe_all(struct rdma_fabric *fabric, uint64_t now_ns);

#endif
