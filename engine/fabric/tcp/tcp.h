/*
 * engine/fabric/tcp/tcp.h -- the TCP fabric's parts and what they share
 *
 * One side serves peers (warden.h), the other uses them (lane.h); the driver
 * (driver.h) is whichever thread receives for the second side at the moment.
 *
 * Ownership   A fabric owns its peers until disconnect.
 * Threads     As each field says.  Lock order: drive, lock, a peer's lock.
 */
#ifndef ENGINE_FABRIC_TCP_TCP_H
#define ENGINE_FABRIC_TCP_TCP_H

#include <mooncake/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/net.h"
#include "engine/base/spin.h"
#include "engine/fabric/fabric.h"
#include "engine/fabric/tcp/warden.h"
#include "engine/fabric/vault.h"

#define TCP_LANES_MAX  4u	   /* to a peer */
#define TCP_LANE_BUSY  (16u << 20) /* bytes on every lane before another is opened */
#define TCP_SLICE_SIZE (4u << 20)
#define TCP_SPIN_SIZE  (8u << 10) /* bytes on their way, at most, for which spinning pays */
#define TCP_PREFIX     "tcp:"

struct lane;

struct tcp {
	struct fabric fabric;
	struct vault vault;
	struct warden warden;
	char endpoint[NET_TEXT_SIZE + sizeof(TCP_PREFIX)];
	/* fixed after open */
	int epoll_fd, timer_fd, kick_fd;
	pthread_t mover;
	/* who receives: see driver.h */
	pthread_mutex_t drive;
	struct spin spin; /* protected by drive */
	pthread_mutex_t turn_lock;
	pthread_cond_t turned;
	uint64_t turns;	     /* protected by turn_lock */
	unsigned followers;  /* protected by turn_lock */
	atomic_ulong drives; /* how often somebody waited, so far */
	atomic_uint drivers; /* who wait now */
	atomic_uint wanted;  /* who want the drive for themselves */
	atomic_bool stopping;
	atomic_bool ticking; /* the timer is set */
	/* protected by lock */
	pthread_mutex_t lock;
	struct tcp_peer *peers;
	/* atomic */
	atomic_ulong slices_done, slices_failed, bytes_read, bytes_written, connects;
	atomic_ulong slices, lanes, peer_count, regions;
	atomic_ulong bytes; /* of slices in flight */
};

struct tcp_peer {
	struct fabric_peer peer;
	struct tcp *tcp;
	struct tcp_peer *next; /* protected by the fabric's lock */
	struct net_address address;
	/* protected by lock */
	pthread_mutex_t lock;
	struct lane *lanes;
};

extern const struct fabric_ops fabric_tcp_ops;

/* See that somebody looks at the clock as long as slices are under way. */
void tcp_tick(struct tcp *tcp);

#endif
