#include "engine/base/attend.h"

#include <poll.h>
#include <sched.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"

#define ATTEND_NS     200000ull /* in all */
#define SPIN_NS	      30000ull	/* before the thread sleeps */
#define ATTENTION_MAX 2u	/* an answer may lead to a question to somebody else */

static _Thread_local struct {
	bool on;
	unsigned count;
	struct attention list[ATTENTION_MAX];
} attending;

void attend_begin(void)
{
	MUST(!attending.on && attending.count == 0);
	attending.on = true;
}

bool attend_wanted(void)
{
	return attending.on && attending.count < ATTENTION_MAX;
}

void attend_to(const struct attention *attention)
{
	MUST(attend_wanted());
	attending.list[attending.count++] = *attention;
}

/* True: answered. */
static bool wait_for(const struct attention *attention, uint64_t begin_ns)
{
	int fd;

	while (!attention->receive(attention->context, &fd)) {
		uint64_t past_ns = clock_ns() - begin_ns;
		if (past_ns >= ATTEND_NS)
			return false;
		if (past_ns < SPIN_NS) {
			sched_yield();
			continue;
		}
		struct pollfd socket = {.fd = fd, .events = POLLIN};
		struct timespec left = {.tv_nsec = (long)(ATTEND_NS - past_ns)};
		if (ppoll(&socket, 1, &left, NULL) == 0)
			return false;
	}
	return true;
}

void attend_end(void)
{
	uint64_t begin_ns = attending.count ? clock_ns() : 0;

	/* Each may add the next. */
	for (unsigned i = 0; i < attending.count; i++) {
		struct attention attention = attending.list[i];
		bool answered = wait_for(&attention, begin_ns);
		attention.release(attention.context, answered);
	}
	attending.count = 0;
	attending.on = false;
}
