/*
 * tools/mooncake/format.h -- numbers, times and names as people read them
 *
 * Ownership   Text goes into the caller's buffer; format_name() allocates.
 * Threads     Any thread.
 */
#ifndef TOOLS_MOONCAKE_FORMAT_H
#define TOOLS_MOONCAKE_FORMAT_H

#include <mooncake/types.h>

#define FORMAT_SIZE 48u /* bytes of the longest text, terminator included */

/* "17 B", "12.1 KiB", "4.0 GiB". */
const char *format_size(uint64_t bytes, char text[FORMAT_SIZE]);

/* ISO 8601 in UTC, "2026-03-01T12:00:00Z"; exact: with nanoseconds. */
const char *format_time(struct mc_time time, bool exact, char text[FORMAT_SIZE]);

/* "drwxr-xr-x". */
const char *format_mode(uint32_t mode, char text[FORMAT_SIZE]);

/* "12 s", "3 min 20 s", "2 h 05 min". */
const char *format_duration(uint64_t seconds, char text[FORMAT_SIZE]);

/* "42 %"; "-" of nothing. */
const char *format_share(uint64_t part, uint64_t whole, char text[FORMAT_SIZE]);

/*
 * A name with its control bytes as \n, \t or \x1b, so that a line stays a line
 * and a terminal stays sane.  The caller frees; never NULL.
 */
char *format_name(const char *name, size_t size);

/*
 * Endpoints as people read them, joined by `between`: "tcp:HOST:PORT" as it is,
 * of "shm:NAME" only the kind, since nobody types its name.  The caller frees.
 */
char *format_endpoints(const char *const *endpoints, size_t count, const char *between);

/* Return an object's id as user.mooncake.id writes it. */
const char *format_id(uint64_t id, char text[FORMAT_SIZE]);

#endif
