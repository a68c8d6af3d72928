/*
 * master/walk.h -- from ids and paths to entries
 *
 * Threads   The writer.
 */
#ifndef MASTER_WALK_H
#define MASTER_WALK_H

#include <mooncake/status.h>

#include "master/state.h"

/* MC_NOT_FOUND: no such id; MC_NOT_DIRECTORY: it is an object. */
MC_MUST_CHECK enum mc_status walk_directory(const struct mc_master *master, uint64_t id,
					    struct directory **directory);

/* The entry of a name that a session may see, or NULL. */
struct entry *walk_visible(const struct mc_master *master, const struct directory *directory,
			   const char *name, size_t name_size);

/* How far a path leads. */
struct walk {
	struct directory *directory; /* the last one that exists */
	struct entry *entry;	     /* of the last component, shown or not; NULL: none */
	const char *name;	     /* the component looked for in directory */
	size_t name_size;
	const char *rest; /* what follows that component */
	size_t rest_size; /* 0: it is the last */
};

/*
 * Follow a path ("a/b/c") from a directory as far as directories exist.
 *
 * MC_INVALID         a component is no name
 * MC_NOT_DIRECTORY   a component that others follow is an object that is shown
 */
MC_MUST_CHECK enum mc_status walk_path(const struct mc_master *master, struct directory *from,
				       const char *path, size_t size, struct walk *walk);

/* The bytes of the first component of a path. */
size_t walk_component(const char *path, size_t size);

/* A path has 1 to MC_PATH_MAX bytes and its components are names. */
bool walk_path_valid(const char *path, size_t size);

#endif
