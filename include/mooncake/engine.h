/*
 * mooncake/engine.h -- one-sided transfers between registered memory of processes
 *
 * An engine has one local segment, known to others by its name, in which memory
 * is registered.  Others open the segment by that name and read from it or
 * write to it, without the owner's processor where the hardware can (RDMA).
 *
 *     struct mc_engine *engine;
 *     struct mc_batch *batch;
 *     mc_engine_open(&(struct mc_engine_config){.metadata = "http://10.0.0.1:50080/metadata",
 *                                               .name = "node7"}, &engine);
 *     mc_engine_register(engine, memory, size, "*", MC_REGION_DEFAULT);
 *     mc_segment_open(engine, "node3", 0, &segment);
 *     mc_batch_new(engine, 1, &batch);
 *     mc_batch_submit(batch, &(struct mc_request){MC_READ, memory, segment, address, size}, 1);
 *     mc_batch_wait(batch, 1000);
 *     mc_batch_free(batch);
 *
 * Addresses in a remote segment are virtual addresses of its process; in a
 * segment of files (NVMe-oF) they are offsets into the concatenation of these.
 * What is registered where is found in the segment's descriptor, which the
 * metadata store keeps; formats and keys are those of Mooncake's Transfer
 * Engine (docs/engine.md maps its C interface to this one).
 *
 * Once requests have ended, a short message can tell the owner so: a notification.
 *
 * Ownership   Memory is the caller's and must stay until it is unregistered.
 *             Strings are copied.  A batch is freed by its maker, before its
 *             engine is closed; a buffer must stay while a task uses it.
 * Threads     Any thread, any number.  One batch: submit by one thread at a
 *             time, all else by any.  Closing an engine must be the last call.
 *             After fork() only the parent may go on using it.
 * Errors      As each function says; every status that is not listed there is
 *             a failure of the system (MC_NO_MEMORY, MC_IO).
 */
#ifndef MOONCAKE_ENGINE_H
#define MOONCAKE_ENGINE_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mc_engine;
struct mc_batch;

/* -- engine -- */

/* Zero and NULL mean the default. */
struct mc_engine_config {
	/*
	 * Where segments are found: "http://HOST:PORT/metadata", "etcd://HOST:PORT[,…]",
	 * or "P2PHANDSHAKE": nowhere, a segment's name is then HOST:PORT of its engine.
	 */
	const char *metadata;
	const char *name;     /* of the local segment; with P2PHANDSHAKE it is made */
	const char *listen;   /* host to listen on; default: all addresses */
	const char *announce; /* host that peers connect to; default: from the routes */
	uint16_t port_first;  /* range of ports to draw from; both 0: any free one */
	uint16_t port_last;
	const char *protocols; /* comma-separated: "rdma,shm,tcp"; default: all that work here */
	const char *devices;   /* comma-separated names of NICs; default: all */
	const char *priority;  /* JSON: {"cpu:0":[["mlx5_0"],["mlx5_1"]]}; default: by distance */
	/*
	 * Take notifications, on one more port of the range (with P2PHANDSHAKE: on the same).
	 * Without it nobody can send any here: they would wait in memory for good.
	 */
	bool notifications;
};

/*
 * Open an engine and publish its segment.
 *
 * MC_INVALID         the configuration makes no sense (logged)
 * MC_NOT_SUPPORTED   none of the protocols works on this machine, or this build has
 *                    no such metadata store
 * MC_EXISTS          a living engine has that name
 * MC_UNREACHABLE     the metadata store does not answer
 */
MC_MUST_CHECK enum mc_status mc_engine_open(const struct mc_engine_config *config,
					    struct mc_engine **engine);

/* Withdraw the segment, end what is in flight, close.  Batches must be freed before.  Takes NULL.
 */
void mc_engine_close(struct mc_engine *engine);

/* The name of the local segment, and where the engine can be reached.  Valid until close. */
const char *mc_engine_name(const struct mc_engine *engine);
const char *mc_engine_address(const struct mc_engine *engine);

/* Local devices by location, as the priority matrix has them: JSON, the caller frees. */
char *mc_engine_topology(const struct mc_engine *engine);

/* -- memory -- */

/*
 * Memory that processes of the same host can map, so that transfers between them (the shm
 * fabric) are plain copies.  Any other memory can be registered as well.  Whole pages, zero;
 * shared with children after fork().  MC_INVALID: no length.
 */
MC_MUST_CHECK enum mc_status mc_memory_alloc(size_t length, void **memory);
/* The start of what was allocated, and no longer registered.  Takes NULL. */
void mc_memory_free(void *memory);

