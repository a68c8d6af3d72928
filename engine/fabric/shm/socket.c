#include "engine/fabric/shm/socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define BACKLOG 4096
#define PREFIX	"mooncake-engine-"

static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* The first byte is NUL: no file. */
	int size =
		snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, PREFIX "%s", name);

	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

enum mc_status shm_socket_listen(char name[NET_NAME_SIZE], int *fd)
{
	CLEANUP_FD int made = new_socket();
	struct sockaddr_un address;

	if (made < 0)
		return mc_status_from_errno(errno);
	net_random_name(name);
	socklen_t size = address_of(name, &address);
	if (bind(made, (struct sockaddr *)&address, size) != 0 || listen(made, BACKLOG) != 0)
		return mc_status_from_errno(errno);
	*fd = STEAL_FD(made);
	return MC_OK;
}

int shm_socket_connect(const char *name)
{
	CLEANUP_FD int made = new_socket();
	struct sockaddr_un address;
	socklen_t size = address_of(name, &address);

	if (made < 0 || connect(made, (struct sockaddr *)&address, size) != 0)
		return -1;
	return STEAL_FD(made);
}

bool shm_socket_trusted(int fd, pid_t *pid)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid())
		return false;
	*pid = peer.pid;
	return true;
}
