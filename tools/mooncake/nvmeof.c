/*
 * mooncake nvmeof -- tell transfer engines of files behind an NVMe-oF target
 *
 * Writes what engine/fabric/nvmeof reads: a descriptor in the metadata store, the
 * same that Mooncake's register.py and mount.py write.  A segment's name begins
 * with "nvmeof/"; the command adds that where it is missing.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/format.h"

#define URL_VARIABLE "MC_METADATA_SERVER"
#define PREFIX	     "nvmeof/"
#define HTTP_PORT    50080
#define URL_SIZE     512u
#define KEY_SIZE     (METADATA_KEY_SIZE_MAX + 1)

/* One segment of the store, from open_segment() to close_segment(). */
struct segment {
	struct metadata *metadata;
	char name[SEGMENT_NAME_SIZE];
	char key[KEY_SIZE];
	char host[SEGMENT_NAME_SIZE]; /* this host's name in descriptors */
};

/* Where descriptors are: as told, or at the master.  False: complained of. */
static bool find_url(struct cluster *cluster, char url[URL_SIZE])
{
	const char *told = cluster->settings->metadata;

	if (!told)
		told = getenv(URL_VARIABLE);
	if (told) {
		(void)snprintf(url, URL_SIZE, "%s", told);
		return true;
	}
	const char *master = cluster_address(cluster);
	if (!master || strchr(master, ',') || strstr(master, "://") ||
	    strncmp(master, "unix:", 5) == 0) {
		complain("no metadata store is named: give --metadata, " URL_VARIABLE
			 " or --master HOST:PORT of one master");
		return false;
	}
	const char *colon = strrchr(master, ':');
	bool port = colon && !strchr(colon, ']');
	(void)snprintf(url, URL_SIZE, "http://%.*s:%d/metadata",
		       port ? (int)(colon - master) : (int)strlen(master), master, HTTP_PORT);
	return true;
}

static enum exit_code failed(const struct segment *segment, const char *what, enum mc_status status)
{
	complain("%s %s: %s", what, segment->name, mc_status_text(status));
	return exit_code_of(status);
}

static bool name_segment(struct segment *segment, const struct settings *settings,
			 const char *operand)
{
	bool prefixed = strncmp(operand, PREFIX, strlen(PREFIX)) == 0;
	int size = snprintf(segment->name, sizeof(segment->name), "%s%s", prefixed ? "" : PREFIX,
			    operand);

	if (size < 0 || (size_t)size >= sizeof(segment->name) ||
	    segment_key(segment->name, segment->key, sizeof(segment->key)) != MC_OK) {
		complain("no segment can be called %s", operand);
		return false;
	}
	if (settings->name)
		(void)snprintf(segment->host, sizeof(segment->host), "%s", settings->name);
	else if (gethostname(segment->host, sizeof(segment->host) - 1) != 0)
		segment->host[0] = '\0';
	if (!segment->host[0]) {
		complain("this host has no name: give --name");
		return false;
	}
	return true;
}

static enum exit_code open_segment(struct cluster *cluster, const char *operand,
				   struct segment *segment)
{
	char url[URL_SIZE];

	*segment = (struct segment){0};
	if (!name_segment(segment, cluster->settings, operand) || !find_url(cluster, url))
		return EXIT_CODE_USAGE;
	if (strcmp(url, "P2PHANDSHAKE") == 0) {
		complain("P2PHANDSHAKE keeps no descriptors: files need a store");
		return EXIT_CODE_USAGE;
	}
	enum mc_status status = metadata_open(
		&(struct metadata_config){.url = url,
					  .timeout_ms = cluster->settings->timeout_ms,
					  .token_file = cluster->settings->token_file},
		&segment->metadata);
	if (status == MC_OK)
		return EXIT_CODE_OK;
	complain("the metadata store %s can't be used: %s", url, mc_status_text(status));
	return status == MC_INVALID || status == MC_NOT_SUPPORTED ? EXIT_CODE_USAGE
								  : exit_code_of(status);
}

/* The segment as it is known; NULL: complained of, and *code says what that means. */
static struct segment_desc *fetch(struct segment *segment, enum exit_code *code)
{
	CLEANUP_FREE char *text = NULL;
	struct segment_desc *desc;
	enum mc_status status = metadata_get(segment->metadata, segment->key, &text);

	if (status == MC_OK)
		status = segment_desc_parse(text, strlen(text), &desc);
	if (status != MC_OK) {
		*code = failed(segment, "can't read the segment", status);
		return NULL;
	}
	if (desc->protocol == SEGMENT_NVMEOF)
		return desc;
	complain("the segment %s is memory, not files", segment->name);
	segment_desc_unref(desc);
	*code = EXIT_CODE_FAILED;
	return NULL;
}

static enum exit_code store(struct segment *segment, const struct segment_desc *desc)
{
	CLEANUP_FREE char *text = NULL;
	struct segment_desc *again;
	enum mc_status status = segment_desc_print(desc, &text);

