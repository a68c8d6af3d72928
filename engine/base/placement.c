#include "engine/base/placement.h"

#include <string.h>

bool placement_names_read(const char *text, struct mc_placement *placement)
{
	struct mc_placement read = *placement;

	read.preferred_count = 0;
	while (true) {
		size_t size = strcspn(text, ",:");
		if (size == 0 || size >= MC_NODE_NAME_SIZE ||
		    read.preferred_count == MC_REPLICA_MAX)
			return false;
		char *name = read.preferred[read.preferred_count++];
		memset(name, 0, MC_NODE_NAME_SIZE);
		memcpy(name, text, size);
		if (!text[size])
			break;
		text += size + 1;
	}
	*placement = read;
	return true;
}
