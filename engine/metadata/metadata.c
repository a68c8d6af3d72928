#include "engine/metadata/metadata.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/store.h"

/* A URL begins with its scheme. */
static const struct {
	const char *scheme;
	const struct metadata_ops *ops;
} stores[] = {
	{"http://", &metadata_http_ops},     {"https://", &metadata_http_ops},
	{"etcd://", &metadata_etcd_ops},     {"memory://", &metadata_memory_ops},
	{"P2PHANDSHAKE", &metadata_p2p_ops},
};

static const struct metadata_ops *store_of(const char *url)
{
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		if (strncmp(url, stores[i].scheme, strlen(stores[i].scheme)) == 0)
			return stores[i].ops;
	}
	/* "HOST:PORT[,HOST:PORT...]" */
	return strchr(url, ':') && !strstr(url, "://") ? &metadata_etcd_ops : NULL;
}

enum mc_status metadata_open(const struct metadata_config *config, struct metadata **metadata)
{
	struct metadata_config whole = *config;
	const struct metadata_ops *ops = config->url ? store_of(config->url) : NULL;

	if (!ops) {
		log_error("no such metadata store url=%s", config->url ? config->url : "");
		return MC_NOT_SUPPORTED;
	}
	if (whole.timeout_ms == 0)
		whole.timeout_ms = METADATA_TIMEOUT_MS;
	return ops->open(&whole, metadata);
}

void metadata_close(struct metadata *metadata)
{
	if (metadata)
		metadata->ops->close(metadata);
}

static enum mc_status key_check(const char *key)
{
	size_t size = strlen(key);

	if (size == 0)
		return MC_INVALID;
	return size > METADATA_KEY_SIZE_MAX ? MC_TOO_BIG : MC_OK;
}

enum mc_status metadata_get(struct metadata *metadata, const char *key, char **text)
{
	enum mc_status status = key_check(key);

	return status == MC_OK ? metadata->ops->get(metadata, key, text) : status;
}

enum mc_status metadata_put(struct metadata *metadata, const char *key, const char *text)
{
	enum mc_status status = key_check(key);

	if (status == MC_OK && strlen(text) > METADATA_VALUE_SIZE_MAX)
		status = MC_TOO_BIG;
	return status == MC_OK ? metadata->ops->put(metadata, key, text) : status;
}

enum mc_status metadata_remove(struct metadata *metadata, const char *key)
{
	enum mc_status status = key_check(key);

	return status == MC_OK ? metadata->ops->remove(metadata, key) : status;
}

const char *metadata_local_name(const struct metadata *metadata)
{
	return metadata->ops->local_name ? metadata->ops->local_name(metadata) : NULL;
}
