#include "engine/fabric/rdma/cuda.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

#include "engine/base/log.h"

/* From the driver's interface, which has no header here: numbers of cuda.h. */
#define CUDA_SUCCESS		     0
#define CUDA_RANGE_HANDLE_DMA_BUF_FD 1

typedef int get_handle_fn(void *handle, unsigned long long address, size_t size, int type,
			  unsigned long long flags);
typedef int get_range_fn(unsigned long long *base, size_t *size, unsigned long long address);

static get_handle_fn *get_handle;
static get_range_fn *get_range;

static void load(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		log_warn("no libcuda: memory of GPUs can't be registered error=\"%s\"", dlerror());
		return;
	}
	get_handle = (get_handle_fn *)dlsym(library, "cuMemGetHandleForAddressRange");
	get_range = (get_range_fn *)dlsym(library, "cuMemGetAddressRange_v2");
	if (!get_handle)
		log_warn("libcuda is too old to give out memory (11.7 can)");
}

enum mc_status cuda_export(void *memory, uint64_t length, int *fd, uint64_t *offset)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned long long address = (uintptr_t)memory;
	unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
	unsigned long long first = address & ~(page - 1);
	unsigned long long base;
	size_t size;

	pthread_once(&once, load);
	if (!get_handle || !get_range)
		return MC_NOT_SUPPORTED;
	if (get_range(&base, &size, address) != CUDA_SUCCESS || address < base ||
	    address - base + length > size)
		return MC_INVALID;
	unsigned long long end = (address + length + page - 1) & ~(page - 1);
	int error = get_handle(fd, first, (size_t)(end - first), CUDA_RANGE_HANDLE_DMA_BUF_FD, 0);
	if (error != CUDA_SUCCESS) {
		log_warn("libcuda gives no dma-buf of its memory error=%d", error);
		return MC_NOT_SUPPORTED;
	}
	*offset = address - first;
	return MC_OK;
}
