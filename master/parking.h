/*
 * master/parking.h -- requests that wait for something to happen
 *
 * A request is parked whole, before it has had any effect or after what it did
 * was taken back, and handled from its beginning when what it waits for may have
 * happened.  Those that wait for one thing keep their order.
 *
 * Threads   The writer.
 * Limits    PARKED_SIZE_MAX bytes of a session, for each thing.
 */
#ifndef MASTER_PARKING_H
#define MASTER_PARKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame;
struct mc_master;
struct session;

#define PARKED_SIZE_MAX (32u << 20)

/* What is waited for. */
enum parking_for {
	PARKED_FOR_GRANT, /* that a grant ends (grant.h) */
	PARKED_FOR_NODES, /* that nodes tell what they have (gather.h) */
	PARKING_COUNT,
};

struct parked {
	struct parked *next;
	struct session *session;
	size_t size;
	uint8_t bytes[]; /* the frame, header and all */
};

struct parking {
	struct parked *first;
	struct parked **end;
	bool due; /* some of them may go on */
};

/* Keep a request.  False: too many wait already. */
bool parking_add(struct mc_master *master, enum parking_for what, struct session *session,
		 const struct frame *frame, const uint8_t *body);
/* It has happened, once or more often: parking_resume() takes up those that wait. */
void parking_due(struct mc_master *master, enum parking_for what);
void parking_resume(struct mc_master *master);
/* Forget what waits for a session. */
void parking_forget(struct mc_master *master, const struct session *session);

#endif
