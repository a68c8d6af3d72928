/*
 * engine/metadata/store.h -- what each store of metadata.h is made of
 *
 * A store is a row of operations, which metadata.c chooses by the scheme of the
 * URL.  It has checked keys and sizes before it calls one.
 *
 * Threads   Any thread, several calls at a time.
 * Errors    As metadata.h.
 */
#ifndef ENGINE_METADATA_STORE_H
#define ENGINE_METADATA_STORE_H

#include "engine/metadata/metadata.h"

struct metadata_ops {
	enum mc_status (*open)(const struct metadata_config *config, struct metadata **metadata);
	void (*close)(struct metadata *metadata);
	enum mc_status (*get)(struct metadata *metadata, const char *key, char **text);
	enum mc_status (*put)(struct metadata *metadata, const char *key, const char *text);
	enum mc_status (*remove)(struct metadata *metadata, const char *key);
	const char *(*local_name)(const struct metadata *metadata); /* NULL: any name will do */
};

/* Every store begins with this. */
struct metadata {
	const struct metadata_ops *ops;
};

extern const struct metadata_ops metadata_etcd_ops;
extern const struct metadata_ops metadata_http_ops;
extern const struct metadata_ops metadata_memory_ops;
extern const struct metadata_ops metadata_p2p_ops;

#endif
