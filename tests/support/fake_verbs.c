#include "tests/support/fake_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tests/support/fake_rdmacm.h"

#define QP_MAX	  8192u
#define MR_MAX	  65536u
#define EVENT_MAX 64u
#define SQ_MAX	  1024u

struct fake_context {
	struct ibv_context context;
	struct fake_device *device;
	struct ibv_async_event events[EVENT_MAX];
	uint32_t event_count;
	struct fake_context *next;
};

struct fake_channel {
	struct ibv_comp_channel channel;
	struct ibv_cq *cq;
};

struct fake_qp {
	struct ibv_qp qp;
	struct fake_device *device;
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	enum ibv_qp_state state;
	struct ibv_send_wr wrs[SQ_MAX]; /* kept back */
	struct ibv_sge sges[SQ_MAX];
	uint32_t wr_count;
	uint32_t used; /* places of the send queue that no polled completion gave back */
	uint32_t silent;
};

struct fake_cqe {
	struct ibv_wc wc;
	uint32_t qp_num;
	uint32_t frees;
};

struct fake_cq {
	struct ibv_cq cq;
	struct fake_cqe *cqes;
	uint32_t first, count;
	bool armed;
};

static struct {
	pthread_mutex_t lock;
	uint32_t device_count;
	struct fake_device devices[FAKE_DEVICE_MAX];
	struct fake_context *contexts;
	struct fake_qp *qps[QP_MAX]; /* by number */
	struct ibv_mr *mrs[MR_MAX];  /* by key */
	int access[MR_MAX];
	uint32_t next_qp, next_mr;
	struct fake_counts counts;
	struct {
		uint32_t after, times, called;
		int error;
	} calls[FAKE_CALLS];
	enum ibv_wc_status work_status;
	uint32_t work_after, work_times;
	bool hold, freeze;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- what the test wants -------------------------------------------------------------- */

union ibv_gid fake_mapped_gid(uint8_t last)
{
	return (union ibv_gid){.raw = {[10] = 0xff, [11] = 0xff, 10, 0, 0, last}};
}

static void init_device(struct fake_device *device, uint32_t index)
{
	snprintf(device->device.name, sizeof(device->device.name), "fake%u", index);
	device->attr = (struct ibv_device_attr){.max_mr_size = UINT64_MAX,
						.max_qp = 4096,
						.max_qp_wr = 512,
						.max_cq = 64,
						.max_cqe = 65535,
						.max_qp_rd_atom = 16,
						.max_qp_init_rd_atom = 16};
	device->port = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
					      .active_mtu = IBV_MTU_1024,
					      .gid_tbl_len = FAKE_GID_MAX,
					      .link_layer = IBV_LINK_LAYER_ETHERNET};
	device->gids[0] = (struct fake_gid){.gid = fake_mapped_gid((uint8_t)(index + 1)),
					    .type = IBV_GID_TYPE_ROCE_V2};
}

void fake_reset(uint32_t devices)
{
	WITH_LOCK(&fake.lock);
	MUST(fake.counts.contexts == 0 && devices <= FAKE_DEVICE_MAX);
	memset(fake.devices, 0, sizeof(fake.devices));
	memset(&fake.counts, 0, sizeof(fake.counts));
	memset(fake.calls, 0, sizeof(fake.calls));
	fake.device_count = devices;
	fake.work_times = 0;
	fake.hold = fake.freeze = false;
	for (uint32_t i = 0; i < devices; i++)
		init_device(&fake.devices[i], i);
	fake_cm_reset();
}

void fake_infiniband(uint32_t index, uint16_t lid)
{
	struct fake_device *device = &fake.devices[index];

	WITH_LOCK(&fake.lock);
	device->port.link_layer = IBV_LINK_LAYER_INFINIBAND;
	device->port.lid = lid;
	device->gids[0] = (struct fake_gid){
		.gid = {.raw = {0xfe, 0x80, [15] = (uint8_t)(index + 5)}}, .type = IBV_GID_TYPE_IB};
}

