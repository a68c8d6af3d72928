/*
 * master/journal_file.h -- the journal as a local file, byte by byte
 *
 * All integers are little-endian.  The file is written at its end only, and
 * replaced as a whole (PATH.new, rename) when more than half of it is out of
 * date.  flock(2) on the file keeps a second master out.
 *
 * Header, 16 bytes
 *
 *   offset size
 *    0     8   magic "MCJOURNL"
 *    8     4   version, 1
 *   12     4   CRC-32C of bytes 0 to 11
 *
 * Record, 16 bytes and its key and value
 *
 *    0     4   CRC-32C of byte 4 to the end of the value
 *    4     4   size of the value in bytes, at most RECORD_VALUE_MAX
 *    8     1   type: 1 put, 2 remove, 3 mark
 *    9     1   kind (enum record_kind; 0 for a mark)
 *   10     1   size of the key in bytes: 0 meta and mark, 16 node, 8 else
 *   11     1   flags: bit 0 last of its group
 *   12     4   0
 *   16         key, then value (none for a remove; for a mark see below)
 *
 * Mark, the value of type 3: 26 bytes.  Written when a master opens the file,
 * after each sync of "interval", and when it closes the file.
 *
 *    0    16   boot id of the machine that writes
 *   16     1   sync policy of the writer (enum journal_sync)
 *   17     1   1 when it closes, else 0
 *   18     8   bytes of the file that are known to be on disk
 *
 * Validity
 *   J1  the header is as above; a file of 0 bytes is a new journal
 *   J2  each record is as above, to the last byte of the file
 *   J3  the last record ends a group
 *   The first record that breaks J2, or the first of a group that J3 leaves
 *   open, is at the tail when no valid record that ends a group follows it.  A
 *   machine that goes down leaves pages out in any order: it is at the tail, too,
 *   when the only one that follows ends the file and is no mark, a whole sector
 *   of the broken record was never written (all 0), and the machine was started
 *   anew since the last mark, which says "always".  Then no group is begun
 *   before the one before it is on disk, so it was the last that was under way.
 *   T1  a broken tail is cut off, with a warning: it is a write that a crash
 *       interrupted, and nothing in it was acknowledged
 *   T2  elsewhere it is damage, and the file is refused with the offset; but
 *       if the machine was started anew since it was written without a sync,
 *       and no mark says that the place was on disk, the rest is cut off: the
 *       machine lost it
 *   After a cut, or when the machine was started anew since an unsynced write,
 *   acknowledged records may be missing (journal_loaded.incomplete).
 *
 * History
 *   1   first
 */
#ifndef MASTER_JOURNAL_FILE_H
#define MASTER_JOURNAL_FILE_H

#include "engine/base/buffer.h"
#include "master/journal.h"

#define JOURNAL_VERSION	     1u
#define JOURNAL_HEADER_SIZE  16u
#define JOURNAL_RECORD_SIZE  16u /* before key and value */
#define JOURNAL_MARK_SIZE    26u
#define JOURNAL_SECTOR_SIZE  512u
#define JOURNAL_COMPACT_SIZE (1u << 20) /* bytes below which it is left alone */

enum journal_type { JOURNAL_PUT = 1, JOURNAL_REMOVE = 2, JOURNAL_MARK = 3 };

#define JOURNAL_LAST 1u /* flag: ends its group */

struct journal_mark {
	uint8_t boot[16];
	uint8_t sync;
	uint8_t closed;
	uint64_t synced;
};

/* A record inside a buffer that holds the file. */
struct journal_record {
	enum journal_type type;
	enum record_kind kind;
	bool last;
	const uint8_t *key;
	size_t key_size;
	const uint8_t *value;
	size_t value_size;
	size_t size; /* of all of it */
};

void journal_header_encode(uint8_t header[JOURNAL_HEADER_SIZE]);
bool journal_header_valid(const uint8_t *bytes, size_t size);

/* Append a record; returns its offset in the writer. */
size_t journal_record_put(struct writer *w, const struct journal_record *record);
/* Make the record at an offset, the last in the writer, end the group. */
void journal_record_end_group(struct writer *w, size_t offset);
/* False: the bytes at the start are no valid record. */
bool journal_record_get(const uint8_t *bytes, size_t size, struct journal_record *record);

void journal_mark_put(struct writer *w, const struct journal_mark *mark);
void journal_mark_get(const struct journal_record *record, struct journal_mark *mark);

/* What a look through a whole file found. */
struct journal_scan {
	size_t good;   /* bytes up to the end of the last group before anything broken */
	size_t broken; /* where that is; the size of the file when nothing is */
	bool damaged;  /* it is neither at the tail (T1) nor what a machine lost (T2) */
	bool marked;   /* there is a mark before it: the last one is here */
	bool written;  /* records follow that mark */
	bool lost;     /* the machine was started anew since it wrote without a sync */
	struct journal_mark mark;
};

/* Look through a whole file, on a machine that was started as boot says (disk.h). */
void journal_scan(const uint8_t *bytes, size_t size, const uint8_t boot[16],
		  struct journal_scan *scan);

#endif
