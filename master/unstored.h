/*
 * master/unstored.h -- changes that the journal's store does not have yet
 *
 * Where answers to changes wait for the store (--journal-ack sync), nobody is shown
 * a change before it is there: it could be lost with this leader, and who had seen it
 * would see the state before again.  What was changed is noted before readers can see
 * it, until its group is answerable.  A reader that meets a note leaves its request to
 * the writer, whose answer is held (held.h).
 *
 * Notes are counters that keys share: one that is met may be of something else, and an
 * answer waits in vain then.
 *
 * Threads   unstored_entry, unstored_place, unstored_name: any.  The rest: the writer.
 */
#ifndef MASTER_UNSTORED_H
#define MASTER_UNSTORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mc_master;
struct unstored;

/* NULL: no memory. */
struct unstored *unstored_new(void);
void unstored_free(struct unstored *unstored);

/* Note all that was touched, in the present group, before it is settled. */
void unstored_note(struct mc_master *master);
/* Forget what is stored now. */
void unstored_release(struct mc_master *master);
/* Forget all: another leads. */
void unstored_clear(struct unstored *unstored);

/* The entry was changed, or is gone; of a directory, names in it came or went as well. */
bool unstored_entry(const struct unstored *unstored, uint64_t id);
/* The entry got its place or its id. */
bool unstored_place(const struct unstored *unstored, uint64_t id);
/* What had this name is gone from there. */
bool unstored_name(const struct unstored *unstored, uint64_t directory, const char *name,
		   size_t size);

#endif
