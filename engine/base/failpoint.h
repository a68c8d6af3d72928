/*
 * engine/base/failpoint.h -- steps at which a test may end or stop a process
 *
 * failpoint("put.linked") names a step.  It is no code in the programs as they
 * are shipped.  In a build for tests (cmake -DMOONCAKE_FAILPOINTS=ON) the
 * environment's MOONCAKE_FAILPOINTS is a folder, and whoever takes the step
 * looks for the file "put.linked@PID" there, PID being its process:
 *
 *   kill       it ends, by SIGKILL
 *   stop       it stops, by SIGSTOP, and goes on after SIGCONT
 *   sleep MS   this thread waits so long
 *
 * The file is renamed to "put.linked@PID.hit" before that.  So it happens once,
 * in one thread, and the test sees that it did; it arms a process that runs.
 * With MOONCAKE_FAILPOINTS=list a program prints the names of all its steps
 * instead of doing anything.
 *
 * A name says what has just been done, or is about to be: NOUN.STEP, lower
 * case.  Steps that only tests/failpoints/table.py knows, or only the code, are
 * failures of that suite.
 *
 * Threads   Any, with any locks held: a signal does not ask for them either.
 */
#ifndef ENGINE_BASE_FAILPOINT_H
#define ENGINE_BASE_FAILPOINT_H

#ifdef MOONCAKE_FAILPOINTS
/* The linker gathers the names of a program in a section, which has a beginning and an end. */
#define failpoint(name)                                                                            \
	do {                                                                                       \
		static const char *const failpoint_here                                            \
			__attribute__((used, section("failpoints"))) = name;                       \
		failpoint_take(failpoint_here);                                                    \
	} while (0)
#else
#define failpoint(name) ((void)0)
#endif

/* Take the step: do what the file of this name and process says. */
void failpoint_take(const char *name);

#endif
