/*
 * master/reservation.h -- names that belong to a draft of one session
 *
 * Threads   The writer.
 */
#ifndef MASTER_RESERVATION_H
#define MASTER_RESERVATION_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#include "master/table.h"

struct session;

struct reservation {
	struct session *session;
	struct reservation *next; /* of its session */
	struct reservation *previous;
	uint64_t parent;
	uint64_t id; /* of the draft */
	uint8_t name_size;
	char name[];
};

struct reservations {
	struct table table;
};

MC_MUST_CHECK enum mc_status reservations_init(struct reservations *reservations);
void reservations_fini(struct reservations *reservations);

/* NULL: the name is not reserved. */
struct reservation *reservations_find(const struct reservations *reservations, uint64_t parent,
				      const char *name, size_t name_size);
/* MC_EXISTS: it is reserved for another draft. */
MC_MUST_CHECK enum mc_status reservations_add(struct reservations *reservations,
					      struct session *session, uint64_t parent, uint64_t id,
					      const char *name, size_t name_size);
/* Takes NULL. */
void reservations_end(struct reservations *reservations, struct reservation *reservation);

#endif
