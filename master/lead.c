#include "master/lead.h"

#include <string.h>
#include <sys/random.h>

#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/await.h"
#include "master/gather.h"
#include "master/journal.h"
#include "master/predecessor.h"
#include "master/record.h"
#include "master/repair.h"
#include "master/turn.h"
#include "master/unstored.h"

#define SECOND_NS 1000000000u

static uint64_t real_ns(const struct mc_master *master)
{
	struct mc_time now = master->clock.real(master->clock.context);

	return (uint64_t)now.s * SECOND_NS + now.ns;
}

/*
 * The first id of a new journal: nanoseconds of real time.  Nodes may hold
 * objects with ids of an earlier life, even of a moment ago; a range that is
 * handed out is worth a millisecond, so time stays ahead of the ids as long as
 * fewer than a thousand ranges are asked for in a second.
 */
static uint64_t first_id(const struct mc_master *master)
{
	return real_ns(master);
}

/* When it was published, or something in the directory changed. */
static uint64_t entry_ns(const struct entry *entry)
{
	if (entry_is_directory(entry))
		return (uint64_t)entry->ctime_s * SECOND_NS + entry->ctime_ns;
	return entry->version;
}

/*
 * Look at all that was loaded.  Replicas are counted by node; those of unknown
 * nodes go.
 */
static void entries_count(struct mc_master *master)
{
	struct entry *entry;
	size_t position = 0;

	master->recorded_ns = 0;
	while ((entry = table_next(&master->catalog.by_id, &position)) != NULL) {
		uint8_t kept = 0;
		uint64_t ns = entry_ns(entry);
		if (ns > master->recorded_ns)
			master->recorded_ns = ns;
		if (entry_is_directory(entry))
			continue;
		for (uint8_t i = 0; i < entry->replica_count; i++) {
			struct node *node = &master->nodes.table[REPLICA_NODE(entry->replicas[i])];
			if (node->state == NODE_FREE)
				continue;
			node->replicas++;
			entry->replicas[kept++] = entry->replicas[i];
		}
		entry->replica_count = kept;
	}
}

static enum mc_status begin_new(struct mc_master *master)
{
	if (getrandom(&master->cluster, sizeof(master->cluster), 0) !=
	    (ssize_t)sizeof(master->cluster))
		return MC_IO;
	master->id_next = first_id(master);
	master->id_known = master->id_next;
	master->recorded_ns = master->entered_ns;
	master->epoch = 0;
	master_touch(master, master->catalog.root);
	return MC_OK;
}

/* A deed of the ledger says that this is gone. */
static bool entry_stands(void *context, uint64_t id, uint64_t version)
{
	const struct mc_master *master = context;
	const struct entry *entry = catalog_find(&master->catalog, id);

	return entry && entry->version >= version;
}

/* All records are taken in: make a catalog of them, begin a new epoch. */
static enum mc_status enter(struct mc_master *master, const struct journal_loaded *loaded)
{
	uint64_t lost = 0;
	enum mc_status status = catalog_settle(&master->catalog, &lost);

	if (status != MC_OK)
		return status;
	if (lost)
		log_warn("left out entries without a directory entries=%lu", (unsigned long)lost);
	entries_count(master);
	ledger_loaded(&master->ledger, entry_stands, master);
	master->entered_ns = real_ns(master);
	master->now_ms = master_now_ms(master);
	repair_begin(master);
	gather_begin(master);
	if (loaded->empty || master->id_next == 0)
		status = begin_new(master);
	/*
	 * What was acknowledged may be missing, so an unknown object that a node
	 * announces may be one of those, and is taken back.
	 */
	if (loaded->incomplete)
		master->id_known = master->id_next;
	master->epoch++;
	master->meta_touched = true;
	return status;
}

/* Pairs with lead_serves() of a loop that accepts. */
static void serving_set(struct mc_master *master, bool serving)
{
	__atomic_store_n(&master->serving, serving, __ATOMIC_RELEASE);
}

enum mc_status lead_load(struct mc_master *master)
{
	struct journal_loaded loaded;
	enum mc_status status =
		master->journal->ops->load(master->journal, record_load, master, &loaded);

	if (status == MC_OK)
		status = enter(master, &loaded);
	/* The new epoch stands before anybody hears of it. */
	if (status == MC_OK && !turn_journal(master))
		status = MC_IO;
	master->leading = status == MC_OK;
	serving_set(master, master->leading);
	return status;
}

