/*
 * tests/support/fake_rdmacm.h -- librdmacm between the fake NICs of this process
 *
 * Connects queue pairs of fake_verbs.h by the addresses that their GIDs are.  A
 * test can make any call fail, put any event in the place of another or keep it
 * back, raise one on what is connected, and count what is there.  What would
 * never return in the library (an id destroyed while one of its events is out)
 * ends the test.
 *
 * Threads   Any thread; fake_cm_reset() while nobody is connected.
 */
#ifndef TESTS_SUPPORT_FAKE_RDMACM_H
#define TESTS_SUPPORT_FAKE_RDMACM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fabric/rdma/rdmacm.h"

#define FAKE_CM_SILENCE (-1)

enum fake_cm_call {
	FAKE_CM_CREATE_CHANNEL,
	FAKE_CM_CREATE_ID,
	FAKE_CM_DESTROY_ID,
	FAKE_CM_BIND_ADDR,
	FAKE_CM_LISTEN,
	FAKE_CM_RESOLVE_ADDR,
	FAKE_CM_RESOLVE_ROUTE,
	FAKE_CM_CONNECT,
	FAKE_CM_ACCEPT,
	FAKE_CM_ESTABLISH,
	FAKE_CM_INIT_QP_ATTR,
	FAKE_CM_CALLS,
};

struct fake_cm_counts {
	uint32_t channels, ids, events; /* there now */
	uint32_t connects;		/* established so far */
};

/* The way that it finds, which the configuration and the ports bound. */
struct fake_cm_way {
	enum ibv_mtu mtu;
	uint8_t timeout, service_level, traffic_class;
};

extern const struct rdmacm rdmacm_fake;

void fake_cm_reset(void);
struct fake_cm_counts fake_cm_counts(void);
struct fake_cm_way *fake_cm_way(void);

/* Where one of those that listen does. */
uint16_t fake_cm_port(void);

/* After so many calls that go well, let so many fail with this errno. */
void fake_cm_fail(enum fake_cm_call call, uint32_t after, uint32_t times, int error);
uint32_t fake_cm_called(enum fake_cm_call call);

/* In place of the next events of this type another one comes, or none (FAKE_CM_SILENCE). */
void fake_cm_replace(enum rdma_cm_event_type expected, int given, uint32_t times);

/* This happens to all ids that listen (or that are connected). */
void fake_cm_raise(bool listening, enum rdma_cm_event_type type);

#endif
