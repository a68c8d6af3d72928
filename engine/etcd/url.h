/*
 * engine/etcd/url.h -- etcd://HOST:PORT[,HOST:PORT...][/CLUSTER][?NAME=VALUE[&NAME=VALUE...]]
 *
 * An etcd, and the Mooncake cluster in it ("default").  Names: ca, certificate,
 * key (PEM files), user, password_file (its first line).
 *
 * Ownership   The url holds all that its config points to.
 * Threads     One at a time.
 */
#ifndef ENGINE_ETCD_URL_H
#define ENGINE_ETCD_URL_H

#include "engine/etcd/etcd.h"

#define ETCD_URL_HEAD "etcd://"

struct etcd_url {
	struct etcd_config config; /* limits and deadlines as they are by default */
	const char *cluster;
	char *text; /* cut into pieces */
	char password[ETCD_PASSWORD_SIZE];
};

/*
 * Read all but the head.  The endpoints are looked at by etcd_open().
 *
 * MC_INVALID   it makes no sense, or the password can't be read (logged)
 */
MC_MUST_CHECK enum mc_status etcd_url_parse(const char *text, struct etcd_url *url);
/* Takes one that is zero. */
void etcd_url_fini(struct etcd_url *url);

#endif
