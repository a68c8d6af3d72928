#include "tools/bench/rival.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/mooncake.h"

#define LOG_SIZE_MAX   (64 * 1024)
#define START_TRIES    100
#define START_PAUSE_US 100000
#define SECONDS	       2

/*
 * What the wheel installs as a command runs the program as a child of its own, which
 * stays when the command is ended.  This becomes the program.
 */
static char become[] = "import os, stat, sys, mooncake\n"
		       "program = os.path.join(mooncake.__path__[0], 'transfer_engine_bench')\n"
		       "if not os.access(program, os.X_OK):\n"
		       "    os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)\n"
		       "os.execv(program, [program] + sys.argv[1:])\n";

static bool read_log(const char *path, char text[LOG_SIZE_MAX])
{
	FILE *file = fopen(path, "re");

	if (!file)
		return false;
	size_t size = fread(text, 1, LOG_SIZE_MAX - 1, file);
	text[size] = '\0';
	(void)fclose(file);
	return true;
}

/* It says where it listens in its log, once it does. */
static bool wait_for_name(struct rival *rival)
{
	static const char word[] = "listening on ";
	char text[LOG_SIZE_MAX];

	for (int i = 0; i < START_TRIES && child_running(&rival->target); i++) {
		const char *at = read_log(rival->target.log, text) ? strstr(text, word) : NULL;
		/* The data port is opened last. */
		if (at && strstr(text, "DRAM is used")) {
			size_t size = strcspn(at + strlen(word), "\n ");
			snprintf(rival->name, sizeof(rival->name), "%.*s", (int)size,
				 at + strlen(word));
			return true;
		}
		usleep(START_PAUSE_US);
	}
	child_show_log(&rival->target);
	return false;
}

enum mc_status rival_open(struct run *run, struct rival *rival)
{
	char log[PATH_MAX], buffer[64];

	*rival = (struct rival){.run = run};
	if (!run->options.python && !run->options.venv) {
		report_note(&run->report, "no --venv: Mooncake's engine is not measured");
		return MC_OK;
	}
	enum mc_status status = mooncake_python(run, rival->python);
	if (status)
		return status;
	MUST(snprintf(log, sizeof(log), "%s/rival-target.log", run->scratch) < PATH_MAX);
	snprintf(buffer, sizeof(buffer), "--buffer_size=%lu", (unsigned long)run->options.buffer);
	char *argv[] = {rival->python,
			"-c",
			become,
			"--mode=target",
			"--metadata_server=P2PHANDSHAKE",
			"--local_server_name=127.0.0.1",
			"--protocol=tcp",
			buffer,
			NULL};
	status = child_start(&rival->target, "transfer_engine_bench", log, argv);
	if (!status && !wait_for_name(rival))
		status = MC_TIMEOUT;
	return status;
}

void rival_close(struct rival *rival)
{
	if (rival->target.pid)
		child_stop(&rival->target, 2000);
}

static double parse_result(const char *path, const struct transfer_case *one)
{
	static const char word[] = "Test completed: duration ";
	char text[LOG_SIZE_MAX];
	char *end;

	const char *at = read_log(path, text) ? strstr(text, word) : NULL;
	const char *count = at ? strstr(at, "batch count ") : NULL;
	if (!count)
		return NAN;
	double seconds = strtod(at + strlen(word), &end);
	double batches = strtod(count + strlen("batch count "), &end);
	return seconds > 0 ? batches * one->batch / seconds : NAN;
}

double rival_ops_per_s(struct rival *rival, const struct transfer_case *one)
{
	char target[160], block[48], batch[48], threads[48], buffer[48], seconds[48], op[48];
	char log[PATH_MAX];
	struct child child = {0};

	if (!rival->target.pid)
		return NAN;
	snprintf(target, sizeof(target), "--segment_id=%s", rival->name);
	snprintf(block, sizeof(block), "--block_size=%llu", (unsigned long long)one->block);
	snprintf(batch, sizeof(batch), "--batch_size=%u", one->batch);
	snprintf(threads, sizeof(threads), "--threads=%u", one->threads);
	snprintf(buffer, sizeof(buffer), "--buffer_size=%lu",
		 (unsigned long)rival->run->options.buffer);
	snprintf(seconds, sizeof(seconds), "--duration=%d", SECONDS);
	snprintf(op, sizeof(op), "--operation=%s", one->opcode == MC_READ ? "read" : "write");
	char *argv[] = {rival->python,
			"-c",
			become,
			"--mode=initiator",
			"--metadata_server=P2PHANDSHAKE",
			"--local_server_name=127.0.0.1",
			"--protocol=tcp",
			target,
			block,
			batch,
			threads,
			buffer,
			seconds,
			op,
			NULL};
	MUST(snprintf(log, sizeof(log), "%s/rival.log", rival->run->scratch) < PATH_MAX);
	if (child_start(&child, "transfer_engine_bench", log, argv) || !child_wait(&child))
		return NAN;
	return parse_result(log, one);
}
