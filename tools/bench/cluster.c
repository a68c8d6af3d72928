#include "tools/bench/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/mountpoint.h"
#include "tools/bench/port.h"

#define WORD_COUNT_MAX	 12
#define WORD_SIZE_MAX	 (PATH_MAX + 256)
#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS	 15000
#define POLL_MS		 10

/* How each program is called.  {word} is replaced by what it names below. */
static const char *const master_command[] = {
	"{bin}/mooncake-master", "--listen", "127.0.0.1:{port}", "--journal",
	"file:{dir}/journal",	 "-o",	     "{master}",	 NULL,
};
static const char *const node_command[] = {
	"{bin}/mooncakefs",
	"{mount}",
	"-f",
	"-o",
	("master=127.0.0.1:{port},segment={segment},listen=127.0.0.1,announce=127.0.0.1,"
	 "name={node}{extra}"),
	NULL,
};

struct word {
	const char *name;
	const char *value;
};

static void expand(const char *text, const struct word *words, char *out)
{
	size_t used = 0;

	while (*text) {
		const struct word *word = words;
		const char *end = *text == '{' ? strchr(text, '}') : NULL;

		while (end && word->name &&
		       strncmp(word->name, text + 1, (size_t)(end - text - 1)) != 0)
			word++;
		if (end && word->name) {
			used += (size_t)snprintf(out + used, WORD_SIZE_MAX - used, "%s",
						 word->value);
			text = end + 1;
		} else {
			out[used++] = *text++;
		}
		MUST(used < WORD_SIZE_MAX);
	}
	out[used] = '\0';
}

static enum mc_status start_command(struct child *child, const char *name, const char *directory,
				    const char *const *command, const struct word *words)
{
	char log[PATH_MAX];
	char *argv[WORD_COUNT_MAX] = {0};
	CLEANUP_FREE char *room = malloc((size_t)WORD_COUNT_MAX * WORD_SIZE_MAX);

	if (!room)
		return MC_NO_MEMORY;
	for (size_t i = 0; command[i]; i++) {
		MUST(i + 1 < WORD_COUNT_MAX);
		argv[i] = room + i * WORD_SIZE_MAX;
		expand(command[i], words, argv[i]);
	}
	MUST(snprintf(log, sizeof(log), "%s/%s.log", directory, name) < PATH_MAX);
	return child_start(child, name, log, argv);
}

static enum mc_status master_start(struct cluster *cluster, const struct word *words)
{
	enum mc_status status = start_command(&cluster->master, "master", cluster->directory,
					      master_command, words);

	if (status)
		return status;
	if (port_wait(cluster->port, &cluster->master, START_TIMEOUT_MS))
		return MC_OK;
	log_error("the master does not listen port=%u", cluster->port);
	child_show_log(&cluster->master);
	return MC_TIMEOUT;
}

static enum mc_status node_start(struct cluster *cluster, size_t index, const struct word *words)
{
	char name[16];
	struct child *child = &cluster->nodes[index].child;
	const char *mount = cluster->nodes[index].mount;

	snprintf(name, sizeof(name), "node-%c", (int)('a' + index));
	enum mc_status status = start_command(child, name, cluster->directory, node_command, words);
	if (status)
		return status;
	for (int waited_ms = 0; waited_ms < START_TIMEOUT_MS; waited_ms += POLL_MS) {
		struct stat st;

		if (mountpoint_busy(mount) && stat(mount, &st) == 0)
			return MC_OK;
		if (!child_running(child))
			break;
		usleep(POLL_MS * 1000);
	}
	log_error("the node does not mount path=%s", mount);
	child_show_log(child);
	return MC_TIMEOUT;
}

static enum mc_status make_directory(const char *path)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST ? MC_OK : mc_status_from_errno(errno);
}

enum mc_status cluster_start(struct cluster *cluster, const struct run *run, const char *name,
			     size_t node_count, const char *extra)
{
	char port[8], all_extra[1024];
	const char *options = run->options.node_options;
	const char *master = run->options.master_options;

	MUST(node_count <= CLUSTER_NODE_COUNT_MAX);
	*cluster = (struct cluster){.port = port_free(), .node_count = node_count};
	MUST(snprintf(cluster->directory, PATH_MAX, "%s/%s", run->scratch, name) < PATH_MAX);
	snprintf(port, sizeof(port), "%u", cluster->port);
	MUST(snprintf(all_extra, sizeof(all_extra), "%s%s%s%s", extra,
		      run->options.io_uring ? "" : ",io_uring=off", options ? "," : "",
		      options ? options : "") < (int)sizeof(all_extra));
	enum mc_status status = make_directory(cluster->directory);
	for (size_t i = 0; i <= node_count && !status; i++) {
		char *mount = cluster->nodes[i ? i - 1 : 0].mount;
		char node[] = {'b', 'e', 'n', 'c', 'h', '-', (char)('a' + (i ? i - 1 : 0)), '\0'};
		struct word words[] = {
			{"bin", run->bin},    {"dir", cluster->directory},
			{"port", port},	      {"segment", run->options.segment},
			{"extra", all_extra}, {"mount", mount},
			{"node", node},	      {"master", master ? master : ""},
			{NULL, NULL},
		};

		if (i == 0) {
			status = master_start(cluster, words);
			continue;
		}
		MUST(snprintf(mount, PATH_MAX, "%s/%s/mount-%c", run->scratch, name,
			      (int)('a' + i - 1)) < PATH_MAX);
		status = make_directory(mount);
		if (!status)
			status = node_start(cluster, i - 1, words);
	}
	if (status)
		cluster_stop(cluster);
	return status;
}

void cluster_stop(struct cluster *cluster)
{
	for (size_t i = cluster->node_count; i-- > 0;) {
		struct child *child = &cluster->nodes[i].child;

		if (child_running(child) && !child_stop(child, STOP_TIMEOUT_MS)) {
			log_warn("a node ended badly name=%s status=0x%x", child->name,
				 child->wait_status);
			child_show_log(child);
		}
		mountpoint_clear(cluster->nodes[i].mount);
	}
	if (child_running(&cluster->master) && !child_stop(&cluster->master, STOP_TIMEOUT_MS)) {
		log_warn("the master ended badly status=0x%x", cluster->master.wait_status);
		child_show_log(&cluster->master);
	}
	cluster->node_count = 0;
}
