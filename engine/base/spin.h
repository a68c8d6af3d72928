/*
 * engine/base/spin.h -- whether to look again before sleeping
 *
 * A thread that sleeps has to be woken, and a processor that was left idle takes
 * its time: tens of microseconds on a virtual machine, where looking again costs
 * one.  It pays when what is awaited comes soon and nobody else wants the processor,
 * and who spins finds out about both: it looks for SPIN_NS at most, rests for
 * SPIN_REST_NS after SPIN_VAIN_MAX times in vain, and at once when the clock has
 * jumped between two looks, as somebody else had the processor then.  What comes to
 * nothing so costs at most 0.4 % of a processor.
 *
 *     if (spin_begin(&spin, clock_ns()))
 *             do
 *                     found = look();
 *             while (spin_on(&spin, found, clock_ns()));
 *     if (!found)
 *             sleep();
 *
 * Each side of a conversation gains by its own spinning, whether or not the other
 * spins: nothing has to be agreed on.
 *
 * Ownership   Embedded; zero is a new one.
 * Threads     One at a time.
 */
#ifndef ENGINE_BASE_SPIN_H
#define ENGINE_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS	      50000u
#define SPIN_JUMP_NS  200000u
#define SPIN_REST_NS  50000000u
#define SPIN_VAIN_MAX 4u

struct spin {
	uint64_t begin_ns, last_ns;
	uint64_t rest_until_ns;
	unsigned vain; /* spins more in vain than not */
};

/* False: it rests. */
bool spin_begin(struct spin *spin, uint64_t now_ns);

/* After each look.  True: look again. */
bool spin_on(struct spin *spin, bool found, uint64_t now_ns);

#endif
