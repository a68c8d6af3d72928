#include "engine/node/record.h"

#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/rpc/wire.h"

#define RECORD_MAGIC   0x6a6f634du
#define RECORD_VERSION 1u

size_t record_encode(const struct record *record, uint8_t *bytes)
{
	struct writer w;

	writer_init_fixed(&w, bytes, RECORD_SIZE_MAX);
	put_u32(&w, RECORD_MAGIC);
	put_u8(&w, RECORD_VERSION);
	put_u8(&w, record->kind);
	put_u16(&w, record->flags);
	put_attr(&w, &record->attr);
	put_string(&w, record->path, record->path_size);
	put_u32(&w, crc32c(0, bytes, w.size));
	MUST(!w.failed);
	return w.size;
}

bool record_path_valid(const char *path, size_t size)
{
	size_t begin = 0;

	if (size == 0 || size > MC_PATH_MAX)
		return false;
	for (size_t i = 0; i <= size; i++) {
		if (i < size && path[i] != '/')
			continue;
		if (!mc_name_valid(path + begin, i - begin))
			return false;
		begin = i + 1;
	}
	return true;
}

enum mc_status record_decode(const void *bytes, size_t size, struct record *record)
{
	struct reader r;

	reader_init(&r, bytes, size);
	if (get_u32(&r) != RECORD_MAGIC || get_u8(&r) != RECORD_VERSION)
		return MC_IO;
	record->kind = get_u8(&r);
	record->flags = get_u16(&r);
	get_attr(&r, &record->attr);
	record->path = get_string(&r, &record->path_size);
	size_t checked = r.offset;
	uint32_t crc = get_u32(&r);
	if (!reader_done(&r) || crc != crc32c(0, bytes, checked))
		return MC_IO;
	return record_path_valid(record->path, record->path_size) ? MC_OK : MC_IO;
}
