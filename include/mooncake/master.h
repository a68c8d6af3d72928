/*
 * mooncake/master.h -- run a master in this process
 *
 * What `mooncake-master` is a main() around, and what `mooncakefs` starts for
 * itself when no master is named.  A master runs on one thread of its own.
 *
 * Threads   Any thread, one call at a time on one master.
 */
#ifndef MOONCAKE_MASTER_H
#define MOONCAKE_MASTER_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>

struct mc_master;

struct mc_master_config {
	const char *listen;  /* "HOST:PORT", port 0: any; NULL: no TCP */
	const char *socket;  /* Unix socket; "@NAME" is abstract, "auto": "@mooncake-master-PORT" */
	const char *journal; /* "file:PATH" or "memory" */
	const char *journal_sync; /* "never", "interval" (once a second) or "always" */
	uint32_t heartbeat_ms;	  /* how often nodes report */
	uint32_t ttl_ms;	  /* silence that ends a session and hides a node's replicas */
	bool fresh;		  /* may begin an empty journal where there is none */
};

/*
 * Open the journal, load it, listen, and start serving.  The addresses that
 * were bound can be asked for at once.
 *
 * MC_INVALID      the configuration makes no sense (logged)
 * MC_IO           the journal is damaged before its tail (logged with the offset)
 * MC_BUSY         the address or the journal is in use
 */
MC_MUST_CHECK enum mc_status mc_master_start(const struct mc_master_config *config,
					     struct mc_master **master);

/* The bound addresses as "HOST:PORT" and "@NAME", "" for none.  Valid until stop. */
const char *mc_master_address(const struct mc_master *master);
const char *mc_master_socket(const struct mc_master *master);

/* Stop serving, flush the journal, end the thread.  Takes NULL. */
void mc_master_stop(struct mc_master *master);

#endif
