#include "tools/mooncake/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "tools/mooncake/complaint.h"

void cluster_init(struct cluster *cluster, const struct settings *settings)
{
	*cluster = (struct cluster){.settings = settings};
}

void cluster_fini(struct cluster *cluster)
{
	master_close(cluster->master);
	free(cluster->address);
	mount_fini(&cluster->mount);
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* The master that is named: what is said goes before the environment. */
static const char *named_master(const struct settings *settings)
{
	if (settings->master || settings->mount)
		return settings->master;
	return variable(CLUSTER_MASTER_VARIABLE);
}

const struct mount *cluster_mount(struct cluster *cluster)
{
	const struct settings *settings = cluster->settings;

	if (cluster->mount_sought)
		return &cluster->mount;
	cluster->mount_sought = true;
	if (settings->mount) /* the operator knows whose it is */
		mount_find(settings->mount, NULL, settings->timeout_ms, &cluster->mount);
	else
		mount_find(variable(CLUSTER_MOUNT_VARIABLE), named_master(settings),
			   settings->timeout_ms, &cluster->mount);
	return &cluster->mount;
}

const char *cluster_address(struct cluster *cluster)
{
	const char *named = named_master(cluster->settings);

	if (named)
		return named;
	if (!cluster->address) {
		const struct mount *mount = cluster_mount(cluster);
		cluster->address = mount_fact(mount, "master_option", &(const char *){NULL});
	}
	return cluster->address;
}

void cluster_complain(struct cluster *cluster, enum mc_status status)
{
	const char *address = cluster_address(cluster);
	unsigned timeout_ms = cluster->settings->timeout_ms;

	if (status == MC_UNREACHABLE)
		complain("no master answers at %s: is it running, does it "
			 "lead, and is the address right?",
			 address);
	else if (status == MC_TIMEOUT)
		complain("the master at %s did not answer within %u ms", address, timeout_ms);
	else if (status == MC_PROTOCOL)
		complain("the master at %s speaks another protocol than this program", address);
	else if (status == MC_INVALID)
		complain("the master at %s can't be asked: is the address a HOST:PORT?", address);
	else
		complain("the master at %s refused: %s", address, mc_status_text(status));
}

enum mc_status cluster_master(struct cluster *cluster, struct master **master)
{
	const char *address = cluster_address(cluster);

	if (!address) {
		complain("%s: name the master with --master HOST:PORT, or a mount with --mount DIR",
			 cluster->mount.why);
		return MC_UNREACHABLE;
	}
	if (!cluster->master) {
		enum mc_status status =
			master_open(address, cluster->settings->timeout_ms, &cluster->master);
		if (status) {
			cluster_complain(cluster, status);
			return status;
		}
	}
	*master = cluster->master;
	return MC_OK;
}

char *cluster_key(char *operand)
{
	const char *given = operand;
	size_t size;

	while (*operand == '/')
		operand++;
	size = strlen(operand);
	while (size > 0 && operand[size - 1] == '/')
		operand[--size] = '\0';
	if (size > MC_PATH_MAX) {
		complain("a key has at most %u bytes, this one has %zu: %.64s...", MC_PATH_MAX,
			 size, given);
		return NULL;
	}
	for (const char *at = operand; size > 0;) {
		size_t length = strcspn(at, "/");
		if (!mc_name_valid(at, length)) {
			complain("%s can't be a key: its parts have 1 to %u bytes and are not . or "
				 "..",
				 given, MC_NAME_MAX);
			return NULL;
		}
		if (!at[length])
			break;
		at += length + 1;
	}
	return operand;
}
