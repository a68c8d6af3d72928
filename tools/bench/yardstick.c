#include "tools/bench/yardstick.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/direct.h"
#include "tools/bench/memcopy.h"
#include "tools/bench/perftest.h"

#define LARGE_FROM  ((uint64_t)64 << 10)
#define DEVICE_SIZE 64

static double by_iperf3(const struct yardstick *yardstick, const struct yard *yard,
			const struct transfer_case *one)
{
	(void)yardstick;
	(void)yard;
	(void)one;
	double plain = iperf3_mib_per_s(false, 1), copied_once = iperf3_mib_per_s(true, 1);
	return fmax(plain, copied_once);
}

static double by_round_trip(const struct yardstick *yardstick, const struct yard *yard,
			    const struct transfer_case *one)
{
	(void)yardstick;
	(void)one;
	return machine_rtt_tcp_us(&yard->run->machine);
}

static double by_rival(const struct yardstick *yardstick, const struct yard *yard,
		       const struct transfer_case *one)
{
	double ops = rival_ops_per_s(yard->rival, one);

	return yardstick->quantity == OPS_PER_S ? ops : ops * (double)one->block / (1 << 20);
}

/* perftest has one device a side: the first of ours. */
static const char *first_device(const char *list, char device[DEVICE_SIZE])
{
	snprintf(device, DEVICE_SIZE, "%.*s", list ? (int)strcspn(list, ",") : 0, list ? list : "");
	return device;
}

static double by_perftest(const struct yardstick *yardstick, const struct yard *yard,
			  const struct transfer_case *one)
{
	const struct options *options = &yard->run->options;
	char device[DEVICE_SIZE], other[DEVICE_SIZE];
	struct perftest_result result;
	struct perftest test = {
		.program = yardstick->names[one->opcode],
		.device = first_device(options->devices, device),
		.other_device = first_device(options->target_devices, other),
		.host = options->listen,
		.scratch = yard->run->scratch,
		.size = one->block,
		.count = one->transfer_count,
	};

	if (one->threads != 1 || !perftest_run(&test, &result))
		return NAN;
	const double values[QUANTITY_COUNT] = {
		[MIB_PER_S] = result.mib_per_s,
		[OPS_PER_S] = result.ops_per_s,
		[MEDIAN_US] = result.median_us,
	};
	return values[yardstick->quantity];
}

static double by_direct(const struct yardstick *yardstick, const struct yard *yard,
			const struct transfer_case *one)
{
	struct transfer_case same = {
		.opcode = one->opcode,
		.block = one->block,
		.batch = one->batch,
		.threads = one->threads,
		.seconds = one->seconds,
	};
	enum mc_status status =
		one->threads == 1 ? direct_run(yard->run->options.file, yard->size, &same) : MC_OK;

	if (status)
		log_warn("no bare reads and writes status=\"%s\"", mc_status_text(status));
	const double values[QUANTITY_COUNT] = {
		[MIB_PER_S] = same.mib_per_s,
		[OPS_PER_S] = same.ops_per_s,
		[MEDIAN_US] = sample_median(&same.batch_us),
	};
	double value = same.batch_us.count ? values[yardstick->quantity] : NAN;
	sample_fini(&same.batch_us);
	return value;
}

static double by_memcpy(const struct yardstick *yardstick, const struct yard *yard,
			const struct transfer_case *one)
{
	(void)yardstick;
	return one->threads == 1 ? memcopy_mib_per_s(yard->size, one->block, one->seconds) : NAN;
}

static const struct yardstick yardsticks[] = {
	{"tcp", CASE_LARGE, MIB_PER_S, {"iperf3", "iperf3"}, by_iperf3},
	{"tcp", CASE_LARGE, MIB_PER_S, {"mooncake", "mooncake"}, by_rival},
	{"tcp", CASE_MANY, OPS_PER_S, {"mooncake", "mooncake"}, by_rival},
	{"tcp", CASE_ALONE, MEDIAN_US, {"rtt", "rtt"}, by_round_trip},
	{"shm", CASE_LARGE, MIB_PER_S, {"memcpy", "memcpy"}, by_memcpy},
	{"shm", CASE_LARGE, MIB_PER_S, {"iperf3", "iperf3"}, by_iperf3},
	{"shm", CASE_ALONE, MEDIAN_US, {"rtt", "rtt"}, by_round_trip},
	{"rdma", CASE_LARGE, MIB_PER_S, {"ib_read_bw", "ib_write_bw"}, by_perftest},
	{"rdma", CASE_MANY, OPS_PER_S, {"ib_read_bw", "ib_write_bw"}, by_perftest},
	/* ib_write_lat measures half of a round trip, and of two writes. */
	{"rdma", CASE_ALONE, MEDIAN_US, {"ib_read_lat", NULL}, by_perftest},
	{"nvmeof", CASE_LARGE, MIB_PER_S, {"direct", "direct"}, by_direct},
	{"nvmeof", CASE_MANY, OPS_PER_S, {"direct", "direct"}, by_direct},
	{"nvmeof", CASE_ALONE, MEDIAN_US, {"direct", "direct"}, by_direct},
};

enum case_kind case_kind(const struct transfer_case *one)
{
	if (one->block > LARGE_FROM)
		return CASE_LARGE;
	return one->batch > 1 ? CASE_MANY : CASE_ALONE;
}

const struct yardstick *yardstick_next(const struct yardstick *yardstick, const char *protocol,
				       const struct transfer_case *one)
{
	const struct yardstick *at = yardstick ? yardstick + 1 : yardsticks;

	for (; at < yardsticks + ARRAY_SIZE(yardsticks); at++) {
		if (strcmp(at->protocol, protocol) == 0 && (at->kinds & case_kind(one)) &&
		    at->names[one->opcode])
			return at;
	}
	return NULL;
}
