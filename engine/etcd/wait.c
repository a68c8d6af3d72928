/* Asking and waiting for the answer. */
#include "engine/etcd/etcd.h"

#include "engine/base/cleanup.h"

void etcd_waiter_init(struct etcd_waiter *waiter)
{
	*waiter = (struct etcd_waiter){0};
	pthread_mutex_init(&waiter->lock, NULL);
	pthread_cond_init(&waiter->change, NULL);
}

void etcd_waiter_done(void *context, struct etcd_reply *reply)
{
	struct etcd_waiter *waiter = context;

	etcd_reply_keep(reply);
	WITH_LOCK(&waiter->lock);
	waiter->reply = reply;
	pthread_cond_signal(&waiter->change);
}

struct etcd_reply *etcd_waiter_wait(struct etcd_waiter *waiter)
{
	pthread_mutex_lock(&waiter->lock);
	while (!waiter->reply)
		pthread_cond_wait(&waiter->change, &waiter->lock);
	pthread_mutex_unlock(&waiter->lock);
	pthread_cond_destroy(&waiter->change);
	pthread_mutex_destroy(&waiter->lock);
	return waiter->reply;
}

enum mc_status etcd_get_wait(struct etcd *etcd, struct etcd_bytes key, struct writer *value)
{
	struct etcd_range range = {.key = key};
	struct etcd_waiter waiter;

	etcd_waiter_init(&waiter);
	etcd_range(etcd, &range, 0, etcd_waiter_done, &waiter);
	struct etcd_reply *reply = etcd_waiter_wait(&waiter);
	enum mc_status status = reply->status;
	if (status == MC_OK && reply->pair_count == 0)
		status = MC_NOT_FOUND;
	if (status == MC_OK)
		put_bytes(value, reply->pairs[0].value.data, reply->pairs[0].value.size);
	etcd_reply_free(reply);
	return status == MC_OK && value->failed ? MC_NO_MEMORY : status;
}

static enum mc_status only_status(struct etcd_waiter *waiter)
{
	struct etcd_reply *reply = etcd_waiter_wait(waiter);
	enum mc_status status = reply->status;

	etcd_reply_free(reply);
	return status;
}

enum mc_status etcd_put_wait(struct etcd *etcd, struct etcd_bytes key, struct etcd_bytes value)
{
	struct etcd_waiter waiter;

	etcd_waiter_init(&waiter);
	etcd_put(etcd, key, value, 0, 0, etcd_waiter_done, &waiter);
	return only_status(&waiter);
}

enum mc_status etcd_delete_wait(struct etcd *etcd, struct etcd_bytes key)
{
	struct etcd_waiter waiter;

	etcd_waiter_init(&waiter);
	etcd_delete(etcd, key, (struct etcd_bytes){NULL, 0}, 0, etcd_waiter_done, &waiter);
	return only_status(&waiter);
}
