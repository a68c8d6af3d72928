/*
 * tools/mooncake/document.h -- what --json prints
 *
 * One JSON document a run.  Numbers are exact to 64 bits.  A name that is no
 * UTF-8 stands with U+FFFD for each broken byte, and beside it, under the same
 * field with "_base64" added, as it is.
 *
 * A long list is printed item by item, so that a directory of a million
 * objects does not stand in memory twice.
 *
 * Threads   One at a time.
 */
#ifndef TOOLS_MOONCAKE_DOCUMENT_H
#define TOOLS_MOONCAKE_DOCUMENT_H

#include <cjson/cJSON.h>
#include <mooncake/types.h>

/* Return a new object or list; never NULL. */
cJSON *document_object(void);
cJSON *document_list(void);

void document_add_number(cJSON *object, const char *field, uint64_t value);
void document_add_text(cJSON *object, const char *field, const char *text);
void document_add_name(cJSON *object, const char *field, const char *name, size_t size);
void document_add_bool(cJSON *object, const char *field, bool value);
/* The item belongs to the object or list afterwards. */
void document_add(cJSON *object, const char *field, cJSON *item);
void document_append(cJSON *list, cJSON *item);
/* Here nothing tells a broken byte but U+FFFD. */
void document_append_text(cJSON *list, const char *text);

/* The fields of an object or directory: id, kind, size, version, mode, owner, times, replicas. */
void document_add_entry(cJSON *object, const struct mc_entry *entry);

/* Print it as the one document, and free it. */
void document_print(cJSON *document);

/* The same for a list whose items come one by one; an item is freed. */
void document_list_begin(void);
void document_list_item(cJSON *item);
void document_list_end(void);

#endif
