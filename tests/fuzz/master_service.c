/*
 * Requests to a master from any bytes: none of them may do more than be refused.
 *
 * An input is a list of requests, each verb u8 (its top bit: the client's session and
 * not the node's), size u16 and so many bytes of body.  Each is tried as a reader
 * first and then handled by the writer, as in a master that runs.  At the end the
 * tables must still agree with each other.
 *
 * FUZZ_SEEDS=DIR makes it write one valid request of each verb there, and end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "master/await.h"
#include "master/grant.h"
#include "master/journal.h"
#include "master/repair.h"
#include "master/service.h"
#include "master/turn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CLIENT_BIT 0x80u
#define PEERS	   3 /* a node, a client, and a node that takes copies and never answers */

struct peer {
	struct connection connection;
	struct session *session;
};

static uint64_t fuzz_ns(void *context)
{
	uint64_t *now_ns = context;

	return *now_ns += 100000000;
}

static struct mc_time fuzz_real(void *context)
{
	return (struct mc_time){.s = (int64_t)(*(uint64_t *)context / 1000000000)};
}

static struct mc_master *master_make(uint64_t *now_ns)
{
	struct mc_master *master = calloc(1, sizeof(*master));

	MUST(master && catalog_init(&master->catalog) == MC_OK);
	MUST(nodes_init(&master->nodes) == MC_OK);
	MUST(reservations_init(&master->reservations) == MC_OK);
	MUST(ledger_init(&master->ledger) == MC_OK);
	const struct journal_config config = {.fresh = true};
	MUST(journal_open("memory", "never", config, &master->journal) == MC_OK);
	inbox_init(&master->inbox);
	pthread_mutex_init(&master->writing, NULL);
	writer_init(&master->record);
	master->repair = repair_new(1 << 20, 1000);
	MUST(master->repair);
	master->repair_delay_ms = 1000;
	master->clock = (struct mc_clock){fuzz_ns, fuzz_real, now_ns};
	master->catalog.grace.reader_count = 1;
	master->loop_count = 1;
	master->ttl_ms = 5000;
	master->epoch = 1;
	master->id_next = master->id_known = 1000;
	return master;
}

static void peer_make(struct mc_master *master, struct peer *peer)
{
	/* Not on a list of the loop's that is not there. */
	peer->connection = (struct connection){.fd = -1, .ready = true, .ending = true};
	pthread_mutex_init(&peer->connection.lock, NULL);
	writer_init(&peer->connection.out);
	peer->session = session_new(&peer->connection, 0);
	MUST(peer->session);
	master_session_open(master, peer->session);
}

static void handle(struct mc_master *master, struct peer *peer, const struct frame *frame,
		   const uint8_t *body)
{
	writer_reset(&peer->connection.out);
	master_clock(master);
	if (service_read(master, peer->session, master->now_ms, frame, body))
		MUST(peer->connection.out.size >= MC_FRAME_HEADER_SIZE);
	service_request(master, peer->session, frame, body);
}

static void hello(struct mc_master *master, struct peer *peer, size_t number)
{
	struct writer w;

	writer_init(&w);
	put_u8(&w, number == 1 ? MC_ROLE_CLIENT : MC_ROLE_NODE);
	put_bytes(&w, number ? "another node's id" : "0123456789abcdef", 16);
	put_string(&w, number ? "m" : "n", 1);
	put_string(&w, number ? "i" : "h", 1);
	put_u64(&w, 1 << 20);
	put_u64(&w, 1);
	put_u8(&w, 0);
	struct frame frame = {.verb = MC_VERB_HELLO, .size = (uint32_t)w.size};
	handle(master, peer, &frame, w.data);
	MUST(peer->session->id != 0);
	writer_fini(&w);
}

/* Both tables and all directories tell the same. */
static void check(const struct mc_master *master)
{
	const struct catalog *catalog = &master->catalog;
	const struct entry *entry;
	size_t position = 0;
	uint64_t counted = 0;

	while ((entry = table_next(&catalog->by_id, &position)) != NULL) {
		counted += entry_is_directory(entry) ? entry->directory->count : 0;
		MUST(entry == catalog->root || catalog_lookup(catalog, entry->parent, entry->name,
							      entry->name_size) == entry);
	}
	MUST(catalog->by_id.count == catalog->objects + catalog->directories);
	MUST(counted + 1 >= catalog->by_id.count);
}

