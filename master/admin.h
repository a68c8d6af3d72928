/*
 * master/admin.h -- what a master says over HTTP
 *
 *   GET /health                    the loop turns; "status" ok or read_only
 *   GET /metrics                   for Prometheus
 *   GET PUT DELETE /metadata?key=  descriptors of engines, as Mooncake's own
 *                                  server keeps them; in memory only
 *   GET /api/leader                who this master is
 *   GET /api/nodes                 every node that is known
 *   GET /api/objects?prefix=&limit=&cursor=
 *                                  objects whose key begins so, some at a time
 *
 * What reads the master's state is queued here and answered on the writer's own
 * thread, a few requests a turn; /metadata is answered where it came in.
 *
 * Threads   The master's, but admin_open() and admin_close(), while it does not run.
 * Errors    As http_open(); with "auto" the port being taken is no error.
 * Limits    METADATA_* and TEXTS_* for /metadata, ADMIN_* below.
 */
#ifndef MASTER_ADMIN_H
#define MASTER_ADMIN_H

#include <mooncake/status.h>

#include "engine/base/buffer.h"

#define ADMIN_PORT	   50080u /* with "auto" */
#define ADMIN_TURN_MAX	   4u	  /* requests answered in one turn */
#define ADMIN_LIST_MAX	   1000u  /* objects of one answer */
#define ADMIN_LIST_INITIAL 100u	  /* without limit= */
#define ADMIN_VISIT_MAX	   20000u /* entries looked at for one answer */

struct admin;
struct mc_master;
struct mc_master_config;

/* Serve as the configuration says.  *admin is NULL where it says no HTTP. */
MC_MUST_CHECK enum mc_status
admin_open(struct mc_master *master, const struct mc_master_config *config, struct admin **admin);
void admin_close(struct admin *admin);

/* The bound address, "" for none.  Takes NULL. */
const char *admin_address(const struct admin *admin);

/* Answer some of what waits.  Takes NULL. */
void admin_turn(struct admin *admin);

/* The metrics of the server itself and of /metadata. */
void admin_write_metrics(struct admin *admin, struct writer *w);

#endif