	if (status == MC_OK && segment_desc_parse(text, strlen(text), &again) != MC_OK) {
		complain("nobody could read the segment %s: a name or path in it is no UTF-8",
			 segment->name);
		return EXIT_CODE_FAILED;
	}
	if (status == MC_OK) {
		segment_desc_unref(again);
		status = metadata_put(segment->metadata, segment->key, text);
	}
	return status == MC_OK ? EXIT_CODE_OK : failed(segment, "can't write the segment", status);
}

/* -- what is told -- */

static void tell_json(const struct segment *segment, const struct segment_desc *desc)
{
	cJSON *document = document_object(), *files = document_list();

	document_add_text(document, "segment", segment->name);
	document_add_text(document, "server", desc->name);
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		const struct segment_buffer *buffer = &desc->buffers[i];
		cJSON *file = document_object(), *paths = document_object();
		document_add_name(file, "file", buffer->file_path, strlen(buffer->file_path));
		document_add_number(file, "length", buffer->length);
		for (uint32_t j = 0; j < buffer->local_path_count; j++)
			document_add_text(paths, buffer->local_paths[j].host,
					  buffer->local_paths[j].path);
		document_add(file, "paths", paths);
		document_append(files, file);
	}
	document_add(document, "files", files);
	document_print(document);
}

static void tell_name(const char *before, const char *name, const char *behind)
{
	CLEANUP_FREE char *shown = format_name(name, strlen(name));

	printf("%s%s%s", before, shown, behind);
}

static void tell(const struct cluster *cluster, const struct segment *segment,
		 const struct segment_desc *desc)
{
	char size[FORMAT_SIZE];

	if (cluster->settings->json) {
		tell_json(segment, desc);
		return;
	}
	tell_name("", segment->name, " at ");
	tell_name("", desc->name, "\n");
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		const struct segment_buffer *buffer = &desc->buffers[i];
		tell_name("  ", buffer->file_path, "  ");
		printf("%s\n", format_size(buffer->length, size));
		for (uint32_t j = 0; j < buffer->local_path_count; j++) {
			tell_name("    ", buffer->local_paths[j].host, ": ");
			tell_name("", buffer->local_paths[j].path, "\n");
		}
	}
}

/* -- files -- */

/* The length of a file or block device.  False: complained of. */
static bool measure(const char *path, uint64_t *length)
{
	struct stat at;
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &at) != 0) {
		complain("%s: %s", path, strerror(errno));
		return false;
	}
	if (S_ISREG(at.st_mode)) {
		*length = (uint64_t)at.st_size;
	} else if (!S_ISBLK(at.st_mode) || ioctl(fd, BLKGETSIZE64, length) != 0) {
		complain("%s is neither a file nor a block device", path);
		return false;
	}
	if (*length == 0)
		complain("%s is empty", path);
	return *length != 0;
}

static enum exit_code add_file(struct segment_desc *desc, const char *operand)
{
	CLEANUP_FREE char *path = realpath(operand, NULL);
	struct segment_buffer *buffer;
	uint64_t length;

	if (!path) {
		complain("%s: %s", operand, strerror(errno));
		return EXIT_CODE_MISSING;
	}
	if (!measure(path, &length))
		return EXIT_CODE_FAILED;
	enum mc_status status = segment_desc_add_buffer(desc, "", &buffer);
	if (status != MC_OK) {
		complain("%s: %s", operand, mc_status_text(status));
		return EXIT_CODE_FAILED;
	}
	buffer->length = length;
	buffer->file_path = STEAL(path);
	return EXIT_CODE_OK;
}

/* -- register -- */

static enum exit_code register_files(struct cluster *cluster, struct segment *segment, int count,
				     char **files)
{
	struct segment_desc *desc;
	enum mc_status status = segment_desc_new(SEGMENT_NVMEOF, segment->host, &desc);

	if (status != MC_OK)
		return failed(segment, "can't describe the segment", status);
	enum exit_code code = EXIT_CODE_OK;
	for (int i = 0; i < count && code == EXIT_CODE_OK; i++)
		code = add_file(desc, files[i]);
	if (code == EXIT_CODE_OK)
		code = store(segment, desc);
	if (code == EXIT_CODE_OK)
		tell(cluster, segment, desc);
	segment_desc_unref(desc);
	return code;
}

/* -- mount -- */

static struct segment_buffer *file_named(struct segment_desc *desc, const char *file)
{
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		if (strcmp(desc->buffers[i].file_path, file) == 0)
			return &desc->buffers[i];
	}
	return NULL;
}

static enum mc_status set_path(struct segment_buffer *buffer, const char *host, const char *path)
{
	for (uint32_t i = 0; i < buffer->local_path_count; i++) {
		struct segment_local_path *local = &buffer->local_paths[i];
		if (strcmp(local->host, host) != 0)
			continue;
		char *copy = strdup(path);
		if (!copy)
			return MC_NO_MEMORY;
		free(local->path);
		local->path = copy;
		return MC_OK;
	}
	return segment_buffer_add_path(buffer, host, path);
}

