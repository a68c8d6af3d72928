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

struct notice {
	struct notice *next;
	uint64_t id;		     /* of an object whose attributes changed */
	void (*call)(void *context); /* NULL: tell of the object */
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
	bool all; /* all names are to be forgotten, before what is queued */
	pthread_cond_t idle;
	bool busy; /* the thread is telling */
	bool stopping;
};

static void log_refused(const char *what, int error)
{
	if (error && error != -ENOENT && error != -ENOTCONN && error != -ENOTDIR)
		log_debug("the kernel did not take a notice of=%s error=%d", what, error);
}

static void tell_all(struct fs *fs)
{
	if (fs->epoch)
		log_refused("all", fuse_lowlevel_notify_increment_epoch(fs->session));
}

static void tell(struct fs *fs, const struct notice *n)
{
	if (n->call) {
		n->call(n->context);
		return;
	}
	int error = fuse_lowlevel_notify_inval_inode(fs->session, n->id, -1, 0);
	log_refused("an object", error);
	/* The answer that makes it known may be on its way still: no name of it counts. */
	if (error == -ENOENT)
		tell_all(fs);
}

/* Wait for work: all, a notice (or NULL), or both.  False: there will be none. */
static bool take_locked(struct notifier *notifier, bool *all, struct notice **n)
{
	while (!notifier->first && !notifier->all) {
		if (notifier->stopping)
			return false;
		pthread_cond_wait(&notifier->wake, &notifier->lock);
	}
	*all = notifier->all;
	*n = notifier->first;
	notifier->all = false;
	if (*n)
		notifier->first = (*n)->next;
	if (!notifier->first)
		notifier->last = &notifier->first;
	return true;
}

static void *notifier_thread(void *context)
{
	struct notifier *notifier = context;
	struct notice *n;
	bool all;

	pthread_setname_np(pthread_self(), "mc-notify");
	pthread_mutex_lock(&notifier->lock);
	while (take_locked(notifier, &all, &n)) {
		notifier->busy = true;
		pthread_mutex_unlock(&notifier->lock);
		if (all)
			tell_all(notifier->fs);
		if (n)
			tell(notifier->fs, n);
		free(n);
		pthread_mutex_lock(&notifier->lock);
		notifier->busy = false;
		pthread_cond_broadcast(&notifier->idle);
	}
	pthread_mutex_unlock(&notifier->lock);
	return NULL;
}

/* Take the notice over.  NULL, for want of memory: whatever it was, all names are forgotten. */
static void queue(struct fs *fs, struct notice *n)
{
	struct notifier *notifier = fs->notifier;

	WITH_LOCK(&notifier->lock);
	if (n) {
		*notifier->last = n;
		notifier->last = &n->next;
	} else {
		notifier->all = true;
	}
	pthread_cond_signal(&notifier->wake);
}

void notify_then(struct fs *fs, void (*call)(void *context), void *context)
{
	struct notice *n = malloc(sizeof(*n));

	if (!n) {
		call(context);
		return;
	}
	*n = (struct notice){.call = call, .context = context};
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
	while (notifier->first || notifier->all || notifier->busy)
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
	struct notice *n = malloc(sizeof(*n));

	if (n)
		*n = (struct notice){.id = id};
	queue(context, n);
}

static void forget_all(void *context)
{
	queue(context, NULL);
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
