/* memory://NAME: tables of this process, for tests and for engines of one process. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/metadata/store.h"
#include "engine/metadata/texts.h"

struct table {
	struct table *next;
	char *name;
	struct texts *texts;
	unsigned users;
};

struct memory {
	struct metadata base;
	struct table *table;
};

static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;
static struct table *tables; /* protected by tables_lock, like what each has but texts */

static struct table *table_new(const char *name)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->name = strdup(name);
	if (!table->name || texts_new(&table->texts) != MC_OK) {
		free(table->name);
		free(table);
		return NULL;
	}
	table->next = tables;
	tables = table;
	return table;
}

static struct table *table_take(const char *name)
{
	WITH_LOCK(&tables_lock);
	struct table *table = tables;

	while (table && strcmp(table->name, name) != 0)
		table = table->next;
	if (!table)
		table = table_new(name);
	if (table)
		table->users++;
	return table;
}

static void table_leave(struct table *table)
{
	struct table **at = &tables;

	WITH_LOCK(&tables_lock);
	if (--table->users > 0)
		return;
	while (*at != table)
		at = &(*at)->next;
	*at = table->next;
	texts_free(table->texts);
	free(table->name);
	free(table);
}

static struct texts *texts_of(struct metadata *metadata)
{
	return container_of(metadata, struct memory, base)->table->texts;
}

static enum mc_status memory_open(const struct metadata_config *config, struct metadata **metadata)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return MC_NO_MEMORY;
	memory->base.ops = &metadata_memory_ops;
	memory->table = table_take(config->url + strlen("memory://"));
	if (!memory->table) {
		free(memory);
		return MC_NO_MEMORY;
	}
	*metadata = &memory->base;
	return MC_OK;
}

static void memory_close(struct metadata *metadata)
{
	struct memory *memory = container_of(metadata, struct memory, base);

	table_leave(memory->table);
	free(memory);
}

static enum mc_status memory_get(struct metadata *metadata, const char *key, char **text)
{
	size_t size;

	return texts_get(texts_of(metadata), key, text, &size);
}

static enum mc_status memory_put(struct metadata *metadata, const char *key, const char *text)
{
	return texts_put(texts_of(metadata), key, text, strlen(text));
}

static enum mc_status memory_remove(struct metadata *metadata, const char *key)
{
	return texts_remove(texts_of(metadata), key);
}

const struct metadata_ops metadata_memory_ops = {
	.open = memory_open,
	.close = memory_close,
	.get = memory_get,
	.put = memory_put,
	.remove = memory_remove,
};
