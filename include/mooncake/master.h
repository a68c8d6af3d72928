/*
 * mooncake/master.h -- run a master in this process
 *
 * What `mooncake-master` is a main() around, and what `mooncakefs` starts for
 * itself when no master is named.  A master runs on threads of its own: those
 * that answer, and one for what takes long.
 *
 * Threads   Any thread, one call at a time on one master.
 */
#ifndef MOONCAKE_MASTER_H
#define MOONCAKE_MASTER_H

#include <mooncake/status.h>
#include <mooncake/types.h>
#include <stdbool.h>
#include <stdint.h>

#define MC_MASTER_THREADS_MAX 64u

struct mc_master;

/* Where a master takes the time from: called by any of its threads. */
struct mc_clock {
	uint64_t (*monotonic_ns)(void *context);
	struct mc_time (*real)(void *context);
	void *context;
};

/* For a journal in etcd; see docs/operations.md. */
struct mc_etcd_config {
	const char *cluster; /* "default"; letters, digits, dots, dashes, underscores */
	const char *ca;	     /* PEM files; NULL or "": none */
	const char *certificate;
	const char *key;
	const char *user;
	const char *password_file; /* its first line */
	const char *address;	   /* where others reach this master; NULL: by what it listens on */
	uint64_t queue_size;	   /* bytes that wait for etcd before answers do; 0: 64 MiB */
	uint32_t lease_s;	   /* a leader that is silent so long is replaced; 0: 5 */
	bool ack_sync;		   /* answers wait until etcd has the change */
	bool without_objects;	   /* objects are kept by their nodes only */
};

struct mc_master_config {
	const char *listen;  /* "HOST:PORT", port 0: any; NULL: no TCP */
	const char *socket;  /* Unix socket; "@NAME" is abstract, "auto": "@mooncake-master-PORT" */
	const char *journal; /* "file:PATH", "etcd://HOST:PORT[,HOST:PORT...]" or "memory" */
	const char *journal_sync; /* "never", "interval" (once a second) or "always" */
	uint32_t heartbeat_ms;	  /* how often nodes report */
	uint32_t ttl_ms;	  /* silence that ends a session and hides a node's replicas */
	uint64_t repair_rate;	  /* bytes a second for copies that were lost; 0: 1 GiB */
	uint32_t repair_delay_ms; /* a node is lost for so long before they are made; 0: 10 s */
	bool fresh;		  /* may begin an empty journal where there is none */
	uint32_t threads; /* that answer, 1 to MC_MASTER_THREADS_MAX; 0: one for two cores */
	const struct mc_clock *clock; /* copied; NULL: the machine's */
	/*
	 * Where HTTP is served: "HOST:PORT" or "HOST:FIRST-LAST"; "auto": the host of
	 * `listen` and port 50080, any free one where its port is 0; NULL: nowhere.
	 */
	const char *http;
	const char *admin_token_file; /* holds what `Authorization: Bearer` must say; NULL */
	const char *metadata_writes;  /* "open", "token", NULL or "auto": open without a token */
	struct mc_etcd_config etcd;
	/*
	 * Microseconds that an idle processor of this machine may take to wake up while
	 * requests come; "auto": 0 in a virtual machine that idles by haltpoll, else any;
	 * NULL or "any": nothing is asked of the kernel.
	 */
	const char *cpu_latency;
};

/*
 * Listen, open the journal, load it, and start serving.  The addresses that
 * were bound can be asked for at once.  With a journal in etcd this returns
 * before the master leads: until then it follows, and serves nobody.
 *
 * MC_INVALID      the configuration makes no sense (logged)
 * MC_IO           the journal is damaged before its tail (logged with the offset)
 * MC_BUSY         an address or the journal is in use
 * MC_ACCESS       others may read the admin token's file (logged)
 */
MC_MUST_CHECK enum mc_status mc_master_start(const struct mc_master_config *config,
					     struct mc_master **master);

/* The bound addresses as "HOST:PORT" and "@NAME", "" for none.  Valid until stop. */
const char *mc_master_address(const struct mc_master *master);
const char *mc_master_socket(const struct mc_master *master);
const char *mc_master_http(const struct mc_master *master);

/* Stop serving, flush the journal, end the threads.  Takes NULL. */
void mc_master_stop(struct mc_master *master);

#endif
