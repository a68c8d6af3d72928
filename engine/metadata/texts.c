#include "engine/metadata/texts.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/metadata/metadata.h"

struct text {
	char *key; /* behind the bytes */
	size_t size;
	char bytes[];
};

struct texts {
	pthread_mutex_t lock;
	/* protected by lock */
	void *tree; /* of struct text, by key */
	struct texts_counters counters;
};

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct text *)a)->key, ((const struct text *)b)->key);
}

static size_t weight(const struct text *text)
{
	return strlen(text->key) + text->size;
}

enum mc_status texts_new(struct texts **texts)
{
	struct texts *t = calloc(1, sizeof(*t));

	if (!t)
		return MC_NO_MEMORY;
	pthread_mutex_init(&t->lock, NULL);
	*texts = t;
	return MC_OK;
}

void texts_free(struct texts *texts)
{
	if (!texts)
		return;
	tdestroy(texts->tree, free);
	pthread_mutex_destroy(&texts->lock);
	free(texts);
}

static struct text *find_locked(struct texts *texts, const char *key)
{
	const struct text wanted = {.key = (char *)key};
	void *found = tfind(&wanted, &texts->tree, by_key);

	return found ? *(struct text **)found : NULL;
}

enum mc_status texts_get(struct texts *texts, const char *key, char **bytes, size_t *size)
{
	WITH_LOCK(&texts->lock);
	const struct text *text = find_locked(texts, key);

	if (!text)
		return MC_NOT_FOUND;
	char *copy = malloc(text->size + 1);
	if (!copy)
		return MC_NO_MEMORY;
	memcpy(copy, text->bytes, text->size);
	copy[text->size] = '\0';
	*bytes = copy;
	*size = text->size;
	return MC_OK;
}

static enum mc_status make(const char *key, const void *bytes, size_t size, struct text **text)
{
	size_t key_size = strlen(key);

	if (key_size == 0)
		return MC_INVALID;
	if (key_size > METADATA_KEY_SIZE_MAX || size > METADATA_VALUE_SIZE_MAX)
		return MC_TOO_BIG;
	struct text *made = malloc(sizeof(*made) + size + key_size + 1);
	if (!made)
		return MC_NO_MEMORY;
	made->size = size;
	made->key = made->bytes + size;
	if (size)
		memcpy(made->bytes, bytes, size);
	memcpy(made->key, key, key_size + 1);
	*text = made;
	return MC_OK;
}

static void remove_locked(struct texts *texts, struct text *text)
{
	texts->counters.count--;
	texts->counters.size -= weight(text);
	tdelete(text, &texts->tree, by_key);
	free(text);
}

/* Put it in place of what is there; what does not fit leaves that as it was. */
static enum mc_status enter_locked(struct texts *texts, struct text *text)
{
	struct text *old = find_locked(texts, text->key);
	uint64_t count = texts->counters.count + (old ? 0 : 1);
	uint64_t size = texts->counters.size + weight(text) - (old ? weight(old) : 0);

	if (count > TEXTS_COUNT_MAX || size > TEXTS_SIZE_MAX)
		return MC_NO_SPACE;
	if (old)
		remove_locked(texts, old);
	if (!tsearch(text, &texts->tree, by_key))
		return MC_NO_MEMORY;
	texts->counters = (struct texts_counters){count, size};
	return MC_OK;
}

enum mc_status texts_put(struct texts *texts, const char *key, const void *bytes, size_t size)
{
	struct text *text;
	enum mc_status status = make(key, bytes, size, &text);

	if (status != MC_OK)
		return status;
	WITH_LOCK(&texts->lock);
	status = enter_locked(texts, text);
	if (status != MC_OK)
		free(text);
	return status;
}

enum mc_status texts_remove(struct texts *texts, const char *key)
{
	WITH_LOCK(&texts->lock);
	struct text *text = find_locked(texts, key);

	if (!text)
		return MC_NOT_FOUND;
	remove_locked(texts, text);
	return MC_OK;
}

void texts_count(struct texts *texts, struct texts_counters *counters)
{
	WITH_LOCK(&texts->lock);
	*counters = texts->counters;
}
