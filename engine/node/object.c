#include "engine/node/object.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <mooncake/protocol.h>

#include "engine/base/log.h"
#include "engine/node/grant.h"

#define OBJECT_TABLE_SIZE_FIRST 1024u

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x;
}

static uint32_t id_bucket(const struct object_table *table, uint64_t id)
{
	return (uint32_t)mix(id) & (table->size - 1);
}

static uint32_t name_bucket(const struct object_table *table, uint64_t parent, const char *name,
			    size_t size)
{
	return (uint32_t)mix(mc_name_hash(name, size) ^ mix(parent)) & (table->size - 1);
}

enum mc_status object_table_init(struct object_table *table)
{
	*table = (struct object_table){.size = OBJECT_TABLE_SIZE_FIRST};
	table->by_id = calloc(table->size, sizeof(table->by_id[0]));
	table->by_name = calloc(table->size, sizeof(table->by_name[0]));
	if (!table->by_id || !table->by_name)
		goto err_free;
	table->root = object_new(table, MC_ROOT_ID);
	if (!table->root)
		goto err_free;
	table->root->flags = OBJECT_DIRECTORY | OBJECT_PUBLISHED | OBJECT_IMPLIED;
	/* Until the master tells: enough for a look at the mount when it does not. */
	table->root->attr.mode = S_IFDIR | 0755;
	table->root->attr.nlink = 2;
	return MC_OK;
err_free:
	free(table->by_id);
	free(table->by_name);
	return MC_NO_MEMORY;
}

void object_table_fini(struct object_table *table)
{
	for (uint32_t i = 0; table->by_id && i < table->size; i++) {
		struct object *next;
		for (struct object *o = table->by_id[i]; o; o = next) {
			next = o->next_by_id;
			free(o->name);
			free(o->replicas);
			free(o);
		}
	}
	free(table->by_id);
	free(table->by_name);
	*table = (struct object_table){0};
}

/* Twice the buckets; without memory the chains just get longer. */
static void table_grow(struct object_table *table)
{
	uint32_t size = table->size * 2;
	struct object **by_id = calloc(size, sizeof(by_id[0]));
	struct object **by_name = calloc(size, sizeof(by_name[0]));

	if (!by_id || !by_name) {
		free(by_id);
		free(by_name);
		return;
	}
	struct object_table old = *table;
	table->by_id = by_id;
	table->by_name = by_name;
	table->size = size;
	for (uint32_t i = 0; i < old.size; i++) {
		struct object *next;
		for (struct object *o = old.by_id[i]; o; o = next) {
			next = o->next_by_id;
			uint32_t b = id_bucket(table, o->attr.id);
			o->next_by_id = by_id[b];
			by_id[b] = o;
		}
		for (struct object *o = old.by_name[i]; o; o = next) {
			next = o->next_by_name;
			uint32_t b =
				name_bucket(table, o->parent->attr.id, o->name, strlen(o->name));
			o->next_by_name = by_name[b];
			by_name[b] = o;
		}
	}
	free(old.by_id);
	free(old.by_name);
}

struct object *object_new(struct object_table *table, uint64_t id)
{
	struct object *object = calloc(1, sizeof(*object));

	if (!object)
		return NULL;
	object->attr.id = id;
	object->refs = 1;
	object->draft_fd = -1;
	if (table->count >= table->size)
		table_grow(table);
	uint32_t b = id_bucket(table, id);
	object->next_by_id = table->by_id[b];
	table->by_id[b] = object;
	table->count++;
	return object;
}

void object_set_attr(struct object *object, const struct mc_attr *attr)
{
	enum { REST = offsetof(struct mc_attr, version) };

	_Static_assert(offsetof(struct mc_attr, id) == 0, "the id comes first");
	/* Not even the same id is written: other threads read it. */
	memcpy((uint8_t *)&object->attr + REST, (const uint8_t *)attr + REST, sizeof(*attr) - REST);
}

struct object *object_find(struct object_table *table, uint64_t id)
{
	struct object *object = table->by_id[id_bucket(table, id)];

	while (object && object->attr.id != id)
		object = object->next_by_id;
	return object;
}

