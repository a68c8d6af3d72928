#include "engine/node/stock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

#define PAGE_SIZE  4096u
#define POPULATE   23 /* MADV_POPULATE_WRITE, since 5.14; older headers lack it */
#define REST_NS	   1000000000ull
#define POOL_SHARE 32u /* of the pool, one part is the most that the stock takes */

struct stock {
	/* fixed after init */
	struct pool *pool;
	uint64_t bytes_max;
	uint64_t room;
	pthread_t thread;
	sem_t work;
	/* atomic: taken by exchange, so each file has one owner */
	struct stock_file *_Atomic files[STOCK_COUNT_MAX];
	_Atomic uint64_t sizes[STOCK_SIZE_COUNT]; /* wanted, the last pulled first */
	_Atomic uint64_t rest_ns;		  /* nothing is made before */
	atomic_bool stopping;
};

/* -- files -- */

/* What a file of this size takes of the pool. */
static int64_t pages(uint64_t size)
{
	return (int64_t)((size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE);
}

static void file_free(struct stock *stock, struct stock_file *file)
{
	if (!file)
		return;
	munmap(file->memory, file->size);
	close(file->fd);
	pool_spare(stock->pool, -pages(file->size));
	free(file);
}

static struct stock_file *file_new(struct stock *stock, uint64_t size)
{
	struct stock_file *file = malloc(sizeof(*file));

	if (!file)
		return NULL;
	*file = (struct stock_file){.fd = -1, .memory = MAP_FAILED, .size = size};
	if (pool_draft(stock->pool, &file->fd))
		goto err_free;
	if (ftruncate(file->fd, (off_t)size) < 0)
		goto err_close;
	file->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (file->memory == MAP_FAILED)
		goto err_close;
	pool_spare(stock->pool, pages(size)); /* before the pages, or statfs sees them used */
	if (madvise(file->memory, size, POPULATE) == 0)
		return file;
	pool_spare(stock->pool, -pages(size));
	munmap(file->memory, size);
err_close:
	close(file->fd);
err_free:
	free(file);
	return NULL;
}

/* -- what is wanted -- */

static void want(struct stock *stock, uint64_t size)
{
	if (atomic_load(&stock->sizes[0]) == size)
		return;
	/* Two at once may lose a size: the next pull brings it back. */
	atomic_store(&stock->sizes[1], atomic_load(&stock->sizes[0]));
	atomic_store(&stock->sizes[0], size);
}

static bool room_for(const struct stock *stock, uint64_t size)
{
	struct pool_space space;

	pool_space(stock->pool, &space);
	return space.free - space.spare >= stock->room + size;
}

/* -- the thread -- */

static bool resting(const struct stock *stock)
{
	return clock_ns() < atomic_load(&stock->rest_ns);
}

/* Put it in an empty place.  False: all are taken, or a drop went on meanwhile,
 * which has missed it: the file is the caller's still. */
static bool file_put(struct stock *stock, struct stock_file *file)
{
	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++) {
		struct stock_file *none = NULL, *same = file;
		if (!atomic_compare_exchange_strong(&stock->files[i], &none, file))
			continue;
		/* Failing to get it back means that somebody else has it. */
		return !resting(stock) ||
		       !atomic_compare_exchange_strong(&stock->files[i], &same, NULL);
	}
	return false;
}

/* How many files of this size there may be; 0: nobody pulls it any more. */
static unsigned share_of(const struct stock *stock, uint64_t size)
{
	unsigned sizes = atomic_load(&stock->sizes[1]) ? STOCK_SIZE_COUNT : 1;
	uint64_t fit = size ? stock->bytes_max / sizes / (uint64_t)pages(size) : 0;

	if (size != atomic_load(&stock->sizes[0]) && size != atomic_load(&stock->sizes[1]))
		return 0;
	return fit < STOCK_COUNT_MAX / sizes ? (unsigned)fit : STOCK_COUNT_MAX / sizes;
}

/* Drop what is beyond the share of this size, or what is not of it and has none. */
static unsigned sort_out(struct stock *stock, uint64_t size)
{
	unsigned share = share_of(stock, size), count = 0;

	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++) {
		struct stock_file *file = atomic_exchange(&stock->files[i], NULL);
		if (!file)
			continue;
		bool keep = file->size == size ? count < share : share_of(stock, file->size) > 0;
		count += keep && file->size == size;
		if (!keep || !file_put(stock, file))
			file_free(stock, file);
	}
	return count;
}

static void fill_size(struct stock *stock, uint64_t size)
{
	while (!atomic_load(&stock->stopping) && sort_out(stock, size) < share_of(stock, size) &&
	       room_for(stock, size)) {
		struct stock_file *file = file_new(stock, size);
		if (!file)
			return;
		if (!file_put(stock, file)) {
			file_free(stock, file);
			return;
		}
	}
}

static void *stock_thread(void *context)
{
	struct stock *stock = context;
	const struct sched_param none = {0};

	pthread_setname_np(pthread_self(), "mc-stock");
	if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &none))
		log_debug("the stock's thread runs like others");
	for (;;) {
		while (sem_wait(&stock->work) < 0 && errno == EINTR) {
		}
		if (atomic_load(&stock->stopping))
			return NULL;
		for (unsigned i = 0; i < STOCK_SIZE_COUNT; i++)
			(void)sort_out(stock, atomic_load(&stock->sizes[i]));
		for (unsigned i = 0; i < STOCK_SIZE_COUNT; i++) {
			if (!resting(stock))
				fill_size(stock, atomic_load(&stock->sizes[i]));
		}
	}
}

/* -- for others -- */

bool stock_take(struct stock *stock, uint64_t size, struct stock_file *taken)
{
	if (size < STOCK_OBJECT_MIN || size > stock->bytes_max / 2)
		return false;
	want(stock, size);
	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++) {
		struct stock_file *file = atomic_exchange(&stock->files[i], NULL);
		if (!file)
			continue;
		if (file->size == size) {
			*taken = *file;
			pool_spare(stock->pool, -pages(size));
			free(file);
			return true;
		}
		if (!file_put(stock, file))
			file_free(stock, file);
	}
	return false;
}

void stock_fill(struct stock *stock)
{
	int waiting;

	if (atomic_load(&stock->sizes[0]) && sem_getvalue(&stock->work, &waiting) == 0 &&
	    waiting == 0)
		sem_post(&stock->work);
}

void stock_drop(struct stock *stock)
{
	atomic_store(&stock->rest_ns, clock_ns() + REST_NS);
	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++)
		file_free(stock, atomic_exchange(&stock->files[i], NULL));
}

enum mc_status stock_start(struct pool *pool, uint64_t room, struct stock **stock)
{
	struct stock *s = calloc(1, sizeof(*s));
	struct pool_space space;

	if (!s)
		return MC_NO_MEMORY;
	pool_space(pool, &space);
	s->pool = pool;
	s->room = room;
	s->bytes_max = space.capacity / POOL_SHARE;
	if (s->bytes_max > STOCK_BYTES_MAX)
		s->bytes_max = STOCK_BYTES_MAX;
	sem_init(&s->work, 0, 0);
	if (thread_start(&s->thread, stock_thread, s) != 0) {
		free(s);
		return MC_NO_MEMORY;
	}
	*stock = s;
	return MC_OK;
}

void stock_stop(struct stock *stock)
{
	if (!stock)
		return;
	atomic_store(&stock->stopping, true);
	sem_post(&stock->work);
	pthread_join(stock->thread, NULL);
	stock_drop(stock);
	sem_destroy(&stock->work);
	free(stock);
}
