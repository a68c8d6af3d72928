/*
 * tests/support/usage.h -- what this process has: memory, mappings, descriptors
 *
 * Threads   One; others may go on, which is why what is closed late is waited for.
 */
#ifndef TESTS_SUPPORT_USAGE_H
#define TESTS_SUPPORT_USAGE_H

#include <dirent.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define USAGE_SLACK (64u << 10) /* bytes: what threads keep for their next allocations */

struct usage {
	size_t memory;	  /* bytes that were allocated and not freed */
	long mappings;	  /* lines of /proc/self/maps */
	long descriptors; /* open */
};

/* Before threads are started: each would map memory of its own when it first needs some. */
static inline void usage_share_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
}

/* A sanitizer maps memory as it likes: there only mappings of files tell anything. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define USAGE_FILES_ONLY true
#else
#define USAGE_FILES_ONLY false
#endif

static inline long usage_count_mappings(void)
{
	FILE *in = fopen("/proc/self/maps", "re");
	char line[8192];
	long count = 0;

	while (in && fgets(line, sizeof(line), in))
		count += !USAGE_FILES_ONLY || strchr(line, '/') || strstr(line, "anon_inode");
	if (in)
		fclose(in);
	return count;
}

static inline long usage_count_entries(const char *path)
{
	DIR *folder = opendir(path);
	long count = 0;

	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count;
}

static inline struct usage usage_now(void)
{
	struct mallinfo2 heap = mallinfo2();

	return (struct usage){
		.memory = heap.uordblks + heap.hblkhd,
		.mappings = usage_count_mappings(),
		.descriptors = usage_count_entries("/proc/self/fd"),
	};
}

/* As it is once what was going on has ended: the least of two seconds' looks, the same twice. */
static inline struct usage usage_settled(void)
{
	struct usage last = usage_now();

	for (int same = 0, looks = 0; same < 20 && looks < 200; looks++) {
		usleep(10000);
		struct usage now = usage_now();
		same = now.memory == last.memory && now.mappings == last.mappings &&
				       now.descriptors == last.descriptors
			       ? same + 1
			       : 0;
		last = now;
	}
	return last;
}

static inline bool usage_fits(const struct usage *now, const struct usage *before)
{
	return now->memory <= before->memory + USAGE_SLACK && now->mappings <= before->mappings &&
	       now->descriptors <= before->descriptors;
}

static inline void usage_print(const char *when, const struct usage *usage)
{
	fprintf(stderr, "%s: memory=%zu mappings=%ld descriptors=%ld\n", when, usage->memory,
		usage->mappings, usage->descriptors);
}

#endif
