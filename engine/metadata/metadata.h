/*
 * engine/metadata/metadata.h -- where engines leave word of themselves
 *
 * A small store of texts by key, in which an engine puts its segment's
 * descriptor and its address, and finds those of others (segment_desc.h,
 * segment_cache.h).  The URL chooses one of a closed list:
 *
 *   http://HOST:PORT/metadata    GET, PUT and DELETE ?key=, as mooncake-master
 *   https://…                    serves it; the default
 *   etcd://HOST:PORT[,…]         etcd's own keys; a URL without a scheme too
 *   P2PHANDSHAKE                 no store: what is put stays here, and whoever
 *                                asks for `mooncake/ram/HOST:PORT` connects to
 *                                that peer and asks it (handshake.h)
 *   memory://NAME                a table of this process, shared by name
 *
 * Ownership   Texts that come out belong to the caller (free()).
 * Threads     Any thread, several calls at a time.  Calls wait for the network.
 * Errors      MC_NOT_FOUND there is no such key; MC_UNREACHABLE nobody answers;
 *             MC_TIMEOUT timeout_ms passed, a put or remove may have happened;
 *             MC_ACCESS the store refused us; MC_IO it answered with an error;
 *             MC_TOO_BIG beyond the limits; MC_INVALID the key is none.
 * Limits      METADATA_KEY_SIZE_MAX, METADATA_VALUE_SIZE_MAX bytes.
 */
#ifndef ENGINE_METADATA_METADATA_H
#define ENGINE_METADATA_METADATA_H

#include <mooncake/status.h>
#include <stdint.h>

#define METADATA_KEY_SIZE_MAX	1024u		 /* bytes, without the terminator */
#define METADATA_VALUE_SIZE_MAX ((1u << 20) - 1) /* bytes, without the terminator */
#define METADATA_TIMEOUT_MS	3000u

struct metadata;

/* What is not said (NULL, 0) has the default of its line. */
struct metadata_config {
	const char *url;
	uint32_t timeout_ms; /* of one call; METADATA_TIMEOUT_MS */

	const char *token_file; /* http: what `Authorization: Bearer` says; no token */

	/* https and etcd */
	const char *ca_file;   /* whom to trust; the system's */
	const char *cert_file; /* who we are; nobody */
	const char *key_file;
	const char *user; /* etcd; without one, no authentication */
	const char *password;

	/* P2PHANDSHAKE */
	const char *listen_host;   /* any */
	const char *announce_host; /* worked out from the routes */
	uint16_t port_first;	   /* a random free port of this range; 0: any */
	uint16_t port_last;
	/* Take a HANDSHAKE_NOTIFY, as handshake_config.answer does; nobody may send any. */
	enum mc_status (*notified)(void *context, const char *request, char **reply);
	void *context;
};

/*
 * Open a store.  It need not be reachable yet, but P2PHANDSHAKE listens at once.
 *
 * MC_INVALID         the URL makes no sense (logged)
 * MC_NOT_SUPPORTED   no such scheme (logged)
 * MC_BUSY            no port of the range is free
 */
MC_MUST_CHECK enum mc_status metadata_open(const struct metadata_config *config,
					   struct metadata **metadata);

/* End it; no call may be in flight.  Takes NULL. */
void metadata_close(struct metadata *metadata);

/* Find the text of a key; it is terminated. */
MC_MUST_CHECK enum mc_status metadata_get(struct metadata *metadata, const char *key, char **text);

/* Leave a text under a key, in place of what was there. */
MC_MUST_CHECK enum mc_status metadata_put(struct metadata *metadata, const char *key,
					  const char *text);

/* Forget a key.  MC_OK or MC_NOT_FOUND when there was none: not every store tells. */
MC_MUST_CHECK enum mc_status metadata_remove(struct metadata *metadata, const char *key);

/*
 * The name that this process must go by, since others find it by it:
 * "HOST:PORT" of the handshake with P2PHANDSHAKE, NULL where any will do.
 * Valid until the close.
 */
const char *metadata_local_name(const struct metadata *metadata);

#endif
