#include <string.h>

#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "master/journal_file.h"

static const uint8_t magic[8] = {'M', 'C', 'J', 'O', 'U', 'R', 'N', 'L'};

void journal_header_encode(uint8_t header[JOURNAL_HEADER_SIZE])
{
	memcpy(header, magic, sizeof(magic));
	store_u32(header + 8, JOURNAL_VERSION);
	store_u32(header + 12, crc32c(0, header, 12));
}

bool journal_header_valid(const uint8_t *bytes, size_t size)
{
	return size >= JOURNAL_HEADER_SIZE && memcmp(bytes, magic, sizeof(magic)) == 0 &&
	       load_u32(bytes + 8) == JOURNAL_VERSION &&
	       load_u32(bytes + 12) == crc32c(0, bytes, 12);
}

size_t journal_record_put(struct writer *w, const struct journal_record *record)
{
	size_t begin = w->size;

	put_u32(w, 0);
	put_u32(w, (uint32_t)record->value_size);
	put_u8(w, (uint8_t)record->type);
	put_u8(w, (uint8_t)record->kind);
	put_u8(w, (uint8_t)record->key_size);
	put_u8(w, record->last ? JOURNAL_LAST : 0);
	put_u32(w, 0);
	put_bytes(w, record->key, record->key_size);
	put_bytes(w, record->value, record->value_size);
	if (!w->failed)
		store_u32(w->data + begin, crc32c(0, w->data + begin + 4, w->size - begin - 4));
	return begin;
}

void journal_record_end_group(struct writer *w, size_t offset)
{
	if (w->failed)
		return;
	w->data[offset + 11] |= JOURNAL_LAST;
	store_u32(w->data + offset, crc32c(0, w->data + offset + 4, w->size - offset - 4));
}

/* The sizes fit the type and the kind. */
static bool shape_valid(uint8_t type, uint8_t kind, uint8_t key_size, uint32_t value_size)
{
	static const uint8_t key_sizes[] = {
		[RECORD_META] = 0,   [RECORD_NODE] = 16,  [RECORD_DIRECTORY] = 8,
		[RECORD_OBJECT] = 8, [RECORD_POLICY] = 8, [RECORD_DEED] = 8};

	if (type == JOURNAL_MARK)
		return kind == 0 && key_size == 0 && value_size == JOURNAL_MARK_SIZE;
	if (kind < RECORD_META || kind > RECORD_DEED || key_size != key_sizes[kind])
		return false;
	return type == JOURNAL_PUT ? value_size <= RECORD_VALUE_MAX
				   : type == JOURNAL_REMOVE && value_size == 0;
}

bool journal_record_get(const uint8_t *bytes, size_t size, struct journal_record *record)
{
	if (size < JOURNAL_RECORD_SIZE || bytes[11] & ~JOURNAL_LAST || load_u32(bytes + 12) != 0)
		return false;
	uint32_t value_size = load_u32(bytes + 4);
	uint8_t key_size = bytes[10];
	if (!shape_valid(bytes[8], bytes[9], key_size, value_size))
		return false;
	size_t whole = JOURNAL_RECORD_SIZE + (size_t)key_size + value_size;
	if (size < whole || load_u32(bytes) != crc32c(0, bytes + 4, whole - 4))
		return false;
	*record = (struct journal_record){
		.type = (enum journal_type)bytes[8],
		.kind = (enum record_kind)bytes[9],
		.last = bytes[11] & JOURNAL_LAST,
		.key = bytes + JOURNAL_RECORD_SIZE,
		.key_size = key_size,
		.value = bytes + JOURNAL_RECORD_SIZE + key_size,
		.value_size = value_size,
		.size = whole,
	};
	return true;
}

