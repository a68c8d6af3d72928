#include "master/catalog.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "master/xattrs.h"

#define CACHE_LINE_SIZE 64u
#define PREFETCH_COUNT	16u /* entries that are loaded ahead, in a walk over all */
#define TOUCHED_LOOK	16u /* lines that a search for one goes through */
#define ROOT_MODE	(S_IFDIR | S_ISVTX | 0777) /* as /dev/shm has it */

struct name_key {
	const struct directory *directory;
	const char *name;
	size_t size;
};

/* A name is hashed with its directory's id, which a rename of the directory leaves alone. */
static uint64_t name_hash(const struct table *table, const struct directory *directory,
			  const char *name, size_t size)
{
	return XXH3_64bits_withSeed(name, size, table->seed ^ table_mix(directory_id(directory)));
}

static uint64_t entry_name_hash(const struct table *table, const void *item)
{
	const struct entry *entry = item;

	return name_hash(table, entry->parent, entry->name, entry->name_size);
}

static uint64_t entry_id_hash(const struct table *table, const void *item)
{
	return table_mix(((const struct entry *)item)->id ^ table->seed);
}

static uint64_t id_hash(const struct catalog *catalog, uint64_t id)
{
	return table_mix(id ^ catalog->by_id.seed);
}

MAY_RACE static bool id_equal(const void *item, const void *key)
{
	const struct entry *entry = item;

	return __atomic_load_n(&entry->id, __ATOMIC_RELAXED) == *(const uint64_t *)key;
}

static bool name_equal(const void *item, const void *key)
{
	const struct entry *entry = item;
	const struct name_key *wanted = key;

	return entry->parent == wanted->directory && entry->name_size == wanted->size &&
	       memcmp(entry->name, wanted->name, wanted->size) == 0;
}

struct entry *catalog_find(const struct catalog *catalog, uint64_t id)
{
	return table_find(&catalog->by_id, id_hash(catalog, id), id_equal, &id);
}

struct entry *catalog_lookup(const struct catalog *catalog, const struct directory *directory,
			     const char *name, size_t name_size)
{
	return catalog_lookup_hashed(catalog,
				     name_hash(&catalog->by_name, directory, name, name_size),
				     directory, name, name_size);
}

uint64_t catalog_hash(const struct catalog *catalog, const struct directory *directory,
		      const char *name, size_t name_size)
{
	uint64_t hash = name_hash(&catalog->by_name, directory, name, name_size);

	table_prefetch(&catalog->by_name, hash);
	return hash;
}

void catalog_prefetch(const struct catalog *catalog, uint64_t hash, size_t name_size)
{
	const char *entry = table_peek(&catalog->by_name, hash);

	for (size_t i = 0; entry && i < ENTRY_FIXED_SIZE + name_size; i += CACHE_LINE_SIZE)
		__builtin_prefetch(entry + i);
}

struct entry *catalog_lookup_hashed(const struct catalog *catalog, uint64_t hash,
				    const struct directory *directory, const char *name,
				    size_t name_size)
{
	struct name_key key = {directory, name, name_size};

	return table_find(&catalog->by_name, hash, name_equal, &key);
}

static void touched_add(struct catalog *catalog, const struct entry *entry)
{
	if (catalog->touched_count == catalog->touched_capacity) {
		size_t capacity = catalog->touched_capacity ? catalog->touched_capacity * 2 : 1024;
		struct touched *touched =
			realloc(catalog->touched, capacity * sizeof(*catalog->touched));
		/* Without it a change would be forgotten: better to end. */
		MUST(touched != NULL);
		catalog->touched = touched;
		catalog->touched_capacity = capacity;
	}
	catalog->touched[catalog->touched_count++] =
		(struct touched){.id = entry->id, .directory = entry_is_directory(entry)};
}

/* A line of it is still to be put.  One too many does no harm, so the search is short. */
static bool touched_waits(const struct catalog *catalog, const struct entry *entry)
{
	size_t begin = catalog->recorded_count;

	if (begin == 0)
		return true;
	if (catalog->touched_count - begin > TOUCHED_LOOK)
		begin = catalog->touched_count - TOUCHED_LOOK;
	for (size_t i = catalog->touched_count; i > begin; i--) {
		if (catalog->touched[i - 1].id == entry->id)
			return true;
	}
	return false;
}

