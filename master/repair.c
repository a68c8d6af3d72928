#include "master/repair.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/await.h"
#include "master/budget.h"
#include "master/census.h"
#include "master/job.h"
#include "master/placement.h"
#include "master/policy.h"
#include "master/rank.h"
#include "master/replicas.h"
#include "master/service.h"
#include "master/standing.h"

#define GIVE_MAX      512u    /* jobs given to nodes in one turn */
#define BUSY_MAX      16u     /* jobs in a row that had to wait, before others have a turn */
#define LATE_BYTES_MS 10000u  /* a slow node brings so many bytes in a millisecond */
#define LOOK_MS	      250u    /* between looks at copies that are late */
#define RETRY_MS_MAX  300000u /* before objects that found no place are tried again */
#define ROOM_PERCENT  80u     /* an evicted copy is made again on a node that is less full */

struct repair {
	struct jobs jobs;
	struct budget budget;
	struct repair_counters counters;
	struct census census;
	uint64_t started_ms;
	uint64_t looked_ms;
	uint64_t random;
	uint32_t open_nodes;
	uint32_t passing_nodes; /* copies on which don't count */
	bool unplaced;		/* some object found no place since the last walk began */
	uint64_t retry_ms;	/* after how long they were tried again last; 0: at no time */
	unsigned wanted_max;	/* copies that any object is known to want */
};

struct repair *repair_new(uint64_t rate, uint64_t now_ms)
{
	struct repair *repair = calloc(1, sizeof(*repair));

	if (!repair)
		return NULL;
	budget_begin(&repair->budget, rate, now_ms);
	repair->started_ms = now_ms;
	if (getrandom(&repair->random, sizeof(repair->random), 0) < 0 || repair->random == 0)
		repair->random = 1;
	census_init(&repair->census);
	return repair;
}

void repair_free(struct repair *repair)
{
	if (!repair)
		return;
	jobs_fini(&repair->jobs);
	free(repair);
}

void repair_counters(const struct repair *repair, struct repair_counters *counters)
{
	*counters = repair->counters;
	counters->queued = repair->jobs.count;
	counters->flights = repair->jobs.flights;
	counters->lacking = repair->census.lacking;
	counters->walking = repair->census.walking;
}

uint64_t repair_started_ms(const struct repair *repair)
{
	return repair->started_ms;
}

uint32_t repair_open_nodes(const struct repair *repair)
{
	return repair->open_nodes;
}

bool repair_expects(const struct repair *repair, uint64_t id)
{
	return job_find(&repair->jobs, id) != NULL;
}

uint32_t repair_flight(const struct repair *repair, uint64_t id)
{
	const struct job *job = job_find(&repair->jobs, id);

	return job && job->flight_count ? job->flights[0].node + 1u : 0;
}

void repair_look(struct mc_master *master, uint64_t delay_ms)
{
	census_look(&master->repair->census, master->now_ms + delay_ms);
}

void repair_begin(struct mc_master *master)
{
	/* A standby was made long before it leads. */
	master->repair->started_ms = master->now_ms;
	repair_look(master, (uint64_t)master->ttl_ms + master->repair_delay_ms);
}

/* -- jobs -- */

static unsigned queue_of(const struct standing *standing)
{
	unsigned reachable = standing->reachable;

	return reachable < 1 ? 1 : reachable > MC_REPLICA_MAX ? MC_REPLICA_MAX : reachable;
}

static struct job *job_take(struct mc_master *master, const struct entry *entry, unsigned queue)
{
	struct repair *repair = master->repair;
	struct job *job = job_find(&repair->jobs, entry->id);

	if (!job && repair->jobs.count >= REPAIR_JOB_MAX) {
		repair_look(master, 0); /* the walk finds it when there is room */
		return NULL;
	}
	if (!job)
		job = job_begin(&repair->jobs, entry->id, queue);
	if (!job) {
		repair_look(master, LOOK_MS);
		return NULL;
	}
	if (job->version != entry->version) {
		job_land_all(&repair->jobs, job);
		job->version = entry->version;
		job->barred_count = 0;
	}
	if (job->flight_count == 0)
		job->bytes = entry->allocated;
	return job;
}

