#include "engine/fabric/topology.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define PCI_VENDOR_NVIDIA 0x10deul
#define PCI_CLASS_DISPLAY 0x03ul
#define GPU_MAX		  64u

/* What it costs to leave a host bridge, and to leave a NUMA node, in bridges. */
#define COST_ROOT 100u
#define COST_NODE 1000u

struct location {
	char name[TOPOLOGY_NAME_SIZE];
	struct topology_rank rank;
};

struct topology {
	uint32_t device_count;
	uint32_t location_count;
	char devices[TOPOLOGY_DEVICE_MAX][TOPOLOGY_NAME_SIZE];
	struct topology_rank all;   /* every device is near */
	struct location *locations; /* TOPOLOGY_LOCATION_MAX at most */
};

static enum mc_status topology_new(const char *const *names, uint32_t count,
				   struct topology **topology)
{
	if (count == 0 || count > TOPOLOGY_DEVICE_MAX)
		return MC_INVALID;
	struct topology *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	made->device_count = count;
	for (uint32_t i = 0; i < count; i++) {
		snprintf(made->devices[i], TOPOLOGY_NAME_SIZE, "%s", names[i]);
		made->all.devices[i] = (uint8_t)i;
	}
	made->all.count = made->all.near_count = count;
	*topology = made;
	return MC_OK;
}

void topology_free(struct topology *topology)
{
	if (!topology)
		return;
	free(topology->locations);
	free(topology);
}

const struct topology_rank *topology_rank(const struct topology *topology, const char *location)
{
	for (uint32_t i = 0; i < topology->location_count; i++) {
		const struct location *known = &topology->locations[i];
		if (strcmp(known->name, location) == 0)
			return known->rank.count > 0 ? &known->rank : &topology->all;
	}
	return &topology->all;
}

static struct location *add_location(struct topology *topology, const char *name)
{
	uint32_t count = topology->location_count;

	if (count == TOPOLOGY_LOCATION_MAX || strlen(name) >= TOPOLOGY_NAME_SIZE)
		return NULL;
	struct location *grown = reallocarray(topology->locations, count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	topology->locations = grown;
	topology->location_count++;
	struct location *location = &grown[count];
	*location = (struct location){.name = ""};
	snprintf(location->name, sizeof(location->name), "%s", name);
	return location;
}

/* --- from sysfs ------------------------------------------------------------ */

static long read_number(const char *folder, const char *file, int base, long otherwise)
{
	char path[PATH_MAX];
	char text[32];
	long number = otherwise;

	if (snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int)sizeof(path))
		return otherwise;
	FILE *in = fopen(path, "re");
	if (!in)
		return otherwise;
	if (fgets(text, sizeof(text), in)) {
		char *end;
		long value = strtol(text, &end, base);
		if (end != text)
			number = value;
	}
	fclose(in);
	return number;
}

static void device_folder(const char *sysfs, const char *class_name, const char *name,
			  char folder[PATH_MAX])
{
	char link[PATH_MAX];

	folder[0] = '\0';
	if (snprintf(link, sizeof(link), "%s/class/%s/%s/device", sysfs, class_name, name) <
	    (int)sizeof(link))
		if (!realpath(link, folder))
			folder[0] = '\0';
}

int topology_node(const char *sysfs, const char *class_name, const char *name)
{
	char folder[PATH_MAX];

	device_folder(sysfs, class_name, name, folder);
	return (int)read_number(folder, "numa_node", 10, -1);
}

struct place {
	int node;
	char folder[PATH_MAX]; /* in the tree of PCI; "": a device without hardware */
};

static void rank_by_node(struct topology_rank *rank, const struct place *places, uint32_t count,
			 int node)
{
	for (uint32_t i = 0; i < count; i++)
		if (places[i].node == node || places[i].node < 0)
			rank->devices[rank->count++] = (uint8_t)i;
	rank->near_count = rank->count;
	for (uint32_t i = 0; i < count; i++)
		if (places[i].node != node && places[i].node >= 0)
			rank->devices[rank->count++] = (uint8_t)i;
	if (rank->near_count == 0)
		rank->near_count = rank->count;
}

