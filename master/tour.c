#include "master/tour.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "master/replicas.h"
#include "master/walk.h"

static void push(struct tour *tour, struct directory *directory, uint64_t after)
{
	struct tour_level *level = &tour->levels[tour->depth++];

	*level = (struct tour_level){.directory = directory,
				     .place = directory_seek(directory, after),
				     .sequence = after,
				     .path_size = tour->path_size};
}

/*
 * Make the path that of an entry in the last level's directory.  False: it is none, which
 * comes of moving what is above it.
 */
static bool path_enter(struct tour *tour, const struct entry *entry)
{
	size_t at = tour->levels[tour->depth - 1].path_size;

	if (at + entry->name_size > MC_PATH_MAX)
		return false;
	memcpy(tour->path + at, entry->name, entry->name_size);
	tour->path_size = at + entry->name_size;
	return true;
}

/* False: no key can be so deep. */
static bool descend(struct tour *tour, struct entry *entry, uint64_t after)
{
	if (tour->depth == TOUR_DEPTH_MAX || tour->path_size + 1 > MC_PATH_MAX)
		return false;
	tour->path[tour->path_size++] = '/';
	push(tour, entry->directory, after);
	return true;
}

/* Find the directory in which the prefix ends.  MC_NOT_FOUND: there is none. */
static enum mc_status prefix_directory(const struct tour *tour, const char *prefix,
				       struct directory **directory)
{
	const char *slash = strrchr(prefix, '/');
	struct walk walk;

	*directory = tour->master->catalog.root->directory;
	if (!slash)
		return MC_OK;
	enum mc_status status =
		walk_path(tour->master, *directory, prefix, (size_t)(slash - prefix), &walk);
	if (status == MC_NOT_DIRECTORY)
		return MC_NOT_FOUND;
	if (status != MC_OK)
		return status;
	if (walk.rest_size || !walk.entry || !entry_is_directory(walk.entry))
		return MC_NOT_FOUND;
	*directory = walk.entry->directory;
	return MC_OK;
}

/* Go down to where the cursor was, or as far as what it names is still there. */
static enum mc_status resume(struct tour *tour, const char *cursor)
{
	while (true) {
		char *end;
		struct tour_level *level = &tour->levels[tour->depth - 1];
		uint64_t sequence = strtoull(cursor, &end, 10);
		if (*cursor < '0' || *cursor > '9' || (*end && *end != '.'))
			return MC_INVALID;
		if (*end && sequence == 0)
			return MC_INVALID;
		level->sequence = sequence;
		level->place = directory_seek(level->directory, sequence);
		if (!*end)
			return MC_OK;
		uint32_t place = directory_seek(level->directory, sequence - 1);
		struct entry *entry = directory_next(level->directory, &place);
		if (!entry || entry->sequence != sequence || !entry_is_directory(entry))
			return MC_OK;
		if (!path_enter(tour, entry) || !descend(tour, entry, 0))
			return MC_INVALID;
		cursor = end + 1;
	}
}

enum mc_status tour_begin(struct tour *tour, const struct mc_master *master, const char *prefix,
			  const char *cursor, uint32_t visits)
{
	struct directory *directory;
	const char *slash = strrchr(prefix, '/');
	size_t directory_size = slash ? (size_t)(slash - prefix) + 1 : 0;

	tour->master = master;
	tour->depth = 0;
	tour->visits_left = visits;
	if (strlen(prefix) > MC_PATH_MAX)
		return MC_INVALID;
	enum mc_status status = prefix_directory(tour, prefix, &directory);
	if (status == MC_NOT_FOUND)
		return MC_OK;
	if (status != MC_OK)
		return status;
	tour->start = prefix + directory_size;
	tour->start_size = strlen(tour->start);
	memcpy(tour->path, prefix, directory_size);
	tour->path_size = directory_size;
	push(tour, directory, 0);
	return cursor ? resume(tour, cursor) : MC_OK;
}

static bool begins_right(const struct tour *tour, const struct entry *entry)
{
	return tour->depth > 1 || (entry->name_size >= tour->start_size &&
				   memcmp(entry->name, tour->start, tour->start_size) == 0);
}

const struct entry *tour_next(struct tour *tour)
{
	while (tour->depth > 0 && tour->visits_left > 0) {
		struct tour_level *level = &tour->levels[tour->depth - 1];
		struct entry *entry = directory_next(level->directory, &level->place);
		if (!entry) {
			tour->depth--;
			continue;
		}
		tour->visits_left--;
		level->sequence = entry->sequence;
		if (!begins_right(tour, entry) || !path_enter(tour, entry))
			continue;
		if (entry_is_directory(entry))
			(void)descend(tour, entry, 0);
		else if (replicas_show(tour->master, entry))
			return entry;
	}
	return NULL;
}

bool tour_unfinished(const struct tour *tour)
{
	return tour->depth > 0;
}

void tour_cursor(const struct tour *tour, struct writer *w)
{
	char text[32];

	for (uint32_t i = 0; i < tour->depth; i++) {
		int size = snprintf(text, sizeof(text), "%s%" PRIu64, i ? "." : "",
				    tour->levels[i].sequence);
		put_bytes(w, text, (size_t)size);
	}
}
