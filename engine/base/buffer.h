/*
 * engine/base/buffer.h -- bounded readers and writers of little-endian bytes
 *
 * A writer appends to memory that it grows (writer_init) or was given
 * (writer_init_fixed); the first write that does not fit sets `failed`, and
 * from then on nothing is written, so a caller checks once, at the end.  A
 * reader works alike: a read past the end sets `failed` and yields zero.
 * Neither ever touches memory outside its bounds.
 *
 * Strings on the wire are a u16 length and the bytes, without a terminator.
 *
 * Threads   One at a time.
 */
#ifndef ENGINE_BASE_BUFFER_H
#define ENGINE_BASE_BUFFER_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Little-endian access to fixed places of a buffer that is large enough. */
static inline void store_u16(uint8_t *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void store_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void store_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16_t load_u16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t load_u32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static inline uint64_t load_u64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

struct writer {
	uint8_t *data;
	size_t size;
	size_t capacity;
	bool growable;
	bool failed;
};

void writer_init(struct writer *w);
void writer_init_fixed(struct writer *w, void *memory, size_t capacity);
void writer_fini(struct writer *w);
void writer_reset(struct writer *w);

/* Make room for more bytes and return where they go, NULL when failed; the caller fills all. */
void *writer_reserve(struct writer *w, size_t size);

void put_u8(struct writer *w, uint8_t value);
void put_u16(struct writer *w, uint16_t value);
void put_u32(struct writer *w, uint32_t value);
void put_u64(struct writer *w, uint64_t value);
void put_bytes(struct writer *w, const void *bytes, size_t size);
/* Fails for a string over 65535 bytes. */
void put_string(struct writer *w, const char *text, size_t size);

/* Write a u16 or u32 at an offset that was written before. */
void patch_u16(struct writer *w, size_t offset, uint16_t value);
void patch_u32(struct writer *w, size_t offset, uint32_t value);

struct reader {
	const uint8_t *data;
	size_t size;
	size_t offset;
	bool failed;
};

static inline void reader_init(struct reader *r, const void *data, size_t size)
{
	*r = (struct reader){.data = data, .size = size};
}

/* Points into the reader's memory; NULL when failed. */
static inline const void *get_bytes(struct reader *r, size_t size)
{
	if (r->failed || r->size - r->offset < size) {
		r->failed = true;
		return NULL;
	}
	const void *at = r->data + r->offset;
	r->offset += size;
	return at;
}

static inline uint8_t get_u8(struct reader *r)
{
	const uint8_t *at = get_bytes(r, 1);
	return at ? *at : 0;
}

static inline uint16_t get_u16(struct reader *r)
{
	const uint8_t *at = get_bytes(r, 2);
	return at ? load_u16(at) : 0;
}

static inline uint32_t get_u32(struct reader *r)
{
	const uint8_t *at = get_bytes(r, 4);
	return at ? load_u32(at) : 0;
}

static inline uint64_t get_u64(struct reader *r)
{
	const uint8_t *at = get_bytes(r, 8);
	return at ? load_u64(at) : 0;
}

/* Points into the reader's memory, not terminated; NULL and 0 when failed. */
static inline const char *get_string(struct reader *r, size_t *size)
{
	size_t length = get_u16(r);
	const char *text = get_bytes(r, length);
	*size = text ? length : 0;
	return text;
}

/* All was read, nothing failed. */
static inline bool reader_done(const struct reader *r)
{
	return !r->failed && r->offset == r->size;
}

#endif
