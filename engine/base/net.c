#include "engine/base/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

#define NET_BACKLOG 1024

static enum mc_status translate(int error)
{
	switch (error) {
	case EADDRINUSE:
		return MC_BUSY;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return MC_INVALID;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case EPIPE:
	case ENOENT:
		return MC_UNREACHABLE;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
		return MC_NO_SPACE;
	default:
		return mc_status_from_errno(error);
	}
}

static enum mc_status parse_abstract(const char *text, struct net_address *address)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&address->storage;
	size_t size = strlen(text + 1);

	if (size == 0 || size > sizeof(un->sun_path) - 1)
		return MC_INVALID;
	memset(&address->storage, 0, sizeof(address->storage));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + 1, text + 1, size);
	address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size);
	return MC_OK;
}

static enum mc_status resolve(const char *host, const char *port, int flags,
			      struct net_address *address)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
	struct addrinfo *list;

	if (*host == '\0' || strcmp(host, "*") == 0)
		host = "0.0.0.0";
	if (getaddrinfo(host, port, &hints, &list) != 0)
		return MC_INVALID;
	MUST(list->ai_addrlen <= sizeof(address->storage));
	memcpy(&address->storage, list->ai_addr, list->ai_addrlen);
	address->size = list->ai_addrlen;
	freeaddrinfo(list);
	return MC_OK;
}

static bool port_valid(const char *port)
{
	char *end;

	if (*port < '0' || *port > '9')
		return false;
	return strtoul(port, &end, 10) <= UINT16_MAX && *end == '\0';
}

static enum mc_status parse(const char *text, int flags, struct net_address *address)
{
	char host[256];

	if (text[0] == '@')
		return parse_abstract(text, address);
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(host) || !port_valid(colon + 1))
		return MC_INVALID;
	size_t size = (size_t)(colon - text);
	if (text[0] == '[') {
		if (size < 2 || text[size - 1] != ']')
			return MC_INVALID;
		text++;
		size -= 2;
	} else if (memchr(text, ':', size)) {
		return MC_INVALID;
	}
	memcpy(host, text, size);
	host[size] = '\0';
	return resolve(host, colon + 1, flags, address);
}

enum mc_status net_parse(const char *text, struct net_address *address)
{
	return parse(text, AI_NUMERICHOST, address);
}

enum mc_status net_resolve(const char *text, struct net_address *address)
{
	return parse(text, 0, address);
}

enum mc_status net_resolve_host(const char *host, uint16_t port, struct net_address *address)
{
	char text[8];

	snprintf(text, sizeof(text), "%u", port);
	return resolve(host, text, 0, address);
}

static void format_host(const struct net_address *address, char host[NET_HOST_SIZE])
{
	int error = getnameinfo((const struct sockaddr *)&address->storage, address->size, host,
				NET_HOST_SIZE, NULL, 0, NI_NUMERICHOST);
	if (error)
		snprintf(host, NET_HOST_SIZE, "?");
}

void net_format(const struct net_address *address, char text[NET_TEXT_SIZE])
{
	char host[NET_HOST_SIZE];

	if (address->storage.ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
		int size = (int)(address->size - offsetof(struct sockaddr_un, sun_path)) - 1;
		snprintf(text, NET_TEXT_SIZE, "@%.*s", size > 0 ? size : 0, un->sun_path + 1);
		return;
	}
	format_host(address, host);
	snprintf(text, NET_TEXT_SIZE, address->storage.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
		 host, net_port(address));
}

