#include "engine/node/node.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/cpu_latency.h"
#include "engine/base/net.h"
#include "engine/base/thread.h"
#include "engine/node/internal.h"

static const char *const counter_names[COUNTER_LIMIT] = {
#define COUNTER_NAME(id, name, help) [COUNTER_##id] = (name),
	COUNTER_ROWS(COUNTER_NAME)
#undef COUNTER_NAME
};

void node_busy(struct node *node)
{
	cpu_latency_busy(node->cpu_latency);
}

void node_lock(struct node *node)
{
	pthread_mutex_lock(&node->lock);
}

void node_unlock(struct node *node)
{
	pthread_mutex_unlock(&node->lock);
}

struct object_table *node_objects(struct node *node)
{
	return &node->objects;
}

struct counters *node_counters(struct node *node)
{
	return &node->counters;
}

struct pool *node_pool(struct node *node)
{
	return node->pool;
}

void node_ref(struct node *node, struct object *object)
{
	WITH_LOCK(&node->lock);
	object_ref(object);
}

void node_unref(struct node *node, struct object *object)
{
	if (!object)
		return;
	WITH_LOCK(&node->lock);
	object_unref(&node->objects, object);
}

/* -- ops -- */

static char *copy_text(const char *text, bool *failed)
{
	char *copy = text ? strdup(text) : NULL;

	*failed |= text && !copy;
	return copy;
}

struct op *op_new(struct node *node, struct object *object, struct object *other, const char *name,
		  const char *new_name, node_done_fn *done, void *context)
{
	struct op *op = calloc(1, sizeof(*op));
	bool failed = !op;

	if (op) {
		*op = (struct op){.node = node, .done = done, .context = context};
		op->name = copy_text(name, &failed);
		op->new_name = copy_text(new_name, &failed);
	}
	if (failed) {
		if (op) {
			free(op->name);
			free(op->new_name);
			free(op);
		}
		done(context, MC_NO_MEMORY, NULL);
		return NULL;
	}
	WITH_LOCK(&node->lock);
	op->object = object;
	op->other = other;
	if (object)
		object_ref(object);
	if (other)
		object_ref(other);
	return op;
}

void op_free(struct op *op)
{
	node_unref(op->node, op->object);
	node_unref(op->node, op->other);
	free(op->name);
	free(op->new_name);
	free(op);
}

void op_end(struct op *op, enum mc_status status, struct object *object)
{
	op->done(op->context, status, object);
	op_free(op);
}

void node_ask(struct node *node, enum mc_verb verb, struct writer *body, client_reply_fn *reply,
	      void *context)
{
	client_call(node->client, verb, body, node->config.timeout_ms, reply, context);
	if (body)
		writer_fini(body);
}

void node_ask_here(struct node *node, enum mc_verb verb, struct writer *body,
		   client_reply_fn *reply, void *context)
{
	client_call_here(node->client, verb, body, node->config.timeout_ms, reply, context);
	if (body)
		writer_fini(body);
}

void node_ignore_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	(void)context;
	(void)status;
	(void)body;
	(void)resent;
}

void node_ignore_done(void *context, enum mc_status status, struct object *object)
{
	(void)context;
	(void)status;
	(void)object;
}

enum mc_status node_change_status(enum mc_status status)
{
	return status == MC_UNREACHABLE ? MC_READ_ONLY : status;
}

enum mc_status read_item(enum mc_status status, struct reader *body)
{
	if (status)
		return status;
	if (get_u16(body) != 1)
		return MC_PROTOCOL;
	status = get_status(body);
	return body->failed ? MC_PROTOCOL : status;
}

/* -- open and close -- */

static void *janitor_thread(void *context)
{
	struct node *node = context;
	uint32_t sleep_ms = 10;

	pthread_setname_np(pthread_self(), "mc-janitor");
	pthread_mutex_lock(&node->lock);
	while (!node->stopping) {
		(void)clock_cond_wait(&node->wake, &node->lock, clock_ns() + sleep_ms * 1000000ull);
		if (node->stopping)
			break;
		pthread_mutex_unlock(&node->lock);
		sleep_ms = node_evict_turn(node);
		pthread_mutex_lock(&node->lock);
	}
	pthread_mutex_unlock(&node->lock);
	return NULL;
}

static void init_state(struct node *node, const struct node_config *config,
		       const struct node_events *events)
{
	node->config = *config;
	node->events = *events;
	node->heartbeat_ms = 1000;
	node->condemned_last = &node->condemned;
	node->mapped_last = &node->mapped;
	pthread_mutex_init(&node->lock, NULL);
	clock_cond_init(&node->wake);
	clock_cond_init(&node->change);
	if (config->name)
		snprintf(node->name, sizeof(node->name), "%s", config->name);
	else
		gethostname(node->name, sizeof(node->name) - 1);
	if (net_host_id(node->host))
		snprintf(node->host, sizeof(node->host), "%s", node->name);
}