struct fake_device *fake_device(uint32_t index)
{
	return &fake.devices[index];
}

struct fake_counts fake_counts(void)
{
	WITH_LOCK(&fake.lock);
	return fake.counts;
}

void fake_fail(enum fake_call call, uint32_t after, uint32_t times, int error)
{
	WITH_LOCK(&fake.lock);
	fake.calls[call].after = after;
	fake.calls[call].times = times;
	fake.calls[call].error = error;
}

uint32_t fake_called(enum fake_call call)
{
	WITH_LOCK(&fake.lock);
	return fake.calls[call].called;
}

void fake_fail_work(enum ibv_wc_status status, uint32_t after, uint32_t times)
{
	WITH_LOCK(&fake.lock);
	fake.work_status = status;
	fake.work_after = after;
	fake.work_times = times;
}

/* The errno that this call is to fail with, or 0. */
static int fails(enum fake_call call)
{
	fake.calls[call].called++;
	if (fake.calls[call].times == 0)
		return 0;
	if (fake.calls[call].after > 0) {
		fake.calls[call].after--;
		return 0;
	}
	fake.calls[call].times--;
	errno = fake.calls[call].error;
	return errno;
}

/* --- devices ------------------------------------------------------------------------------ */

static struct ibv_device **get_device_list(int *count)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_GET_DEVICE_LIST))
		return NULL;
	struct ibv_device **list = calloc(fake.device_count + 1, sizeof(*list));
	for (uint32_t i = 0; list && i < fake.device_count; i++)
		list[i] = &fake.devices[i].device;
	*count = (int)fake.device_count;
	return list;
}

static void free_device_list(struct ibv_device **list)
{
	free(list);
}

static struct ibv_context *open_device(struct ibv_device *device)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_OPEN_DEVICE))
		return NULL;
	struct fake_context *context = calloc(1, sizeof(*context));
	MUST(context);
	context->device = container_of(device, struct fake_device, device);
	context->context.device = device;
	context->context.async_fd = eventfd(0, EFD_SEMAPHORE);
	context->next = fake.contexts;
	fake.contexts = context;
	fake.counts.contexts++;
	return &context->context;
}

static int close_device(struct ibv_context *base)
{
	struct fake_context **at = &fake.contexts;

	WITH_LOCK(&fake.lock);
	while (&(*at)->context != base)
		at = &(*at)->next;
	struct fake_context *context = *at;
	*at = context->next;
	close(context->context.async_fd);
	free(context);
	fake.counts.contexts--;
	return 0;
}

static struct fake_device *device_of(struct ibv_context *context)
{
	return container_of(context->device, struct fake_device, device);
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	WITH_LOCK(&fake.lock);
	*attr = device_of(context)->attr;
	return fails(FAKE_QUERY_DEVICE);
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
	WITH_LOCK(&fake.lock);
	if (port != 1)
		return EINVAL;
	*attr = device_of(context)->port;
	return fails(FAKE_QUERY_PORT);
}

static int query_gid(struct ibv_context *context, uint8_t port, uint32_t index,
		     struct ibv_gid_entry *entry)
{
	WITH_LOCK(&fake.lock);
	if (index >= FAKE_GID_MAX)
		return EINVAL;
	const struct fake_gid *gid = &device_of(context)->gids[index];
	*entry = (struct ibv_gid_entry){
		.gid = gid->gid, .gid_index = index, .port_num = port, .gid_type = gid->type};
	return gid->error ? gid->error : fails(FAKE_QUERY_GID);
}

/* --- protection domains, memory ------------------------------------------------------------- */

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_ALLOC_PD))
		return NULL;
	struct ibv_pd *pd = calloc(1, sizeof(*pd));
	MUST(pd);
	pd->context = context;
	fake.counts.pds++;
	return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
	WITH_LOCK(&fake.lock);
	free(pd);
	fake.counts.pds--;
	return 0;
}

