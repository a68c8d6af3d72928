/*
 * engine/http/token.h -- the word that lets an operator change things
 *
 * Threads  Any thread.
 * Errors   MC_NOT_FOUND there is no such file; MC_ACCESS others may read or
 *          write it, or it belongs to another user; MC_INVALID what is in it
 *          is no token.
 * Limits   TOKEN_SIZE_MIN to TOKEN_SIZE_MAX visible ASCII characters.
 */
#ifndef ENGINE_HTTP_TOKEN_H
#define ENGINE_HTTP_TOKEN_H

#include <mooncake/status.h>
#include <stdbool.h>

#define TOKEN_SIZE_MIN 16u
#define TOKEN_SIZE_MAX 512u

struct token {
	char text[TOKEN_SIZE_MAX + 1]; /* "": none, nothing fits */
};

/* Read the first line of a file that only its owner, root or us, may touch; an error is logged. */
MC_MUST_CHECK enum mc_status token_read(const char *path, struct token *token);

/* True for "Bearer TOKEN".  Takes the same time however much of it is right. */
bool token_fits(const struct token *token, const char *authorization);

#endif