enum mc_status node_open(const struct node_config *config, const struct node_events *events,
			 struct node **node)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return MC_NO_MEMORY;
	init_state(n, config, events);
	n->cpu_latency = cpu_latency_begin(config->cpu_latency, n->cpu_latency_why,
					   sizeof(n->cpu_latency_why));
	signal(SIGIO, SIG_IGN); /* leases that are looked at (pool_unused) may be broken */
	enum mc_status status = object_table_init(&n->objects);
	if (!status)
		status = pool_open(&config->pool, &n->pool);
	if (!status)
		status = stock_start(n->pool, node_stock_room(n), &n->stock);
	if (!status)
		status = node_scan(n);
	if (!status)
		status = node_transports_open(n);
	if (!status) {
		struct client_events client_events = node_session_events;
		client_events.context = n;
		status = client_open(config->master, &client_events, &n->client);
	}
	if (!status && thread_start(&n->janitor, janitor_thread, n) != 0)
		status = MC_NO_MEMORY;
	if (status) {
		client_close(n->client);
		node_transports_close(n);
		stock_stop(n->stock);
		pool_close(n->pool);
		object_table_fini(&n->objects);
		cpu_latency_close(n->cpu_latency);
		free(n);
		return status;
	}
	*node = n;
	return MC_OK;
}

enum mc_status node_wait_ready(struct node *node, uint32_t timeout_ms)
{
	uint64_t until_ns = clock_ns() + timeout_ms * 1000000ull;

	WITH_LOCK(&node->lock);
	while (!node->announced) {
		if (node->stopping)
			return MC_CANCELLED;
		if (!clock_cond_wait(&node->change, &node->lock, until_ns))
			break;
	}
	if (node->session == 0)
		return MC_TIMEOUT;
	if (!node->announced)
		log_warn("the master has not taken the inventory yet, going on");
	return MC_OK;
}

void node_stop(struct node *node)
{
	pthread_mutex_lock(&node->lock);
	bool again = node->stopping;
	node->stopping = true;
	pthread_cond_broadcast(&node->wake);
	pthread_cond_broadcast(&node->change);
	pthread_mutex_unlock(&node->lock);
	if (again)
		return;
	pthread_join(node->janitor, NULL);
	node_pulls_cancel(node);
	client_stop(node->client);
	node_doubts_stop(node);
}

void node_close(struct node *node, bool destroy_pool)
{
	if (!node)
		return;
	node_stop(node);
	node_borrows_end(node); /* of what was open when the mount ended */
	node_transports_close(node);
	client_close(node->client);
	node_condemned_end(node);
	node_linger_end(node);
	node_claims_end(node);
	node_doubts_end(node);
	for (uint32_t i = 0; i < node->objects.size; i++) {
		for (struct object *o = node->objects.by_id[i]; o; o = o->next_by_id) {
			if (o->draft_fd >= 0)
				close(o->draft_fd);
			if (object_is(o, OBJECT_DIRECTORY))
				grant_free(o->grant);
			free(o->xattrs);
		}
	}
	object_table_fini(&node->objects);
	stock_stop(node->stock);
	if (destroy_pool)
		pool_destroy(node->pool);
	else
		pool_close(node->pool);
	cpu_latency_close(node->cpu_latency);
	free(node->nodes);
	pthread_mutex_destroy(&node->lock);
	pthread_cond_destroy(&node->wake);
	pthread_cond_destroy(&node->change);
	free(node);
}

/* -- the whole -- */

struct statfs_ask {
	struct node *node;
	node_space_fn *done;
	void *context;
};

static void statfs_reply(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct statfs_ask *ask = context;
	struct node *node = ask->node;
	struct node_space space = {0};
	struct pool_space own;

	(void)resent;
	pool_space(node->pool, &own);
	if (!status) {
		space.capacity = get_u64(body);
		space.used = get_u64(body);
		space.objects = get_u64(body);
		space.directories = get_u64(body);
		if (body->failed)
			status = MC_PROTOCOL;
	}
	node_lock(node);
	if (status || space.capacity < own.capacity) {
		space = (struct node_space){.capacity = own.capacity, .used = own.used};
		space.objects = node->local_count;
	} else if (space.capacity == own.capacity) {
		space.used = own.used; /* alone: now, not as of the last heartbeat */
	}
	node_unlock(node);
	ask->done(ask->context, MC_OK, &space);
	free(ask);
}

void node_statfs(struct node *node, node_space_fn *done, void *context)
{
	struct statfs_ask *ask = malloc(sizeof(*ask));

	if (!ask) {
		done(context, MC_NO_MEMORY, NULL);
		return;
	}
	*ask = (struct statfs_ask){.node = node, .done = done, .context = context};
	if (!client_connected(node->client)) {
		statfs_reply(ask, MC_UNREACHABLE, NULL, false);
		return;
	}
	node_ask(node, MC_VERB_STATFS, NULL, statfs_reply, ask);
}

