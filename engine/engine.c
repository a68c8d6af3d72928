#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/environment.h"
#include "engine/fabric/topology.h"
#include "engine/metadata/handshake.h"
#include "engine/notify.h"
#include "engine/transfer.h"

#define SLICE_SIZE_MAX	 (1u << 30)
#define PROBE_TIMEOUT_MS 500u
#define HUGE_PAGE	 (2ull << 20)

/* --- the descriptor ----------------------------------------------------------------- */

static enum mc_status describe(struct mc_engine *engine, struct segment_desc **desc)
{
	struct segment_desc *made;
	enum mc_status status = segment_desc_new(engine->protocol, engine->name, &made);

	if (status)
		return status;
	for (uint32_t i = 0; i < engine->fabric_count && !status; i++)
		status = engine->fabrics[i]->ops->describe(engine->fabrics[i], made);
	if (!status && engine->notifications)
		status = notify_describe(engine, made);
	if (status)
		segment_desc_unref(made);
	else
		*desc = made;
	return status;
}

/* In a TCP segment a buffer goes by its server's name, in others by its location. */
static const char *buffer_name(const struct mc_engine *engine, const struct region *region)
{
	return engine->protocol == SEGMENT_TCP ? engine->name : region->location;
}

static enum mc_status add_region(struct region *region, void *context)
{
	struct segment_desc *desc = context;
	const struct segment_buffer *said = region->said ? &region->said->buffers[0] : NULL;
	struct segment_buffer *buffer;

	if (!said)
		return MC_OK;
	atomic_store(&region->published, true);
	enum mc_status status = segment_desc_add_buffer(desc, said->name, &buffer);
	if (status)
		return status;
	buffer->addr = said->addr;
	buffer->length = said->length;
	buffer->key = said->key;
	for (uint32_t i = 0; i < desc->device_count && i < region->said->device_count; i++) {
		buffer->rkey[i] = said->rkey[i];
		buffer->lkey[i] = said->lkey[i];
	}
	return MC_OK;
}

/* Put out what is registered now. */
static enum mc_status engine_publish(struct mc_engine *engine)
{
	struct segment_desc *desc;

	WITH_LOCK(&engine->publish_lock);
	enum mc_status status = describe(engine, &desc);
	if (status)
		return status;
	status = region_each(&engine->regions, add_region, desc);
	if (!status)
		status = segment_cache_publish(engine->cache, engine->name, desc);
	segment_desc_unref(desc);
	return status;
}

enum mc_status engine_region_text(struct mc_engine *engine, const void *memory, char **text)
{
	struct region *region = region_use(&engine->regions, memory);

	if (!region)
		return MC_NOT_FOUND;
	enum mc_status status =
		region->said ? segment_desc_print(region->said, text) : MC_NOT_FOUND;
	region_done(region);
	return status;
}

/* --- memory ---------------------------------------------------------------------------- */

static void unregister(struct mc_engine *engine, struct region *region)
{
	for (uint32_t i = engine->fabric_count; i-- > 0;) {
		struct fabric *fabric = engine->fabrics[i];
		if (region->fabrics & 1u << i)
			fabric->ops->unregister_region(fabric, region->keys[i]);
	}
	region_remove(&engine->regions, region);
}

static enum mc_status tell_fabrics(struct mc_engine *engine, struct region *region,
				   struct segment_buffer *buffer)
{
	struct fabric_region said = {region->memory, region->length, region->location, 0};
	enum mc_status status = MC_OK;

	said.access |= region->access & MC_REGION_REMOTE_READ ? FABRIC_REMOTE_READ : 0;
	said.access |= region->access & MC_REGION_REMOTE_WRITE ? FABRIC_REMOTE_WRITE : 0;
	for (uint32_t i = 0; i < engine->fabric_count && !status; i++) {
		struct fabric *fabric = engine->fabrics[i];
		status = fabric->ops->register_region(fabric, &said, buffer, &region->keys[i]);
		if (!status)
			region->fabrics |= 1u << i;
		/* What is a GPU's goes by those fabrics only that can reach it. */
		if (status == MC_NOT_SUPPORTED && region->gpu)
			status = MC_OK;
	}
	return status ? status : region->fabrics ? MC_OK : MC_NOT_SUPPORTED;
}

/* All but making it visible. */
static enum mc_status register_hidden(struct mc_engine *engine, struct region *region)
{
	struct segment_buffer *buffer;
	struct segment_desc *said;
	enum mc_status status = describe(engine, &said);

