/*
 * engine/transport/onesided/exhibit.h -- an object where others may read it
 *
 * Its file is mapped, summed and registered with the engine; the note that says so
 * is the answer to who asks.  A visitor keeps it as long as the object is held for
 * him: until RELEASE and OWNER_KEEP_MS more, at most OWNER_KEPT_MAX of them.  What
 * others keep, and share, stands in the showcase.
 *
 * To sum it takes as long as the object is large, so that is done in pieces of
 * NOTE_PIECE_SIZE: whoever makes an exhibit does something else in between.
 *
 *     exhibit_new() ── exhibit_sum(), until exhibit_summed() ── exhibit_show(): ready
 *
 * Ownership   Counted; the last who lets go unmaps.
 * Threads     exhibit_ref, exhibit_unref: any.  exhibit_sum, exhibit_show: one at a
 *             time, while the object is held.  The three functions of the owner: only
 *             the owner's.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H
#define ENGINE_TRANSPORT_ONESIDED_EXHIBIT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "engine/transport/owner.h"

struct display;
struct mc_engine;

struct exhibit {
	/* fixed */
	struct mc_engine *engine;
	void *map; /* NULL: the object is empty */
	uint64_t size;
	uint64_t version;
	dev_t device; /* and the file of that version */
	ino_t inode;
	bool copied; /* the map is a copy without holes, filled as it is summed */
	/* owned by who makes it; fixed when it is ready */
	uint8_t *sums; /* four bytes a piece */
	bool registered;
	uint8_t *note; /* NULL: it is not ready */
	uint32_t note_size;
	/* the showcase's */
	struct exhibit *next;
	struct display *display;
	/* atomic */
	atomic_uint_fast64_t summed; /* so many bytes, from the first: their sums stand */
	atomic_uint references;
};

/*
 * Begin to show what is held; the caller has the only reference.
 *
 * MC_TOO_BIG, MC_NOT_SUPPORTED   it can't be shown this way
 */
MC_MUST_CHECK enum mc_status exhibit_new(struct mc_engine *engine, const struct source_hold *hold,
					 struct exhibit **exhibit);
/* Sum its next piece. */
MC_MUST_CHECK enum mc_status exhibit_sum(struct exhibit *exhibit, const struct source_hold *hold);
bool exhibit_summed(const struct exhibit *exhibit);
/* What was summed of another exhibit of the same need not be summed again. */
void exhibit_adopt(struct exhibit *exhibit, const struct exhibit *other);
/* Register what was summed, and make it ready. */
MC_MUST_CHECK enum mc_status exhibit_show(struct exhibit *exhibit);
bool exhibit_ready(const struct exhibit *exhibit);

void exhibit_ref(struct exhibit *exhibit);
/* Takes NULL. */
void exhibit_unref(struct exhibit *exhibit);

/* Of this version, and of this very file: not of a copy. */
bool exhibit_is_of(const struct exhibit *exhibit, const struct source_hold *hold);

/* Three functions of struct owner_config, whose context is a struct showcase. */
void exhibit_respond(struct visitor *visitor, const struct pull_request *request,
		     struct held *held);
MC_MUST_CHECK enum mc_status exhibit_send(struct visitor *visitor);
void exhibit_drop(struct visitor *visitor, struct held *held);

#endif
