#include "engine/fabric/rdma/sieve.h"

#include <stddef.h>

#include "engine/base/log.h"

void sieve_insert(struct sieve *sieve, struct sieve_entry *entry)
{
	MUST(!entry->kept);
	*entry = (struct sieve_entry){.older = sieve->newest, .kept = true};
	if (sieve->newest)
		sieve->newest->newer = entry;
	else
		sieve->oldest = entry;
	sieve->newest = entry;
	sieve->count++;
}

void sieve_use(struct sieve_entry *entry)
{
	entry->used = true;
}

void sieve_remove(struct sieve *sieve, struct sieve_entry *entry)
{
	if (!entry->kept)
		return;
	if (sieve->hand == entry)
		sieve->hand = entry->newer;
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		sieve->newest = entry->older;
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		sieve->oldest = entry->newer;
	*entry = (struct sieve_entry){.kept = false};
	sieve->count--;
}

struct sieve_entry *sieve_victim(struct sieve *sieve)
{
	struct sieve_entry *entry = sieve->hand ? sieve->hand : sieve->oldest;

	/* Ends within two rounds: a round takes every bit. */
	while (entry && entry->used) {
		entry->used = false;
		entry = entry->newer ? entry->newer : sieve->oldest;
	}
	sieve->hand = entry;
	return entry;
}
