#include "tools/mooncake/master.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/rpc/client.h"
#include "engine/rpc/wire.h"

#define MASTER_ATTEMPTS_MAX 3u /* to connect, before we say that nobody is there */
#define MASTER_TICK_MS	    20u
#define MASTER_GRACE_MS	    500u /* for the client to notice a deadline itself */
#define MASTER_PAGE_COUNT   8192u

struct master {
	/* fixed after init */
	struct client *client;
	uint32_t timeout_ms;
	bool patient; /* one of several is about to lead: worth the wait */
	struct master_facts facts;
	uint64_t opened_ns;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool welcomed;
	unsigned attempts; /* that failed */
	bool asking;	   /* until the answer comes, which may be after it was given up */
	enum mc_status status;
	bool resent;
	struct writer body; /* of the answer, kept until the next call */
};

static void on_hello(void *context, struct writer *body)
{
	static const uint8_t uuid[16];
	static const char name[] = "mooncake";

	(void)context;
	put_u8(body, MC_ROLE_CLIENT);
	put_bytes(body, uuid, sizeof(uuid));
	put_string(body, name, sizeof(name) - 1);
	put_string(body, "", 0);
	put_u64(body, 0);
	put_u64(body, 0);
	put_u8(body, 0);
}

static enum mc_status on_welcome(void *context, struct reader *body)
{
	struct master *master = context;

	WITH_LOCK(&master->lock);
	get_u32(body); /* session */
	get_u32(body); /* node: none */
	master->facts.cluster = get_u64(body);
	get_u64(body); /* ids that we may use, and don't */
	get_u32(body);
	get_u32(body); /* heartbeats are for nodes */
	get_u32(body);
	get_text(body, master->facts.version, sizeof(master->facts.version));
	get_text(body, master->facts.name, sizeof(master->facts.name));
	if (body->failed)
		return MC_PROTOCOL;
	if (!master->welcomed)
		master->facts.answer_ns = clock_ns() - master->opened_ns;
	master->welcomed = true;
	pthread_cond_broadcast(&master->changed);
	return MC_OK;
}

static void on_push(void *context, uint16_t verb, struct reader *body)
{
	/* News of names and nodes, for those who keep some. */
	(void)context;
	(void)verb;
	(void)body;
}

static void on_lost(void *context)
{
	(void)context; /* the client connects again, the deadline goes on */
}

/* Called after each attempt to connect, and on and on. */
static void on_tick(void *context)
{
	struct master *master = context;

	WITH_LOCK(&master->lock);
	if (!master->welcomed) {
		master->attempts++;
		pthread_cond_broadcast(&master->changed);
	}
}

static enum mc_status wait_welcome(struct master *master)
{
	uint64_t deadline_ns = clock_ns() + master->timeout_ms * 1000000ull;

	WITH_LOCK(&master->lock);
	while (!master->welcomed && (master->patient || master->attempts < MASTER_ATTEMPTS_MAX)) {
		if (!clock_cond_wait(&master->changed, &master->lock, deadline_ns))
			return MC_TIMEOUT;
	}
	return master->welcomed ? MC_OK : MC_UNREACHABLE;
}

enum mc_status master_open(const char *address, uint32_t timeout_ms, struct master **master)
{
	struct master *m = calloc(1, sizeof(*m));
	struct client_events events = {
		.hello = on_hello,
		.welcome = on_welcome,
		.push = on_push,
		.lost = on_lost,
		.tick = on_tick,
		.context = m,
		.tick_ms = MASTER_TICK_MS,
	};

	MUST(m != NULL);
	m->timeout_ms = timeout_ms;
	m->patient = strchr(address, ',') || strncmp(address, "etcd://", 7) == 0;
	m->opened_ns = clock_ns();
	writer_init(&m->body);
	pthread_mutex_init(&m->lock, NULL);
	clock_cond_init(&m->changed);
	enum mc_status status = client_open(address, &events, &m->client);
	if (status) {
		master_close(m);
		return status;
	}
	/* After a timeout its thread may be deep in the resolver: it is left to the exit. */
	status = wait_welcome(m);
	if (status == MC_UNREACHABLE)
		master_close(m);
	if (status)
		return status;
	client_peer(m->client, m->facts.peer, sizeof(m->facts.peer));
	*master = m;
	return MC_OK;
}

