/*
 * tools/bench/peer.c -- the same put and get through Mooncake's own store
 *
 * tools/bench/mooncake_store.py holds the other store's processes and takes
 * commands; it has its turn after each round of ours, with as many objects of
 * the same size.  Its bytes cross TCP between two processes ("mooncake"), or are
 * copied within the client, which lends the memory itself ("mooncake_own").
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/cluster.h"
#include "tools/bench/mooncake.h"
#include "tools/bench/run.h"
#include "tools/bench/workload.h"

#define KIB ((uint64_t)1 << 10)

struct peer {
	struct run *run;
	struct cluster cluster;
	char put_at[PATH_MAX];
	char get_at[PATH_MAX];
	struct mooncake mooncake;
	/* Of the measurement that is going on. */
	const char *op;
	uint64_t size;
	struct sample theirs;
	bool failed;
};

/* What is compared: ours on one node or from the other, and what the store calls it. */
static const struct contest {
	enum operation op;
	uint64_t size;
	bool remote;
	const char *peer_op;
	const char *reference;
} contests[] = {
	{OP_PUT, 1024 * KIB, false, "put", "mooncake"},
	{OP_PUT, 1024 * KIB, false, "own_put", "mooncake_own"},
	{OP_GET_MMAP, 1024 * KIB, false, "get", "mooncake"},
	{OP_GET_MMAP, 1024 * KIB, false, "own_get", "mooncake_own"},
	{OP_GET_READ, 4096 * KIB, true, "get", "mooncake"},
	{OP_GET_MMAP, 4096 * KIB, true, "get", "mooncake"},
};

/* One round of the other store. */
static void peer_turn(void *context)
{
	struct peer *peer = context;
	const cJSON *time;

	if (peer->failed)
		return;
	cJSON *answer =
		mooncake_ask(&peer->mooncake, "%s %llu %u", peer->op,
			     (unsigned long long)peer->size, workload_object_count(peer->size));
	peer->failed = answer == NULL;
	cJSON_ArrayForEach(time, cJSON_GetObjectItem(answer, "us"))
	{
		if (cJSON_IsNumber(time))
			sample_add(&peer->theirs, time->valuedouble);
	}
	cJSON_Delete(answer);
}

static enum mc_status contest_run(struct peer *peer, const struct contest *contest)
{
	struct sample ours = {0};
	struct workload workload = {
		.op = contest->op,
		.size = contest->size,
		.threads = 1,
		.rounds = peer->run->options.rounds,
		.places = {contest->remote ? peer->get_at : peer->put_at},
		.sources = {contest->remote ? peer->put_at : NULL},
		.place_count = 1,
		.after_round = peer_turn,
		.context = peer,
	};

	peer->op = contest->peer_op;
	peer->size = contest->size;
	peer_turn(peer);
	enum mc_status status = workload_run(&workload, &ours);
	sample_fini(&peer->theirs); /* that was the warm-up of both: their memory is taken */
	sample_fini(&ours);
	if (!status)
		status = workload_run(&workload, &ours);
	if (!status && peer->failed) {
		child_show_log(&peer->mooncake.child);
		status = MC_IO;
	}
	if (!status) {
		struct row row = {
			.bench = "peer",
			.op = operation_name(contest->op),
			.size = contest->size,
			.threads = 1,
			.value = sample_median(&ours),
			.unit = "us",
			.reference = contest->reference,
			.reference_value = sample_median(&peer->theirs),
		};

		report_row(&peer->run->report, &row);
	}
	sample_fini(&ours);
	sample_fini(&peer->theirs);
	return status;
}

static enum mc_status nodes_open(struct peer *peer)
{
	struct run *run = peer->run;
	const char *mount_a = run->options.mount_a, *mount_b = run->options.mount_b;
	enum mc_status status = MC_OK;

	if (run->options.setup) {
		status = cluster_start(&peer->cluster, run, "peer", 2, ",transport=tcp");
		mount_a = peer->cluster.nodes[0].mount;
		mount_b = peer->cluster.nodes[1].mount;
	} else if (!mount_b) {
		report_note(&run->report, "peer needs --mount-b DIR beside --mount DIR");
		return MC_INVALID;
	}
	if (!status)
		status = workplace_make(mount_a, peer->put_at);
	return status ? status : workplace_make(mount_b, peer->get_at);
}

static enum mc_status contests_run(struct peer *peer)
{
	enum mc_status status = mooncake_open(&peer->mooncake, peer->run);

	if (!status)
		status = nodes_open(peer);
	for (size_t i = 0; i < ARRAY_SIZE(contests) && !status; i++)
		status = contest_run(peer, &contests[i]);
	workplace_remove(peer->put_at);
	cluster_stop(&peer->cluster);
	mooncake_close(&peer->mooncake);
	return status;
}

enum mc_status bench_peer(struct run *run)
{
	if (!run->options.python && !run->options.venv) {
		report_note(&run->report, "peer needs --python FILE or --venv DIR: see --help");
		return MC_INVALID;
	}
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return MC_NO_MEMORY;
	peer->run = run;
	enum mc_status status = contests_run(peer);
	free(peer);
	return status;
}
