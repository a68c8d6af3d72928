#include "tools/mooncake/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tools/mooncake/format.h"

#define BAR_WIDTH      24
#define LINE_SIZE      256
#define RATE_WINDOW_NS 1000000000u
#define WIDTH_DEFAULT  80

static bool terminal_can(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

static int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return WIDTH_DEFAULT;
}

void progress_begin(struct progress *progress, const char *title)
{
	uint64_t now = clock_ns();

	*progress = (struct progress){
		.title = title && terminal_can() ? title : NULL,
		.begin_ns = now,
		.mark_ns = now,
	};
}

/* The rate of the last second or so, smoothed: what is left follows from it. */
static void measure(struct progress *progress, uint64_t done)
{
	uint64_t now = clock_ns();
	uint64_t passed = now - progress->mark_ns;

	if (passed < RATE_WINDOW_NS && progress->rate > 0)
		return;
	double latest = (double)(done - progress->mark_done) * 1e9 / (double)passed;
	progress->rate = progress->rate > 0 ? (progress->rate + latest) / 2 : latest;
	progress->mark_ns = now;
	progress->mark_done = done;
}

static void bar(double share, char *text)
{
	int filled = (int)(share * BAR_WIDTH);

	*text++ = '[';
	for (int i = 0; i < BAR_WIDTH; i++)
		*text++ = i < filled ? '#' : '.';
	*text++ = ']';
	*text = '\0';
}

static const char *amount(const struct progress *progress, uint64_t value, char text[FORMAT_SIZE])
{
	if (!progress->unit)
		return format_size(value, text);
	snprintf(text, FORMAT_SIZE, "%" PRIu64 " %s", value, progress->unit);
	return text;
}

/* "[###...]  43 %  1.2 GiB of 2.8 GiB  1.1 GiB/s  2 s left" */
static int facts(const struct progress *progress, uint64_t done, uint64_t total,
		 char text[LINE_SIZE])
{
	char moved[FORMAT_SIZE], whole[FORMAT_SIZE], rate[FORMAT_SIZE], left[FORMAT_SIZE];
	char drawing[BAR_WIDTH + 3];

	amount(progress, done, moved);
	amount(progress, (uint64_t)progress->rate, rate);
	if (total == UINT64_MAX || total == 0)
		return snprintf(text, LINE_SIZE, "%s  %s/s", moved, rate);
	double share = done < total ? (double)done / (double)total : 1;
	bar(share, drawing);
	if (progress->rate < 1)
		return snprintf(text, LINE_SIZE, "%s %3.0f %%  %s of %s  stalled", drawing,
				share * 100, moved, amount(progress, total, whole));
	uint64_t rest = done < total ? total - done : 0;
	format_duration((uint64_t)((double)rest / progress->rate + 0.5), left);
	return snprintf(text, LINE_SIZE, "%s %3.0f %%  %s of %s  %s/s  %s left", drawing,
			share * 100, moved, amount(progress, total, whole), rate, left);
}

void progress_draw(struct progress *progress, uint64_t done, uint64_t total)
{
	char text[LINE_SIZE];

	if (!progress->title || clock_ns() - progress->begin_ns < PROGRESS_AFTER_MS * 1000000ull)
		return;
	measure(progress, done);
	int width = terminal_width() - 1;
	int room = width - facts(progress, done, total, text) - 2;
	int title = (int)strlen(progress->title);
	const char *shown = progress->title;
	if (title > room) { /* its end tells more than its beginning */
		shown += title - (room > 0 ? room : 0);
		title = room > 0 ? room : 0;
		for (; ((unsigned char)*shown & 0xc0) == 0x80; shown++)
			title--; /* not from the middle of a character */
	}
	fprintf(stderr, "\r\033[K%.*s%s%.*s", title, shown, title ? "  " : "", width, text);
	fflush(stderr);
	progress->drawn = true;
}

void progress_end(struct progress *progress)
{
	if (!progress->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->drawn = false;
}