void master_close(struct master *master)
{
	if (!master)
		return;
	client_close(master->client);
	writer_fini(&master->body);
	pthread_cond_destroy(&master->changed);
	pthread_mutex_destroy(&master->lock);
	free(master);
}

const struct master_facts *master_facts(const struct master *master)
{
	return &master->facts;
}

static void on_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct master *master = context;

	WITH_LOCK(&master->lock);
	writer_reset(&master->body);
	if (body)
		put_bytes(&master->body, body->data + body->offset, body->size - body->offset);
	master->status = master->body.failed ? MC_NO_MEMORY : status;
	master->resent = resent;
	master->asking = false;
	pthread_cond_broadcast(&master->changed);
}

enum mc_status master_ask(struct master *master, enum mc_verb verb, const struct writer *body,
			  struct reader *answer)
{
	uint64_t deadline_ns =
		clock_ns() + ((uint64_t)master->timeout_ms + MASTER_GRACE_MS) * 1000000u;

	pthread_mutex_lock(&master->lock);
	bool busy = master->asking;
	master->asking = true;
	pthread_mutex_unlock(&master->lock);
	/* What comes next may be the answer to a question that was given up. */
	if (busy)
		return MC_TIMEOUT;
	client_call(master->client, verb, body, master->timeout_ms, on_reply, master);
	WITH_LOCK(&master->lock);
	while (master->asking) {
		if (!clock_cond_wait(&master->changed, &master->lock, deadline_ns))
			return MC_TIMEOUT;
	}
	reader_init(answer, master->body.data, master->body.size);
	return master->status;
}

bool master_resent(const struct master *master)
{
	return master->resent;
}

static enum mc_status checked(const struct reader *answer)
{
	return reader_done(answer) ? MC_OK : MC_PROTOCOL;
}

static enum mc_status lookup_batch(struct master *master, char *const *keys, size_t count,
				   struct master_found *found)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u16(&w, (uint16_t)count);
	for (size_t i = 0; i < count; i++)
		put_string(&w, keys[i], strlen(keys[i]));
	enum mc_status status = master_ask(master, MC_VERB_LOOKUP_PATH, &w, &r);
	writer_fini(&w);
	if (status)
		return status;
	if (get_u16(&r) != count)
		return MC_PROTOCOL;
	for (size_t i = 0; i < count; i++) {
		found[i].status = get_status(&r);
		if (found[i].status)
			continue;
		found[i].parent = get_u64(&r);
		get_entry(&r, &found[i].entry);
	}
	return checked(&r);
}

enum mc_status master_lookup(struct master *master, char *const *keys, size_t count,
			     struct master_found *found)
{
	for (size_t done = 0; done < count;) {
		size_t some = count - done < MC_BATCH_MAX ? count - done : MC_BATCH_MAX;
		enum mc_status status = lookup_batch(master, keys + done, some, found + done);
		if (status)
			return status;
		done += some;
	}
	return MC_OK;
}

static void child_get(struct reader *r, struct master_child *child)
{
	size_t size;
	const char *name = get_name(r, &size);

	get_entry(r, &child->entry);
	if (r->failed)
		return;
	child->size = size;
	child->name = strndup(name, size);
	MUST(child->name != NULL);
}

/* One page behind the cursor. */
static enum mc_status list_page(struct master *master, uint64_t directory, uint64_t *cursor,
				bool *end, struct master_children *children)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u64(&w, directory);
	put_u64(&w, *cursor);
	put_u32(&w, MASTER_PAGE_COUNT);
	enum mc_status status = master_ask(master, MC_VERB_LIST, &w, &r);
	writer_fini(&w);
	if (status)
		return status;
	*end = get_u8(&r) != 0;
	size_t count = get_u16(&r);
	if (count == 0 && !*end)
		return MC_PROTOCOL;
	children->items = reallocarray(children->items, children->count + count + 1,
				       sizeof(*children->items));
	MUST(children->items != NULL);
	for (size_t i = 0; i < count && !r.failed; i++) {
		*cursor = get_u64(&r);
		child_get(&r, &children->items[children->count]);
		if (!r.failed)
			children->count++;
	}
	return checked(&r);
}

enum mc_status master_list(struct master *master, uint64_t directory,
			   struct master_children *children)
{
	enum mc_status status = MC_OK;
	uint64_t cursor = 0;
	bool end = false;

