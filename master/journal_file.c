#include "master/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "master/disk.h"

#define SYNC_MS		1000u
#define SNAPSHOT_BUFFER (1u << 20)
#define FILE_MODE	0600
#define BUSY_LOOK_NS	20000000 /* between two looks at a journal that is in use */
#define BUSY_LOOKS_MAX	75u

struct file_journal {
	struct journal base;
	struct journal_config config;
	char path[PATH_MAX];
	char new_path[PATH_MAX];
	uint8_t boot[16];
	int fd;
	bool stuck;	     /* a write failed, and none went well since: was logged */
	bool loaded;	     /* it is ours to write to */
	bool unsure;	     /* a sync failed: what it was for may be lost, see sync_now() */
	uint64_t size;	     /* of the file, all of it good */
	uint64_t synced;     /* bytes known to be on disk */
	uint64_t synced_ms;  /* when */
	struct writer group; /* records since the last flush */
	size_t last;	     /* of them the last one's offset */
	int new_fd;	     /* of a snapshot; -1: none */
	uint64_t new_size;
	struct writer new_records;
	struct journal_counters counters;
};

static struct file_journal *own(struct journal *journal)
{
	return container_of(journal, struct file_journal, base);
}

static enum mc_status failed(const struct file_journal *file, const char *what)
{
	int error = errno;

	log_error("journal: %s path=%s error=\"%s\"", what, file->path, strerror(error));
	return error == ENOSPC || error == EDQUOT ? MC_NO_SPACE : MC_IO;
}

/*
 * Open and lock the file that the path names when the lock is ours.  A master that
 * ends is waited for: the mount of one inside mooncakefs goes before its journal.
 */
static enum mc_status open_locked(struct file_journal *file)
{
	const struct timespec pause = {.tv_nsec = BUSY_LOOK_NS};
	unsigned looks = 0;

	while (true) {
		struct stat opened;
		struct stat named;
		int flags = O_RDWR | O_CLOEXEC | (file->config.fresh ? O_CREAT : 0);
		CLEANUP_FD int fd = open(file->path, flags, FILE_MODE);

		if (fd < 0 && errno == ENOENT && !file->config.fresh) {
			log_error("there is no journal path=%s", file->path);
			return MC_NOT_FOUND;
		}
		if (fd < 0) {
			enum mc_status status = mc_status_from_errno(errno);
			(void)failed(file, "can't open it");
			return status;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			if (errno != EWOULDBLOCK)
				return failed(file, "can't lock it");
			if (looks++ < BUSY_LOOKS_MAX) {
				nanosleep(&pause, NULL);
				continue;
			}
			log_error("another master has the journal path=%s", file->path);
			return MC_BUSY;
		}
		if (fstat(fd, &opened) != 0)
			return failed(file, "can't look at it");
		if (!S_ISREG(opened.st_mode)) {
			log_error("the journal is not a file path=%s", file->path);
			return MC_INVALID;
		}
		/* Its owner may have renamed a smaller one over it before it let go. */
		if (stat(file->path, &named) != 0 || named.st_ino != opened.st_ino)
			continue;
		file->size = (uint64_t)opened.st_size;
		file->fd = STEAL_FD(fd);
		return MC_OK;
	}
}

static enum mc_status file_open(const struct journal_config *config, struct journal **journal)
{
	if (!config->path[0] || strlen(config->path) > PATH_MAX - 16) {
		log_error("a journal needs a path: file:PATH");
		return MC_INVALID;
	}
	struct file_journal *file = calloc(1, sizeof(*file));
	if (!file)
		return MC_NO_MEMORY;
	file->base.ops = &journal_file_ops;
	file->config = *config;
	file->fd = file->new_fd = -1;
	snprintf(file->path, sizeof(file->path), "%s", config->path);
	file->config.path = file->path;
	snprintf(file->new_path, sizeof(file->new_path), "%.*s.new", PATH_MAX - 16, config->path);
	writer_init(&file->group);
	writer_init(&file->new_records);
	disk_boot(file->boot);
	if (config->fresh)
		disk_parents(file->path);
	enum mc_status status = open_locked(file);
	if (status != MC_OK) {
		free(file);
		return status;
	}
	/* A snapshot that a crash interrupted. */
	unlink(file->new_path);
	*journal = &file->base;
	return MC_OK;
}

