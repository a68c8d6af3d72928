#include "tools/bench/workload.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define PAGE	     4096u
#define WARMUP_COUNT 2
/* Enough objects a round for a median, not so many that they leave the caches for certain. */
#define ROUND_BYTES	 ((uint64_t)16 << 20)
#define OBJECT_COUNT_MIN 2
#define OBJECT_COUNT_MAX 32

volatile int workload_interrupted;

/* No name is used twice by a process, so that none is known to a kernel before its time. */
static unsigned long serial_next;

static const struct {
	const char *name;
	bool sized;
	bool kept; /* the objects stay from round to round */
} operations[OP_COUNT] = {
	[OP_PUT] = {"put", true, false},
	[OP_GET_READ] = {"get_read", true, true},
	[OP_GET_MMAP] = {"get_mmap", true, true},
	[OP_STAT] = {"stat", false, true},
	[OP_STAT_MISSING] = {"stat_missing", false, false},
	[OP_UNLINK] = {"unlink", true, false},
};

/* One thread of a round.  Its objects are its own. */
struct worker {
	const struct workload *workload;
	const char *place;
	const char *source; /* where its objects are put and dropped */
	bool fresh;	    /* they are put before each round and dropped after it */
	unsigned index;
	unsigned object_count;
	unsigned long serial; /* of the first object of the round */
	void *pattern;	      /* what put writes */
	void *buffer;	      /* where get reads to */
	double *times_us;
	pthread_barrier_t *turn; /* all start together, and none tidies up while another is timed */
	enum mc_status status;
};

const char *operation_name(enum operation op)
{
	return operations[op].name;
}

bool operation_sized(enum operation op)
{
	return operations[op].sized;
}

unsigned workload_object_count(uint64_t size)
{
	uint64_t count = ROUND_BYTES / (size ? size : 1);

	if (count < OBJECT_COUNT_MIN)
		return OBJECT_COUNT_MIN;
	return count > OBJECT_COUNT_MAX ? OBJECT_COUNT_MAX : (unsigned)count;
}

static enum mc_status failed(const char *call, const char *path)
{
	int error = errno;

	log_error("%s failed path=%s error=\"%s\"", call, path, strerror(error));
	return mc_status_from_errno(error);
}

static unsigned char pattern_byte(uint64_t offset)
{
	return (unsigned char)(offset / PAGE * 31 + 7);
}

void *pattern_new(uint64_t size)
{
	uint64_t room = (size + PAGE - 1) / PAGE * PAGE;
	unsigned char *bytes = aligned_alloc(PAGE, room ? room : PAGE);

	if (!bytes)
		return NULL;
	for (uint64_t offset = 0; offset < room; offset += PAGE)
		memset(bytes + offset, pattern_byte(offset), PAGE);
	return bytes;
}

static bool pattern_holds(const unsigned char *bytes, uint64_t size)
{
	return size == 0 ||
	       (bytes[0] == pattern_byte(0) && bytes[size - 1] == pattern_byte(size - 1));
}

enum mc_status put_object(const char *path, const void *pattern, uint64_t size)
{
	const char *bytes = pattern;
	uint64_t done = 0;
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return failed("create", path);
	while (done < size) {
		ssize_t n = write(fd, bytes + done, size - done);

		if (n <= 0) {
			enum mc_status status = failed("write", path);

			close(fd);
			return status;
		}
		done += (uint64_t)n;
	}
	if (close(fd) != 0)
		return failed("close", path);
	return MC_OK;
}

static enum mc_status get_by_read(const char *path, void *buffer, uint64_t size)
{
	char *bytes = buffer;
	uint64_t done = 0;
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return failed("open", path);
	while (done < size) {
		ssize_t n = read(fd, bytes + done, size - done);

		if (n < 0)
			return failed("read", path);
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	if (close(STEAL_FD(fd)) != 0)
		return failed("close", path);
	if (done != size) {
		errno = EIO;
		return failed("read to the end", path);
	}
	return MC_OK;
}

static enum mc_status get_by_mmap(const char *path, void *buffer, uint64_t size)
{
	unsigned char *ends = buffer;
	unsigned sum = 0;
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return failed("open", path);
	unsigned char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return failed("mmap", path);
	for (uint64_t offset = 0; offset < size; offset += PAGE)
		sum += *(volatile unsigned char *)(map + offset);
	ends[0] = map[0];
	ends[size - 1] = map[size - 1];
	(void)sum;
	if (munmap(map, size) != 0)
		return failed("munmap", path);
	if (close(STEAL_FD(fd)) != 0)
		return failed("close", path);
	return MC_OK;
}

enum mc_status get_object(const char *path, enum operation op, void *buffer, uint64_t size)
{
	return op == OP_GET_MMAP ? get_by_mmap(path, buffer, size)
				 : get_by_read(path, buffer, size);
}

static enum mc_status stat_object(const char *path, bool exists)
{
	struct stat st;
	int rc = stat(path, &st);

