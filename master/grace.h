/*
 * master/grace.h -- when memory that a reader may still look at is freed
 *
 * Readers look at the tables while the writer changes them.  What the writer
 * takes out it does not free but gives to grace_free(); it is freed when every
 * reader that was inside at that moment has left.  Nobody waits: a reader marks
 * that it is inside with one store, and the writer looks at the marks now and
 * then.
 *
 *     reader   enter ── loads ── leave
 *     writer   unlink, grace_free ─► waiting ─► (all left) ─► due: free
 *
 * Rounds: a mark is the number of the round in which the reader came.  What was
 * given away before a round began can be freed when no mark is older than it.
 *
 * Not liburcu: two words a thread are all that is needed of it, and ThreadSanitizer
 * understands these and not its barriers.
 *
 * Threads   enter and leave: each reader its own number, any thread.  The rest:
 *           the writer.
 * Limits    GRACE_READER_MAX readers.  A reader that stays inside keeps all that
 *           is given away meanwhile from being freed.
 */
#ifndef MASTER_GRACE_H
#define MASTER_GRACE_H

#include <stddef.h>
#include <stdint.h>

#define GRACE_READER_MAX 64u

struct grace_list {
	void **items;
	size_t count;
	size_t capacity;
};

struct grace {
	unsigned reader_count; /* fixed before the first enters */
	uint64_t round;	       /* atomic; 0 is no round */
	struct grace_mark {
		uint64_t round;	   /* atomic; 0: not inside */
		uint64_t apart[7]; /* a cache line each */
	} marks[GRACE_READER_MAX];

	/* the writer's */
	struct grace_list fresh;   /* given away in this round */
	struct grace_list waiting; /* in the one before */
};

void grace_init(struct grace *grace);
/* No reader is inside any more. */
void grace_fini(struct grace *grace);

static inline void grace_enter(struct grace *grace, unsigned reader)
{
	uint64_t round = __atomic_load_n(&grace->round, __ATOMIC_RELAXED);

	__atomic_store_n(&grace->marks[reader].round, round, __ATOMIC_SEQ_CST);
	/* The mark stands before the first load; pairs with that in grace_collect(). */
	__sync_synchronize();
}

static inline void grace_leave(struct grace *grace, unsigned reader)
{
	__atomic_store_n(&grace->marks[reader].round, 0, __ATOMIC_RELEASE);
}

/* Free memory of malloc() that no reader can find any more.  Takes NULL. */
void grace_free(struct grace *grace, void *memory);

/* Free what is due.  Call it now and then: each call may begin a round. */
void grace_collect(struct grace *grace);

#endif
