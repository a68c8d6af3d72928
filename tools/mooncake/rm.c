/* mooncake rm */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/document.h"

struct removal {
	struct master *master;
	uint64_t objects;
	uint64_t directories;
};

/* What becomes of a key; text is for people, status for the exit code. */
struct outcome {
	enum mc_status status;
	const char *why; /* NULL: the status says it */
};

/* Remove the objects among the children. */
static enum mc_status remove_objects(struct removal *removal, uint64_t parent,
				     const struct master_children *children)
{
	CLEANUP_FREE struct master_name *names = calloc(children->count + 1, sizeof(*names));
	CLEANUP_FREE enum mc_status *statuses = calloc(children->count + 1, sizeof(*statuses));
	size_t count = 0;

	MUST(names && statuses);
	for (size_t i = 0; i < children->count; i++) {
		const struct master_child *child = &children->items[i];
		if (!S_ISDIR(child->entry.attr.mode))
			names[count++] = (struct master_name){parent, child->name, child->size};
	}
	enum mc_status status = master_remove(removal->master, names, count, statuses);
	for (size_t i = 0; i < count && !status; i++) {
		if (statuses[i] == MC_OK)
			removal->objects++;
		else if (statuses[i] != MC_NOT_FOUND) /* gone is gone */
			status = statuses[i];
	}
	return status;
}

/* Remove all that is below a directory. */
static enum mc_status remove_below(struct removal *removal, uint64_t id)
{
	struct master_children children;

	enum mc_status status = master_list(removal->master, id, &children);
	if (status)
		return status == MC_NOT_FOUND ? MC_OK : status;
	status = remove_objects(removal, id, &children);
	for (size_t i = 0; i < children.count && !status; i++) {
		const struct master_child *child = &children.items[i];
		struct master_name name = {id, child->name, child->size};
		if (!S_ISDIR(child->entry.attr.mode))
			continue;
		status = remove_below(removal, child->entry.attr.id);
		if (!status)
			status = master_rmdir(removal->master, &name);
		if (status == MC_OK)
			removal->directories++;
		else if (status == MC_NOT_FOUND)
			status = MC_OK;
	}
	master_children_fini(&children);
	return status;
}

static struct outcome remove_directory(struct removal *removal, const struct master_found *found,
				       const struct master_name *name, bool recursive)
{
	if (!recursive)
		return (struct outcome){MC_IS_DIRECTORY, "is a directory, give -r to remove it"};
	enum mc_status status = remove_below(removal, found->entry.attr.id);
	if (!status && name->size > 0) {
		status = master_rmdir(removal->master, name);
		removal->directories += status == MC_OK;
	}
	return (struct outcome){status, status == MC_NOT_EMPTY
						? "has got new names meanwhile, remove it again"
						: NULL};
}

static struct outcome remove_key(struct removal *removal, const char *key,
				 const struct master_found *found, bool recursive)
{
	const char *slash = strrchr(key, '/');
	struct master_name name = {.parent = found->parent, .name = slash ? slash + 1 : key};
	enum mc_status status = found->status;

	name.size = strlen(name.name);
	if (status)
		return (struct outcome){status == MC_NOT_DIRECTORY ? MC_NOT_FOUND : status, NULL};
	if (S_ISDIR(found->entry.attr.mode))
		return remove_directory(removal, found, &name, recursive);
	enum mc_status asked = master_remove(removal->master, &name, 1, &status);
	removal->objects += !asked && !status;
	return (struct outcome){asked ? asked : status, NULL};
}

static void tell(struct cluster *cluster, const char *key, const struct outcome *outcome,
		 cJSON *list)
{
	cJSON *item = document_object();

	document_add_name(item, "key", key, strlen(key));
	document_add_bool(item, "removed", outcome->status == MC_OK);
	if (outcome->status)
		document_add_text(item, "error",
				  outcome->why ? outcome->why : mc_status_text(outcome->status));
	document_append(list, item);
	if (outcome->status == MC_NOT_FOUND)
		complain("there is no %s", key);
	else if (outcome->why)
		complain("%s %s", key[0] ? key : "the root", outcome->why);
	else if (outcome->status)
		cluster_complain(cluster, outcome->status);
}

static enum exit_code remove_keys(struct cluster *cluster, struct removal *removal, int count,
				  char **keys, const struct master_found *found)
{
	const struct settings *settings = cluster->settings;
	enum exit_code code = EXIT_CODE_OK;
	cJSON *list = document_list();

	for (int i = 0; i < count; i++) {
		struct outcome outcome =
			remove_key(removal, keys[i], &found[i], settings->recursive);
		tell(cluster, keys[i], &outcome, list);
		code = exit_code_graver(code, exit_code_of(outcome.status));
		if (exit_code_of(outcome.status) == EXIT_CODE_UNREACHABLE)
			break;
	}
	if (settings->json) {
		cJSON *document = document_object();
		document_add(document, "keys", list);
		document_add_number(document, "objects", removal->objects);
		document_add_number(document, "directories", removal->directories);
		document_print(document);
		return code;
	}
	cJSON_Delete(list);
	if (settings->recursive)
		printf("removed %" PRIu64 " object%s and %" PRIu64 " director%s\n",
		       removal->objects, removal->objects == 1 ? "" : "s", removal->directories,
		       removal->directories == 1 ? "y" : "ies");
	return code;
}

static enum exit_code rm_run(struct cluster *cluster, int count, char **operands)
{
	struct removal removal = {0};

	for (int i = 0; i < count; i++) {
		operands[i] = cluster_key(operands[i]);
		if (!operands[i])
			return EXIT_CODE_USAGE;
	}
	enum mc_status status = cluster_master(cluster, &removal.master);
	if (status)
		return exit_code_of(status);
	CLEANUP_FREE struct master_found *found = calloc((size_t)count, sizeof(*found));
	MUST(found != NULL);
	status = master_lookup(removal.master, operands, (size_t)count, found);
	if (status) {
		cluster_complain(cluster, status);
		return exit_code_of(status);
	}
	return remove_keys(cluster, &removal, count, operands, found);
}

static const struct option_row rm_rows[] = {
	COMMAND_OPTION(recursive, "recursive", 'r', OPTION_BOOL,
		       .help = "Remove directories, with all that is below them."),
	{0},
};

const struct command command_rm = {
	.name = "rm",
	.operands = "KEY...",
	.summary = "Remove objects from the whole cluster.",
	.text = "\nThe names go at once, on every node; whoever has an object open or mapped "
		"keeps\n"
		"reading it. `rm -r /` removes everything.\n",
	.rows = rm_rows,
	.operand_min = 1,
	.operand_max = -1,
	.run = rm_run,
};
