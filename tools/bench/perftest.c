#include "tools/bench/perftest.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/child.h"
#include "tools/bench/port.h"

#define COUNT_MIN	  10u /* it wants at least 5 */
#define COUNT_MAX	  1000000u
#define LISTEN_TIMEOUT_MS 20000
#define END_TIMEOUT_MS	  5000
#define FIELDS_MAX	  16
/* It gives up, and says so, where the processor's clocks don't agree: in a guest, at times. */
#define TRIES 8

/* The numbers of the last line that has nothing else; how many there are. */
static int parse_output(const char *path, double fields[FIELDS_MAX])
{
	FILE *file = fopen(path, "re");
	char line[512];
	int count = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = line, *end;
		double row[FIELDS_MAX];
		int found = 0;
		while (found < FIELDS_MAX && (row[found] = strtod(at, &end), end != at)) {
			at = end;
			found++;
		}
		while (isspace((unsigned char)*at))
			at++;
		if (*at != '\0' || found < 2)
			continue;
		memcpy(fields, row, sizeof(row));
		count = found;
	}
	if (file)
		(void)fclose(file);
	return count;
}

/* bytes, iterations, then: peak, average, million messages a second; or min, max, median, … */
static bool take_result(const char *path, const struct perftest *test,
			struct perftest_result *result)
{
	double fields[FIELDS_MAX];
	int count = parse_output(path, fields);

	if (count < 5 || fields[0] != (double)test->size)
		return false;
	*result = (struct perftest_result){
		.mib_per_s = fields[3], .ops_per_s = fields[4] * 1e6, .median_us = fields[4]};
	return true;
}

struct pair {
	char server_log[PATH_MAX], client_log[PATH_MAX];
	char size[24], count[24], port[8];
};

static char *const *arguments(const struct perftest *test, const struct pair *pair,
			      const char *device, bool client, char *argv[FIELDS_MAX])
{
	int count = 0;

	argv[count++] = (char *)test->program;
	if (*device) {
		argv[count++] = "-d";
		argv[count++] = (char *)device;
	}
	argv[count++] = "-s";
	argv[count++] = (char *)pair->size;
	argv[count++] = "-n";
	argv[count++] = (char *)pair->count;
	argv[count++] = "-p";
	argv[count++] = (char *)pair->port;
	argv[count++] = "-F";
	if (client)
		argv[count++] = (char *)test->host;
	argv[count] = NULL;
	return argv;
}

static bool run_pair(const struct perftest *test, struct pair *pair, struct child *client)
{
	struct child server = {0};
	char *argv[FIELDS_MAX];
	unsigned port = port_free();

	snprintf(pair->port, sizeof(pair->port), "%u", port);
	(void)unlink(pair->client_log);
	if (port == 0 || child_start(&server, test->program, pair->server_log,
				     arguments(test, pair, test->other_device, false, argv)))
		return false;
	bool done = port_wait(port, &server, LISTEN_TIMEOUT_MS) &&
		    child_start(client, test->program, pair->client_log,
				arguments(test, pair, test->device, true, argv)) == MC_OK &&
		    child_wait(client);
	child_stop(&server, END_TIMEOUT_MS);
	return done;
}

bool perftest_run(const struct perftest *test, struct perftest_result *result)
{
	struct child client = {0};
	struct pair pair;
	uint64_t count = test->count < COUNT_MIN   ? COUNT_MIN
			 : test->count > COUNT_MAX ? COUNT_MAX
						   : test->count;

	if (!program_present(test->program))
		return false;
	snprintf(pair.size, sizeof(pair.size), "%lu", (unsigned long)test->size);
	snprintf(pair.count, sizeof(pair.count), "%lu", (unsigned long)count);
	MUST(snprintf(pair.server_log, PATH_MAX, "%s/perftest-server.log", test->scratch) <
	     PATH_MAX);
	MUST(snprintf(pair.client_log, PATH_MAX, "%s/perftest.log", test->scratch) < PATH_MAX);
	for (int i = 0; i < TRIES; i++) {
		if (run_pair(test, &pair, &client) && take_result(pair.client_log, test, result))
			return true;
	}
	child_show_log(&client);
	return false;
}
