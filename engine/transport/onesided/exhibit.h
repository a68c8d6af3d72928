/*
 * engine/transport/onesided/exhibit.h -- an object where others may read it
 *
 * When an object is first asked for, its file is mapped, summed and registered
 * with the engine; the note that says so is the answer then and later.  It stays as
 * long as the object is held for that visitor: until RELEASE and OWNER_KEEP_MS more,
 * at most OWNER_KEPT_MAX of them, so that who asks again, or many who ask at once,
 * cost no registration each.
 *
 * Threads   Only the owner's.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H
#define ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H

#include "engine/transport/owner.h"

/* Three functions of struct owner_config, whose context is a struct mc_engine. */
void exhibit_respond(struct visitor *visitor, const struct pull_request *request,
		     struct held *held);
MC_MUST_CHECK enum mc_status exhibit_send(struct visitor *visitor);
void exhibit_drop(struct held *held);

#endif