static const char *node_name_locked(const struct node *node, uint32_t id)
{
	if (id == node->id)
		return node->name;
	for (uint32_t i = 0; i < node->node_count; i++) {
		if (node->nodes[i].id == id)
			return node->nodes[i].name;
	}
	return "unknown";
}

void node_location(struct node *node, const struct object *object, char *text, size_t size)
{
	size_t at = 0;

	WITH_LOCK(&node->lock);
	text[0] = '\0';
	if (object_is(object, OBJECT_LOCAL))
		at += (size_t)snprintf(text, size, "%s%s", node->name,
				       object_is(object, OBJECT_CACHE)	     ? "(cache)"
				       : object_is(object, OBJECT_PUBLISHED) ? ""
									     : "(draft)");
	for (uint32_t i = 0; i < object->replica_count && at < size; i++) {
		if (object->replicas[i].node == node->id && object_is(object, OBJECT_LOCAL))
			continue;
		at += (size_t)snprintf(text + at, size - at, "%s%s%s", at ? "," : "",
				       node_name_locked(node, object->replicas[i].node),
				       object->replicas[i].kind == MC_REPLICA_CACHE ? "(cache)"
										    : "");
	}
}

char *node_stats(struct node *node)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	uint64_t total = 0;

	if (!out)
		return NULL;
	for (unsigned i = 0; i < COUNTER_LIMIT; i++)
		fprintf(out, "%s %" PRIu64 "\n", counter_names[i],
			counter_get(&node->counters, (enum counter)i));
	for (unsigned verb = 1; verb < MC_VERB_LIMIT; verb++) {
		uint64_t calls = client_calls(node->client, (enum mc_verb)verb);
		if (strcmp(mc_verb_name(verb), "unknown") == 0)
			continue;
		fprintf(out, "rpc_%s %" PRIu64 "\n", mc_verb_name(verb), calls);
		if (verb != MC_VERB_HEARTBEAT && verb != MC_VERB_HELLO)
			total += calls;
	}
	fprintf(out, "rpc_total %" PRIu64 "\n", total);
	for (unsigned i = 0; i < node->transport_count; i++) {
		struct transport_counters c = {0};
		const struct transport_ops *ops = node->transports[i]->ops;
		ops->counters(node->transports[i], &c);
		fprintf(out, "%s_pulls_served %" PRIu64 "\n%s_bytes_served %" PRIu64 "\n",
			ops->name, c.pulls_served, ops->name, c.bytes_served);
		fprintf(out, "%s_checksum_errors %" PRIu64 "\n%s_connections %" PRIu64 "\n",
			ops->name, c.checksum_errors, ops->name, c.connections);
		fprintf(out, "%s_holds %" PRIu64 "\n", ops->name, c.holds);
		if (ops->show)
			fprintf(out, "%s_shown %" PRIu64 "\n%s_pulls_shown %" PRIu64 "\n",
				ops->name, c.shown, ops->name, c.pulls_shown);
	}
	node_lock(node);
	fprintf(out, "objects_local %" PRIu64 "\nobjects_known %u\n", node->local_count,
		node->objects.count);
	node_unlock(node);
	fclose(out);
	return text;
}

static void peers_status_locked(const struct node *node, FILE *out)
{
	for (uint32_t i = 0; i < node->node_count; i++) {
		const struct mc_node *peer = &node->nodes[i];
		struct node_reach reach;

		if (peer->id == node->id)
			continue;
		bool reached = node_reach_locked(node, peer, 0, &reach);
		fprintf(out, "peer %s %s (%s)\n", peer->name,
			reached ? reach.transport->ops->name : "unreachable",
			node_reach_why(node, peer, &reach));
	}
}

char *node_status(struct node *node)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	char peer[384];
	struct pool_space space;

	if (!out)
		return NULL;
	client_peer(node->client, peer, sizeof(peer));
	pool_space(node->pool, &space);
	WITH_LOCK(&node->lock);
	fprintf(out, "node %s\nnode_id %u\n", node->name, node->id);
	fprintf(out, "master %s\nmaster_name %s\nconnected %s\nmaster_option %s\n", peer,
		node->master_name, client_connected(node->client) ? "yes" : "no",
		node->config.master);
	fprintf(out, "pool %s\npool_kind %s\n", pool_path(node->pool), pool_kind(node->pool));
	fprintf(out, "pool_capacity %" PRIu64 "\npool_used %" PRIu64 "\npool_objects %" PRIu64 "\n",
		space.capacity, space.used, node->local_count);
	for (unsigned i = 0; i < node->transport_count; i++) {
		char endpoint[MC_ENDPOINT_SIZE];
		node->transports[i]->ops->endpoint(node->transports[i], endpoint);
		fprintf(out, "transport %s\n", endpoint);
	}
	fprintf(out, "transport_option %s\n", node->config.transport);
	fprintf(out, "cpu_latency %s\n", node->cpu_latency_why);
	peers_status_locked(node, out);
	fclose(out);
	return text;
}
