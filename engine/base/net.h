/*
 * engine/base/net.h -- addresses, and sockets that listen or connect
 *
 * An address is written "HOST:PORT" ("[::1]:80" for IPv6), or "@NAME" for a
 * Unix socket in the abstract namespace.  Every socket made here is
 * non-blocking unless noted, close-on-exec, and TCP ones are tuned (net_tune()).
 *
 * Ownership   Descriptors belong to the caller.
 * Threads     Any thread.
 * Errors      errno is translated here and nowhere above: MC_INVALID not an
 *             address, MC_BUSY the address is in use, MC_UNREACHABLE nobody
 *             answers there, MC_TIMEOUT, MC_NO_SPACE no descriptors left.
 */
#ifndef ENGINE_BASE_NET_H
#define ENGINE_BASE_NET_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_TEXT_SIZE 112u /* an address as text, terminator included */
#define NET_HOST_SIZE 64u  /* a numeric host, or a host id, as text */
#define NET_NAME_SIZE 33u  /* a random name */

#define NET_CONGESTION_SIZE 17u /* the name of a congestion control, terminator included */

struct net_address {
	struct sockaddr_storage storage;
	socklen_t size;
};

/* Read an address whose host is numeric ("" and "*": any); never waits. */
MC_MUST_CHECK enum mc_status net_parse(const char *text, struct net_address *address);

/* The same, and a host name is looked up; may wait for the resolver. */
MC_MUST_CHECK enum mc_status net_resolve(const char *text, struct net_address *address);

/* Put a host, numeric or a name, and a port together; may wait for the resolver. */
MC_MUST_CHECK enum mc_status net_resolve_host(const char *host, uint16_t port,
					      struct net_address *address);

/* Write it as net_parse() reads it. */
void net_format(const struct net_address *address, char text[NET_TEXT_SIZE]);

/* The port; 0 for a Unix socket. */
uint16_t net_port(const struct net_address *address);

/* The host is 0.0.0.0 or ::. */
bool net_is_any(const struct net_address *address);

/* Listen; port 0 binds any free one: net_bound() tells which. */
MC_MUST_CHECK enum mc_status net_listen(const struct net_address *address, int *fd);

/* Listen on a random free port of first..last; both 0: any free port. */
MC_MUST_CHECK enum mc_status net_listen_range(const char *host, uint16_t first, uint16_t last,
					      int *fd);

/* The address a socket is bound to. */
MC_MUST_CHECK enum mc_status net_bound(int fd, struct net_address *address);

/* Accept one connection.  MC_AGAIN: none waits.  MC_NO_SPACE: out of descriptors. */
MC_MUST_CHECK enum mc_status net_accept(int listen_fd, int *fd);

/* Start to connect; when the socket is writable net_connect_finish() says how it went. */
MC_MUST_CHECK enum mc_status net_connect_start(const struct net_address *address, int *fd);
MC_MUST_CHECK enum mc_status net_connect_finish(int fd);

/* Connect and wait for it.  The socket is blocking.  MC_TIMEOUT after timeout_ms. */
MC_MUST_CHECK enum mc_status net_connect(const struct net_address *address, uint32_t timeout_ms,
					 int *fd);

/*
 * What suits a TCP socket made elsewhere: no delay, and where the machine's
 * congestion control is BBR, cubic, since BBR lets next to nothing through for
 * 200 ms of every ten seconds to measure the path.  MC_TCP_CONGESTION in the
 * environment names another.
 */
void net_tune(int fd);

/*
 * Have the kernel end a TCP connection when the other machine has been gone for so long (no
 * power, no cable), whether anything is sent or not.  Without it one on which nothing is sent
 * stands for ever, and with it whatever is kept for the other side.
 */
#define NET_PATIENCE_S 30u
void net_watch_peer(int fd, unsigned patience_s);

/* The process at the other end of a Unix socket runs as root or as this user. */
bool net_peer_trusted(int fd);

/* The host that peers can use to reach a listener on `listen_host`: itself, or
 * for "any" the source address of the default route, or loopback; so too, with
 * a warning, where it has no address. */
void net_announce_host(const char *listen_host, char host[NET_HOST_SIZE]);

/* The same with the listener's port, as net_parse() reads it. */
MC_MUST_CHECK enum mc_status net_announce(int listen_fd, const char *listen_host,
					  char text[NET_TEXT_SIZE]);

/* Equal for processes that can reach each other's abstract sockets: the boot
 * and the network namespace. */
MC_MUST_CHECK enum mc_status net_host_id(char id[NET_HOST_SIZE]);

/* 128 random bits in hexadecimal. */
void net_random_name(char name[NET_NAME_SIZE]);

#endif
