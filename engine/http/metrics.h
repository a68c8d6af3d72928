/*
 * engine/http/metrics.h -- numbers in the text format of Prometheus
 *
 * A metric is a row: its name, without the prefix "mooncake_", its type, and a
 * sentence.  metrics_begin() writes the row's HELP and TYPE, and a line for each
 * value follows at once, with labels where it has several.  The format is that
 * of Prometheus, text 0.0.4.
 */
#ifndef ENGINE_HTTP_METRICS_H
#define ENGINE_HTTP_METRICS_H

#include <stdint.h>

#include "engine/base/buffer.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_type {
	METRIC_COUNTER, /* only grows, until the process ends; named *_total */
	METRIC_GAUGE,
};

struct metric {
	const char *name;
	enum metric_type type;
	const char *help;
};

void metrics_begin(struct writer *w, const struct metric *metric);

/* A value; labels as metrics_label() wrote them, or NULL. */
void metrics_value(struct writer *w, const struct metric *metric, const char *labels,
		   uint64_t value);

/* As metrics_value(), of thousandths. */
void metrics_milli(struct writer *w, const struct metric *metric, const char *labels,
		   uint64_t value);

/* A metric with one value. */
void metrics_one(struct writer *w, const struct metric *metric, uint64_t value);

/*
 * Append name="value" to the labels in text, escaped.  What does not fit into
 * size bytes is cut at a character.
 */
void metrics_label(char *text, size_t size, const char *name, const char *value);

/* Of this process: memory, processor time, descriptors, its age. */
void metrics_process(struct writer *w);

struct http;

/* Of the server that serves them. */
void metrics_http(struct writer *w, const struct http *http);

#endif
