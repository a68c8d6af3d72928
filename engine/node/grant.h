/*
 * engine/node/grant.h -- what may be concluded of a directory's names
 *
 * While the master has granted a directory to this session, a name exists
 * only if this node added it or its hash is in the grant.  See LOOKUP in
 * protocol.h.
 *
 * Threads   Under node->lock.
 */
#ifndef ENGINE_NODE_GRANT_H
#define ENGINE_NODE_GRANT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buffer.h"

struct grant {
	uint32_t session; /* in which it was granted; void in any other */
	uint32_t count;
	uint32_t size;	  /* slots, a power of two */
	uint64_t *hashes; /* open addressing; 0 is an empty slot */
};

/* Read a grant field of a reply: NULL when none was granted (or no memory). */
struct grant *grant_read(struct reader *r, uint32_t session);
void grant_free(struct grant *grant);

bool grant_has(const struct grant *grant, uint64_t hash);
/* False: no memory; the grant must be given up. */
bool grant_add(struct grant *grant, uint64_t hash);

#endif