static void mark(struct file_journal *file, struct writer *w, bool closed)
{
	struct journal_mark m = {
		.sync = (uint8_t)file->config.sync, .closed = closed, .synced = file->synced};

	memcpy(m.boot, file->boot, sizeof(m.boot));
	journal_mark_put(w, &m);
}

/* Write bytes at the end; what was written in part is cut off again. */
static enum mc_status append(struct file_journal *file, const struct writer *w)
{
	if (w->failed)
		return MC_NO_MEMORY;
	if (!disk_write(file->fd, w->data, w->size, file->size)) {
		enum mc_status status = file->stuck ? MC_IO : failed(file, "can't write to it");
		file->stuck = true;
		if (ftruncate(file->fd, (off_t)file->size) != 0)
			return failed(file, "can't cut off what was written in part");
		return status;
	}
	file->size += w->size;
	file->stuck = false;
	return MC_OK;
}

/*
 * The kernel tells of pages that it could not write once, and takes them for written
 * from then on.  So after a failure the next success proves nothing, and only a
 * snapshot, another file, can be trusted again.
 */
static enum mc_status sync_now(struct file_journal *file)
{
	if (file->unsure)
		return MC_IO;
	if (file->synced == file->size)
		return MC_OK;
	if (fdatasync(file->fd) != 0) {
		file->unsure = true;
		return failed(file, "can't sync it");
	}
	file->synced = file->size;
	return MC_OK;
}

static enum mc_status mark_append(struct file_journal *file, bool closed)
{
	struct writer w;

	writer_init(&w);
	mark(file, &w, closed);
	enum mc_status status = append(file, &w);
	writer_fini(&w);
	return status;
}

static enum mc_status begin_new(struct file_journal *file)
{
	uint8_t header[JOURNAL_HEADER_SIZE];

	journal_header_encode(header);
	file->size = 0;
	if (!disk_write(file->fd, header, sizeof(header), 0))
		return failed(file, "can't write to it");
	file->size = sizeof(header);
	return mark_append(file, false);
}

/* Nothing was written since all of it was known to be on disk. */
static bool all_synced(const struct journal_scan *scan)
{
	return !scan->written &&
	       scan->mark.synced + JOURNAL_RECORD_SIZE + JOURNAL_MARK_SIZE >= scan->good;
}

/* Apply rules T1 and T2 of journal_file.h. */
static enum mc_status tail_check(struct file_journal *file, const struct journal_scan *scan,
				 struct journal_loaded *loaded)
{
	loaded->incomplete = scan->lost && !all_synced(scan);
	if (scan->broken == file->size)
		return MC_OK;
	if (scan->damaged) {
		log_error("the journal is damaged path=%s offset=%zu", file->path, scan->broken);
		return MC_IO;
	}
	log_warn("cut off the end of the journal path=%s offset=%zu bytes=%lu", file->path,
		 scan->good, (unsigned long)(file->size - scan->good));
	loaded->incomplete = true;
	if (ftruncate(file->fd, (off_t)scan->good) != 0)
		return failed(file, "can't cut off its end");
	file->size = scan->good;
	return MC_OK;
}

static enum mc_status replay(const struct file_journal *file, const uint8_t *bytes, size_t size,
			     journal_visit *visit, void *context)
{
	size_t at = JOURNAL_HEADER_SIZE;

	while (at < size) {
		struct journal_record record;
		MUST(journal_record_get(bytes + at, size - at, &record));
		if (record.type != JOURNAL_MARK) {
			enum mc_status status =
				visit(context, record.kind, record.key, record.key_size,
				      record.type == JOURNAL_PUT ? record.value : NULL,
				      record.value_size);
			if (status != MC_OK) {
				log_error("a record of the journal makes no sense path=%s "
					  "offset=%zu reason=\"%s\"",
					  file->path, at, mc_status_text(status));
				return status;
			}
		}
		at += record.size;
	}
	return MC_OK;
}

static enum mc_status bytes_load(struct file_journal *file, const uint8_t *bytes,
				 journal_visit *visit, void *context, struct journal_loaded *loaded)
{
	struct journal_scan scan;

	if (!journal_header_valid(bytes, file->size)) {
		log_error("not a journal of this version, or damaged path=%s offset=0", file->path);
		return MC_IO;
	}
	journal_scan(bytes, file->size, file->boot, &scan);
	enum mc_status status = tail_check(file, &scan, loaded);
	if (status != MC_OK)
		return status;
	return replay(file, bytes, scan.good, visit, context);
}

