#include "tools/mooncake/document.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/base64.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "tools/mooncake/format.h"

static size_t list_count;

static cJSON *made(cJSON *item)
{
	MUST(item != NULL);
	return item;
}

cJSON *document_object(void)
{
	return made(cJSON_CreateObject());
}

cJSON *document_list(void)
{
	return made(cJSON_CreateArray());
}

void document_add(cJSON *object, const char *field, cJSON *item)
{
	MUST(cJSON_AddItemToObject(object, field, made(item)));
}

void document_append(cJSON *list, cJSON *item)
{
	MUST(cJSON_AddItemToArray(list, made(item)));
}

void document_add_number(cJSON *object, const char *field, uint64_t value)
{
	char digits[24];

	/* cJSON's own numbers are doubles: a version has more than 53 bits. */
	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	document_add(object, field, cJSON_CreateRaw(digits));
}

void document_add_text(cJSON *object, const char *field, const char *text)
{
	document_add_name(object, field, text, strlen(text));
}

void document_add_bool(cJSON *object, const char *field, bool value)
{
	document_add(object, field, cJSON_CreateBool(value));
}

/* Copy with U+FFFD for what is no UTF-8.  True: there was none of that. */
static bool make_valid(const char *name, size_t size, char *valid)
{
	bool whole = true;

	for (size_t i = 0; i < size;) {
		size_t length = utf8_size(name + i, size - i);
		if (length == 0) {
			memcpy(valid, "\xef\xbf\xbd", 3);
			valid += 3;
			i++;
			whole = false;
			continue;
		}
		memcpy(valid, name + i, length);
		valid += length;
		i += length;
	}
	*valid = '\0';
	return whole;
}

void document_add_name(cJSON *object, const char *field, const char *name, size_t size)
{
	CLEANUP_FREE char *valid = malloc(size * 3 + 1);

	MUST(valid != NULL);
	bool whole = make_valid(name, size, valid);
	document_add(object, field, cJSON_CreateString(valid));
	if (whole)
		return;
	char beside[64];
	struct writer encoded;
	writer_init(&encoded);
	base64_put(&encoded, name, size);
	put_u8(&encoded, '\0');
	MUST(!encoded.failed);
	snprintf(beside, sizeof(beside), "%s_base64", field);
	document_add(object, beside, cJSON_CreateString((const char *)encoded.data));
	writer_fini(&encoded);
}

void document_append_text(cJSON *list, const char *text)
{
	size_t size = strlen(text);
	CLEANUP_FREE char *valid = malloc(size * 3 + 1);

	MUST(valid != NULL);
	(void)make_valid(text, size, valid);
	document_append(list, cJSON_CreateString(valid));
}

static void add_time(cJSON *object, const char *field, struct mc_time time)
{
	char text[FORMAT_SIZE];

	document_add_text(object, field, format_time(time, true, text));
}

void document_add_entry(cJSON *object, const struct mc_entry *entry)
{
	const struct mc_attr *attr = &entry->attr;
	char text[FORMAT_SIZE];

	document_add_text(object, "kind", S_ISDIR(attr->mode) ? "directory" : "object");
	document_add_text(object, "id", format_id(attr->id, text));
	document_add_number(object, "size", attr->size);
	document_add_number(object, "allocated", attr->allocated);
	document_add_number(object, "version", attr->version);
	snprintf(text, sizeof(text), "%04o", attr->mode & 07777);
	document_add_text(object, "mode", text);
	document_add_number(object, "uid", attr->uid);
	document_add_number(object, "gid", attr->gid);
	document_add_number(object, "links", attr->nlink);
	document_add_bool(object, "pinned", attr->flags & MC_ATTR_PINNED);
	add_time(object, "atime", attr->atime);
	add_time(object, "mtime", attr->mtime);
	add_time(object, "ctime", attr->ctime);
	document_add_number(object, "replicas", entry->replica_count);
}

static void print(const cJSON *item)
{
	CLEANUP_FREE char *text = cJSON_PrintUnformatted(item);

	MUST(text != NULL);
	fputs(text, stdout);
}

void document_print(cJSON *document)
{
	CLEANUP_FREE char *text = cJSON_Print(document);

	MUST(text != NULL);
	puts(text);
	cJSON_Delete(document);
}

void document_list_begin(void)
{
	list_count = 0;
	fputs("[", stdout);
}

void document_list_item(cJSON *item)
{
	fputs(list_count++ ? ",\n " : "\n ", stdout);
	print(item);
	cJSON_Delete(item);
}

void document_list_end(void)
{
	puts(list_count ? "\n]" : "]");
}