static void master_end(struct mc_master *master, struct peer *peers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct session *session = peers[i].session;
		grant_end_all(master, session);
		parking_forget(master, session);
		while (session->reservations)
			reservations_end(&master->reservations, session->reservations);
		writer_fini(&session->out);
		writer_fini(&session->invalidations.w);
		writer_fini(&session->drops.w);
		writer_fini(&session->kinds.w);
		free(session);
		writer_fini(&peers[i].connection.out);
		pthread_mutex_destroy(&peers[i].connection.lock);
	}
	await_forget(master, NULL);
	repair_free(master->repair);
	policies_fini(&master->policies);
	master->journal->ops->close(master->journal);
	reservations_fini(&master->reservations);
	ledger_fini(&master->ledger);
	nodes_fini(&master->nodes);
	catalog_fini(&master->catalog);
	inbox_fini(&master->inbox);
	writer_fini(&master->record);
	pthread_mutex_destroy(&master->writing);
	free(master);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t now_ns = 1000000000;
	struct mc_master *master = master_make(&now_ns);
	struct peer peers[PEERS];

	for (size_t i = 0; i < PEERS; i++) {
		peer_make(master, &peers[i]);
		hello(master, &peers[i], i);
	}
	while (size >= 3) {
		uint8_t verb = data[0];
		size_t length = load_u16(data + 1);
		data += 3;
		size -= 3;
		length = length < size ? length : size;
		struct frame frame = {.verb = verb & ~CLIENT_BIT, .size = (uint32_t)length};
		handle(master, &peers[verb & CLIENT_BIT ? 1 : 0], &frame, data);
		data += length;
		size -= length;
		/* As at the end of a turn, but that nothing is sent. */
		parking_resume(master);
		repair_turn(master, true);
		MUST(turn_journal(master));
		grace_collect(&master->catalog.grace);
		master->turning = false;
		master_session_flush(master);
		for (size_t i = 0; i < PEERS; i++)
			writer_reset(&peers[i].session->out);
	}
	check(master);
	master_end(master, peers, PEERS);
	return 0;
}

/* --- seeds ---------------------------------------------------------------- */

static void seed_name(struct writer *w, const char *name)
{
	put_u64(w, MC_ROOT_ID);
	put_string(w, name, strlen(name));
}

static const struct mc_attr seed_attr = {
	.id = 2000, .version = 3, .size = 10, .mode = S_IFREG | 0644};

static const struct mc_placement seed_placement = {
	.replicas = 2, .ack = 2, .preferred_count = 1, .preferred = {"m"}};

static void seed_publish(struct writer *w, uint32_t flags)
{
	put_u16(w, 1);
	seed_name(w, flags & MC_PUBLISH_PARENTS ? "d/e/a" : "a");
	put_u32(w, flags | MC_PUBLISH_PLACED);
	put_attr(w, &seed_attr);
	put_placement(w, &seed_placement);
}

/* Verbs about how often objects are kept, and where. */
static void seed_body_of_replicas(enum mc_verb verb, struct writer *w)
{
	switch ((unsigned)verb) {
	case MC_VERB_POLICY_SET:
		put_string(w, "d", 1);
		put_placement(w, &seed_placement);
		return;
	case MC_VERB_POLICY_UNSET:
	case MC_VERB_POLICY:
		put_string(w, "d", 1);
		return;
	case MC_VERB_AWAIT:
		put_u64(w, 2000);
		put_u64(w, 3);
		put_u8(w, 2);
		return;
	case MC_VERB_NODE_SET:
		put_u32(w, 1);
		put_u8(w, MC_NODE_DRAIN);
		return;
	case MC_VERB_DRAIN:
		put_u32(w, 1);
		return;
	default:
		return;
	}
}

