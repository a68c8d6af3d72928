#include "tools/bench/population.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/workload.h"

void population_path(const char *directory, uint64_t number, char *path)
{
	MUST(snprintf(path, PATH_MAX, "%s/block-%08llx", directory, (unsigned long long)number) <
	     PATH_MAX);
}

enum mc_status population_put(const char *directory, uint64_t count, uint64_t size)
{
	char path[PATH_MAX];
	enum mc_status status = MC_OK;
	CLEANUP_FREE void *pattern = pattern_new(size);

	if (!pattern)
		return MC_NO_MEMORY;
	if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
		log_error("cannot make a directory path=%s", directory);
		return mc_status_from_errno(errno);
	}
	for (uint64_t i = 0; i < count && !status; i++) {
		population_path(directory, i, path);
		status = put_object(path, pattern, size);
		if (workload_interrupted)
			status = MC_CANCELLED;
	}
	return status;
}
