/*
 * A journal in etcd, behind /mooncake/CLUSTER/.
 *
 *   leader      whose lease it is, leads (leader.h)
 *   lanes/N     number of the last transaction of a lane (etcd_queue.h)
 *   journal     how the last leader wrote, where, and whether it ended in order
 *   the rest    records (etcd_text.h)
 *
 * A standby reads them all and follows each change, so that it is ready when it
 * is elected: the election itself is a change, and once the follower has told of
 * it, all that the leader before could write has been told too.
 */
#include <mooncake/master.h>

#include "master/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "engine/rpc/dial.h"
#include "master/etcd_queue.h"
#include "master/etcd_text.h"
#include "master/leader.h"
#include "master/standby.h"

#define LEASE_S	   5u
#define QUEUE_SIZE (64ull << 20)
#define STALL_MS   2000u /* without progress: what waits is not waited for */
#define CLOSE_MS   5000u
#define RESIGN_NS  2000000000ull
#define SLICE_NS   20000000ull /* of following, in one turn */
#define WAIT_US	   2000u

struct etcd_journal {
	struct journal base;
	/* fixed after init */
	struct etcd_config config; /* texts belong to the strings below */
	char *endpoints;
	char *texts[4];
	char password[ETCD_PASSWORD_SIZE];
	bool ack_sync;
	bool without_objects;
	uint64_t queue_size;
	void (*wake)(void *context);
	void *wake_context;
	struct etcd *etcd;
	struct etcd_queue *queue;
	struct leader *leader;
	struct writer prefix;
	char address[JOURNAL_ADDRESS_SIZE]; /* of this master */

	/* atomic: set and read by all clients */
	_Atomic uint32_t failing; /* endpoints of etcd */

	/* the master's thread */
	struct standby *standby; /* NULL while this one leads */
	bool leading;
	uint64_t resigned_ns; /* when it was asked to stop leading; 0: it was not */
	bool resigned;	      /* the last word is on its way */
	struct writer key;
	struct writer value;
	struct journal_counters counters;
};

static struct etcd_journal *own(struct journal *journal)
{
	return container_of(journal, struct etcd_journal, base);
}

static struct etcd_bytes written(const struct writer *w)
{
	return (struct etcd_bytes){w->data, w->size};
}

static void wake(void *context)
{
	struct etcd_journal *etcd = context;

	if (etcd->wake)
		etcd->wake(etcd->wake_context);
}

static void fenced(void *context)
{
	struct etcd_journal *etcd = context;

	leader_lost(etcd->leader);
}

static bool cluster_valid(const char *name)
{
	size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-");
	return size > 0 && size < 128 && name[size] == '\0';
}

/* Others read it behind "address=", as one word, and dial it. */
static bool address_valid(const char *address)
{
	struct dial dial;

	return strlen(address) < JOURNAL_ADDRESS_SIZE && !strpbrk(address, " \t,") &&
	       dial_parse(&dial, address) == MC_OK;
}

/* Copies, so that the config need not outlive open. */
static enum mc_status texts_copy(struct etcd_journal *etcd, const struct mc_etcd_config *said)
{
	const char *from[] = {said->ca, said->certificate, said->key, said->user};
	const char **to[] = {&etcd->config.ca, &etcd->config.certificate, &etcd->config.key,
			     &etcd->config.user};

	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		if (!from[i] || !from[i][0])
			continue;
		etcd->texts[i] = strdup(from[i]);
		if (!etcd->texts[i])
			return MC_NO_MEMORY;
		*to[i] = etcd->texts[i];
	}
	etcd->config.password = etcd->password;
	if (said->password_file && said->password_file[0] &&
	    !etcd_password_read(said->password_file, etcd->password))
		return MC_INVALID;
	return MC_OK;
}

static enum mc_status config_take(struct etcd_journal *etcd, const struct journal_config *config)
{
	static const struct mc_etcd_config defaults = {0};
	const struct mc_etcd_config *said = config->etcd ? config->etcd : &defaults;
	const char *cluster = said->cluster && said->cluster[0] ? said->cluster : "default";

