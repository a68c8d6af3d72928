#include "engine/node/pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <linux/magic.h>
#include <stdatomic.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/mountinfo.h"

#define POOL_XATTR_TRUSTED "trusted.mooncake.object"
#define POOL_XATTR_USER	   "user.mooncake.object"
#define POOL_RECORD_MAX	   8192u
#define POOL_REUSED	   ".reused"
#define POOL_REUSED_SIZE   (POOL_NAME_SIZE - 1 + sizeof(POOL_REUSED))
#define STAT_BLOCK_SIZE	   512u
#define POOL_SOURCE	   "mooncake" /* of our mounts, in /proc/self/mountinfo */
#define BUSY_LOOK_NS	   20000000   /* between two looks at a pool that is in use */
#define BUSY_LOOKS_MAX	   75u

struct pool {
	int directory;
	int objects;
	int drafts;
	int lock;
	int proc;	 /* /proc/self/fd: the way to a file that has no name */
	bool mounted;	 /* by us, now or in an earlier life */
	bool taken_over; /* in an earlier life */
	uint64_t size;
	const char *xattr;
	uint8_t uuid[16];
	char path[MC_PATH_MAX + 1];
	char kind[128];
	_Atomic uint32_t withdrawn; /* names in drafts/ */
	_Atomic int64_t accounted;
	_Atomic uint64_t spare;
};

static enum mc_status io_error(const char *what, const char *path)
{
	enum mc_status status = mc_status_from_errno(errno);

	log_error("the pool can't %s path=%s error=\"%s\"", what, path, strerror(errno));
	return status == MC_OK ? MC_IO : status;
}

/* Whether a tmpfs is mounted exactly here (and not somewhere above), and whether by us. */
static bool mounted_here(const char *path, bool *ours)
{
	struct stat here, above;
	struct statfs fs;
	struct mountinfo mount;
	char parent[MC_PATH_MAX + 4];

	snprintf(parent, sizeof(parent), "%s/..", path);
	if (stat(path, &here) < 0 || stat(parent, &above) < 0 || statfs(path, &fs) < 0 ||
	    here.st_dev == above.st_dev || fs.f_type != TMPFS_MAGIC)
		return false;
	*ours = false;
	for (mountinfo_open(&mount); mountinfo_next(&mount);) {
		if (makedev(mount.major, mount.minor) == here.st_dev)
			*ours = strcmp(mount.source, POOL_SOURCE) == 0;
	}
	mountinfo_close(&mount);
	return true;
}

static enum mc_status mount_tmpfs(struct pool *pool)
{
	bool ours;
	static const char *const variants[] = {"huge=within_size,noswap", "huge=within_size",
					       "noswap", ""};
	char options[128];

