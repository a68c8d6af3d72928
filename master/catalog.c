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

#define ROOT_MODE (S_IFDIR | S_ISVTX | 0777) /* as /dev/shm has it */

struct name_key {
	const struct directory *directory;
	const char *name;
	size_t size;
};

/* A name is hashed with its directory's id, which a rename of the directory leaves alone. */
static uint64_t name_hash(const struct table *table, const struct directory *directory,
			  const char *name, size_t size)
{
	return XXH3_64bits_withSeed(name, size, table->seed ^ table_mix(directory->entry->id));
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

static bool id_equal(const void *item, const void *key)
{
	return ((const struct entry *)item)->id == *(const uint64_t *)key;
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
	struct name_key key = {directory, name, name_size};

	return table_find(&catalog->by_name,
			  name_hash(&catalog->by_name, directory, name, name_size), name_equal,
			  &key);
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
		.nlink = entry_is_directory(entry) ? 2 + entry->directory->directories : 1,
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
		directory_fini(entry->directory);
		free(entry->directory);
	}
	free(entry->xattrs);
	free(entry);
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
	if (!entry->directory || !directory_init(entry->directory, entry)) {
		entry_free(entry);
		return NULL;
	}
	return entry;
}

static void count(struct catalog *catalog, const struct entry *entry, int64_t by)
{
	if (entry_is_directory(entry))
		catalog->directories += (uint64_t)by;
	else
		catalog->objects += (uint64_t)by;
	catalog->names_size += (uint64_t)(by * entry->name_size);
	if (entry->xattrs)
		catalog->xattrs_size += (uint64_t)(by * (int64_t)entry->xattrs->size);
}

enum mc_status catalog_init(struct catalog *catalog)
{
	uint64_t seeds[2] = {0};
	struct mc_attr attr = {.id = MC_ROOT_ID, .version = 1, .mode = ROOT_MODE, .size = 4096};

	*catalog = (struct catalog){0};
	if (getrandom(seeds, sizeof(seeds), 0) < 0)
		log_debug("no random seed for the tables");
	catalog->root = entry_new("", 0, &attr);
	if (!catalog->root || !table_init(&catalog->by_id, entry_id_hash, seeds[0]) ||
	    !table_init(&catalog->by_name, entry_name_hash, seeds[1]) ||
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
}

static bool place_take(struct catalog *catalog, struct entry *entry, struct directory *directory)
{
	entry->parent = directory;
	if (!directory_enter(directory, entry))
		return false;
	if (!table_insert(&catalog->by_name, entry_name_hash(&catalog->by_name, entry), entry)) {
		directory_leave(directory, entry);
		return false;
	}
	directory->directories += entry_is_directory(entry);
	return true;
}

static void place_leave(struct catalog *catalog, struct entry *entry)
{
	table_remove(&catalog->by_name, entry_name_hash(&catalog->by_name, entry), entry);
	directory_leave(entry->parent, entry);
	entry->parent->directories -= entry_is_directory(entry);
}

enum mc_status catalog_add(struct catalog *catalog, struct directory *directory, const char *name,
			   size_t name_size, const struct mc_attr *attr, struct entry **entry)
{
	MUST(name_size >= 1 && name_size <= MC_NAME_MAX);
	MUST(attr->id != 0 && !catalog_find(catalog, attr->id));
	struct entry *added = entry_new(name, name_size, attr);
	if (!added)
		return MC_NO_MEMORY;
	if (!place_take(catalog, added, directory)) {
		entry_free(added);
		return MC_NO_MEMORY;
	}
	if (!table_insert(&catalog->by_id, id_hash(catalog, attr->id), added)) {
		place_leave(catalog, added);
		entry_free(added);
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
	count(catalog, entry, -1);
	place_leave(catalog, entry);
	table_remove(&catalog->by_id, id_hash(catalog, entry->id), entry);
	entry_free(entry);
}

enum mc_status catalog_move(struct catalog *catalog, struct entry **entry,
			    struct directory *directory, const char *name, size_t name_size)
{
	struct entry *from = *entry;
	struct entry *to = malloc(ENTRY_FIXED_SIZE + name_size);

	if (!to)
		return MC_NO_MEMORY;
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
			free(to);
			return MC_NO_MEMORY;
		}
		place_leave(catalog, from);
	}
	table_replace(&catalog->by_id, id_hash(catalog, from->id), from, to);
	if (entry_is_directory(to))
		to->directory->entry = to;
	catalog->names_size += (uint64_t)name_size - from->name_size;
	free(from);
	*entry = to;
	return MC_OK;
}

