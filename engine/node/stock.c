#include "engine/node/stock.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

#define PAGE_SIZE  4096u
#define POPULATE   23 /* MADV_POPULATE_WRITE, since 5.14; older headers lack it */
#define REST_NS	   1000000000ull
#define MADE_SHARE 32u /* of the pool, one part is the most that is made ... */
#define POOL_SHARE 8u  /* ... and that is kept */

struct stock {
	/* fixed after init */
	struct pool *pool;
	uint64_t made_max; /* bytes */
	uint64_t kept_max;
	uint64_t room;
	bool reclaims; /* the pool is memory: what goes is not read again */
	pthread_t thread;
	sem_t work;
	/* atomic: taken by exchange, so each file has one owner */
	struct stock_file *_Atomic files[STOCK_COUNT_MAX];
	_Atomic uint64_t sizes[STOCK_SIZE_COUNT]; /* wanted, the last pulled first */
	_Atomic uint64_t rest_ns;		  /* nothing is added before */
	_Atomic uint64_t bytes;			  /* of all files, in pages */
	atomic_bool stopping;
};

/* -- files -- */

/* What a file of this size takes of the pool. */
static int64_t pages(uint64_t size)
{
	return (int64_t)((size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE);
}

static void count(struct stock *stock, int64_t bytes)
{
	pool_spare(stock->pool, bytes);
	stock->bytes += (uint64_t)bytes;
}

void stock_forget(struct stock *stock, const struct stock_file *file)
{
	if (file->from)
		pool_forget_reclaimed(stock->pool, file->from);
}

enum mc_status stock_name(struct stock *stock, const struct stock_file *file, uint64_t id)
{
	return file->from ? pool_commit_reclaimed(stock->pool, file->from, id)
			  : pool_commit(stock->pool, file->fd, id);
}

static void file_free(struct stock *stock, struct stock_file *file)
{
	if (!file)
		return;
	munmap(file->memory, file->size);
	close(file->fd);
	stock_forget(stock, file);
	count(stock, -pages(file->size));
	free(file);
}

static bool file_map(struct stock_file *file)
{
	file->memory = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	return file->memory != MAP_FAILED;
}

static struct stock_file *file_new(struct stock *stock, uint64_t size)
{
	struct stock_file *file = malloc(sizeof(*file));

	if (!file)
		return NULL;
	*file = (struct stock_file){.size = size};
	if (pool_draft(stock->pool, &file->fd))
		goto err_free;
	if (ftruncate(file->fd, (off_t)size) < 0 || !file_map(file))
		goto err_close;
	count(stock, pages(size)); /* before the pages, or statfs sees them used */
	if (madvise(file->memory, size, POPULATE) == 0)
		return file;
	count(stock, -pages(size));
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

static bool wanted(const struct stock *stock, uint64_t size)
{
	return size == atomic_load(&stock->sizes[0]) || size == atomic_load(&stock->sizes[1]);
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

/* How many files of this size are made; 0: nobody pulls it any more, or it is large. */
static unsigned share_of(const struct stock *stock, uint64_t size)
{
	unsigned sizes = atomic_load(&stock->sizes[1]) ? STOCK_SIZE_COUNT : 1;
	uint64_t fit = size ? stock->made_max / sizes / (uint64_t)pages(size) : 0;

	if (!wanted(stock, size) || size > stock->made_max / 2)
		return 0;
	return fit < STOCK_MADE_MAX / sizes ? (unsigned)fit : STOCK_MADE_MAX / sizes;
}

/* What is in this place, now the caller's. */
static struct stock_file *file_get(struct stock *stock, unsigned place)
{
	if (!atomic_load_explicit(&stock->files[place], memory_order_relaxed))
		return NULL;
	return atomic_exchange(&stock->files[place], NULL);
}

/* Drop what nobody pulls any more.  How many there are of this size? */
static unsigned sort_out(struct stock *stock, uint64_t size)
{
	unsigned found = 0;

	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++) {
		struct stock_file *file = file_get(stock, i);
		if (!file)
			continue;
		bool of_size = file->size == size;
		if (!wanted(stock, file->size) || !file_put(stock, file))
			file_free(stock, file);
		else
			found += of_size;
	}
	return found;
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
	if (size < STOCK_OBJECT_MIN || size > stock->kept_max / 2)
		return false;
	want(stock, size);
	for (unsigned i = 0; i < STOCK_COUNT_MAX; i++) {
		struct stock_file *file = file_get(stock, i);
		if (!file)
			continue;
		if (file->size == size) {
			*taken = *file;
			count(stock, -pages(size));
			/* Its pages are there, but not in the map: all at once costs less. */
			if (file->from)
				(void)madvise(file->memory, size, POPULATE);
			free(file);
			return true;
		}
		if (!file_put(stock, file))
			file_free(stock, file);
	}
	return false;
}

static bool keeps(const struct stock *stock, uint64_t size)
{
	return stock->reclaims && size >= STOCK_OBJECT_MIN && wanted(stock, size) &&
	       !resting(stock) && stock->bytes + size <= stock->kept_max && room_for(stock, 0);
}

void stock_reclaim(struct stock *stock, uint64_t id, uint64_t size)
{
	struct stock_file *file = keeps(stock, size) ? malloc(sizeof(*file)) : NULL;

	if (!file) {
		pool_remove(stock->pool, id);
		return;
	}
	*file = (struct stock_file){.size = size, .from = id};
	if (pool_reclaim(stock->pool, id, size, &file->fd)) {
		free(file);
		return;
	}
	if (!file_map(file)) {
		close(file->fd);
		stock_forget(stock, file);
		free(file);
		return;
	}
	count(stock, pages(size));
	if (!file_put(stock, file))
		file_free(stock, file);
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
		file_free(stock, file_get(stock, i));
}

enum mc_status stock_start(struct pool *pool, uint64_t room, struct stock **stock)
{
	struct stock *s = calloc(1, sizeof(*s));
	struct pool_space space;
	struct statfs fs;

	if (!s)
		return MC_NO_MEMORY;
	s->reclaims = fstatfs(pool_objects(pool), &fs) == 0 && fs.f_type == TMPFS_MAGIC;
	pool_space(pool, &space);
	s->pool = pool;
	s->room = room;
	s->kept_max = space.capacity / POOL_SHARE;
	s->made_max = space.capacity / MADE_SHARE;
	if (s->made_max > STOCK_MADE_BYTES_MAX)
		s->made_max = STOCK_MADE_BYTES_MAX;
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
