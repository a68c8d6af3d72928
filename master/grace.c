#include "master/grace.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#define COLLECT_COUNT 4096u /* given away in one round before the next is tried */

void grace_init(struct grace *grace)
{
	*grace = (struct grace){.round = 1};
}

static void list_free(struct grace_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	list->count = 0;
}

void grace_fini(struct grace *grace)
{
	list_free(&grace->fresh);
	list_free(&grace->waiting);
	free(grace->fresh.items);
	free(grace->waiting.items);
	*grace = (struct grace){0};
}

/* Every reader that is inside came in the present round. */
static bool all_left(const struct grace *grace)
{
	for (unsigned i = 0; i < grace->reader_count; i++) {
		uint64_t round = __atomic_load_n(&grace->marks[i].round, __ATOMIC_SEQ_CST);
		if (round != 0 && round < grace->round)
			return false;
	}
	return true;
}

void grace_collect(struct grace *grace)
{
	if (grace->waiting.count == 0 && grace->fresh.count == 0)
		return;
	/* What was unlinked is unlinked for whoever is not seen here. */
	__sync_synchronize();
	if (grace->waiting.count > 0) {
		if (!all_left(grace))
			return;
		list_free(&grace->waiting);
	}
	if (grace->fresh.count == 0)
		return;
	struct grace_list swap = grace->waiting;
	grace->waiting = grace->fresh;
	grace->fresh = swap;
	__atomic_store_n(&grace->round, grace->round + 1, __ATOMIC_SEQ_CST);
}

static bool list_grow(struct grace_list *list)
{
	size_t capacity = list->capacity ? list->capacity * 2 : 64;
	void **items = realloc(list->items, capacity * sizeof(*items));

	if (!items)
		return false;
	list->items = items;
	list->capacity = capacity;
	return true;
}

void grace_free(struct grace *grace, void *memory)
{
	if (!memory)
		return;
	if (grace->fresh.count >= COLLECT_COUNT)
		grace_collect(grace);
	while (grace->fresh.count == grace->fresh.capacity && !list_grow(&grace->fresh)) {
		/* No memory to remember it in: wait for the readers, they are quick. */
		grace_collect(grace);
		(void)sched_yield();
	}
	grace->fresh.items[grace->fresh.count++] = memory;
}
