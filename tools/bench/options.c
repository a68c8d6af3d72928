#include "tools/bench/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/bench/workload.h"

#define ROUNDS_DEFAULT	     21
#define ROUNDS_QUICK	     5
#define OBJECT_COUNT_DEFAULT 200000
#define LIST_SIZE_MAX	     256

typedef bool option_setter(struct options *options, const char *value);

static bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	unsigned shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' || *end == 'm' ? 20 : 0;
	if (end[shift ? 1 : 0] != '\0' || value > max >> shift)
		return false;
	*number = (uint64_t)value << shift;
	return true;
}

static bool set_sizes(struct options *options, const char *value)
{
	char copy[LIST_SIZE_MAX];
	char *rest = copy;

	if (snprintf(copy, sizeof(copy), "%s", value) >= (int)sizeof(copy))
		return false;
	options->size_count = 0;
	for (char *word; (word = strsep(&rest, ","));) {
		if (options->size_count == OPTIONS_SIZE_COUNT_MAX ||
		    !parse_number(word, (uint64_t)4 << 30, &options->sizes[options->size_count]) ||
		    options->sizes[options->size_count++] == 0)
			return false;
	}
	return options->size_count > 0;
}

static bool set_threads(struct options *options, const char *value)
{
	char copy[LIST_SIZE_MAX];
	char *rest = copy;
	uint64_t number;

	if (snprintf(copy, sizeof(copy), "%s", value) >= (int)sizeof(copy))
		return false;
	options->thread_count = 0;
	for (char *word; (word = strsep(&rest, ","));) {
		if (options->thread_count == OPTIONS_THREAD_COUNT_MAX ||
		    !parse_number(word, WORKLOAD_THREAD_COUNT_MAX, &number) || number == 0)
			return false;
		options->threads[options->thread_count++] = (unsigned)number;
	}
	return options->thread_count > 0;
}

static bool set_only(struct options *options, const char *value)
{
	unsigned known = 0, given = 1;

	options->ops = 0;
	for (unsigned op = 0; op < OP_COUNT; op++) {
		if (list_has(value, operation_name(op))) {
			options->ops |= 1u << op;
			known++;
		}
	}
	for (const char *comma = value; (comma = strchr(comma, ',')); comma++)
		given++;
	return known == given;
}

static bool set_rounds(struct options *options, const char *value)
{
	uint64_t number;

	if (!parse_number(value, 100000, &number) || number == 0)
		return false;
	options->rounds = (unsigned)number;
	options->rounds_given = true;
	return true;
}

static bool set_objects(struct options *options, const char *value)
{
	return parse_number(value, 100000000, &options->object_count) && options->object_count > 0;
}

static bool set_pid(const char *value, pid_t *pid)
{
	uint64_t number;

	if (!parse_number(value, INT32_MAX, &number) || number == 0)
		return false;
	*pid = (pid_t)number;
	return true;
}

static bool set_node_pid(struct options *options, const char *value)
{
	return set_pid(value, &options->node_pid);
}

static bool set_master_pid(struct options *options, const char *value)
{
	return set_pid(value, &options->master_pid);
}

static bool set_io_uring(struct options *options, const char *value)
{
	options->io_uring = strcmp(value, "on") == 0;
	return options->io_uring || strcmp(value, "off") == 0;
}

static bool set_references(struct options *options, const char *value)
{
	options->references = value;
	options->references_given = true;
	return true;
}

static bool set_block(struct options *options, const char *value)
{
	return parse_number(value, (uint64_t)1 << 30, &options->block) && options->block > 0;
}

static bool set_batch(struct options *options, const char *value)
{
	return parse_number(value, 65536, &options->batch) && options->batch > 0;
}

static bool set_buffer(struct options *options, const char *value)
{
	return parse_number(value, (uint64_t)1 << 40, &options->buffer) && options->buffer > 0;
}

static bool set_seconds(struct options *options, const char *value)
{
	return parse_number(value, 3600, &options->seconds) && options->seconds > 0;
}

