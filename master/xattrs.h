/*
 * master/xattrs.h -- the user's extended attributes of one entry
 *
 * One block of memory: count x {name string, value string} as on the wire.
 * Few objects have any, so a change makes a new block; the one before stays as it
 * is, for readers that may be looking at it.
 *
 * Ownership   The block belongs to its entry.  The one that was replaced is the
 *             caller's, for grace_free().
 * Threads     One at a time.
 */
#ifndef MASTER_XATTRS_H
#define MASTER_XATTRS_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer;

struct xattrs {
	uint32_t size; /* of the bytes */
	uint16_t count;
	uint8_t bytes[];
};

/*
 * Set an attribute; flags as setxattr(2).  *xattrs is replaced; NULL: none yet.
 *
 * MC_EXISTS, MC_NO_DATA   as the flags demand
 * MC_NO_SPACE             more than MC_XATTR_TOTAL_MAX
 */
MC_MUST_CHECK enum mc_status xattrs_set(struct xattrs **xattrs, const char *name, size_t name_size,
					const void *value, size_t value_size, uint32_t flags);

/* Remove an attribute; *xattrs becomes NULL with the last.  MC_NO_DATA: there is none. */
MC_MUST_CHECK enum mc_status xattrs_remove(struct xattrs **xattrs, const char *name,
					   size_t name_size);

/* Write count u16 and the pairs.  NULL: none. */
void xattrs_put(const struct xattrs *xattrs, struct writer *w);

struct reader;
/* Read what xattrs_put() wrote.  *xattrs is NULL for none.  MC_PROTOCOL: it is not that. */
MC_MUST_CHECK enum mc_status xattrs_get(struct reader *r, struct xattrs **xattrs);

#endif
