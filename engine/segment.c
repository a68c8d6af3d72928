#include "engine/segment.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

#define LOOK_NS 1000000 /* between looks whether it is time to ask */

enum mc_status segments_init(struct segments *segments, struct segment_cache *cache,
			     struct fabric *const *fabrics, uint32_t fabric_count)
{
	*segments = (struct segments){
		.cache = cache,
		.fabrics = fabrics,
		.fabric_count = fabric_count,
		.count = 1,
		.capacity = 16,
	};
	segments->table = calloc(segments->capacity, sizeof(struct segment *));
	if (!segments->table)
		return MC_NO_MEMORY;
	pthread_mutex_init(&segments->lock, NULL);
	return MC_OK;
}

/* --- targets and channels ------------------------------------------------------- */

static void channel_unref(struct segments *segments, struct channel *channel)
{
	if (atomic_fetch_sub(&channel->references, 1) != 1)
		return;
	WITH_LOCK(&segments->lock);
	channel->next = segments->dead;
	segments->dead = channel;
}

void target_unref(struct target *target)
{
	if (!target || atomic_fetch_sub(&target->references, 1) != 1)
		return;
	channel_unref(target->segments, target->channel);
	segment_desc_unref(target->desc);
	free(target);
}

void segments_collect(struct segments *segments)
{
	pthread_mutex_lock(&segments->lock);
	struct channel *dead = STEAL(segments->dead);
	pthread_mutex_unlock(&segments->lock);
	while (dead) {
		struct channel *channel = dead;
		dead = channel->next;
		channel->peer->fabric->ops->disconnect(channel->peer);
		free(channel);
	}
}

/* The best fabric that knows how to reach it. */
static enum mc_status connect_one(struct segments *segments, const struct segment_desc *desc,
				  struct channel **made)
{
	enum mc_status status = MC_NOT_SUPPORTED;
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return MC_NO_MEMORY;
	for (uint32_t i = 0; i < segments->fabric_count && status; i++) {
		struct fabric *fabric = segments->fabrics[i];
		status = fabric->ops->connect(fabric, desc, &channel->peer);
		channel->fabric = i;
	}
	if (status) {
		free(channel);
		return status;
	}
	atomic_store(&channel->references, 1);
	*made = channel;
	return MC_OK;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/*
 * What was connected by one is right for the other.  The GIDs and LIDs that stand there do
 * not count: they change with a link, and both ends say their present ones as they connect.
 */
static bool reached_alike(const struct segment_desc *a, const struct segment_desc *b)
{
	if (a->protocol != b->protocol || a->protocol == SEGMENT_NVMEOF ||
	    a->endpoint_count != b->endpoint_count || a->device_count != b->device_count ||
	    !same_text(a->priority_matrix, b->priority_matrix))
		return false;
	for (uint32_t i = 0; i < a->endpoint_count; i++) {
		if (strcmp(a->endpoints[i], b->endpoints[i]) != 0)
			return false;
	}
	for (uint32_t i = 0; i < a->device_count; i++) {
		if (strcmp(a->devices[i].name, b->devices[i].name) != 0)
			return false;
	}
	return true;
}

/* Takes the reference to desc.  before: the target that it replaces, or NULL. */
static enum mc_status target_new(struct segments *segments, struct segment_desc *desc,
				 const struct target *before, struct target **made)
{
	struct target *target = calloc(1, sizeof(*target));
	enum mc_status status = target ? MC_OK : MC_NO_MEMORY;

	if (target && before && reached_alike(before->desc, desc)) {
		target->channel = before->channel;
		atomic_fetch_add(&target->channel->references, 1);
	} else if (target) {
		status = connect_one(segments, desc, &target->channel);
	}
	if (status) {
		free(target);
		segment_desc_unref(desc);
		return status;
	}
	target->desc = desc;
	target->segments = segments;
	for (uint32_t i = 0; desc->protocol == SEGMENT_NVMEOF && i < desc->buffer_count; i++)
		target->size += desc->buffers[i].length;
	atomic_store(&target->references, 1);
	*made = target;
	return MC_OK;
}

enum mc_status target_find(const struct target *target, uint64_t remote,
			   const struct segment_buffer **buffer, uint64_t *left)
{
	*buffer = NULL;
	if (target->desc->protocol == SEGMENT_NVMEOF) {
		if (remote >= target->size)
			return MC_ACCESS;
		*left = target->size - remote;
		return MC_OK;
	}
	*buffer = segment_desc_find(target->desc, remote, 1);
	if (!*buffer)
		return MC_ACCESS;
	*left = (*buffer)->length - (remote - (*buffer)->addr);
	return MC_OK;
}

/* --- segments --------------------------------------------------------------------- */

static void segment_free(struct segment *segment)
{
	free(segment->name);
	free(segment);
}

static struct segment *named_locked(const struct segments *segments, const char *name)
{
	for (size_t id = 1; id < segments->count; id++) {
		struct segment *segment = segments->table[id];
		if (segment && strcmp(segment->name, name) == 0)
			return segment;
	}
	return NULL;
}

static struct segment *at_locked(const struct segments *segments, mc_segment_id id)
{
	return id < segments->count ? segments->table[id] : NULL;
}

/* The lowest id that is free, as with descriptors. */
static enum mc_status place_locked(struct segments *segments, struct segment *segment)
{
	size_t id = 1;

