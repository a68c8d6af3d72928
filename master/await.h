/*
 * master/await.h -- writers that wait until there are enough replicas
 *
 * Threads   The master's.
 */
#ifndef MASTER_AWAIT_H
#define MASTER_AWAIT_H

#include <mooncake/status.h>
#include <stdint.h>

struct entry;
struct mc_master;
struct session;

/* Answer those for whom the object now has enough. */
void await_check(struct mc_master *master, const struct entry *entry);

/* No more copies of the object will come: answer those who wait for it. */
void await_fail(struct mc_master *master, uint64_t id, enum mc_status status);

/* The session ends; session NULL: all do. */
void await_forget(struct mc_master *master, const struct session *session);

#endif
