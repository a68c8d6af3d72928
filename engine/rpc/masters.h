/*
 * engine/rpc/masters.h -- where the master may be
 *
 * One address, a list of them that is tried in turn, or an etcd that knows:
 *
 *   HOST:PORT                  "unix:NAME" and "unix:@NAME" too
 *   HOST:PORT,HOST:PORT...     one of them leads, the others refuse
 *   etcd://HOST:PORT[,HOST:PORT...][/CLUSTER][?NAME=VALUE[&NAME=VALUE...]]
 *                              the leader of CLUSTER ("default") as etcd has
 *                              it; names: ca, certificate, key (PEM files),
 *                              user, password_file
 *
 * Threads   One at a time.
 */
#ifndef ENGINE_RPC_MASTERS_H
#define ENGINE_RPC_MASTERS_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>

#define MASTERS_ADDRESS_SIZE 384u
#define MASTERS_COUNT_MAX    16u
#define MASTERS_LOOK_MS	     50

struct masters;

/* MC_INVALID: the text makes no sense; the addresses of a list are not looked at. */
MC_MUST_CHECK enum mc_status masters_open(const char *text, struct masters **masters);
void masters_close(struct masters *masters);

/* The addresses of a list; none where etcd is asked. */
size_t masters_count(const struct masters *masters);
const char *masters_at(const struct masters *masters, size_t index);

/*
 * The address to try now.  Asks etcd, for a second at most.
 *
 * MC_NOT_FOUND    nobody leads
 * other           etcd does not answer
 */
MC_MUST_CHECK enum mc_status masters_next(struct masters *masters,
					  char address[MASTERS_ADDRESS_SIZE]);

/*
 * The master at `current` refuses changes: look whether another leads.  Etcd is
 * asked without waiting; the others of a list are tried for MASTERS_LOOK_MS, for
 * one that stands by hangs up at once.
 */
void masters_look(struct masters *masters, const char *current);

/* A look found another; it is the next to be tried. */
bool masters_moved(struct masters *masters, const char *current);

/* The one to be tried next has not been tried since the last pause. */
bool masters_untried(const struct masters *masters);

#endif
