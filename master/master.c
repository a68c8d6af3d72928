#include <mooncake/master.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/cpu_latency.h"
#include "engine/base/log.h"
#include "master/admin.h"
#include "master/await.h"
#include "master/held.h"
#include "master/inbox.h"
#include "master/journal.h"
#include "master/lead.h"
#include "master/repair.h"
#include "master/state.h"
#include "master/turn.h"
#include "master/unstored.h"

#define HEARTBEAT_MS	1000u
#define TTL_MS		5000u
#define TTL_MS_MIN	50u
#define REPAIR_RATE	(1ull << 30)
#define REPAIR_DELAY_MS 10000u
#define THREADS_MAX	8u /* unless more are asked for */

static void master_free(struct mc_master *master)
{
	admin_close(master->admin);
	server_close(master->server);
	cpu_latency_close(master->cpu_latency);
	held_fini(master);
	unstored_free(master->unstored);
	if (master->journal)
		master->journal->ops->close(master->journal);
	reservations_fini(&master->reservations);
	ledger_fini(&master->ledger);
	await_forget(master, NULL);
	repair_free(master->repair);
	policies_fini(&master->policies);
	nodes_fini(&master->nodes);
	catalog_fini(&master->catalog);
	for (uint32_t i = 0; i < master->loop_count; i++)
		batch_free(master->loops[i].batch);
	inbox_fini(&master->inbox);
	writer_fini(&master->record);
	pthread_mutex_destroy(&master->writing);
	free(master);
}

static enum mc_status state_init(struct mc_master *master)
{
	inbox_init(&master->inbox);
	pthread_mutex_init(&master->writing, NULL);
	enum mc_status status = catalog_init(&master->catalog);
	if (status == MC_OK)
		status = nodes_init(&master->nodes);
	if (status == MC_OK)
		status = reservations_init(&master->reservations);
	if (status == MC_OK)
		status = ledger_init(&master->ledger);
	master->catalog.grace.reader_count = master->loop_count;
	writer_init(&master->record);
	master->repair = repair_new(master->repair_rate, master_now_ms(master));
	if (!master->repair)
		status = MC_NO_MEMORY;
	if (gethostname(master->name, sizeof(master->name) - 1) != 0)
		strcpy(master->name, "unknown");
	return status;
}

static uint64_t machine_monotonic_ns(void *context)
{
	(void)context;
	return clock_ns();
}

static struct mc_time machine_real(void *context)
{
	(void)context;
	return clock_real();
}

static const struct mc_clock machine_clock = {machine_monotonic_ns, machine_real, NULL};

/* One for two cores: clients need some too. */
static uint32_t threads_default(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	long threads = cores > 0 ? (cores + 1) / 2 : 1;

	return threads < (long)THREADS_MAX ? (uint32_t)threads : THREADS_MAX;
}

static enum mc_status config_take(struct mc_master *master, const struct mc_master_config *config)
{
	master->heartbeat_ms = config->heartbeat_ms ? config->heartbeat_ms : HEARTBEAT_MS;
	master->ttl_ms = config->ttl_ms ? config->ttl_ms : TTL_MS;
	master->repair_rate = config->repair_rate ? config->repair_rate : REPAIR_RATE;
	master->repair_delay_ms =
		config->repair_delay_ms ? config->repair_delay_ms : REPAIR_DELAY_MS;
	if (master->ttl_ms < TTL_MS_MIN || master->heartbeat_ms >= master->ttl_ms) {
		log_error("heartbeats must come more often than the ttl ends heartbeat_ms=%u "
			  "ttl_ms=%u",
			  master->heartbeat_ms, master->ttl_ms);
		return MC_INVALID;
	}
	master->clock = config->clock ? *config->clock : machine_clock;
	master->loop_count = config->threads ? config->threads : threads_default();
	master->flush_waits = config->journal_sync && strcmp(config->journal_sync, "always") == 0;
	if (master->loop_count > MC_MASTER_THREADS_MAX) {
		log_error("too many threads threads=%u max=%u", master->loop_count,
			  MC_MASTER_THREADS_MAX);
		return MC_INVALID;
	}
	if (!config->listen && !config->socket) {
		log_error("a master must listen somewhere");
		return MC_INVALID;
	}
	if (config->cpu_latency && !cpu_latency_read(config->cpu_latency, &(uint32_t){0})) {
		log_error("cpu latency must be auto, any or 0 to %u microseconds given=\"%s\"",
			  CPU_LATENCY_MAX_US, config->cpu_latency);
		return MC_INVALID;
	}
	return MC_OK;
}

static void *loop_thread(void *context)
{
	struct master_loop *loop = context;
	struct mc_master *master = loop->master;

	server_run(master->server, (unsigned)(loop - master->loops));
	return NULL;
}

