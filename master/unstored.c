#include "master/unstored.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/log.h"
#include "master/journal.h"
#include "master/state.h"

#define SLOT_BITS  16
#define SLOT_COUNT (1u << SLOT_BITS)
#define NOTES_MIN  1024u

/* What a note is about. */
enum about { ABOUT_ENTRY, ABOUT_PLACE };

struct note {
	uint64_t group;
	uint32_t slot;
};

struct unstored {
	struct note *notes; /* in the order of their groups, from `first` on */
	size_t first;
	size_t count; /* with those before `first` */
	size_t capacity;
	uint32_t slots[SLOT_COUNT]; /* atomic; notes of each */
};

struct unstored *unstored_new(void)
{
	return calloc(1, sizeof(struct unstored));
}

void unstored_free(struct unstored *unstored)
{
	if (unstored)
		free(unstored->notes);
	free(unstored);
}

static uint32_t id_slot(enum about about, uint64_t id)
{
	return (uint32_t)(XXH3_64bits_withSeed(&id, sizeof(id), about) >> (64 - SLOT_BITS));
}

static uint32_t name_slot(uint64_t directory, const char *name, size_t size)
{
	return (uint32_t)(XXH3_64bits_withSeed(name, size, directory) >> (64 - SLOT_BITS));
}

static bool noted(const struct unstored *unstored, uint32_t slot)
{
	return __atomic_load_n(&unstored->slots[slot], __ATOMIC_ACQUIRE) > 0;
}

bool unstored_entry(const struct unstored *unstored, uint64_t id)
{
	return unstored && noted(unstored, id_slot(ABOUT_ENTRY, id));
}

bool unstored_place(const struct unstored *unstored, uint64_t id)
{
	return unstored && noted(unstored, id_slot(ABOUT_PLACE, id));
}

bool unstored_name(const struct unstored *unstored, uint64_t directory, const char *name,
		   size_t size)
{
	return unstored && noted(unstored, name_slot(directory, name, size));
}

/* Room for one more. */
static void make_room(struct unstored *unstored)
{
	if (unstored->first > 0 && unstored->first >= unstored->count / 2) {
		unstored->count -= unstored->first;
		memmove(unstored->notes, unstored->notes + unstored->first,
			unstored->count * sizeof(unstored->notes[0]));
		unstored->first = 0;
	}
	if (unstored->count < unstored->capacity)
		return;
	size_t capacity = unstored->capacity ? unstored->capacity * 2 : NOTES_MIN;
	struct note *notes = realloc(unstored->notes, capacity * sizeof(notes[0]));

	MUST(notes != NULL);
	unstored->notes = notes;
	unstored->capacity = capacity;
}

static void note(struct unstored *unstored, uint64_t group, uint32_t slot)
{
	make_room(unstored);
	unstored->notes[unstored->count++] = (struct note){group, slot};
	__atomic_fetch_add(&unstored->slots[slot], 1, __ATOMIC_RELEASE);
}

void unstored_note(struct mc_master *master)
{
	struct unstored *unstored = master->unstored;
	const struct catalog *catalog = &master->catalog;

	if (!unstored)
		return;
	uint64_t group = master->journal->ops->group(master->journal);
	for (size_t i = 0; i < catalog->touched_count; i++) {
		const struct touched *touched = &catalog->touched[i];
		const struct entry *entry = catalog_find(catalog, touched->id);
		const struct left *left = touched->left;
		note(unstored, group, id_slot(ABOUT_ENTRY, touched->id));
		if (entry && entry_placed(entry))
			note(unstored, group, id_slot(ABOUT_PLACE, touched->id));
		if (left)
			note(unstored, group, name_slot(left->parent, left->name, left->name_size));
	}
}

void unstored_release(struct mc_master *master)
{
	struct unstored *unstored = master->unstored;
	const struct journal_ops *ops = master->journal->ops;

	if (!unstored || unstored->first == unstored->count)
		return;
	uint64_t answerable = ops->answerable(master->journal);
	while (unstored->first < unstored->count &&
	       unstored->notes[unstored->first].group <= answerable) {
		uint32_t slot = unstored->notes[unstored->first++].slot;
		__atomic_fetch_sub(&unstored->slots[slot], 1, __ATOMIC_RELEASE);
	}
}

void unstored_clear(struct unstored *unstored)
{
	if (!unstored)
		return;
	unstored->first = unstored->count = 0;
	for (uint32_t i = 0; i < SLOT_COUNT; i++)
		__atomic_store_n(&unstored->slots[i], 0, __ATOMIC_RELAXED);
}