static struct ibv_mr *make_mr(struct ibv_pd *pd, uint64_t address, size_t length, int access)
{
	do {
		fake.next_mr = fake.next_mr % (MR_MAX - 1) + 1;
	} while (fake.mrs[fake.next_mr]);
	struct ibv_mr *mr = calloc(1, sizeof(*mr));
	MUST(mr);
	*mr = (struct ibv_mr){.context = pd->context,
			      .pd = pd,
			      .addr = (void *)address,
			      .length = length,
			      .lkey = fake.next_mr,
			      .rkey = fake.next_mr};
	fake.mrs[fake.next_mr] = mr;
	fake.access[fake.next_mr] = access;
	fake.counts.mrs++;
	fake.counts.last_access = access;
	return mr;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *memory, size_t length, int access)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_REG_MR))
		return NULL;
	return make_mr(pd, (uintptr_t)memory, length, access);
}

static struct ibv_mr *reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length,
				    uint64_t iova, int fd, int access)
{
	(void)offset;
	(void)fd;
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_REG_DMABUF_MR))
		return NULL;
	return make_mr(pd, iova, length, access);
}

static int dereg_mr(struct ibv_mr *mr)
{
	WITH_LOCK(&fake.lock);
	int error = fails(FAKE_DEREG_MR);
	fake.mrs[mr->rkey] = NULL;
	free(mr);
	fake.counts.mrs--;
	return error;
}

/* --- completion queues --------------------------------------------------------------------------
 */

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *context)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CREATE_COMP_CHANNEL))
		return NULL;
	struct fake_channel *channel = calloc(1, sizeof(*channel));
	MUST(channel);
	channel->channel.context = context;
	channel->channel.fd = eventfd(0, EFD_SEMAPHORE);
	fake.counts.channels++;
	return &channel->channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
	WITH_LOCK(&fake.lock);
	close(channel->fd);
	free(container_of(channel, struct fake_channel, channel));
	fake.counts.channels--;
	return 0;
}

static struct ibv_cq *create_cq(struct ibv_context *context, int cqe, void *owner,
				struct ibv_comp_channel *channel, int vector)
{
	(void)vector;
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CREATE_CQ))
		return NULL;
	struct fake_cq *cq = calloc(1, sizeof(*cq));
	MUST(cq);
	cq->cqes = calloc((size_t)cqe, sizeof(*cq->cqes));
	MUST(cq->cqes);
	cq->cq.context = context;
	cq->cq.channel = channel;
	cq->cq.cq_context = owner;
	cq->cq.cqe = cqe;
	container_of(channel, struct fake_channel, channel)->cq = &cq->cq;
	fake.counts.cqs++;
	return &cq->cq;
}

static int destroy_cq(struct ibv_cq *base)
{
	struct fake_cq *cq = container_of(base, struct fake_cq, cq);

	WITH_LOCK(&fake.lock);
	free(cq->cqes);
	free(cq);
	fake.counts.cqs--;
	return 0;
}