/* Begin without a record, as at the start: no session is left, so no reader is inside. */
static void forget(void *context)
{
	struct mc_master *master = context;

	MUST(master->sessions == NULL);
	master->meta_touched = false;
	master->node_touched = false;
	unstored_clear(master->unstored);
	memset(master->nodes_touched, 0, sizeof(master->nodes_touched));
	await_forget(master, NULL);
	repair_free(master->repair);
	policies_fini(&master->policies);
	reservations_fini(&master->reservations);
	ledger_fini(&master->ledger);
	nodes_fini(&master->nodes);
	catalog_fini(&master->catalog);
	master->policies = (struct policies){0};
	master->repair = repair_new(master->repair_rate, master->now_ms);
	MUST(master->repair != NULL);
	master->id_next = master->id_known = 0;
	MUST(catalog_init(&master->catalog) == MC_OK);
	MUST(nodes_init(&master->nodes) == MC_OK);
	MUST(reservations_init(&master->reservations) == MC_OK);
	MUST(ledger_init(&master->ledger) == MC_OK);
	master->catalog.grace.reader_count = master->loop_count;
	master->catalog.keeps_places = true;
}

/* From now on nobody gets an answer, but whoever told us. */
static void fall_silent(struct mc_master *master, const struct session *teller)
{
	serving_set(master, false);
	for (struct session *session = master->sessions; session; session = session->next) {
		if (session != teller)
			connection_end(session->connection);
	}
}

static void stand_by(struct mc_master *master)
{
	log_warn("not the leader, standing by sessions=%u", master->session_count);
	fall_silent(master, NULL);
	master->leading = false;
	master->entered = 0;
	master->read_only = false;
}

/* Those that are left end with the turn.  False: some are. */
static bool sessions_end(struct mc_master *master)
{
	for (struct session *session = master->sessions; session; session = session->next) {
		if (!session->ending)
			master_session_end(master, session);
	}
	return master->sessions == NULL;
}

static void follow(struct mc_master *master)
{
	const struct journal_reader reader = {
		.visit = record_load, .forget = forget, .context = master};
	const struct journal_ops *ops = master->journal->ops;
	struct journal_loaded loaded;

	if (!sessions_end(master))
		return;
	enum mc_status status = ops->follow(master->journal, &reader, &loaded);
	if (status == MC_AGAIN)
		return;
	if (status == MC_OK) {
		master->leading = true;
		master->entered = ops->group(master->journal);
		status = enter(master, &loaded);
		failpoint("takeover.entered");
	}
	if (status == MC_OK && turn_journal(master)) {
		master->refollowed = false;
		if (loaded.before[0])
			predecessor_tell(loaded.before, master->cluster, master->epoch);
		return;
	}
	log_error("can't take the records of the journal in%s reason=\"%s\"",
		  master->refollowed ? ", leaving the lead to others" : ", reading them again",
		  mc_status_text(status));
	if (master->refollowed)
		ops->resign(master->journal);
	master->refollowed = !master->refollowed;
	stand_by(master);
}

/* The new epoch is safe: open the doors. */
static void serve(struct mc_master *master)
{
	master->entered = 0;
	failpoint("takeover.stored");
	serving_set(master, true);
	failpoint("takeover.serving");
	log_info("leading epoch=%u objects=%lu directories=%lu nodes=%u", master->epoch,
		 (unsigned long)master->catalog.objects, (unsigned long)master->catalog.directories,
		 master->nodes.used);
}

static void changes_allow(struct mc_master *master, bool allow)
{
	if (allow == !master->read_only)
		return;
	master->read_only = !allow;
	if (allow)
		log_warn("took changes up again");
	else
		log_error("the journal takes no records, refusing changes");
}

/* A step on the writer's own thread. */
static bool step(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!master->leading) {
		follow(master);
		return false;
	}
	enum mc_status status = ops->ready(master->journal);
	if (status == MC_STALE) {
		stand_by(master);
		return false;
	}
	if (master->entered) {
		ops->tick(master->journal, master->now_ms);
		if (ops->stored(master->journal) < master->entered)
			return false;
		serve(master);
	}
	changes_allow(master, status == MC_OK);
	return true;
}

bool lead_step(struct mc_master *master, bool only_look)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!ops->follow)
		return true;
	if (!only_look)
		return step(master);
	if (!lead_serves(master))
		return false;
	changes_allow(master, ops->ready(master->journal) == MC_OK);
	return true;
}

bool lead_lost(struct mc_master *master, const struct session *teller, uint64_t cluster,
	       uint32_t epoch)
{
	if (cluster != master->cluster || epoch <= master->epoch)
		return false;
	log_warn("told that another master leads epoch=%u peer=%s", epoch,
		 teller->connection->peer);
	master->journal->ops->lost(master->journal);
	fall_silent(master, teller);
	return true;
}

bool lead_knew(const struct mc_master *master, uint64_t version)
{
	return version <= master->recorded_ns || version >= master->entered_ns;
}

bool lead_serves(const struct mc_master *master)
{
	return __atomic_load_n(&master->serving, __ATOMIC_ACQUIRE);
}

bool lead_holds(const struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	return ops->answerable && ops->answerable(master->journal) < ops->group(master->journal);
}
