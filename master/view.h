/*
 * master/view.h -- looking at entries as the writer, or as a reader beside it
 *
 * Handlers that may run as both look through these.  For a reader each of them
 * sets call->left where it can't be sure: the entry, or the directory in which a
 * name is missing, is touched, or was while it looked.
 *
 * Threads   The writer, or a reader between grace_enter() and grace_leave().
 */
#ifndef MASTER_VIEW_H
#define MASTER_VIEW_H

#include "master/service.h"

/* The entry of an id, shown or not.  MC_NOT_FOUND: there is none. */
MC_MUST_CHECK enum mc_status view_id(struct call *call, uint64_t id, const struct entry **entry);

/* MC_NOT_FOUND: no such id; MC_NOT_DIRECTORY: it is an object. */
MC_MUST_CHECK enum mc_status view_directory(struct call *call, uint64_t id,
					    struct directory **directory);

/* The entry of a name, shown or not; NULL: there is none. */
const struct entry *view_find(struct call *call, const struct directory *directory,
			      const char *name, size_t name_size);

/*
 * Follow a path from the root to the entry it names, shown or not; the root for "".
 *
 * MC_NAME_TOO_LONG, MC_INVALID   it is no path
 * MC_NOT_DIRECTORY               a component that others follow is an object that is shown
 * MC_NOT_FOUND                   it leads nowhere
 */
MC_MUST_CHECK enum mc_status view_path(struct call *call, const char *path, size_t size,
				       const struct entry **entry);

/* Tell what an entry is.  False: it is not shown. */
bool view_entry(struct call *call, const struct entry *entry, struct mc_entry *out,
		uint64_t *parent_id);

/* Only whether it is shown. */
bool view_shows(struct call *call, const struct entry *entry);

/*
 * A walk over a directory: view_list(), then order_next() on the order, view_listed()
 * at the end.  The names are those of one moment.
 */
struct listed {
	const struct entry *own;
	uint32_t stamp;
	const struct order *order;
};

void view_list(const struct directory *directory, struct listed *listed);
void view_listed(struct call *call, const struct listed *listed);

/* The extended attributes, NULL for none.  MC_NOT_FOUND: the entry is not shown. */
MC_MUST_CHECK enum mc_status view_xattrs(struct call *call, const struct entry *entry,
					 const struct xattrs **xattrs);

/* Write the path of an entry into the reply.  MC_NAME_TOO_LONG. */
MC_MUST_CHECK enum mc_status view_path_of(struct call *call, const struct entry *entry);

#endif
