#include "tools/bench/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define WARM_UP_S 0.1

struct direct {
	struct io_uring ring;
	int fd;
	uint8_t *memory;
	uint64_t size, at;
};

static enum mc_status run_batch(struct direct *direct, const struct transfer_case *one)
{
	struct io_uring_cqe *cqe;
	enum mc_status status = MC_OK;

	for (unsigned i = 0; i < one->batch; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&direct->ring);
		if (direct->at + one->block > direct->size)
			direct->at = 0;
		if (one->opcode == MC_READ)
			io_uring_prep_read(sqe, direct->fd, direct->memory + direct->at,
					   (unsigned)one->block, direct->at);
		else
			io_uring_prep_write(sqe, direct->fd, direct->memory + direct->at,
					    (unsigned)one->block, direct->at);
		direct->at += one->block;
	}
	if (io_uring_submit_and_wait(&direct->ring, one->batch) < 0)
		return MC_IO;
	for (unsigned i = 0; i < one->batch; i++) {
		if (io_uring_wait_cqe(&direct->ring, &cqe) != 0)
			return MC_IO;
		if (cqe->res != (int)one->block)
			status = cqe->res < 0 ? mc_status_from_errno(-cqe->res) : MC_IO;
		io_uring_cqe_seen(&direct->ring, cqe);
	}
	return status;
}

static enum mc_status run_all(struct direct *direct, struct transfer_case *one)
{
	uint64_t begin_ns = clock_ns(), counted_ns = 0, now_ns = begin_ns, count = 0;
	enum mc_status status = MC_OK;

	while (!status && (!counted_ns || (double)(now_ns - counted_ns) < one->seconds * 1e9)) {
		uint64_t before_ns = now_ns;
		status = run_batch(direct, one);
		now_ns = clock_ns();
		if (counted_ns) {
			sample_add(&one->batch_us, (double)(now_ns - before_ns) / 1e3);
			count += one->batch;
		} else if ((double)(now_ns - begin_ns) > WARM_UP_S * 1e9) {
			counted_ns = now_ns;
		}
	}
	one->transfer_count = count;
	one->ops_per_s = (double)count / ((double)(now_ns - counted_ns) / 1e9);
	one->mib_per_s = one->ops_per_s * (double)one->block / (1 << 20);
	return status;
}

enum mc_status direct_run(const char *path, uint64_t size, struct transfer_case *one)
{
	int flags = (one->opcode == MC_READ ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC;
	CLEANUP_FD int fd = open(path, flags);
	struct direct direct = {.fd = fd, .size = size};

	if (fd < 0)
		return mc_status_from_errno(errno);
	if (one->threads != 1 || one->block > size)
		return MC_INVALID;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return MC_NO_MEMORY;
	direct.memory = memory;
	int rc = io_uring_queue_init(one->batch, &direct.ring, 0);
	enum mc_status status = rc < 0 ? mc_status_from_errno(-rc) : MC_OK;
	if (!status) {
		status = run_all(&direct, one);
		io_uring_queue_exit(&direct.ring);
	}
	munmap(memory, size);
	return status;
}
