#include "engine/transport/tcp/lane.h"

#include <sched.h>
#include <sys/socket.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/transport/endpoint.h"

#define LINKS_MAX      4u /* per peer, of all lanes */
#define VISITOR_MARGIN 1u /* more than others may have where a connection comes in */

/* The lane whose processor that is. */
static unsigned lane_of(const struct lanes *lanes, int cpu)
{
	return cpu >= 0 && cpu < CPU_SETSIZE ? lanes->of_cpu[cpu] : 0;
}

void lanes_look(struct lanes *lanes)
{
	for (unsigned i = 0; i < lanes->count; i++)
		puller_look(&lanes->list[i].puller);
}

unsigned lanes_for_pull(const struct lanes *lanes)
{
	unsigned best = lane_of(lanes, sched_getcpu());
	unsigned load = puller_fetch_count(&lanes->list[best].puller);

	for (unsigned i = 0; i < lanes->count && load > 0; i++) {
		unsigned other = puller_fetch_count(&lanes->list[i].puller);
		if (other < load) {
			best = i;
			load = other;
		}
	}
	return best;
}

static struct owner *host(struct owner *owner, int fd)
{
	struct lanes *lanes = container_of(owner, struct lane, owner)->lanes;
	int cpu = -1;
	socklen_t size = sizeof(cpu);

	(void)getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &size);
	unsigned best = lane_of(lanes, cpu);
	unsigned load = owner_visitor_count(&lanes->list[best].owner);
	unsigned margin = VISITOR_MARGIN;
	for (unsigned i = 0; i < lanes->count; i++) {
		unsigned other = owner_visitor_count(&lanes->list[i].owner);
		if (other + margin < load) {
			best = i;
			load = other;
			margin = 0;
		}
	}
	return &lanes->list[best].owner;
}

/* The processors that this thread may run on are dealt out to the lanes. */
static void deal_cpus(struct lanes *lanes)
{
	unsigned cpu_count = 0;

	if (sched_getaffinity(0, sizeof(lanes->cpus), &lanes->cpus) != 0)
		CPU_ZERO(&lanes->cpus);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &lanes->cpus))
			lanes->of_cpu[cpu] = (uint8_t)(cpu_count++ % LANES_MAX);
	}
	lanes->count = cpu_count < LANES_MAX ? cpu_count : LANES_MAX;
	if (lanes->count == 0)
		lanes->count = 1;
}

/* Without it a lane runs where the kernel likes. */
static void keep_apart(const struct lanes *lanes, unsigned number)
{
	const struct lane *lane = &lanes->list[number];
	cpu_set_t own;

	CPU_ZERO(&own);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &lanes->cpus) && lanes->of_cpu[cpu] == number)
			CPU_SET(cpu, &own);
	}
	int error = 0;
	if (lanes->count > 1)
		error = pthread_setaffinity_np(lane->owner.poller.thread, sizeof(own), &own);
	if (lanes->count > 1 && !error)
		error = pthread_setaffinity_np(lane->puller.poller.thread, sizeof(own), &own);
	if (error)
		log_debug("tcp: a lane is not kept to its processors lane=%u error=%d", number,
			  error);
}

/* Those that have nothing to do take a part of what is large. */
static void help(struct puller *puller, const struct fetch *fetch)
{
	struct lanes *lanes = container_of(puller, struct lane, puller)->lanes;

	for (unsigned i = 0; i < lanes->count; i++) {
		if (puller_fetch_count(&lanes->list[i].puller) == 0)
			puller_help(&lanes->list[i].puller, fetch);
	}
}

static enum mc_status lane_start(struct lanes *lanes, unsigned number,
				 const struct transport_source *source, int listen_fd)
{
	struct lane *lane = &lanes->list[number];
	struct owner_config owner = {
		.name = "mc-tcp-owner",
		.listen_fd = number == 0 ? listen_fd : -1,
		.source = source,
		.respond = bytes_respond,
		.send = bytes_send,
		.host = host,
		.context = &lane->bytes,
	};
	struct puller_config puller = {
		.name = "mc-tcp-puller",
		.dial = endpoint_dial,
		.links_max = LINKS_MAX / lanes->count,
		.help = help,
	};

	lane->lanes = lanes;
	enum mc_status status = puller_start(&lane->puller, &puller);
	if (status)
		return status;
	status = owner_start(&lane->owner, &owner);
	if (status)
		puller_stop(&lane->puller);
	else
		keep_apart(lanes, number);
	return status;
}

/* Those from this one on. */
static void stop_from(struct lanes *lanes, unsigned first)
{
	for (unsigned i = first; i < lanes->count; i++)
		puller_halt(&lanes->list[i].puller);
	for (unsigned i = first; i < lanes->count; i++)
		puller_await_halt(&lanes->list[i].puller);
	/* In this order: the others adopt what lane 0 accepts. */
	for (unsigned i = first; i < lanes->count; i++) {
		puller_stop(&lanes->list[i].puller);
		owner_stop(&lanes->list[i].owner);
	}
}

enum mc_status lanes_start(struct lanes *lanes, const struct transport_source *source,
			   int listen_fd)
{
	deal_cpus(lanes);
	/* Lane 0 listens: the others must be there by then. */
	for (unsigned i = lanes->count; i-- > 0;) {
		enum mc_status status = lane_start(lanes, i, source, listen_fd);
		if (status) {
			stop_from(lanes, i + 1);
			return status;
		}
	}
	return MC_OK;
}

void lanes_stop(struct lanes *lanes)
{
	stop_from(lanes, 0);
}