static enum mc_status file_load(struct journal *journal, journal_visit *visit, void *context,
				struct journal_loaded *loaded)
{
	struct file_journal *file = own(journal);
	size_t mapped = file->size;

	*loaded = (struct journal_loaded){0};
	if (mapped == 0) {
		loaded->empty = true;
		enum mc_status status = begin_new(file);
		file->loaded = status == MC_OK;
		return status;
	}
	void *bytes = mmap(NULL, mapped, PROT_READ, MAP_PRIVATE, file->fd, 0);
	if (bytes == MAP_FAILED)
		return failed(file, "can't map it");
	madvise(bytes, mapped, MADV_SEQUENTIAL);
	enum mc_status status = bytes_load(file, bytes, visit, context, loaded);
	munmap(bytes, mapped);
	if (status == MC_OK && file->config.sync != JOURNAL_SYNC_NEVER)
		status = sync_now(file);
	if (status == MC_OK)
		status = mark_append(file, false);
	file->loaded = status == MC_OK;
	return status;
}

static void record_add(struct file_journal *file, const struct journal_record *record)
{
	file->last = journal_record_put(&file->group, record);
	file->counters.records++;
}

static void file_put(struct journal *journal, enum record_kind kind, const uint8_t *key,
		     size_t key_size, const uint8_t *value, size_t value_size)
{
	struct journal_record record = {.type = JOURNAL_PUT,
					.kind = kind,
					.key = key,
					.key_size = key_size,
					.value = value,
					.value_size = value_size};

	record_add(own(journal), &record);
}

static void file_remove(struct journal *journal, enum record_kind kind, const uint8_t *key,
			size_t key_size)
{
	struct journal_record record = {
		.type = JOURNAL_REMOVE, .kind = kind, .key = key, .key_size = key_size};

	record_add(own(journal), &record);
}

static enum mc_status file_flush(struct journal *journal)
{
	struct file_journal *file = own(journal);
	enum mc_status status = MC_OK;

	file->counters.flushes++;
	if (file->group.size > 0 || file->group.failed) {
		journal_record_end_group(&file->group, file->last);
		failpoint("file.begun");
		status = append(file, &file->group);
		if (status != MC_OK)
			return status;
		failpoint("file.appended");
		/* A snapshot under way must end with what is true then. */
		if (file->new_fd >= 0)
			put_bytes(&file->new_records, file->group.data, file->group.size);
		if (file->group.capacity > SNAPSHOT_BUFFER) {
			writer_fini(&file->group);
			writer_init(&file->group);
		}
		writer_reset(&file->group);
	}
	return file->config.sync == JOURNAL_SYNC_ALWAYS ? sync_now(file) : MC_OK;
}

static void file_tick(struct journal *journal, uint64_t now_ms)
{
	struct file_journal *file = own(journal);

	if (file->config.sync != JOURNAL_SYNC_INTERVAL || file->synced == file->size ||
	    now_ms - file->synced_ms < SYNC_MS)
		return;
	file->synced_ms = now_ms;
	if (sync_now(file) != MC_OK || mark_append(file, false) != MC_OK)
		return;
	/* The mark itself needs no sync of its own. */
	file->synced = file->size;
}

static void file_close(struct journal *journal)
{
	if (!journal)
		return;
	struct file_journal *file = own(journal);
	if (file->new_fd >= 0) {
		close(file->new_fd);
		unlink(file->new_path);
	}
	if (file->loaded && sync_now(file) == MC_OK && mark_append(file, true) == MC_OK &&
	    fdatasync(file->fd) != 0)
		log_warn("journal: can't sync it path=%s", file->path);
	close(file->fd);
	writer_fini(&file->group);
	writer_fini(&file->new_records);
	free(file);
}

static bool file_snapshot_due(const struct journal *journal, uint64_t live_size)
{
	const struct file_journal *file = container_of(journal, const struct file_journal, base);

	return file->unsure || (file->size > JOURNAL_COMPACT_SIZE && file->size > 2 * live_size);
}

static enum mc_status snapshot_write(struct file_journal *file)
{
	struct writer *w = &file->new_records;

