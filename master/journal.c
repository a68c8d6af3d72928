#include "master/journal.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

const struct journal_ops *const journal_table[] = {
	&journal_file_ops,
	&journal_memory_ops,
	&journal_etcd_ops,
	NULL,
};

static enum mc_status sync_parse(const char *text, enum journal_sync *sync)
{
	static const char *const names[] = {"never", "interval", "always"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*sync = (enum journal_sync)i;
			return MC_OK;
		}
	}
	log_error("not a sync policy, must be never, interval or always sync=%s", text);
	return MC_INVALID;
}

enum mc_status journal_open(const char *text, const char *sync, struct journal_config config,
			    struct journal **journal)
{
	size_t size = strcspn(text, ":");

	config.path = text[size] ? text + size + 1 : "";
	enum mc_status status = sync_parse(sync ? sync : "never", &config.sync);
	if (status != MC_OK)
		return status;
	for (size_t i = 0; journal_table[i]; i++) {
		const char *name = journal_table[i]->name;
		if (strlen(name) == size && memcmp(name, text, size) == 0)
			return journal_table[i]->open(&config, journal);
	}
	log_error("not a journal, must be file:PATH, etcd://HOST:PORT or memory journal=%s", text);
	return MC_INVALID;
}
