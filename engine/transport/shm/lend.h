/*
 * engine/transport/shm/lend.h -- answer a PULL with the file's descriptor
 *
 * What is passed can only be read: a hold that is open for writing too is
 * opened again.
 *
 * Threads   Only the owner's thread.
 */
#ifndef ENGINE_TRANSPORT_SHM_LEND_H
#define ENGINE_TRANSPORT_SHM_LEND_H

#include "engine/transport/owner.h"

/* The two functions of struct owner_config. */
void lend_respond(struct visitor *visitor, const struct pull_request *request, struct held *held);
MC_MUST_CHECK enum mc_status lend_send(struct visitor *visitor);

#endif
