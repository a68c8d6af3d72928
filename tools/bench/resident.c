#include "tools/bench/resident.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The sum of those lines of a process's status that begin with one of two words. */
static double status_mb(pid_t pid, const char *word, const char *other)
{
	char name[64], line[256];
	unsigned long sum_kb = 0;

	snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
	FILE *file = fopen(name, "re");
	if (!file)
		return NAN;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, word, strlen(word)) == 0 ||
		    strncmp(line, other, strlen(other)) == 0)
			sum_kb += strtoul(strchr(line, ':') + 1, NULL, 10);
	}
	fclose(file);
	return (double)sum_kb * 1024 / 1e6;
}

double resident_mb(pid_t pid)
{
	return status_mb(pid, "RssAnon:", "RssFile:");
}

double resident_peak_mb(pid_t pid)
{
	return status_mb(pid, "VmHWM:", "VmHWM:");
}

double processor_seconds(pid_t pid)
{
	char name[64], line[1024];
	unsigned long user, system;
	double seconds = NAN;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(name, "re");
	if (!file)
		return NAN;
	/* The name in brackets may hold anything: the last one closes it. */
	const char *rest = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			   &system) == 2)
		seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	fclose(file);
	return seconds;
}
