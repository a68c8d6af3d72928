/* etcd://: the keys of an etcd cluster, as Mooncake's engine has them there. */
#include "engine/etcd/etcd.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/metadata/store.h"

#define SCHEME "etcd://"

struct etcd_store {
	struct metadata base;
	struct etcd *etcd;
};

static struct etcd *client_of(struct metadata *metadata)
{
	return container_of(metadata, struct etcd_store, base)->etcd;
}

/* What an engine may treat differently; the client has logged the rest. */
static enum mc_status status_of(enum mc_status status)
{
	switch ((int)status) {
	case MC_OK:
	case MC_NOT_FOUND:
	case MC_UNREACHABLE:
	case MC_TIMEOUT:
	case MC_ACCESS:
	case MC_TOO_BIG:
	case MC_NO_SPACE:
	case MC_NO_MEMORY:
		return status;
	case MC_PERMISSION:
		return MC_ACCESS;
	default:
		return MC_IO;
	}
}

static enum mc_status etcd_store_get(struct metadata *metadata, const char *key, char **text)
{
	struct writer value;

	writer_init(&value);
	enum mc_status status =
		status_of(etcd_get_wait(client_of(metadata), ETCD_TEXT(key), &value));
	if (status == MC_OK && value.size > METADATA_VALUE_SIZE_MAX)
		status = MC_TOO_BIG;
	put_u8(&value, 0);
	if (status == MC_OK && value.failed)
		status = MC_NO_MEMORY;
	if (status != MC_OK) {
		writer_fini(&value);
		return status;
	}
	*text = (char *)value.data;
	return MC_OK;
}

static enum mc_status etcd_store_put(struct metadata *metadata, const char *key, const char *text)
{
	return status_of(etcd_put_wait(client_of(metadata), ETCD_TEXT(key), ETCD_TEXT(text)));
}

static enum mc_status etcd_store_remove(struct metadata *metadata, const char *key)
{
	return status_of(etcd_delete_wait(client_of(metadata), ETCD_TEXT(key)));
}

static void etcd_store_close(struct metadata *metadata)
{
	struct etcd_store *store = container_of(metadata, struct etcd_store, base);

	etcd_close(store->etcd);
	free(store);
}

static enum mc_status etcd_store_open(const struct metadata_config *config,
				      struct metadata **metadata)
{
	bool has_scheme = strncmp(config->url, SCHEME, strlen(SCHEME)) == 0;
	struct etcd_config etcd = {
		.endpoints = config->url + (has_scheme ? strlen(SCHEME) : 0),
		.ca = config->ca_file,
		.certificate = config->cert_file,
		.key = config->key_file,
		.user = config->user,
		.password = config->password,
		.timeout_ms = config->timeout_ms,
	};
	struct etcd_store *store = calloc(1, sizeof(*store));

	if (!store)
		return MC_NO_MEMORY;
	store->base.ops = &metadata_etcd_ops;
	enum mc_status status = etcd_open(&etcd, &store->etcd);
	if (status != MC_OK) {
		free(store);
		return status;
	}
	*metadata = &store->base;
	return MC_OK;
}

const struct metadata_ops metadata_etcd_ops = {
	.open = etcd_store_open,
	.close = etcd_store_close,
	.get = etcd_store_get,
	.put = etcd_store_put,
	.remove = etcd_store_remove,
};