	if (exists)
		return rc == 0 ? MC_OK : failed("stat", path);
	if (rc != 0 && errno == ENOENT)
		return MC_OK;
	errno = rc == 0 ? EEXIST : errno;
	return failed("stat of a missing name", path);
}

static enum mc_status operate(const struct worker *worker, const char *path)
{
	uint64_t size = worker->workload->size;

	switch (worker->workload->op) {
	case OP_PUT:
		return put_object(path, worker->pattern, size);
	case OP_GET_READ:
	case OP_GET_MMAP:
		return get_object(path, worker->workload->op, worker->buffer, size);
	case OP_STAT:
		return stat_object(path, true);
	case OP_STAT_MISSING:
		return stat_object(path, false);
	case OP_UNLINK:
		return unlink(path) == 0 ? MC_OK : failed("unlink", path);
	case OP_COUNT:
		break;
	}
	return MC_INVALID;
}

static void object_path(const struct worker *worker, const char *place, unsigned object, char *path)
{
	snprintf(path, PATH_MAX, "%s/%s-%u-%lu", place, operation_name(worker->workload->op),
		 worker->index, worker->serial + object);
}

static enum mc_status objects_put(const struct worker *worker)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < worker->object_count && !workload_interrupted; i++) {
		object_path(worker, worker->source, i, path);
		enum mc_status status = put_object(path, worker->pattern, worker->workload->size);
		if (status)
			return status;
	}
	return MC_OK;
}

static void objects_drop(const struct worker *worker)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < worker->object_count; i++) {
		object_path(worker, worker->source, i, path);
		unlink(path);
	}
}

/* What has to be there or known before the clock starts. */
static enum mc_status round_prepare(const struct worker *worker)
{
	char path[PATH_MAX];
	enum mc_status status = MC_OK;

	if (worker->fresh)
		return objects_put(worker);
	if (worker->workload->op != OP_STAT)
		return MC_OK;
	for (unsigned i = 0; i < worker->object_count && !status; i++) {
		object_path(worker, worker->place, i, path);
		status = stat_object(path, true);
	}
	return status;
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	bool get = worker->workload->op == OP_GET_READ || worker->workload->op == OP_GET_MMAP;
	char path[PATH_MAX];

	worker->status = round_prepare(worker);
	pthread_barrier_wait(worker->turn);
	for (unsigned i = 0; i < worker->object_count && !worker->status; i++) {
		object_path(worker, worker->place, i, path);
		uint64_t start_ns = clock_ns();
		worker->status = operate(worker, path);
		worker->times_us[i] = clock_since_us(start_ns);
		if (!worker->status && get &&
		    !pattern_holds(worker->buffer, worker->workload->size)) {
			log_error("got bytes that were not put path=%s", path);
			worker->status = MC_IO;
		}
	}
	pthread_barrier_wait(worker->turn);
	if (worker->fresh || worker->workload->op == OP_PUT)
		objects_drop(worker);
	return NULL;
}

static void worker_move(struct worker *worker, const struct workload *workload, size_t place)
{
	worker->place = workload->places[place];
	worker->source = workload->sources[place] ? workload->sources[place] : worker->place;
	worker->fresh = workload->sources[place] || workload->op == OP_UNLINK;
}