	if (!status)
		status = segment_desc_add_buffer(said, buffer_name(engine, region), &buffer);
	if (status)
		return status;
	buffer->addr = (uint64_t)(uintptr_t)region->memory;
	buffer->length = region->length;
	status = tell_fabrics(engine, region, buffer);
	if (!status && (region->access & MC_REGION_DEFAULT))
		region->said = said;
	else
		segment_desc_unref(said);
	return status;
}

struct registering {
	struct mc_engine *engine;
	struct region **regions;
	size_t count;
	atomic_size_t next;
	atomic_int failure;
};

static void *register_some(void *context)
{
	struct registering *all = context;
	size_t i;

	while ((i = atomic_fetch_add(&all->next, 1)) < all->count) {
		enum mc_status status = register_hidden(all->engine, all->regions[i]);
		if (status)
			atomic_store(&all->failure, (int)status);
	}
	return NULL;
}

#define REGISTER_THREADS_MAX 8u

/* Pinning pages is slow, and scales with threads. */
static enum mc_status register_all(struct mc_engine *engine, struct region **regions, size_t count)
{
	struct registering all = {.engine = engine, .regions = regions, .count = count};
	pthread_t threads[REGISTER_THREADS_MAX];
	size_t started = 0;

	while (started + 1 < count && started < REGISTER_THREADS_MAX &&
	       thread_start(&threads[started], register_some, &all) == 0)
		started++;
	register_some(&all);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	return (enum mc_status)atomic_load(&all.failure);
}

static enum mc_status publish_change(struct mc_engine *engine, uint32_t access)
{
	if (!(access & MC_REGION_DEFAULT) || (access & MC_REGION_QUIET))
		return MC_OK;
	return engine_publish(engine);
}

/* Regions that are being made, or unmade, together. */
struct registration {
	struct region **regions;
	size_t count, capacity;
};

static bool registration_room(struct registration *all)
{
	size_t capacity = all->capacity ? all->capacity * 2 : 4;

	if (all->count < all->capacity)
		return true;
	struct region **more = reallocarray(all->regions, capacity, sizeof(*more));
	if (!more)
		return false;
	all->regions = more;
	all->capacity = capacity;
	return true;
}

/* What one region may have of what begins here; all but the first begin on a huge page. */
static uint64_t piece_max(const struct mc_engine *engine, const void *memory)
{
	return engine->region_max - (uintptr_t)memory % HUGE_PAGE;
}

/* Take the range, in pieces where it is more than one region may have. */
static enum mc_status reserve_run(struct mc_engine *engine, struct region_wish wish,
				  struct registration *all)
{
	uint64_t left = wish.length;
	enum mc_status status = MC_OK;

	do {
		uint64_t most = piece_max(engine, wish.memory);
		wish.length = left < most ? left : most;
		if (!registration_room(all))
			return MC_NO_MEMORY;
		status = region_reserve(&engine->regions, &wish, &all->regions[all->count]);
		all->count += !status;
		wish.memory = (uint8_t *)wish.memory + wish.length;
		wish.continues = true;
		left -= wish.length;
	} while (left > 0 && !status);
	return status;
}

/* Take the range, in pieces where its node changes; NULL says that it is to stay whole. */
static enum mc_status reserve_located(struct mc_engine *engine, struct region_wish wish,
				      struct registration *all)
{
	struct pages_run runs[PAGES_RUNS_MAX];
	uint32_t count = pages_runs(engine->ask_pages, wish.memory, wish.length, runs);
	enum mc_status status = MC_OK;
	char name[REGION_LOCATION_SIZE] = "*";

	if (count > 1 && !wish.location) {
		runs[0] = (struct pages_run){wish.length, -1};
		count = 1;
	}
	wish.location = name;
	for (uint32_t i = 0; i < count && !status; i++) {
		if (runs[i].node >= 0)
			snprintf(name, sizeof(name), "cpu:%d", runs[i].node);
		wish.length = runs[i].length;
		status = reserve_run(engine, wish, all);
		wish.memory = (uint8_t *)wish.memory + wish.length;
		wish.continues = true;
	}
	return status;
}

static enum mc_status reserve(struct mc_engine *engine, struct region_wish wish,
			      struct registration *all)
{
	bool known = wish.location && strcmp(wish.location, "*") != 0;