/* Folders named "<prefix>N" in a folder, as a set of N; returns how many. */
static uint32_t numbered(const char *folder, const char *prefix, int *numbers, uint32_t max)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	uint32_t count = 0;
	size_t size = strlen(prefix);

	while (dir && count < max && (entry = readdir(dir))) {
		char *end;
		if (strncmp(entry->d_name, prefix, size) != 0)
			continue;
		long number = strtol(entry->d_name + size, &end, 10);
		if (end != entry->d_name + size && *end == '\0' && number >= 0 && number < INT_MAX)
			numbers[count++] = (int)number;
	}
	if (dir)
		closedir(dir);
	return count;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void discover_nodes(struct topology *topology, const char *sysfs, const struct place *places)
{
	char folder[PATH_MAX];
	char name[TOPOLOGY_NAME_SIZE];
	int nodes[TOPOLOGY_LOCATION_MAX / 2];

	snprintf(folder, sizeof(folder), "%s/devices/system/node", sysfs);
	uint32_t count = numbered(folder, "node", nodes, ARRAY_SIZE(nodes));
	if (count == 0)
		nodes[count++] = 0;
	qsort(nodes, count, sizeof(nodes[0]), by_number);
	for (uint32_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "cpu:%d", nodes[i]);
		struct location *location = add_location(topology, name);
		if (location)
			rank_by_node(&location->rank, places, topology->device_count, nodes[i]);
	}
}

/* Bridges between two devices, and a penalty where the way leaves the root or the node. */
static uint32_t distance(const struct place *a, const struct place *b)
{
	const char *p = a->folder;
	const char *q = b->folder;
	uint32_t common = 0, steps = 0, cost = 0;

	for (; *p && *p == *q; p++, q++)
		common += *p == '/' && strstr(a->folder, "/pci") && p > strstr(a->folder, "/pci");
	for (; *p; p++)
		steps += *p == '/';
	for (; *q; q++)
		steps += *q == '/';
	if (common == 0)
		cost += COST_ROOT;
	if (a->node != b->node && a->node >= 0 && b->node >= 0)
		cost += COST_NODE;
	return cost + steps;
}

static void rank_by_distance(struct topology_rank *rank, const struct place *places, uint32_t count,
			     const struct place *gpu)
{
	uint32_t nearest = UINT32_MAX;

	for (uint32_t i = 0; i < count; i++)
		if (distance(&places[i], gpu) < nearest)
			nearest = distance(&places[i], gpu);
	for (uint32_t i = 0; i < count; i++)
		if (distance(&places[i], gpu) == nearest)
			rank->devices[rank->count++] = (uint8_t)i;
	rank->near_count = rank->count;
	for (uint32_t i = 0; i < count; i++)
		if (distance(&places[i], gpu) != nearest)
			rank->devices[rank->count++] = (uint8_t)i;
}

static bool is_gpu(const char *folder)
{
	return read_number(folder, "vendor", 16, 0) == (long)PCI_VENDOR_NVIDIA &&
	       read_number(folder, "class", 16, 0) >> 16 == (long)PCI_CLASS_DISPLAY;
}

static void discover_gpus(struct topology *topology, const char *sysfs, const struct place *places)
{
	char folder[PATH_MAX];
	char link[PATH_MAX];
	char name[TOPOLOGY_NAME_SIZE];
	struct dirent **entries;
	uint32_t gpus = 0;

	snprintf(folder, sizeof(folder), "%s/bus/pci/devices", sysfs);
	/* In the order of the bus, as CUDA_DEVICE_ORDER=PCI_BUS_ID numbers them. */
	int count = scandir(folder, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		struct place gpu;
		int size = snprintf(link, sizeof(link), "%s/%s", folder, entries[i]->d_name);
		free(entries[i]);
		if (size >= (int)sizeof(link) || gpus == GPU_MAX || !is_gpu(link) ||
		    !realpath(link, gpu.folder))
			continue;
		gpu.node = (int)read_number(gpu.folder, "numa_node", 10, -1);
		snprintf(name, sizeof(name), "cuda:%u", gpus++);
		struct location *location = add_location(topology, name);
		if (location)
			rank_by_distance(&location->rank, places, topology->device_count, &gpu);
	}
	if (count >= 0)
		free(entries);
}

