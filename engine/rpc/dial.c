#include "engine/rpc/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <mooncake/protocol.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"

enum mc_status dial_parse(struct dial *dial, const char *address)
{
	*dial = (struct dial){0};
	if (strncmp(address, "unix:", 5) == 0) {
		if (strlen(address + 5) >= sizeof(dial->unix_name) || !address[5])
			return MC_INVALID;
		strcpy(dial->unix_name, address + 5);
		dial->unix_only = true;
		return MC_OK;
	}
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : strlen(address);
	if (length == 0 || length >= sizeof(dial->host) || strcspn(address, "/ ") < length)
		return MC_INVALID; /* a URL, say, whose scheme no resolver would ever know */
	if (address[0] == '[' && length > 2 && address[length - 1] == ']')
		memcpy(dial->host, address + 1, length - 2);
	else
		memcpy(dial->host, address, length);
	if (colon)
		snprintf(dial->port, sizeof(dial->port), "%s", colon + 1);
	else
		snprintf(dial->port, sizeof(dial->port), "%u", MC_MASTER_PORT);
	char *end;
	unsigned long port = strtoul(dial->port, &end, 10);
	if (*end || end == dial->port || port == 0 || port > 65535)
		return MC_INVALID;
	snprintf(dial->unix_name, sizeof(dial->unix_name), "@mooncake-master-%lu", port);
	return MC_OK;
}

/* Wait for a socket that connects, or until we are woken. */
static bool wait_connected(int fd, int wake_fd, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT}, {.fd = wake_fd, .events = POLLIN}};
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll(fds, 2, timeout_ms) <= 0 || !fds[0].revents)
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

static int connect_unix(const struct dial *dial)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(dial->unix_name);

	memcpy(address.sun_path, dial->unix_name, length);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		return -1;
	if (!net_peer_trusted(fd)) {
		log_warn("another user listens at the master's socket name=%s", dial->unix_name);
		return -1;
	}
	return STEAL_FD(fd);
}

/* The address is one of this host's: then its Unix socket can be tried. */
static bool address_local(const struct sockaddr *address, socklen_t size)
{
	struct sockaddr_storage any;

	memcpy(&any, address, size);
	if (address->sa_family == AF_INET)
		((struct sockaddr_in *)&any)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&any)->sin6_port = 0;
	CLEANUP_FD int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && bind(fd, (struct sockaddr *)&any, size) == 0;
}

static int connect_tcp(const struct addrinfo *info, int wake_fd, int timeout_ms)
{
	CLEANUP_FD int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, info->ai_addr, info->ai_addrlen) < 0 &&
	    (errno != EINPROGRESS || !wait_connected(fd, wake_fd, timeout_ms)))
		return -1;
	net_tune(fd);
	return STEAL_FD(fd);
}

int dial_connect(const struct dial *dial, int wake_fd, int timeout_ms, char *peer, size_t peer_size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	int fd = -1;

	peer[0] = '\0';
	if (dial->unix_only) {
		snprintf(peer, peer_size, "unix:%s", dial->unix_name);
		return connect_unix(dial);
	}
	if (getaddrinfo(dial->host, dial->port, &hints, &list) != 0)
		return -1;
	for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
		fd = address_local(info->ai_addr, info->ai_addrlen) ? connect_unix(dial) : -1;
		if (fd >= 0) {
			snprintf(peer, peer_size, "unix:%s", dial->unix_name);
			break;
		}
		fd = connect_tcp(info, wake_fd, timeout_ms);
		if (fd >= 0)
			snprintf(peer, peer_size, "tcp:%s:%s", dial->host, dial->port);
	}
	freeaddrinfo(list);
	return fd;
}
