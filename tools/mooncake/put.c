/* mooncake put */
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

struct put {
	struct task task;
	const char *mount;
	const char *source; /* "-": standard input */
	char key[MC_PATH_MAX + MC_NAME_MAX + 2];
};

static const char *source_name(const struct put *put)
{
	return strcmp(put->source, "-") == 0 ? "standard input" : put->source;
}

static int open_source(struct put *put, struct stat *st)
{
	int fd = strcmp(put->source, "-") == 0 ? dup(STDIN_FILENO)
					       : open(put->source, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, st) < 0)
		return fd;
	if (S_ISDIR(st->st_mode)) {
		close(fd);
		errno = EISDIR;
		return -1;
	}
	if (S_ISREG(st->st_mode)) {
		off_t at = lseek(fd, 0, SEEK_CUR); /* standard input may have been read from */
		put->task.total = (uint64_t)(st->st_size > at ? st->st_size - at : 0);
	}
	return fd;
}

/* Make each directory of the key that is missing. */
static bool make_parents(int root, char *key)
{
	for (char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int made = mkdirat(root, key, 0777);
		*slash = '/';
		if (made < 0 && errno != EEXIST)
			return false;
	}
	return true;
}

/* The directory that the key is in, made if it is missing. */
static int open_parent(struct put *put)
{
	char *slash = strrchr(put->key, '/');
	CLEANUP_FD int root = open(put->mount, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0 || !slash)
		return STEAL_FD(root);
	for (int attempt = 0;; attempt++) {
		*slash = '\0';
		int fd = openat(root, put->key, O_PATH | O_DIRECTORY | O_CLOEXEC);
		*slash = '/';
		if (fd >= 0 || errno != ENOENT || attempt > 0)
			return fd;
		if (!make_parents(root, put->key))
			return -1;
	}
}

/* Write the source into a staging file, and give that the key's name. */
static enum mc_status put_through(struct put *put, int source, const struct stat *st, int parent)
{
	const char *name = copy_basename(put->key);
	bool regular = S_ISREG(st->st_mode);
	struct copy_staging staging;

	int fd = copy_stage(&staging, parent, name, regular ? st->st_mode & 0777 : 0666);
	if (fd < 0)
		return copy_failed("can't put", put->key);
	task_step(&put->task, 0);
	struct copy_end from = {source, source_name(put), !regular};
	struct copy_end to = {fd, put->key, false};

	enum mc_status status = copy_bytes(&put->task, &from, &to);
	/* Close tells whether the node has all of it. */
	if (close(fd) < 0 && !status)
		status = copy_failed("can't write", put->key);
	if (!status && task_stopping()) /* it was given up meanwhile */
		status = MC_CANCELLED;
	if (status)
		copy_unstage(&staging);
	else if (!copy_rename(&staging, name))
		status = copy_failed("can't put", put->key);
	return status;
}

static enum mc_status put_work(struct task *task)
{
	struct put *put = container_of(task, struct put, task);
	struct stat st = {0};
	CLEANUP_FD int source = open_source(put, &st);

	if (source < 0)
		return copy_failed("can't read", source_name(put));
	task_step(task, 0);
	CLEANUP_FD int parent = open_parent(put);
	if (parent < 0)
		return copy_failed("can't make the directory of", put->key);
	task_step(task, 0);
	return put_through(put, source, &st, parent);
}

/* Under a staging name nobody but this mount would know it. */
static bool name_is_final(const char *key)
{
	if (!strstr(copy_basename(key), MC_STAGING_MARK))
		return true;
	complain("%s can't be put: a name with " MC_STAGING_MARK
		 " in it is a staging name, which other nodes never see",
		 key);
	return false;
}

/* The key that is meant; one that ends in a slash takes the file's name.  False: it is none. */
static bool take_key(struct put *put, char *operand)
{
	size_t size = strlen(operand);
	bool directory = size > 0 && operand[size - 1] == '/';
	char *key = cluster_key(operand);

	if (!key)
		return false;
	bool piped = strcmp(put->source, "-") == 0;
	if (!key[0] ? piped || !directory : directory && piped) {
		complain("the object needs a name; see mooncake put --help");
		return false;
	}
	if (directory) {
		snprintf(put->key, sizeof(put->key), "%s%s%s", key, key[0] ? "/" : "",
			 copy_basename(put->source));
		if (strlen(put->key) > MC_PATH_MAX) {
			complain("a key has at most %u bytes", MC_PATH_MAX);
			return false;
		}
	} else {
		snprintf(put->key, sizeof(put->key), "%s", key);
	}
	return name_is_final(put->key);
}

static enum exit_code put_do(struct cluster *cluster, struct put *put)
{
	const struct settings *settings = cluster->settings;
	const struct mount *mount = cluster_mount(cluster);

	if (mount->state) {
		complain("put needs a mount: %s", mount->why);
		return EXIT_CODE_UNREACHABLE;
	}
	put->mount = mount->path;
	put->task.work = put_work;
	put->task.timeout_ms = settings->timeout_ms + MOUNT_GRACE_MS;
	put->task.keep_stdin = strcmp(put->source, "-") == 0;
	CLEANUP_FREE char *title = format_name(put->key, strlen(put->key));
	put->task.title = settings->quiet ? NULL : title;
	uint64_t begin = clock_ns();
	enum mc_status status = task_run(&put->task);
	if (put->task.given_up)
		copy_given_up(&put->task, "put", put->key);
	if (!status && settings->json)
		copy_print(put->key, put->task.done, clock_ns() - begin);
	return exit_code_of(status);
}

static enum exit_code put_run(struct cluster *cluster, int count, char **operands)
{
	struct put *put = task_new(sizeof(*put));

	(void)count;
	put->source = copy_is_standard(operands[0], STDIN_FILENO) ? "-" : operands[0];
	enum exit_code code = take_key(put, operands[1]) ? put_do(cluster, put) : EXIT_CODE_USAGE;
	task_free(put);
	return code;
}

static const struct option_row put_rows[] = {
	COMMAND_OPTION(quiet, "quiet", 'q', OPTION_BOOL, .help = "Draw no progress bar."),
	{0},
};

const struct command command_put = {
	.name = "put",
	.operands = "FILE|- KEY",
	.summary = "Put a file, or standard input, under a key.",
	.text = "\nNobody sees the object before all of it is there: it is written under a "
		"staging\n"
		"name and then renamed. An object that has the key is replaced. Directories that\n"
		"are missing are made. A KEY that ends in a slash takes the name of the FILE.\n"
		"A name with " MC_STAGING_MARK " in it is refused: such names are for staging.\n"
		"Needs a mount on this machine.\n",
	.rows = put_rows,
	.operand_min = 2,
	.operand_max = 2,
	.run = put_run,
};