static void ring(int fd)
{
	uint64_t one = 1;

	MUST(write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

static int req_notify_cq(struct ibv_cq *base)
{
	WITH_LOCK(&fake.lock);
	container_of(base, struct fake_cq, cq)->armed = true;
	return fails(FAKE_REQ_NOTIFY_CQ);
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **owner)
{
	uint64_t one;

	if (read(channel->fd, &one, sizeof(one)) < 0)
		return -1;
	WITH_LOCK(&fake.lock);
	*cq = container_of(channel, struct fake_channel, channel)->cq;
	*owner = (*cq)->cq_context;
	return 0;
}

static void ack_cq_events(struct ibv_cq *cq, unsigned int count)
{
	(void)cq;
	(void)count;
}

static int poll_cq(struct ibv_cq *base, int count, struct ibv_wc *wcs)
{
	struct fake_cq *cq = container_of(base, struct fake_cq, cq);
	int taken = 0;

	WITH_LOCK(&fake.lock);
	if (fails(FAKE_POLL_CQ))
		return -1;
	for (; taken < count && cq->count > 0; taken++) {
		const struct fake_cqe *cqe = &cq->cqes[cq->first];
		struct fake_qp *qp = fake.qps[cqe->qp_num];
		if (qp)
			qp->used -= cqe->frees;
		wcs[taken] = cqe->wc;
		cq->first = (cq->first + 1) % (uint32_t)cq->cq.cqe;
		cq->count--;
	}
	return taken;
}

static void complete(struct fake_qp *qp, const struct ibv_send_wr *wr, enum ibv_wc_status status)
{
	struct fake_cq *cq = container_of(qp->init.send_cq, struct fake_cq, cq);

	qp->silent++;
	if (status == IBV_WC_SUCCESS && !(wr->send_flags & IBV_SEND_SIGNALED))
		return;
	if (cq->count == (uint32_t)cq->cq.cqe) {
		fake.counts.cq_overruns++;
		return;
	}
	cq->cqes[(cq->first + cq->count++) % (uint32_t)cq->cq.cqe] = (struct fake_cqe){
		.wc = {.wr_id = wr->wr_id, .status = status, .qp_num = qp->qp.qp_num},
		.qp_num = qp->qp.qp_num,
		.frees = qp->silent};
	qp->silent = 0;
	if (cq->armed)
		ring(cq->cq.channel->fd);
	cq->armed = false;
}

/* --- queue pairs
 * ------------------------------------------------------------------------------------ */

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
	WITH_LOCK(&fake.lock);
	if (fails(FAKE_CREATE_QP))
		return NULL;
	struct fake_qp *qp = calloc(1, sizeof(*qp));
	MUST(qp && init->cap.max_send_wr <= SQ_MAX);
	do {
		fake.next_qp = fake.next_qp % (QP_MAX - 1) + 1;
	} while (fake.qps[fake.next_qp]);
	qp->qp = (struct ibv_qp){.context = pd->context,
				 .pd = pd,
				 .send_cq = init->send_cq,
				 .qp_num = fake.next_qp,
				 .qp_type = init->qp_type};
	qp->device = device_of(pd->context);
	qp->init = *init;
	fake.qps[fake.next_qp] = qp;
	fake.counts.qps++;
	return &qp->qp;
}

static bool region_allows(uint32_t key, const struct ibv_context *context, uint64_t address,
			  uint64_t length, int access)
{
	const struct ibv_mr *mr = key < MR_MAX ? fake.mrs[key] : NULL;

	return mr && mr->context->device == context->device &&
	       (fake.access[key] & access) == access && address >= (uintptr_t)mr->addr &&
	       length <= mr->length && address - (uintptr_t)mr->addr <= mr->length - length;
}

/* On InfiniBand the LID brings a packet to its port, on Ethernet the GID alone does. */
static bool is_sent_to(const struct fake_qp *qp, const struct fake_qp *other)
{
	const struct fake_device *device = other->device;
	const struct ibv_ah_attr *ah = &qp->attr.ah_attr;

	return (device->port.link_layer == IBV_LINK_LAYER_ETHERNET ||
		ah->dlid == device->port.lid) &&
	       memcmp(&device->gids[other->attr.ah_attr.grh.sgid_index].gid, &ah->grh.dgid,
		      sizeof(union ibv_gid)) == 0;
}

static struct fake_qp *other_side(const struct fake_qp *qp)
{
	struct fake_qp *other =
		qp->attr.dest_qp_num < QP_MAX ? fake.qps[qp->attr.dest_qp_num] : NULL;

	if (!other || other->state < IBV_QPS_RTR || other->state > IBV_QPS_RTS ||
	    other->attr.dest_qp_num != qp->qp.qp_num ||
	    other->device->port.state != IBV_PORT_ACTIVE ||
	    qp->device->port.state != IBV_PORT_ACTIVE || !is_sent_to(qp, other))
		return NULL;
	return other;
}

static enum ibv_wc_status perform(const struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	const struct ibv_sge *sge = wr->sg_list;
	const struct fake_qp *other = other_side(qp);
	bool reads = wr->opcode == IBV_WR_RDMA_READ;

	if (!other)
		return IBV_WC_RETRY_EXC_ERR;
	if (wr->num_sge == 0)
		return IBV_WC_SUCCESS;
	if (fake.work_times > 0 && fake.work_after-- == 0) {
		fake.work_after = 0;
		fake.work_times--;
		return fake.work_status;
	}
	if (!(wr->send_flags & IBV_SEND_INLINE) &&
	    !region_allows(sge->lkey, qp->qp.context, sge->addr, sge->length,
			   reads ? IBV_ACCESS_LOCAL_WRITE : 0))
		return IBV_WC_LOC_PROT_ERR;
	int access = reads ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE;
	if (!(other->attr.qp_access_flags & (unsigned int)access) ||
	    !region_allows(wr->wr.rdma.rkey, other->qp.context, wr->wr.rdma.remote_addr,
			   sge->length, access))
		return IBV_WC_REM_ACCESS_ERR;
	memcpy((void *)(reads ? sge->addr : wr->wr.rdma.remote_addr),
	       (void *)(reads ? wr->wr.rdma.remote_addr : sge->addr), sge->length);
	fake.counts.moved[qp->device - fake.devices][other->device - fake.devices] += sge->length;
	return IBV_WC_SUCCESS;
}

static void run_queue(struct fake_qp *qp)
{
	for (uint32_t i = 0; i < qp->wr_count; i++) {
		struct ibv_send_wr *wr = &qp->wrs[i];
		enum ibv_wc_status status = IBV_WC_WR_FLUSH_ERR;
		wr->sg_list = &qp->sges[i];
		if (qp->state != IBV_QPS_ERR)
			status = perform(qp, wr);
		if (status != IBV_WC_SUCCESS)
			qp->state = IBV_QPS_ERR;
		complete(qp, wr, status);
	}
	qp->wr_count = 0;
}

static int modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *qp = container_of(base, struct fake_qp, qp);

	WITH_LOCK(&fake.lock);
	int error = fails(FAKE_MODIFY_QP);
	if (error)
		return error;
	if (attr->qp_state != IBV_QPS_ERR && attr->qp_state != IBV_QPS_RESET &&
	    (int)attr->qp_state != (int)qp->state + 1)
		return EINVAL;
	qp->state = attr->qp_state;
	if (mask & IBV_QP_DEST_QPN)
		qp->attr.dest_qp_num = attr->dest_qp_num;
	if (mask & IBV_QP_AV)
		qp->attr.ah_attr = attr->ah_attr;
	if (mask & IBV_QP_ACCESS_FLAGS)
		qp->attr.qp_access_flags = attr->qp_access_flags;
	if (mask & IBV_QP_PATH_MTU)
		fake.counts.last = *attr;
	if (mask & IBV_QP_TIMEOUT)
		fake.counts.last.timeout = attr->timeout;
	if (mask & IBV_QP_MAX_QP_RD_ATOMIC)
		fake.counts.most_read_atomic = attr->max_rd_atomic;
	if (qp->state == IBV_QPS_ERR && !fake.freeze)
		run_queue(qp);
	return 0;
}

