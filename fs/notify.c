#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "fs/fs.h"

/*
 * The kernel is told by one thread of its own, since no thread that answers
 * requests may send a notification.  Only such are sent as take no lock of a
 * directory: a thread that waits for one, while who holds it waits for us,
 * would outlive even SIGKILL and keep the connection from being aborted.  So a
 * name is not taken back by itself: its object's attributes are, the kernel
 * asks, hears ESTALE and looks the name up again (inode_object in inode.c).
 */

enum notice_kind { NOTICE_ATTR, NOTICE_ALL, NOTICE_CALL };

struct notice {
	struct notice *next;
	enum notice_kind kind;
	uint64_t id;
	void (*call)(void *context);
	void *context;
};

struct notifier {
	struct fs *fs;
	pthread_t thread;
	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct notice *first;
	struct notice **last;
	pthread_cond_t idle;
	bool busy; /* the thread is telling */
	bool stopping;
};

static int epoch_raise(struct fs *fs)
{
	return fs->epoch ? fuse_lowlevel_notify_increment_epoch(fs->session) : 0;
}

static void tell_kernel(struct fs *fs, const struct notice *n)
{
	int error = 0;

	switch (n->kind) {
	case NOTICE_ATTR:
		error = fuse_lowlevel_notify_inval_inode(fs->session, n->id, -1, 0);
		/* The answer that makes it known may be on its way still: no name of it counts. */
		if (error == -ENOENT)
			error = epoch_raise(fs);
		break;
	case NOTICE_ALL:
		error = epoch_raise(fs);
		break;
	case NOTICE_CALL:
		n->call(n->context);
		break;
	}
	if (error && error != -ENOENT && error != -ENOTCONN && error != -ENOTDIR)
		log_debug("the kernel did not take a notice kind=%d error=%d", (int)n->kind, error);
}

static void *notifier_thread(void *context)
{
	struct notifier *notifier = context;

	pthread_setname_np(pthread_self(), "mc-notify");
	pthread_mutex_lock(&notifier->lock);
	for (;;) {
		struct notice *n = notifier->first;
		if (!n && notifier->stopping)
			break;
		if (!n) {
			pthread_cond_wait(&notifier->wake, &notifier->lock);
			continue;
		}
		notifier->first = n->next;
		if (!notifier->first)
			notifier->last = &notifier->first;
		notifier->busy = true;
		pthread_mutex_unlock(&notifier->lock);
		tell_kernel(notifier->fs, n);
		free(n);
		pthread_mutex_lock(&notifier->lock);
		notifier->busy = false;
		pthread_cond_broadcast(&notifier->idle);
	}
	pthread_mutex_unlock(&notifier->lock);
	return NULL;
}

static struct notice *notice_new(enum notice_kind kind, uint64_t id)
{
	struct notice *n = calloc(1, sizeof(*n));

	if (n) {
		n->kind = kind;
		n->id = id;
	}
	return n;
}

static void queue(struct fs *fs, struct notice *n)
{
	struct notifier *notifier = fs->notifier;

	if (!n)
		return;
	WITH_LOCK(&notifier->lock);
	*notifier->last = n;
	notifier->last = &n->next;
	pthread_cond_signal(&notifier->wake);
}

static void notify_attr(struct fs *fs, uint64_t id)
{
	queue(fs, notice_new(NOTICE_ATTR, id));
}

static void notify_all(struct fs *fs)
{
	queue(fs, notice_new(NOTICE_ALL, 0));
}

void notify_then(struct fs *fs, void (*call)(void *context), void *context)
{
	struct notice *n = notice_new(NOTICE_CALL, 0);

	if (!n) {
		call(context);
		return;
	}
	n->call = call;
	n->context = context;
	queue(fs, n);
}

enum mc_status notifier_start(struct fs *fs)
{
	struct notifier *notifier = calloc(1, sizeof(*notifier));

	if (!notifier)
		return MC_NO_MEMORY;
	notifier->fs = fs;
	notifier->last = &notifier->first;
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_cond_init(&notifier->wake, NULL);
	pthread_cond_init(&notifier->idle, NULL);
	fs->notifier = notifier;
	if (pthread_create(&notifier->thread, NULL, notifier_thread, notifier) == 0)
		return MC_OK;
	fs->notifier = NULL;
	free(notifier);
	return MC_NO_MEMORY;
}

void notifier_drain(struct fs *fs)
{
	struct notifier *notifier = fs->notifier;

	WITH_LOCK(&notifier->lock);
	while (notifier->first || notifier->busy)
		pthread_cond_wait(&notifier->idle, &notifier->lock);
}

void notifier_stop(struct fs *fs)
{
	struct notifier *notifier = fs->notifier;

	if (!notifier)
		return;
	pthread_mutex_lock(&notifier->lock);
	notifier->stopping = true;
	pthread_cond_signal(&notifier->wake);
	pthread_mutex_unlock(&notifier->lock);
	pthread_join(notifier->thread, NULL);
	pthread_mutex_destroy(&notifier->lock);
	pthread_cond_destroy(&notifier->wake);
	pthread_cond_destroy(&notifier->idle);
	free(notifier);
	fs->notifier = NULL;
}

/* -- what the node says -- */

static void forget_attr(void *context, uint64_t id)
{
	notify_attr(context, id);
}

static void forget_all(void *context)
{
	notify_all(context);
}

static void let_go(void *context, struct object *object)
{
	inode_let_go_locked(context, object);
}

const struct node_events fs_node_events = {
	.forget_attr = forget_attr,
	.forget_all = forget_all,
	.let_go = let_go,
};