struct entry *catalog_replace(struct catalog *catalog, struct entry *taken, struct entry *entry)
{
	MUST(entry_is_directory(taken) == entry_is_directory(entry));
	MUST(!entry_is_directory(taken) || taken->directory->count == 0);
	count(catalog, taken, -1);
	count(catalog, entry, -1);
	table_remove(&catalog->by_id, id_hash(catalog, taken->id), taken);
	if (entry_is_directory(taken)) {
		directory_fini(taken->directory);
		free(taken->directory);
	}
	free(taken->xattrs);
	place_leave(catalog, entry);
	table_replace(&catalog->by_id, id_hash(catalog, entry->id), entry, taken);
	memcpy(taken, entry, offsetof(struct entry, touched));
	if (entry_is_directory(taken))
		taken->directory->entry = taken;
	taken->touched = entry->touched;
	free(entry);
	count(catalog, taken, 1);
	return taken;
}

enum mc_status catalog_renumber(struct catalog *catalog, struct entry *entry, uint64_t id)
{
	MUST(!entry_is_directory(entry) && !catalog_find(catalog, id));
	if (!table_reserve(&catalog->by_id))
		return MC_NO_MEMORY;
	/* An item is found by its address too, so it is never in the table twice. */
	table_remove(&catalog->by_id, id_hash(catalog, entry->id), entry);
	entry->id = id;
	MUST(table_insert(&catalog->by_id, id_hash(catalog, id), entry));
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

static int place_compare(const void *a, const void *b)
{
	const struct entry *left = *(const struct entry *const *)a;
	const struct entry *right = *(const struct entry *const *)b;

	if (left->parent != right->parent)
		return parent_number(left) < parent_number(right) ? -1 : 1;
	if (left->sequence != right->sequence)
		return left->sequence < right->sequence ? -1 : 1;
	return 0;
}

/* Leave out what has no directory, and what lies below that. */
static uint64_t orphans_unload(struct catalog *catalog)
{
	uint64_t lost = 0;
	bool again;

	do {
		struct entry *entry;
		size_t position = 0;
		again = false;
		while ((entry = table_next(&catalog->by_id, &position)) != NULL) {
			if (entry == catalog->root)
				continue;
			const struct entry *parent = catalog_find(catalog, parent_number(entry));
			if (parent && entry_is_directory(parent))
				continue;
			again = again || entry_is_directory(entry);
			catalog_unload(catalog, entry->id);
			lost++;
		}
	} while (again);
	return lost;
}

static enum mc_status places_take(struct catalog *catalog, struct entry **entries, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		struct entry *entry = entries[i];
		struct directory *directory =
			catalog_find(catalog, parent_number(entry))->directory;
		entry->parent = directory;
		if (catalog_lookup(catalog, directory, entry->name, entry->name_size)) {
			log_error("two entries have one name id=%lu directory=%lu",
				  (unsigned long)entry->id, (unsigned long)directory->entry->id);
			return MC_IO;
		}
		uint64_t hash = entry_name_hash(&catalog->by_name, entry);
		if (!directory_enter_again(directory, entry) ||
		    !table_insert(&catalog->by_name, hash, entry))
			return MC_NO_MEMORY;
		directory->directories += entry_is_directory(entry);
	}
	return MC_OK;
}

enum mc_status catalog_settle(struct catalog *catalog, uint64_t *lost)
{
	*lost = orphans_unload(catalog);
	size_t size = catalog->by_id.count - 1;
	CLEANUP_FREE struct entry **entries = malloc((size + 1) * sizeof(struct entry *));
	struct entry *entry;
	size_t position = 0;
	size_t filled = 0;

	if (!entries)
		return MC_NO_MEMORY;
	while ((entry = table_next(&catalog->by_id, &position)) != NULL) {
		if (entry != catalog->root)
			entries[filled++] = entry;
	}
	MUST(filled == size);
	qsort(entries, size, sizeof(struct entry *), place_compare);
	return places_take(catalog, entries, size);
}
