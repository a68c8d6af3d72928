#include <mooncake/master.h>

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "master/journal.h"
#include "master/record.h"
#include "master/state.h"
#include "master/turn.h"

#define HEARTBEAT_MS 1000u
#define TTL_MS	     5000u
#define TTL_MS_MIN   50u
#define TICK_MS_MAX  50u

/*
 * The first id of a new journal: nanoseconds of real time.  Nodes may hold
 * objects with ids of an earlier life, even of a moment ago; a range that is
 * handed out is worth a millisecond, so time stays ahead of the ids as long as
 * fewer than a thousand ranges are asked for in a second.
 */
static uint64_t first_id(void)
{
	return clock_real_ns();
}

/* Replicas are counted by node once all is loaded; those of unknown nodes go. */
static void replicas_count(struct mc_master *master)
{
	struct entry *entry;
	size_t position = 0;

	while ((entry = table_next(&master->catalog.by_id, &position)) != NULL) {
		uint8_t kept = 0;
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
	master->id_next = first_id();
	master->id_known = master->id_next;
	master->epoch = 0;
	master_touch(master, master->catalog.root);
	return MC_OK;
}

static enum mc_status load(struct mc_master *master)
{
	struct journal_loaded loaded;
	uint64_t lost = 0;

	enum mc_status status =
		master->journal->ops->load(master->journal, record_load, master, &loaded);
	if (status == MC_OK)
		status = catalog_settle(&master->catalog, &lost);
	if (status != MC_OK)
		return status;
	if (lost)
		log_warn("left out entries without a directory entries=%lu", (unsigned long)lost);
	replicas_count(master);
	if (loaded.empty || master->id_next == 0)
		status = begin_new(master);
	/*
	 * What was acknowledged may be missing, so an unknown object that a node
	 * announces may be one of those, and is taken back.
	 */
	if (loaded.incomplete)
		master->id_known = master->id_next;
	master->epoch++;
	master->meta_touched = true;
	return status;
}

static void master_free(struct mc_master *master)
{
	server_close(master->server);
	if (master->journal)
		master->journal->ops->close(master->journal);
	reservations_fini(&master->reservations);
	nodes_fini(&master->nodes);
	catalog_fini(&master->catalog);
	writer_fini(&master->record);
	free(master->touched);
	free(master);
}

static enum mc_status state_init(struct mc_master *master)
{
	enum mc_status status = catalog_init(&master->catalog);

	if (status == MC_OK)
		status = nodes_init(&master->nodes);
	if (status == MC_OK)
		status = reservations_init(&master->reservations);
	writer_init(&master->record);
	if (gethostname(master->name, sizeof(master->name) - 1) != 0)
		strcpy(master->name, "unknown");
	return status;
}

static enum mc_status config_take(struct mc_master *master, const struct mc_master_config *config)
{
	master->heartbeat_ms = config->heartbeat_ms ? config->heartbeat_ms : HEARTBEAT_MS;
	master->ttl_ms = config->ttl_ms ? config->ttl_ms : TTL_MS;
	if (master->ttl_ms < TTL_MS_MIN || master->heartbeat_ms >= master->ttl_ms) {
		log_error("heartbeats must come more often than the ttl ends heartbeat_ms=%u "
			  "ttl_ms=%u",
			  master->heartbeat_ms, master->ttl_ms);
		return MC_INVALID;
	}
	if (!config->listen && !config->socket) {
		log_error("a master must listen somewhere");
		return MC_INVALID;
	}
	return MC_OK;
}

static void *run(void *context)
{
	struct mc_master *master = context;

	server_run(master->server);
	return NULL;
}

static enum mc_status serve(struct mc_master *master, const struct mc_master_config *config)
{
	struct server_config server = {
		.listen = config->listen,
		.socket = config->socket,
		.auto_name = "mooncake-master",
		.tick_ms = TICK_MS_MAX,
		.ops = &turn_server_ops,
		.context = master,
	};
	enum mc_status status = server_open(&server, &master->server);

	if (status != MC_OK)
		return status;
	log_info("serving address=%s socket=%s journal=%s epoch=%u objects=%lu directories=%lu "
		 "nodes=%u",
		 server_address(master->server), server_socket(master->server),
		 config->journal ? config->journal : "memory", master->epoch,
		 (unsigned long)master->catalog.objects, (unsigned long)master->catalog.directories,
		 master->nodes.used);
	if (pthread_create(&master->thread, NULL, run, master) != 0)
		return MC_NO_MEMORY;
	pthread_setname_np(master->thread, "mc-master");
	return MC_OK;
}

enum mc_status mc_master_start(const struct mc_master_config *config, struct mc_master **master)
{
	struct mc_master *m = calloc(1, sizeof(*m));

	if (!m)
		return MC_NO_MEMORY;
	enum mc_status status = config_take(m, config);
	if (status != MC_OK) {
		free(m);
		return status;
	}
	status = state_init(m);
	if (status == MC_OK)
		status = journal_open(config->journal ? config->journal : "memory",
				      config->journal_sync, config->fresh, &m->journal);
	if (status == MC_OK)
		status = load(m);
	/* The new epoch stands before anybody hears of it. */
	if (status == MC_OK && !turn_journal(m))
		status = MC_IO;
	if (status == MC_OK)
		status = serve(m, config);
	if (status != MC_OK) {
		master_free(m);
		return status;
	}
	*master = m;
	return MC_OK;
}

const char *mc_master_address(const struct mc_master *master)
{
	return server_address(master->server);
}

const char *mc_master_socket(const struct mc_master *master)
{
	return server_socket(master->server);
}

void mc_master_stop(struct mc_master *master)
{
	if (!master)
		return;
	server_stop(master->server);
	pthread_join(master->thread, NULL);
	master->retried_ms = 0;
	if (!turn_journal(master) || master->read_only)
		log_error("stopped without the last changes in the journal");
	log_info("stopped objects=%lu", (unsigned long)master->catalog.objects);
	master_free(master);
}
