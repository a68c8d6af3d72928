#include "engine/mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"

/* The name, a zero, the text, a zero. */
struct mailbox_item {
	struct mailbox_item *next;
	size_t size;
	char bytes[];
};

void mailbox_init(struct mailbox *mailbox)
{
	*mailbox = (struct mailbox){.last = &mailbox->first};
	pthread_mutex_init(&mailbox->lock, NULL);
	clock_cond_init(&mailbox->came);
}

static void items_free(struct mailbox_item *item)
{
	while (item) {
		struct mailbox_item *next = item->next;
		free(item);
		item = next;
	}
}

void mailbox_fini(struct mailbox *mailbox)
{
	items_free(mailbox->first);
	pthread_cond_destroy(&mailbox->came);
	pthread_mutex_destroy(&mailbox->lock);
}

static bool append(struct mailbox *mailbox, struct mailbox_item *item)
{
	WITH_LOCK(&mailbox->lock);
	if (mailbox->count == MC_NOTIFY_COUNT_MAX ||
	    item->size > MC_NOTIFY_SIZE_MAX - mailbox->size)
		return false;
	*mailbox->last = item;
	mailbox->last = &item->next;
	mailbox->count++;
	mailbox->size += item->size;
	pthread_cond_broadcast(&mailbox->came);
	return true;
}

enum mc_status mailbox_put(struct mailbox *mailbox, const char *name, const char *text)
{
	size_t name_size = strlen(name) + 1, text_size = strlen(text) + 1;
	struct mailbox_item *item = malloc(sizeof(*item) + name_size + text_size);

	if (!item)
		return MC_NO_MEMORY;
	item->next = NULL;
	item->size = name_size + text_size;
	memcpy(item->bytes, name, name_size);
	memcpy(item->bytes + name_size, text, text_size);
	if (append(mailbox, item))
		return MC_OK;
	free(item);
	return MC_NO_SPACE;
}

static void wait_for_one_locked(struct mailbox *mailbox, int timeout_ms)
{
	uint64_t until_ns = clock_after(clock_ns(), (uint64_t)timeout_ms * 1000000u);

	while (!mailbox->first && timeout_ms < 0)
		pthread_cond_wait(&mailbox->came, &mailbox->lock);
	while (!mailbox->first && clock_ns() < until_ns)
		(void)clock_cond_wait(&mailbox->came, &mailbox->lock, until_ns);
}

/* One allocation: the list, and behind it the texts. */
static void fill(struct mc_notification *list, size_t count, const struct mailbox_item *item)
{
	char *texts = (char *)(list + count);

	for (size_t i = 0; i < count; i++, item = item->next) {
		memcpy(texts, item->bytes, item->size);
		list[i].name = texts;
		list[i].text = texts + strlen(texts) + 1;
		texts += item->size;
	}
}

enum mc_status mailbox_take(struct mailbox *mailbox, int timeout_ms, struct mc_notification **list,
			    size_t *count)
{
	struct mc_notification *made = NULL;
	struct mailbox_item *items = NULL;
	size_t there;

	pthread_mutex_lock(&mailbox->lock);
	if (timeout_ms != 0)
		wait_for_one_locked(mailbox, timeout_ms);
	there = mailbox->count;
	if (there > 0)
		made = malloc(there * sizeof(*made) + mailbox->size);
	if (made) {
		items = STEAL(mailbox->first);
		mailbox->last = &mailbox->first;
		mailbox->count = mailbox->size = 0;
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (there > 0 && !made)
		return MC_NO_MEMORY;
	if (made)
		fill(made, there, items);
	items_free(items);
	*list = made;
	*count = there;
	return MC_OK;
}

size_t mailbox_count(struct mailbox *mailbox)
{
	WITH_LOCK(&mailbox->lock);
	return mailbox->count;
}
