/*
 * tools/bench/journal.c -- how much of etcd's speed a master keeps
 *
 * An etcd of the bench's own.  Writing, in turn: a bare client sends full
 * transactions, several in flight, of records as the master writes them; a
 * master with its journal there is told of new objects, in batches, until etcd
 * has them all.  So each of them writes half of the objects, all under the
 * master's prefix.  Starting: a bare client pages through all that is there, in
 * pages as large as the master's; then a master is started, until it serves.  At
 * last the leader is killed, until a second master that stood by serves.
 */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/etcd/follow.h"
#include "tools/bench/child.h"
#include "tools/bench/flight.h"
#include "tools/bench/port.h"
#include "tools/bench/publisher.h"
#include "tools/bench/resident.h"
#include "tools/bench/run.h"
#include "tools/bench/sample.h"
#include "tools/bench/workload.h"

#define TXN_KEYS	 127u
#define TXNS_AT_ONCE	 8u
#define BARE_ID_FIRST	 (1ull << 40) /* far below those that the master hands out */
#define ROUNDS		 3u
#define MANY		 500000u /* objects: one round of starting says enough */
#define START_TIMEOUT_MS 60000
#define LEASE_S		 5.0 /* the default */
#define LOOK_US		 2000
#define STOP_TIMEOUT_MS	 20000
#define CALL_TIMEOUT_MS	 60000u
#define ETCD_QUOTA	 "--quota-backend-bytes=8589934592"

struct master {
	struct child child;
	char address[64];
};

struct bench {
	struct run *run;
	struct child etcd;
	struct master masters[2]; /* the second stands by for the first */
	unsigned starts;	  /* of masters: each has a log of its own */
	char endpoint[64];
	struct etcd *client;
	uint64_t bare_keys; /* put so far, so that each is new */
	struct flight flight;
};

/* -- the programs -- */

static enum mc_status etcd_run(struct bench *bench)
{
	unsigned port = port_free(), peer_port = port_free();
	char data[PATH_MAX + 16], log[PATH_MAX + 16], client[64], peer[64], cluster[80];

	snprintf(data, sizeof(data), "%s/etcd", bench->run->scratch);
	snprintf(log, sizeof(log), "%s/etcd.log", bench->run->scratch);
	snprintf(bench->endpoint, sizeof(bench->endpoint), "127.0.0.1:%u", port);
	snprintf(client, sizeof(client), "http://127.0.0.1:%u", port);
	snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", peer_port);
	snprintf(cluster, sizeof(cluster), "default=%s", peer);
	char *argv[] = {"etcd",
			"--data-dir",
			data,
			"--listen-client-urls",
			client,
			"--advertise-client-urls",
			client,
			"--listen-peer-urls",
			peer,
			"--initial-advertise-peer-urls",
			peer,
			"--initial-cluster",
			cluster,
			ETCD_QUOTA,
			"--auto-compaction-retention=1",
			NULL};
	enum mc_status status = child_start(&bench->etcd, "etcd", log, argv);
	if (status == MC_OK && !port_wait(port, &bench->etcd, START_TIMEOUT_MS))
		status = MC_TIMEOUT;
	return status;
}

static enum mc_status master_run(struct bench *bench, unsigned number)
{
	struct master *master = &bench->masters[number];
	char program[PATH_MAX + 32], journal[96], log[PATH_MAX + 32];

	snprintf(master->address, sizeof(master->address), "127.0.0.1:%u", port_free());
	snprintf(program, sizeof(program), "%s/mooncake-master", bench->run->bin);
	snprintf(journal, sizeof(journal), "etcd://%s", bench->endpoint);
	snprintf(log, sizeof(log), "%s/master-%u.log", bench->run->scratch, bench->starts++);
	char *argv[] = {program,  "--listen", master->address, "--socket", "none",
			"--http", "none",     "--journal",     journal,	   "--cluster",
			"bench",  "--ttl-ms", "600000",	       NULL};
	return child_start(&master->child, "mooncake-master", log, argv);
}

/* Wait until a master has said something.  False: it has not in time, or ended. */
static bool master_said(struct master *master, const char *text, int timeout_ms)
{
	uint64_t until_ns = clock_ns() + (uint64_t)timeout_ms * 1000000;

	while (clock_ns() < until_ns && !workload_interrupted && child_running(&master->child)) {
		char line[1024];
		FILE *log = fopen(master->child.log, "re");
		bool said = false;
		while (log && !said && fgets(line, sizeof(line), log))
			said = strstr(line, text) != NULL;
		if (log)
			fclose(log);
		if (said)
			return true;
		usleep(LOOK_US);
	}
	return false;
}

