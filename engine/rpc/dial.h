/*
 * engine/rpc/dial.h -- connect to an address of a master
 *
 * An address is "HOST:PORT", "[HOST]:PORT", "HOST" (port MC_MASTER_PORT), or
 * "unix:NAME" with a path or an abstract "@NAME".  Where a host's address is one
 * of this machine's, the master's Unix socket, @mooncake-master-PORT, is tried
 * first: a round trip over it costs two thirds of one over TCP.
 *
 * Threads   One at a time.
 */
#ifndef ENGINE_RPC_DIAL_H
#define ENGINE_RPC_DIAL_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>

struct dial {
	char host[256];
	char port[64];
	char unix_name[108]; /* "@NAME" or a path */
	bool unix_only;
};

/* MC_INVALID: the address makes no sense. */
MC_MUST_CHECK enum mc_status dial_parse(struct dial *dial, const char *address);

/*
 * Connect; the socket does not block, and is the caller's.  -1: nobody answers
 * within timeout_ms, or wake_fd became readable.  peer says what was tried last,
 * "tcp:HOST:PORT" or "unix:NAME"; "" when it came to nothing.
 */
int dial_connect(const struct dial *dial, int wake_fd, int timeout_ms, char *peer,
		 size_t peer_size);

#endif