	if (mounted_here(pool->path, &ours)) {
		if (!ours) {
			log_error(
				"the pool would take over a tmpfs that is not a pool's: give it a "
				"directory of its own, or private_pool=off path=%s",
				pool->path);
			return MC_BUSY;
		}
		pool->mounted = pool->taken_over = true;
		snprintf(pool->kind, sizeof(pool->kind), "private tmpfs, taken over");
		return MC_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
		snprintf(options, sizeof(options), "mode=0700,size=%" PRIu64 ",nr_inodes=0%s%s",
			 pool->size, variants[i][0] ? "," : "", variants[i]);
		if (mount(POOL_SOURCE, pool->path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0) {
			pool->mounted = true;
			snprintf(pool->kind, sizeof(pool->kind), "private tmpfs%s%s",
				 variants[i][0] ? " " : "", variants[i]);
			return MC_OK;
		}
		if (errno != EINVAL)
			break;
	}
	if (errno != EPERM)
		return io_error("mount a tmpfs", pool->path);
	log_warn("no privilege to mount a tmpfs, using the directory as it is path=%s", pool->path);
	return MC_OK;
}

static enum mc_status load_uuid(struct pool *pool)
{
	CLEANUP_FD int fd = openat(pool->directory, "uuid", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return io_error("open its uuid", pool->path);
	ssize_t size = read(fd, pool->uuid, sizeof(pool->uuid));
	if (size == (ssize_t)sizeof(pool->uuid))
		return MC_OK;
	if (size != 0) {
		log_error("the pool's uuid is damaged path=%s size=%zd", pool->path, size);
		return MC_IO;
	}
	if (getrandom(pool->uuid, sizeof(pool->uuid), 0) != (ssize_t)sizeof(pool->uuid) ||
	    write(fd, pool->uuid, sizeof(pool->uuid)) != (ssize_t)sizeof(pool->uuid))
		return io_error("write its uuid", pool->path);
	return MC_OK;
}

/* What was opened is still at the pool's path: a daemon that ends may take its tmpfs away. */
static bool still_here(const struct pool *pool)
{
	struct stat opened, here;
	bool ours;

	return fstat(pool->directory, &opened) == 0 && stat(pool->path, &here) == 0 &&
	       opened.st_dev == here.st_dev && opened.st_ino == here.st_ino &&
	       (!pool->taken_over || mounted_here(pool->path, &ours));
}

/* MC_AGAIN   another daemon has it */
static enum mc_status take_lock(struct pool *pool)
{
	pool->lock = openat(pool->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (pool->lock < 0 && errno == ENOENT)
		return MC_AGAIN; /* it was removed under us */
	if (pool->lock < 0)
		return io_error("open its lock", pool->path);
	return flock(pool->lock, LOCK_EX | LOCK_NB) == 0 && still_here(pool) ? MC_OK : MC_AGAIN;
}

/* Only once it is ours: another daemon's keeps its size. */
static void resize_tmpfs(const struct pool *pool)
{
	char options[64];

	snprintf(options, sizeof(options), "size=%" PRIu64, pool->size);
	if (mount(POOL_SOURCE, pool->path, "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, options))
		log_warn("the pool keeps its old size path=%s error=\"%s\"", pool->path,
			 strerror(errno));
}

/* trusted.* where it is allowed: nobody without privilege can forge it. */
static enum mc_status choose_xattr(struct pool *pool)
{
	int fd;
	enum mc_status status = pool_draft(pool, &fd);

	if (status)
		return status;
	CLEANUP_FD int draft = fd;
	pool->xattr = POOL_XATTR_TRUSTED;
	if (fsetxattr(draft, POOL_XATTR_TRUSTED, "", 0, 0) == 0)
		return MC_OK;
	pool->xattr = POOL_XATTR_USER;
	if (fsetxattr(draft, POOL_XATTR_USER, "", 0, 0) == 0)
		return MC_OK;
	log_warn("no extended attributes here, a restart will lose what the pool holds path=%s",
		 pool->path);
	pool->xattr = NULL;
	return MC_OK;
}

static void empty_directory(int directory)
{
	CLEANUP_FD int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream)
		return;
	fd = -1;
	struct dirent *entry;
	while ((entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] != '.')
			unlinkat(directory, entry->d_name, 0);
	}
	closedir(stream);
}

/* A directory in the pool's own, made if it is missing. */
static enum mc_status open_directory(struct pool *pool, const char *name, int *fd)
{
	if (mkdirat(pool->directory, name, 0700) < 0 && errno != EEXIST)
		return io_error("make a directory", pool->path);
	*fd = openat(pool->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? io_error("open a directory", pool->path) : MC_OK;
}

static enum mc_status open_locked(struct pool *pool)
{
	pool->directory = open(pool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pool->directory < 0 && errno == ENOENT)
		return MC_AGAIN;
	if (pool->directory < 0)
		return io_error("be opened", pool->path);
	return take_lock(pool);
}

static enum mc_status open_directories(struct pool *pool)
{
	if (mkdirat(pool->directory, "aside", 0700) < 0 && errno != EEXIST)
		return io_error("make a directory", pool->path);
	enum mc_status status = open_directory(pool, "objects", &pool->objects);
	if (status == MC_OK)
		status = open_directory(pool, "drafts", &pool->drafts);
	return status;
}

/* MC_AGAIN   another daemon has it */
static enum mc_status open_now(const struct pool_config *config, struct pool **pool)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return MC_NO_MEMORY;
	p->directory = p->objects = p->drafts = p->lock = -1;
	p->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->size = config->size & ~4095ull;
	strcpy(p->path, config->path);
	snprintf(p->kind, sizeof(p->kind), "directory");