/* Some node could take the copy without evicting for it. */
static bool has_room(const struct mc_master *master, const struct entry *entry)
{
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		uint64_t used = node->public.used + master->repair->jobs.coming[i].bytes;
		if (placement_open(node) && !replicas_has(entry, node) &&
		    used + entry->allocated < node->public.capacity / 100 * ROOM_PERCENT)
			return true;
	}
	return false;
}

bool repair_want(struct mc_master *master, struct entry *entry, const struct standing *standing)
{
	struct standing now = *standing;

	rank_raise(master, entry, &now);
	if (standing_lack(&now) == 0)
		return false;
	if (now.reachable == 0 || repair_expects(master->repair, entry->id))
		return true;
	if (entry->flags & MC_ATTR_THINNED && !has_room(master, entry))
		return true;
	(void)job_take(master, entry, queue_of(&now));
	return true;
}

struct load {
	const struct jobs *jobs;
	uint64_t bytes; /* of the copy that is to be placed */
};

static uint64_t coming(const void *context, const struct node *node)
{
	const struct load *load = context;

	return load->jobs->coming[node_index(node)].bytes;
}

/* What is under way to a node takes memory that it can't evict. */
static bool busy(const void *context, const struct node *node)
{
	const struct load *load = context;
	uint32_t count = load->jobs->coming[node_index(node)].count;
	uint64_t bytes = load->jobs->coming[node_index(node)].bytes + load->bytes;

	return count >= REPAIR_FLIGHT_MAX || (count > 0 && bytes > node->public.capacity / 8);
}

static struct node *destination(struct mc_master *master, const struct job *job,
				const struct entry *entry, bool enough, bool *later)
{
	uint16_t held[2 * MC_REPLICA_MAX];
	struct mc_placement said;
	struct load load = {&master->repair->jobs, job->bytes};
	struct placement_wish wish = {
		.size = job->bytes,
		.held = held,
		.barred = job->barred,
		.barred_count = job->barred_count,
		.placement = job->placement,
		.preferred_only = enough,
		.coming = coming,
		.busy = busy,
		.context = &load,
		.random = &master->repair->random,
	};

	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (nodes_shows(&master->nodes, entry->replicas[i]))
			held[wish.held_count++] = REPLICA_NODE(entry->replicas[i]);
	}
	for (uint8_t i = 0; i < job->flight_count; i++)
		held[wish.held_count++] = job->flights[i].node;
	if (!job->placement) {
		policy_of_entry(master, entry, &said);
		wish.placement = &said;
	}
	return placement_choose(&master->nodes, &wish, later);
}

enum given { GIVEN, GIVEN_LATER, GIVEN_NEVER };

/* Copies that the job still has to begin. */
static unsigned job_missing(struct mc_master *master, const struct job *job,
			    const struct entry *entry, struct standing *standing)
{
	standing_of(master, entry, standing);
	unsigned lack = standing_lack(standing);
	/* A copy for a preferred node is made though the writer's own is enough. */
	if (lack == 0 && job->placement && job->placement->preferred_count > 0 &&
	    standing->primaries <= standing->wanted) {
		bool there = false;
		for (uint8_t i = 0; i < entry->replica_count; i++)
			there |= rank_preferred(master, job->placement, entry->replicas[i]);
		lack = !there;
	}
	return lack > job->flight_count ? lack - job->flight_count : 0;
}

static enum given job_give(struct mc_master *master, struct job *job, const struct entry *entry,
			   bool enough, unsigned missing)
{
	struct jobs *jobs = &master->repair->jobs;

	for (; missing > 0 && job->flight_count < MC_REPLICA_MAX; missing--) {
		bool later;
		struct node *node = destination(master, job, entry, enough, &later);
		if (!node && later)
			return GIVEN_LATER;
		if (!node)
			return job->flight_count ? GIVEN : GIVEN_NEVER;
		job_fly(jobs, job, (uint16_t)node_index(node), master->now_ms);
		master_session_replicate(master, node, entry);
		failpoint("copy.asked");
		if (!job->fresh)
			budget_spend(&master->repair->budget, job->bytes);
	}
	return GIVEN;
}

