/* mooncake policy */
#include "tools/mooncake/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/placement.h"
#include "engine/rpc/wire.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/complaint.h"
#include "tools/mooncake/format.h"
#include "tools/mooncake/table.h"

/* -- questions -- */

static void policy_get(struct reader *r, struct master_policy *policy)
{
	size_t size;
	const char *prefix = get_string(r, &size);

	get_placement(r, &policy->placement);
	policy->prefix = strndup(prefix ? prefix : "", size);
	MUST(policy->prefix != NULL);
}

enum mc_status master_policies(struct master *master, struct master_policy **policies,
			       size_t *count)
{
	struct reader r;

	enum mc_status status = master_ask(master, MC_VERB_POLICIES, NULL, &r);
	if (status)
		return status;
	size_t told = get_u16(&r);
	struct master_policy *all = calloc(told + 1, sizeof(*all));
	MUST(all != NULL);
	for (size_t i = 0; i < told; i++)
		policy_get(&r, &all[i]);
	if (!reader_done(&r)) {
		master_policies_free(all, told);
		return MC_PROTOCOL;
	}
	*policies = all;
	*count = told;
	return MC_OK;
}

void master_policies_free(struct master_policy *policies, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(policies[i].prefix);
	free(policies);
}

enum mc_status master_policy_of(struct master *master, const char *key,
				struct master_policy *policy)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_string(&w, key, strlen(key));
	enum mc_status status = master_ask(master, MC_VERB_POLICY, &w, &r);
	writer_fini(&w);
	if (status)
		return status;
	policy_get(&r, policy);
	return reader_done(&r) ? MC_OK : MC_PROTOCOL;
}

/* Send what has an empty answer. */
static enum mc_status change(struct master *master, enum mc_verb verb, struct writer *w)
{
	struct reader r;
	enum mc_status status = master_ask(master, verb, w, &r);

	writer_fini(w);
	return status;
}

enum mc_status master_policy_set(struct master *master, const char *prefix,
				 const struct mc_placement *placement)
{
	struct writer w;

	writer_init(&w);
	put_string(&w, prefix, strlen(prefix));
	put_placement(&w, placement);
	return change(master, MC_VERB_POLICY_SET, &w);
}

enum mc_status master_policy_unset(struct master *master, const char *prefix)
{
	struct writer w;

	writer_init(&w);
	put_string(&w, prefix, strlen(prefix));
	enum mc_status status = change(master, MC_VERB_POLICY_UNSET, &w);
	/* Taken back by the request whose answer was lost. */
	return status == MC_NOT_FOUND && master_resent(master) ? MC_OK : status;
}

enum mc_status master_node_set(struct master *master, uint32_t node, enum mc_node_op op)
{
	struct writer w;

	writer_init(&w);
	put_u32(&w, node);
	put_u8(&w, (uint8_t)op);
	return change(master, MC_VERB_NODE_SET, &w);
}

enum mc_status master_drain(struct master *master, uint32_t node, struct master_drain *drain)
{
	struct reader r;
	struct writer w;

	writer_init(&w);
	put_u32(&w, node);
	enum mc_status status = master_ask(master, MC_VERB_DRAIN, &w, &r);
	writer_fini(&w);
	if (status)
		return status;
	drain->draining = get_u8(&r);
	drain->done = get_u8(&r);
	drain->replicas = get_u64(&r);
	drain->left = get_u64(&r);
	drain->coming = get_u64(&r);
	return reader_done(&r) ? MC_OK : MC_PROTOCOL;
}

/* -- placements as people read and write them -- */

static const char *const pins[] = {
	[MC_PIN_UNSAID] = NULL, [MC_PIN_OFF] = "off", [MC_PIN_ON] = "on"};