	enum mc_status status = MC_OK;
	if (mkdir(p->path, 0700) < 0 && errno != EEXIST)
		status = io_error("be made", p->path);
	if (!status && config->mount)
		status = mount_tmpfs(p);
	if (!status)
		status = open_locked(p);
	if (!status)
		status = open_directories(p);
	if (!status && p->taken_over)
		resize_tmpfs(p);
	if (!status) {
		empty_directory(p->drafts); /* of a daemon that died */
		status = load_uuid(p);
	}
	if (!status)
		status = choose_xattr(p);
	if (status) {
		pool_close(p);
		return status;
	}
	*pool = p;
	return MC_OK;
}

enum mc_status pool_open(const struct pool_config *config, struct pool **pool)
{
	const struct timespec pause = {.tv_nsec = BUSY_LOOK_NS};
	enum mc_status status;

	if (config->size == 0 || strlen(config->path) > MC_PATH_MAX)
		return MC_INVALID;
	for (unsigned looks = 0; (status = open_now(config, pool)) == MC_AGAIN; looks++) {
		if (looks == BUSY_LOOKS_MAX) {
			log_error("the pool is in use by another daemon path=%s", config->path);
			return MC_BUSY;
		}
		nanosleep(&pause, NULL);
	}
	return status;
}

void pool_close(struct pool *pool)
{
	if (!pool)
		return;
	if (pool->lock >= 0)
		close(pool->lock);
	if (pool->objects >= 0)
		close(pool->objects);
	if (pool->drafts >= 0)
		close(pool->drafts);
	if (pool->directory >= 0)
		close(pool->directory);
	if (pool->proc >= 0)
		close(pool->proc);
	free(pool);
}

void pool_destroy(struct pool *pool)
{
	if (!pool)
		return;
	char path[MC_PATH_MAX + 1];
	bool mounted = pool->mounted;
	strcpy(path, pool->path);
	empty_directory(pool->objects);
	empty_directory(pool->drafts);
	unlinkat(pool->directory, "uuid", 0);
	/* Before the lock is let go: who waits for it must not take what is on its way out. */
	if (mounted && umount2(path, MNT_DETACH) < 0)
		log_warn("the pool can't be unmounted path=%s error=\"%s\"", path, strerror(errno));
	if (mounted)
		rmdir(path);
	pool_close(pool);
}

const uint8_t *pool_uuid(const struct pool *pool)
{
	return pool->uuid;
}

const char *pool_path(const struct pool *pool)
{
	return pool->path;
}

int pool_objects(const struct pool *pool)
{
	return pool->objects;
}

void pool_name(uint64_t id, char name[POOL_NAME_SIZE])
{
	snprintf(name, POOL_NAME_SIZE, "%016" PRIx64, id);
}

const char *pool_kind(const struct pool *pool)
{
	return pool->kind;
}

enum mc_status pool_draft(struct pool *pool, int *fd)
{
	int draft = openat(pool->objects, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (draft < 0)
		return errno == ENOSPC ? MC_NO_SPACE : io_error("open a draft", pool->path);
	*fd = draft;
	return MC_OK;
}

enum mc_status pool_record(struct pool *pool, int fd, const void *record, size_t size)
{
	if (!pool->xattr)
		return MC_OK;
	if (fsetxattr(fd, pool->xattr, record, size, 0) == 0)
		return MC_OK;
	return errno == ENOSPC ? MC_NO_SPACE : io_error("write a record", pool->path);
}

enum mc_status pool_record_id(struct pool *pool, uint64_t id, const void *record, size_t size)
{
	int fd;
	enum mc_status status = pool_object(pool, id, O_RDONLY, &fd);