	if (!region_possible(&wish))
		return MC_INVALID;
	if (engine->by_node && (!known || strncmp(wish.location, "cpu:", 4) == 0))
		pages_touch(wish.memory, wish.length);
	if (engine->by_node && !known)
		return reserve_located(engine, wish, all);
	wish.location = known ? wish.location : "*";
	return reserve_run(engine, wish, all);
}

/* Hide all regions of what was registered there. */
static enum mc_status hide(struct mc_engine *engine, const void *memory, struct registration *all)
{
	enum mc_status status = MC_OK;

	for (bool continues = false; !status; continues = true) {
		struct region *region;
		if (!registration_room(all))
			return MC_NO_MEMORY;
		status = region_hide(&engine->regions, memory, continues, &region);
		if (status)
			return continues && status == MC_NOT_FOUND ? MC_OK : status;
		all->regions[all->count++] = region;
		memory = region->memory + region->length;
	}
	return status;
}

static void unregister_these(struct mc_engine *engine, struct registration *all)
{
	while (all->count > 0)
		unregister(engine, all->regions[--all->count]);
}

static enum mc_status make_visible(struct mc_engine *engine, struct registration *all,
				   uint32_t access)
{
	for (size_t i = 0; i < all->count; i++)
		region_ready(&engine->regions, all->regions[i]);
	enum mc_status status = publish_change(engine, access);
	for (size_t i = 0; i < all->count && status; i++)
		(void)!region_hide(&engine->regions, all->regions[i]->memory,
				   all->regions[i]->continues, &all->regions[i]);
	return status;
}

enum mc_status mc_engine_register_batch(struct mc_engine *engine, const struct mc_region *regions,
					size_t count, const char *location, uint32_t access)
{
	struct registration all = {0};
	enum mc_status status = MC_OK;

	if (access & ~(uint32_t)(MC_REGION_DEFAULT | MC_REGION_QUIET))
		return MC_INVALID;
	for (size_t i = 0; i < count && !status; i++) {
		struct region_wish wish = {regions[i].memory, regions[i].length, location, access,
					   false};
		status = reserve(engine, wish, &all);
	}
	if (!status)
		status = register_all(engine, all.regions, all.count);
	if (!status)
		status = make_visible(engine, &all, access);
	if (status)
		unregister_these(engine, &all);
	free(all.regions);
	return status;
}

enum mc_status mc_engine_register(struct mc_engine *engine, void *memory, size_t length,
				  const char *location, uint32_t access)
{
	struct mc_region region = {memory, length};

	return mc_engine_register_batch(engine, &region, 1, location, access);
}

enum mc_status mc_engine_unregister_batch(struct mc_engine *engine, void *const *memory,
					  size_t count)
{
	struct registration all = {0};
	enum mc_status status = MC_OK;
	bool known = false;

	for (size_t i = 0; i < count && !status; i++)
		status = hide(engine, memory[i], &all);
	for (size_t i = 0; i < all.count; i++) {
		known = known || atomic_load(&all.regions[i]->published);
		if (status)
			region_ready(&engine->regions, all.regions[i]);
	}
	/* Peers are told before their requests fail; those who miss it find out then. */
	if (!status && known && engine_publish(engine))
		log_warn("memory was unregistered, but not in the metadata store name=%s",
			 engine->name);
	if (!status)
		unregister_these(engine, &all);
	free(all.regions);
	return status;
}

enum mc_status mc_engine_unregister(struct mc_engine *engine, void *memory)
{
	return mc_engine_unregister_batch(engine, &memory, 1);
}

/* --- open and close ---------------------------------------------------------------------- */

static bool listed(const char *list, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
			return true;
	}
	return !list || *list == '\0';
}

