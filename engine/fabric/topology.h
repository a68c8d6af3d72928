/*
 * engine/fabric/topology.h -- which devices are near to which memory
 *
 * For each location of memory ("cpu:0", "cuda:1") the devices fall into two
 * classes: near ones, over which transfers are spread, and far ones that serve
 * when no near one works.  It is read from sysfs, by NUMA node and by the way
 * over PCI bridges, or given as Mooncake's priority matrix:
 *
 *     {"cpu:0":[["mlx5_0","mlx5_1"],["mlx5_2"]],"cuda:0":[["mlx5_2"],[]]}
 *
 * For "*", and for a location that is not in it, every device is near.
 *
 * Ownership   Names are copied.
 * Threads     Fixed once made: any thread.
 * Limits      TOPOLOGY_DEVICE_MAX devices, TOPOLOGY_LOCATION_MAX locations.
 */
#ifndef ENGINE_FABRIC_TOPOLOGY_H
#define ENGINE_FABRIC_TOPOLOGY_H

#include <mooncake/status.h>
#include <stdint.h>

#define TOPOLOGY_DEVICE_MAX   64u
#define TOPOLOGY_LOCATION_MAX 256u
#define TOPOLOGY_NAME_SIZE    64u

struct topology;

/* Devices of one location, as indices of the names given: near ones first, then far ones. */
struct topology_rank {
	uint32_t near_count;
	uint32_t count;
	uint8_t devices[TOPOLOGY_DEVICE_MAX];
};

/*
 * Find out how near these devices are.  sysfs: "/sys", or a test's copy of it; a
 * name stands for the class device `class_name`/NAME ("infiniband", "net").
 */
MC_MUST_CHECK enum mc_status topology_discover(const char *sysfs, const char *class_name,
					       const char *const *names, uint32_t count,
					       struct topology **topology);

/*
 * Read a priority matrix.  Devices in it that are not among the names are left
 * out; a location that is left with none ranks as "*".
 *
 * MC_INVALID   it is no priority matrix
 */
MC_MUST_CHECK enum mc_status topology_parse(const char *json, const char *const *names,
					    uint32_t count, struct topology **topology);
void topology_free(struct topology *topology);

/* How the devices rank for a location; never NULL. */
const struct topology_rank *topology_rank(const struct topology *topology, const char *location);

/* Write it as a priority matrix; the caller frees.  NULL: no memory. */
char *topology_print(const struct topology *topology);

/* The NUMA node that a device is at; -1: unknown. */
int topology_node(const char *sysfs, const char *class_name, const char *name);

#endif
