/*
 * tools/bench/plot.c -- the ratios of a run as a picture, by gnuplot
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/log.h"
#include "tools/bench/child.h"
#include "tools/bench/run.h"

#define SERIES_COUNT_MAX 64

/* The rows that make one line of the picture share all but their size. */
static bool same_series(const struct row *a, const struct row *b)
{
	return a->threads == b->threads && strcmp(a->bench, b->bench) == 0 &&
	       strcmp(a->op, b->op) == 0 && strcmp(a->reference, b->reference) == 0;
}

static bool drawable(const struct row *row)
{
	return row->size > 0 && row->threads == 1 && row->reference && row_ratio(row) > 0;
}

static size_t series_find(const struct report *report, const struct row **series)
{
	size_t count = 0;

	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &report->rows[i];
		size_t s = 0;

		if (!drawable(row) ||
		    (strcmp(row->bench, "local") != 0 && strcmp(row->bench, "remote") != 0))
			continue;
		while (s < count && !same_series(series[s], row))
			s++;
		if (s == count && count < SERIES_COUNT_MAX)
			series[count++] = row;
	}
	return count;
}

static void series_write(FILE *out, const struct report *report, const struct row *first)
{
	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &report->rows[i];

		if (drawable(row) && same_series(first, row))
			fprintf(out, "%llu %g\n", (unsigned long long)row->size, row_ratio(row));
	}
	fprintf(out, "e\n");
}

static void plot_head(FILE *out, const char *file)
{
	fprintf(out, "set terminal svg size 960,600 dynamic background rgb 'white'\nset output '");
	for (; *file; file++)
		fprintf(out, *file == '\'' ? "''" : "%c", *file);
	fprintf(out, "'\nset title 'Mooncake FS beside its references, one thread'\n"
		     "set logscale x 2\nset logscale y\nset grid\nset key outside right\n"
		     "set xlabel 'object size'\nset ylabel 'value / reference'\n"
		     "set format x '%%.0b %%BB'\n"
		     "set style data linespoints\n");
}

enum mc_status plot_write(const struct report *report, const char *file)
{
	const struct row *series[SERIES_COUNT_MAX];
	size_t count = series_find(report, series);

	if (!program_present("gnuplot")) {
		log_warn("no picture: gnuplot is not installed");
		return MC_OK;
	}
	if (count == 0) {
		log_warn("no picture: nothing with a size and a reference was measured");
		return MC_OK;
	}
	FILE *out = popen("gnuplot", "we");
	if (!out)
		return mc_status_from_errno(errno);
	plot_head(out, file);
	fprintf(out, "plot 1 with lines dashtype 2 linecolor 'gray' notitle");
	for (size_t i = 0; i < count; i++)
		fprintf(out, ", '-' title '%s %s / %s' noenhanced", series[i]->bench, series[i]->op,
			series[i]->reference);
	fprintf(out, "\n");
	for (size_t i = 0; i < count; i++)
		series_write(out, report, series[i]);
	if (pclose(out) != 0) {
		log_error("gnuplot failed file=%s", file);
		return MC_IO;
	}
	return MC_OK;
}