/* One round in one place; the times of all threads go to sample unless it is NULL. */
static enum mc_status round_run(struct worker *workers, const struct workload *workload,
				size_t place, struct sample *sample)
{
	pthread_t ids[WORKLOAD_THREAD_COUNT_MAX] = {0};

	for (unsigned i = 0; i < workload->threads; i++)
		worker_move(&workers[i], workload, place);
	for (unsigned i = 1; i < workload->threads; i++)
		MUST(pthread_create(&ids[i], NULL, worker_main, &workers[i]) == 0);
	worker_main(&workers[0]);
	for (unsigned i = 1; i < workload->threads; i++)
		pthread_join(ids[i], NULL);
	for (unsigned i = 0; i < workload->threads; i++) {
		if (workers[i].status)
			return workers[i].status;
		for (unsigned j = 0; sample && j < workers[i].object_count; j++)
			sample_add(sample, workers[i].times_us[j]);
	}
	return MC_OK;
}

static enum mc_status workers_init(struct worker *workers, const struct workload *workload,
				   pthread_barrier_t *turn)
{
	unsigned object_count = workload_object_count(workload->size);

	for (unsigned i = 0; i < workload->threads; i++) {
		struct worker *worker = &workers[i];

		worker->workload = workload;
		worker->turn = turn;
		worker->index = i;
		worker->object_count = object_count;
		worker->serial = serial_next;
		worker->pattern = pattern_new(workload->size);
		worker->buffer = pattern_new(workload->size);
		worker->times_us = calloc(object_count, sizeof(*worker->times_us));
		if (!worker->pattern || !worker->buffer || !worker->times_us)
			return MC_NO_MEMORY;
	}
	return MC_OK;
}

static void workers_fini(struct worker *workers, unsigned threads)
{
	for (unsigned i = 0; i < threads; i++) {
		free(workers[i].pattern);
		free(workers[i].buffer);
		free(workers[i].times_us);
	}
}

/* Put, in every place, the objects that stay for all rounds. */
static enum mc_status kept_put(struct worker *workers, const struct workload *workload)
{
	enum mc_status status = MC_OK;

	for (size_t p = 0; p < workload->place_count; p++) {
		for (unsigned i = 0; i < workload->threads && !status; i++) {
			worker_move(&workers[i], workload, p);
			status = workers[i].fresh ? MC_OK : objects_put(&workers[i]);
		}
	}
	return status;
}

static void kept_drop(struct worker *workers, const struct workload *workload)
{
	for (size_t p = 0; p < workload->place_count; p++) {
		for (unsigned i = 0; i < workload->threads; i++) {
			worker_move(&workers[i], workload, p);
			if (!workers[i].fresh)
				objects_drop(&workers[i]);
		}
	}
}

static void serial_advance(struct worker *workers, unsigned threads)
{
	serial_next += workers[0].object_count;
	for (unsigned i = 0; i < threads; i++)
		workers[i].serial = serial_next;
}

/* One turn of all places. */
static enum mc_status places_run(struct worker *workers, const struct workload *workload,
				 struct sample *samples)
{
	enum mc_status status = MC_OK;

	for (size_t p = 0; p < workload->place_count && !status; p++) {
		status = round_run(workers, workload, p, samples ? &samples[p] : NULL);
		if (workers[0].fresh || !operations[workload->op].kept)
			serial_advance(workers, workload->threads);
		if (workload_interrupted)
			status = MC_CANCELLED;
	}
	return status;
}

enum mc_status workload_run(const struct workload *workload, struct sample *samples)
{
	struct worker workers[WORKLOAD_THREAD_COUNT_MAX] = {0};
	pthread_barrier_t turn;
	bool kept = operations[workload->op].kept;

	MUST(workload->threads >= 1 && workload->threads <= WORKLOAD_THREAD_COUNT_MAX);
	MUST(pthread_barrier_init(&turn, NULL, workload->threads) == 0);
	enum mc_status status = workers_init(workers, workload, &turn);
	if (!status && kept)
		status = kept_put(workers, workload);
	for (unsigned i = 0; i < WARMUP_COUNT && !status; i++)
		status = places_run(workers, workload, NULL);
	for (unsigned i = 0; i < workload->rounds && !status; i++) {
		status = places_run(workers, workload, samples);
		if (workload->after_round)
			workload->after_round(workload->context);
	}
	if (kept)
		kept_drop(workers, workload);
	serial_advance(workers, workload->threads);
	workers_fini(workers, workload->threads);
	pthread_barrier_destroy(&turn);
	return status;
}
