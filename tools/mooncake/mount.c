#include "tools/mooncake/mount.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <mooncake/protocol.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mountinfo.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/task.h"

#define MOUNT_TYPE	     "fuse.mooncakefs"
#define MOUNT_COUNT_MAX	     256u
#define MOUNT_ATTRIBUTE_SIZE 65536u
#define MOUNT_EARLIER_NS     1000000000ull /* for those before one that would do */

/* What the process that asks the mount works on. */
struct reading {
	struct task task;
	char path[4096];
	const char *name;
	char value[MOUNT_ATTRIBUTE_SIZE + 1];
};

static enum mc_status read_attribute(struct task *task)
{
	struct reading *reading = container_of(task, struct reading, task);

	ssize_t size = getxattr(reading->path, reading->name, reading->value, MOUNT_ATTRIBUTE_SIZE);
	return size < 0 ? mc_status_from_errno(errno) : MC_OK;
}

static struct reading *reading_new(const char *path, const char *name, uint32_t timeout_ms)
{
	struct reading *reading = task_new(sizeof(*reading));

	snprintf(reading->path, sizeof(reading->path), "%s", path);
	reading->name = name;
	reading->task.work = read_attribute;
	reading->task.timeout_ms = timeout_ms + MOUNT_GRACE_MS;
	return reading;
}

enum mc_status mount_attribute(const char *path, const char *name, uint32_t timeout_ms,
			       char **value)
{
	struct reading *reading = reading_new(path, name, timeout_ms);
	enum mc_status status = task_run(&reading->task);
	if (!status) {
		*value = strdup(reading->value);
		MUST(*value != NULL);
	}
	task_free(reading);
	return status;
}