static bool set_memory(struct options *options, const char *value)
{
	options->memory = value;
	return strcmp(value, "anonymous") == 0 || strcmp(value, "allocated") == 0;
}

static bool set_role(struct options *options, const char *value)
{
	options->role = value;
	return list_has("both,initiator,target", value);
}

static bool set_op(struct options *options, const char *value)
{
	options->op = value;
	return list_has("read,write", value) || strcmp(value, "read,write") == 0;
}

#define TEXT(name) offsetof(struct options, name)

/* A flag has no parameter; a text is stored at its offset; the others have a setter. */
static const struct option_row {
	const char *name;
	const char *parameter;
	size_t offset;
	option_setter *set;
	const char *help;
} rows[] = {
	{"--sizes", "LIST", 0, set_sizes, "object sizes: 4K,1M,... (default 4K to 64M)"},
	{"--threads", "LIST", 0, set_threads, "numbers of threads (default 1,2)"},
	{"--only", "OPS", 0, set_only,
	 "put,get_read,get_mmap,stat,stat_missing,unlink (default all)"},
	{"--rounds", "N", 0, set_rounds,
	 "counted rounds of each measurement (default 21, engine 3)"},
	{"--quick", NULL, TEXT(quick), NULL, "5 rounds, one thread, four sizes"},
	{"--reference", "LIST", 0, set_references, "local: dev_shm,passthrough_off"},
	{"--transport", "LIST", TEXT(transports), NULL,
	 "remote: tcp,engine-tcp,shm (default tcp,shm)"},
	{"--objects", "N", 0, set_objects,
	 "memory, flat, master, journal: number of objects (default 200000)"},
	{"--setup", NULL, TEXT(setup), NULL,
	 "start a master and nodes for the bench (default without --mount)"},
	{"--mount", "DIR", TEXT(mount_a), NULL, "a mounted directory to work in"},
	{"--mount-b", "DIR", TEXT(mount_b), NULL, "the mount of another node"},
	{"--passthrough-off", "DIR", TEXT(passthrough_off), NULL,
	 "a mount with passthrough off, as a reference"},
	{"--dev-shm", "DIR", TEXT(dev_shm), NULL, "where plain files are put (default /dev/shm)"},
	{"--node-pid", "PID", 0, set_node_pid, "memory: the process behind --mount"},
	{"--master-pid", "PID", 0, set_master_pid, "memory: its master"},
	{"--io-uring", "on|off", 0, set_io_uring, "for nodes and the bare request (default on)"},
	{"--segment", "SIZE", TEXT(segment), NULL, "memory of each node (default 2g)"},
	{"--node-options", "LIST", TEXT(node_options), NULL,
	 "more mount options of each node, as -o takes them"},
	{"--master-options", "LIST", TEXT(master_options), NULL, "the same of the master"},
	{"--bin", "DIR", TEXT(bin), NULL, "where the programs are (default: beside this one)"},
	{"--python", "FILE", TEXT(python), NULL, "peer, master, engine: with the wheel"},
	{"--venv", "DIR", TEXT(venv), NULL, "peer, master, engine: made when absent"},
	{"--script", "FILE", TEXT(script), NULL, "peer, master: mooncake_store.py"},
	{"--role", "ROLE", 0, set_role, "engine: initiator, target or both (default)"},
	{"--target", "NAME", TEXT(target), NULL, "engine: the target's name, for an initiator"},
	{"--metadata", "URL", TEXT(metadata), NULL, "engine: default P2PHANDSHAKE"},
	{"--protocol", "LIST", TEXT(protocol), NULL, "engine: tcp (default), shm, rdma, nvmeof"},
	{"--memory", "KIND", 0, set_memory,
	 "engine: anonymous, or allocated by mc_memory_alloc() (default for shm)"},
	{"--listen", "HOST", TEXT(listen), NULL, "engine: default 127.0.0.1"},
	{"--devices", "LIST", TEXT(devices), NULL,
	 "engine: rdma: NICs of the initiator (default all)"},
	{"--target-devices", "LIST", TEXT(target_devices), NULL,
	 "engine: rdma: NICs of the target (default the same)"},
	{"--file", "PATH", TEXT(file), NULL,
	 "engine: nvmeof: the file or device; --op write overwrites it"},
	{"--buffer", "SIZE", 0, set_buffer, "engine: memory of either side (default 256M)"},
	{"--op", "LIST", 0, set_op, "engine: read (default), write, or read,write"},
	{"--block", "SIZE", 0, set_block,
	 "engine: one block size instead of the usual three cases"},
	{"--batch", "N", 0, set_batch, "engine: transfers in a batch"},
	{"--seconds", "N", 0, set_seconds, "engine: of each round (default 1)"},
	{"--json", NULL, TEXT(json), NULL, "one JSON object a line"},
	{"--plot", "FILE.svg", TEXT(plot), NULL, "draw the ratios with gnuplot"},
	{"--check", NULL, TEXT(check), NULL, "end with status 1 when a bar is missed"},
};