struct object *object_lookup(struct object_table *table, uint64_t parent, const char *name,
			     size_t size)
{
	struct object *object = table->by_name[name_bucket(table, parent, name, size)];

	while (object && (object->parent->attr.id != parent ||
			  strncmp(object->name, name, size) != 0 || object->name[size] != '\0'))
		object = object->next_by_name;
	return object;
}

void object_ref(struct object *object)
{
	object->refs++;
}

static void unlink_by_id(struct object_table *table, struct object *object)
{
	struct object **at = &table->by_id[id_bucket(table, object->attr.id)];

	while (*at != object)
		at = &(*at)->next_by_id;
	*at = object->next_by_id;
	table->count--;
}

static void unlink_by_name(struct object_table *table, struct object *object)
{
	struct object **at = &table->by_name[name_bucket(table, object->parent->attr.id,
							 object->name, strlen(object->name))];

	while (*at != object)
		at = &(*at)->next_by_name;
	*at = object->next_by_name;
	object->next_by_name = NULL;
	*object->sibling_at = object->sibling;
	if (object->sibling)
		object->sibling->sibling_at = object->sibling_at;
	object->flags &= ~(uint32_t)OBJECT_NAMED;
}

void object_unref(struct object_table *table, struct object *object)
{
	while (object) {
		MUST(object->refs > 0);
		if (--object->refs > 0)
			return;
		MUST(!object_is(object, OBJECT_NAMED) && !object_is(object, OBJECT_LISTED));
		MUST(object->draft_fd < 0);
		struct object *parent = object->parent;
		unlink_by_id(table, object);
		if (object->original)
			object_unref(table, object->original);
		free(object->name);
		free(object->replicas);
		free(object->xattrs);
		if (object_is(object, OBJECT_DIRECTORY))
			grant_free(object->grant);
		free(object);
		object = parent;
	}
}

enum mc_status object_place(struct object_table *table, struct object *object,
			    struct object *parent, const char *name, size_t size)
{
	MUST(!object_is(object, OBJECT_NAMED));
	char *copy = strndup(name, size);
	if (!copy)
		return MC_NO_MEMORY;
	struct object *old = object->parent;
	object_ref(parent);
	free(object->name);
	object->name = copy;
	object->parent = parent;
	object_unref(table, old);
	return MC_OK;
}

enum mc_status object_name(struct object_table *table, struct object *object, struct object *parent,
			   const char *name, size_t size)
{
	struct object *other = object_lookup(table, parent->attr.id, name, size);

	if (other == object)
		return MC_OK;
	char *copy = strndup(name, size);
	if (!copy)
		return MC_NO_MEMORY;
	object_ref(object);
	object_ref(parent);
	if (other)
		object_unname(table, other);
	if (object_is(object, OBJECT_NAMED))
		object_unname(table, object);
	struct object *old = object->parent;
	free(object->name);
	object->name = copy;
	object->parent = parent;
	object->flags |= OBJECT_NAMED;
	uint32_t b = name_bucket(table, parent->attr.id, copy, size);
	object->next_by_name = table->by_name[b];
	table->by_name[b] = object;
	object->sibling = parent->first_child;
	object->sibling_at = &parent->first_child;
	if (object->sibling)
		object->sibling->sibling_at = &object->sibling;
	parent->first_child = object;
	object_unref(table, old);
	return MC_OK;
}

void object_unname(struct object_table *table, struct object *object)
{
	if (!object_is(object, OBJECT_NAMED))
		return;
	unlink_by_name(table, object);
	object_unref(table, object);
}

enum mc_status object_path(const struct object *object, char *path, size_t *size)
{
	char *end = path + MC_PATH_MAX;
	char *at = end;

	for (const struct object *o = object; o->parent; o = o->parent) {
		size_t length = strlen(o->name);
		size_t slash = at < end; /* what is there already hangs below this */
		if ((size_t)(at - path) < length + slash)
			return MC_NAME_TOO_LONG;
		if (slash)
			*--at = '/';
		at -= length;
		memcpy(at, o->name, length);
	}
	*size = (size_t)(end - at);
	memmove(path, at, *size);
	path[*size] = '\0';
	return MC_OK;
}

bool object_name_staging(const char *name)
{
	return strstr(name, MC_STAGING_MARK) != NULL;
}