static void say_why(struct mount *mount, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say_why(struct mount *mount, const char *format, ...)
{
	va_list args;

	free(mount->why);
	va_start(args, format);
	MUST(vasprintf(&mount->why, format, args) >= 0);
	va_end(args);
}

static size_t mounts_here(char *paths[MOUNT_COUNT_MAX])
{
	struct mountinfo mount;
	size_t count = 0;

	for (mountinfo_open(&mount); count < MOUNT_COUNT_MAX && mountinfo_next(&mount);) {
		if (strcmp(mount.type, MOUNT_TYPE) != 0)
			continue;
		paths[count] = strdup(mount.path);
		MUST(paths[count] != NULL);
		count++;
	}
	mountinfo_close(&mount);
	return count;
}

/* What a reading of its status came to. */
static void take_facts(struct mount *mount, const struct reading *reading, enum mc_status status,
		       uint32_t timeout_ms)
{
	const char *path = reading->path;

	free(mount->path);
	mount->path = strdup(path);
	mount->state = status;
	if (mount->state == MC_OK) {
		mount->facts = strdup(reading->value);
		MUST(mount->facts != NULL);
		return;
	}
	if (mount->state == MC_TIMEOUT)
		say_why(mount, "the mount at %s did not answer within %u ms: its daemon hangs",
			path, timeout_ms + MOUNT_GRACE_MS);
	else if (mount->state == MC_UNREACHABLE)
		say_why(mount, "the mount at %s is dead: its daemon has ended", path);
	else if (mount->state == MC_NOT_FOUND)
		say_why(mount, "there is no directory %s", path);
	else if (mount->state == MC_NO_DATA || mount->state == MC_NOT_SUPPORTED)
		say_why(mount, "%s is not the root of a mooncakefs mount", path);
	else
		say_why(mount, "the mount at %s can't be asked: %s", path,
			mc_status_text(mount->state));
	if (mount->state != MC_TIMEOUT && mount->state != MC_UNREACHABLE)
		mount->state = MC_NOT_FOUND;
}

/* The same address; a port that is not written is the default one. */
static bool same_master(const char *a, const char *b)
{
	char texts[2][512];
	const char *given[2] = {a, b};

	for (int i = 0; i < 2; i++) {
		const char *colon = strrchr(given[i], ':');
		if (colon && strchr(colon, ']'))
			colon = NULL;
		snprintf(texts[i], sizeof(texts[i]), colon ? "%s" : "%s:%u", given[i],
			 MC_MASTER_PORT);
	}
	return strcmp(texts[0], texts[1]) == 0;
}

/* It has answered, and belongs to the master that is wanted, if any is. */
static bool reading_fits(struct reading *reading, const char *master)
{
	if (!reading->task.finished || reading->task.status)
		return false;
	const struct mount mount = {.facts = reading->value};
	CLEANUP_FREE char *own = mount_fact(&mount, "master_option", &(const char *){NULL});
	return !master || (own && same_master(own, master));
}

/* The mounts of this machine, all asked at once. */
struct search {
	struct reading *readings[MOUNT_COUNT_MAX];
	struct task *tasks[MOUNT_COUNT_MAX];
	size_t count;
	const char *master;
	uint64_t found_ns; /* when the first was known to fit; 0: none is */
};

/* The first is wanted, so those before one that fits are waited for, but not long. */
static bool enough(void *context)
{
	struct search *search = context;
	bool pending = false;

	for (size_t i = 0; i < search->count; i++) {
		if (!search->tasks[i]->finished) {
			pending = true;
		} else if (reading_fits(search->readings[i], search->master)) {
			if (!search->found_ns)
				search->found_ns = clock_ns();
			return !pending || clock_ns() - search->found_ns > MOUNT_EARLIER_NS;
		}
	}
	return false;
}

static void search_run(struct search *search, uint32_t timeout_ms)
{
	char *paths[MOUNT_COUNT_MAX];

	search->count = mounts_here(paths);
	for (size_t i = 0; i < search->count; i++) {
		search->readings[i] = reading_new(paths[i], "user.mooncake.status", timeout_ms);
		search->tasks[i] = &search->readings[i]->task;
		free(paths[i]);
	}
	if (search->count > 0)
		task_run_all(search->tasks, search->count, enough, search);
}

/* It answers, and belongs to the master that is wanted. */
static bool fits(struct mount *mount, const char *master)
{
	if (mount->state)
		return false;
	CLEANUP_FREE char *own = mount_fact(mount, "master_option", &(const char *){NULL});
	if (!master || (own && same_master(own, master))) {
		free(STEAL(mount->why)); /* of one that was asked before */
		return true;
	}
	say_why(mount, "the mount at %s belongs to the master %s, not to %s", mount->path,
		own ? own : "it does not tell", master);
	mount->state = MC_NOT_FOUND;
	free(mount->facts);
	mount->facts = NULL;
	return false;
}

/* None that is known to be the master's: what was asked last may be anyone's. */
static void none_of(struct mount *mount, const char *master)
{
	CLEANUP_FREE char *last = STEAL(mount->why);

	say_why(mount, "this machine has no mount of the master %s (%s)", master, last);
	free(STEAL(mount->path));
	mount->state = MC_NOT_FOUND;
}

/* Add one to a list. */
static void add_path(char **list, const char *path)
{
	char *before = *list;

	MUST(asprintf(list, "%s%s%s", before ? before : "", before ? ", " : "", path) >= 0);
	free(before);
}

static void say_hanging(struct mount *mount, const char *hanging, uint32_t timeout_ms)
{
	say_why(mount, "the mount at %s did not answer within %u ms: its daemon hangs", hanging,
		timeout_ms + MOUNT_GRACE_MS);
	mount->state = MC_TIMEOUT;
}

/* The first mount of this machine that answers and fits. */
static void find_here(const char *master, uint32_t timeout_ms, struct mount *mount)
{
	struct search search = {.master = master};
	CLEANUP_FREE char *hanging = NULL;
	CLEANUP_FREE char *silent = NULL; /* these, and those that are dead */
	bool found = false;

	search_run(&search, timeout_ms);
	if (search.count == 0)
		say_why(mount, "no mooncakefs is mounted on this machine");
	for (size_t i = 0; i < search.count; i++) {
		const struct task *task = search.tasks[i];
		if (!found) {
			take_facts(mount, search.readings[i],
				   task->finished ? task->status : MC_TIMEOUT, timeout_ms);
			if (mount->state == MC_TIMEOUT)
				add_path(&hanging, mount->path);
			if (mount->state == MC_TIMEOUT || mount->state == MC_UNREACHABLE)
				add_path(&silent, mount->path);
			found = fits(mount, master);
		}
		task_free(search.readings[i]);
	}
	if (found && silent)
		complain("no answer from the mount at %s: took that at %s", silent, mount->path);
	else if (!found && hanging)
		say_hanging(mount, hanging, timeout_ms);
	if (!found && master)
		none_of(mount, master);
}

/* The one at a path, whoever's it is. */
static void find_at(const char *path, const char *master, uint32_t timeout_ms, struct mount *mount)
{
	struct reading *reading = reading_new(path, "user.mooncake.status", timeout_ms);

	take_facts(mount, reading, task_run(&reading->task), timeout_ms);
	task_free(reading);
	if (!fits(mount, master) && master)
		none_of(mount, master);
}

void mount_find(const char *path, const char *master, uint32_t timeout_ms, struct mount *mount)
{
	*mount = (struct mount){.state = MC_NOT_FOUND};
	if (path)
		find_at(path, master, timeout_ms, mount);
	else
		find_here(master, timeout_ms, mount);
}

void mount_fini(struct mount *mount)
{
	free(mount->path);
	free(mount->facts);
	free(mount->why);
	*mount = (struct mount){.state = MC_NOT_FOUND};
}

char *mount_fact(const struct mount *mount, const char *name, const char **at)
{
	size_t length = strlen(name);
	const char *line = *at ? *at : mount->facts;

	for (; line && *line; line = *at) {
		size_t size = strcspn(line, "\n");
		*at = line + size + (line[size] == '\n');
		if (size > length && memcmp(line, name, length) == 0 && line[length] == ' ')
			return strndup(line + length + 1, size - length - 1);
	}
	return NULL;
}
