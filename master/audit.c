/*
 * Reading a journal as a master would, record by record, and telling what is there.
 *
 * The records are loaded into the tables of a master that never starts: what it
 * refuses is damage, and what stands in them in the end is counted.
 */
#include <mooncake/journal.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/etcd/url.h"
#include "master/disk.h"
#include "master/etcd_text.h"
#include "master/journal_file.h"
#include "master/record.h"

#define PAGE_KEYS 4000u

struct audit {
	struct mc_master *tables;
	mc_journal_line_fn *line; /* NULL: nobody listens */
	void *context;
	struct mc_journal_found *found;
	struct writer key;
	struct writer value;
	bool ended; /* who listens wants no more */
};

static enum mc_status damaged(struct audit *audit, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum mc_status damaged(struct audit *audit, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(audit->found->damage, sizeof(audit->found->damage), format, arguments);
	va_end(arguments);
	return MC_IO;
}

static void tell(struct audit *audit, const struct mc_journal_line *line)
{
	if (audit->line && !audit->ended)
		audit->ended = !audit->line(audit->context, line);
}

/* -- what stands in the end -- */

static void entries_count(struct audit *audit)
{
	const struct mc_master *tables = audit->tables;
	struct mc_journal_found *found = audit->found;
	const struct entry *entry;
	size_t position = 0;

	while ((entry = table_next(&tables->catalog.by_id, &position)) != NULL) {
		if (entry_is_directory(entry)) {
			found->directories++;
			continue;
		}
		found->objects++;
		for (uint8_t i = 0; i < entry->replica_count; i++) {
			uint32_t node = REPLICA_NODE(entry->replicas[i]);
			found->strays += tables->nodes.table[node].state == NODE_FREE;
		}
	}
}

static enum mc_status finish(struct audit *audit)
{
	struct mc_master *tables = audit->tables;
	struct mc_journal_found *found = audit->found;

	enum mc_status status = catalog_settle(&tables->catalog, &found->orphans);
	if (status == MC_IO)
		return damaged(audit, "two entries have one name");
	if (status != MC_OK)
		return status;
	entries_count(audit);
	for (uint32_t i = 0; i < tables->nodes.used; i++)
		found->nodes += tables->nodes.table[i].state != NODE_FREE;
	for (uint64_t slot = 0; slot < LEDGER_COUNT; slot++)
		found->deeds += ledger_at(&tables->ledger, slot) != NULL;
	found->policies = tables->policies.count;
	found->epoch = tables->epoch;
	return MC_OK;
}

/* -- a file -- */

static void tell_record(struct audit *audit, const struct journal_record *record)
{
	bool removed = record->type == JOURNAL_REMOVE;
	bool placed = record->kind == RECORD_DIRECTORY || record->kind == RECORD_OBJECT;

	if (!audit->line)
		return;
	audit->key.size = audit->value.size = 0;
	if (removed && placed) {
		char text[24];
		int size = snprintf(text, sizeof(text), "ids/%" PRIx64, load_u64(record->key));
		put_bytes(&audit->key, text, (size_t)size);
	} else {
		(void)etcd_text_key(&audit->key, record->kind, record->key, record->key_size,
				    record->value, record->value_size);
	}
	if (!removed)
		etcd_text_value(&audit->value, record->kind, record->value, record->value_size);
	tell(audit, &(struct mc_journal_line){.key = (const char *)audit->key.data,
					      .key_size = audit->key.size,
					      .value = (const char *)audit->value.data,
					      .value_size = audit->value.size,
					      .removed = removed});
}

static enum mc_status record_take(struct audit *audit, const struct journal_record *record,
				  size_t at)
{
	bool removed = record->type == JOURNAL_REMOVE;

	if (record->type == JOURNAL_MARK)
		return MC_OK;
	audit->found->records += !removed;
	audit->found->removals += removed;
	enum mc_status status =
		record_load(audit->tables, record->kind, record->key, record->key_size,
			    removed ? NULL : record->value, record->value_size);
	if (status == MC_IO)
		return damaged(audit, "the record at byte %zu is whole, and makes no sense", at);
	if (status == MC_OK)
		tell_record(audit, record);
	return status;
}

static enum mc_status bytes_read(struct audit *audit, const uint8_t *bytes, size_t size)
{
	struct journal_record record;
	struct journal_scan scan;
	uint8_t boot[16];

	if (!journal_header_valid(bytes, size))
		return damaged(audit, "it does not begin as a journal of this version does");
	disk_boot(boot);
	journal_scan(bytes, size, boot, &scan);
	for (size_t at = JOURNAL_HEADER_SIZE; at < scan.good && !audit->ended; at += record.size) {
		MUST(journal_record_get(bytes + at, size - at, &record));
		enum mc_status status = record_take(audit, &record, at);
		if (status != MC_OK)
			return status;
	}
	if (scan.damaged)
		return damaged(audit, "the record at byte %zu is broken, and whole ones follow it",
			       scan.broken);
	audit->found->tail = size - scan.good;
	return MC_OK;
}

static enum mc_status file_read(struct audit *audit, const char *path)
{
	struct stat attr;

	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &attr) < 0)
		return mc_status_from_errno(errno);
	if (!S_ISREG(attr.st_mode))
		return MC_INVALID;
	size_t size = (size_t)attr.st_size;
	audit->found->bytes = size;
	if (size == 0)
		return MC_OK; /* a new one */
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return mc_status_from_errno(errno);
	enum mc_status status = bytes_read(audit, bytes, size);
	munmap(bytes, size);
	return status;
}

/* -- etcd -- */

