/*
 * master/grant.h -- who may conclude that a name does not exist, and who waits
 *
 * protocol.h tells what a grant promises to its holder.  Here is the other
 * half: before a name appears in a directory through anyone else, the holder is
 * asked to give it back, and the request that would add the name is parked
 * (parking.h) until a grant has ended.
 *
 *             grant_give                 grant_recall
 *     (none) ────────────► HELD ─────────────────────────► RECALLED
 *        ▲                  │ RECALLED unasked                │ RECALLED, or the
 *        └──────────────────┴─────────────────────────────────┘ end of the session
 *
 * Names of objects without a live replica are among a grant's hashes, so their
 * return needs no recall.
 *
 * Threads   The writer.
 */
#ifndef MASTER_GRANT_H
#define MASTER_GRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct directory;
struct mc_master;
struct session;
struct writer;

#define GRANT_QUIET_MS	5000u	   /* others must have added nothing for so long */
#define GRANT_REPLY_MAX (4u << 20) /* bytes of hashes in one reply */

struct grant {
	struct session *session;
	struct directory *directory;
	struct grant *next; /* of its session */
	struct grant *previous;
	bool recalled;
	uint64_t recalled_ms;
};

/* Write the grant field of a reply: the directory, if the session may have it. */
void grant_put(struct mc_master *master, struct session *session, struct directory *directory,
	       struct writer *w);

/*
 * A reader's guess whether grant_put() would give the directory away: false is
 * certain to have been true a moment ago.
 */
bool grant_likely(const struct session *session, const struct directory *directory,
		  uint64_t now_ms);

/*
 * Before a name is added to the directory by the session: true when nobody
 * else holds a grant of it.  False: it is being recalled, and the request must
 * be parked.
 */
bool grant_clear(struct mc_master *master, struct session *session, struct directory *directory);

/* The session has added a name. */
void grant_added(struct mc_master *master, const struct session *session,
		 struct directory *directory);

/* The session gave the grant back; harmless when it has none. */
void grant_return(struct mc_master *master, struct session *session, struct directory *directory);

/* The directory or the session ends. */
void grant_end(struct mc_master *master, struct grant *grant);
void grant_end_all(struct mc_master *master, struct session *session);

/* Close sessions that were asked ttl_ms ago and have not answered. */
void grant_expire(struct mc_master *master);

#endif
