#include "tools/mooncake/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/log.h"

const char *format_size(uint64_t bytes, char text[FORMAT_SIZE])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	unsigned unit = 0;

	/* From 1023.95 on, one decimal would read 1024.0. */
	while (value >= (unit ? 1023.95 : 1024) && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(text, FORMAT_SIZE, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

const char *format_time(struct mc_time time, bool exact, char text[FORMAT_SIZE])
{
	time_t seconds = (time_t)time.s;
	struct tm tm;
	size_t size = 0;

	if (gmtime_r(&seconds, &tm))
		size = strftime(text, FORMAT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	if (size == 0) /* a year beyond what struct tm holds */
		snprintf(text, FORMAT_SIZE, "@%" PRId64, time.s);
	else if (exact)
		snprintf(text + size, FORMAT_SIZE - size, ".%09" PRIu32 "Z", time.ns);
	else
		snprintf(text + size, FORMAT_SIZE - size, "Z");
	return text;
}

const char *format_mode(uint32_t mode, char text[FORMAT_SIZE])
{
	static const char letters[] = "rwxrwxrwx";

	text[0] = '-';
	if (S_ISDIR(mode))
		text[0] = 'd';
	for (int i = 0; i < 9; i++)
		text[i + 1] = '-';
	for (int i = 0; i < 9; i++) {
		if (mode & (0400u >> i))
			text[i + 1] = letters[i];
	}
	if (mode & S_ISUID)
		text[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = mode & S_IXOTH ? 't' : 'T';
	text[10] = '\0';
	return text;
}

const char *format_duration(uint64_t seconds, char text[FORMAT_SIZE])
{
	if (seconds < 60)
		snprintf(text, FORMAT_SIZE, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		snprintf(text, FORMAT_SIZE, "%" PRIu64 " min %02" PRIu64 " s", seconds / 60,
			 seconds % 60);
	else
		snprintf(text, FORMAT_SIZE, "%" PRIu64 " h %02" PRIu64 " min", seconds / 3600,
			 seconds / 60 % 60);
	return text;
}

const char *format_share(uint64_t part, uint64_t whole, char text[FORMAT_SIZE])
{
	if (whole == 0)
		return "-";
	snprintf(text, FORMAT_SIZE, "%.0f %%", 100.0 * (double)part / (double)whole);
	return text;
}

char *format_name(const char *name, size_t size)
{
	static const char letters[] = "abtnvfr"; /* of 7 to 13 */
	char *text = malloc(size * 4 + 1);
	char *at = text;

	MUST(text != NULL);
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)name[i];
		if (byte >= 7 && byte <= 13)
			at += sprintf(at, "\\%c", letters[byte - 7]);
		else if (byte < 32 || byte == 127)
			at += sprintf(at, "\\x%02x", byte);
		else
			*at++ = name[i];
	}
	*at = '\0';
	return text;
}

char *format_endpoints(const char *const *endpoints, size_t count, const char *between)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	MUST(out != NULL);
	for (size_t i = 0; i < count; i++) {
		bool shm = strncmp(endpoints[i], "shm:", 4) == 0;
		size_t length = strlen(endpoints[i]);
		char *shown = format_name(endpoints[i], shm ? 3 : length);
		fprintf(out, "%s%s", i ? between : "", shown);
		free(shown);
	}
	fclose(out);
	return text;
}

const char *format_id(uint64_t id, char text[FORMAT_SIZE])
{
	snprintf(text, FORMAT_SIZE, "%" PRIx64, id);
	return text;
}