char *placement_text(const struct mc_placement *placement)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	MUST(out != NULL);
	if (placement->replicas)
		fprintf(out, " replicas=%u", placement->replicas);
	if (placement->ack)
		fprintf(out, " ack=%u", placement->ack);
	if (placement->pin)
		fprintf(out, " pin=%s", pins[placement->pin]);
	for (unsigned i = 0; i < placement->preferred_count; i++) {
		CLEANUP_FREE char *name =
			format_name(placement->preferred[i], strlen(placement->preferred[i]));
		fprintf(out, "%s%s", i ? "," : " preferred=", name);
	}
	fclose(out);
	MUST(text != NULL);
	if (size > 0)
		memmove(text, text + 1, size);
	return text;
}

void document_add_placement(cJSON *object, const struct mc_placement *placement)
{
	cJSON *preferred = document_list();

	if (placement->replicas)
		document_add_number(object, "replicas", placement->replicas);
	if (placement->ack)
		document_add_number(object, "ack", placement->ack);
	if (placement->pin)
		document_add_bool(object, "pin", placement->pin == MC_PIN_ON);
	for (unsigned i = 0; i < placement->preferred_count; i++)
		document_append_text(preferred, placement->preferred[i]);
	document_add(object, "preferred", preferred);
}

static bool count_read(const char *text, uint8_t *count)
{
	if (text[0] < '1' || text[0] > '0' + (char)MC_REPLICA_MAX || text[1])
		return false;
	*count = (uint8_t)(text[0] - '0');
	return true;
}

static bool pin_read(const char *text, uint8_t *pin)
{
	for (int i = MC_PIN_OFF; i <= MC_PIN_ON; i++) {
		if (strcmp(text, pins[i]) == 0) {
			*pin = (uint8_t)i;
			return true;
		}
	}
	return false;
}

/* "replicas=2".  False: complained of. */
static bool field_read(const char *word, struct mc_placement *placement)
{
	size_t name = strcspn(word, "=");
	const char *value = word[name] ? word + name + 1 : "";

	if (strncmp(word, "replicas=", 9) == 0 && count_read(value, &placement->replicas))
		return true;
	if (strncmp(word, "ack=", 4) == 0 && count_read(value, &placement->ack))
		return true;
	if (strncmp(word, "pin=", 4) == 0 && pin_read(value, &placement->pin))
		return true;
	if (strncmp(word, "preferred=", 10) == 0 && placement_names_read(value, placement))
		return true;
	complain("%s is none of replicas=1..%u, ack=1..%u, pin=on|off, preferred=NODE[,NODE...]",
		 word, MC_REPLICA_MAX, MC_REPLICA_MAX);
	return false;
}

/* -- the command -- */

static enum exit_code told(struct cluster *cluster, enum mc_status status, const char *prefix)
{
	if (status == MC_NOT_FOUND)
		complain("there is no policy of /%s", prefix);
	else if (status == MC_INVALID)
		complain("a close can't wait for more copies than are kept");
	else if (status == MC_NO_SPACE)
		complain("there are %u policies already", MC_POLICY_MAX);
	else if (status)
		cluster_complain(cluster, status);
	return exit_code_of(status);
}

/* The fields that were said: the others are as they were.  NULL: the policy is gone. */
static cJSON *change_document(const char *prefix, const struct mc_placement *placement)
{
	cJSON *object = document_object();

	document_add_name(object, "prefix", prefix, strlen(prefix));
	document_add_bool(object, "set", placement != NULL);
	if (placement)
		document_add_placement(object, placement);
	if (placement && placement->preferred_count == 0)
		cJSON_DeleteItemFromObject(object, "preferred");
	return object;
}

static enum exit_code set(struct cluster *cluster, struct master *master, int count, char **words)
{
	struct mc_placement placement = {0};

	if (count < 2) {
		complain("say what: replicas=, ack=, pin= or preferred=");
		return EXIT_CODE_USAGE;
	}
	for (int i = 1; i < count; i++) {
		if (!field_read(words[i], &placement))
			return EXIT_CODE_USAGE;
	}
	enum mc_status status = master_policy_set(master, words[0], &placement);
	if (!status && cluster->settings->json)
		document_print(change_document(words[0], &placement));
	return told(cluster, status, words[0]);
}

