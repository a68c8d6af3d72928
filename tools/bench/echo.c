#include "tools/bench/echo.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define MESSAGE_SIZE 64

static bool read_message(int fd, char *message)
{
	size_t done = 0;

	while (done < MESSAGE_SIZE) {
		ssize_t n = read(fd, message + done, MESSAGE_SIZE - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static _Noreturn void echo_child(int fd)
{
	char message[MESSAGE_SIZE];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	while (read_message(fd, message)) {
		if (write(fd, message, sizeof(message)) != sizeof(message))
			break;
	}
	_exit(0);
}

/* Take both ends of a connection: one stays here, one goes to the child. */
static enum mc_status echo_fork(struct echo *echo, int near_fd, int far_fd)
{
	pid_t pid = fork();

	if (pid < 0) {
		close(near_fd);
		close(far_fd);
		return MC_AGAIN;
	}
	if (pid == 0) {
		close(near_fd);
		echo_child(far_fd);
	}
	close(far_fd);
	echo->pid = pid;
	echo->fd = near_fd;
	return MC_OK;
}

enum mc_status echo_open_unix(struct echo *echo)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return mc_status_from_errno(errno);
	return echo_fork(echo, fds[0], fds[1]);
}

enum mc_status echo_open_tcp(struct echo *echo)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int one = 1;
	CLEANUP_FD int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEANUP_FD int near_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEANUP_FD int far_fd = -1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || near_fd < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
	    connect(near_fd, (struct sockaddr *)&address, length) != 0)
		return mc_status_from_errno(errno);
	far_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (far_fd < 0 || setsockopt(near_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    setsockopt(far_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		return mc_status_from_errno(errno);
	return echo_fork(echo, STEAL_FD(near_fd), STEAL_FD(far_fd));
}

static enum mc_status round_trip(struct echo *echo)
{
	char message[MESSAGE_SIZE] = {0};

	if (write(echo->fd, message, sizeof(message)) != sizeof(message) ||
	    !read_message(echo->fd, message))
		return MC_UNREACHABLE;
	return MC_OK;
}

enum mc_status echo_measure(struct echo *echo, unsigned count, struct sample *sample)
{
	if (echo->pid == 0)
		return MC_UNREACHABLE;
	for (unsigned i = 0; i < count; i++) {
		uint64_t start_ns = clock_ns();
		enum mc_status status = round_trip(echo);

		if (status)
			return status;
		sample_add(sample, clock_since_us(start_ns));
	}
	return MC_OK;
}

void echo_close(struct echo *echo)
{
	if (echo->pid == 0)
		return;
	/* Children forked later hold the socket too: its end would not reach the echo. */
	kill(echo->pid, SIGKILL);
	close(echo->fd);
	waitpid(echo->pid, NULL, 0);
	echo->pid = 0;
}
