/*
 * engine/base/cleanup.h -- what ends with its scope
 */
#ifndef ENGINE_BASE_CLEANUP_H
#define ENGINE_BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **lock)
{
	if (*lock)
		pthread_mutex_unlock(*lock);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	return lock;
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_FD   __attribute__((cleanup(cleanup_fd)))

/* Hand over what a CLEANUP_ variable holds; the scope no longer ends it. */
#define STEAL(p)                                                                                   \
	({                                                                                         \
		__typeof__(p) stolen_ = (p);                                                       \
		(p) = 0;                                                                           \
		stolen_;                                                                           \
	})
#define STEAL_FD(fd)                                                                               \
	({                                                                                         \
		int stolen_ = (fd);                                                                \
		(fd) = -1;                                                                         \
		stolen_;                                                                           \
	})

/* Hold the lock until the end of the enclosing scope. */
#define WITH_LOCK_NAME_(line) with_lock_##line
#define WITH_LOCK_LINE_(lock, line)                                                                \
	__attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *WITH_LOCK_NAME_(line) =  \
		cleanup_lock(lock)
#define WITH_LOCK_EXPAND_(lock, line) WITH_LOCK_LINE_(lock, line)
#define WITH_LOCK(lock)		      WITH_LOCK_EXPAND_(lock, __LINE__)

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
