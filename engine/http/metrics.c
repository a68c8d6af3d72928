#include "engine/http/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/utf8.h"
#include "engine/http/http.h"

#define PREFIX "mooncake_"

static void put_text(struct writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

void metrics_begin(struct writer *w, const struct metric *metric)
{
	put_text(w, "# HELP " PREFIX);
	put_text(w, metric->name);
	put_text(w, " ");
	put_text(w, metric->help);
	put_text(w, "\n# TYPE " PREFIX);
	put_text(w, metric->name);
	put_text(w, metric->type == METRIC_COUNTER ? " counter\n" : " gauge\n");
}

static void put_name(struct writer *w, const struct metric *metric, const char *labels)
{
	put_text(w, PREFIX);
	put_text(w, metric->name);
	if (labels && labels[0]) {
		put_text(w, "{");
		put_text(w, labels);
		put_text(w, "}");
	}
}

void metrics_value(struct writer *w, const struct metric *metric, const char *labels,
		   uint64_t value)
{
	char text[32];

	put_name(w, metric, labels);
	snprintf(text, sizeof(text), " %" PRIu64 "\n", value);
	put_text(w, text);
}

void metrics_milli(struct writer *w, const struct metric *metric, const char *labels,
		   uint64_t value)
{
	char text[32];

	put_name(w, metric, labels);
	snprintf(text, sizeof(text), " %" PRIu64 ".%03u\n", value / 1000, (unsigned)(value % 1000));
	put_text(w, text);
}

void metrics_one(struct writer *w, const struct metric *metric, uint64_t value)
{
	metrics_begin(w, metric);
	metrics_value(w, metric, NULL, value);
}

/* One character of a label's value, escaped.  Returns how many bytes of `value` it was. */
static size_t escape(const char *value, char out[8])
{
	size_t length = utf8_size(value, strlen(value));

	if (*value == '\n')
		strcpy(out, "\\n");
	else if (*value == '"' || *value == '\\')
		snprintf(out, 8, "\\%c", *value);
	else if (length == 0)
		strcpy(out, "\xef\xbf\xbd");
	else
		snprintf(out, 8, "%.*s", (int)length, value);
	return length ? length : 1;
}

void metrics_label(char *text, size_t size, const char *name, const char *value)
{
	size_t at = strlen(text);
	char one[8];

	int head = snprintf(text + at, size - at, "%s%s=\"", at ? "," : "", name);
	if (head < 0 || at + (size_t)head + 2 > size) {
		text[at] = '\0';
		return;
	}
	at += (size_t)head;
	while (*value) {
		value += escape(value, one);
		if (at + strlen(one) + 2 > size)
			break;
		strcpy(text + at, one);
		at += strlen(one);
	}
	strcpy(text + at, "\"");
}

static uint64_t resident_bytes(void)
{
	unsigned long total;
	unsigned long resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t descriptor_count(void)
{
	uint64_t count = 0;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count > 3 ? count - 3 : 0; /* ".", ".." and this one */
}

static uint64_t cpu_ms(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000 +
	       ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) / 1000;
}

void metrics_process(struct writer *w)
{
	static const struct metric resident = {"process_resident_bytes", METRIC_GAUGE,
					       "Memory of the process that is in RAM."};
	static const struct metric cpu = {"process_cpu_seconds_total", METRIC_COUNTER,
					  "Processor time of the process."};
	static const struct metric descriptors = {"process_open_descriptors", METRIC_GAUGE,
						  "Open file descriptors of the process."};

	metrics_one(w, &resident, resident_bytes());
	metrics_begin(w, &cpu);
	metrics_milli(w, &cpu, NULL, cpu_ms());
	metrics_one(w, &descriptors, descriptor_count());
}

void metrics_http(struct writer *w, const struct http *http)
{
	static const struct metric requests = {"http_requests_total", METRIC_COUNTER,
					       "HTTP requests answered, by the class of the code."};
	static const struct metric connections = {"http_connections", METRIC_GAUGE,
						  "HTTP connections that stand."};
	static const struct metric cut = {"http_connections_cut_total", METRIC_COUNTER,
					  "HTTP connections ended because they took too long."};
	static const char *const classes[] = {NULL,	      "code=\"1xx\"", "code=\"2xx\"",
					      "code=\"3xx\"", "code=\"4xx\"", "code=\"5xx\""};
	struct http_counters counters;

	http_count(http, &counters);
	metrics_begin(w, &requests);
	for (size_t i = 2; i < ARRAY_SIZE(classes); i++)
		metrics_value(w, &requests, classes[i], counters.requests[i]);
	metrics_one(w, &connections, counters.connections);
	metrics_one(w, &cut, counters.cut);
}
