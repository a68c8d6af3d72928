#include "tools/bench/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "tools/bench/child.h"

#define POLL_MS	   5
#define TCP_LISTEN 0x0a

unsigned port_free(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	CLEANUP_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		return 0;
	return ntohs(address.sin_port);
}

/* Reads the kernel's list: a trial connection would be a client to some servers. */
static bool port_listened(unsigned port, const char *table)
{
	char line[256];
	bool found = false;
	FILE *file = fopen(table, "re");

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		unsigned local_port, state;

		/* "  0: 0100007F:1F90 00000000:0000 0A …"; an IPv6 address is longer. */
		found = sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &local_port,
			       &state) == 2 &&
			local_port == port && state == TCP_LISTEN;
	}
	fclose(file);
	return found;
}

bool port_wait(unsigned port, struct child *child, int timeout_ms)
{
	for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms += POLL_MS) {
		if (port_listened(port, "/proc/net/tcp") || port_listened(port, "/proc/net/tcp6"))
			return true;
		if (!child_running(child))
			return false;
		usleep(POLL_MS * 1000);
	}
	return false;
}
