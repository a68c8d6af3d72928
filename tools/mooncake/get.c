/* mooncake get */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/copy.h"
#include "tools/mooncake/format.h"

struct get {
	struct task task;
	const char *mount;
	const char *key;
	char target[4096]; /* "-": standard output */
	/* set when it is opened */
	struct copy_staging staging;
	bool staged;
	bool patient; /* the target is no regular file */
};

static int open_object(struct get *get, struct stat *st)
{
	CLEANUP_FD int root = open(get->mount, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -1;
	CLEANUP_FD int fd = openat(root, get->key, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, st) < 0)
		return -1;
	if (S_ISDIR(st->st_mode)) {
		errno = EISDIR;
		return -1;
	}
	get->task.total = (uint64_t)st->st_size;
	return STEAL_FD(fd);
}

static const char *target_name(const struct get *get)
{
	return strcmp(get->target, "-") == 0 ? "standard output" : get->target;
}

static int open_directory_of(const char *path)
{
	const char *name = copy_basename(path);
	CLEANUP_FREE char *directory = strndup(path, (size_t)(name - path));

	MUST(directory != NULL);
	return open(directory[0] ? directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The file at the end of a link is replaced whole, as any other. */
static void follow_link(struct get *get)
{
	CLEANUP_FREE char *path = realpath(get->target, NULL);
	struct stat st;

	if (path && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
		snprintf(get->target, sizeof(get->target), "%s", path);
}

/* Find what is to be written to. */
static enum mc_status settle_target(struct get *get)
{
	struct stat st;

	if (strcmp(get->target, "-") == 0)
		return MC_OK;
	if (stat(get->target, &st) == 0 && S_ISDIR(st.st_mode)) {
		size_t size = strlen(get->target);
		snprintf(get->target + size, sizeof(get->target) - size, "%s%s",
			 size > 0 && get->target[size - 1] == '/' ? "" : "/",
			 copy_basename(get->key));
	}
	if (lstat(get->target, &st) != 0 || !S_ISLNK(st.st_mode))
		return MC_OK;
	follow_link(get);
	/* What it would create there might be half of it, or where nobody meant it to be. */
	if (stat(get->target, &st) != 0 && errno == ENOENT) {
		complain("can't write %s: it is a link to what is not there", get->target);
		return MC_NOT_FOUND;
	}
	return MC_OK;
}

/* A file is made beside the target and renamed; what is no file is written as it is. */
static int open_target(struct get *get, unsigned mode)
{
	struct stat st;

	if (strcmp(get->target, "-") == 0) {
		get->patient = fstat(STDOUT_FILENO, &st) < 0 || !S_ISREG(st.st_mode);
		return dup(STDOUT_FILENO);
	}
	if (lstat(get->target, &st) == 0 && !S_ISREG(st.st_mode)) {
		get->patient = stat(get->target, &st) < 0 || !S_ISREG(st.st_mode);
		return open(get->target, O_WRONLY | O_TRUNC | O_CLOEXEC);
	}
	int directory = open_directory_of(get->target);
	if (directory < 0)
		return -1;
	int fd = copy_stage(&get->staging, directory, copy_basename(get->target), mode);
	get->staged = fd >= 0;
	snprintf(get->task.undo, sizeof(get->task.undo), "%.*s%s",
		 (int)(copy_basename(get->target) - get->target), get->target, get->staging.name);
	get->task.undo_set = get->staged;
	return fd;
}

static enum mc_status get_bytes_of(struct get *get, int object, int target)
{
	struct copy_end from = {object, get->key, false};
	struct copy_end to = {target, target_name(get), get->patient};

	enum mc_status status = copy_bytes(&get->task, &from, &to);
	if (!status && get->task.done < get->task.total) {
		complain("can't get %s: it ended after %llu of %llu bytes", get->key,
			 (unsigned long long)get->task.done, (unsigned long long)get->task.total);
		status = MC_IO;
	}
	if (close(target) < 0 && !status)
		status = copy_failed("can't write", target_name(get));
	if (!status && task_stopping()) /* it was given up meanwhile */
		status = MC_CANCELLED;
	if (status && get->staged)
		copy_unstage(&get->staging);
	else if (get->staged && !copy_rename(&get->staging, copy_basename(get->target)))
		status = copy_failed("can't write", target_name(get));
	return status;
}

static enum mc_status get_work(struct task *task)
{
	struct get *get = container_of(task, struct get, task);
	struct stat st;
	CLEANUP_FD int object = open_object(get, &st);

	if (object < 0 && errno == ENOTDIR)
		errno = ENOENT; /* under an object, where nothing can be */
	if (object < 0)
		return copy_failed("can't get", get->key);
	task_step(task, 0);
	enum mc_status status = settle_target(get);
	if (status)
		return status;
	int target = open_target(get, st.st_mode & 0777);
	if (target < 0)
		return copy_failed("can't write", target_name(get));
	return get_bytes_of(get, object, target);
}

static bool take_operands(struct get *get, const struct settings *settings, char **operands)
{
	const char *target = copy_is_standard(operands[1], STDOUT_FILENO) ? "-" : operands[1];

	get->key = cluster_key(operands[0]);
	if (!get->key)
		return false;
	if (settings->json && strcmp(target, "-") == 0) {
		complain("standard output can't hold both the object and a document: leave out "
			 "--json or name a file");
		return false;
	}
	/* Room for the name, when it turns out to be a directory. */
	if (strlen(target) + MC_NAME_MAX + 2 > sizeof(get->target)) {
		complain("the path to write to is too long");
		return false;
	}
	strcpy(get->target, target);
	return true;
}

static enum exit_code get_do(struct cluster *cluster, struct get *get)
{
	const struct settings *settings = cluster->settings;
	const struct mount *mount = cluster_mount(cluster);

	if (mount->state) {
		complain("get needs a mount: %s", mount->why);
		return EXIT_CODE_UNREACHABLE;
	}
	get->mount = mount->path;
	get->task.work = get_work;
	get->task.timeout_ms = settings->timeout_ms + MOUNT_GRACE_MS;
	get->task.keep_stdout = strcmp(get->target, "-") == 0;
	CLEANUP_FREE char *title = format_name(get->key, strlen(get->key));
	get->task.title = settings->quiet ? NULL : title;
	uint64_t begin = clock_ns();
	enum mc_status status = task_run(&get->task);
	if (get->task.given_up)
		copy_given_up(&get->task, "get", get->key);
	if (!status && settings->json)
		copy_print(get->key, get->task.done, clock_ns() - begin);
	return exit_code_of(status);
}

static enum exit_code get_run(struct cluster *cluster, int count, char **operands)
{
	struct get *get = task_new(sizeof(*get));

	(void)count;
	enum exit_code code = take_operands(get, cluster->settings, operands) ? get_do(cluster, get)
									      : EXIT_CODE_USAGE;
	task_free(get);
	return code;
}

static const struct option_row get_rows[] = {
	COMMAND_OPTION(quiet, "quiet", 'q', OPTION_BOOL, .help = "Draw no progress bar."),
	{0},
};

const struct command command_get = {
	.name = "get",
	.operands = "KEY FILE|-",
	.summary = "Get an object into a file, or to standard output.",
	.text = "\nThe file appears, or is replaced, when all of the object is there; after a "
		"failure\n"
		"it is as it was. A FILE that is a directory gets a file of the object's name. A "
		"link\n"
		"is followed; one to what is not there is refused.\n"
		"Needs a mount on this machine.\n",
	.rows = get_rows,
	.operand_min = 2,
	.operand_max = 2,
	.run = get_run,
};
