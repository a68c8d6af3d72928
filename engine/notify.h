/*
 * engine/notify.h -- how an engine takes notifications
 *
 * Over a listener of its own (handshake.h), or that of P2PHANDSHAKE, into its mailbox;
 * its descriptor says where.  How it sends them: herald.h.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_NOTIFY_H
#define ENGINE_NOTIFY_H

#include <mooncake/engine.h>

struct segment_desc;

/* Listen, if the configuration asks for it.  MC_BUSY: no port of the range is free. */
MC_MUST_CHECK enum mc_status notify_listen(struct mc_engine *engine,
					   const struct mc_engine_config *config);

/* Add where it listens to the descriptor. */
MC_MUST_CHECK enum mc_status notify_describe(struct mc_engine *engine, struct segment_desc *desc);

/* Answer one that came (notice.h); the context is the mailbox. */
MC_MUST_CHECK enum mc_status notify_answer(void *mailbox, const char *request, char **reply);

/* Take one of our own.  MC_NO_SPACE: the mailbox is full. */
MC_MUST_CHECK enum mc_status notify_here(struct mc_engine *engine, const char *said);

#endif