/* Try again, less and less often while nothing changes. */
static void unplaced(struct mc_master *master)
{
	struct repair *repair = master->repair;

	if (repair->unplaced)
		return;
	repair->unplaced = true;
	repair->retry_ms = repair->retry_ms ? 2 * repair->retry_ms : master->repair_delay_ms;
	if (repair->retry_ms > RETRY_MS_MAX)
		repair->retry_ms = RETRY_MS_MAX;
	repair_look(master, repair->retry_ms);
}

/* One job of a queue.  False: it has to wait. */
static bool job_step(struct mc_master *master, struct job *job)
{
	struct jobs *jobs = &master->repair->jobs;
	struct entry *entry = catalog_find(&master->catalog, job->id);
	struct standing standing;

	if (!entry || entry_is_directory(entry)) {
		await_fail(master, job->id, MC_NOT_FOUND);
		job_end(jobs, job);
		return true;
	}
	unsigned missing = job_missing(master, job, entry, &standing);
	if (missing > 0 && standing_lack(&standing) > 0) {
		rank_raise(master, entry, &standing);
		missing = job_missing(master, job, entry, &standing);
	}
	enum given given = GIVEN;
	if (missing > 0 && standing.reachable == 0)
		given = GIVEN_NEVER;
	else if (missing > 0)
		given = job_give(master, job, entry, standing_lack(&standing) == 0, missing);
	if (given == GIVEN_LATER) {
		if (job->queue == JOB_FLYING)
			job_move(jobs, job, job->fresh ? JOB_FRESH : queue_of(&standing));
		return false;
	}
	if (given == GIVEN && job->flight_count > 0) {
		job_move(jobs, job, JOB_FLYING);
		return true;
	}
	/* Enough there are, or nobody is left to ask. */
	rank_settle(master, entry, job->placement);
	await_check(master, entry);
	await_fail(master, job->id, MC_NO_SPACE);
	if (given == GIVEN_NEVER && standing_lack(&standing) > 0)
		unplaced(master);
	job_end(jobs, job);
	return true;
}

/* What is left of a turn. */
struct giving {
	unsigned left; /* jobs */
	bool broke;    /* nothing of the budget */
};

/* From a job on, until enough had to wait; returns with whom to go on. */
static struct job *give_from(struct mc_master *master, struct job *job, struct giving *giving)
{
	struct budget *budget = &master->repair->budget;
	unsigned waiting = 0;

	while (job && giving->left > 0 && waiting < BUSY_MAX) {
		struct job *next = job->next;
		giving->broke = job->queue != JOB_FRESH && !budget_has(budget, master->now_ms);
		if (giving->broke)
			break;
		giving->left--;
		waiting += !job_step(master, job);
		job = next;
	}
	return job;
}

static void give(struct mc_master *master)
{
	struct jobs *jobs = &master->repair->jobs;
	struct giving giving = {.left = GIVE_MAX};

	for (unsigned queue = JOB_FRESH; queue < JOB_FLYING && !giving.broke; queue++) {
		struct job *rest = give_from(master, jobs->queues[queue].first, &giving);
		/* Behind the oldest, all waiting for one busy node, may be some for others. */
		struct job *resume = jobs->queues[queue].resume;
		if (rest && !giving.broke)
			jobs->queues[queue].resume =
				give_from(master, resume ? resume : rest, &giving);
	}
}

/* A flight came to nothing: the job goes on with another node. */
static void flight_failed(struct mc_master *master, struct job *job, uint16_t index, bool bar)
{
	struct repair *repair = master->repair;
	const struct entry *entry = catalog_find(&master->catalog, job->id);
	struct standing standing = {0};

	job_land(&repair->jobs, job, index);
	if (bar)
		job_bar(job, index);
	if (entry && !entry_is_directory(entry))
		standing_of(master, entry, &standing);
	job_move(&repair->jobs, job, job->fresh ? JOB_FRESH : queue_of(&standing));
}

static void flights_check(struct mc_master *master)
{
	struct repair *repair = master->repair;
	struct job *next;

	if (master->now_ms - repair->looked_ms < LOOK_MS)
		return;
	repair->looked_ms = master->now_ms;
	for (struct job *job = repair->jobs.queues[JOB_FLYING].first; job; job = next) {
		next = job->next;
		for (int i = job->flight_count - 1; i >= 0; i--) {
			const struct flight *flight = &job->flights[i];
			const struct node *node = &master->nodes.table[flight->node];
			uint64_t most_ms = REPAIR_LATE_MS + job->bytes / LATE_BYTES_MS;
			bool late = master->now_ms - flight->since_ms > most_ms;
			if (late || node->state != NODE_PRESENT)
				flight_failed(master, job, flight->node, true);
		}
	}
}

