#include "master/journal.h"
static enum mc_status file_open(const struct journal_config *config, struct journal **journal)
{
	(void)config;
	(void)journal;
	return MC_NOT_SUPPORTED;
}
const struct journal_ops journal_file_ops = {.name = "file", .open = file_open};