	if (w->failed)
		return MC_NO_MEMORY;
	if (!disk_write(file->new_fd, w->data, w->size, file->new_size))
		return failed(file, "can't write the smaller one");
	/* Begin to move it to the disk now, so that the sync at the end is short. */
	sync_file_range(file->new_fd, (off_t)file->new_size, (off_t)w->size, SYNC_FILE_RANGE_WRITE);
	file->new_size += w->size;
	writer_reset(w);
	return MC_OK;
}

static enum mc_status file_snapshot_begin(struct journal *journal)
{
	struct file_journal *file = own(journal);
	uint8_t header[JOURNAL_HEADER_SIZE];

	file->new_fd = open(file->new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
	if (file->new_fd < 0)
		return failed(file, "can't begin a smaller one");
	file->new_size = 0;
	writer_reset(&file->new_records);
	if (flock(file->new_fd, LOCK_EX | LOCK_NB) != 0)
		return failed(file, "can't lock the smaller one");
	journal_header_encode(header);
	put_bytes(&file->new_records, header, sizeof(header));
	struct journal_mark m = {.sync = (uint8_t)file->config.sync};
	memcpy(m.boot, file->boot, sizeof(m.boot));
	journal_mark_put(&file->new_records, &m);
	return MC_OK;
}

static enum mc_status file_snapshot_put(struct journal *journal, enum record_kind kind,
					const uint8_t *key, size_t key_size, const uint8_t *value,
					size_t value_size)
{
	struct file_journal *file = own(journal);
	struct journal_record record = {.type = JOURNAL_PUT,
					.kind = kind,
					.last = true,
					.key = key,
					.key_size = key_size,
					.value = value,
					.value_size = value_size};

	journal_record_put(&file->new_records, &record);
	return file->new_records.size < SNAPSHOT_BUFFER ? MC_OK : snapshot_write(file);
}

/*
 * What could not be written so far has been done, and the records of the snapshot are
 * from before and from after it: without the rest they would contradict each other.
 */
static enum mc_status group_take_along(struct file_journal *file)
{
	if (file->group.failed)
		return MC_NO_MEMORY;
	if (file->group.size == 0)
		return MC_OK;
	journal_record_end_group(&file->group, file->last);
	put_bytes(&file->new_records, file->group.data, file->group.size);
	return MC_OK;
}

static enum mc_status snapshot_finish(struct file_journal *file)
{
	enum mc_status status = group_take_along(file);

	if (status == MC_OK)
		status = snapshot_write(file);
	if (status != MC_OK)
		return status;
	failpoint("file.smaller");
	if (fsync(file->new_fd) != 0 || rename(file->new_path, file->path) != 0)
		return failed(file, "can't replace it by the smaller one");
	failpoint("file.replaced");
	log_info("made the journal smaller path=%s from=%lu to=%lu", file->path,
		 (unsigned long)file->size, (unsigned long)file->new_size);
	close(file->fd);
	file->fd = file->new_fd;
	file->new_fd = -1;
	file->size = file->synced = file->new_size;
	file->stuck = file->unsure = false;
	writer_reset(&file->group);
	file->counters.compactions++;
	return disk_sync_name(file->path) ? MC_OK : failed(file, "can't sync its directory");
}

static enum mc_status file_snapshot_end(struct journal *journal, bool ok)
{
	struct file_journal *file = own(journal);
	enum mc_status status = ok ? snapshot_finish(file) : MC_OK;

	if (file->new_fd >= 0) {
		close(file->new_fd);
		file->new_fd = -1;
		unlink(file->new_path);
	}
	writer_fini(&file->new_records);
	writer_init(&file->new_records);
	return status;
}

static void file_counters(const struct journal *journal, struct journal_counters *counters)
{
	const struct file_journal *file = container_of(journal, const struct file_journal, base);

	*counters = file->counters;
	counters->bytes = file->size;
}

const struct journal_ops journal_file_ops = {
	.name = "file",
	.durable = true,
	.open = file_open,
	.close = file_close,
	.load = file_load,
	.put = file_put,
	.remove = file_remove,
	.flush = file_flush,
	.tick = file_tick,
	.snapshot_due = file_snapshot_due,
	.snapshot_begin = file_snapshot_begin,
	.snapshot_put = file_snapshot_put,
	.snapshot_end = file_snapshot_end,
	.counters = file_counters,
};
