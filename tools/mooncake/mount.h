/*
 * tools/mooncake/mount.h -- the mount on this machine, and what it says of itself
 *
 * A mount tells its facts as lines "name value" in the attribute
 * user.mooncake.status of its root.
 *
 * Ownership   A mount is embedded; mount_fini() frees what it holds.
 * Threads     The main thread.
 * Errors      MC_NOT_FOUND there is none; MC_TIMEOUT it hangs; MC_UNREACHABLE
 *             its daemon has ended.  mount->why says it in a sentence.
 */
#ifndef TOOLS_MOONCAKE_MOUNT_H
#define TOOLS_MOONCAKE_MOUNT_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The daemon's own deadline, if it is as long as ours, should pass first: it
 * can tell what did not answer, and answers itself.
 */
#define MOUNT_GRACE_MS 1000u

struct mount {
	enum mc_status state; /* MC_OK: it answers */
	char *path;	      /* NULL: none */
	char *facts;	      /* "name value" lines; NULL unless it answers */
	char *why;	      /* a sentence when it does not answer */
};

/*
 * Find a mount: the one at `path`, or with NULL the first of this machine that
 * answers.  All are asked at once; who is taken in the place of one that does not
 * answer is complained of.
 * With a master, one that belongs to it.  mount->state tells.
 */
void mount_find(const char *path, const char *master, uint32_t timeout_ms, struct mount *mount);
void mount_fini(struct mount *mount);

/* The value of the next fact of that name, after `*at` (NULL: from the first); NULL: no more. */
char *mount_fact(const struct mount *mount, const char *name, const char **at);

/* Read an attribute of the root, terminated; the caller frees. */
MC_MUST_CHECK enum mc_status mount_attribute(const char *path, const char *name,
					     uint32_t timeout_ms, char **value);

#endif
