/*
 * engine/notice.h -- a notification as it crosses the wire
 *
 * The text of a handshake's frame of type HANDSHAKE_NOTIFY, as Mooncake's:
 *
 *   said      {"name":NAME,"notify_msg":TEXT}
 *   answered  {"name":"","notify_msg":"success"}   it was taken
 *             {"name":"","notify_msg":"full"}      it was not: there is no room
 *
 * Valid is an object with both members, texts within MC_NOTIFY_NAME_MAX and
 * MC_NOTIFY_TEXT_MAX bytes; other members are ignored.  What is not valid has no
 * answer: the connection ends.  Bytes are what they were, UTF-8 or not, but for zero.
 *
 * Ownership   Texts that come out belong to the caller (free()).
 * Threads     Any.
 */
#ifndef ENGINE_NOTICE_H
#define ENGINE_NOTICE_H

#include <mooncake/engine.h>

/* MC_TOO_BIG: a text is longer than may be. */
MC_MUST_CHECK enum mc_status notice_print(const char *name, const char *text, char **json);

/* MC_PROTOCOL: it is none. */
MC_MUST_CHECK enum mc_status notice_parse(const char *json, char **name, char **text);

/* MC_OK and MC_NO_SPACE are the two that can be said. */
MC_MUST_CHECK enum mc_status notice_answer_print(enum mc_status said, char **json);
/* What the answer says; MC_PROTOCOL: it is none. */
MC_MUST_CHECK enum mc_status notice_answer_parse(const char *json);

#endif
