#include "tools/bench/seat.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum mc_status seats_find(struct seats *seats)
{
	seats->near = seats->other = -1;
	if (sched_getaffinity(0, sizeof(seats->all), &seats->all) != 0)
		return MC_NOT_SUPPORTED;
	for (int cpu = 0; cpu < CPU_SETSIZE && seats->other < 0; cpu++) {
		if (!CPU_ISSET(cpu, &seats->all))
			continue;
		if (seats->near < 0)
			seats->near = cpu;
		else
			seats->other = cpu;
	}
	return seats->other < 0 ? MC_NOT_SUPPORTED : MC_OK;
}

/* A thread that ended meanwhile needs no seat. */
static void seat_threads(pid_t pid, const cpu_set_t *set)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
		if (thread > 0)
			(void)sched_setaffinity(thread, sizeof(*set), set);
	}
	if (dir)
		closedir(dir);
}

void seat_process(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	seat_threads(pid, &set);
}

void seat_free(const struct seats *seats, pid_t pid)
{
	seat_threads(pid, &seats->all);
}
