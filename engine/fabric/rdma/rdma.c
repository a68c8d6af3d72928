#include "engine/fabric/rdma/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/fabric/rdma/internal.h"
#include "engine/metadata/segment_desc.h"

/* --- devices -------------------------------------------------------------------------- */

/* The name stands in a comma-separated list, which NULL stands for all. */
static bool is_wanted(const char *list, const char *name)
{
	size_t size = strlen(name);

	if (!list)
		return true;
	for (const char *at = list; at; at = strchr(at, ',')) {
		at += strspn(at, ", ");
		size_t length = strcspn(at, ", ");
		if (length == size && strncmp(at, name, size) == 0)
			return true;
		at += length;
	}
	return false;
}

static void open_found(struct rdma_fabric *fabric, struct ibv_device **list, int count,
		       const char *wanted)
{
	for (int i = 0; i < count && fabric->device_count < TOPOLOGY_DEVICE_MAX; i++) {
		struct rdma_device *device;
		if (is_wanted(wanted, list[i]->name) &&
		    device_open(fabric, list[i], &device) == MC_OK)
			fabric->devices[fabric->device_count++] = device;
	}
}

static enum mc_status open_devices(struct rdma_fabric *fabric, const struct fabric_config *config)
{
	int count = 0;
	struct ibv_device **list = fabric->verbs->get_device_list(&count);

	if (!list) {
		log_info("no rdma devices: the list can't be read errno=%d", errno);
		return MC_NOT_SUPPORTED;
	}
	const char *wanted = config->devices ? config->devices : getenv("MC_TE_FILTERS");
	fabric->devices = calloc(TOPOLOGY_DEVICE_MAX, sizeof(*fabric->devices));
	if (fabric->devices)
		open_found(fabric, list, count, wanted);
	fabric->verbs->free_device_list(list);
	if (!fabric->devices)
		return MC_NO_MEMORY;
	return fabric->device_count > 0 ? MC_OK : MC_NOT_SUPPORTED;
}

static enum mc_status open_topology(struct rdma_fabric *fabric, const char *priority)
{
	const char *names[TOPOLOGY_DEVICE_MAX];
	enum mc_status status;

	for (uint32_t i = 0; i < fabric->device_count; i++)
		names[i] = fabric->devices[i]->name;
	if (!priority)
		return topology_discover("/sys", "infiniband", names, fabric->device_count,
					 &fabric->topology);
	status = topology_parse(priority, names, fabric->device_count, &fabric->topology);
	if (status == MC_INVALID)
		log_error("priority matrix not understood matrix=%s", priority);
	return status;
}

/* --- the fabric ------------------------------------------------------------------------- */

static void free_all(struct rdma_fabric *fabric)
{
	progress_close(fabric);
	control_close(fabric);
	for (uint32_t i = 0; i < fabric->device_count; i++)
		device_close(fabric->devices[i]);
	topology_free(fabric->topology);
	free(fabric->devices);
	pthread_cond_destroy(&fabric->gone);
	pthread_mutex_destroy(&fabric->lock);
	free(fabric);
}

static void stop_all(struct rdma_fabric *fabric)
{
	while (fabric->peers)
		peer_disconnect(&fabric->peers->peer);
	control_stop(fabric);
	for (uint32_t i = 0; i < fabric->device_count; i++)
		device_stop(fabric->devices[i]);
}

static enum mc_status open_parts(struct rdma_fabric *fabric, const struct fabric_config *config)
{
	enum mc_status status = open_devices(fabric, config);

	if (!status)
		status = open_topology(fabric, config->priority);
	if (!status)
		status = progress_open(fabric);
	if (!status)
		status = control_open(fabric, config);
	for (uint32_t i = 0; !status && i < fabric->device_count; i++)
		status = device_start(fabric->devices[i]);
	if (!status)
		status = control_start(fabric);
	return status;
}