	while (id < segments->count && segments->table[id])
		id++;
	if (id == SEGMENTS_MAX)
		return MC_TOO_BIG;
	if (id == segments->capacity) {
		struct segment **more =
			reallocarray(segments->table, segments->capacity * 2, sizeof(*more));
		if (!more)
			return MC_NO_MEMORY;
		segments->table = more;
		segments->capacity *= 2;
	}
	segment->id = (mc_segment_id)id;
	segments->table[id] = segment;
	if (id == segments->count)
		segments->count++;
	segments->open_count++;
	return MC_OK;
}

static void set_target(struct segments *segments, struct segment *segment, struct target *target)
{
	pthread_mutex_lock(&segments->lock);
	struct target *old = segment->target;
	segment->target = target;
	segment->refreshed_ns = clock_ns();
	pthread_mutex_unlock(&segments->lock);
	target_unref(old);
}

/* One more open of a name that is open.  False: it is not. */
static bool open_again(struct segments *segments, const char *name, struct segment **segment)
{
	WITH_LOCK(&segments->lock);
	*segment = named_locked(segments, name);
	if (*segment)
		(*segment)->opens++;
	return *segment != NULL;
}

/* Takes the reference to target. */
static enum mc_status open_at(struct segments *segments, const char *name, struct target *target,
			      struct segment **opened)
{
	enum mc_status status = MC_OK;
	struct segment *segment = calloc(1, sizeof(*segment));

	if (segment)
		segment->name = strdup(name);
	if (!segment || !segment->name) {
		free(segment);
		target_unref(target);
		return MC_NO_MEMORY;
	}
	segment->opens = 1;
	segment->target = target;
	pthread_mutex_lock(&segments->lock);
	struct segment *other = named_locked(segments, name);
	if (other)
		other->opens++;
	else
		status = place_locked(segments, segment);
	pthread_mutex_unlock(&segments->lock);
	*opened = other ? other : segment;
	if (!other && !status)
		return MC_OK;
	target_unref(target);
	segment_free(segment);
	return status;
}

static enum mc_status open_first(struct segments *segments, const char *name, bool anew,
				 struct segment **opened)
{
	struct segment_desc *desc;
	struct target *target;
	enum mc_status status = anew ? segment_cache_refresh(segments->cache, name, NULL, &desc)
				     : segment_cache_get(segments->cache, name, &desc);

	if (!status)
		status = target_new(segments, desc, NULL, &target);
	return status ? status : open_at(segments, name, target, opened);
}

enum mc_status segment_adopt(struct segments *segments, const char *name, struct segment_desc *desc,
			     mc_segment_id like, mc_segment_id *id)
{
	struct target *before = NULL, *target;
	struct segment *pattern = like ? segment_use(segments, like, &before) : NULL, *segment;
	enum mc_status status = target_new(segments, desc, before, &target);

	target_unref(before);
	if (pattern)
		segment_done(pattern);
	if (!status)
		status = open_at(segments, name, target, &segment);
	if (!status)
		*id = segment->id;
	return status;
}

enum mc_status segment_open(struct segments *segments, const char *name, bool anew,
			    mc_segment_id *id)
{
	struct segment *segment;
	enum mc_status status = MC_OK;

	if (!open_again(segments, name, &segment)) {
		status = open_first(segments, name, anew, &segment);
	} else if (anew) {
		status = segments_sync(segments, name);
		if (status && segment_close(segments, segment->id))
			log_debug("a segment stays open, transfers use it name=%s", name);
	}
	segments_collect(segments);
	if (!status)
		*id = segment->id;
	return status;
}

enum mc_status segment_close(struct segments *segments, mc_segment_id id)
{
	struct target *target = NULL;

