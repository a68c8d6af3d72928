/*
 * engine/transport/tcp/lane.h -- the threads that move bytes over TCP, in pairs
 *
 * What a thread can move over TCP is a few GB/s, less than a network or a memory
 * has.  So there are some lanes, each with an owner and a puller and a thread for
 * either, and each with a share of the processors: every n-th is its own, so that
 * the kernel, which likes to wake a receiver where its sender runs, can't put all of
 * them on one.  What comes in on a processor is served there, and so is who asks for
 * an object, as long as the lanes are equally busy.
 *
 * Ownership   Lane 0 listens and owns the listening socket.
 * Threads     lanes_for_pull: any.
 */
#ifndef ENGINE_TRANSPORT_TCP_LANE_H
#define ENGINE_TRANSPORT_TCP_LANE_H

#include <sched.h>

#include "engine/transport/owner.h"
#include "engine/transport/puller.h"
#include "engine/transport/tcp/bytes.h"

#define LANES_MAX 4u

struct lane {
	struct lanes *lanes;
	struct owner owner;
	struct puller puller;
	struct bytes bytes; /* the owner's context */
};

/* Zero is one that was not started. */
struct lanes {
	/* fixed after start */
	unsigned count;
	cpu_set_t cpus;		     /* of all */
	uint8_t of_cpu[CPU_SETSIZE]; /* which lane's each is */
	struct lane list[LANES_MAX];
};

/* Start as many as there are processors for.  After an error the socket is the caller's. */
MC_MUST_CHECK enum mc_status lanes_start(struct lanes *lanes, const struct transport_source *source,
					 int listen_fd);
void lanes_stop(struct lanes *lanes);

/* The lane for the next pull of the calling thread. */
unsigned lanes_for_pull(const struct lanes *lanes);

/* A pull was cancelled: who helps it looks. */
void lanes_look(struct lanes *lanes);

#endif
