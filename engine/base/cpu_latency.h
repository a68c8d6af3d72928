/*
 * engine/base/cpu_latency.h -- keep idle processors ready while there is work
 *
 * A processor that idles goes to sleep, and on a virtual machine leaves the guest:
 * to wake it takes tens of microseconds, several times in an operation that takes a
 * hundred.  The kernel can be told how long that may take at most, by whoever holds
 * /dev/cpu_dma_latency open (Documentation/power/pm_qos_interface.rst, "CPU latency
 * QoS").  This holds it from a sign of work until CPU_LATENCY_HOLD_MS after the last
 * one: who has nothing to do lets the machine sleep.
 *
 *     cpu_latency_busy(latency);      in each request: 10 ns
 *
 * Threads   Any thread; cpu_latency_close() after the last.  The first sign after a
 *           rest tells the kernel, which wakes the idle processors: 25 us.
 * Errors    MC_NOT_SUPPORTED the kernel has no such file; MC_PERMISSION it is not ours.
 */
#ifndef ENGINE_BASE_CPU_LATENCY_H
#define ENGINE_BASE_CPU_LATENCY_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_LATENCY_DEVICE  "/dev/cpu_dma_latency"
#define CPU_LATENCY_ANY	    UINT32_MAX /* nothing is asked of the kernel */
#define CPU_LATENCY_MAX_US  1000000u
#define CPU_LATENCY_HOLD_MS 50u

struct cpu_latency;

/* Read "auto", "any" or microseconds.  False: it is none of them. */
bool cpu_latency_read(const char *text, uint32_t *us);

/*
 * What this machine gains from: 0 where an idle processor leaves the guest
 * (the idle driver is haltpoll), else CPU_LATENCY_ANY.
 */
uint32_t cpu_latency_auto(void);

/* us: of the longest wake-up while there is work. */
MC_MUST_CHECK enum mc_status cpu_latency_open(const char *device, uint32_t us,
					      struct cpu_latency **latency);
/* Takes NULL. */
void cpu_latency_close(struct cpu_latency *latency);

/*
 * Open it as an option says: "auto", "any" or NULL, or microseconds (a text that can't
 * be read is a bug).  NULL: it is off, which nobody minds; why says so to people.
 */
struct cpu_latency *cpu_latency_begin(const char *text, char *why, size_t size);

/* There is work.  Takes NULL. */
void cpu_latency_busy(struct cpu_latency *latency);

#endif
