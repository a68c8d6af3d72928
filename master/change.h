/*
 * master/change.h -- steps that several changing verbs share
 *
 * Threads   The writer.
 */
#ifndef MASTER_CHANGE_H
#define MASTER_CHANGE_H

#include "master/state.h"

/* A name appeared in or left the directory: its times are now. */
void change_stamp(struct mc_master *master, struct directory *directory);

/*
 * A name is free for this session: consumes or breaks its reservation.
 * MC_EXISTS: `exclusive`, and another session has it reserved.
 */
MC_MUST_CHECK enum mc_status change_reserved(struct mc_master *master, struct session *session,
					     const struct directory *directory, const char *name,
					     size_t name_size, bool exclusive);

/* MC_NAME_TOO_LONG: a path of this name would be too long for a key. */
MC_MUST_CHECK enum mc_status change_path_fits(const struct directory *directory, size_t name_size);

/* A name goes or comes to mean something else: nodes drop the object, the others hear. */
void change_lost(struct mc_master *master, const struct session *session,
		 const struct entry *entry);

/* Remove an empty directory, or an object, for good. */
void change_remove(struct mc_master *master, const struct session *session, struct entry *entry);

/* Make a directory whose name is free. */
MC_MUST_CHECK enum mc_status change_mkdir(struct mc_master *master, const struct session *session,
					  struct directory *parent, const char *name,
					  size_t name_size, const struct mc_attr *attr,
					  struct entry **entry);

#endif