static enum mc_status open_fabrics(struct mc_engine *engine, const struct mc_engine_config *config,
				   const struct fabric_ops *const *fabrics)
{
	struct fabric_config fabric_config = {
		.name = engine->name,
		.listen_host = config->listen ? config->listen : "0.0.0.0",
		.port_first = config->port_first,
		.port_last = config->port_last,
		.announce_host = config->announce,
		.devices = config->devices,
		.priority = config->priority,
	};

	bool any = false;

	for (; *fabrics && engine->fabric_count < REGION_FABRICS_MAX; fabrics++) {
		if (!listed(config->protocols, (*fabrics)->name))
			continue;
		any = true;
		enum mc_status status =
			(*fabrics)->open(&fabric_config, &engine->fabrics[engine->fabric_count]);
		if (status == MC_NOT_SUPPORTED) {
			log_info("no %s on this machine", (*fabrics)->name);
			continue;
		}
		if (status) {
			log_error("can't open a fabric name=%s status=\"%s\"", (*fabrics)->name,
				  mc_status_text(status));
			return status;
		}
		struct fabric *fabric = engine->fabrics[engine->fabric_count++];
		uint64_t max =
			fabric->ops->region_max ? fabric->ops->region_max(fabric) : UINT64_MAX;
		engine->region_max = max < engine->region_max ? max : engine->region_max;
		engine->by_node = engine->by_node || fabric->ops->by_node;
		if (strcmp((*fabrics)->name, "rdma") == 0)
			engine->protocol = SEGMENT_RDMA;
	}
	if (engine->fabric_count > 0)
		return MC_OK;
	if (any)
		return MC_NOT_SUPPORTED;
	log_error("no such protocol protocols=%s", config->protocols);
	return MC_INVALID;
}

static void close_fabrics(struct mc_engine *engine)
{
	while (engine->fabric_count > 0) {
		struct fabric *fabric = engine->fabrics[--engine->fabric_count];
		fabric->ops->close(fabric);
	}
}

/* Is the engine that published this name still there?  It answers where it said it would. */
static bool lives(struct segment_cache *cache, const char *name)
{
	struct segment_address said;
	struct net_address address;
	int fd;

	if (segment_cache_address(cache, name, &said) ||
	    net_resolve_host(said.host, said.port, &address) ||
	    net_connect(&address, PROBE_TIMEOUT_MS, &fd))
		return false;
	close(fd);
	return true;
}

static enum mc_status open_metadata(struct mc_engine *engine, const struct mc_engine_config *config)
{
	struct metadata_config metadata = {
		.url = config->metadata,
		.listen_host = config->listen,
		.announce_host = config->announce,
		.port_first = config->port_first,
		.port_last = config->port_last,
		.notified = config->notifications ? notify_answer : NULL,
		.context = &engine->mailbox,
	};
	enum mc_status status = metadata_open(&metadata, &engine->metadata);

	if (status)
		return status;
	const char *given = metadata_local_name(engine->metadata);
	snprintf(engine->name, sizeof(engine->name), "%s", given ? given : config->name);
	status = segment_cache_new(engine->metadata, &engine->cache);
	if (!status && !given && lives(engine->cache, engine->name)) {
		log_error("a living engine has that name name=%s", engine->name);
		status = MC_EXISTS;
	}
	return status;
}

/* Where the first of the fabrics that listens can be reached; the handshake's, where that is it. */
static enum mc_status announce(struct mc_engine *engine)
{
	struct segment_desc *desc;
	struct segment_address said;
	struct net_address address;
	const char *given = metadata_local_name(engine->metadata);
	enum mc_status status = describe(engine, &desc);

	if (status)
		return status;
	for (uint32_t i = 0; i < desc->endpoint_count && !engine->address[0]; i++) {
		const char *colon = strchr(desc->endpoints[i], ':');
		if (colon && net_parse(colon + 1, &address) == MC_OK && net_port(&address))
			snprintf(engine->address, sizeof(engine->address), "%s", colon + 1);
	}
	segment_desc_unref(desc);
	if (given)
		snprintf(engine->address, sizeof(engine->address), "%s", given);
	char *colon = strrchr(engine->address, ':');
	if (given || !colon)
		return MC_OK;
	snprintf(said.host, sizeof(said.host), "%.*s", (int)(colon - engine->address),
		 engine->address);
	said.port = (uint16_t)strtoul(colon + 1, NULL, 10);
	return segment_cache_announce(engine->cache, engine->name, &said);
}

static enum mc_status start(struct mc_engine *engine, const struct mc_engine_config *config,
			    const struct fabric_ops *const *fabrics)
{
	enum mc_status status = open_metadata(engine, config);

	if (!status)
		status = open_fabrics(engine, config, fabrics);
	if (!status)
		status = segments_init(&engine->segments, engine->cache, engine->fabrics,
				       engine->fabric_count);
	if (status)
		goto err_fabrics;
	status = notify_listen(engine, config);
	if (status)
		goto err_listener;
	status = mender_start(&engine->mender, engine);
	if (status)
		goto err_listener;
	status = announce(engine);
	if (!status)
		status = engine_publish(engine);
	if (!status)
		return MC_OK;
	mender_stop(&engine->mender);
err_listener:
	handshake_close(engine->listener);
	segments_fini(&engine->segments);
err_fabrics:
	close_fabrics(engine);
	segment_cache_free(engine->cache);
	metadata_close(engine->metadata);
	return status;
}

