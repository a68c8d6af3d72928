/*
 * engine/fabric/shm/socket.h -- where the processes of a host meet
 *
 * Unix sockets of the abstract namespace, SOCK_SEQPACKET, non-blocking, close-on-exec;
 * a name is 128 random bits.
 *
 * Ownership   Descriptors belong to the caller.
 * Threads     Any.
 */
#ifndef ENGINE_FABRIC_SHM_SOCKET_H
#define ENGINE_FABRIC_SHM_SOCKET_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/base/net.h"

/* Listen under a new name. */
MC_MUST_CHECK enum mc_status shm_socket_listen(char name[NET_NAME_SIZE], int *fd);

/* Connect; never waits.  -1: nobody listens there, or does not take connections now. */
int shm_socket_connect(const char *name);

/*
 * Who listens at the other end is this user; and its process, as seen from here.  Root, whom
 * one could trust as well, lends nothing to us.
 */
bool shm_socket_trusted(int fd, pid_t *pid);

#endif