static int destroy_qp(struct ibv_qp *base)
{
	struct fake_qp *qp = container_of(base, struct fake_qp, qp);

	WITH_LOCK(&fake.lock);
	int error = fails(FAKE_DESTROY_QP);
	fake.qps[qp->qp.qp_num] = NULL;
	free(qp);
	fake.counts.qps--;
	return error;
}

static int post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct fake_qp *qp = container_of(base, struct fake_qp, qp);

	WITH_LOCK(&fake.lock);
	int error = fails(FAKE_POST_SEND);
	fake.counts.doorbells++;
	for (; wr && !error; wr = wr->next) {
		if (qp->used == qp->init.cap.max_send_wr) {
			fake.counts.sq_overruns++;
			error = ENOMEM;
			break;
		}
		qp->used++;
		fake.counts.posted++;
		fake.counts.signalled += (wr->send_flags & IBV_SEND_SIGNALED) != 0;
		qp->wrs[qp->wr_count] = *wr;
		if (wr->num_sge > 0)
			qp->sges[qp->wr_count] = *wr->sg_list;
		qp->wr_count++;
	}
	*bad = wr;
	if ((!fake.hold || qp->state == IBV_QPS_ERR) && !fake.freeze)
		run_queue(qp);
	return error;
}

void fake_hold(bool hold)
{
	WITH_LOCK(&fake.lock);
	fake.hold = hold;
	for (uint32_t i = 0; !hold && i < QP_MAX; i++)
		if (fake.qps[i])
			run_queue(fake.qps[i]);
}

