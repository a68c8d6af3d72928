/*
 * tools/bench/iperf3.c -- one stream over loopback, as iperf3 measures it
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "tools/bench/child.h"
#include "tools/bench/machine.h"
#include "tools/bench/port.h"

#define OUTPUT_SIZE_MAX	  (256 * 1024)
#define LISTEN_TIMEOUT_MS 3000

/* Run a command and keep its output; NULL when it can't be run. */
static char *output_of(const char *command)
{
	char *text = malloc(OUTPUT_SIZE_MAX + 1);
	size_t size = 0;
	FILE *pipe = popen(command, "re");

	if (!pipe || !text) {
		free(text);
		if (pipe)
			pclose(pipe);
		return NULL;
	}
	size = fread(text, 1, OUTPUT_SIZE_MAX, pipe);
	text[size] = '\0';
	pclose(pipe);
	return text;
}

static double bits_per_second(const char *json)
{
	cJSON *root = cJSON_Parse(json);
	const cJSON *end = cJSON_GetObjectItem(root, "end");
	const cJSON *sum = cJSON_GetObjectItem(end, "sum_received");
	const cJSON *rate = cJSON_GetObjectItem(sum, "bits_per_second");
	double value = cJSON_IsNumber(rate) ? rate->valuedouble : NAN;

	cJSON_Delete(root);
	return value;
}

double iperf3_mib_per_s(bool zero_copy, unsigned seconds)
{
	char port[8], command[128];
	struct child server = {0};
	double rate = NAN;
	unsigned number = port_free();

	snprintf(port, sizeof(port), "%u", number);
	char *argv[] = {"iperf3", "-s", "-B", "127.0.0.1", "-p", port, NULL};
	if (number == 0 || !program_present("iperf3") ||
	    child_start(&server, "iperf3", "/dev/null", argv))
		return NAN;
	if (port_wait(number, &server, LISTEN_TIMEOUT_MS)) {
		snprintf(command, sizeof(command),
			 "iperf3 -c 127.0.0.1 -p %s -J -t %u%s 2>/dev/null", port, seconds,
			 zero_copy ? " -Z" : "");
		CLEANUP_FREE char *json = output_of(command);
		rate = json ? bits_per_second(json) : NAN;
	}
	child_stop(&server, 2000);
	return rate / 8 / (1 << 20);
}
