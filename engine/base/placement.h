/*
 * engine/base/placement.h -- preferred nodes as people write them
 *
 * Names separated by commas or colons (in a mount's list of options a comma
 * ends the option), the best first.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_BASE_PLACEMENT_H
#define ENGINE_BASE_PLACEMENT_H

#include <mooncake/types.h>

/* Read names into a placement.  False: an empty one, too long, or too many; nothing changed. */
bool placement_names_read(const char *text, struct mc_placement *placement);

#endif