static void init_fields(struct mc_engine *engine)
{
	engine->protocol = SEGMENT_TCP;
	engine->region_max = UINT64_MAX;
	engine->ask_pages = pages_ask_kernel;
	engine->slice_size_given = environment_has("MC_SLICE_SIZE");
	engine->slice_size = environment_number("MC_SLICE_SIZE", 65536, 64, SLICE_SIZE_MAX);
	engine->retries_max = environment_number("MC_RETRY_CNT", 8, 1, 127);
	engine->starving_last = &engine->starving;
	pthread_mutex_init(&engine->publish_lock, NULL);
	pthread_mutex_init(&engine->starving_lock, NULL);
	pthread_cond_init(&engine->unpinned, NULL);
	slice_pool_init(&engine->pool);
	herald_init(&engine->herald, engine);
	mailbox_init(&engine->mailbox);
}

static void engine_free(struct mc_engine *engine)
{
	mailbox_fini(&engine->mailbox);
	herald_fini(&engine->herald);
	slice_pool_fini(&engine->pool);
	region_table_fini(&engine->regions);
	pthread_cond_destroy(&engine->unpinned);
	pthread_mutex_destroy(&engine->starving_lock);
	pthread_mutex_destroy(&engine->publish_lock);
	free(engine);
}

/* Also where no device is there to be chosen by it. */
static bool priority_is_valid(const char *priority)
{
	static const char *const none[] = {"none"};
	struct topology *topology;

	if (topology_parse(priority, none, 1, &topology) != MC_OK)
		return false;
	topology_free(topology);
	return true;
}

enum mc_status engine_open(const struct mc_engine_config *config,
			   const struct fabric_ops *const *fabrics, struct mc_engine **engine)
{
	bool named = config->metadata && strcmp(config->metadata, "P2PHANDSHAKE") == 0;

	if (!config->metadata || (!named && (!config->name || !*config->name ||
					     strlen(config->name) >= SEGMENT_NAME_SIZE))) {
		log_error("an engine needs a metadata URL and a name");
		return MC_INVALID;
	}
	if (config->priority && !priority_is_valid(config->priority)) {
		log_error("priority matrix not understood matrix=%s", config->priority);
		return MC_INVALID;
	}
	struct mc_engine *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	init_fields(made);
	enum mc_status status = region_table_init(&made->regions);
	if (!status)
		status = start(made, config, fabrics);
	if (status)
		engine_free(made);
	else
		*engine = made;
	return status;
}

enum mc_status mc_engine_open(const struct mc_engine_config *config, struct mc_engine **engine)
{
	return engine_open(config, fabric_table, engine);
}

static enum mc_status note_start(struct region *region, void *context)
{
	*(void **)context = region->memory;
	return MC_IO;
}

/* What was left registered goes with the engine. */
static void unregister_all(struct mc_engine *engine)
{
	struct region *region;
	void *memory = NULL;

	while (region_each(&engine->regions, note_start, &memory)) {
		enum mc_status status = region_hide(&engine->regions, memory, false, &region);
		if (status == MC_NOT_FOUND)
			status = region_hide(&engine->regions, memory, true, &region);
		MUST(status == MC_OK);
		unregister(engine, region);
	}
}

void mc_engine_close(struct mc_engine *engine)
{
	if (!engine)
		return;
	MUST(atomic_load(&engine->batches) == 0);
	if (segment_cache_withdraw(engine->cache, engine->name))
		log_debug("a segment was not withdrawn name=%s", engine->name);
	handshake_close(engine->listener);
	herald_stop(&engine->herald);
	mender_stop(&engine->mender);
	segments_fini(&engine->segments);
	unregister_all(engine);
	close_fabrics(engine);
	segment_cache_free(engine->cache);
	metadata_close(engine->metadata);
	batch_destroy(engine->spare);
	engine_free(engine);
}

/* --- what is told about it ---------------------------------------------------------------- */

const char *mc_engine_name(const struct mc_engine *engine)
{
	return engine->name;
}