	if (strncmp(config->path, "//", 2) != 0 || !cluster_valid(cluster)) {
		log_error("not a journal in etcd, must be etcd://HOST:PORT[,HOST:PORT...] and a "
			  "cluster's name of letters, digits, dots and dashes path=%s cluster=%s",
			  config->path, cluster);
		return MC_INVALID;
	}
	if (said->address && said->address[0] && !address_valid(said->address)) {
		log_error("not an address, must be HOST:PORT address=\"%s\"", said->address);
		return MC_INVALID;
	}
	put_bytes(&etcd->prefix, "/mooncake/", 10);
	put_bytes(&etcd->prefix, cluster, strlen(cluster));
	put_u8(&etcd->prefix, '/');
	etcd->endpoints = strdup(config->path + 2);
	etcd->config.endpoints = etcd->endpoints;
	etcd->config.connections = ETCD_QUEUE_LANES + 2;
	etcd->config.failing = &etcd->failing;
	etcd->ack_sync = said->ack_sync;
	etcd->without_objects = said->without_objects;
	etcd->queue_size = said->queue_size ? said->queue_size : QUEUE_SIZE;
	etcd->wake = config->wake;
	etcd->wake_context = config->wake_context;
	if (!etcd->endpoints || etcd->prefix.failed)
		return MC_NO_MEMORY;
	return texts_copy(etcd, said);
}

static enum mc_status parts_new(struct etcd_journal *etcd, uint32_t lease_s)
{
	struct etcd_queue_config queue = {
		.prefix = written(&etcd->prefix),
		.advanced = wake,
		.fenced = fenced,
		.context = etcd,
	};
	struct leader_config leader = {
		.etcd = &etcd->config,
		.prefix = written(&etcd->prefix),
		.lease_s = lease_s ? lease_s : LEASE_S,
		.lanes = ETCD_QUEUE_LANES,
		.changed = wake,
		.context = etcd,
	};
	enum mc_status status = etcd_open(&etcd->config, &etcd->etcd);

	queue.etcd = etcd->etcd;
	if (status == MC_OK)
		status = etcd_queue_new(&queue, &etcd->queue);
	if (status == MC_OK)
		status = leader_new(&leader, &etcd->leader);
	return status;
}

static void etcd_journal_free(struct etcd_journal *etcd)
{
	standby_free(etcd->standby);
	etcd_close(etcd->etcd);
	leader_free(etcd->leader);
	etcd_queue_free(etcd->queue);
	writer_fini(&etcd->prefix);
	writer_fini(&etcd->key);
	writer_fini(&etcd->value);
	for (size_t i = 0; i < ARRAY_SIZE(etcd->texts); i++)
		free(etcd->texts[i]);
	free(etcd->endpoints);
	free(etcd);
}

static enum mc_status journal_etcd_open(const struct journal_config *config,
					struct journal **journal)
{
	struct etcd_journal *etcd = calloc(1, sizeof(*etcd));

	if (!etcd)
		return MC_NO_MEMORY;
	etcd->base.ops = &journal_etcd_ops;
	writer_init(&etcd->prefix);
	writer_init(&etcd->key);
	writer_init(&etcd->value);
	enum mc_status status = config_take(etcd, config);
	if (status == MC_OK)
		status = parts_new(etcd, config->etcd ? config->etcd->lease_s : 0);
	if (status != MC_OK) {
		etcd_journal_free(etcd);
		return status;
	}
	*journal = &etcd->base;
	return MC_OK;
}

/* The journal's own key. */
static void mark_put(struct etcd_journal *etcd, bool closed)
{
	char text[STANDBY_MARK_SIZE];

	snprintf(text, sizeof(text), "%s ack=%s objects=%s address=%s", closed ? "closed" : "open",
		 etcd->ack_sync ? "sync" : "async", etcd->without_objects ? "off" : "on",
		 etcd->address);
	etcd_queue_put(etcd->queue, ETCD_TEXT("journal"), ETCD_TEXT(text), 0);
	etcd_queue_flush(etcd->queue);
}

/* Wait until all is in etcd; not for ever. */
static bool drain(struct etcd_journal *etcd, uint64_t timeout_ms)
{
	uint64_t until_ns = clock_ns() + timeout_ms * 1000000;
	struct etcd_queue_state state;

	do {
		etcd_queue_tick(etcd->queue);
		leader_tick(etcd->leader);
		etcd_queue_state(etcd->queue, &state);
		if (state.bytes == 0)
			return true;
		usleep(WAIT_US);
	} while (clock_ns() < until_ns && leader_state(etcd->leader) >= LEADER_LEADER);
	return false;
}

static void journal_etcd_close(struct journal *journal)
{
	if (!journal)
		return;
	struct etcd_journal *etcd = own(journal);
	if (etcd->leading) {
		etcd_queue_drop(etcd->queue);
		if (drain(etcd, CLOSE_MS)) {
			mark_put(etcd, true);
			if (!drain(etcd, CLOSE_MS))
				log_warn("ended without a last word in etcd");
		} else {
			log_error("ended before etcd had all changes");
		}
	}
	etcd_journal_free(etcd);
}

static void announce(struct journal *journal, const char *address)
{
	struct etcd_journal *etcd = own(journal);

	snprintf(etcd->address, sizeof(etcd->address), "%s", address);
	leader_announce(etcd->leader, address);
}

