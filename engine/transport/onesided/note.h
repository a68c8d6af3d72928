/*
 * engine/transport/onesided/note.h -- what an owner says of where an object lies
 *
 * The bytes of a reply to PULL with MC_PULL_REMOTE, little-endian:
 *
 *     0   4  number of pieces: the object's size / NOTE_PIECE_SIZE, rounded up
 *     4   4  CRC-32C of the first piece, and so on, 4 bytes each
 *     …      a segment descriptor (JSON, segment_desc.h) with one buffer: the object
 *
 * Valid is what keeps these rules:
 *   1  There are as many pieces as the object's size says.
 *   2  The descriptor is one, and its only buffer is at least as long as the object.
 *   3  An empty object has no pieces and no descriptor: four bytes of zero.
 *
 * Threads   Any.
 */
#ifndef ENGINE_TRANSPORT_ONESIDED_NOTE_H
#define ENGINE_TRANSPORT_ONESIDED_NOTE_H

#include <mooncake/status.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/metadata/segment_desc.h"

#define NOTE_PIECE_SIZE (4u << 20)
#define NOTE_SIZE_MAX	(64u << 10)
/* What the descriptor may take is left for it. */
#define NOTE_PIECES_MAX ((NOTE_SIZE_MAX - (16u << 10)) / 4)

static inline uint64_t note_pieces(uint64_t size)
{
	return size / NOTE_PIECE_SIZE + (size % NOTE_PIECE_SIZE != 0);
}

/*
 * Write the note of an object of that size: the sums of its pieces, as they stand in the
 * note, and its descriptor (none for no bytes); the caller frees.
 *
 * MC_TOO_BIG   more pieces than a note can hold
 */
MC_MUST_CHECK enum mc_status note_write(const uint8_t *sums, uint64_t size, const char *descriptor,
					size_t text_size, uint8_t **note, uint32_t *note_size);

/*
 * Read one about an object of that size.  *sums points to size's pieces of four bytes, in the
 * note.  MC_PROTOCOL.
 */
MC_MUST_CHECK enum mc_status note_read(const uint8_t *note, uint32_t note_size, uint64_t size,
				       const uint8_t **sums, struct segment_desc **desc);

#endif
