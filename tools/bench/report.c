#include "tools/bench/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum bar_kind {
	RATIO_AT_MOST,
	RATIO_AT_LEAST,
	VALUE_AT_MOST,
};

/* What a row has to show, with one thread.  A size of 0 fits every size. */
static const struct bar {
	const char *bench;
	const char *op;
	uint64_t size;
	const char *reference;
	enum bar_kind kind;
	double limit;
	const char *unit;     /* NULL: any */
	const char *protocol; /* NULL: any */
} bars[] = {
	{"local", "get_mmap", 1 * MIB, "dev_shm", RATIO_AT_MOST, 0.95},
	{"local", "get_mmap", 4 * MIB, "dev_shm", RATIO_AT_MOST, 0.4},
	{"local", "get_read", 1 * MIB, "dev_shm", RATIO_AT_MOST, 0.9},
	{"local", "get_read", 4 * MIB, "dev_shm", RATIO_AT_MOST, 0.8},
	{"local", "put", 1 * MIB, "dev_shm", RATIO_AT_MOST, 1.0},
	{"local", "put", 4 * MIB, "dev_shm", RATIO_AT_MOST, 1.0},
	{"local", "get_read", 4 * KIB, "dev_shm", RATIO_AT_MOST, 10},
	{"local", "stat", 0, "dev_shm", RATIO_AT_MOST, 1.5},
	{"local", "stat_missing", 0, "rtt", RATIO_AT_MOST, 1.5},
	{"local", "put", 1 * MIB, "passthrough_off", RATIO_AT_MOST, 0.5},
	{"local", "get_read", 4 * MIB, "passthrough_off", RATIO_AT_MOST, 0.5},
	{"local", "get_mmap", 4 * MIB, "passthrough_off", RATIO_AT_MOST, 0.5},
	{"remote", "get_read", 4 * MIB, "iperf3", RATIO_AT_LEAST, 0.6},
	{"remote", "get_mmap", 4 * MIB, "iperf3", RATIO_AT_LEAST, 0.6},
	{"remote", "get_read", 4 * MIB, "local", RATIO_AT_MOST, 1.0},
	{"remote", "get_mmap", 4 * MIB, "local", RATIO_AT_MOST, 1.0},
	{"peer", "put", 1 * MIB, "mooncake", RATIO_AT_MOST, 1.0 / 10},
	{"peer", "get_mmap", 1 * MIB, "mooncake", RATIO_AT_MOST, 1.0 / 3},
	{"peer", "get_read", 4 * MIB, "mooncake", RATIO_AT_MOST, 1.0 / 2},
	{"peer", "get_mmap", 4 * MIB, "mooncake", RATIO_AT_MOST, 1.0 / 2},
	{"memory", "node", 0, "budget", RATIO_AT_MOST, 1.0},
	{"memory", "master", 0, "budget", RATIO_AT_MOST, 1.0},
	{"master", "lookup_core", 0, "bar", RATIO_AT_LEAST, 1.0},
	{"master", "lookup_64", 0, "mooncake", RATIO_AT_LEAST, 10},
	{"master", "exists_batch", 0, "mooncake", RATIO_AT_LEAST, 2},
	{"master", "publish_batch", 0, "mooncake", RATIO_AT_LEAST, 5},
	{"master", "lookup_alone", 0, NULL, RATIO_AT_MOST, 1.3},
	{"master", "lookup_alone_apart", 0, NULL, RATIO_AT_MOST, 1.3},
	{"master", "lookup_alone_free", 0, NULL, RATIO_AT_MOST, 1.3},
	{"master", "memory", 0, "bar", RATIO_AT_MOST, 1.0},
	{"flat", "stat", 0, "dir_100", RATIO_AT_MOST, 1.2},
	{"engine", "read", 4 * MIB, "iperf3", RATIO_AT_LEAST, 0.8, NULL, "tcp"},
	{"engine", "read", 4 * MIB, "mooncake", RATIO_AT_LEAST, 1.2},
	{"engine", "read", 4 * KIB, "mooncake", RATIO_AT_LEAST, 8},
	{"engine", "read_p50", 8, "rtt", RATIO_AT_MOST, 1.3, NULL, "tcp"},
	{"engine", "read_p50_apart", 8, "rtt", RATIO_AT_MOST, 1.3, NULL, "tcp"},
	{"engine", "read_p50_free", 8, "rtt", RATIO_AT_MOST, 1.3, NULL, "tcp"},
	{"engine", "read", 1 * MIB, "ib_read_bw", RATIO_AT_LEAST, 0.9},
	{"engine", "read_p50", 8, "ib_read_lat", RATIO_AT_MOST, 1.5},
	{"engine", "idle", 0, NULL, VALUE_AT_MOST, 1},
	{"journal", "publish", 0, "etcd", RATIO_AT_LEAST, 0.7},
	{"journal", "start", 0, "etcd", RATIO_AT_MOST, 1.5},
	{"journal", "takeover", 0, "lease", VALUE_AT_MOST, 6, "s"},
	{"counters", "put", 0, NULL, VALUE_AT_MOST, 1, "rpcs"},
	{"counters", "put_excl", 0, NULL, VALUE_AT_MOST, 2, "rpcs"},
	{"counters", "get_read", 0, NULL, VALUE_AT_MOST, 0},
	{"counters", "get_mmap", 0, NULL, VALUE_AT_MOST, 0},
};

