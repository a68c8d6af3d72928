/*
 * tools/mooncake/cluster.h -- the cluster that a command is about
 *
 * Found from --mount, --master, the environment and the mounts of this
 * machine, when a command first asks.
 *
 * Threads   The main thread.
 */
#ifndef TOOLS_MOONCAKE_CLUSTER_H
#define TOOLS_MOONCAKE_CLUSTER_H

#include "tools/mooncake/command.h"
#include "tools/mooncake/master.h"
#include "tools/mooncake/mount.h"

#define CLUSTER_MASTER_VARIABLE "MOONCAKE_MASTER"
#define CLUSTER_MOUNT_VARIABLE	"MOONCAKE_MOUNT"

struct cluster {
	const struct settings *settings;
	/* found when first asked for */
	bool mount_sought;
	struct mount mount;
	char *address; /* of the master */
	struct master *master;
};

void cluster_init(struct cluster *cluster, const struct settings *settings);
void cluster_fini(struct cluster *cluster);

/* The mount; its state says whether it can be used.  Complains of nothing. */
const struct mount *cluster_mount(struct cluster *cluster);

/* The master's address; NULL: none is named, and no mount tells one. */
const char *cluster_address(struct cluster *cluster);

/* Connect to the master, once.  Complains. */
MC_MUST_CHECK enum mc_status cluster_master(struct cluster *cluster, struct master **master);

/* Complain of a question that the master did not answer. */
void cluster_complain(struct cluster *cluster, enum mc_status status);

/*
 * Take an operand as a key: slashes around it are dropped.  NULL: it can't be
 * one, which was complained of.  Points into the operand.
 */
char *cluster_key(char *operand);

#endif
