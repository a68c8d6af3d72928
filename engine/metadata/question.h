/*
 * engine/metadata/question.h -- a question to a peer's handshake, under way
 *
 *     CONNECTING ──► ASKING ──► HEARING ──► the answer
 *
 * Whoever has one, or many, waits with poll() for what each says it waits for, and
 * then lets it go on.  handshake_ask() is this and the waiting.
 *
 * Ownership   The caller's until question_close().
 * Threads     One at a time.
 * Errors      MC_AGAIN it waits; MC_UNREACHABLE nobody is there, or the connection
 *             broke; MC_NOT_FOUND it was ended without an answer; MC_PROTOCOL what
 *             came is none.  The caller looks at the clock.
 */
#ifndef ENGINE_METADATA_QUESTION_H
#define ENGINE_METADATA_QUESTION_H

#include <poll.h>
#include <stdbool.h>

#include "engine/base/net.h"
#include "engine/metadata/handshake.h"

struct question;

/* Begin to connect.  The text is copied.  MC_TOO_BIG: it is no text of a frame. */
MC_MUST_CHECK enum mc_status question_open(const struct net_address *address,
					   enum handshake_type type, const char *request,
					   struct question **question);
/* Takes NULL. */
void question_close(struct question *question);

/* What it waits for. */
struct pollfd question_waits(const struct question *question);

/* Go on as far as that can be without waiting.  The answer is terminated, and the caller's. */
MC_MUST_CHECK enum mc_status question_go_on(struct question *question, char **reply);

/* All of it is out: the peer may have acted on it. */
bool question_is_out(const struct question *question);

#endif