static const char *const bar_signs[] = {
	[RATIO_AT_MOST] = "<=",
	[RATIO_AT_LEAST] = ">=",
	[VALUE_AT_MOST] = "<= (value)",
};

double row_ratio(const struct row *row)
{
	if (!row->reference || !(row->reference_value > 0))
		return NAN;
	return row->value / row->reference_value;
}

static bool text_fits(const char *wanted, const char *text)
{
	return !wanted || (text && strcmp(wanted, text) == 0);
}

static const struct bar *bar_find(const struct row *row)
{
	if (row->threads != 1)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(bars); i++) {
		const struct bar *bar = &bars[i];

		if (text_fits(bar->bench, row->bench) && text_fits(bar->op, row->op) &&
		    (bar->size == 0 || bar->size == row->size) &&
		    text_fits(bar->reference, row->reference) && text_fits(bar->unit, row->unit) &&
		    text_fits(bar->protocol, row->protocol))
			return bar;
	}
	return NULL;
}

static bool bar_met(const struct bar *bar, const struct row *row)
{
	switch (bar->kind) {
	case RATIO_AT_MOST:
		return row_ratio(row) <= bar->limit;
	case RATIO_AT_LEAST:
		return row_ratio(row) >= bar->limit;
	case VALUE_AT_MOST:
		return row->value <= bar->limit;
	}
	return false;
}

/* Write size as 4K, 1M, … into text, which has room for 16 bytes; return text. */
static const char *size_text(uint64_t size, char *text)
{
	if (size >= MIB && size % MIB == 0)
		snprintf(text, 16, "%uM", (unsigned)(size / MIB));
	else if (size >= KIB && size % KIB == 0)
		snprintf(text, 16, "%uK", (unsigned)(size / KIB));
	else
		snprintf(text, 16, "%u", (unsigned)size);
	return text;
}

/* A number with three or four digits that matter, or null. */
static void number_text(double value, const char *absent, char *text, size_t room)
{
	if (isnan(value))
		snprintf(text, room, "%s", absent);
	else if (fabs(value) >= 1000)
		snprintf(text, room, "%.0f", value);
	else if (fabs(value) >= 100)
		snprintf(text, room, "%.1f", value);
	else if (fabs(value) >= 1)
		snprintf(text, room, "%.2f", value);
	else
		snprintf(text, room, "%.3f", value);
}

static void print_json(FILE *out, const struct row *row)
{
	char value[32], reference_value[32], ratio[32];
	const char *quote = row->reference ? "\"" : "";

	number_text(row->value, "null", value, sizeof(value));
	number_text(row->reference ? row->reference_value : NAN, "null", reference_value,
		    sizeof(reference_value));
	number_text(row_ratio(row), "null", ratio, sizeof(ratio));
	fprintf(out,
		"{\"bench\":\"%s\",\"op\":\"%s\",\"size\":%llu,\"threads\":%u,\"value\":%s,"
		"\"unit\":\"%s\",\"reference\":%s%s%s,\"reference_value\":%s,\"ratio\":%s}\n",
		row->bench, row->op, (unsigned long long)row->size, row->threads, value, row->unit,
		quote, row->reference ? row->reference : "null", quote, reference_value, ratio);
}

static void print_table(struct report *report, const struct row *row, const struct bar *bar)
{
	char size[16], value[32], reference_value[32], ratio[32], verdict[48] = "";

	if (!report->header_printed)
		fprintf(report->out, "%-9s %-16s %6s %3s %11s %-6s %-16s %11s %7s  %s\n", "bench",
			"op", "size", "thr", "value", "unit", "reference", "value", "ratio", "bar");
	report->header_printed = true;
	number_text(row->value, "-", value, sizeof(value));
	number_text(row->reference ? row->reference_value : NAN, "-", reference_value,
		    sizeof(reference_value));
	number_text(row_ratio(row), "-", ratio, sizeof(ratio));
	if (bar)
		snprintf(verdict, sizeof(verdict), "  %s %.3g %s", bar_signs[bar->kind], bar->limit,
			 bar_met(bar, row) ? "ok" : "MISS");
	fprintf(report->out, "%-9s %-16s %6s %3u %11s %-6s %-16s %11s %7s%s\n", row->bench, row->op,
		row->size ? size_text(row->size, size) : "-", row->threads, value, row->unit,
		row->reference ? row->reference : "-", reference_value, ratio, verdict);
}

void report_row(struct report *report, const struct row *row)
{
	const struct bar *bar = bar_find(row);
	struct row *rows = realloc(report->rows, (report->row_count + 1) * sizeof(*rows));

	MUST(rows != NULL);
	report->rows = rows;
	report->rows[report->row_count++] = *row;
	if (bar && !bar_met(bar, row))
		report->missed_count++;
	if (report->json)
		print_json(report->out, row);
	else
		print_table(report, row, bar);
	(void)fflush(report->out);
}

void report_note(struct report *report, const char *format, ...)
{
	FILE *out = report->json ? stderr : report->out;
	va_list args;

	va_start(args, format);
	fprintf(out, "# ");
	vfprintf(out, format, args);
	fputc('\n', out);
	va_end(args);
	(void)fflush(out);
}

void report_close(struct report *report)
{
	if (report->missed_count)
		report_note(report, "%u bar%s missed", report->missed_count,
			    report->missed_count == 1 ? "" : "s");
}

void report_fini(struct report *report)
{
	free(report->rows);
	report->rows = NULL;
	report->row_count = 0;
}
