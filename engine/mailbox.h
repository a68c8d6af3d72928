/*
 * engine/mailbox.h -- notifications that came, until they are taken
 *
 * Bounded, since anybody who reaches the port may send: what finds no room is
 * refused, and its sender is told.
 *
 * Ownership   Texts are copied in and out.
 * Threads     Any thread; the lock is a leaf.
 * Limits      MC_NOTIFY_COUNT_MAX notifications, MC_NOTIFY_SIZE_MAX bytes of texts.
 */
#ifndef ENGINE_MAILBOX_H
#define ENGINE_MAILBOX_H

#include <mooncake/engine.h>
#include <pthread.h>

struct mailbox_item;

struct mailbox {
	pthread_mutex_t lock;
	pthread_cond_t came;
	/* protected by lock */
	struct mailbox_item *first, **last;
	size_t count, size; /* of what waits; size counts terminators too */
};

void mailbox_init(struct mailbox *mailbox);
/* What was not taken is lost. */
void mailbox_fini(struct mailbox *mailbox);

/* MC_NO_SPACE: it is full. */
MC_MUST_CHECK enum mc_status mailbox_put(struct mailbox *mailbox, const char *name,
					 const char *text);

/* As mc_engine_notifications(). */
MC_MUST_CHECK enum mc_status mailbox_take(struct mailbox *mailbox, int timeout_ms,
					  struct mc_notification **list, size_t *count);

size_t mailbox_count(struct mailbox *mailbox);

#endif
