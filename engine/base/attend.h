/*
 * engine/base/attend.h -- wait a moment for what one has asked oneself
 *
 * The answer to a request usually comes within microseconds.  A thread that
 * has nothing to do meanwhile receives it itself: it is spared the wake-up of
 * another thread and, where it serves the kernel by io_uring, a second one: a
 * reply that another thread hands in makes the kernel deliver the next request
 * through that thread.
 *
 *     attend_begin();
 *     client_call(...);   a connection that nobody reads just now is taken over
 *     attend_end();       read it until the answer is there, or a moment is over
 *
 * What has not come by then is received by the connection's own thread, as
 * ever.  Answers, and what they bring about, run on the thread that attends.
 *
 * Threads   Each for itself.
 */
#ifndef ENGINE_BASE_ATTEND_H
#define ENGINE_BASE_ATTEND_H

#include <stdbool.h>
#include <stdint.h>

/* A connection that has been taken over. */
struct attention {
	/*
	 * Handle what is there, without waiting.  True: there is nothing to wait
	 * for any more; else *fd is what becomes readable.
	 */
	bool (*receive)(void *context, int *fd);
	/* Give the connection back.  `answered`: not too late. */
	void (*release)(void *context, bool answered);
	void *context;
};

void attend_begin(void);
void attend_end(void);

/* Whether this thread attends and can take another connection over. */
bool attend_wanted(void);
/* It has: until attend_end() has called release. */
void attend_to(const struct attention *attention);

#endif