static enum mc_status pair_take(struct audit *audit, const struct etcd_pair *pair, size_t prefix)
{
	const char *key = (const char *)pair->key.data + prefix;
	size_t key_size = pair->key.size - prefix;
	struct etcd_record record = {0};

	audit->found->bytes += pair->key.size + pair->value.size;
	writer_init(&record.key);
	writer_init(&record.value);
	enum mc_status status =
		etcd_text_read(key, key_size, pair->value.data, pair->value.size, &record);
	if (status == MC_OK)
		status = record_load(audit->tables, record.kind, record.key.data, record.key.size,
				     record.value.data, record.value.size);
	writer_fini(&record.key);
	writer_fini(&record.value);
	audit->found->records += status == MC_OK;
	audit->found->others += status == MC_NOT_FOUND;
	if (status == MC_IO)
		return damaged(audit, "the value of the key %.*s makes no sense",
			       (int)(key_size < 160 ? key_size : 160), key);
	if (status != MC_OK && status != MC_NOT_FOUND)
		return status;
	tell(audit, &(struct mc_journal_line){.key = key,
					      .key_size = key_size,
					      .value = pair->value.data,
					      .value_size = pair->value.size});
	return MC_OK;
}

static struct etcd_reply *page_read(struct etcd *etcd, const struct etcd_range *range)
{
	struct etcd_waiter waiter;

	etcd_waiter_init(&waiter);
	etcd_range(etcd, range, 0, etcd_waiter_done, &waiter);
	return etcd_waiter_wait(&waiter);
}

/* All pages are of one revision: that of the first. */
static enum mc_status pages_read(struct audit *audit, struct etcd *etcd, struct etcd_bytes prefix,
				 struct etcd_bytes end)
{
	struct etcd_range range = {.key = prefix, .end = end, .limit = PAGE_KEYS};
	enum mc_status status = MC_OK;
	struct writer next;
	bool more = true;

	writer_init(&next);
	while (status == MC_OK && more && !audit->ended) {
		struct etcd_reply *page = page_read(etcd, &range);
		status = page->status;
		for (size_t i = 0; status == MC_OK && !audit->ended && i < page->pair_count; i++)
			status = pair_take(audit, &page->pairs[i], prefix.size);
		more = status == MC_OK && page->more && page->pair_count > 0;
		if (more) {
			const struct etcd_bytes *last = &page->pairs[page->pair_count - 1].key;
			next.size = 0;
			put_bytes(&next, last->data, last->size);
			put_u8(&next, 0);
			range.key = (struct etcd_bytes){next.data, next.size};
			range.revision = range.revision ? range.revision : page->revision;
			status = next.failed ? MC_NO_MEMORY : MC_OK;
		}
		etcd_reply_free(page);
	}
	writer_fini(&next);
	return status;
}

static enum mc_status etcd_read(struct audit *audit, const char *text)
{
	struct writer prefix, end;
	struct etcd_url url;
	struct etcd *etcd;

	enum mc_status status = etcd_url_parse(text, &url);
	if (status != MC_OK)
		return status;
	url.config.connections = 1;
	status = etcd_open(&url.config, &etcd);
	if (status != MC_OK) {
		etcd_url_fini(&url);
		return status;
	}
	writer_init(&prefix);
	writer_init(&end);
	put_bytes(&prefix, "/mooncake/", strlen("/mooncake/"));
	put_bytes(&prefix, url.cluster, strlen(url.cluster));
	put_u8(&prefix, '/');
	etcd_prefix_end((struct etcd_bytes){prefix.data, prefix.size}, &end);
	status = pages_read(audit, etcd, (struct etcd_bytes){prefix.data, prefix.size},
			    (struct etcd_bytes){end.data, end.size});
	if (status == MC_OK && audit->found->records + audit->found->others == 0)
		status = MC_NOT_FOUND;
	writer_fini(&prefix);
	writer_fini(&end);
	etcd_close(etcd);
	etcd_url_fini(&url);
	return status;
}

/* -- the tables of a master that never starts -- */

static void tables_free(struct mc_master *tables)
{
	ledger_fini(&tables->ledger);
	policies_fini(&tables->policies);
	nodes_fini(&tables->nodes);
	catalog_fini(&tables->catalog);
	free(tables);
}

static struct mc_master *tables_new(void)
{
	struct mc_master *tables = calloc(1, sizeof(*tables));

	if (!tables)
		return NULL;
	if (catalog_init(&tables->catalog) == MC_OK && nodes_init(&tables->nodes) == MC_OK &&
	    ledger_init(&tables->ledger) == MC_OK)
		return tables;
	tables_free(tables);
	return NULL;
}

enum mc_status mc_journal_read(const char *journal, mc_journal_line_fn *line, void *context,
			       struct mc_journal_found *found)
{
	struct audit audit = {.line = line, .context = context, .found = found};
	enum mc_status status;

	*found = (struct mc_journal_found){0};
	audit.tables = tables_new();
	if (!audit.tables)
		return MC_NO_MEMORY;
	writer_init(&audit.key);
	writer_init(&audit.value);
	if (strncmp(journal, ETCD_URL_HEAD, strlen(ETCD_URL_HEAD)) == 0)
		status = etcd_read(&audit, journal);
	else
		status = file_read(&audit,
				   strncmp(journal, "file:", 5) == 0 ? journal + 5 : journal);
	if (status == MC_OK && !audit.ended)
		status = finish(&audit);
	writer_fini(&audit.key);
	writer_fini(&audit.value);
	tables_free(audit.tables);
	return status;
}
