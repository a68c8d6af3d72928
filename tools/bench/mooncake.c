#include "tools/bench/mooncake.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define WHEEL	    "mooncake-transfer-engine-non-cuda"
#define SCRIPT_PATH "../../tools/bench/mooncake_store.py"

static enum mc_status command_run(struct run *run, const char *name, char *const *argv)
{
	char log[PATH_MAX];
	struct child child = {0};

	MUST(snprintf(log, sizeof(log), "%s/venv.log", run->scratch) < PATH_MAX);
	enum mc_status status = child_start(&child, name, log, argv);
	if (!status && !child_wait(&child)) {
		child_show_log(&child);
		status = MC_NOT_SUPPORTED;
	}
	return status;
}

enum mc_status mooncake_python(struct run *run, char *python)
{
	const struct options *options = &run->options;
	char *make[] = {"python3", "-m", "venv", (char *)options->venv, NULL};
	char *install[] = {python, "-m", "pip", "install", "-q", WHEEL, NULL};

	if (options->python) {
		MUST(snprintf(python, PATH_MAX, "%s", options->python) < PATH_MAX);
		return MC_OK;
	}
	MUST(snprintf(python, PATH_MAX, "%s/bin/python", options->venv) < PATH_MAX);
	if (access(python, X_OK) == 0)
		return MC_OK;
	report_note(&run->report, "installing %s into %s", WHEEL, options->venv);
	enum mc_status status = command_run(run, "venv", make);
	return status ? status : command_run(run, "pip", install);
}

/* Read the next line of the script; NULL at its end. */
static cJSON *answer_read(struct mooncake *mooncake)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;

	if (getline(&line, &room, mooncake->from) < 0)
		return NULL;
	return cJSON_Parse(line);
}

static enum mc_status script_start(struct mooncake *mooncake, char *python)
{
	char script[PATH_MAX], log[PATH_MAX];
	char *argv[] = {python, script, "--serve", NULL};
	int in[2], out[2];

	if (mooncake->run->options.script)
		snprintf(script, sizeof(script), "%s", mooncake->run->options.script);
	else
		MUST(snprintf(script, sizeof(script), "%s/%s", mooncake->run->home, SCRIPT_PATH) <
		     PATH_MAX);
	MUST(snprintf(log, sizeof(log), "%s/mooncake-store.log", mooncake->run->scratch) <
	     PATH_MAX);
	if (pipe2(in, O_CLOEXEC) != 0)
		return mc_status_from_errno(errno);
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[0]);
		close(in[1]);
		return MC_NO_MEMORY;
	}
	enum mc_status status =
		child_start_piped(&mooncake->child, "mooncake_store", log, argv, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	mooncake->to = fdopen(in[1], "w");
	mooncake->from = fdopen(out[0], "r");
	MUST(mooncake->to && mooncake->from);
	if (status)
		return status;
	cJSON *ready = answer_read(mooncake);
	if (!ready) {
		log_error("Mooncake's own store does not start");
		child_show_log(&mooncake->child);
		return MC_NOT_SUPPORTED;
	}
	cJSON_Delete(ready);
	return MC_OK;
}

void mooncake_close(struct mooncake *mooncake)
{
	if (mooncake->to)
		fclose(mooncake->to);
	/* The end of its input is what the script ends at; its children first. */
	child_wait(&mooncake->child);
	if (mooncake->from)
		fclose(mooncake->from);
}

enum mc_status mooncake_open(struct mooncake *mooncake, struct run *run)
{
	char python[PATH_MAX];

	*mooncake = (struct mooncake){.run = run};
	enum mc_status status = mooncake_python(run, python);
	return status ? status : script_start(mooncake, python);
}

cJSON *mooncake_ask(struct mooncake *mooncake, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(mooncake->to, format, args);
	va_end(args);
	fputc('\n', mooncake->to);
	(void)fflush(mooncake->to);
	return answer_read(mooncake);
}