static void seed_body(enum mc_verb verb, struct writer *w)
{
	/* Most verbs begin with a parent and a name, or with an id. */
	switch ((unsigned)verb) {
	case MC_VERB_LOOKUP:
	case MC_VERB_REMOVE:
		put_u16(w, 1);
		seed_name(w, "a");
		return;
	case MC_VERB_EXISTS:
	case MC_VERB_LOOKUP_PATH:
		put_u16(w, 1);
		put_string(w, "d/e/a", 5);
		return;
	case MC_VERB_PUBLISH:
		seed_publish(w, MC_PUBLISH_PARENTS);
		return;
	case MC_VERB_RENAME:
		seed_name(w, "a");
		seed_name(w, "b");
		put_u32(w, 0);
		return;
	case MC_VERB_MKDIR:
		seed_name(w, "d");
		put_u64(w, 3000);
		put_u32(w, 0755);
		put_u32(w, 0);
		put_u32(w, 0);
		return;
	case MC_VERB_RMDIR:
		seed_name(w, "d");
		return;
	case MC_VERB_SUCCEEDED:
		put_u64(w, 1);
		put_u32(w, 2);
		return;
	case MC_VERB_RESERVE:
	case MC_VERB_UNRESERVE:
		seed_name(w, "r");
		put_u64(w, 4000);
		return;
	case MC_VERB_LIST:
		put_u64(w, MC_ROOT_ID);
		put_u64(w, 0);
		put_u32(w, 10);
		return;
	case MC_VERB_SETATTR:
		put_u64(w, 2000);
		put_u32(w, MC_SET_MODE | MC_SET_PINNED | MC_SET_REPLICAS);
		put_attr(w, &seed_attr);
		return;
	case MC_VERB_REPLICA:
		put_u16(w, 2);
		put_u8(w, MC_REPLICA_BAD);
		put_u64(w, 2000);
		put_u64(w, 3);
		put_u8(w, 0);
		put_u32(w, 1);
		put_status(w, MC_IO);
		put_u8(w, MC_REPLICA_DROP);
		put_u64(w, 2000);
		put_u64(w, 3);
		put_u8(w, 0);
		return;
	case MC_VERB_ANNOUNCE:
		put_u16(w, 1);
		put_string(w, "x/y", 3);
		put_u8(w, 0);
		put_attr(w, &seed_attr);
		return;
	case MC_VERB_SETXATTR:
		put_u64(w, 2000);
		put_string(w, "user.x", 6);
		put_u32(w, 0);
		put_string(w, "value", 5);
		return;
	case MC_VERB_REMOVEXATTR:
		put_u64(w, 2000);
		put_string(w, "user.x", 6);
		return;
	case MC_VERB_PATH:
	case MC_VERB_GETXATTRS:
	case MC_VERB_RECALLED:
		put_u64(w, 2000);
		return;
	case MC_VERB_HEARTBEAT:
		for (int i = 0; i < 3; i++)
			put_u64(w, 1);
		return;
	default:
		seed_body_of_replicas(verb, w);
		return;
	}
}

static void seed_request(struct writer *w, enum mc_verb verb, bool client)
{
	size_t at = w->size;

	put_u8(w, (uint8_t)((unsigned)verb | (client ? CLIENT_BIT : 0)));
	put_u16(w, 0);
	seed_body(verb, w);
	patch_u16(w, at + 1, (uint16_t)(w->size - at - 3));
}

/* After a publication, so that there is something to find. */
static void seed_write(const char *directory, enum mc_verb verb)
{
	struct writer w;
	char path[4096];

	writer_init(&w);
	seed_request(&w, MC_VERB_PUBLISH, false);
	seed_request(&w, MC_VERB_MKDIR, false);
	seed_request(&w, verb, true);
	seed_request(&w, verb, false);
	snprintf(path, sizeof(path), "%s/%s", directory, mc_verb_name(verb));
	FILE *file = fopen(path, "we");
	MUST(file && fwrite(w.data, 1, w.size, file) == w.size && fclose(file) == 0);
	writer_fini(&w);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *directory = getenv("FUZZ_SEEDS");

	(void)argc;
	(void)argv;
	log_level_now = LOG_LEVEL_ERROR;
	if (!directory)
		return 0;
	for (unsigned verb = 0; verb < MC_VERB_LIMIT; verb++) {
		if (service_rows[verb].apply)
			seed_write(directory, verb);
	}
	exit(0);
}