enum mc_status rdma_open(const struct verbs *verbs, const struct fabric_ops *ops,
			 const struct fabric_config *config, struct fabric **fabric)
{
	struct rdma_fabric *made = calloc(1, sizeof(*made));

	if (!made)
		return MC_NO_MEMORY;
	made->fabric.ops = ops;
	made->verbs = verbs;
	made->control.epoll_fd = made->control.wake_fd = made->control.listen_fd = -1;
	made->progress.wake_fd = -1;
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->gone, NULL);
	snprintf(made->name, sizeof(made->name), "%s", config->name ? config->name : "");
	rdma_config_read(&made->config);
	enum mc_status status = open_parts(made, config);
	if (status) {
		stop_all(made);
		free_all(made);
		return status;
	}
	log_info("rdma fabric open name=%s devices=%u endpoint=%s", made->name, made->device_count,
		 made->endpoint);
	*fabric = &made->fabric;
	return MC_OK;
}

static enum mc_status open_real(const struct fabric_config *config, struct fabric **fabric)
{
	return rdma_open(&verbs_real, &fabric_rdma_ops, config, fabric);
}

static void rdma_close(struct fabric *base)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;

	if (!fabric)
		return;
	stop_all(fabric);
	MUST(atomic_load(&fabric->regions) == 0);
	free_all(fabric);
}

static enum mc_status add_device(const struct rdma_device *device, struct segment_desc *desc)
{
	struct segment_device *described;
	enum mc_status status = segment_desc_add_device(desc, device->name, &described);

	if (status)
		return status;
	described->lid = device->port.lid;
	memcpy(described->gid, device->port.gid.gid.raw, sizeof(described->gid));
	return MC_OK;
}

static enum mc_status rdma_describe(struct fabric *base, struct segment_desc *desc)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;
	enum mc_status status = segment_desc_add_endpoint(desc, fabric->endpoint);

	for (uint32_t i = 0; !status && i < fabric->device_count; i++) {
		pthread_mutex_lock(&fabric->devices[i]->lock);
		status = add_device(fabric->devices[i], desc);
		pthread_mutex_unlock(&fabric->devices[i]->lock);
	}
	if (status)
		return status;
	CLEANUP_FREE char *matrix = topology_print(fabric->topology);
	return matrix ? segment_desc_set_matrix(desc, matrix) : MC_NO_MEMORY;
}

static uint64_t rdma_region_max(struct fabric *base)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;
	int64_t max = INT64_MAX;

	for (uint32_t i = 0; i < fabric->device_count; i++)
		if (fabric->devices[i]->config.region_max < max)
			max = fabric->devices[i]->config.region_max;
	return (uint64_t)max & ~((2ull << 20) - 1);
}

static void rdma_progress(struct fabric *base, uint64_t timeout_ns)
{
	progress_make((struct rdma_fabric *)base, timeout_ns);
}

static void rdma_counters(struct fabric *base, struct fabric_counters *counters)
{
	struct rdma_fabric *fabric = (struct rdma_fabric *)base;

	*counters = (struct fabric_counters){
		.slices_done = atomic_load(&fabric->slices_done),
		.slices_failed = atomic_load(&fabric->slices_failed),
		.bytes_read = atomic_load(&fabric->bytes_read),
		.bytes_written = atomic_load(&fabric->bytes_written),
		.slices = atomic_load(&fabric->slices),
		.regions = atomic_load(&fabric->regions),
		.peers = atomic_load(&fabric->peer_count),
		.connections = atomic_load(&fabric->connections),
		.connects = atomic_load(&fabric->connects),
		.connects_cm = atomic_load(&fabric->connects_cm),
	};
}

const struct fabric_ops fabric_rdma_ops = {
	.name = "rdma",
	.by_node = true,
	.open = open_real,
	.close = rdma_close,
	.describe = rdma_describe,
	.region_max = rdma_region_max,
	.register_region = region_register,
	.unregister_region = region_unregister,
	.connect = peer_connect,
	.disconnect = peer_disconnect,
	.paths = peer_paths,
	.submit = peer_submit,
	.cancel = peer_cancel,
	.progress = rdma_progress,
	.counters = rdma_counters,
};
