/*
 * master/job.h -- objects that wait for copies, and the copies under way
 *
 * A job stands in one of the queues, each first in, first out; the most urgent
 * queue has the lowest number.  A job all of whose missing copies are under way
 * stands in JOB_FLYING.
 *
 * Ownership   Jobs belong to the table; one is valid until job_end().
 * Threads     The master's.
 */
#ifndef MASTER_JOB_H
#define MASTER_JOB_H

#include <mooncake/types.h>
#include <stdint.h>

#define JOB_BUCKETS 16384u

enum job_queue {
	JOB_FRESH = 0, /* just put: costs nothing of the budget */
	/* then by replicas that can be read: 1 to MC_REPLICA_MAX */
	JOB_FLYING = MC_REPLICA_MAX + 1,
	JOB_QUEUES,
};

struct flight {
	uint16_t node; /* its index */
	uint64_t since_ms;
};

struct job {
	struct job *next; /* in its queue */
	struct job *previous;
	struct job *chain; /* in its bucket */
	uint64_t id;
	uint64_t version; /* that the flights are of */
	uint64_t bytes;	  /* a copy takes */
	uint8_t queue;
	uint8_t flight_count;
	uint8_t barred_count;
	bool fresh;
	struct flight flights[MC_REPLICA_MAX];
	uint16_t barred[MC_REPLICA_MAX]; /* nodes that refused; the oldest goes when it is full */
	struct mc_placement *placement;	 /* what its mount would like; NULL: nothing said */
};

struct jobs {
	uint32_t count;
	uint32_t flights;
	struct job *buckets[JOB_BUCKETS];
	struct {
		struct job *first;
		struct job *last;
		struct job *resume; /* with whom the next look goes on; NULL: at the beginning */
	} queues[JOB_QUEUES];
	struct {
		uint64_t bytes;
		uint32_t count;
	} coming[MC_NODE_MAX]; /* under way to a node */
};

/* NULL: there is none. */
struct job *job_find(const struct jobs *jobs, uint64_t id);
/* At the end of a queue.  The id has no job yet.  NULL: out of memory. */
struct job *job_begin(struct jobs *jobs, uint64_t id, unsigned queue);
void job_move(struct jobs *jobs, struct job *job, unsigned queue);
/* Its flights are forgotten with it. */
void job_end(struct jobs *jobs, struct job *job);
void jobs_fini(struct jobs *jobs);

void job_fly(struct jobs *jobs, struct job *job, uint16_t node, uint64_t now_ms);
/* False: none is under way to that node. */
bool job_land(struct jobs *jobs, struct job *job, uint16_t node);
void job_land_all(struct jobs *jobs, struct job *job);
bool job_flies(const struct job *job, uint16_t node);
void job_bar(struct job *job, uint16_t node);

#endif