const char *mc_engine_address(const struct mc_engine *engine)
{
	return engine->address;
}

char *mc_engine_topology(const struct mc_engine *engine)
{
	struct segment_desc *desc;

	if (describe((struct mc_engine *)engine, &desc))
		return NULL;
	char *matrix = strdup(desc->priority_matrix ? desc->priority_matrix : "{}");
	segment_desc_unref(desc);
	return matrix;
}

enum mc_status mc_segment_open(struct mc_engine *engine, const char *name, uint32_t flags,
			       mc_segment_id *segment)
{
	if (strcmp(name, engine->name) == 0) {
		*segment = MC_SEGMENT_LOCAL;
		return MC_OK;
	}
	return segment_open(&engine->segments, name, flags & MC_SEGMENT_NO_CACHE, segment);
}

enum mc_status mc_segment_close(struct mc_engine *engine, mc_segment_id segment)
{
	return segment == MC_SEGMENT_LOCAL ? MC_OK : segment_close(&engine->segments, segment);
}

struct listing {
	struct mc_segment_buffer *buffers;
	size_t room, count;
};

static void list_one(struct listing *list, uint64_t address, uint64_t length)
{
	if (list->count < list->room)
		list->buffers[list->count] = (struct mc_segment_buffer){address, length};
	list->count++;
}

static enum mc_status list_region(struct region *region, void *context)
{
	list_one(context, (uint64_t)(uintptr_t)region->memory, region->length);
	return MC_OK;
}

enum mc_status mc_segment_buffers(struct mc_engine *engine, mc_segment_id id,
				  struct mc_segment_buffer *buffers, size_t *count)
{
	struct listing list = {buffers, *count, 0};

	if (id == MC_SEGMENT_LOCAL) {
		enum mc_status status = region_each(&engine->regions, list_region, &list);
		*count = list.count;
		return status;
	}
	struct target *target;
	struct segment *segment = segment_use(&engine->segments, id, &target);
	if (!segment)
		return MC_NOT_FOUND;
	for (uint32_t i = 0; i < target->desc->buffer_count; i++)
		list_one(&list, target->desc->buffers[i].addr, target->desc->buffers[i].length);
	target_unref(target);
	segment_done(segment);
	*count = list.count;
	return MC_OK;
}

enum mc_status mc_segment_sync(struct mc_engine *engine, const char *name)
{
	return segments_sync(&engine->segments, name);
}

void engine_progress(struct mc_engine *engine, uint32_t fabrics, uint64_t timeout_ns)
{
	for (uint32_t i = 0; i < engine->fabric_count; i++) {
		if (fabrics & 1u << i)
			engine->fabrics[i]->ops->progress(engine->fabrics[i], timeout_ns);
	}
}

void engine_task_ended(struct mc_engine *engine, struct task *task, enum mc_task_state state)
{
	uint64_t bytes = atomic_load(&task->bytes);

	atomic_fetch_add(task->request.opcode == MC_READ ? &engine->bytes_read
							 : &engine->bytes_written,
			 bytes);
	atomic_fetch_add(
		state == MC_TASK_COMPLETED ? &engine->tasks_completed : &engine->tasks_failed, 1);
	atomic_fetch_sub(&engine->tasks, 1);
	transfer_let_go(engine, task);
}

void mc_engine_stats(struct mc_engine *engine, struct mc_engine_stats *stats)
{
	*stats = (struct mc_engine_stats){
		.bytes_read = atomic_load(&engine->bytes_read),
		.bytes_written = atomic_load(&engine->bytes_written),
		.tasks_completed = atomic_load(&engine->tasks_completed),
		.tasks_failed = atomic_load(&engine->tasks_failed),
		.slices_retried = atomic_load(&engine->slices_retried),
		.batches = atomic_load(&engine->batches),
		.tasks = atomic_load(&engine->tasks),
		.slices = slices_used(&engine->pool),
		.regions = region_count(&engine->regions),
		.notifications = mailbox_count(&engine->mailbox),
	};
	pthread_mutex_lock(&engine->segments.lock);
	stats->segments = engine->segments.open_count;
	pthread_mutex_unlock(&engine->segments.lock);
	for (uint32_t i = 0; i < engine->fabric_count; i++) {
		struct fabric_counters counters;
		engine->fabrics[i]->ops->counters(engine->fabrics[i], &counters);
		stats->connections += counters.connections;
	}
}