enum mc_status topology_discover(const char *sysfs, const char *class_name,
				 const char *const *names, uint32_t count,
				 struct topology **topology)
{
	enum mc_status status = topology_new(names, count, topology);

	if (status)
		return status;
	CLEANUP_FREE struct place *places = calloc(count, sizeof(*places));
	if (!places) {
		topology_free(*topology);
		return MC_NO_MEMORY;
	}
	for (uint32_t i = 0; i < count; i++) {
		device_folder(sysfs, class_name, names[i], places[i].folder);
		places[i].node = (int)read_number(places[i].folder, "numa_node", 10, -1);
	}
	discover_nodes(*topology, sysfs, places);
	discover_gpus(*topology, sysfs, places);
	return MC_OK;
}

/* --- priority matrix ------------------------------------------------------- */

static void add_device(const struct topology *topology, struct topology_rank *rank,
		       const char *name)
{
	for (uint32_t i = 0; i < topology->device_count; i++) {
		if (strcmp(topology->devices[i], name) != 0)
			continue;
		if (!memchr(rank->devices, (int)i, rank->count))
			rank->devices[rank->count++] = (uint8_t)i;
		return;
	}
}

static bool add_devices(const struct topology *topology, struct topology_rank *rank,
			const cJSON *names)
{
	const cJSON *name;

	if (!cJSON_IsArray(names))
		return false;
	cJSON_ArrayForEach(name, names)
	{
		if (!cJSON_IsString(name))
			return false;
		add_device(topology, rank, name->valuestring);
	}
	return true;
}

static bool read_location(struct topology *topology, const cJSON *item)
{
	if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2)
		return false;
	struct location *location = add_location(topology, item->string);
	if (!location || !add_devices(topology, &location->rank, cJSON_GetArrayItem(item, 0)))
		return false;
	location->rank.near_count = location->rank.count;
	if (!add_devices(topology, &location->rank, cJSON_GetArrayItem(item, 1)))
		return false;
	if (location->rank.near_count == 0)
		location->rank.near_count = location->rank.count;
	return true;
}

enum mc_status topology_parse(const char *json, const char *const *names, uint32_t count,
			      struct topology **topology)
{
	struct topology *made;
	enum mc_status status = topology_new(names, count, &made);
	const cJSON *item;

	if (status)
		return status;
	cJSON *root = cJSON_Parse(json);
	bool valid = cJSON_IsObject(root);
	cJSON_ArrayForEach(item, root)
	{
		valid = valid && read_location(made, item);
	}
	cJSON_Delete(root);
	if (!valid) {
		topology_free(made);
		return MC_INVALID;
	}
	*topology = made;
	return MC_OK;
}

static bool print_class(const struct topology *topology, const struct topology_rank *rank,
			uint32_t first, uint32_t end, cJSON *pair)
{
	cJSON *names = cJSON_CreateArray();

	if (!names || !cJSON_AddItemToArray(pair, names))
		return false;
	for (uint32_t i = first; i < end; i++) {
		cJSON *name = cJSON_CreateString(topology->devices[rank->devices[i]]);
		if (!name || !cJSON_AddItemToArray(names, name))
			return false;
	}
	return true;
}

char *topology_print(const struct topology *topology)
{
	cJSON *root = cJSON_CreateObject();
	char *text = NULL;
	bool whole = root != NULL;

	for (uint32_t i = 0; whole && i < topology->location_count; i++) {
		const struct location *location = &topology->locations[i];
		const struct topology_rank *rank = &location->rank;
		cJSON *pair = cJSON_AddArrayToObject(root, location->name);
		whole = pair && print_class(topology, rank, 0, rank->near_count, pair) &&
			print_class(topology, rank, rank->near_count, rank->count, pair);
	}
	if (whole)
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}
