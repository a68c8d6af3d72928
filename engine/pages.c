#include "engine/pages.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/thread.h"

#define HUGE_PAGE	  (2ull << 20)
#define TOUCH_MIN	  (64ull << 20) /* below, threads cost more than they save */
#define TOUCH_THREADS_MAX 8u
#define BLOCK_PAGES	  512u /* a huge page, where pages have 4 KiB */
#define SAMPLES		  8u   /* of a block: first and last, and at odd distances between */

static uintptr_t page_size(void)
{
	return (uintptr_t)sysconf(_SC_PAGESIZE);
}

/* --- touching ------------------------------------------------------------------------ */

struct piece {
	pthread_t thread;
	char *start;
	size_t length;
};

static void *touch(void *argument)
{
	struct piece *piece = argument;

	/* A kernel or a mapping that can't leaves it to the registration. */
	if (madvise(piece->start, piece->length, MADV_POPULATE_WRITE))
		(void)madvise(piece->start, piece->length, MADV_POPULATE_READ);
	return NULL;
}

static uint32_t touching_threads(uint64_t length)
{
	long cores = length < TOUCH_MIN ? 1 : sysconf(_SC_NPROCESSORS_ONLN);

	if (cores < 1)
		return 1;
	return cores > (long)TOUCH_THREADS_MAX ? TOUCH_THREADS_MAX : (uint32_t)cores;
}

void pages_touch(void *memory, uint64_t length)
{
	struct piece pieces[TOUCH_THREADS_MAX];
	char *at = (char *)((uintptr_t)memory & ~(page_size() - 1));
	char *end = (char *)memory + length;
	uint32_t count = touching_threads(length), made = 0;
	uint64_t step = (length / count + HUGE_PAGE) & ~(HUGE_PAGE - 1);

	/* All but the last piece, which is this thread's, end on a huge page. */
	while (made + 1 < count) {
		char *next = (char *)(((uintptr_t)at + step) & ~(HUGE_PAGE - 1));
		pieces[made] = (struct piece){.start = at, .length = (size_t)(next - at)};
		if (next >= end || thread_start(&pieces[made].thread, touch, &pieces[made]))
			break;
		at = next;
		made++;
	}
	touch(&(struct piece){.start = at, .length = (size_t)(end - at)});
	while (made > 0)
		pthread_join(pieces[--made].thread, NULL);
}

/* --- where they are -------------------------------------------------------------------- */

bool pages_ask_kernel(void **pages, size_t count, int *nodes)
{
	/* Without targets it moves nothing, and says where they are. */
	return syscall(SYS_move_pages, 0, (unsigned long)count, pages, NULL, nodes, 0) == 0;
}

struct cutting {
	pages_ask *ask;
	uintptr_t at, end; /* what is not cut yet */
	struct pages_run *runs;
	uint32_t count;
};

/* The next bytes are on this node.  False: there are too many runs. */
static bool go_on(struct cutting *cutting, uintptr_t to, int node)
{
	struct pages_run *last = cutting->count > 0 ? &cutting->runs[cutting->count - 1] : NULL;
	uint64_t length = (to < cutting->end ? to : cutting->end) - cutting->at;

	cutting->at += length;
	if (last && (node < 0 || last->node < 0 || last->node == node)) {
		last->length += length;
		last->node = last->node < 0 ? node : last->node;
		return true;
	}
	if (cutting->count == PAGES_RUNS_MAX)
		return false;
	cutting->runs[cutting->count++] = (struct pages_run){length, node};
	return true;
}

/* These few pages are on one node (or -1, nobody knows).  False: they are on several. */
static bool agree(const int *nodes, uint32_t count, int *node)
{
	*node = -1;
	for (uint32_t i = 0; i < count; i++) {
		if (*node >= 0 && nodes[i] >= 0 && nodes[i] != *node)
			return false;
		*node = nodes[i] >= 0 ? nodes[i] : *node;
	}
	return true;
}

/* Look at a few pages of a block, and only where they differ at each. */
static bool cut_block(struct cutting *cutting, uintptr_t first, uint32_t count)
{
	uint32_t samples = count < SAMPLES ? count : SAMPLES;
	uintptr_t size = page_size();
	void *pages[BLOCK_PAGES];
	int nodes[BLOCK_PAGES], node;
	bool fine = true;

	for (uint32_t i = 0; i < samples; i++) {
		uint32_t page = samples > 1 ? i * (count - 1) / (samples - 1) : 0;
		pages[i] = (void *)(first + page * size);
	}
	if (!cutting->ask(pages, samples, nodes))
		return false;
	if (agree(nodes, samples, &node))
		return go_on(cutting, first + count * size, node);
	for (uint32_t i = 0; i < count; i++)
		pages[i] = (void *)(first + i * size);
	if (!cutting->ask(pages, count, nodes))
		return false;
	for (uint32_t i = 0; i < count && fine; i++)
		fine = go_on(cutting, first + (i + 1) * size, nodes[i]);
	return fine;
}

uint32_t pages_runs(pages_ask *ask, const void *memory, uint64_t length,
		    struct pages_run runs[PAGES_RUNS_MAX])
{
	struct cutting cutting = {ask, (uintptr_t)memory, (uintptr_t)memory + length, runs, 0};
	uintptr_t size = page_size(), first = cutting.at & ~(size - 1);
	bool fine = true;

	MUST(length > 0);
	for (; fine && first < cutting.end; first += BLOCK_PAGES * size) {
		uintptr_t left = (cutting.end - first + size - 1) / size;
		fine = cut_block(&cutting, first,
				 left < BLOCK_PAGES ? (uint32_t)left : BLOCK_PAGES);
	}
	if (fine && (cutting.count == 1 || length >= (uint64_t)cutting.count * PAGES_RUN_MIN))
		return cutting.count;
	runs[0] = (struct pages_run){length, -1};
	return 1;
}
