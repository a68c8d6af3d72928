/*
 * engine/fabric/vault.h -- regions that peers reach by a key of 64 random bits
 *
 * What stands between a request that came over a socket and this process's
 * memory: no key, no access; and never beyond the bounds that the key stands for,
 * nor against the rights that it was given.
 *
 * Ownership   The vault owns its entries; the memory is the registrant's.
 * Threads     Any thread; lookups share a lock, changes exclude.
 * Errors      MC_ACCESS whatever does not fit: it is not told what.
 * Limits      VAULT_MAX entries.
 */
#ifndef ENGINE_FABRIC_VAULT_H
#define ENGINE_FABRIC_VAULT_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/fabric/fabric.h"

#define VAULT_MAX 65536u

struct vault_entry {
	/* fixed */
	uint64_t key; /* never 0 */
	uint8_t *memory;
	uint64_t length;
	uint32_t access;
	/* atomic */
	atomic_uint users;     /* who may be touching the memory now */
	atomic_bool withdrawn; /* stop touching it */
};

struct vault {
	/* protected by lock */
	pthread_rwlock_t lock;
	struct vault_entry **entries; /* sorted by key */
	size_t count, capacity;
};

MC_MUST_CHECK enum mc_status vault_init(struct vault *vault);
/* All entries are gone by then. */
void vault_fini(struct vault *vault);

/*
 * Draw a key for this memory; or take the one that another fabric has drawn for it, since a
 * buffer of a descriptor has one (0: none has).  MC_NO_MEMORY; MC_EXISTS: it is taken.
 */
MC_MUST_CHECK enum mc_status vault_add(struct vault *vault, const struct fabric_region *region,
				       uint64_t key, struct vault_entry **entry);

/* Take it out of the table and mark it withdrawn: nobody new uses it. */
void vault_withdraw(struct vault *vault, struct vault_entry *entry);

/* Free one that was withdrawn and has no users. */
void vault_entry_free(struct vault_entry *entry);

/* Find what the key opens, if all of the range and the access are in it; counted as a user. */
MC_MUST_CHECK enum mc_status vault_use(struct vault *vault, uint64_t key, uint64_t address,
				       uint64_t length, uint32_t access,
				       struct vault_entry **entry);
void vault_done(struct vault_entry *entry);

#endif
