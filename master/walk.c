#include "master/walk.h"

#include <string.h>

#include "master/replicas.h"

enum mc_status walk_directory(const struct mc_master *master, uint64_t id,
			      struct directory **directory)
{
	struct entry *entry = catalog_find(&master->catalog, id);

	if (!entry)
		return MC_NOT_FOUND;
	if (!entry_is_directory(entry))
		return MC_NOT_DIRECTORY;
	*directory = entry->directory;
	return MC_OK;
}

struct entry *walk_visible(const struct mc_master *master, const struct directory *directory,
			   const char *name, size_t name_size)
{
	struct entry *entry = catalog_lookup(&master->catalog, directory, name, name_size);

	return entry && replicas_show(master, entry) ? entry : NULL;
}

size_t walk_component(const char *path, size_t size)
{
	const char *slash = memchr(path, '/', size);

	return slash ? (size_t)(slash - path) : size;
}

bool walk_path_valid(const char *path, size_t size)
{
	if (size == 0 || size > MC_PATH_MAX)
		return false;
	while (true) {
		size_t length = walk_component(path, size);
		if (!mc_name_valid(path, length))
			return false;
		if (length == size)
			return true;
		path += length + 1;
		size -= length + 1;
	}
}

enum mc_status walk_path(const struct mc_master *master, struct directory *from, const char *path,
			 size_t size, struct walk *walk)
{
	*walk = (struct walk){.directory = from};
	if (!walk_path_valid(path, size))
		return MC_INVALID;
	while (true) {
		walk->name = path;
		walk->name_size = walk_component(path, size);
		walk->rest_size = size - walk->name_size - (walk->name_size < size);
		walk->rest = path + size - walk->rest_size;
		walk->entry = catalog_lookup(&master->catalog, walk->directory, walk->name,
					     walk->name_size);
		if (walk->rest_size == 0 || !walk->entry)
			return MC_OK;
		if (!entry_is_directory(walk->entry))
			return replicas_show(master, walk->entry) ? MC_NOT_DIRECTORY : MC_OK;
		walk->directory = walk->entry->directory;
		path = walk->rest;
		size = walk->rest_size;
	}
}
