/*
 * engine/transport/onesided/exhibit.h -- an object where others may read it
 *
 * Its file is mapped, summed and registered with the engine; the note that says so
 * is the answer to who asks.  A visitor keeps it as long as the object is held for
 * him: until RELEASE and OWNER_KEEP_MS more, at most OWNER_KEPT_MAX of them.  What
 * others keep, and share, stands in the showcase.
 *
 * Ownership   Counted; the last who lets go unmaps.
 * Threads     exhibit_new, exhibit_ref, exhibit_unref: any.  The three functions of
 *             the owner: only the owner's.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H
#define ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "engine/transport/owner.h"

struct mc_engine;

struct exhibit {
	/* fixed */
	struct mc_engine *engine;
	void *map; /* NULL: the object is empty */
	uint64_t size;
	uint64_t version;
	dev_t device; /* and the file of that version */
	ino_t inode;
	uint8_t *note;
	uint32_t note_size;
	/* the showcase's */
	struct exhibit *next;
	/* atomic */
	atomic_uint references;
};

/*
 * Show what is held; the caller has the only reference.  go_on is asked before each
 * piece is summed (NULL: nobody is): false ends it with MC_AGAIN.
 *
 * MC_TOO_BIG, MC_NOT_SUPPORTED   it can't be shown this way
 */
MC_MUST_CHECK enum mc_status exhibit_new(struct mc_engine *engine, const struct source_hold *hold,
					 bool (*go_on)(void *context), void *context,
					 struct exhibit **exhibit);
void exhibit_ref(struct exhibit *exhibit);
/* Takes NULL. */
void exhibit_unref(struct exhibit *exhibit);

/* Of this version, and of this very file: not of a copy. */
bool exhibit_is_of(const struct exhibit *exhibit, const struct source_hold *hold);

/* Three functions of struct owner_config, whose context is a struct showcase. */
void exhibit_respond(struct visitor *visitor, const struct pull_request *request,
		     struct held *held);
MC_MUST_CHECK enum mc_status exhibit_send(struct visitor *visitor);
void exhibit_drop(struct held *held);

#endif
