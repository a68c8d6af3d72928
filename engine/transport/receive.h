/*
 * engine/transport/receive.h -- read what comes over a link
 *
 * Threads   Only the puller's thread.
 */
#ifndef ENGINE_TRANSPORT_RECEIVE_H
#define ENGINE_TRANSPORT_RECEIVE_H

#include "engine/transport/link.h"

/*
 * Read what has arrived, and act on it.  MC_OK: more may come.
 *
 * MC_UNREACHABLE   the peer has closed the connection, or it broke
 * MC_PROTOCOL      the peer broke the protocol
 */
MC_MUST_CHECK enum mc_status receive(struct link *link);

#endif