	if (status)
		return status;
	status = pool_record(pool, fd, record, size);
	close(fd);
	return status;
}

enum mc_status pool_record_of(const struct pool *pool, int fd, void *record, size_t *size)
{
	ssize_t got = pool->xattr ? fgetxattr(fd, pool->xattr, record, *size) : -1;

	if (got < 0)
		return MC_IO;
	*size = (size_t)got;
	return MC_OK;
}

enum mc_status pool_read_record(struct pool *pool, uint64_t id, void *record, size_t *size)
{
	int fd;
	enum mc_status status = pool_object(pool, id, O_RDONLY, &fd);

	if (status)
		return status;
	status = pool_record_of(pool, fd, record, size);
	close(fd);
	return status;
}

/* Give a draft that had a name before its name back. */
static bool name_again(struct pool *pool, const char *name)
{
	if (pool->withdrawn == 0 ||
	    renameat2(pool->drafts, name, pool->objects, name, RENAME_NOREPLACE) < 0)
		return false;
	pool->withdrawn--;
	return true;
}

enum mc_status pool_commit(struct pool *pool, int fd, uint64_t id)
{
	char from[16], name[POOL_NAME_SIZE];

	pool_name(id, name);
	if (name_again(pool, name))
		return MC_OK;
	/* Without CAP_DAC_READ_SEARCH older kernels refuse the short way with ENOENT. */
	if (linkat(fd, "", pool->objects, name, AT_EMPTY_PATH) == 0)
		return MC_OK;
	snprintf(from, sizeof(from), "%d", fd);
	if (errno == ENOENT &&
	    linkat(pool->proc, from, pool->objects, name, AT_SYMLINK_FOLLOW) == 0)
		return MC_OK;
	if (errno == EEXIST)
		return MC_EXISTS;
	return errno == ENOSPC ? MC_NO_SPACE : io_error("name a draft", pool->path);
}

void pool_withdraw(struct pool *pool, uint64_t id)
{
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	pool->withdrawn++; /* before it can be seen there */
	if (renameat(pool->objects, name, pool->drafts, name) == 0)
		return;
	pool->withdrawn--;
	if (errno != ENOENT)
		(void)io_error("take a name back", pool->path);
}

void pool_forget(struct pool *pool, uint64_t id)
{
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	if (pool->withdrawn == 0)
		return;
	if (unlinkat(pool->drafts, name, 0) == 0)
		pool->withdrawn--;
	else if (errno != ENOENT)
		(void)io_error("forget a draft", pool->path);
}

/* Surely, where pool_unused() says as far as the kernel tells. */
static bool alone(int fd)
{
	return fcntl(fd, F_SETLEASE, F_WRLCK) == 0 && fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

static void reclaimed_name(uint64_t id, char name[POOL_REUSED_SIZE])
{
	pool_name(id, name);
	memcpy(name + POOL_NAME_SIZE - 1, POOL_REUSED, sizeof(POOL_REUSED));
}

enum mc_status pool_reclaim(struct pool *pool, uint64_t id, uint64_t size, int *fd)
{
	char name[POOL_NAME_SIZE], reclaimed[POOL_REUSED_SIZE];
	struct stat st;

	pool_name(id, name);
	reclaimed_name(id, reclaimed);
	/* First: who looks for it by its name must not find it any more. */
	if (renameat(pool->objects, name, pool->drafts, reclaimed) < 0) {
		pool_remove(pool, id);
		return MC_BUSY;
	}
	CLEANUP_FD int file = openat(pool->drafts, reclaimed, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (file >= 0 && alone(file) && fstat(file, &st) == 0 && (uint64_t)st.st_size == size &&
	    (uint64_t)st.st_blocks * STAT_BLOCK_SIZE >= size) {
		*fd = STEAL_FD(file);
		return MC_OK;
	}
	pool_forget_reclaimed(pool, id);
	return MC_BUSY;
}

enum mc_status pool_commit_reclaimed(struct pool *pool, uint64_t from, uint64_t id)
{
	char name[POOL_NAME_SIZE], reclaimed[POOL_REUSED_SIZE];

	pool_name(id, name);
	reclaimed_name(from, reclaimed);
	if (renameat2(pool->drafts, reclaimed, pool->objects, name, RENAME_NOREPLACE) == 0)
		return MC_OK;
	return errno == EEXIST ? MC_EXISTS : io_error("name a draft", pool->path);
}

void pool_forget_reclaimed(struct pool *pool, uint64_t from)
{
	char reclaimed[POOL_REUSED_SIZE];

	reclaimed_name(from, reclaimed);
	if (unlinkat(pool->drafts, reclaimed, 0) < 0 && errno != ENOENT)
		(void)io_error("forget a draft", pool->path);
}

enum mc_status pool_open_again(struct pool *pool, int fd, int *again)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	int file = openat(pool->proc, name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return mc_status_from_errno(errno);
	*again = file;
	return MC_OK;
}

enum mc_status pool_object(struct pool *pool, uint64_t id, int flags, int *fd)
{
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	int file = openat(pool->objects, name, flags | O_CLOEXEC | O_NOFOLLOW);
	if (file < 0)
		return errno == ENOENT ? MC_NOT_FOUND : io_error("open an object", pool->path);
	*fd = file;
	return MC_OK;
}

enum mc_status pool_stat(struct pool *pool, uint64_t id, int fd, struct stat *st)
{
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	if ((fd >= 0 ? fstat(fd, st) : fstatat(pool->objects, name, st, AT_SYMLINK_NOFOLLOW)) == 0)
		return MC_OK;
	return errno == ENOENT ? MC_NOT_FOUND : io_error("stat an object", pool->path);
}

static const struct timespec mark = {.tv_sec = 1, .tv_nsec = 7};
static const struct timespec unrecorded_mark = {.tv_sec = 1, .tv_nsec = 8};

/* Before any clock: what no write sets either.  Id and version stand in all of its bits. */
#define REST_SECOND_LAST (-2)
#define REST_NS_BITS	 29

static struct timespec rest_of(uint64_t id, uint64_t version)
{
	uint64_t both = id ^ version;

	return (struct timespec){
		.tv_sec = REST_SECOND_LAST - (time_t)(both >> REST_NS_BITS),
		.tv_nsec = (long)(both & ((1ull << REST_NS_BITS) - 1)),
	};
}

static void set_mtime(struct pool *pool, int fd, struct timespec mtime)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};

	if (futimens(fd, times) < 0)
		(void)io_error("mark an object", pool->path);
}

static void set_mtime_id(struct pool *pool, uint64_t id, struct timespec mtime)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	if (utimensat(pool->objects, name, times, 0) < 0)
		(void)io_error("mark an object", pool->path);
}

void pool_mark(struct pool *pool, uint64_t id, int fd)
{
	if (fd >= 0)
		set_mtime(pool, fd, mark);
	else
		set_mtime_id(pool, id, mark);
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool pool_marked(const struct stat *st)
{
	return same_time(st->st_mtim, mark) || same_time(st->st_mtim, unrecorded_mark) ||
	       pool_rests_any(st);
}

void pool_mark_unrecorded(struct pool *pool, uint64_t id)
{
	set_mtime_id(pool, id, unrecorded_mark);
}

bool pool_recorded(const struct stat *st)
{
	return pool_marked(st) && !same_time(st->st_mtim, unrecorded_mark);
}

bool pool_rests_any(const struct stat *st)
{
	return st->st_mtim.tv_sec <= REST_SECOND_LAST;
}

bool pool_rests(const struct stat *st, uint64_t id, uint64_t version)
{
	struct timespec rest = rest_of(id, version);

	return st->st_mtim.tv_sec == rest.tv_sec && st->st_mtim.tv_nsec == rest.tv_nsec;
}

void pool_account(struct pool *pool, int64_t bytes)
{
	pool->accounted += bytes;
}

void pool_spare(struct pool *pool, int64_t bytes)
{
	pool->spare += (uint64_t)bytes;
}

void pool_remove(struct pool *pool, uint64_t id)
{
	char name[POOL_NAME_SIZE];

	pool_name(id, name);
	if (unlinkat(pool->objects, name, 0) < 0 && errno != ENOENT)
		(void)io_error("remove an object", pool->path);
}

void pool_set_aside(struct pool *pool, const char *name)
{
	CLEANUP_FD int aside = openat(pool->directory, "aside", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (aside < 0 || renameat(pool->objects, name, aside, name) < 0)
		(void)io_error("set a file aside", name);
}

void pool_space(struct pool *pool, struct pool_space *space)
{
	struct statfs fs;

	*space = (struct pool_space){.capacity = pool->size};
	if (fstatfs(pool->objects, &fs) < 0)
		return;
	uint64_t block = (uint64_t)fs.f_bsize;
	uint64_t spare = pool->spare;
	uint64_t free = fs.f_bavail * block + spare;
	if (pool->mounted) {
		space->capacity = fs.f_blocks * block;
		space->used = space->capacity - fs.f_bfree * block;
		space->used -= spare < space->used ? spare : space->used;
	} else {
		space->used = (uint64_t)(pool->accounted > 0 ? pool->accounted : 0);
	}
	space->free = space->used < space->capacity ? space->capacity - space->used : 0;
	if (space->free > free)
		space->free = free;
	space->spare = spare < space->free ? spare : space->free;
}

static bool parse_file(const char *name, uint64_t *id)
{
	char *end;

	if (strlen(name) != 16)
		return false;
	*id = strtoull(name, &end, 16);
	char again[POOL_NAME_SIZE];
	pool_name(*id, again);
	return *end == '\0' && strcmp(again, name) == 0;
}

static void visit_file(struct pool *pool, const char *name,
		       void (*visit)(void *, const struct pool_found *), void *context)
{
	uint8_t record[POOL_RECORD_MAX];
	struct pool_found found = {.name = name};
	struct stat st;
	CLEANUP_FD int fd =
		openat(pool->objects, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && parse_file(name, &found.id)) {
		found.size = (uint64_t)st.st_size;
		found.allocated = (uint64_t)st.st_blocks * STAT_BLOCK_SIZE;
		found.recorded = pool_recorded(&st);
		struct timespec changed = pool_marked(&st) ? st.st_ctim : st.st_mtim;
		found.mtime = (struct mc_time){changed.tv_sec, (uint32_t)changed.tv_nsec};
		ssize_t size =
			pool->xattr ? fgetxattr(fd, pool->xattr, record, sizeof(record)) : -1;
		if (size >= 0) {
			found.record = record;
			found.record_size = (size_t)size;
		}
	}
	visit(context, &found);
}

enum mc_status pool_scan(struct pool *pool, void (*visit)(void *, const struct pool_found *),
			 void *context)
{
	int fd = openat(pool->objects, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return io_error("be read", pool->path);
	}
	struct dirent *entry;
	while ((entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			visit_file(pool, entry->d_name, visit, context);
	}
	closedir(stream);
	return MC_OK;
}

static bool lease(int fd, int kind)
{
	if (fcntl(fd, F_SETLEASE, kind) < 0)
		return errno != EAGAIN;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

static bool lease_id(struct pool *pool, uint64_t id, int kind)
{
	int file;

	if (pool_object(pool, id, O_RDONLY, &file))
		return false;
	CLEANUP_FD int fd = file;
	return lease(fd, kind);
}

bool pool_unused(struct pool *pool, uint64_t id)
{
	return lease_id(pool, id, F_WRLCK);
}

bool pool_unwritten(struct pool *pool, uint64_t id)
{
	return lease_id(pool, id, F_RDLCK);
}

bool pool_unwritten_file(int fd)
{
	return lease(fd, F_RDLCK);
}

bool pool_rest(struct pool *pool, uint64_t id, uint64_t version)
{
	struct stat st;
	int file;

	if (pool_object(pool, id, O_RDONLY, &file))
		return false;
	CLEANUP_FD int fd = file;
	if (!lease(fd, F_RDLCK))
		return false;
	/* What a map wrote that is gone by now would be taken for seen. */
	if (fstat(fd, &st) == 0 && pool_marked(&st))
		set_mtime(pool, fd, rest_of(id, version));
	return true;
}