/* -- writing, bare -- */

static void bare_done(void *context, struct etcd_reply *reply)
{
	flight_end(context, reply->status == MC_OK);
}

static void bare_txn(struct bench *bench)
{
	char key[128], value[256];
	struct etcd_txn txn;

	etcd_txn_begin(&txn);
	etcd_txn_then(&txn);
	for (unsigned i = 0; i < TXN_KEYS; i++) {
		uint64_t number = bench->bare_keys++;
		uint64_t id = BARE_ID_FIRST + number;
		int key_size = snprintf(key, sizeof(key), "/mooncake/bench/objects/1/%0*lu",
					(int)PUBLISHER_NAME_SIZE, (unsigned long)id);
		/* What the master writes of an object, see etcd_text.h. */
		int size = snprintf(value, sizeof(value),
				    "object sequence=%lu id=%016lx version=%016lx size=%u "
				    "allocated=%u mode=100644 nlink=1 "
				    "mtime=1764115200.000000001 replicas=1",
				    (unsigned long)id, (unsigned long)id, (unsigned long)id,
				    PUBLISHER_OBJECT_SIZE, PUBLISHER_OBJECT_SIZE);
		etcd_txn_put(&txn, (struct etcd_bytes){key, (size_t)key_size},
			     (struct etcd_bytes){value, (size_t)size}, 0);
	}
	etcd_txn_send(bench->client, &txn, true, CALL_TIMEOUT_MS, bare_done,
		      flight_begin(&bench->flight, TXNS_AT_ONCE));
}

/* Keys a second; NAN: it failed. */
static double write_bare(struct bench *bench, uint64_t count)
{
	uint64_t begun_ns = clock_ns();
	uint64_t until = bench->bare_keys + count;

	while (bench->bare_keys < until && !workload_interrupted)
		bare_txn(bench);
	if (!flight_land(&bench->flight) || workload_interrupted)
		return NAN;
	return (double)count / ((double)(clock_ns() - begun_ns) / 1e9);
}

/* -- writing, through a master -- */

static double write_published(struct publisher *publisher, uint64_t count)
{
	uint64_t begun_ns = clock_ns();

	for (uint64_t i = 0; i < count && !workload_interrupted; i += PUBLISHER_BATCH)
		publisher_send(publisher);
	if (!publisher_land(publisher))
		return NAN;
	while (!workload_interrupted && publisher_backlog(publisher) > 0)
		usleep(1000);
	return (double)count / ((double)(clock_ns() - begun_ns) / 1e9);
}

/* -- starting -- */

static double seconds_since(uint64_t begun_ns)
{
	return (double)(clock_ns() - begun_ns) / 1e9;
}

/* Seconds to page through everything of the master; NAN: it failed. */
static double page_bare(struct bench *bench, uint64_t *pairs)
{
	static const char prefix[] = "/mooncake/bench/", end[] = "/mooncake/bench0";
	uint64_t begun_ns = clock_ns();
	struct writer next;
	bool more = true;
	double result = 0;

	*pairs = 0;
	writer_init(&next);
	put_bytes(&next, prefix, strlen(prefix));
	while (more && !workload_interrupted) {
		struct etcd_range range = {.key = {next.data, next.size},
					   .end = ETCD_TEXT(end),
					   .limit = ETCD_PAGE_PAIRS_MAX};
		struct etcd_waiter waiter;
		etcd_waiter_init(&waiter);
		etcd_range(bench->client, &range, CALL_TIMEOUT_MS, etcd_waiter_done, &waiter);
		struct etcd_reply *reply = etcd_waiter_wait(&waiter);
		more = reply->status == MC_OK && reply->more && reply->pair_count > 0;
		if (reply->status != MC_OK)
			result = NAN;
		*pairs += reply->pair_count;
		writer_reset(&next);
		if (more) {
			const struct etcd_bytes *last = &reply->pairs[reply->pair_count - 1].key;
			put_bytes(&next, last->data, last->size);
			put_u8(&next, 0);
		}
		etcd_reply_free(reply);
	}
	writer_fini(&next);
	return result + seconds_since(begun_ns);
}

/* Seconds until a fresh master serves; what it took of memory meanwhile. */
static double start_master(struct bench *bench, double *peak_mb)
{
	struct publisher publisher;
	uint64_t begun_ns = clock_ns();

	/* A client that finds no leader yet would ask again only now and then. */
	if (master_run(bench, 0) != MC_OK ||
	    !master_said(&bench->masters[0], "leading epoch=", 10 * START_TIMEOUT_MS))
		return NAN;
	enum mc_status status = publisher_open(&publisher, bench->masters[0].address);
	double seconds = seconds_since(begun_ns);
	*peak_mb = resident_peak_mb(bench->masters[0].child.pid);
	publisher_close(&publisher);
	return status == MC_OK ? seconds : NAN;
}

