/*
 * engine/fabric/tcp/visitor.h -- one connection, as the one who serves it sees it
 *
 *     GREETING ──HELLO──► SERVING ──error, end──► LEAVING ──no operation left──► freed
 *
 * Threads   Only the warden's.
 */
#ifndef ENGINE_FABRIC_TCP_VISITOR_H
#define ENGINE_FABRIC_TCP_VISITOR_H

#include "engine/fabric/tcp/warden.h"

/* Take a connection over. */
void visitor_new(struct warden *warden, int fd);

/* End the connection; the visitor goes once its operations have. */
void visitor_leave(struct visitor *visitor);

enum visitors_leave { LEAVE_NONE, LEAVE_WITHDRAWN, LEAVE_ALL };

/*
 * Make those leave that use a withdrawn entry, or all, and at any rate those that have
 * not said HELLO in time; free those that have left.
 */
void visitors_look(struct warden *warden, enum visitors_leave which);

#endif
