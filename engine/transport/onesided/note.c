#include "engine/transport/onesided/note.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"

enum mc_status note_write(const uint8_t *sums, uint64_t size, const char *descriptor,
			  size_t text_size, uint8_t **note, uint32_t *note_size)
{
	uint64_t pieces = note_pieces(size);

	if (pieces > NOTE_PIECES_MAX || 4 + pieces * 4 + text_size > NOTE_SIZE_MAX)
		return MC_TOO_BIG;
	uint32_t whole = (uint32_t)(4 + pieces * 4 + text_size);
	uint8_t *made = malloc(whole);
	if (!made)
		return MC_NO_MEMORY;
	store_u32(made, (uint32_t)pieces);
	memcpy(made + 4, sums, pieces * 4);
	if (text_size > 0)
		memcpy(made + 4 + pieces * 4, descriptor, text_size);
	*note = made;
	*note_size = whole;
	return MC_OK;
}

enum mc_status note_read(const uint8_t *note, uint32_t note_size, uint64_t size,
			 const uint8_t **sums, struct segment_desc **desc)
{
	uint64_t pieces = note_pieces(size);
	struct segment_desc *read;

	if (note_size < 4 || load_u32(note) != pieces || (note_size - 4) / 4 < pieces)
		return MC_PROTOCOL;
	const uint8_t *text = note + 4 + pieces * 4;
	size_t text_size = note_size - 4 - pieces * 4;
	*sums = note + 4;
	if (size == 0) {
		*desc = NULL;
		return text_size == 0 ? MC_OK : MC_PROTOCOL;
	}
	if (segment_desc_parse((const char *)text, text_size, &read) != MC_OK)
		return MC_PROTOCOL;
	if (read->buffer_count != 1 || read->buffers[0].length < size) {
		segment_desc_unref(read);
		return MC_PROTOCOL;
	}
	*desc = read;
	return MC_OK;
}
