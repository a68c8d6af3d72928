#include "tools/bench/transfers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"

#define WARM_UP_S	0.1
#define THREADS_MAX	64u
#define WAIT_TIMEOUT_MS 30000

/* Pages that are there: none is to be found while it is measured. */
static enum mc_status memory_new(const struct options *options, size_t size,
				 struct transfers *transfers)
{
	void *memory;

	if (strcmp(options->memory, "allocated") == 0) {
		enum mc_status status = mc_memory_alloc(size, &memory);
		if (status)
			return status;
		memset(memory, 0, size);
	} else {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (memory == MAP_FAILED)
			return MC_NO_MEMORY;
		transfers->mapped = size;
	}
	transfers->memory = memory;
	return MC_OK;
}

enum mc_status transfers_open(const struct options *options, const char *name, const char *devices,
			      size_t size, struct transfers *transfers)
{
	struct mc_engine_config config = {
		.metadata = options->file ? TRANSFERS_FILE_METADATA : options->metadata,
		.name = name,
		.listen = options->listen,
		.announce = options->listen,
		.protocols = options->protocol,
		.devices = devices,
	};

	*transfers = (struct transfers){.size = size};
	enum mc_status status = memory_new(options, size, transfers);
	if (!status)
		status = mc_engine_open(&config, &transfers->engine);
	if (!status)
		status = mc_engine_register(transfers->engine, transfers->memory, size, "*",
					    MC_REGION_DEFAULT);
	if (status)
		transfers_close(transfers);
	return status;
}

static enum mc_status measure_file(const char *path, uint64_t *length)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (end < 0)
		return mc_status_from_errno(errno);
	*length = (uint64_t)end;
	return end > 0 ? MC_OK : MC_INVALID;
}

static enum mc_status describe_file(const struct options *options, const char *name, char **text)
{
	struct segment_buffer *buffer;
	struct segment_desc *desc;
	uint64_t length = 0;
	enum mc_status status = measure_file(options->file, &length);

	if (status)
		return status;
	status = segment_desc_new(SEGMENT_NVMEOF, name, &desc);
	if (status)
		return status;
	status = segment_desc_add_buffer(desc, "", &buffer);
	if (!status) {
		buffer->length = length;
		buffer->file_path = strdup(options->file);
		status = buffer->file_path ? segment_buffer_add_path(buffer, name, options->file)
					   : MC_NO_MEMORY;
	}
	if (!status)
		status = segment_desc_print(desc, text);
	segment_desc_unref(desc);
	return status;
}

enum mc_status transfers_register_file(const struct options *options, const char *name)
{
	CLEANUP_FREE char *text = NULL;
	char key[METADATA_KEY_SIZE_MAX + 1];
	struct metadata *metadata;
	enum mc_status status = describe_file(options, name, &text);

	if (!status)
		status = segment_key(TRANSFERS_FILE_SEGMENT, key, sizeof(key));
	if (!status)
		status = metadata_open(&(struct metadata_config){.url = TRANSFERS_FILE_METADATA},
				       &metadata);
	if (status)
		return status;
	status = metadata_put(metadata, key, text);
	metadata_close(metadata);
	return status;
}

enum mc_status transfers_connect(struct transfers *transfers, const char *target)
{
	struct mc_segment_buffer buffer;
	size_t count = 1;
	enum mc_status status = mc_segment_open(transfers->engine, target, 0, &transfers->segment);

	if (!status)
		status = mc_segment_buffers(transfers->engine, transfers->segment, &buffer, &count);
	if (status)
		return status;
	if (count == 0)
		return MC_INVALID;
	if (buffer.length < transfers->size)
		transfers->size = buffer.length;
	transfers->remote = buffer.address;
	return MC_OK;
}

void transfers_close(struct transfers *transfers)
{
	mc_engine_close(transfers->engine);
	if (transfers->mapped)
		munmap(transfers->memory, transfers->mapped);
	else
		mc_memory_free(transfers->memory);
	transfers->engine = NULL;
}

