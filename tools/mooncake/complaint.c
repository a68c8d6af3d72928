#include "tools/mooncake/complaint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "tools/mooncake/format.h"

static char *kept;
static size_t kept_size;

void complain_into(char *text, size_t size)
{
	kept = text;
	kept_size = size;
}

void complain(const char *format, ...)
{
	char text[8192];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Names of keys are a part of it: one line, and nothing for the terminal to obey. */
	CLEANUP_FREE char *line = format_name(text, strlen(text));
	if (kept) {
		snprintf(kept, kept_size, "%s", line);
		return;
	}
	fflush(stdout);
	fprintf(stderr, "mooncake: %s\n", line);
}

enum exit_code exit_code_of(enum mc_status status)
{
	if (status == MC_OK)
		return EXIT_CODE_OK;
	if (status == MC_NOT_FOUND)
		return EXIT_CODE_MISSING;
	if (status == MC_INVALID)
		return EXIT_CODE_USAGE;
	if (status == MC_UNREACHABLE || status == MC_TIMEOUT || status == MC_CANCELLED)
		return EXIT_CODE_UNREACHABLE;
	return EXIT_CODE_FAILED;
}

enum exit_code exit_code_graver(enum exit_code a, enum exit_code b)
{
	static const int gravity[] = {
		[EXIT_CODE_OK] = 0,	[EXIT_CODE_USAGE] = 1,	     [EXIT_CODE_MISSING] = 2,
		[EXIT_CODE_FAILED] = 3, [EXIT_CODE_UNREACHABLE] = 4,
	};

	return gravity[a] >= gravity[b] ? a : b;
}