	*children = (struct master_children){0};
	while (!end && !status)
		status = list_page(master, directory, &cursor, &end, children);
	if (status)
		master_children_fini(children);
	return status;
}

void master_children_fini(struct master_children *children)
{
	for (size_t i = 0; i < children->count; i++)
		free(children->items[i].name);
	free(children->items);
	*children = (struct master_children){0};
}

static enum mc_status remove_batch(struct master *master, const struct master_name *names,
				   size_t count, enum mc_status *statuses)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u16(&w, (uint16_t)count);
	for (size_t i = 0; i < count; i++) {
		put_u64(&w, names[i].parent);
		put_string(&w, names[i].name, names[i].size);
	}
	enum mc_status status = master_ask(master, MC_VERB_REMOVE, &w, &r);
	writer_fini(&w);
	if (status)
		return status;
	if (get_u16(&r) != count)
		return MC_PROTOCOL;
	for (size_t i = 0; i < count; i++) {
		statuses[i] = get_status(&r);
		if (!statuses[i])
			(void)get_u64(&r);
	}
	return checked(&r);
}

enum mc_status master_remove(struct master *master, const struct master_name *names, size_t count,
			     enum mc_status *statuses)
{
	for (size_t done = 0; done < count;) {
		size_t some = count - done < MC_BATCH_MAX ? count - done : MC_BATCH_MAX;
		enum mc_status status = remove_batch(master, names + done, some, statuses + done);
		if (status)
			return status;
		done += some;
	}
	return MC_OK;
}

enum mc_status master_rmdir(struct master *master, const struct master_name *name)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u64(&w, name->parent);
	put_string(&w, name->name, name->size);
	enum mc_status status = master_ask(master, MC_VERB_RMDIR, &w, &r);
	writer_fini(&w);
	return status;
}

enum mc_status master_nodes(struct master *master, struct mc_node **nodes, size_t *count)
{
	struct reader r;

	enum mc_status status = master_ask(master, MC_VERB_NODES, NULL, &r);
	if (status)
		return status;
	uint32_t announced = get_u32(&r);
	if (announced > MC_NODE_MAX)
		return MC_PROTOCOL;
	CLEANUP_FREE struct mc_node *all = calloc(announced + 1, sizeof(*all));
	MUST(all != NULL);
	for (uint32_t i = 0; i < announced; i++)
		get_node(&r, &all[i]);
	status = checked(&r);
	if (status)
		return status;
	*nodes = STEAL(all);
	*count = announced;
	return MC_OK;
}

enum mc_status master_space(struct master *master, struct master_space *space)
{
	struct reader r;

	enum mc_status status = master_ask(master, MC_VERB_STATFS, NULL, &r);
	if (status)
		return status;
	*space = (struct master_space){0};
	space->capacity = get_u64(&r);
	space->used = get_u64(&r);
	space->objects = get_u64(&r);
	space->directories = get_u64(&r);
	space->nodes = get_u32(&r);
	return checked(&r);
}

/* The one string of an answer, terminated. */
static enum mc_status take_string(struct reader *r, char **text)
{
	size_t size;
	const char *bytes = get_string(r, &size);

	if (!bytes || checked(r))
		return MC_PROTOCOL;
	*text = strndup(bytes, size);
	MUST(*text != NULL);
	return MC_OK;
}

enum mc_status master_step_down(struct master *master)
{
	struct reader r;

	return master_ask(master, MC_VERB_STEP_DOWN, NULL, &r);
}

enum mc_status master_stats(struct master *master, char **text)
{
	struct reader r;

	enum mc_status status = master_ask(master, MC_VERB_STATS, NULL, &r);
	return status ? status : take_string(&r, text);
}

uint64_t master_stat(const char *text, const char *name)
{
	size_t size = strlen(name);

	while (text && *text) {
		if (strncmp(text, name, size) == 0 && text[size] == ' ')
			return strtoull(text + size, NULL, 10);
		text = strchr(text, '\n');
		text += text ? 1 : 0;
	}
	return 0;
}

enum mc_status master_path(struct master *master, uint64_t id, char **key)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u64(&w, id);
	enum mc_status status = master_ask(master, MC_VERB_PATH, &w, &r);
	writer_fini(&w);
	return status ? status : take_string(&r, key);
}