bool list_has(const char *list, const char *word)
{
	size_t length = strlen(word);

	while (*list) {
		size_t span = strcspn(list, ",");

		if (span == length && memcmp(list, word, length) == 0)
			return true;
		list += span + (list[span] == ',');
	}
	return false;
}

void options_help(void)
{
	char left[64];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(left, sizeof(left), "%s %s", rows[i].name,
			 rows[i].parameter ? rows[i].parameter : "");
		printf("  %-24s %s\n", left, rows[i].help);
	}
}

static const struct option_row *row_find(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].name, word) == 0)
			return &rows[i];
	}
	return NULL;
}

static bool row_apply(const struct option_row *row, struct options *options, const char *value)
{
	if (row->set)
		return row->set(options, value);
	if (row->parameter)
		*(const char **)((char *)options + row->offset) = value;
	else
		*(bool *)((char *)options + row->offset) = true;
	return true;
}

static void options_init(struct options *options)
{
	*options = (struct options){
		.ops = (1u << OP_COUNT) - 1,
		.object_count = OBJECT_COUNT_DEFAULT,
		.io_uring = true,
		.references = "dev_shm,passthrough_off",
		.dev_shm = "/dev/shm",
		.transports = "tcp,shm",
		.segment = "2g",
		.seconds = 1,
		.buffer = (uint64_t)256 << 20,
		.role = "both",
		.op = "read",
		.protocol = "tcp",
		.metadata = "P2PHANDSHAKE",
		.listen = "127.0.0.1",
	};
}

/* Defaults that depend on other options. */
static void options_settle(struct options *options)
{
	if (!options->memory)
		options->memory = strcmp(options->protocol, "shm") == 0 ? "allocated" : "anonymous";
	if (options->rounds == 0)
		options->rounds = options->quick ? ROUNDS_QUICK : ROUNDS_DEFAULT;
	if (options->size_count == 0)
		MUST(set_sizes(options, options->quick ? "4K,128K,1M,4M"
						       : "4K,16K,64K,128K,256K,1M,4M,16M,64M"));
	if (options->thread_count == 0)
		MUST(set_threads(options, options->quick ? "1" : "1,2"));
	if (!options->mount_a)
		options->setup = true;
	if (!options->target_devices)
		options->target_devices = options->devices;
}

int options_parse(struct options *options, int argc, char **argv)
{
	options_init(options);
	for (int i = 0; i < argc; i++) {
		const struct option_row *row = row_find(argv[i]);

		if (!row) {
			fprintf(stderr, "mooncake-bench: unknown option: %s\n", argv[i]);
			return 2;
		}
		if (row->parameter && i + 1 == argc) {
			fprintf(stderr, "mooncake-bench: %s needs %s\n", argv[i], row->parameter);
			return 2;
		}
		if (!row_apply(row, options, row->parameter ? argv[++i] : NULL)) {
			fprintf(stderr, "mooncake-bench: bad value for %s: %s\n", row->name,
				argv[i]);
			return 2;
		}
	}
	options_settle(options);
	return -1;
}
