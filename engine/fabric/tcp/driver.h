/*
 * engine/fabric/tcp/driver.h -- who receives what peers answer
 *
 * A thread that waits for its own slices receives for all: the bytes come in on
 * the processor that waits for them, and no other thread has to wake first.  When
 * nobody waits, the fabric's thread (the mover) does it.  As long as others drive
 * it naps, MOVER_NAP_NS at a time, so what nobody waits for any more is late by
 * that much at most; when nothing comes, nobody runs.
 *
 *     progress() ── the drive is free ──► epoll, receive, done()
 *                └─ somebody has it ────► sleep until that one has completed something
 *
 * Threads   Any.
 */
#ifndef ENGINE_FABRIC_TCP_DRIVER_H
#define ENGINE_FABRIC_TCP_DRIVER_H

#include "engine/fabric/tcp/tcp.h"

#define MOVER_NAP_NS 1000000u
#define TICK_MS	     50u /* how late a deadline is noticed, at most twice that */

MC_MUST_CHECK enum mc_status driver_start(struct tcp *tcp);
void driver_stop(struct tcp *tcp);

/* fabric_ops.progress */
void driver_progress(struct fabric *fabric, uint64_t timeout_ns);

/* Have the drive alone, to end lanes. */
void driver_take(struct tcp *tcp);
void driver_give(struct tcp *tcp);

#endif
