#include "fs/blank.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "fs/backing.h"

struct blanks {
	/* fixed after init */
	struct fs *fs;
	pthread_t thread;
	/* protected by lock, a leaf */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool wanted; /* the thread is awake, or will be */
	bool stopping;
	unsigned count;
	struct blank list[BLANK_COUNT_MAX];
};

static bool blank_make(const struct fs *fs, struct blank *blank)
{
	struct pool *pool = node_pool(fs->node);
	int fd, again;

	if (pool_draft(pool, &fd))
		return false;
	CLEANUP_FD int draft = fd;
	pool_mark(pool, 0, draft);
	if (pool_open_again(pool, draft, &again))
		return false;
	int id = backing_open(fs, again);
	close(again);
	if (id == 0)
		return false;
	*blank = (struct blank){.fd = STEAL_FD(draft), .backing_id = id};
	return true;
}

/* Make what is missing, until one can't be made. */
static void fill_locked(struct blanks *blanks)
{
	bool made = true;

	while (made && !blanks->stopping && blanks->count < BLANK_COUNT_MAX) {
		struct blank blank;
		pthread_mutex_unlock(&blanks->lock);
		made = blank_make(blanks->fs, &blank);
		pthread_mutex_lock(&blanks->lock);
		if (made)
			blanks->list[blanks->count++] = blank;
	}
}

static void *blanks_thread(void *context)
{
	struct blanks *blanks = context;

	pthread_setname_np(pthread_self(), "mc-blanks");
	WITH_LOCK(&blanks->lock);
	while (!blanks->stopping) {
		if (blanks->wanted) {
			fill_locked(blanks);
			blanks->wanted = false;
		} else {
			pthread_cond_wait(&blanks->wake, &blanks->lock);
		}
	}
	return NULL;
}

bool blank_take(struct blanks *blanks, struct blank *blank)
{
	bool wake = false;

	if (!blanks->fs->passthrough)
		return false;
	pthread_mutex_lock(&blanks->lock);
	bool taken = blanks->count > 0;
	if (taken)
		*blank = blanks->list[--blanks->count];
	if (!blanks->wanted && blanks->count <= BLANK_COUNT_MAX / 2)
		blanks->wanted = wake = true;
	pthread_mutex_unlock(&blanks->lock);
	if (wake)
		pthread_cond_signal(&blanks->wake);
	return taken;
}

enum mc_status blanks_start(struct fs *fs, struct blanks **blanks)
{
	struct blanks *b = calloc(1, sizeof(*b));

	if (!b)
		return MC_NO_MEMORY;
	b->fs = fs;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->wake, NULL);
	if (pthread_create(&b->thread, NULL, blanks_thread, b) != 0) {
		pthread_cond_destroy(&b->wake);
		pthread_mutex_destroy(&b->lock);
		free(b);
		return MC_NO_MEMORY;
	}
	*blanks = b;
	return MC_OK;
}

void blanks_stop(struct blanks *blanks)
{
	if (!blanks)
		return;
	pthread_mutex_lock(&blanks->lock);
	blanks->stopping = true;
	pthread_mutex_unlock(&blanks->lock);
	pthread_cond_signal(&blanks->wake);
	pthread_join(blanks->thread, NULL);
	while (blanks->count > 0) {
		struct blank *blank = &blanks->list[--blanks->count];
		backing_close(blanks->fs, blank->backing_id);
		close(blank->fd);
	}
	pthread_cond_destroy(&blanks->wake);
	pthread_mutex_destroy(&blanks->lock);
	free(blanks);
}