	pthread_mutex_lock(&segments->lock);
	struct segment *segment = at_locked(segments, id);
	enum mc_status status = segment ? MC_OK : MC_NOT_FOUND;
	if (segment && segment->opens == 1 && atomic_load(&segment->tasks) > 0)
		status = MC_BUSY;
	if (!status && --segment->opens == 0) {
		target = segment->target;
		segments->table[id] = NULL;
		segments->open_count--;
		segment_free(segment);
	}
	pthread_mutex_unlock(&segments->lock);
	target_unref(target);
	segments_collect(segments);
	return status;
}

void segments_fini(struct segments *segments)
{
	for (size_t id = 1; id < segments->count; id++) {
		struct segment *segment = segments->table[id];
		if (!segment)
			continue;
		target_unref(segment->target);
		segment_free(segment);
	}
	segments_collect(segments);
	free(segments->table);
	pthread_mutex_destroy(&segments->lock);
}

struct segment *segment_use(struct segments *segments, mc_segment_id id, struct target **target)
{
	WITH_LOCK(&segments->lock);
	struct segment *segment = at_locked(segments, id);

	if (!segment)
		return NULL;
	atomic_fetch_add(&segment->tasks, 1);
	atomic_fetch_add(&segment->target->references, 1);
	*target = segment->target;
	return segment;
}

void segment_use_again(struct segment *segment)
{
	atomic_fetch_add(&segment->tasks, 1);
}

void segment_done(struct segment *segment)
{
	unsigned before = atomic_fetch_sub(&segment->tasks, 1);

	MUST(before > 0);
}

struct target *segment_target(struct segments *segments, struct segment *segment)
{
	WITH_LOCK(&segments->lock);
	atomic_fetch_add(&segment->target->references, 1);
	return segment->target;
}

enum turn { TURN_NEWER, TURN_ASK, TURN_LATER };

/* Whether to ask the store, or whether somebody has done so, or just has begun to. */
static enum turn take_turn(struct segments *segments, struct segment *segment,
			   const struct target *stale)
{
	WITH_LOCK(&segments->lock);
	uint64_t now_ns = clock_ns();

	if (segment->target != stale)
		return TURN_NEWER;
	if (now_ns - segment->refreshed_ns < SEGMENT_MOMENT_NS)
		return TURN_LATER;
	segment->refreshed_ns = now_ns;
	return TURN_ASK;
}

static enum mc_status ask(struct segments *segments, struct segment *segment,
			  const struct target *stale)
{
	uint64_t asked_ns = clock_ns();
	struct segment_desc *desc;
	struct target *target;
	enum mc_status status =
		segment_cache_refresh(segments->cache, segment->name, stale->desc, &desc);

	if (!status)
		status = target_new(segments, desc, stale, &target);
	if (status)
		return status == MC_AGAIN ? MC_UNREACHABLE : status;
	target->asked_ns = asked_ns;
	set_target(segments, segment, target);
	return MC_OK;
}

enum mc_status segment_refresh(struct segments *segments, struct segment *segment,
			       const struct target *stale)
{
	enum turn turn = take_turn(segments, segment, stale);

	if (turn == TURN_ASK)
		return ask(segments, segment, stale);
	return turn == TURN_NEWER ? MC_OK : MC_AGAIN;
}

enum mc_status segment_renew(struct segments *segments, struct segment *segment,
			     const struct target *stale)
{
	enum turn turn;

	while ((turn = take_turn(segments, segment, stale)) == TURN_LATER)
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	return turn == TURN_NEWER ? MC_OK : ask(segments, segment, stale);
}

static enum mc_status sync_one(struct segments *segments, mc_segment_id id)
{
	struct target *now, *target;
	struct segment *segment = segment_use(segments, id, &now);
	struct segment_desc *desc;

	if (!segment)
		return MC_OK;
	enum mc_status status = segment_cache_get(segments->cache, segment->name, &desc);
	if (!status && desc == now->desc)
		segment_desc_unref(desc);
	else if (!status && (status = target_new(segments, desc, now, &target)) == MC_OK)
		set_target(segments, segment, target);
	target_unref(now);
	segment_done(segment);
	return status;
}

enum mc_status segments_sync(struct segments *segments, const char *name)
{
	enum mc_status status = segment_cache_sync(segments->cache, name);

	pthread_mutex_lock(&segments->lock);
	size_t count = segments->count;
	const struct segment *only = name ? named_locked(segments, name) : NULL;
	mc_segment_id first = only ? only->id : 1;
	pthread_mutex_unlock(&segments->lock);
	if (name && !only)
		return status;
	for (mc_segment_id id = first; id < (only ? first + 1 : count); id++) {
		enum mc_status one = sync_one(segments, id);
		status = status ? status : one;
	}
	segments_collect(segments);
	return status;
}
