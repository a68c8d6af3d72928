/*
 * engine/fabric/nvmeof/nvmeof.h -- segments that are files behind an NVMe-oF target
 *
 * Such a segment has no process: it is a list of files, or of whole namespaces,
 * that a target serves and that hosts have connected to (`nvme connect`) and, for
 * files, mounted.  Its descriptor says where each host finds each file; an address
 * in it is an offset into their concatenation.
 *
 *     {"server_name":"store1", "protocol":"nvmeof", "buffers":[
 *       {"length":1073741824, "file_path":"/export/a",
 *        "local_path_map":{"node1":"/mnt/store1/a", "node2":"/dev/nvme1n1"}}, …]}
 *
 * A host finds its path under the name of the local segment, that name without a
 * port, or its host name; on the server itself file_path is the path.
 *
 * Bytes move by io_uring with O_DIRECT, from and to registered memory, past the
 * page cache: other hosts write the same namespace, and a cache would go stale.
 * Where a file system has no O_DIRECT, a file is used without.
 *
 * Unaligned requests.  What of a READ is not whole blocks of the device, or goes
 * to memory that the device can't reach as it is, takes a detour over a bounce
 * buffer.  A WRITE of a part of a block is a read, a change and a write, which is
 * safe only where all writers meet: in a file, where the kernel does it under the
 * inode's lock (that end of the request goes over the page cache, whole pages
 * don't, and it is on the device when the slice is done).  To a raw namespace it
 * is refused, with MC_INVALID and before anything is written, since another host
 * may be writing the rest of that block.
 *
 * Ownership   As fabric.h.  Files are opened by the first slice that touches them
 *             and closed by disconnect.
 * Threads     As fabric.h.  The fabric's thread sleeps while nothing ends, and
 *             while others make progress.
 * Errors      Of a slice: MC_ACCESS outside of the segment, or a file that may not
 *             be written; MC_UNREACHABLE this host has no path to the file, it
 *             can't be opened (it is tried again, at most once a second), or the
 *             device is gone; MC_INVALID as above; MC_IO the device failed, or the
 *             file ends before its described length; MC_TIMEOUT and MC_CANCELLED
 *             for what has not been handed to the device, else when it lets go.
 * Limits      SLICES_MAX slices under way; OPERATIONS_MAX operations.
 */
#ifndef ENGINE_FABRIC_NVMEOF_NVMEOF_H
#define ENGINE_FABRIC_NVMEOF_NVMEOF_H

#include "engine/fabric/fabric.h"

extern const struct fabric_ops fabric_nvmeof_ops;

#endif
