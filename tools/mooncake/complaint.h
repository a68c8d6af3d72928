/*
 * tools/mooncake/complaint.h -- what went wrong, said once
 *
 * One sentence on standard error for a tired operator, and the exit code that
 * a status means.
 *
 * Threads   Any thread.
 */
#ifndef TOOLS_MOONCAKE_COMPLAINT_H
#define TOOLS_MOONCAKE_COMPLAINT_H

#include <mooncake/status.h>

#include "tools/mooncake/command.h"

/* Print "mooncake: ..." as one line on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on, keep the last complaint in memory instead; for a process whose parent tells it. */
void complain_into(char *text, size_t size);

/* What the program ends with for a status that was complained of. */
enum exit_code exit_code_of(enum mc_status status);

/* The graver of two: unreachable, failed, missing, usage, ok. */
enum exit_code exit_code_graver(enum exit_code a, enum exit_code b);

#endif
