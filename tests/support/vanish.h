/*
 * tests/support/vanish.h -- the end of a TCP connection as a power cut makes it
 *
 * The socket is gone, and the other side is not told.
 */
#ifndef TESTS_SUPPORT_VANISH_H
#define TESTS_SUPPORT_VANISH_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>

/* Whatever closes it from now on says nothing.  False (told): this process may not. */
static inline bool vanish_when_closed(int fd)
{
	int on = TCP_REPAIR_ON;

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) == 0)
		return true;
	puts("SKIP: only root can make a connection vanish");
	return false;
}

#endif