void journal_mark_put(struct writer *w, const struct journal_mark *mark)
{
	uint8_t value[JOURNAL_MARK_SIZE];
	struct journal_record record = {
		.type = JOURNAL_MARK, .last = true, .value = value, .value_size = sizeof(value)};

	memcpy(value, mark->boot, sizeof(mark->boot));
	value[16] = mark->sync;
	value[17] = mark->closed;
	store_u64(value + 18, mark->synced);
	journal_record_put(w, &record);
}

void journal_mark_get(const struct journal_record *record, struct journal_mark *mark)
{
	MUST(record->type == JOURNAL_MARK);
	memcpy(mark->boot, record->value, sizeof(mark->boot));
	mark->sync = record->value[16];
	mark->closed = record->value[17];
	mark->synced = load_u64(record->value + 18);
}

/* How many bytes the broken record at the start of the bytes claims; of its head, if nothing. */
static size_t claimed_size(const uint8_t *bytes, size_t size)
{
	if (size < JOURNAL_RECORD_SIZE || load_u32(bytes + 4) > RECORD_VALUE_MAX)
		return size < JOURNAL_RECORD_SIZE ? size : JOURNAL_RECORD_SIZE;
	size_t claimed = JOURNAL_RECORD_SIZE + (size_t)bytes[10] + load_u32(bytes + 4);
	return claimed < size ? claimed : size;
}

/*
 * A sector of what is broken was never written.  The first that it touches may hold what
 * was written before the group.
 */
static bool sector_missing(const uint8_t *bytes, size_t size, const struct journal_scan *scan)
{
	size_t end = scan->broken + claimed_size(bytes + scan->broken, size - scan->broken);
	size_t at = scan->broken - scan->broken % JOURNAL_SECTOR_SIZE;

	for (; at < end; at += JOURNAL_SECTOR_SIZE) {
		size_t from = at < scan->good ? scan->good : at;
		size_t to = at + JOURNAL_SECTOR_SIZE < size ? at + JOURNAL_SECTOR_SIZE : size;
		while (from < to && bytes[from] == 0)
			from++;
		if (from == to)
			return true;
	}
	return false;
}

/*
 * A valid record that ends a group stands somewhere in the bytes, which end the file;
 * one at their very end is not counted if the last group may have been torn.
 */
static bool group_follows(const uint8_t *bytes, size_t size, bool torn)
{
	struct journal_record record;

	for (size_t at = 0; at + JOURNAL_RECORD_SIZE <= size; at++) {
		if (!journal_record_get(bytes + at, size - at, &record) || !record.last)
			continue;
		if (!torn || record.type == JOURNAL_MARK || at + record.size != size)
			return true;
	}
	return false;
}

/* Look at what is behind the first broken byte, by the rules T1 and T2. */
static void judge(const uint8_t *bytes, size_t size, const uint8_t boot[16],
		  struct journal_scan *scan)
{
	bool anew = scan->marked && memcmp(scan->mark.boot, boot, sizeof(scan->mark.boot)) != 0;
	bool always = scan->mark.sync == JOURNAL_SYNC_ALWAYS;
	size_t behind = scan->broken + 1;

	scan->lost = anew && !always;
	if (scan->broken == size || (scan->lost && scan->broken >= scan->mark.synced))
		return;
	bool torn = anew && always && sector_missing(bytes, size, scan);
	scan->damaged = group_follows(bytes + behind, size - behind, torn);
}

void journal_scan(const uint8_t *bytes, size_t size, const uint8_t boot[16],
		  struct journal_scan *scan)
{
	struct journal_record record;
	size_t at = JOURNAL_HEADER_SIZE;

	*scan = (struct journal_scan){.good = at};
	while (at < size && journal_record_get(bytes + at, size - at, &record)) {
		at += record.size;
		if (record.last)
			scan->good = at;
		if (record.type == JOURNAL_MARK) {
			journal_mark_get(&record, &scan->mark);
			scan->marked = true;
			scan->written = false;
		} else {
			scan->written = true;
		}
	}
	scan->broken = at < size ? at : scan->good;
	judge(bytes, size, boot, scan);
}
