#include "master/reservation.h"

#include <stdlib.h>
#include <string.h>

#include <mooncake/protocol.h>

#include "engine/base/log.h"
#include "master/session.h"

struct reservation_key {
	uint64_t parent;
	const char *name;
	size_t name_size;
};

static uint64_t key_hash(const struct table *table, uint64_t parent, const char *name, size_t size)
{
	return table_mix(mc_name_hash(name, size) ^ table_mix(parent) ^ table->seed);
}

static uint64_t reservation_hash(const struct table *table, const void *item)
{
	const struct reservation *reservation = item;

	return key_hash(table, reservation->parent, reservation->name, reservation->name_size);
}

static bool reservation_equal(const void *item, const void *key)
{
	const struct reservation *reservation = item;
	const struct reservation_key *wanted = key;

	return reservation->parent == wanted->parent &&
	       reservation->name_size == wanted->name_size &&
	       memcmp(reservation->name, wanted->name, wanted->name_size) == 0;
}

enum mc_status reservations_init(struct reservations *reservations)
{
	return table_init(&reservations->table, reservation_hash, 0, NULL) ? MC_OK : MC_NO_MEMORY;
}

void reservations_fini(struct reservations *reservations)
{
	MUST(reservations->table.count == 0);
	table_fini(&reservations->table);
}

struct reservation *reservations_find(const struct reservations *reservations, uint64_t parent,
				      const char *name, size_t name_size)
{
	const struct table *table = &reservations->table;
	struct reservation_key key = {parent, name, name_size};

	if (table->count == 0)
		return NULL;
	return table_find(table, key_hash(table, parent, name, name_size), reservation_equal, &key);
}

enum mc_status reservations_add(struct reservations *reservations, struct session *session,
				uint64_t parent, uint64_t id, const char *name, size_t name_size)
{
	struct table *table = &reservations->table;
	struct reservation *held = reservations_find(reservations, parent, name, name_size);

	if (held)
		return held->session == session && held->id == id ? MC_OK : MC_EXISTS;
	struct reservation *added = malloc(sizeof(*added) + name_size);
	if (!added)
		return MC_NO_MEMORY;
	*added = (struct reservation){.session = session,
				      .next = session->reservations,
				      .parent = parent,
				      .id = id,
				      .name_size = (uint8_t)name_size};
	memcpy(added->name, name, name_size);
	if (!table_insert(table, reservation_hash(table, added), added)) {
		free(added);
		return MC_NO_MEMORY;
	}
	if (added->next)
		added->next->previous = added;
	session->reservations = added;
	return MC_OK;
}

void reservations_end(struct reservations *reservations, struct reservation *reservation)
{
	struct table *table = &reservations->table;

	if (!reservation)
		return;
	table_remove(table, reservation_hash(table, reservation), reservation);
	if (reservation->next)
		reservation->next->previous = reservation->previous;
	if (reservation->previous)
		reservation->previous->next = reservation->next;
	else
		reservation->session->reservations = reservation->next;
	free(reservation);
}