enum mc_region_access {
	MC_REGION_LOCAL = 0, /* only for transfers that this engine begins */
	MC_REGION_REMOTE_READ = 1u << 0,
	MC_REGION_REMOTE_WRITE = 1u << 1,
	MC_REGION_DEFAULT = MC_REGION_REMOTE_READ | MC_REGION_REMOTE_WRITE,
	MC_REGION_QUIET = 1u << 2, /* don't publish now: the next registration without it does */
};

struct mc_region {
	void *memory;
	size_t length; /* bytes, not 0 */
};

/*
 * Register memory.  location: "cpu:N", "cuda:N", "*" (found out by page: where the NUMA
 * node changes, the segment's descriptor has another buffer), or NULL (as "*", but it
 * stays one buffer).  Only RDMA chooses devices by it.
 *
 * MC_EXISTS          it overlaps what is registered
 * MC_NOT_SUPPORTED   it is a GPU's, and no protocol here can reach that
 */
MC_MUST_CHECK enum mc_status mc_engine_register(struct mc_engine *engine, void *memory,
						size_t length, const char *location,
						uint32_t access);
/* All or none; registered in parallel, published once. */
MC_MUST_CHECK enum mc_status mc_engine_register_batch(struct mc_engine *engine,
						      const struct mc_region *regions, size_t count,
						      const char *location, uint32_t access);

/*
 * The start of a region as it was registered.
 *
 * MC_NOT_FOUND   nothing is registered there
 * MC_BUSY        a transfer of this engine uses it
 */
MC_MUST_CHECK enum mc_status mc_engine_unregister(struct mc_engine *engine, void *memory);
MC_MUST_CHECK enum mc_status mc_engine_unregister_batch(struct mc_engine *engine,
							void *const *memory, size_t count);

/* -- segments -- */

typedef uint32_t mc_segment_id;

#define MC_SEGMENT_LOCAL 0u /* this engine's own */

enum mc_segment_flag {
	MC_SEGMENT_NO_CACHE = 1u << 0, /* ask the metadata store even if it is known */
};

/*
 * Open a segment by name.  The same name gives the same id, counted.
 *
 * MC_INVALID         it can't be a name
 * MC_NOT_FOUND       nobody published it
 * MC_NOT_SUPPORTED   no protocol that both sides have
 * MC_PROTOCOL        its descriptor is damaged
 */
MC_MUST_CHECK enum mc_status mc_segment_open(struct mc_engine *engine, const char *name,
					     uint32_t flags, mc_segment_id *segment);
/* MC_BUSY: transfers to it are in flight.  MC_NOT_FOUND: not open. */
MC_MUST_CHECK enum mc_status mc_segment_close(struct mc_engine *engine, mc_segment_id segment);

struct mc_segment_buffer {
	uint64_t address;
	uint64_t length;
};

/* What is registered in a segment: at most *count buffers, then how many there are. */
MC_MUST_CHECK enum mc_status mc_segment_buffers(struct mc_engine *engine, mc_segment_id segment,
						struct mc_segment_buffer *buffers, size_t *count);

/* Fetch descriptors anew: of one segment, or of all (NULL). */
MC_MUST_CHECK enum mc_status mc_segment_sync(struct mc_engine *engine, const char *name);

/* -- transfers -- */

enum mc_opcode { MC_READ = 0, MC_WRITE = 1 };

struct mc_request {
	enum mc_opcode opcode;
	void *local; /* in registered memory */
	mc_segment_id segment;
	uint64_t remote;
	uint64_t length; /* bytes */
};

/* Numbers as in Mooncake's interface. */
enum mc_task_state {
	MC_TASK_WAITING = 0, /* not submitted yet */
	MC_TASK_PENDING = 1,
	MC_TASK_INVALID = 2,
	MC_TASK_CANCELLED = 3,
	MC_TASK_COMPLETED = 4,
	MC_TASK_TIMEOUT = 5,
	MC_TASK_FAILED = 6,
};

struct mc_task_status {
	enum mc_task_state state;
	enum mc_status status; /* why it failed, else MC_OK */
	uint64_t bytes;	       /* transferred so far */
};

/* A batch with room for so many tasks.  MC_INVALID: 0 or too many. */
#define MC_BATCH_TASKS_MAX 65536u
MC_MUST_CHECK enum mc_status mc_batch_new(struct mc_engine *engine, size_t tasks_max,
					  struct mc_batch **batch);

/*
 * Begin these requests as the next tasks of the batch, all or none.
 *
 * MC_TOO_BIG     the batch has no room for them
 * MC_INVALID     local memory that is not registered, or a length that overflows
 * MC_NOT_FOUND   the segment is not open
 * MC_ACCESS      no such memory in the segment, also after its descriptor was
 *                fetched anew
 * MC_NOT_SUPPORTED   a copy within the process, of memory of a GPU
 */
