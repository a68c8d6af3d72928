/* mooncake ls */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/table.h"

struct listing {
	const struct settings *settings;
	struct master *master;
	bool plain; /* names go out as they are: into a pipe */
	struct table *table;
	struct writer key; /* of the directory that is listed, with a slash behind it */
};

static int by_name(const void *a, const void *b)
{
	const struct master_child *left = a;
	const struct master_child *right = b;

	return strcmp(left->name, right->name);
}

static void show_name(const struct listing *listing, const char *name, size_t size, bool directory)
{
	if (listing->plain) {
		(void)fwrite(name, 1, size, stdout); /* main looks at ferror() */
	} else {
		CLEANUP_FREE char *shown = format_name(name, size);
		fputs(shown, stdout);
	}
	puts(directory ? "/" : "");
}

static void show_details(const struct listing *listing, const char *name, size_t size,
			 const struct mc_entry *entry)
{
	CLEANUP_FREE char *shown = format_name(name, size);
	const struct mc_attr *attr = &entry->attr;
	struct table *table = listing->table;
	bool directory = S_ISDIR(attr->mode);
	char text[FORMAT_SIZE];

	table_add(table, "%s", format_mode(attr->mode, text));
	table_add(table, "%" PRIu32, entry->replica_count);
	table_add(table, "%" PRIu32 ":%" PRIu32, attr->uid, attr->gid);
	table_add(table, "%s", directory ? "-" : format_size(attr->size, text));
	table_add(table, "%s", format_time(attr->mtime, false, text));
	table_add(table, "%s%s", shown, directory ? "/" : "");
}

/* Show one entry whose name is the end of its key. */
static void show(const struct listing *listing, const char *key, size_t key_size, size_t name_size,
		 const struct mc_entry *entry)
{
	const char *name = key + key_size - name_size;
	bool whole = listing->settings->recursive;

	if (listing->settings->json) {
		cJSON *object = document_object();
		document_add_name(object, "key", key, key_size);
		document_add_name(object, "name", name, name_size);
		document_add_entry(object, entry);
		document_list_item(object);
	} else if (listing->settings->details) {
		show_details(listing, whole ? key : name, whole ? key_size : name_size, entry);
	} else {
		show_name(listing, whole ? key : name, whole ? key_size : name_size,
			  S_ISDIR(entry->attr.mode));
	}
}

/* Above what is in a directory, where several are listed. */
static void show_heading(const struct listing *listing, const char *key, bool first)
{
	CLEANUP_FREE char *shown = format_name(key, strlen(key));

	printf("%s%s/:\n", first ? "" : "\n", listing->plain ? key : shown);
}

/* List a directory whose key stands in listing->key. */
static enum mc_status list(struct listing *listing, uint64_t id)
{
	struct writer *key = &listing->key;
	struct master_children children;
	size_t base = key->size;

	enum mc_status status = master_list(listing->master, id, &children);
	if (status)
		return status;
	if (children.count > 0)
		qsort(children.items, children.count, sizeof(*children.items), by_name);
	for (size_t i = 0; i < children.count && !status; i++) {
		const struct master_child *child = &children.items[i];
		bool directory = S_ISDIR(child->entry.attr.mode);
		put_bytes(key, child->name, child->size);
		show(listing, (const char *)key->data, key->size, child->size, &child->entry);
		if (directory && listing->settings->recursive) {
			put_u8(key, '/');
			status = list(listing, child->entry.attr.id);
			if (status == MC_NOT_FOUND)
				status = MC_OK; /* removed since its name was read */
		}
		key->size = base;
	}
	master_children_fini(&children);
	return status;
}

static enum mc_status list_key(struct listing *listing, const char *operand,
			       const struct mc_entry *entry)
{
	size_t size = strlen(operand);
	const char *slash = strrchr(operand, '/');

	if (!S_ISDIR(entry->attr.mode)) {
		show(listing, operand, size, slash ? strlen(slash + 1) : size, entry);
		return MC_OK;
	}
	writer_reset(&listing->key);
	put_bytes(&listing->key, operand, size);
	if (size > 0)
		put_u8(&listing->key, '/');
	return list(listing, entry->attr.id);
}

static enum exit_code list_keys(struct listing *listing, struct cluster *cluster, size_t count,
				char **keys, const struct master_found *found)
{
	enum exit_code code = EXIT_CODE_OK;
	bool headed = count > 1 && !listing->settings->recursive && !listing->settings->json;

	for (size_t i = 0; i < count; i++) {
		enum mc_status status = found[i].status;
		if (status == MC_OK && headed && S_ISDIR(found[i].entry.attr.mode))
			show_heading(listing, keys[i], i == 0);
		listing->table = table_new("LRLRLL");
		if (status == MC_OK)
			status = list_key(listing, keys[i], &found[i].entry);
		table_print(listing->table, stdout);
		table_free(listing->table);
		if (status == MC_NOT_FOUND || status == MC_NOT_DIRECTORY) {
			complain("there is no %s", keys[i]);
			status = MC_NOT_FOUND;
		} else if (status) {
			cluster_complain(cluster, status);
		}
		code = exit_code_graver(code, exit_code_of(status));
	}
	return code;
}

static enum exit_code ls_run(struct cluster *cluster, int count, char **operands)
{
	static char root[] = "";
	static char *only_root[] = {root};
	struct listing listing = {.settings = cluster->settings};

	if (count == 0) {
		operands = only_root;
		count = 1;
	}
	for (int i = 0; i < count; i++) {
		operands[i] = cluster_key(operands[i]);
		if (!operands[i])
			return EXIT_CODE_USAGE;
	}
	enum mc_status status = cluster_master(cluster, &listing.master);
	if (status)
		return exit_code_of(status);
	CLEANUP_FREE struct master_found *found = calloc((size_t)count, sizeof(*found));
	MUST(found != NULL);
	status = master_lookup(listing.master, operands, (size_t)count, found);
	if (status) {
		cluster_complain(cluster, status);
		return exit_code_of(status);
	}
	listing.plain = !isatty(STDOUT_FILENO);
	writer_init(&listing.key);
	if (listing.settings->json)
		document_list_begin();
	enum exit_code code = list_keys(&listing, cluster, (size_t)count, operands, found);
	if (listing.settings->json)
		document_list_end();
	writer_fini(&listing.key);
	return code;
}

static const struct option_row ls_rows[] = {
	COMMAND_OPTION(details, "long", 'l', OPTION_BOOL,
		       .help = "Mode, copies, owner, size and time of change too."),
	COMMAND_OPTION(recursive, "recursive", 'R', OPTION_BOOL,
		       .help = "All that is below as well, with whole keys."),
	{0},
};

const struct command command_ls = {
	.name = "ls",
	.operands = "[KEY...]",
	.summary = "List directories, or the root, sorted by name.",
	.text = "\nA directory's name ends in a slash. On a terminal and in columns, control "
		"bytes\n"
		"of a name are written as \\n or \\x1b; into a pipe names go as they are.\n",
	.rows = ls_rows,
	.operand_max = -1,
	.run = ls_run,
};
