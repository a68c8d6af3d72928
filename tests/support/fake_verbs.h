/*
 * tests/support/fake_verbs.h -- NICs that exist only in this process
 *
 * Verbs (engine/fabric/rdma/verbs.h) whose devices reach each other: work that is
 * posted to a connected queue pair is done at once, by copying, with the checks
 * that a NIC makes.  A test can make any call fail, any event happen, work fail
 * or be kept back, and count what is there.  Both queues are watched: more work
 * than a send queue has room for, or more completions than a completion queue,
 * is counted as an overrun.
 *
 * Threads   Any thread; fake_reset() while nobody uses the devices.
 */
#ifndef TESTS_SUPPORT_FAKE_VERBS_H
#define TESTS_SUPPORT_FAKE_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fabric/rdma/verbs.h"

#define FAKE_DEVICE_MAX 8u
#define FAKE_GID_MAX	8u

enum fake_call {
	FAKE_GET_DEVICE_LIST,
	FAKE_OPEN_DEVICE,
	FAKE_QUERY_DEVICE,
	FAKE_QUERY_PORT,
	FAKE_QUERY_GID,
	FAKE_ALLOC_PD,
	FAKE_REG_MR,
	FAKE_REG_DMABUF_MR,
	FAKE_DEREG_MR,
	FAKE_CREATE_COMP_CHANNEL,
	FAKE_CREATE_CQ,
	FAKE_REQ_NOTIFY_CQ,
	FAKE_POLL_CQ,
	FAKE_CREATE_QP,
	FAKE_MODIFY_QP,
	FAKE_DESTROY_QP,
	FAKE_POST_SEND,
	FAKE_CALLS,
};

struct fake_gid {
	union ibv_gid gid;
	uint32_t type; /* enum ibv_gid_type */
	int error;     /* what reading it says */
};

struct fake_device {
	struct ibv_device device;
	struct ibv_device_attr attr;
	struct ibv_port_attr port;
	struct fake_gid gids[FAKE_GID_MAX];
};

struct fake_counts {
	uint32_t contexts, pds, mrs, channels, cqs, qps; /* there now */
	uint32_t cq_overruns, sq_overruns;
	uint32_t doorbells, posted, signalled, most_read_atomic;
	int last_access;	 /* of the last region */
	struct ibv_qp_attr last; /* what queue pairs were given last to receive and to send */
	/* bytes moved by slices: [device that began][device that answered] */
	uint64_t moved[FAKE_DEVICE_MAX][FAKE_DEVICE_MAX];
};

extern const struct verbs verbs_fake;

/* Forget everything; so many devices "fake0" …, each with a port and an IPv4-mapped GID. */
void fake_reset(uint32_t devices);
struct fake_device *fake_device(uint32_t index);
struct fake_counts fake_counts(void);

/* After so many calls that go well, let so many fail with this errno. */
void fake_fail(enum fake_call call, uint32_t after, uint32_t times, int error);
uint32_t fake_called(enum fake_call call);

/* Let the next slices (not proofs) fail so. */
void fake_fail_work(enum ibv_wc_status status, uint32_t after, uint32_t times);

/* Keep posted work back; false: do what was kept. */
void fake_hold(bool hold);

/* The device no longer does anything, nor flushes. */
void fake_freeze(bool freeze);

/* Something happened to the device: on the port, or to its first queue pair or queue. */
void fake_event(uint32_t device, enum ibv_event_type type);

/* Take the link away or bring it back, with its event. */
void fake_link(uint32_t device, bool up);

/* Make it a device of InfiniBand, its port at that LID. */
void fake_infiniband(uint32_t device, uint16_t lid);

/* An IPv4-mapped GID. */
union ibv_gid fake_mapped_gid(uint8_t last);

#endif
