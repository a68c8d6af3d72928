#include "engine/base/buffer.h"

#include <stdlib.h>
#include <string.h>

void writer_init(struct writer *w)
{
	*w = (struct writer){.growable = true};
}

void writer_init_fixed(struct writer *w, void *memory, size_t capacity)
{
	*w = (struct writer){.data = memory, .capacity = capacity};
}

void writer_fini(struct writer *w)
{
	if (w->growable)
		free(w->data);
	*w = (struct writer){0};
}

void writer_reset(struct writer *w)
{
	w->size = 0;
	w->failed = false;
}

static bool grow(struct writer *w, size_t size)
{
	size_t capacity = w->capacity ? w->capacity : 256;

	while (capacity - w->size < size) {
		if (capacity > SIZE_MAX / 2)
			return false;
		capacity *= 2;
	}
	uint8_t *data = realloc(w->data, capacity);
	if (!data)
		return false;
	w->data = data;
	w->capacity = capacity;
	return true;
}

void *writer_reserve(struct writer *w, size_t size)
{
	if (w->failed)
		return NULL;
	if (w->capacity - w->size < size && (!w->growable || !grow(w, size))) {
		w->failed = true;
		return NULL;
	}
	void *at = w->data + w->size;
	w->size += size;
	return at;
}

void put_u8(struct writer *w, uint8_t value)
{
	uint8_t *at = writer_reserve(w, 1);
	if (at)
		*at = value;
}

void put_u16(struct writer *w, uint16_t value)
{
	uint8_t *at = writer_reserve(w, 2);
	if (at)
		store_u16(at, value);
}

void put_u32(struct writer *w, uint32_t value)
{
	uint8_t *at = writer_reserve(w, 4);
	if (at)
		store_u32(at, value);
}

void put_u64(struct writer *w, uint64_t value)
{
	uint8_t *at = writer_reserve(w, 8);
	if (at)
		store_u64(at, value);
}

void put_bytes(struct writer *w, const void *bytes, size_t size)
{
	if (size == 0)
		return;
	void *at = writer_reserve(w, size);
	if (at)
		memcpy(at, bytes, size);
}

void put_string(struct writer *w, const char *text, size_t size)
{
	if (size > UINT16_MAX) {
		w->failed = true;
		return;
	}
	put_u16(w, (uint16_t)size);
	put_bytes(w, text, size);
}

void patch_u16(struct writer *w, size_t offset, uint16_t value)
{
	if (!w->failed && offset + 2 <= w->size)
		store_u16(w->data + offset, value);
}

void patch_u32(struct writer *w, size_t offset, uint32_t value)
{
	if (!w->failed && offset + 4 <= w->size)
		store_u32(w->data + offset, value);
}