void repair_left(struct mc_master *master, const struct node *node)
{
	struct jobs *jobs = &master->repair->jobs;
	uint16_t index = (uint16_t)node_index(node);

	for (unsigned queue = 0; queue < JOB_QUEUES && jobs->coming[index].count; queue++) {
		struct job *next;
		for (struct job *job = jobs->queues[queue].first; job; job = next) {
			next = job->next;
			if (job_flies(job, index))
				flight_failed(master, job, index, false);
		}
	}
}

static void nodes_count(struct mc_master *master)
{
	struct repair *repair = master->repair;
	uint32_t before = repair->open_nodes;

	repair->open_nodes = repair->passing_nodes = 0;
	for (uint32_t i = 0; i < master->nodes.used; i++) {
		const struct node *node = &master->nodes.table[i];
		repair->open_nodes += placement_open(node);
		repair->passing_nodes += node->state != NODE_FREE && !node_keeps(node);
	}
	/* What waited for a node may have one now. */
	if (repair->open_nodes <= before)
		return;
	if (repair->census.lacking > 0 || repair->unplaced || repair->wanted_max > before)
		repair_look(master, 0);
	repair->retry_ms = 0;
}

bool repair_walks(const struct repair *repair)
{
	return repair->census.walking && repair->jobs.count < REPAIR_JOB_MAX / 2;
}

void repair_turn(struct mc_master *master, bool own)
{
	struct repair *repair = master->repair;

	nodes_count(master);
	if (own) {
		bool walked = repair->census.walking;
		flights_check(master);
		census_turn(master, &repair->census, repair->jobs.count < REPAIR_JOB_MAX / 2);
		if (!walked && repair->census.walking)
			repair->unplaced = false;
	}
	if (repair->census.wanted_max > repair->wanted_max)
		repair->wanted_max = repair->census.wanted_max;
	if (repair->jobs.count > 0)
		give(master);
}

/* -- what happens to objects -- */

static void flags_set(struct mc_master *master, struct entry *entry, uint32_t flags)
{
	if (entry->flags == flags)
		return;
	master_touch(master, entry);
	entry->flags = (uint8_t)flags;
}

/* Take over what the other says: all of it first, or where nothing was said. */
static void placement_merge(struct mc_placement *said, const struct mc_placement *other, bool first)
{
	if (other->replicas && (first || !said->replicas))
		said->replicas = other->replicas;
	if (other->ack && (first || !said->ack))
		said->ack = other->ack;
	if (other->preferred_count && (first || !said->preferred_count)) {
		said->preferred_count = other->preferred_count;
		memcpy(said->preferred, other->preferred, sizeof(said->preferred));
	}
}

static void fresh_begin(struct mc_master *master, struct entry *entry,
			const struct mc_placement *placement)
{
	struct job *job = job_take(master, entry, JOB_FRESH);

	if (!job)
		return;
	job->fresh = true;
	job_move(&master->repair->jobs, job, JOB_FRESH);
	if (placement->preferred_count && !job->placement)
		job->placement = malloc(sizeof(*job->placement));
	if (placement->preferred_count && job->placement)
		*job->placement = *placement;
}

