#include "engine/base/mountinfo.h"

#include <stdlib.h>
#include <string.h>

/* Undo the \ooo that the kernel writes for blanks and backslashes, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* id, parent, major:minor, root, path, options, any number of others, "-", type, source, ... */
bool mountinfo_parse(struct mountinfo *mount, char *line)
{
	int path = 0, end = 0;
	char *type = strstr(line, " - ");

	if (!type || sscanf(line, "%*d %*d %u:%u %*s %n%*s%n", &mount->major, &mount->minor, &path,
			    &end) != 2)
		return false;
	if (end == 0 || line + end > type)
		return false;
	mount->path = line + path;
	line[end] = '\0';
	unescape(mount->path);
	char *rest = type + 3;
	mount->type = strsep(&rest, " \n");
	mount->source = rest ? strsep(&rest, " \n") : mount->type + strlen(mount->type);
	unescape(mount->source);
	return true;
}

void mountinfo_open(struct mountinfo *mount)
{
	*mount = (struct mountinfo){.in = fopen("/proc/self/mountinfo", "re")};
}

bool mountinfo_next(struct mountinfo *mount)
{
	while (mount->in && getline(&mount->line, &mount->room, mount->in) > 0) {
		if (mountinfo_parse(mount, mount->line))
			return true;
	}
	return false;
}

void mountinfo_close(struct mountinfo *mount)
{
	free(mount->line);
	if (mount->in)
		fclose(mount->in);
	*mount = (struct mountinfo){0};
}