/* End the writer and the first `count` loops, and handle what came last. */
static void threads_stop(struct mc_master *master, uint32_t count)
{
	server_stop(master->server);
	for (uint32_t i = 0; i < count; i++)
		pthread_join(master->loops[i].thread, NULL);
	inbox_stop(&master->inbox);
	pthread_join(master->thread, NULL);
	master->stopped = true;
	turn_run(master, NULL);
}

static enum mc_status threads_start(struct mc_master *master)
{
	char name[32];

	if (pthread_create(&master->thread, NULL, turn_thread, master) != 0)
		return MC_NO_MEMORY;
	pthread_setname_np(master->thread, "mc-master");
	for (uint32_t i = 0; i < master->loop_count; i++) {
		struct master_loop *loop = &master->loops[i];
		loop->master = master;
		if (pthread_create(&loop->thread, NULL, loop_thread, loop) != 0) {
			threads_stop(master, i);
			return MC_NO_MEMORY;
		}
		snprintf(name, sizeof(name), "mc-loop-%u", i);
		pthread_setname_np(loop->thread, name);
	}
	return MC_OK;
}

static enum mc_status listen_open(struct mc_master *master, const struct mc_master_config *config)
{
	struct server_config server = {
		.listen = config->listen,
		.socket = config->socket,
		.auto_name = "mooncake-master",
		.loop_count = master->loop_count,
		.ops = &turn_server_ops,
		.context = master,
	};

	return server_open(&server, &master->server);
}

/* Where other hosts reach it. */
static void announce(struct mc_master *master, const struct mc_master_config *config)
{
	const char *bound = server_address(master->server);
	char text[NET_TEXT_SIZE + NET_HOST_SIZE];
	char host[NET_HOST_SIZE];
	struct net_address address;

	if (config->etcd.address && config->etcd.address[0]) {
		snprintf(text, sizeof(text), "%s", config->etcd.address);
	} else if (net_parse(bound, &address) == MC_OK) {
		snprintf(text, sizeof(text), "%.*s", (int)(strrchr(bound, ':') - bound), bound);
		net_announce_host(text, host);
		snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
			 net_port(&address));
	} else {
		snprintf(text, sizeof(text), "unix:%s", server_socket(master->server));
	}
	master->journal->ops->announce(master->journal, text);
}

static void wake(void *context)
{
	struct mc_master *master = context;

	inbox_wake(&master->inbox);
}

static enum mc_status journal_begin(struct mc_master *master, const struct mc_master_config *config)
{
	struct journal_config journal = {
		.fresh = config->fresh,
		.etcd = &config->etcd,
		.wake = wake,
		.wake_context = master,
	};
	enum mc_status status = journal_open(config->journal ? config->journal : "memory",
					     config->journal_sync, journal, &master->journal);

	if (status != MC_OK)
		return status;
	master->catalog.keeps_places = master->journal->ops->vacate != NULL;
	if (!master->journal->ops->follow)
		return lead_load(master);
	master->unstored = config->etcd.ack_sync ? unstored_new() : NULL;
	if (config->etcd.ack_sync && !master->unstored)
		return MC_NO_MEMORY;
	announce(master, config);
	return MC_OK;
}

static enum mc_status serve(struct mc_master *master, const struct mc_master_config *config)
{
	enum mc_status status = admin_open(master, config, &master->admin);

	if (status != MC_OK)
		return status;
	log_info("serving address=%s socket=%s http=%s journal=%s epoch=%u objects=%lu "
		 "directories=%lu nodes=%u",
		 server_address(master->server), server_socket(master->server),
		 admin_address(master->admin), config->journal ? config->journal : "memory",
		 master->epoch, (unsigned long)master->catalog.objects,
		 (unsigned long)master->catalog.directories, master->nodes.used);
	return threads_start(master);
}

enum mc_status mc_master_start(const struct mc_master_config *config, struct mc_master **master)
{
	struct mc_master *m = calloc(1, sizeof(*m));
	char why[96];

	if (!m)
		return MC_NO_MEMORY;
	enum mc_status status = config_take(m, config);
	if (status != MC_OK) {
		free(m);
		return status;
	}
	m->cpu_latency = cpu_latency_begin(config->cpu_latency, why, sizeof(why));
	if (config->cpu_latency)
		log_info("idle processors cpu_latency=\"%s\"", why);
	status = state_init(m);
	if (status == MC_OK)
		status = listen_open(m, config);
	if (status == MC_OK)
		status = journal_begin(m, config);
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

const char *mc_master_http(const struct mc_master *master)
{
	return admin_address(master->admin);
}

void mc_master_stop(struct mc_master *master)
{
	if (!master)
		return;
	threads_stop(master, master->loop_count);
	master->retried_ms = 0;
	if (master->leading && (!turn_journal(master) || master->read_only))
		log_error("stopped without the last changes in the journal");
	log_info("stopped objects=%lu", (unsigned long)master->catalog.objects);
	master_free(master);
}