void fake_freeze(bool freeze)
{
	WITH_LOCK(&fake.lock);
	fake.freeze = freeze;
}

/* --- events
 * -------------------------------------------------------------------------------------------- */

static struct ibv_qp *first_qp(const struct fake_device *device)
{
	for (uint32_t i = 0; i < QP_MAX; i++)
		if (fake.qps[i] && fake.qps[i]->device == device &&
		    fake.qps[i]->init.cap.max_send_wr > 1)
			return &fake.qps[i]->qp;
	return NULL;
}

static void raise_event(struct fake_device *device, enum ibv_event_type type)
{
	for (struct fake_context *context = fake.contexts; context; context = context->next) {
		if (context->device != device)
			continue;
		struct ibv_async_event event = {.event_type = type};
		event.element.port_num = 1;
		if (type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
		    type == IBV_EVENT_QP_ACCESS_ERR)
			event.element.qp = first_qp(device);
		MUST(context->event_count < EVENT_MAX);
		context->events[context->event_count++] = event;
		ring(context->context.async_fd);
	}
}

void fake_event(uint32_t device, enum ibv_event_type type)
{
	WITH_LOCK(&fake.lock);
	raise_event(&fake.devices[device], type);
}

void fake_link(uint32_t device, bool up)
{
	WITH_LOCK(&fake.lock);
	fake.devices[device].port.state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
	raise_event(&fake.devices[device], up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR);
}

static int get_async_event(struct ibv_context *base, struct ibv_async_event *event)
{
	struct fake_context *context = container_of(base, struct fake_context, context);
	uint64_t one;

	if (read(context->context.async_fd, &one, sizeof(one)) < 0)
		return -1;
	WITH_LOCK(&fake.lock);
	*event = context->events[0];
	memmove(&context->events[0], &context->events[1],
		--context->event_count * sizeof(context->events[0]));
	return 0;
}

static void ack_async_event(struct ibv_async_event *event)
{
	(void)event;
}

const struct verbs verbs_fake = {
	.get_device_list = get_device_list,
	.free_device_list = free_device_list,
	.open_device = open_device,
	.close_device = close_device,
	.query_device = query_device,
	.query_port = query_port,
	.query_gid = query_gid,
	.alloc_pd = alloc_pd,
	.dealloc_pd = dealloc_pd,
	.reg_mr = reg_mr,
	.reg_dmabuf_mr = reg_dmabuf_mr,
	.dereg_mr = dereg_mr,
	.create_comp_channel = create_comp_channel,
	.destroy_comp_channel = destroy_comp_channel,
	.create_cq = create_cq,
	.destroy_cq = destroy_cq,
	.req_notify_cq = req_notify_cq,
	.get_cq_event = get_cq_event,
	.ack_cq_events = ack_cq_events,
	.poll_cq = poll_cq,
	.create_qp = create_qp,
	.modify_qp = modify_qp,
	.destroy_qp = destroy_qp,
	.post_send = post_send,
	.get_async_event = get_async_event,
	.ack_async_event = ack_async_event,
	.cm = &rdmacm_fake,
};
