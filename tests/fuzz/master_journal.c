/*
 * A journal's file from any bytes: what is read must be whole records, and what they
 * hold must be taken or refused.
 *
 * The bytes are looked through as a file, with their sums mended so that more than
 * noise gets past them; then every record of a group is given to the master's tables,
 * which must settle.
 *
 * FUZZ_SEEDS=DIR makes it write a file of valid records there, and end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "master/journal_file.h"
#include "master/record.h"
#include "master/state.h"
#include "master/xattrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Make the sums of what looks like records right. */
static void sums_mend(uint8_t *bytes, size_t size)
{
	size_t at = JOURNAL_HEADER_SIZE;

	if (size >= JOURNAL_HEADER_SIZE)
		journal_header_encode(bytes);
	while (size > at && size - at >= JOURNAL_RECORD_SIZE) {
		size_t whole =
			JOURNAL_RECORD_SIZE + (size_t)load_u32(bytes + at + 4) + bytes[at + 10];
		if (whole > size - at)
			return;
		store_u32(bytes + at, crc32c(0, bytes + at + 4, whole - 4));
		at += whole;
	}
}

static void records_take(const uint8_t *bytes, size_t size)
{
	struct mc_master *master = calloc(1, sizeof(*master));
	struct journal_record record;
	uint64_t lost;

	MUST(master && catalog_init(&master->catalog) == MC_OK);
	MUST(nodes_init(&master->nodes) == MC_OK);
	for (size_t at = JOURNAL_HEADER_SIZE; at < size; at += record.size) {
		MUST(journal_record_get(bytes + at, size - at, &record));
		if (record.type == JOURNAL_MARK)
			continue;
		if (record_load(master, record.kind, record.key, record.key_size,
				record.type == JOURNAL_PUT ? record.value : NULL,
				record.value_size) != MC_OK)
			break;
	}
	if (catalog_settle(&master->catalog, &lost) == MC_OK)
		MUST(master->catalog.by_name.count + 1 == master->catalog.by_id.count);
	catalog_fini(&master->catalog);
	nodes_fini(&master->nodes);
	free(master);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t boot[16];
	uint8_t *bytes = malloc(size + 1);
	struct journal_scan scan;

	MUST(bytes);
	memcpy(bytes, data, size);
	if (journal_header_valid(bytes, size))
		journal_scan(bytes, size, boot, &scan);
	sums_mend(bytes, size);
	if (journal_header_valid(bytes, size)) {
		journal_scan(bytes, size, boot, &scan);
		MUST(scan.good <= size && scan.broken <= size);
		records_take(bytes, scan.good);
	}
	free(bytes);
	return 0;
}

/* --- seeds ---------------------------------------------------------------- */

static void seed_entry(struct writer *file, bool directory, uint64_t id, uint64_t parent)
{
	struct mc_attr attr = {.id = id, .version = 1, .mode = directory ? S_IFDIR : S_IFREG};
	struct writer value;
	char name[16];
	uint8_t key[8];

	writer_init(&value);
	put_u8(&value, 1);
	put_u64(&value, parent);
	put_u64(&value, id);
	put_string(&value, name, parent ? (size_t)sprintf(name, "n%u", (unsigned)id) : 0);
	put_attr(&value, &attr);
	xattrs_put(NULL, &value);
	if (!directory) {
		put_u32(&value, 0);
		put_u8(&value, 1);
		put_u16(&value, 0);
	}
	store_u64(key, id);
	journal_record_put(file, &(struct journal_record){
					 .type = JOURNAL_PUT,
					 .kind = directory ? RECORD_DIRECTORY : RECORD_OBJECT,
					 .key = key,
					 .key_size = sizeof(key),
					 .value = value.data,
					 .value_size = value.size,
				 });
	writer_fini(&value);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *directory = getenv("FUZZ_SEEDS");
	uint8_t header[JOURNAL_HEADER_SIZE];
	const uint8_t key[8] = {4};
	char path[4096];
	struct writer w;

	(void)argc;
	(void)argv;
	log_level_now = LOG_LEVEL_ERROR;
	if (!directory)
		return 0;
	writer_init(&w);
	journal_header_encode(header);
	put_bytes(&w, header, sizeof(header));
	seed_entry(&w, true, MC_ROOT_ID, 0);
	seed_entry(&w, true, 3, MC_ROOT_ID);
	seed_entry(&w, false, 4, 3);
	seed_entry(&w, false, 5, MC_ROOT_ID);
	size_t last = journal_record_put(&w, &(struct journal_record){.type = JOURNAL_REMOVE,
								      .kind = RECORD_OBJECT,
								      .key = key,
								      .key_size = sizeof(key)});
	journal_record_end_group(&w, last);
	snprintf(path, sizeof(path), "%s/journal", directory);
	FILE *file = fopen(path, "we");
	MUST(file && fwrite(w.data, 1, w.size, file) == w.size && fclose(file) == 0);
	writer_fini(&w);
	exit(0);
}
