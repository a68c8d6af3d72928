/* A journal that keeps nothing: nodes announce what they hold, the rest is gone with the master. */
#include "master/journal.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"

struct memory_journal {
	struct journal base;
	struct journal_counters counters;
};

static struct memory_journal *own(struct journal *journal)
{
	return container_of(journal, struct memory_journal, base);
}

static enum mc_status memory_open(const struct journal_config *config, struct journal **journal)
{
	struct memory_journal *memory = calloc(1, sizeof(*memory));

	if (config->path[0]) {
		free(memory);
		return MC_INVALID;
	}
	if (!memory)
		return MC_NO_MEMORY;
	memory->base.ops = &journal_memory_ops;
	*journal = &memory->base;
	return MC_OK;
}

static void memory_close(struct journal *journal)
{
	if (journal)
		free(own(journal));
}

static enum mc_status memory_load(struct journal *journal, journal_visit *visit, void *context,
				  struct journal_loaded *loaded)
{
	(void)journal;
	(void)visit;
	(void)context;
	*loaded = (struct journal_loaded){.empty = true};
	return MC_OK;
}

static void memory_put(struct journal *journal, enum record_kind kind, const uint8_t *key,
		       size_t key_size, const uint8_t *value, size_t value_size)
{
	(void)kind;
	(void)key;
	(void)key_size;
	(void)value;
	(void)value_size;
	own(journal)->counters.records++;
}

static void memory_remove(struct journal *journal, enum record_kind kind, const uint8_t *key,
			  size_t key_size)
{
	memory_put(journal, kind, key, key_size, NULL, 0);
}

static enum mc_status memory_flush(struct journal *journal)
{
	own(journal)->counters.flushes++;
	return MC_OK;
}

static void memory_tick(struct journal *journal, uint64_t now_ms)
{
	(void)journal;
	(void)now_ms;
}

static bool memory_snapshot_due(const struct journal *journal, uint64_t live_size)
{
	(void)journal;
	(void)live_size;
	return false;
}

static enum mc_status memory_snapshot_begin(struct journal *journal)
{
	(void)journal;
	return MC_OK;
}

static enum mc_status memory_snapshot_put(struct journal *journal, enum record_kind kind,
					  const uint8_t *key, size_t key_size, const uint8_t *value,
					  size_t value_size)
{
	(void)journal;
	(void)kind;
	(void)key;
	(void)key_size;
	(void)value;
	(void)value_size;
	return MC_OK;
}

static enum mc_status memory_snapshot_end(struct journal *journal, bool ok)
{
	own(journal)->counters.compactions += ok;
	return MC_OK;
}

static void memory_counters(const struct journal *journal, struct journal_counters *counters)
{
	*counters = container_of(journal, const struct memory_journal, base)->counters;
}

const struct journal_ops journal_memory_ops = {
	.name = "memory",
	.durable = false,
	.open = memory_open,
	.close = memory_close,
	.load = memory_load,
	.put = memory_put,
	.remove = memory_remove,
	.flush = memory_flush,
	.tick = memory_tick,
	.snapshot_due = memory_snapshot_due,
	.snapshot_begin = memory_snapshot_begin,
	.snapshot_put = memory_snapshot_put,
	.snapshot_end = memory_snapshot_end,
	.counters = memory_counters,
};
