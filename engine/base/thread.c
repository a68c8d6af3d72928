#include "engine/base/thread.h"

#include <signal.h>
#include <stddef.h>

#include "engine/base/cleanup.h"

int thread_start(pthread_t *thread, void *(*run)(void *context), void *context)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	sigset_t ours, before;

	sigfillset(&ours);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&ours, faults[i]);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	int error = pthread_create(thread, NULL, run, context);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}
