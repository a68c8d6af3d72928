#include "engine/environment.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/log.h"

uint32_t environment_number(const char *name, uint32_t otherwise, uint32_t min, uint32_t max)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text == '\0')
		return otherwise;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*end != '\0' || *text == '-') {
		log_warn("an environment variable is no number name=%s value=\"%s\" used=%u", name,
			 text, otherwise);
		return otherwise;
	}
	uint32_t nearest = errno || value > max ? max : (uint32_t)value;
	nearest = nearest < min ? min : nearest;
	if (errno || value != nearest)
		log_warn("an environment variable is out of range name=%s value=\"%s\" used=%u",
			 name, text, nearest);
	return nearest;
}

bool environment_has(const char *name)
{
	return getenv(name) != NULL;
}
