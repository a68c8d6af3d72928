#include "master/predecessor.h"

#include <errno.h>
#include <string.h>
#include <sys/time.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"

static enum mc_status reach(const char *address, int *fd)
{
	static const char socket_prefix[] = "unix:";
	struct net_address peer;

	if (strncmp(address, socket_prefix, strlen(socket_prefix)) == 0)
		address += strlen(socket_prefix);
	enum mc_status status = net_resolve(address, &peer);
	return status == MC_OK ? net_connect(&peer, PREDECESSOR_MS, fd) : status;
}

static enum mc_status say(int fd, uint64_t cluster, uint32_t epoch)
{
	const struct frame frame = {.kind = MC_FRAME_REQUEST, .verb = MC_VERB_SUCCEEDED};
	uint8_t memory[64];
	struct writer w;

	writer_init_fixed(&w, memory, sizeof(memory));
	size_t begin = frame_begin(&w);
	put_u64(&w, cluster);
	put_u32(&w, epoch);
	frame_finish(&w, begin, &frame);
	MUST(!w.failed);
	return send(fd, w.data, w.size, MSG_NOSIGNAL) == (ssize_t)w.size ? MC_OK : MC_UNREACHABLE;
}

/* The answer; one that stands by hangs up instead. */
static enum mc_status hear(int fd)
{
	const struct timeval patience = {.tv_usec = PREDECESSOR_MS * 1000};
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame frame;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		return MC_IO;
	ssize_t size = recv(fd, header, sizeof(header), MSG_WAITALL);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return MC_TIMEOUT;
	if (size != (ssize_t)sizeof(header))
		return MC_UNREACHABLE;
	enum mc_status status = frame_decode(header, &frame);
	return status == MC_OK ? frame.status : status;
}

void predecessor_tell(const char *address, uint64_t cluster, uint32_t epoch)
{
	CLEANUP_FD int fd = -1;
	enum mc_status status = reach(address, &fd);

	if (status == MC_OK)
		status = say(fd, cluster, epoch);
	if (status == MC_OK)
		status = hear(fd);
	if (status == MC_OK)
		log_info("told the leader before that it was replaced at=%s", address);
	else if (status == MC_UNREACHABLE)
		log_info("the leader before serves no more at=%s", address);
	else
		log_warn("could not tell the leader before that it was replaced at=%s "
			 "reason=\"%s\"",
			 address, mc_status_text(status));
}