static enum exit_code unset(struct cluster *cluster, struct master *master, const char *prefix)
{
	enum mc_status status = master_policy_unset(master, prefix);

	if (!status && cluster->settings->json)
		document_print(change_document(prefix, NULL));
	return told(cluster, status, prefix);
}

static void print_policies(const struct master_policy *policies, size_t count)
{
	struct table *table = table_new("LL");

	for (size_t i = 0; i < count; i++) {
		CLEANUP_FREE char *prefix =
			format_name(policies[i].prefix, strlen(policies[i].prefix));
		CLEANUP_FREE char *text = placement_text(&policies[i].placement);
		table_add(table, "/%s", prefix);
		table_add(table, "%s", text);
	}
	table_print(table, stdout);
	table_free(table);
}

static cJSON *policy_document(const struct master_policy *policy)
{
	cJSON *object = document_object();

	document_add_name(object, "prefix", policy->prefix, strlen(policy->prefix));
	document_add_placement(object, &policy->placement);
	return object;
}

static int policy_compare(const void *a, const void *b)
{
	return strcmp(((const struct master_policy *)a)->prefix,
		      ((const struct master_policy *)b)->prefix);
}

static enum exit_code list(struct cluster *cluster, struct master *master)
{
	struct master_policy *policies;
	size_t count;

	enum mc_status status = master_policies(master, &policies, &count);
	if (status)
		return told(cluster, status, "");
	qsort(policies, count, sizeof(*policies), policy_compare);
	if (cluster->settings->json) {
		cJSON *documents = document_list();
		for (size_t i = 0; i < count; i++)
			document_append(documents, policy_document(&policies[i]));
		document_print(documents);
	} else {
		print_policies(policies, count);
	}
	master_policies_free(policies, count);
	return EXIT_CODE_OK;
}

static enum exit_code show(struct cluster *cluster, struct master *master, const char *key)
{
	struct master_policy policy = {0};

	enum mc_status status = master_policy_of(master, key, &policy);
	if (status)
		return told(cluster, status, key);
	if (cluster->settings->json)
		document_print(policy_document(&policy));
	else
		print_policies(&policy, 1);
	free(policy.prefix);
	return EXIT_CODE_OK;
}

static enum exit_code policy_run(struct cluster *cluster, int count, char **words)
{
	struct master *master;
	bool listing = strcmp(words[0], "list") == 0;
	bool setting = strcmp(words[0], "set") == 0;
	bool one = strcmp(words[0], "unset") == 0 || strcmp(words[0], "show") == 0;

	if (!(listing && count == 1) && !(setting && count > 1) && !(one && count == 2)) {
		complain(
			"policy takes: set PREFIX FIELD=VALUE..., unset PREFIX, show KEY, or list");
		return EXIT_CODE_USAGE;
	}
	if (!listing) {
		words[1] = cluster_key(words[1]);
		if (!words[1])
			return EXIT_CODE_USAGE;
	}
	enum mc_status status = cluster_master(cluster, &master);
	if (status)
		return exit_code_of(status);
	if (listing)
		return list(cluster, master);
	if (setting)
		return set(cluster, master, count - 1, words + 1);
	if (strcmp(words[0], "show") == 0)
		return show(cluster, master, words[1]);
	return unset(cluster, master, words[1]);
}

const struct command command_policy = {
	.name = "policy",
	.operands = "set PREFIX FIELD=VALUE... | unset PREFIX | show KEY | list",
	.summary = "Say how often, and where, what is below a prefix is kept.",
	.text = "\nFields:\n"
		"  replicas=N             copies, on different hosts where there are enough\n"
		"  ack=N                  of them exist before a close returns\n"
		"  pin=on|off             what is put is never evicted\n"
		"  preferred=NODE[,NODE]  copies go to these first\n"
		"A field that is not said stays as it was. Of several prefixes the longest that\n"
		"says a field counts. / is the root: the default of the cluster.\n",
	.operand_min = 1,
	.operand_max = -1,
	.run = policy_run,
};
