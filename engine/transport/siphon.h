/*
 * engine/transport/siphon.h -- from a socket into a file, through a pipe
 *
 * What recv(2) puts into a fresh map of a file costs two passes over memory:
 * the page is cleared when it is first touched, then filled.  splice(2) hands
 * the socket's own buffers to the file, which fills its new pages from them:
 * one copy, and nothing is cleared.
 *
 * Ownership   The pipe is empty between two calls.
 * Threads     One at a time.
 * Errors      MC_NOT_SUPPORTED where there is no pipe, or no splice from this
 *             kind of socket: nothing was taken, recv(2) serves instead.
 */
#ifndef ENGINE_TRANSPORT_SIPHON_H
#define ENGINE_TRANSPORT_SIPHON_H

#include <mooncake/status.h>
#include <stdint.h>

struct siphon {
	int ends[2]; /* -1: there is none */
};

/* Without a pipe it is one that always answers MC_NOT_SUPPORTED. */
void siphon_init(struct siphon *siphon);
void siphon_fini(struct siphon *siphon);

/*
 * Move what the socket has, at most size bytes, to this offset of the file.
 * *taken bytes have left the socket, also when the file refused them.
 *
 * MC_AGAIN         the socket has nothing now
 * MC_UNREACHABLE   the peer has closed the connection, or it broke
 * else             what the file said; the bytes are lost
 */
MC_MUST_CHECK enum mc_status siphon_move(struct siphon *siphon, int socket, int file,
					 uint64_t offset, uint32_t size, uint32_t *taken);

#endif
