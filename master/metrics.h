/*
 * master/metrics.h -- what a master counts, once, for every way to read it
 *
 * A row each: the name in STATS (`mooncake stats --master`), the name in
 * /metrics, the sentence, and where the value is.
 *
 * Threads   The writer.
 */
#ifndef MASTER_METRICS_H
#define MASTER_METRICS_H

#include "engine/base/buffer.h"
#include "master/state.h"

/* Lines "name value", as the verb STATS has them. */
void metrics_write_stats(const struct mc_master *master, struct writer *w);

/* The text that Prometheus reads. */
void metrics_write_prometheus(const struct mc_master *master, struct writer *w);

#endif