static enum exit_code mount_in(struct segment *segment, struct segment_desc *desc, const char *file,
			       const char *operand)
{
	struct segment_buffer *buffer = file_named(desc, file);
	CLEANUP_FREE char *path = realpath(operand, NULL);
	uint64_t length;

	if (!buffer) {
		complain("the segment %s has no file %s", segment->name, file);
		return EXIT_CODE_MISSING;
	}
	if (!path) {
		complain("%s: %s", operand, strerror(errno));
		return EXIT_CODE_MISSING;
	}
	if (!measure(path, &length))
		return EXIT_CODE_FAILED;
	if (length < buffer->length) {
		complain("%s has %" PRIu64 " bytes, the file of the segment has %" PRIu64, path,
			 length, buffer->length);
		return EXIT_CODE_FAILED;
	}
	enum mc_status status = set_path(buffer, segment->host, path);
	return status == MC_OK ? store(segment, desc)
			       : failed(segment, "can't change the segment", status);
}

static enum exit_code mount_file(struct cluster *cluster, struct segment *segment, int count,
				 char **operands)
{
	enum exit_code code;
	struct segment_desc *desc = fetch(segment, &code);

	(void)count;
	if (!desc)
		return code;
	code = mount_in(segment, desc, operands[0], operands[1]);
	if (code == EXIT_CODE_OK)
		tell(cluster, segment, desc);
	segment_desc_unref(desc);
	return code;
}

static enum exit_code show(struct cluster *cluster, struct segment *segment, int count,
			   char **operands)
{
	enum exit_code code;
	struct segment_desc *desc = fetch(segment, &code);

	(void)count;
	(void)operands;
	if (!desc)
		return code;
	tell(cluster, segment, desc);
	segment_desc_unref(desc);
	return EXIT_CODE_OK;
}

static enum exit_code forget(struct cluster *cluster, struct segment *segment, int count,
			     char **operands)
{
	enum mc_status status = metadata_remove(segment->metadata, segment->key);

	(void)count;
	(void)operands;
	if (status != MC_OK)
		return failed(segment, "can't forget the segment", status);
	if (cluster->settings->json) {
		cJSON *document = document_object();
		document_add_text(document, "segment", segment->name);
		document_add_bool(document, "forgotten", true);
		document_print(document);
	}
	return EXIT_CODE_OK;
}

/* What can be done; operands behind the segment's name. */
static const struct verb {
	const char *name;
	int operand_min, operand_max;
	enum exit_code (*run)(struct cluster *cluster, struct segment *segment, int count,
			      char **operands);
} verbs[] = {
	{"register", 1, SEGMENT_BUFFER_MAX, register_files},
	{"mount", 2, 2, mount_file},
	{"show", 0, 0, show},
	{"forget", 0, 0, forget},
};

static enum exit_code nvmeof_run(struct cluster *cluster, int count, char **operands)
{
	const struct verb *verb = NULL;
	struct segment segment;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(operands[0], verbs[i].name) == 0)
			verb = &verbs[i];
	}
	count -= 2;
	if (!verb || count < verb->operand_min || count > verb->operand_max) {
		complain("%s %s; see mooncake nvmeof --help",
			 verb ? "wrong operands for" : "no such", operands[0]);
		return EXIT_CODE_USAGE;
	}
	enum exit_code code = open_segment(cluster, operands[1], &segment);
	if (code == EXIT_CODE_OK)
		code = verb->run(cluster, &segment, count, operands + 2);
	metadata_close(segment.metadata);
	return code;
}

static const struct option_row nvmeof_rows[] = {
	COMMAND_OPTION(metadata, "metadata", 0, OPTION_STRING, .unit = "URL",
		       .help = "Where descriptors are kept; else $" URL_VARIABLE
			       ", else the master's /metadata on port 50080."),
	COMMAND_OPTION(name, "name", 'n', OPTION_STRING, .unit = "HOST",
		       .help = "This host's name in the descriptor; default: its host name."),
	COMMAND_OPTION(token_file, "token-file", 0, OPTION_STRING, .unit = "PATH",
		       .help = "File with the token that the store asks for."),
	{0},
};

const struct command command_nvmeof = {
	.name = "nvmeof",
	.operands = "VERB SEGMENT [OPERAND...]",
	.summary = "Tell transfer engines of files behind an NVMe-oF target.",
	.text = "\n"
		"  register SEGMENT FILE...        on the server: these files or block devices, "
		"in\n"
		"                                  this order, are the segment\n"
		"  mount SEGMENT FILE LOCAL_PATH   on a host that reaches them: where it finds "
		"FILE\n"
		"                                  (a file on a mounted file system, or the "
		"device\n"
		"                                  that nvme connect gave)\n"
		"  show SEGMENT                    what is known of it\n"
		"  forget SEGMENT                  drop the descriptor; the files stay\n"
		"\nNothing is connected or mounted: nvme connect and mount do that. Two hosts "
		"that\n"
		"mount in the same instant may overwrite each other's line: look with show.\n",
	.rows = nvmeof_rows,
	.operand_min = 2,
	.operand_max = -1,
	.run = nvmeof_run,
};
