/*
 * engine/base/log.h -- one line for a tired operator
 *
 * error: someone must act.  warn: we went on without.  info: once per process,
 * mount or peer.  debug: proportional to objects.  trace: to requests.
 * A line is lower case, the fact first, then key=value.
 *
 * Threads   Any thread.  A line is written whole.
 */
#ifndef ENGINE_BASE_LOG_H
#define ENGINE_BASE_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_TRACE
};

extern _Atomic(enum log_level) log_level_now;

/* Send lines to path instead of standard error; "syslog" is a path too.  False: not writable. */
bool log_open(const char *path);

/* Set the level by name ("error" … "trace").  False: no such level. */
bool log_set_level(const char *name);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		if ((level) <= log_level_now)                                                      \
			log_line(level, __VA_ARGS__);                                              \
	} while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_LEVEL_TRACE, __VA_ARGS__)

/* Our own promises, always checked; prints the condition and aborts. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			log_die(__FILE__, __LINE__, #condition);                                   \
	} while (0)
_Noreturn void log_die(const char *file, int line, const char *condition);

#endif
