#include "master/job.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "master/table.h"

static uint32_t bucket_of(uint64_t id)
{
	return (uint32_t)(table_mix(id) & (JOB_BUCKETS - 1));
}

struct job *job_find(const struct jobs *jobs, uint64_t id)
{
	struct job *job = jobs->buckets[bucket_of(id)];

	while (job && job->id != id)
		job = job->chain;
	return job;
}

static void enqueue(struct jobs *jobs, struct job *job, unsigned queue)
{
	MUST(queue < JOB_QUEUES);
	job->queue = (uint8_t)queue;
	job->next = NULL;
	job->previous = jobs->queues[queue].last;
	if (job->previous)
		job->previous->next = job;
	else
		jobs->queues[queue].first = job;
	jobs->queues[queue].last = job;
}

static void dequeue(struct jobs *jobs, struct job *job)
{
	if (jobs->queues[job->queue].resume == job)
		jobs->queues[job->queue].resume = job->next;
	if (job->previous)
		job->previous->next = job->next;
	else
		jobs->queues[job->queue].first = job->next;
	if (job->next)
		job->next->previous = job->previous;
	else
		jobs->queues[job->queue].last = job->previous;
}

struct job *job_begin(struct jobs *jobs, uint64_t id, unsigned queue)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->id = id;
	job->fresh = queue == JOB_FRESH;
	job->chain = jobs->buckets[bucket_of(id)];
	jobs->buckets[bucket_of(id)] = job;
	jobs->count++;
	enqueue(jobs, job, queue);
	return job;
}

void job_move(struct jobs *jobs, struct job *job, unsigned queue)
{
	if (job->queue == queue)
		return;
	dequeue(jobs, job);
	enqueue(jobs, job, queue);
}

void job_end(struct jobs *jobs, struct job *job)
{
	struct job **at = &jobs->buckets[bucket_of(job->id)];

	job_land_all(jobs, job);
	while (*at != job)
		at = &(*at)->chain;
	*at = job->chain;
	dequeue(jobs, job);
	jobs->count--;
	free(job->placement);
	free(job);
}

void jobs_fini(struct jobs *jobs)
{
	for (unsigned queue = 0; queue < JOB_QUEUES; queue++) {
		while (jobs->queues[queue].first)
			job_end(jobs, jobs->queues[queue].first);
	}
}

void job_fly(struct jobs *jobs, struct job *job, uint16_t node, uint64_t now_ms)
{
	MUST(job->flight_count < MC_REPLICA_MAX && !job_flies(job, node));
	job->flights[job->flight_count++] = (struct flight){.node = node, .since_ms = now_ms};
	jobs->flights++;
	jobs->coming[node].count++;
	jobs->coming[node].bytes += job->bytes;
}

static int flight_of(const struct job *job, uint16_t node)
{
	for (int i = 0; i < job->flight_count; i++) {
		if (job->flights[i].node == node)
			return i;
	}
	return -1;
}

bool job_flies(const struct job *job, uint16_t node)
{
	return flight_of(job, node) >= 0;
}

bool job_land(struct jobs *jobs, struct job *job, uint16_t node)
{
	int at = flight_of(job, node);

	if (at < 0)
		return false;
	job->flights[at] = job->flights[--job->flight_count];
	jobs->flights--;
	jobs->coming[node].count--;
	jobs->coming[node].bytes -= job->bytes;
	return true;
}

void job_land_all(struct jobs *jobs, struct job *job)
{
	while (job->flight_count > 0)
		job_land(jobs, job, job->flights[0].node);
}

void job_bar(struct job *job, uint16_t node)
{
	if (job->barred_count == MC_REPLICA_MAX)
		memmove(job->barred, job->barred + 1, --job->barred_count * sizeof(job->barred[0]));
	job->barred[job->barred_count++] = node;
}
