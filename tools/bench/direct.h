/*
 * tools/bench/direct.h -- a file or device by bare io_uring and O_DIRECT
 *
 * What is read or written goes through the file in order, a batch at a time, all of
 * a batch in flight together: no more is between the bench and the kernel.
 *
 * Threads   One at a time.
 */
#ifndef BENCH_DIRECT_H
#define BENCH_DIRECT_H

#include "tools/bench/transfers.h"

/*
 * Do the case, of one thread, with the first `size` bytes of the file.  The case gets
 * its results as from transfers_run().
 */
MC_MUST_CHECK enum mc_status direct_run(const char *path, uint64_t size, struct transfer_case *one);

#endif