uint8_t repair_published(struct mc_master *master, struct entry *entry,
			 const struct mc_placement *liked, bool own)
{
	struct repair *repair = master->repair;
	struct mc_placement said;
	struct standing standing;

	if (!liked && master->policies.count == 0 && repair->passing_nodes == 0 &&
	    MC_ATTR_REPLICAS_GET(entry->flags) == 0)
		return 0;
	policy_of_entry(master, entry, &said);
	bool ruled = said.replicas != 0;
	uint32_t flags = entry->flags;
	if (said.pin == MC_PIN_ON)
		flags |= MC_ATTR_PINNED;
	if (liked)
		placement_merge(&said, liked, own);
	/* Nobody else will remember what the mount liked. */
	if ((own || !ruled) && said.replicas > 1 && MC_ATTR_REPLICAS_GET(flags) == 0)
		flags |= MC_ATTR_REPLICAS_PUT(said.replicas);
	flags_set(master, entry, flags);
	standing_of(master, entry, &standing);
	if (standing.wanted > repair->wanted_max)
		repair->wanted_max = standing.wanted;
	if (standing_lack(&standing) > 0 || said.preferred_count > 0)
		fresh_begin(master, entry, &said);
	uint8_t ack = said.ack < standing.wanted ? said.ack : standing.wanted;
	/* A guest's own copy is none to rely on. */
	if (ack == 0)
		ack = 1;
	return ack > standing.primaries ? ack : 0;
}

void repair_changed(struct mc_master *master, struct entry *entry)
{
	struct standing standing;

	rank_settle(master, entry, NULL);
	standing_of(master, entry, &standing);
	if (standing.wanted > master->repair->wanted_max)
		master->repair->wanted_max = standing.wanted;
	if (standing_lack(&standing) > 0)
		repair_want(master, entry, &standing);
}

void repair_added(struct mc_master *master, struct entry *entry, const struct node *node)
{
	struct repair *repair = master->repair;
	struct job *job = job_find(&repair->jobs, entry->id);

	if (job && job_land(&repair->jobs, job, (uint16_t)node_index(node))) {
		repair->counters.made++;
		repair->retry_ms = 0;
	}
	flags_set(master, entry, entry->flags & ~(uint32_t)MC_ATTR_THINNED);
	await_check(master, entry);
	if (job && job->flight_count == 0)
		job_step(master, job);
	else if (!job)
		rank_settle(master, entry, NULL);
}

void repair_dropped(struct mc_master *master, struct entry *entry, const struct node *node)
{
	struct standing standing;

	standing_of(master, entry, &standing);
	if (standing_lack(&standing) == 0)
		return;
	flags_set(master, entry, entry->flags | MC_ATTR_THINNED);
	repair_want(master, entry, &standing);
	struct job *job = job_find(&master->repair->jobs, entry->id);
	if (job)
		job_bar(job, (uint16_t)node_index(node));
}

void repair_refused(struct mc_master *master, uint64_t id, const struct node *node,
		    enum mc_status reason)
{
	struct repair *repair = master->repair;
	struct job *job = job_find(&repair->jobs, id);

	repair->counters.refused++;
	if (job && job_flies(job, (uint16_t)node_index(node)))
		flight_failed(master, job, (uint16_t)node_index(node), true);
	log_debug("a copy was not made id=%lx node=%u reason=\"%s\"", (unsigned long)id,
		  node->public.id, mc_status_text(reason));
}

/* The node, if it has a readable copy of the object. */
static struct node *holder(const struct mc_master *master, const struct entry *entry,
			   uint32_t node_id)
{
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (REPLICA_NODE(entry->replicas[i]) + 1u == node_id &&
		    nodes_shows(&master->nodes, entry->replicas[i]))
			return &master->nodes.table[node_id - 1];
	}
	return NULL;
}

void repair_bad(struct mc_master *master, struct session *session, struct entry *entry,
		uint32_t node_id, enum mc_status reason)
{
	struct node *node = holder(master, entry, node_id);
	bool unusable = reason == MC_IO || reason == MC_NOT_FOUND || reason == MC_STALE;
	struct standing standing;

	if (!node)
		return;
	master->repair->counters.bad++;
	standing_of(master, entry, &standing);
	/* Whether a node can be reached is for its heartbeats to say. */
	bool drop = unusable && standing.reachable > 1;
	if (reason == MC_IO)
		log_warn("a copy is damaged id=%lx node=%u name=%s found_by=%u dropped=%s",
			 (unsigned long)entry->id, node->public.id, node->public.name, session->id,
			 drop ? "yes" : "no");
	if (!drop)
		return;
	master_session_drop_node(master, node, entry);
	replicas_remove(master, entry, node);
	standing_of(master, entry, &standing);
	repair_want(master, entry, &standing);
	struct job *job = job_find(&master->repair->jobs, entry->id);
	if (job)
		job_bar(job, (uint16_t)node_index(node));
}