void catalog_touch(struct catalog *catalog, struct entry *entry)
{
	if (entry->stamp & STAMP_TOUCHED) {
		if (!touched_waits(catalog, entry))
			touched_add(catalog, entry);
		return;
	}
	touched_add(catalog, entry);
	__atomic_store_n(&entry->stamp, entry->stamp + STAMP_TOUCHED, __ATOMIC_RELAXED);
	/* The mark stands before the first change; pairs with entry_copy(). */
	__sync_synchronize();
}

/* As touch, and it is about to leave its place. */
static void touch_left(struct catalog *catalog, struct entry *entry)
{
	size_t count = catalog->touched_count;

	catalog_touch(catalog, entry);
	if (!catalog->keeps_places)
		return;
	if (catalog->touched_count == count)
		touched_add(catalog, entry);
	struct left *left = malloc(sizeof(*left) + entry->name_size);
	MUST(left != NULL);
	left->parent = entry->parent->entry->id;
	left->name_size = entry->name_size;
	memcpy(left->name, entry->name, entry->name_size);
	catalog->touched[catalog->touched_count - 1].left = left;
}

/* As touch, and its id or its place is new. */
static void touch_placed(struct catalog *catalog, struct entry *entry)
{
	catalog_touch(catalog, entry);
	__atomic_store_n(&entry->placed, 1, __ATOMIC_RELEASE);
}

void catalog_settle_touched(struct catalog *catalog)
{
	for (size_t i = 0; i < catalog->touched_count; i++) {
		struct entry *entry = catalog_find(catalog, catalog->touched[i].id);
		free(catalog->touched[i].left);
		if (!entry || !(entry->stamp & STAMP_TOUCHED))
			continue;
		__atomic_store_n(&entry->placed, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&entry->stamp, entry->stamp + STAMP_TOUCHED, __ATOMIC_RELEASE);
	}
	catalog->touched_count = catalog->recorded_count = 0;
}

#define CONTENT_WORDS (offsetof(struct entry, stamp) / sizeof(uint64_t))
_Static_assert(offsetof(struct entry, stamp) % sizeof(uint64_t) == 0, "content is whole words");

