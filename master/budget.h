/*
 * master/budget.h -- so many bytes a second, on average
 *
 * What was saved up is at most one second's worth.  A piece larger than what
 * there is may begin, and is paid off before the next.
 *
 * Threads   One at a time.
 */
#ifndef MASTER_BUDGET_H
#define MASTER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
	uint64_t rate; /* bytes a second */
	int64_t bytes; /* that may be spent now */
	uint64_t at_ms;
};

static inline void budget_begin(struct budget *budget, uint64_t rate, uint64_t now_ms)
{
	*budget = (struct budget){.rate = rate, .bytes = (int64_t)rate, .at_ms = now_ms};
}

static inline bool budget_has(struct budget *budget, uint64_t now_ms)
{
	uint64_t passed_ms = now_ms - budget->at_ms;

	budget->at_ms = now_ms;
	if (passed_ms > 3600000)
		passed_ms = 3600000;
	int64_t more =
		(int64_t)(budget->rate / 1000 * passed_ms + budget->rate % 1000 * passed_ms / 1000);
	budget->bytes += more;
	if (budget->bytes > (int64_t)budget->rate)
		budget->bytes = (int64_t)budget->rate;
	return budget->bytes > 0;
}

static inline void budget_spend(struct budget *budget, uint64_t bytes)
{
	budget->bytes -= (int64_t)bytes;
}

#endif
