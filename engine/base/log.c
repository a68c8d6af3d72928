#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

_Atomic(enum log_level) log_level_now = LOG_LEVEL_INFO;

static int log_fd = STDERR_FILENO;
static bool log_to_syslog;

static const struct {
	const char *name;
	int syslog_priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", LOG_ERR},	  [LOG_LEVEL_WARN] = {"warn", LOG_WARNING},
	[LOG_LEVEL_INFO] = {"info", LOG_INFO},	  [LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
	[LOG_LEVEL_TRACE] = {"trace", LOG_DEBUG},
};

bool log_open(const char *path)
{
	if (strcmp(path, "syslog") == 0) {
		openlog("mooncake", LOG_PID, LOG_DAEMON);
		log_to_syslog = true;
		return true;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return false;
	log_fd = fd;
	return true;
}

bool log_set_level(const char *name)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			log_level_now = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_line(enum log_level level, const char *format, ...)
{
	int saved = errno;
	char text[1024];
	char line[1200];
	va_list args;
	struct timespec now;
	struct tm tm;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (log_to_syslog) {
		syslog(levels[level].syslog_priority, "%s", text);
		errno = saved;
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	int length = snprintf(
		line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %-5s [%ld] %s\n",
		tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		now.tv_nsec / 1000000, levels[level].name, (long)syscall(SYS_gettid), text);
	if (length > (int)sizeof(line) - 1)
		length = (int)sizeof(line) - 1;
	if (write(log_fd, line, (size_t)length) < 0) {
		/* A log that can't be written must not stop the node. */
	}
	errno = saved;
}

void log_die(const char *file, int line, const char *condition)
{
	log_line(LOG_LEVEL_ERROR, "bug: a promise does not hold condition=\"%s\" at=%s:%d",
		 condition, file, line);
	abort();
}