/* Copy the content from one word on. */
MAY_RACE static inline bool copy_from(const struct entry *entry, size_t first, struct entry *copy)
{
	const uint64_t *from = (const uint64_t *)entry;
	uint64_t *to = (uint64_t *)copy;
	uint32_t stamp = entry_stamp(entry);

	if (stamp & STAMP_TOUCHED)
		return false;
	/* Acquire, so that the stamp is loaded again after all of them. */
	for (size_t i = first; i < CONTENT_WORDS; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
	copy->parent = entry->parent;
	return entry_stamp(entry) == stamp;
}

bool entry_copy(const struct entry *entry, struct entry *copy)
{
	return copy_from(entry, 0, copy);
}

bool entry_copy_replicas(const struct entry *entry, struct entry *copy)
{
	return copy_from(entry, offsetof(struct entry, mode) / sizeof(uint64_t), copy);
}

void entry_attr(const struct entry *entry, struct mc_attr *attr)
{
	*attr = (struct mc_attr){
		.id = entry->id,
		.version = entry->version,
		.size = entry->size,
		.allocated = entry->allocated,
		.mode = entry->mode,
		.uid = entry->uid,
		.gid = entry->gid,
		.nlink =
			entry_is_directory(entry) ? 2 + directory_directories(entry->directory) : 1,
		.flags = entry->flags,
		.atime = {entry->atime_s, entry->atime_ns},
		.mtime = {entry->mtime_s, entry->mtime_ns},
		.ctime = {entry->ctime_s, entry->ctime_ns},
	};
}

void entry_attr_set(struct entry *entry, const struct mc_attr *attr)
{
	entry->version = attr->version;
	entry->size = attr->size;
	entry->allocated = attr->allocated;
	entry->mode = attr->mode;
	entry->uid = attr->uid;
	entry->gid = attr->gid;
	entry->flags = (uint8_t)attr->flags;
	entry->atime_s = attr->atime.s;
	entry->atime_ns = attr->atime.ns;
	entry->mtime_s = attr->mtime.s;
	entry->mtime_ns = attr->mtime.ns;
	entry->ctime_s = attr->ctime.s;
	entry->ctime_ns = attr->ctime.ns;
}

static void entry_free(struct entry *entry)
{
	if (!entry)
		return;
	if (entry_is_directory(entry) && entry->directory) {
		directory_fini(entry->directory, NULL);
		free(entry->directory);
	}
	free(entry->xattrs);
	free(entry);
}

/* As free, for one that readers may have found. */
static void entry_retire(struct catalog *catalog, struct entry *entry)
{
	grace_free(&catalog->grace, entry->xattrs);
	if (entry_is_directory(entry)) {
		directory_fini(entry->directory, &catalog->grace);
		grace_free(&catalog->grace, entry->directory);
	}
	grace_free(&catalog->grace, entry);
}

static struct entry *entry_new(const char *name, size_t name_size, const struct mc_attr *attr)
{
	struct entry *entry = calloc(1, ENTRY_FIXED_SIZE + name_size);

	if (!entry)
		return NULL;
	entry->id = attr->id;
	entry_attr_set(entry, attr);
	entry->name_size = (uint8_t)name_size;
	if (name_size)
		memcpy(entry->name, name, name_size);
	if (!entry_is_directory(entry))
		return entry;
	entry->directory = malloc(sizeof(*entry->directory));
	if (!entry->directory) {
		entry_free(entry);
		return NULL;
	}
	directory_init(entry->directory, entry);
	return entry;
}

static void count(struct catalog *catalog, const struct entry *entry, int64_t by)
{
	uint64_t *kind = entry_is_directory(entry) ? &catalog->directories : &catalog->objects;

	__atomic_store_n(kind, *kind + (uint64_t)by, __ATOMIC_RELAXED);
	catalog->names_size += (uint64_t)(by * entry->name_size);
	if (entry->xattrs)
		catalog->xattrs_size += (uint64_t)(by * (int64_t)entry->xattrs->size);
}

enum mc_status catalog_init(struct catalog *catalog)
{
	uint64_t seeds[2] = {0};
	struct mc_attr attr = {.id = MC_ROOT_ID, .version = 1, .mode = ROOT_MODE, .size = 4096};

	*catalog = (struct catalog){0};
	grace_init(&catalog->grace);
	if (getrandom(seeds, sizeof(seeds), 0) < 0)
		log_debug("no random seed for the tables");
	catalog->root = entry_new("", 0, &attr);
	if (!catalog->root ||
	    !table_init(&catalog->by_id, entry_id_hash, seeds[0], &catalog->grace) ||
	    !table_init(&catalog->by_name, entry_name_hash, seeds[1], &catalog->grace) ||
	    !table_insert(&catalog->by_id, id_hash(catalog, MC_ROOT_ID), catalog->root)) {
		entry_free(catalog->root);
		table_fini(&catalog->by_id);
		table_fini(&catalog->by_name);
		return MC_NO_MEMORY;
	}
	count(catalog, catalog->root, 1);
	return MC_OK;
}

void catalog_fini(struct catalog *catalog)
{
	struct entry *entry;
	size_t position = 0;

	while ((entry = table_next(&catalog->by_id, &position)) != NULL)
		entry_free(entry);
	table_fini(&catalog->by_id);
	table_fini(&catalog->by_name);
	grace_fini(&catalog->grace);
	for (size_t i = 0; i < catalog->touched_count; i++)
		free(catalog->touched[i].left);
	free(catalog->touched);
}

/* False: out of memory, and readers may have met the entry in the directory meanwhile. */
static bool place_take(struct catalog *catalog, struct entry *entry, struct directory *directory)
{
	entry->parent = directory;
	catalog_touch(catalog, directory->entry);
	if (!directory_enter(directory, entry, &catalog->grace))
		return false;
	if (!table_insert(&catalog->by_name, entry_name_hash(&catalog->by_name, entry), entry)) {
		directory_leave(directory, entry, &catalog->grace);
		return false;
	}
	directory_count(directory, entry_is_directory(entry));
	return true;
}

static void place_leave(struct catalog *catalog, struct entry *entry)
{
	catalog_touch(catalog, entry->parent->entry);
	table_remove(&catalog->by_name, entry_name_hash(&catalog->by_name, entry), entry);
	directory_leave(entry->parent, entry, &catalog->grace);
	directory_count(entry->parent, -entry_is_directory(entry));
}

enum mc_status catalog_add(struct catalog *catalog, struct directory *directory, const char *name,
			   size_t name_size, const struct mc_attr *attr, struct entry **entry)
{
	MUST(name_size >= 1 && name_size <= MC_NAME_MAX);
	MUST(attr->id != 0 && !catalog_find(catalog, attr->id));
	struct entry *added = entry_new(name, name_size, attr);
	if (!added)
		return MC_NO_MEMORY;
	touch_placed(catalog, added);
	if (!place_take(catalog, added, directory)) {
		entry_retire(catalog, added);
		return MC_NO_MEMORY;
	}
	if (!table_insert(&catalog->by_id, id_hash(catalog, attr->id), added)) {
		place_leave(catalog, added);
		entry_retire(catalog, added);
		return MC_NO_MEMORY;
	}
	count(catalog, added, 1);
	*entry = added;
	return MC_OK;
}

void catalog_remove(struct catalog *catalog, struct entry *entry)
{
	MUST(entry != catalog->root);
	MUST(!entry_is_directory(entry) || entry->directory->count == 0);
	touch_left(catalog, entry);
	count(catalog, entry, -1);
	place_leave(catalog, entry);
	table_remove(&catalog->by_id, id_hash(catalog, entry->id), entry);
	entry_retire(catalog, entry);
}

/* From now on every path through it is another. */
static void directory_moves(struct catalog *catalog, struct entry *entry)
{
	/* Counted first: whoever finds it moved finds the count. */
	__atomic_store_n(&catalog->moves, catalog->moves + 1, __ATOMIC_RELAXED);
	directory_belongs(entry->directory, entry);
}

enum mc_status catalog_move(struct catalog *catalog, struct entry **entry,
			    struct directory *directory, const char *name, size_t name_size)
{
	struct entry *from = *entry;
	struct entry *to = malloc(ENTRY_FIXED_SIZE + name_size);

	if (!to)
		return MC_NO_MEMORY;
	touch_left(catalog, from);
	touch_placed(catalog, from);
	catalog_touch(catalog, from->parent->entry);
	memcpy(to, from, ENTRY_FIXED_SIZE);
	to->name_size = (uint8_t)name_size;
	memcpy(to->name, name, name_size);
	if (directory == from->parent) {
		/* The place in the order stays, so a listing meets it once. */
		if (!table_insert(&catalog->by_name, entry_name_hash(&catalog->by_name, to), to)) {
			free(to);
			return MC_NO_MEMORY;
		}
		table_remove(&catalog->by_name, entry_name_hash(&catalog->by_name, from), from);
		directory_swap(directory, from, to);
	} else {
		if (!place_take(catalog, to, directory)) {
			grace_free(&catalog->grace, to);
			return MC_NO_MEMORY;
		}
		place_leave(catalog, from);
	}
	table_replace(&catalog->by_id, id_hash(catalog, from->id), from, to);
	if (entry_is_directory(to))
		directory_moves(catalog, to);
	catalog->names_size += (uint64_t)name_size - from->name_size;
	grace_free(&catalog->grace, from);
	*entry = to;
	return MC_OK;
}

struct entry *catalog_replace(struct catalog *catalog, struct entry *taken, struct entry *entry)
{
	MUST(entry_is_directory(taken) == entry_is_directory(entry));
	MUST(!entry_is_directory(taken) || taken->directory->count == 0);
	touch_placed(catalog, taken);
	touch_left(catalog, entry);
	touch_placed(catalog, entry);
	count(catalog, taken, -1);
	count(catalog, entry, -1);
	table_remove(&catalog->by_id, id_hash(catalog, taken->id), taken);
	if (entry_is_directory(taken)) {
		directory_fini(taken->directory, &catalog->grace);
		grace_free(&catalog->grace, taken->directory);
	}
	grace_free(&catalog->grace, taken->xattrs);
	place_leave(catalog, entry);
	/* Before it can be found by its new id: what is there all along is never missed. */
	memcpy(taken, entry, offsetof(struct entry, name_size));
	table_replace(&catalog->by_id, id_hash(catalog, entry->id), entry, taken);
	if (entry_is_directory(taken))
		directory_moves(catalog, taken);
	grace_free(&catalog->grace, entry);
	count(catalog, taken, 1);
	return taken;
}

enum mc_status catalog_renumber(struct catalog *catalog, struct entry *entry, uint64_t id)
{
	MUST(!entry_is_directory(entry) && !catalog_find(catalog, id));
	if (!table_reserve(&catalog->by_id))
		return MC_NO_MEMORY;
	touch_placed(catalog, entry);
	/* An item is found by its address too, so it is never in the table twice. */
	table_remove(&catalog->by_id, id_hash(catalog, entry->id), entry);
	entry->id = id;
	MUST(table_insert(&catalog->by_id, id_hash(catalog, id), entry));
	/* Its line so far says that the old id is gone. */
	touched_add(catalog, entry);
	return MC_OK;
}

size_t entry_path_size(const struct entry *entry)
{
	size_t size = 0;

	for (; entry->parent; entry = entry->parent->entry)
		size += entry->name_size + 1u;
	return size ? size - 1 : 0;
}

void entry_path(const struct entry *entry, char *path)
{
	char *at = path + entry_path_size(entry);

	while (entry->parent) {
		at -= entry->name_size;
		memcpy(at, entry->name, entry->name_size);
		entry = entry->parent->entry;
		if (entry->parent)
			*--at = '/';
	}
}

/* While loading, parent is the number of the directory, not its address. */
static struct directory *parent_numbered(uint64_t id)
{
	return (struct directory *)(uintptr_t)id;
}

static uint64_t parent_number(const struct entry *entry)
{
	return (uint64_t)(uintptr_t)entry->parent;
}

void catalog_unload(struct catalog *catalog, uint64_t id)
{
	struct entry *entry = catalog_find(catalog, id);

	if (!entry)
		return;
	count(catalog, entry, -1);
	table_remove(&catalog->by_id, id_hash(catalog, id), entry);
	entry_free(entry);
}

static bool loaded_there(const struct catalog *catalog, const struct entry *entry,
			 const struct catalog_place *place)
{
	return entry != catalog->root && parent_number(entry) == place->parent &&
	       entry->name_size == place->name_size &&
	       memcmp(entry->name, place->name, place->name_size) == 0;
}

bool catalog_loaded_there(const struct catalog *catalog, uint64_t id,
			  const struct catalog_place *place)
{
	const struct entry *entry = catalog_find(catalog, id);

	return entry && loaded_there(catalog, entry, place);
}

uint64_t catalog_loaded_at(const struct catalog *catalog, const struct catalog_place *place)
{
	const struct entry *entry;
	size_t position = 0;

	while ((entry = table_next(&catalog->by_id, &position)) != NULL) {
		if (loaded_there(catalog, entry, place))
			return entry->id;
	}
	return 0;
}

enum mc_status catalog_load(struct catalog *catalog, const struct mc_attr *attr,
			    const struct catalog_place *place, struct entry **entry)
{
	struct entry *loaded = entry_new(place->name, place->name_size, attr);

	if (!loaded)
		return MC_NO_MEMORY;
	catalog_unload(catalog, attr->id);
	if (!table_insert(&catalog->by_id, id_hash(catalog, attr->id), loaded)) {
		entry_free(loaded);
		return MC_NO_MEMORY;
	}
	loaded->parent = parent_numbered(place->parent);
	loaded->sequence = place->sequence;
	if (attr->id == MC_ROOT_ID) {
		loaded->parent = NULL;
		catalog->root = loaded;
	}
	count(catalog, loaded, 1);
	*entry = loaded;
	return MC_OK;
}

/* An entry on its way to its place. */
struct placing {
	uint64_t parent;
	uint64_t sequence;
	struct entry *entry; /* NULL: left out */
};

static int placing_compare(const void *a, const void *b)
{
	const struct placing *left = a;
	const struct placing *right = b;

	if (left->parent != right->parent)
		return left->parent < right->parent ? -1 : 1;
	if (left->sequence != right->sequence)
		return left->sequence < right->sequence ? -1 : 1;
	return 0;
}

/* Everything but the root, by directory and in its order. */
static size_t placings_sort(const struct catalog *catalog, struct placing *placings)
{
	struct entry *entry;
	size_t position = 0;
	size_t count = 0;

	while ((entry = table_next(&catalog->by_id, &position)) != NULL) {
		if (entry != catalog->root)
			placings[count++].entry = entry;
	}
	for (size_t i = 0; i < count; i++) {
		if (i + PREFETCH_COUNT < count)
			__builtin_prefetch(&placings[i + PREFETCH_COUNT].entry->parent);
		entry = placings[i].entry;
		placings[i].parent = parent_number(entry);
		placings[i].sequence = entry->sequence;
	}
	qsort(placings, count, sizeof(*placings), placing_compare);
	return count;
}

/* Where those of another directory begin. */
static size_t placings_next(const struct placing *placings, size_t count, size_t at)
{
	uint64_t parent = placings[at].parent;

	while (at < count && placings[at].parent == parent)
		at++;
	return at;
}

/* NULL: there is no directory with this number. */
static struct directory *directory_numbered(const struct catalog *catalog, uint64_t number)
{
	const struct entry *entry = catalog_find(catalog, number);

	return entry && entry_is_directory(entry) ? entry->directory : NULL;
}

/* Leave out what has no directory, and what lies below that. */
static uint64_t orphans_unload(struct catalog *catalog, struct placing *placings, size_t count)
{
	uint64_t lost = 0;
	bool again;

	do {
		again = false;
		for (size_t i = 0, end; i < count; i = end) {
			end = placings_next(placings, count, i);
			if (directory_numbered(catalog, placings[i].parent))
				continue;
			for (size_t j = i; j < end; j++) {
				if (!placings[j].entry)
					continue;
				again = again || entry_is_directory(placings[j].entry);
				catalog_unload(catalog, placings[j].entry->id);
				placings[j].entry = NULL;
				lost++;
			}
		}
	} while (again);
	return lost;
}

static enum mc_status place_settle(struct catalog *catalog, struct entry *entry, uint64_t hash)
{
	const struct name_key key = {entry->parent, entry->name, entry->name_size};

	if (table_find(&catalog->by_name, hash, name_equal, &key)) {
		log_error("two entries have one name id=%lu directory=%lu",
			  (unsigned long)entry->id, (unsigned long)entry->parent->entry->id);
		return MC_IO;
	}
	/* Nobody reads before it serves. */
	if (!directory_enter_again(entry->parent, entry, NULL) ||
	    !table_insert(&catalog->by_name, hash, entry))
		return MC_NO_MEMORY;
	directory_count(entry->parent, entry_is_directory(entry));
	return MC_OK;
}

/* All of one directory. */
static enum mc_status places_settle(struct catalog *catalog, struct directory *directory,
				    const struct placing *placings, size_t count)
{
	uint64_t hashes[PREFETCH_COUNT];
	enum mc_status status = MC_OK;

	for (size_t i = 0; i < count && status == MC_OK; i += PREFETCH_COUNT) {
		size_t end = count - i < PREFETCH_COUNT ? count : i + PREFETCH_COUNT;
		for (size_t j = i; j < end; j++) {
			MUST(placings[j].entry != NULL);
			__builtin_prefetch(placings[j].entry->name);
		}
		for (size_t j = i; j < end; j++) {
			placings[j].entry->parent = directory;
			hashes[j - i] = entry_name_hash(&catalog->by_name, placings[j].entry);
			table_prefetch(&catalog->by_name, hashes[j - i]);
		}
		for (size_t j = i; j < end && status == MC_OK; j++)
			status = place_settle(catalog, placings[j].entry, hashes[j - i]);
	}
	return status;
}

static enum mc_status places_take(struct catalog *catalog, const struct placing *placings,
				  size_t count)
{
	enum mc_status status = MC_OK;

	for (size_t i = 0, end; i < count && status == MC_OK; i = end) {
		end = placings_next(placings, count, i);
		struct directory *directory = directory_numbered(catalog, placings[i].parent);
		/* Else they were left out. */
		if (directory)
			status = places_settle(catalog, directory, placings + i, end - i);
	}
	return status;
}

enum mc_status catalog_settle(struct catalog *catalog, uint64_t *lost)
{
	CLEANUP_FREE struct placing *placings =
		malloc(catalog->by_id.count * sizeof(struct placing));

	if (!placings || !table_expect(&catalog->by_name, catalog->by_id.count))
		return MC_NO_MEMORY;
	size_t count = placings_sort(catalog, placings);
	MUST(count == catalog->by_id.count - 1);
	*lost = orphans_unload(catalog, placings, count);
	return places_take(catalog, placings, count);
}