struct runner {
	pthread_t thread;
	struct transfers *transfers;
	const struct transfer_case *one;
	uint64_t begin, end, at; /* of the buffer: this thread's share, and where it is */
	uint64_t transfer_count;
	double seconds;
	struct sample batch_us;
	enum mc_status status;
};

static enum mc_status run_batch(struct runner *runner, struct mc_request *requests)
{
	const struct transfer_case *one = runner->one;
	struct transfers *transfers = runner->transfers;
	struct mc_batch *batch;

	for (unsigned i = 0; i < one->batch; i++) {
		if (runner->at + one->block > runner->end)
			runner->at = runner->begin;
		requests[i] = (struct mc_request){one->opcode, transfers->memory + runner->at,
						  transfers->segment,
						  transfers->remote + runner->at, one->block};
		runner->at += one->block;
	}
	enum mc_status status = mc_batch_new(transfers->engine, one->batch, &batch);
	if (status)
		return status;
	status = mc_batch_submit(batch, requests, one->batch);
	if (!status)
		status = mc_batch_wait(batch, WAIT_TIMEOUT_MS);
	if (status)
		mc_batch_cancel(batch);
	while (mc_batch_free(batch) == MC_BUSY)
		(void)!mc_batch_wait(batch, WAIT_TIMEOUT_MS);
	return status;
}

static void *run_thread(void *context)
{
	struct runner *runner = context;
	struct mc_request *requests = calloc(runner->one->batch, sizeof(*requests));
	uint64_t begin_ns = clock_ns(), counted_ns = 0, now_ns = begin_ns;

	MUST(requests != NULL);
	while (!runner->status &&
	       (!counted_ns || (double)(now_ns - counted_ns) < runner->one->seconds * 1e9)) {
		uint64_t before_ns = now_ns;
		runner->status = run_batch(runner, requests);
		now_ns = clock_ns();
		if (counted_ns) {
			sample_add(&runner->batch_us, (double)(now_ns - before_ns) / 1e3);
			runner->transfer_count += runner->one->batch;
		} else if ((double)(now_ns - begin_ns) > WARM_UP_S * 1e9) {
			counted_ns = now_ns;
		}
	}
	runner->seconds = (double)(now_ns - counted_ns) / 1e9;
	free(requests);
	return NULL;
}

static void gather(const struct runner *runners, struct transfer_case *one)
{
	one->ops_per_s = 0;
	one->transfer_count = 0;
	for (unsigned i = 0; i < one->threads; i++) {
		one->ops_per_s += (double)runners[i].transfer_count / runners[i].seconds;
		one->transfer_count += runners[i].transfer_count;
		for (size_t j = 0; j < runners[i].batch_us.count; j++)
			sample_add(&one->batch_us, runners[i].batch_us.values[j]);
	}
	one->mib_per_s = one->ops_per_s * (double)one->block / (1 << 20);
}

enum mc_status transfers_run(struct transfers *transfers, struct transfer_case *one)
{
	struct runner runners[THREADS_MAX];
	enum mc_status status = MC_OK;
	uint64_t share = transfers->size / one->threads;

	if (one->threads > THREADS_MAX || one->block > share)
		return MC_INVALID;
	for (unsigned i = 0; i < one->threads; i++) {
		runners[i] = (struct runner){
			.transfers = transfers,
			.one = one,
			.begin = i * share,
			.end = (i + 1) * share,
			.at = i * share,
		};
		MUST(pthread_create(&runners[i].thread, NULL, run_thread, &runners[i]) == 0);
	}
	for (unsigned i = 0; i < one->threads; i++) {
		pthread_join(runners[i].thread, NULL);
		status = status ? status : runners[i].status;
	}
	if (!status)
		gather(runners, one);
	for (unsigned i = 0; i < one->threads; i++)
		sample_fini(&runners[i].batch_us);
	return status;
}
