/*
 * engine/fabric/nvmeof/file.h -- one file of a segment, as this host finds it
 *
 * Opened when it is first wanted.  What can't be opened is tried again, not more
 * than once a second: a namespace may be connected, or a file system mounted, any
 * time.  After an operation failed it is opened anew, since a namespace that went
 * and came back is another device behind the same path.
 *
 * Ownership   The path is copied.
 * Threads     The caller's lock.
 */
#ifndef ENGINE_FABRIC_NVMEOF_FILE_H
#define ENGINE_FABRIC_NVMEOF_FILE_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/fabric/nvmeof/plan.h"

struct segment_desc;
struct segment_buffer;

struct nvmeof_file {
	/* fixed after init */
	char *path;	 /* NULL: this host has none */
	uint64_t start;	 /* of its first byte in the segment */
	uint64_t length; /* bytes */
	/* fixed once it is open */
	int fd;	     /* -1: not open */
	int ends_fd; /* the same without O_DIRECT, for STEP_END; -1: none */
	bool writable;
	struct geometry geometry;
	/* while it is open */
	uint32_t operations; /* in flight, counted by the caller */
	bool suspect;	     /* one failed: open it anew when none is in flight */
	int failure;	     /* errno that was logged last; 0: none */
	/* while it is not open */
	uint64_t retry_ns;     /* not tried before then */
	enum mc_status status; /* why not */
};

/* Find the path of a buffer on the host of this name.  MC_NO_MEMORY. */
MC_MUST_CHECK enum mc_status nvmeof_file_init(struct nvmeof_file *file,
					      const struct segment_desc *desc,
					      const struct segment_buffer *buffer, const char *name,
					      uint64_t start);
void nvmeof_file_fini(struct nvmeof_file *file);

/* See to it that it is open.  MC_UNREACHABLE, MC_ACCESS: it can't be, now (logged once). */
MC_MUST_CHECK enum mc_status nvmeof_file_ready(struct nvmeof_file *file);

/* What an errno of an operation means for its slice; logged when it is another than before. */
enum mc_status nvmeof_file_failed(struct nvmeof_file *file, int error);

#endif
