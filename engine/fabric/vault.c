#include "engine/fabric/vault.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

enum mc_status vault_init(struct vault *vault)
{
	*vault = (struct vault){0};
	return pthread_rwlock_init(&vault->lock, NULL) == 0 ? MC_OK : MC_NO_MEMORY;
}

void vault_fini(struct vault *vault)
{
	MUST(vault->count == 0);
	free(vault->entries);
	pthread_rwlock_destroy(&vault->lock);
}

/* The first entry whose key is not below. */
static size_t position_locked(const struct vault *vault, uint64_t key)
{
	size_t low = 0, high = vault->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (vault->entries[middle]->key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct vault_entry *find_locked(const struct vault *vault, uint64_t key)
{
	size_t at = position_locked(vault, key);

	return at < vault->count && vault->entries[at]->key == key ? vault->entries[at] : NULL;
}

static bool grow_locked(struct vault *vault)
{
	size_t capacity = vault->capacity ? vault->capacity * 2 : 16;

	if (vault->count < vault->capacity)
		return true;
	if (vault->count >= VAULT_MAX)
		return false;
	struct vault_entry **more = reallocarray(vault->entries, capacity, sizeof(*vault->entries));
	if (!more)
		return false;
	vault->entries = more;
	vault->capacity = capacity;
	return true;
}

enum mc_status vault_add(struct vault *vault, const struct fabric_region *region, uint64_t key,
			 struct vault_entry **entry)
{
	CLEANUP_FREE struct vault_entry *made = calloc(1, sizeof(*made));

	if (!made)
		return MC_NO_MEMORY;
	made->memory = region->memory;
	made->length = region->length;
	made->access = region->access;
	made->key = key;
	pthread_rwlock_wrlock(&vault->lock);
	bool taken = key && find_locked(vault, key);
	bool room = !taken && grow_locked(vault);
	while (room && (made->key == 0 || find_locked(vault, made->key))) {
		if (getrandom(&made->key, sizeof(made->key), 0) != sizeof(made->key))
			made->key = 0;
	}
	if (room) {
		size_t at = position_locked(vault, made->key);
		memmove(vault->entries + at + 1, vault->entries + at,
			(vault->count - at) * sizeof(*vault->entries));
		vault->entries[at] = made;
		vault->count++;
	}
	pthread_rwlock_unlock(&vault->lock);
	if (!room)
		return taken ? MC_EXISTS : MC_NO_MEMORY;
	*entry = STEAL(made);
	return MC_OK;
}

void vault_withdraw(struct vault *vault, struct vault_entry *entry)
{
	pthread_rwlock_wrlock(&vault->lock);
	size_t at = position_locked(vault, entry->key);
	MUST(at < vault->count && vault->entries[at] == entry);
	memmove(vault->entries + at, vault->entries + at + 1,
		(vault->count - at - 1) * sizeof(*vault->entries));
	vault->count--;
	atomic_store(&entry->withdrawn, true);
	pthread_rwlock_unlock(&vault->lock);
}

void vault_entry_free(struct vault_entry *entry)
{
	MUST(atomic_load(&entry->users) == 0);
	free(entry);
}

enum mc_status vault_use(struct vault *vault, uint64_t key, uint64_t address, uint64_t length,
			 uint32_t access, struct vault_entry **entry)
{
	pthread_rwlock_rdlock(&vault->lock);
	struct vault_entry *found = find_locked(vault, key);
	uint64_t begin = found ? (uint64_t)(uintptr_t)found->memory : 0;
	bool fits = found && (found->access & access) == access && address >= begin &&
		    address - begin <= found->length && length <= found->length - (address - begin);
	if (fits)
		atomic_fetch_add(&found->users, 1);
	pthread_rwlock_unlock(&vault->lock);
	if (!fits)
		return MC_ACCESS;
	*entry = found;
	return MC_OK;
}

void vault_done(struct vault_entry *entry)
{
	unsigned before = atomic_fetch_sub(&entry->users, 1);

	MUST(before > 0);
}