static bool ended_in_order(const char *mark)
{
	return strncmp(mark, "closed", 6) == 0;
}

/* What the leader before said of its way of writing. */
static bool incomplete(const struct etcd_journal *etcd, const char *mark)
{
	if (etcd->without_objects || strstr(mark, "objects=off"))
		return true;
	return mark[0] && !ended_in_order(mark) && !strstr(mark, "ack=sync");
}

/* Where it may still serve, if it was not this one. */
static void before_take(const struct etcd_journal *etcd, const char *mark,
			char before[JOURNAL_ADDRESS_SIZE])
{
	static const char head[] = " address=";
	const char *address = ended_in_order(mark) ? NULL : strstr(mark, head);

	before[0] = '\0';
	if (address && strcmp(address + strlen(head), etcd->address) != 0)
		snprintf(before, JOURNAL_ADDRESS_SIZE, "%s", address + strlen(head));
}

static void lead(struct etcd_journal *etcd, struct journal_loaded *loaded)
{
	char name[LEADER_NAME_SIZE];
	char mark[STANDBY_MARK_SIZE];

	standby_mark(etcd->standby, mark);
	*loaded = (struct journal_loaded){.empty = standby_records(etcd->standby) == 0,
					  .incomplete = incomplete(etcd, mark)};
	before_take(etcd, mark, loaded->before);
	standby_free(etcd->standby);
	etcd->standby = NULL;
	etcd->leading = true;
	failpoint("takeover.told");
	leader_name(etcd->leader, name);
	etcd_queue_begin(etcd->queue, leader_token(etcd->leader), name);
	mark_put(etcd, false);
}

static enum mc_status follow(struct journal *journal, const struct journal_reader *reader,
			     struct journal_loaded *loaded)
{
	struct etcd_journal *etcd = own(journal);

	etcd->leading = false;
	if (etcd->resigned_ns)
		leader_resign(etcd->leader);
	etcd->resigned_ns = 0;
	etcd->resigned = false;
	if (!etcd->standby) {
		struct standby_config config = {
			.etcd = &etcd->config,
			.prefix = written(&etcd->prefix),
			.without_objects = etcd->without_objects,
			.leader = etcd->leader,
			.wake = wake,
			.context = etcd,
		};
		enum mc_status status = standby_new(&config, &etcd->standby);
		if (status != MC_OK)
			return status == MC_NO_MEMORY ? MC_AGAIN : status;
	}
	leader_tick(etcd->leader);
	uint64_t until_ns = clock_ns() + SLICE_NS;
	enum mc_status status = standby_take(etcd->standby, reader, until_ns);
	if (status != MC_OK)
		return status;
	if (leader_state(etcd->leader) != LEADER_LEADER)
		return MC_AGAIN;
	if (!standby_told(etcd->standby, leader_token(etcd->leader)))
		return MC_AGAIN;
	lead(etcd, loaded);
	return MC_OK;
}

static enum mc_status load(struct journal *journal, journal_visit *visit, void *context,
			   struct journal_loaded *loaded)
{
	struct journal_reader reader = {.visit = visit, .context = context};
	enum mc_status status;

	while ((status = follow(journal, &reader, loaded)) == MC_AGAIN)
		usleep(WAIT_US);
	return status;
}

static void put(struct journal *journal, enum record_kind kind, const uint8_t *key, size_t key_size,
		const uint8_t *value, size_t value_size)
{
	struct etcd_journal *etcd = own(journal);
	unsigned flags = 0;

	if (kind == RECORD_DIRECTORY)
		flags = ETCD_PUT_MAY_WAIT;
	else if (kind == RECORD_DEED)
		flags = ETCD_PUT_JOINED;
	etcd->counters.records++;
	if (kind == RECORD_OBJECT && etcd->without_objects)
		return;
	writer_reset(&etcd->key);
	writer_reset(&etcd->value);
	/* What has no place is a bug of the caller. */
	MUST(etcd_text_key(&etcd->key, kind, key, key_size, value, value_size));
	etcd_text_value(&etcd->value, kind, value, value_size);
	MUST(!etcd->key.failed && !etcd->value.failed);
	etcd_queue_put(etcd->queue, written(&etcd->key), written(&etcd->value), flags);
}

static void remove_record(struct journal *journal, enum record_kind kind, const uint8_t *key,
			  size_t key_size)
{
	struct etcd_journal *etcd = own(journal);

	etcd->counters.records++;
	/* Those are told by their places. */
	if (kind == RECORD_DIRECTORY || kind == RECORD_OBJECT)
		return;
	writer_reset(&etcd->key);
	MUST(etcd_text_key(&etcd->key, kind, key, key_size, NULL, 0));
	etcd_queue_put(etcd->queue, written(&etcd->key), (struct etcd_bytes){NULL, 0}, 0);
}