uint16_t net_port(const struct net_address *address)
{
	if (address->storage.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
	if (address->storage.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
	return 0;
}

bool net_is_any(const struct net_address *address)
{
	if (address->storage.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr ==
		       htonl(INADDR_ANY);
	if (address->storage.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(
			&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
	return false;
}

void net_tune(int fd)
{
	char name[NET_CONGESTION_SIZE] = "";
	const char *wanted = getenv("MC_TCP_CONGESTION");
	socklen_t size = sizeof(name) - 1;
	int on = 1;

	/* Without these a connection is slower, not wrong. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!wanted) {
		(void)getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size);
		wanted = strncmp(name, "bbr", 3) == 0 ? "cubic" : NULL;
	}
	if (wanted && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, wanted, strlen(wanted)) < 0)
		log_debug("the kernel's congestion control stays wanted=%s error=\"%s\"", wanted,
			  strerror(errno));
}

void net_watch_peer(int fd, unsigned patience_s)
{
	int one = 1, count = 4;
	int each_s = patience_s < 6 ? 1 : (int)(patience_s / 6), idle_s = 2 * each_s;
	unsigned unacknowledged_ms = patience_s * 1000;

	/* A kernel that refuses one notices later. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each_s, sizeof(each_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
			 sizeof(unacknowledged_ms));
}

static void tune(int fd, const struct net_address *address)
{
	if (address->storage.ss_family != AF_UNIX)
		net_tune(fd);
}

static int make_socket(const struct net_address *address)
{
	return socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

enum mc_status net_listen(const struct net_address *address, int *fd)
{
	CLEANUP_FD int made = make_socket(address);
	int on = 1;

	if (made < 0)
		return translate(errno);
	if (address->storage.ss_family != AF_UNIX &&
	    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return translate(errno);
	if (bind(made, (const struct sockaddr *)&address->storage, address->size) < 0)
		return translate(errno);
	if (listen(made, NET_BACKLOG) < 0)
		return translate(errno);
	*fd = STEAL_FD(made);
	return MC_OK;
}

enum mc_status net_listen_range(const char *host, uint16_t first, uint16_t last, int *fd)
{
	struct net_address address;
	uint32_t count = (uint32_t)last - first + 1, start = 0;
	enum mc_status status = MC_BUSY;

	if (last < first || (first == 0 && last != 0))
		return MC_INVALID;
	if (count > 1 && getrandom(&start, sizeof(start), 0) < 0)
		return translate(errno);
	for (uint32_t i = 0; i < count && status == MC_BUSY; i++) {
		uint16_t port = (uint16_t)(first + (start % count + i) % count);
		status = net_resolve_host(host, port, &address);
		if (status == MC_OK)
			status = net_listen(&address, fd);
	}
	return status;
}

enum mc_status net_bound(int fd, struct net_address *address)
{
	address->size = sizeof(address->storage);
	if (getsockname(fd, (struct sockaddr *)&address->storage, &address->size) < 0)
		return translate(errno);
	return MC_OK;
}

enum mc_status net_accept(int listen_fd, int *fd)
{
	struct net_address peer = {.size = sizeof(peer.storage)};
	int made = accept4(listen_fd, (struct sockaddr *)&peer.storage, &peer.size,
			   SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (made < 0)
		return errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED
			       ? MC_AGAIN
			       : translate(errno);
	tune(made, &peer);
	*fd = made;
	return MC_OK;
}

enum mc_status net_connect_start(const struct net_address *address, int *fd)
{
	CLEANUP_FD int made = make_socket(address);

	if (made < 0)
		return translate(errno);
	tune(made, address);
	int error = connect(made, (const struct sockaddr *)&address->storage, address->size);
	/* A Unix listener with a full backlog says EAGAIN: it is not there for us now. */
	if (error < 0 && errno == EAGAIN)
		return MC_UNREACHABLE;
	if (error < 0 && errno != EINPROGRESS)
		return translate(errno);
	*fd = STEAL_FD(made);
	return MC_OK;
}

enum mc_status net_connect_finish(int fd)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	return error == ETIMEDOUT ? MC_UNREACHABLE : translate(error);
}

enum mc_status net_connect(const struct net_address *address, uint32_t timeout_ms, int *fd)
{
	CLEANUP_FD int made = -1;
	int64_t deadline_ms = (int64_t)clock_ms() + timeout_ms;
	enum mc_status status = net_connect_start(address, &made);

	if (status)
		return status;
	for (;;) {
		struct pollfd poll_fd = {.fd = made, .events = POLLOUT};
		int64_t left_ms = deadline_ms - (int64_t)clock_ms();
		int count = poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);
		if (count == 0)
			return MC_TIMEOUT;
		if (count > 0)
			break;
		if (errno != EINTR)
			return translate(errno);
	}
	status = net_connect_finish(made);
	if (status)
		return status;
	if (fcntl(made, F_SETFL, 0) < 0)
		return translate(errno);
	*fd = STEAL_FD(made);
	return MC_OK;
}

bool net_peer_trusted(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

/* A datagram socket that is connected sends nothing, but has been routed. */
static bool route_source(const char *far, char host[NET_HOST_SIZE])
{
	struct net_address address;

	if (net_parse(far, &address))
		return false;
	CLEANUP_FD int fd = socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address.storage, address.size) < 0)
		return false;
	if (net_bound(fd, &address) || net_is_any(&address))
		return false;
	format_host(&address, host);
	return true;
}

void net_announce_host(const char *listen_host, char host[NET_HOST_SIZE])
{
	struct net_address address;
	enum mc_status status = net_resolve_host(listen_host, 0, &address);

	if (!status && !net_is_any(&address)) {
		format_host(&address, host);
		return;
	}
	/* Addresses that documentation may use (RFC 5737, RFC 3849) follow the default route. */
	if (!route_source("192.0.2.1:9", host) && !route_source("[2001:db8::1]:9", host))
		snprintf(host, NET_HOST_SIZE, "127.0.0.1");
	if (status)
		log_warn("no address of the host to announce, another is announced host=%s "
			 "announced=%s",
			 listen_host, host);
}

enum mc_status net_announce(int listen_fd, const char *listen_host, char text[NET_TEXT_SIZE])
{
	struct net_address bound;
	char host[NET_HOST_SIZE];
	enum mc_status status = net_bound(listen_fd, &bound);

	if (status)
		return status;
	net_announce_host(listen_host, host);
	snprintf(text, NET_TEXT_SIZE, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		 net_port(&bound));
	return MC_OK;
}

enum mc_status net_host_id(char id[NET_HOST_SIZE])
{
	char boot[37] = "";
	struct stat netns;
	CLEANUP_FD int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, boot, 36) != 36)
		return MC_NOT_SUPPORTED;
	if (stat("/proc/self/ns/net", &netns) < 0)
		return translate(errno);
	snprintf(id, NET_HOST_SIZE, "%s-%lu", boot, (unsigned long)netns.st_ino);
	return MC_OK;
}

void net_random_name(char name[NET_NAME_SIZE])
{
	uint8_t bytes[16];
	ssize_t size = getrandom(bytes, sizeof(bytes), 0);

	MUST(size == sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(name + 2 * i, 3, "%02x", bytes[i]);
}
