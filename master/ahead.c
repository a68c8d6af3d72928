#include "master/ahead.h"

#include <string.h>

#include "master/walk.h"

/* Where the last name was: most of a batch are in one directory. */
struct place {
	uint64_t parent; /* 0: the root and the way below */
	const char *way; /* components, with a slash after each */
	size_t way_size;
	const struct directory *directory; /* NULL: there is none */
};

static const struct directory *directory_of(const struct entry *entry)
{
	return entry && entry_is_directory(entry) ? entry_directory(entry) : NULL;
}

static const struct directory *way_follow(const struct catalog *catalog, const char *way,
					  size_t size)
{
	const struct directory *directory = directory_of(catalog->root);

	while (directory && size > 0) {
		size_t length = walk_component(way, size);
		directory = directory_of(catalog_lookup(catalog, directory, way, length));
		way += length + 1;
		size -= length + 1;
	}
	return directory;
}

/* Make it the place of this item. */
static void place_move(struct place *place, const struct catalog *catalog, const struct item *item,
		       size_t way_size)
{
	if (item->parent == place->parent && way_size == place->way_size &&
	    memcmp(item->name, place->way, way_size) == 0)
		return;
	*place = (struct place){item->parent, item->name, way_size, NULL};
	if (item->parent)
		place->directory = directory_of(catalog_find(catalog, item->parent));
	else
		place->directory = way_follow(catalog, place->way, way_size);
}

/* Of an item that has a parent the name is a name, else a path. */
static size_t way_size_of(const struct item *item)
{
	const char *slash = item->parent ? NULL : memrchr(item->name, '/', item->name_size);

	return slash ? (size_t)(slash + 1 - item->name) : 0;
}

void ahead_load(struct ahead *ahead, const struct call *call, const struct verb_row *row,
		struct reader r, unsigned left)
{
	const struct catalog *catalog = &call->master->catalog;
	struct place place = {.way = "", .directory = directory_of(catalog->root)};
	unsigned count = left < AHEAD_COUNT ? left : AHEAD_COUNT;

	for (unsigned i = 0; i < count; i++) {
		struct item item;
		item.parent = 0;
		row->read(&r, &item);
		ahead->names[i].directory = NULL;
		if (r.failed || item.name_size == 0)
			continue;
		size_t way_size = way_size_of(&item);
		place_move(&place, catalog, &item, way_size);
		if (!place.directory)
			continue;
		ahead->names[i].directory = place.directory;
		ahead->names[i].name = item.name + way_size;
		ahead->names[i].name_size = item.name_size - way_size;
		ahead->names[i].hash = catalog_hash(catalog, place.directory, ahead->names[i].name,
						    ahead->names[i].name_size);
	}
	for (unsigned i = 0; i < count; i++) {
		if (ahead->names[i].directory)
			catalog_prefetch(catalog, ahead->names[i].hash, ahead->names[i].name_size);
	}
}

uint64_t ahead_hash(const struct call *call, const struct directory *directory, const char *name,
		    size_t name_size)
{
	const struct ahead *ahead = call->ahead;
	unsigned i = call->item % AHEAD_COUNT;

	if (ahead && ahead->names[i].directory == directory && ahead->names[i].name == name &&
	    ahead->names[i].name_size == name_size)
		return ahead->names[i].hash;
	return catalog_hash(&call->master->catalog, directory, name, name_size);
}
