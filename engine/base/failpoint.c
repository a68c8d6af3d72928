#include "engine/base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define ACTION_SIZE 32u

extern const char *const __start_failpoints[];
extern const char *const __stop_failpoints[];

static const char *folder; /* NULL: nothing is armed.  Fixed before main. */

static int compare(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* A step in a function that was inlined stands there more than once. */
_Noreturn static void list(void)
{
	size_t count = (size_t)(__stop_failpoints - __start_failpoints);
	const char **names = calloc(count + 1, sizeof(*names));

	for (size_t i = 0; names && i < count; i++)
		names[i] = __start_failpoints[i];
	if (names)
		qsort(names, count, sizeof(*names), compare);
	for (size_t i = 0; names && i < count; i++) {
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			puts(names[i]);
	}
	exit(names ? EXIT_SUCCESS : EXIT_FAILURE);
}

__attribute__((constructor)) static void begin(void)
{
	folder = getenv("MOONCAKE_FAILPOINTS");
	if (folder && strcmp(folder, "list") == 0)
		list();
}

/* Take the file that arms the step, so that nobody else does.  False: there is none. */
static bool armed(const char *name, char action[ACTION_SIZE])
{
	char path[PATH_MAX], hit[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/%s@%d", folder, name, (int)getpid());
	snprintf(hit, sizeof(hit), "%s.hit", path);
	if (rename(path, hit) != 0)
		return false;
	CLEANUP_FD int fd = open(hit, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, action, ACTION_SIZE - 1);
	action[size < 0 ? 0 : size] = '\0';
	return true;
}

void failpoint_take(const char *name)
{
	char action[ACTION_SIZE];
	unsigned pause_ms;
	int saved = errno;

	if (folder && armed(name, action)) {
		if (sscanf(action, "sleep %u", &pause_ms) == 1)
			usleep(pause_ms * 1000);
		else
			kill(getpid(), strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
	}
	errno = saved;
}
