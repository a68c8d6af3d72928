/*
 * engine/base/thread.h -- threads that a program did not start itself
 *
 * A signal to a process goes to any of its threads that takes it.  Those of a library
 * take none: a program that blocks a signal in order to wait for it (sigwait, signalfd)
 * would else be ended by one of ours, and its handlers would run on our stacks.  Faults
 * are left: what the program does about them concerns the thread that made them.
 */
#ifndef ENGINE_BASE_THREAD_H
#define ENGINE_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create() of a thread that is to be joined.  0, or the error's number. */
int thread_start(pthread_t *thread, void *(*run)(void *context), void *context);

#endif