static void vacate(struct journal *journal, bool directory, bool moved, uint64_t parent,
		   const char *name, size_t name_size)
{
	struct etcd_journal *etcd = own(journal);

	if (!directory && etcd->without_objects)
		return;
	writer_reset(&etcd->key);
	etcd_text_place(&etcd->key, parent, name, name_size);
	MUST(!etcd->key.failed);
	etcd_queue_put(etcd->queue, written(&etcd->key), (struct etcd_bytes){NULL, 0},
		       moved ? ETCD_PUT_JOINED : 0);
}

static enum mc_status flush(struct journal *journal)
{
	struct etcd_journal *etcd = own(journal);

	etcd->counters.flushes++;
	etcd_queue_flush(etcd->queue);
	return MC_OK;
}

static void tick(struct journal *journal, uint64_t now_ms)
{
	struct etcd_journal *etcd = own(journal);

	(void)now_ms;
	leader_tick(etcd->leader);
	etcd_queue_tick(etcd->queue);
}

static bool snapshot_due(const struct journal *journal, uint64_t live_size)
{
	(void)journal;
	(void)live_size;
	return false;
}

static void counters(const struct journal *journal, struct journal_counters *counters)
{
	const struct etcd_journal *etcd = container_of(journal, const struct etcd_journal, base);
	struct etcd_queue_state state;

	*counters = etcd->counters;
	etcd_queue_state(etcd->queue, &state);
	counters->bytes = state.bytes;
}

/*
 * The last changes go out first, and when all are there the word that they were the
 * last: beside them it could arrive alone, and nobody would look for what is missing.
 */
static enum mc_status resigning(struct etcd_journal *etcd, const struct etcd_queue_state *state)
{
	bool late = clock_ns() - etcd->resigned_ns > RESIGN_NS;

	if (state->bytes > 0 && !late)
		return MC_READ_ONLY;
	if (state->bytes == 0 && !etcd->resigned) {
		etcd->resigned = true;
		mark_put(etcd, true);
		return MC_READ_ONLY;
	}
	leader_resign(etcd->leader);
	return MC_STALE;
}

static enum mc_status ready(struct journal *journal)
{
	struct etcd_journal *etcd = own(journal);
	struct etcd_queue_state state;

	switch (leader_state(etcd->leader)) {
	case LEADER_LEADER:
		break;
	case LEADER_UNSURE:
		return MC_READ_ONLY;
	case LEADER_STANDBY:
	case LEADER_CAMPAIGN:
		return MC_STALE;
	}
	etcd_queue_state(etcd->queue, &state);
	if (etcd->resigned_ns)
		return resigning(etcd, &state);
	bool full = etcd->ack_sync || state.bytes >= etcd->queue_size;
	if (state.stalled_ms >= STALL_MS && full)
		return MC_READ_ONLY;
	return state.bytes >= 2 * etcd->queue_size ? MC_READ_ONLY : MC_OK;
}

static uint64_t group(struct journal *journal)
{
	struct etcd_queue_state state;

	etcd_queue_state(own(journal)->queue, &state);
	return state.closed + 1;
}

static uint64_t stored(struct journal *journal)
{
	struct etcd_queue_state state;

	etcd_queue_state(own(journal)->queue, &state);
	return state.settled;
}

/* Answers wait for their own group, or, when too much is under way, for room. */
static uint64_t answerable(struct journal *journal)
{
	struct etcd_journal *etcd = own(journal);
	struct etcd_queue_state state;

	etcd_queue_state(etcd->queue, &state);
	if (etcd->ack_sync || state.bytes >= etcd->queue_size)
		return state.settled;
	return UINT64_MAX;
}

static void resign(struct journal *journal)
{
	struct etcd_journal *etcd = own(journal);

	if (!etcd->leading || etcd->resigned_ns)
		return;
	etcd->resigned_ns = clock_ns();
	failpoint("resign.asked");
}

static void lost(struct journal *journal)
{
	leader_lost(own(journal)->leader);
}

const struct journal_ops journal_etcd_ops = {
	.name = "etcd",
	.durable = true,
	.open = journal_etcd_open,
	.close = journal_etcd_close,
	.load = load,
	.put = put,
	.remove = remove_record,
	.flush = flush,
	.tick = tick,
	.snapshot_due = snapshot_due,
	.counters = counters,
	.announce = announce,
	.follow = follow,
	.ready = ready,
	.vacate = vacate,
	.group = group,
	.answerable = answerable,
	.stored = stored,
	.resign = resign,
	.lost = lost,
};