/* A round of it failed. */
static bool sample_lacks(const struct sample *sample)
{
	bool lacks = false;

	for (size_t i = 0; i < sample->count; i++)
		lacks = lacks || isnan(sample->values[i]);
	return lacks;
}

/* The medians, unless a round failed. */
static enum mc_status row(struct run *run, const char *op, struct sample *master, const char *unit,
			  struct sample *etcd)
{
	bool failed = sample_lacks(master) || sample_lacks(etcd);

	if (!failed)
		report_row(&run->report, &(struct row){.bench = "journal",
						       .op = op,
						       .threads = 1,
						       .value = sample_median(master),
						       .unit = unit,
						       .reference = "etcd",
						       .reference_value = sample_median(etcd)});
	sample_fini(master);
	sample_fini(etcd);
	return failed ? MC_IO : MC_OK;
}

static enum mc_status write_rounds(struct bench *bench)
{
	uint64_t count =
		bench->run->options.object_count / 2 / ROUNDS / PUBLISHER_BATCH * PUBLISHER_BATCH;
	struct publisher publisher;
	struct sample master = {0}, bare = {0};

	enum mc_status status = master_run(bench, 0);
	if (status == MC_OK)
		status = publisher_open(&publisher, bench->masters[0].address);
	if (status != MC_OK)
		return status;
	for (unsigned i = 0; i < ROUNDS; i++) {
		sample_add(&bare, write_bare(bench, count));
		sample_add(&master, write_published(&publisher, count));
	}
	publisher_close(&publisher);
	return row(bench->run, "publish", &master, "keys/s", &bare);
}

static enum mc_status start_rounds(struct bench *bench)
{
	unsigned rounds = bench->run->options.object_count < MANY ? ROUNDS : 1;
	struct sample master = {0}, bare = {0};
	double peak_mb = NAN;
	uint64_t pairs = 0;

	for (unsigned i = 0; i < rounds; i++) {
		child_stop(&bench->masters[0].child, STOP_TIMEOUT_MS);
		sample_add(&bare, page_bare(bench, &pairs));
		sample_add(&master, start_master(bench, &peak_mb));
	}
	report_note(&bench->run->report, "start: %lu records, the master took %.0f MB at most",
		    (unsigned long)pairs, peak_mb);
	return row(bench->run, "start", &master, "s", &bare);
}

/* From the death of the leader to the welcome of the one that stood by. */
static enum mc_status take_over(struct bench *bench)
{
	struct publisher publisher;

	enum mc_status status = master_run(bench, 1);
	if (status != MC_OK)
		return status;
	if (!master_said(&bench->masters[1], "read the records", 10 * START_TIMEOUT_MS))
		return MC_TIMEOUT;
	uint64_t begun_ns = clock_ns();
	kill(bench->masters[0].child.pid, SIGKILL);
	status = publisher_open(&publisher, bench->masters[1].address);
	double seconds = seconds_since(begun_ns);
	publisher_close(&publisher);
	report_row(&bench->run->report, &(struct row){.bench = "journal",
						      .op = "takeover",
						      .threads = 1,
						      .value = seconds,
						      .unit = "s",
						      .reference = "lease",
						      .reference_value = LEASE_S});
	return status;
}

enum mc_status bench_journal(struct run *run)
{
	struct bench bench = {.run = run,
			      .flight = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}};
	struct etcd_config config = {.endpoints = bench.endpoint, .connections = TXNS_AT_ONCE + 1};

	if (!program_present("etcd")) {
		report_note(&run->report, "journal: there is no etcd on the PATH");
		return MC_OK;
	}
	enum mc_status status = etcd_run(&bench);
	if (status == MC_OK)
		status = etcd_open(&config, &bench.client);
	if (status == MC_OK)
		status = write_rounds(&bench);
	if (status == MC_OK)
		status = start_rounds(&bench);
	if (status == MC_OK)
		status = take_over(&bench);
	for (unsigned i = 0; i < 2; i++) {
		if (status != MC_OK && bench.masters[i].child.pid)
			child_show_log(&bench.masters[i].child);
		child_stop(&bench.masters[i].child, STOP_TIMEOUT_MS);
	}
	etcd_close(bench.client);
	child_stop(&bench.etcd, STOP_TIMEOUT_MS);
	return status;
}
