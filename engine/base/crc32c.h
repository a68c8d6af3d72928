/*
 * engine/base/crc32c.h -- CRC-32C (Castagnoli) of bytes
 *
 * The checksum of journal records and of what crosses TCP.  Reflected
 * polynomial 0x82f63b78, initial value and final xor 0xffffffff, as in iSCSI
 * (RFC 3720, B.4).  The best that the processor has: 256 bytes folded a step
 * by carry-less products 512 bits wide, its own instruction in three
 * interleaved streams, or tables of eight bytes a step.
 *
 * Threads   Any thread.
 */
#ifndef ENGINE_BASE_CRC32C_H
#define ENGINE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of the bytes that gave `crc` (0: none) followed by these. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

/* The same as crc32c(), by tables only: what runs where the instruction is missing. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t size);

#endif