MC_MUST_CHECK enum mc_status mc_batch_submit(struct mc_batch *batch,
					     const struct mc_request *requests, size_t count);

/* What became of a task, now.  MC_INVALID: there is no such task. */
MC_MUST_CHECK enum mc_status mc_batch_status(struct mc_batch *batch, size_t task,
					     struct mc_task_status *status);
/* The whole batch: PENDING while one task is, else the worst of their states. */
void mc_batch_summary(struct mc_batch *batch, struct mc_task_status *status);

/*
 * Wait until every task has ended, making progress meanwhile.  timeout_ms -1: forever.
 *
 * MC_TIMEOUT   some have not; nothing has changed for them
 * else         the status of the first task that failed
 */
MC_MUST_CHECK enum mc_status mc_batch_wait(struct mc_batch *batch, int timeout_ms);

/*
 * Let tasks that have not ended by then end with MC_TASK_TIMEOUT, and so what is submitted
 * to the batch later.  Milliseconds from now.
 */
void mc_batch_deadline(struct mc_batch *batch, uint32_t deadline_ms);

/*
 * End what has not ended with MC_TASK_CANCELLED, soon: wait for it before the memory is
 * reused.  A batch of which something was cancelled begins nothing more: what is submitted
 * to it later ends the same way.
 */
void mc_batch_cancel(struct mc_batch *batch);

/* MC_BUSY: some task has not ended. */
MC_MUST_CHECK enum mc_status mc_batch_free(struct mc_batch *batch);

/* -- notifications -- */

/*
 * A notification is two short texts, told to the engine that a segment belongs to.  It
 * comes once or not at all, and stays there until it is taken.  Whoever has taken it sees
 * all that the requests before it have written.  Two that are under way at the same time
 * may come in any order; what was submitted after another had ended comes after it.
 *
 * It goes over a TCP connection of its own, whatever fabric moves the bytes.  As with these
 * there is no authentication: do not trust what it says more than who can reach the port.
 */
#define MC_NOTIFY_NAME_MAX  255u	/* bytes of a name, without the terminator */
#define MC_NOTIFY_TEXT_MAX  65536u	/* of a text */
#define MC_NOTIFY_COUNT_MAX 1024u	/* that wait in an engine */
#define MC_NOTIFY_SIZE_MAX  (16u << 20) /* bytes of all that wait in an engine */

struct mc_notification {
	const char *name; /* who, as a rule */
	const char *text; /* what: any bytes but zero */
};

/*
 * mc_batch_submit(), and a notification when all these requests have completed.  It is one
 * more task of the batch, the last of this call, and ends when the segment's engine has
 * taken it in; so waiting for the batch waits for that.  It says nothing, and ends as the
 * first of them that failed, if one of the requests does.  count may be 0.
 *
 * MC_TOO_BIG         the batch has no room for them and one more, or a text is too long
 * MC_NOT_SUPPORTED   the segment's engine takes none, or it is a segment of files
 * else               as mc_batch_submit()
 *
 * The task's status, besides MC_OK:
 *
 * MC_UNREACHABLE   there is no engine at that address: it was not told
 * MC_NO_SPACE      it was refused, too many wait there already
 * MC_TIMEOUT       no answer, or a deadline: it may have been told
 * MC_CANCELLED     likewise
 * MC_PROTOCOL      the answer is none
 */
MC_MUST_CHECK enum mc_status mc_batch_submit_notify(struct mc_batch *batch,
						    const struct mc_request *requests, size_t count,
						    mc_segment_id segment, const char *name,
						    const char *text);

/* A notification alone, and wait for its end.  timeout_ms -1: forever.  Statuses as above. */
MC_MUST_CHECK enum mc_status mc_engine_notify(struct mc_engine *engine, mc_segment_id segment,
					      const char *name, const char *text, int timeout_ms);

/*
 * Take all that have come, in the order in which they came, and wait for one if there is
 * none: timeout_ms 0: don't, -1: forever.  *count 0 and *list NULL: none came.  The caller
 * frees the list, with free() and at once, texts and all.
 *
 * MC_NOT_SUPPORTED   the engine was opened without
 */
MC_MUST_CHECK enum mc_status mc_engine_notifications(struct mc_engine *engine, int timeout_ms,
						     struct mc_notification **list, size_t *count);

/* -- statistics -- */

struct mc_engine_stats {
	uint64_t bytes_read, bytes_written;
	uint64_t tasks_completed, tasks_failed;
	uint64_t slices_retried;
	/* now, and zero when nothing is under way */
	uint64_t batches, tasks, slices, regions, segments, connections;
	uint64_t notifications; /* that wait to be taken */
};
void mc_engine_stats(struct mc_engine *engine, struct mc_engine_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
