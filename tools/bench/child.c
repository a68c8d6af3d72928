#include "tools/bench/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define LOG_TAIL_SIZE 2048
#define POLL_MS	      5

static _Noreturn void child_main(const char *log, char *const *argv, int in_fd, int out_fd)
{
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	(void)signal(SIGPIPE, SIG_DFL);
	if (in_fd < 0)
		in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (out_fd < 0)
		out_fd = log_fd;
	if (log_fd < 0 || in_fd < 0 || dup2(in_fd, STDIN_FILENO) < 0 ||
	    dup2(out_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		_exit(126);
	execvp(argv[0], argv);
	fprintf(stderr, "cannot start %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

enum mc_status child_start_piped(struct child *child, const char *name, const char *log,
				 char *const *argv, int in_fd, int out_fd)
{
	snprintf(child->name, sizeof(child->name), "%s", name);
	snprintf(child->log, sizeof(child->log), "%s", log);
	pid_t pid = fork();
	if (pid < 0)
		return mc_status_from_errno(errno);
	if (pid == 0)
		child_main(log, argv, in_fd, out_fd);
	child->pid = pid;
	return MC_OK;
}

enum mc_status child_start(struct child *child, const char *name, const char *log,
			   char *const *argv)
{
	return child_start_piped(child, name, log, argv, -1, -1);
}

bool child_wait(struct child *child)
{
	int wait_status = 0;

	if (child->pid == 0 || waitpid(child->pid, &wait_status, 0) < 0)
		return false;
	child->pid = 0;
	return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

bool program_present(const char *name)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	while (path && *path) {
		size_t length = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)length, path, name);
		if (access(file, X_OK) == 0)
			return true;
		path += length + (path[length] == ':');
	}
	return false;
}

bool child_running(struct child *child)
{
	int wait_status;

	if (child->pid == 0)
		return false;
	if (waitpid(child->pid, &wait_status, WNOHANG) == 0)
		return true;
	child->pid = 0;
	log_error("child ended by itself name=%s status=0x%x", child->name, wait_status);
	return false;
}

void child_show_log(const struct child *child)
{
	char tail[LOG_TAIL_SIZE + 1];
	CLEANUP_FD int fd = open(child->log, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	off_t end = lseek(fd, 0, SEEK_END);
	off_t start = end > LOG_TAIL_SIZE ? end - LOG_TAIL_SIZE : 0;
	ssize_t n = pread(fd, tail, LOG_TAIL_SIZE, start);
	if (n <= 0)
		return;
	tail[n] = '\0';
	fprintf(stderr, "--- the end of the log of %s:\n%s---\n", child->name, tail);
}

bool child_stop(struct child *child, int timeout_ms)
{
	int wait_status = 0;

	if (child->pid == 0)
		return false;
	kill(child->pid, SIGTERM);
	for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms += POLL_MS) {
		if (waitpid(child->pid, &wait_status, WNOHANG) != 0) {
			child->pid = 0;
			child->wait_status = wait_status;
			return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
		}
		usleep(POLL_MS * 1000);
	}
	log_warn("child did not end in time name=%s timeout_ms=%d", child->name, timeout_ms);
	kill(child->pid, SIGKILL);
	waitpid(child->pid, &child->wait_status, 0);
	child->pid = 0;
	return false;
}
