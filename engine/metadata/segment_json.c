/* Descriptors and addresses from and to the JSON that Mooncake's engine writes. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/utf8.h"
#include "engine/http/json.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"

static const char *const protocol_names[] = {
	[SEGMENT_TCP] = "tcp",
	[SEGMENT_RDMA] = "rdma",
	[SEGMENT_NVMEOF] = "nvmeof",
};

/* -- reading -- */

static void cleanup_json(cJSON **json)
{
	cJSON_Delete(*json);
}

#define CLEANUP_JSON __attribute__((cleanup(cleanup_json)))

/* The text of a member, "" when it has none. */
static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text ? text : "";
}

/* A whole number of 0 to max. */
static bool number_take(const cJSON *item, uint64_t max, uint64_t *value)
{
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > (double)max)
		return false;
	*value = (uint64_t)item->valuedouble;
	return (double)*value == item->valuedouble;
}

static bool number_of(const cJSON *object, const char *name, uint64_t max, uint64_t *value)
{
	return number_take(cJSON_GetObjectItemCaseSensitive(object, name), max, value);
}

/* "fe:80:…", 16 bytes of two digits. */
static bool gid_read(const char *text, uint8_t gid[16])
{
	for (size_t i = 0; i < 16; i++, text += 3) {
		unsigned byte;
		char end = '\0';
		if (strspn(text, "0123456789abcdefABCDEF") != 2 ||
		    sscanf(text, "%2x%c", &byte, &end) < 1 || end != (i < 15 ? ':' : '\0'))
			return false;
		gid[i] = (uint8_t)byte;
	}
	return true;
}

static enum mc_status device_read(const cJSON *item, struct segment_desc *desc)
{
	struct segment_device *device;
	uint64_t lid = 0;

	if (!number_of(item, "lid", UINT16_MAX, &lid) || !text_of(item, "name")[0])
		return MC_PROTOCOL;
	enum mc_status status = segment_desc_add_device(desc, text_of(item, "name"), &device);
	if (status != MC_OK)
		return status == MC_INVALID ? MC_TOO_BIG : status;
	device->lid = (uint16_t)lid;
	return gid_read(text_of(item, "gid"), device->gid) ? MC_OK : MC_PROTOCOL;
}

static bool keys_read(const cJSON *list, uint32_t *keys, uint32_t count)
{
	const cJSON *item;
	uint32_t i = 0;
	uint64_t key;

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != (int)count)
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!number_take(item, UINT32_MAX, &key))
			return false;
		keys[i++] = (uint32_t)key;
	}
	return true;
}

/* Our own member: 16 hexadecimal digits; without it the key is 0. */
static bool region_key_read(const cJSON *item, uint64_t *key)
{
	const char *text = text_of(item, "key");

	if (!cJSON_HasObjectItem(item, "key"))
		return true;
	if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return false;
	*key = strtoull(text, NULL, 16);
	return true;
}

static enum mc_status memory_read(const cJSON *item, struct segment_desc *desc)
{
	const char *name = text_of(item, "name");
	struct segment_buffer *buffer;

	if (!name[0] || (desc->protocol == SEGMENT_RDMA && desc->device_count == 0))
		return MC_PROTOCOL;
	enum mc_status status = segment_desc_add_buffer(desc, name, &buffer);
	if (status != MC_OK)
		return status;
	if (!number_of(item, "addr", SEGMENT_NUMBER_MAX, &buffer->addr) || !buffer->addr ||
	    !number_of(item, "length", SEGMENT_NUMBER_MAX, &buffer->length) || !buffer->length ||
	    !region_key_read(item, &buffer->key))
		return MC_PROTOCOL;
	if (desc->protocol != SEGMENT_RDMA)
		return MC_OK;
	if (!keys_read(cJSON_GetObjectItemCaseSensitive(item, "rkey"), buffer->rkey,
		       desc->device_count) ||
	    !keys_read(cJSON_GetObjectItemCaseSensitive(item, "lkey"), buffer->lkey,
		       desc->device_count))
		return MC_PROTOCOL;
	return MC_OK;
}

static enum mc_status local_paths_read(const cJSON *map, struct segment_buffer *buffer)
{
	const cJSON *item;

	if (map && !cJSON_IsObject(map))
		return MC_PROTOCOL;
	cJSON_ArrayForEach(item, map)
	{
		const char *path = cJSON_GetStringValue(item);
		if (!path || !path[0] || !item->string[0])
			return MC_PROTOCOL;
		enum mc_status status = segment_buffer_add_path(buffer, item->string, path);
		if (status != MC_OK)
			return status;
	}
	return MC_OK;
}

static enum mc_status file_read(const cJSON *item, struct segment_desc *desc)
{
	const char *path = text_of(item, "file_path");
	struct segment_buffer *buffer;

	enum mc_status status = segment_desc_add_buffer(desc, "", &buffer);
	if (status != MC_OK)
		return status;
	if (!path[0] || !number_of(item, "length", SEGMENT_NUMBER_MAX, &buffer->length) ||
	    !buffer->length)
		return MC_PROTOCOL;
	if (strlen(path) >= SEGMENT_PATH_SIZE)
		return MC_TOO_BIG;
	buffer->file_path = strdup(path);
	if (!buffer->file_path)
		return MC_NO_MEMORY;
	return local_paths_read(cJSON_GetObjectItemCaseSensitive(item, "local_path_map"), buffer);
}

static enum mc_status endpoint_read(const cJSON *item, struct segment_desc *desc)
{
	const char *endpoint = cJSON_GetStringValue(item);

	return endpoint ? segment_desc_add_endpoint(desc, endpoint) : MC_PROTOCOL;
}

/* Read each item of a list. */
static enum mc_status list_read(const cJSON *root, const char *name, bool needed,
				enum mc_status (*read)(const cJSON *item,
						       struct segment_desc *desc),
				struct segment_desc *desc)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, name);
	const cJSON *item;

	if (!list && !needed)
		return MC_OK;
	if (!cJSON_IsArray(list))
		return MC_PROTOCOL;
	cJSON_ArrayForEach(item, list)
	{
		enum mc_status status = read(item, desc);
		if (status != MC_OK)
			return status;
	}
	return MC_OK;
}

static bool names_only(const cJSON *list)
{
	const cJSON *item;

	if (!cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!cJSON_IsString(item))
			return false;
	}
	return true;
}

/* Location: [[preferred NICs], [others]]. */
static bool matrix_valid(const cJSON *matrix)
{
	const cJSON *item;

	if (!cJSON_IsObject(matrix))
		return false;
	cJSON_ArrayForEach(item, matrix)
	{
		if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 ||
		    !names_only(cJSON_GetArrayItem(item, 0)) ||
		    !names_only(cJSON_GetArrayItem(item, 1)))
			return false;
	}
	return true;
}

static enum mc_status matrix_take(const cJSON *matrix, struct segment_desc *desc)
{
	if (!matrix_valid(matrix))
		return MC_PROTOCOL;
	char *text = cJSON_PrintUnformatted(matrix);
	if (!text)
		return MC_NO_MEMORY;
	free(desc->priority_matrix);
	desc->priority_matrix = text;
	return MC_OK;
}

enum mc_status segment_desc_set_matrix(struct segment_desc *desc, const char *json)
{
	CLEANUP_JSON cJSON *matrix = cJSON_Parse(json);
	enum mc_status status = matrix_take(matrix, desc);

	return status == MC_PROTOCOL ? MC_INVALID : status;
}

static enum mc_status members_read(const cJSON *root, struct segment_desc *desc)
{
	const cJSON *matrix = cJSON_GetObjectItemCaseSensitive(root, "priority_matrix");
	bool rdma = desc->protocol == SEGMENT_RDMA;
	enum mc_status status = MC_OK;

	if (rdma)
		status = list_read(root, "devices", true, device_read, desc);
	if (status == MC_OK && rdma && matrix)
		status = matrix_take(matrix, desc);
	if (status == MC_OK)
		status =
			list_read(root, "buffers", true,
				  desc->protocol == SEGMENT_NVMEOF ? file_read : memory_read, desc);
	if (status == MC_OK)
		status = list_read(root, "endpoints", false, endpoint_read, desc);
	return status;
}

static bool protocol_read(const cJSON *root, enum segment_protocol *protocol)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocol_names); i++) {
		if (strcmp(text_of(root, "protocol"), protocol_names[i]) == 0) {
			*protocol = (enum segment_protocol)i;
			return true;
		}
	}
	return false;
}

/* The object that a text is. */
static enum mc_status document_read(const char *text, size_t size, cJSON **root)
{
	if (size > METADATA_VALUE_SIZE_MAX)
		return MC_TOO_BIG;
	/* JSON is UTF-8, and what is not would not come out as it went in. */
	*root = utf8_valid(text, size) ? cJSON_ParseWithLength(text, size) : NULL;
	return cJSON_IsObject(*root) ? MC_OK : MC_PROTOCOL;
}

enum mc_status segment_desc_parse(const char *text, size_t size, struct segment_desc **desc)
{
	struct segment_desc *made;
	enum segment_protocol protocol;

	CLEANUP_JSON cJSON *root = NULL;
	enum mc_status status = document_read(text, size, &root);
	if (status != MC_OK)
		return status;
	if (!cJSON_HasObjectItem(root, "protocol"))
		return MC_PROTOCOL;
	if (!protocol_read(root, &protocol))
		return MC_NOT_SUPPORTED;
	const char *name = text_of(root, protocol == SEGMENT_NVMEOF ? "server_name" : "name");
	if (strlen(name) >= SEGMENT_NAME_SIZE)
		return MC_TOO_BIG;
	status = segment_desc_new(protocol, name, &made);
	if (status != MC_OK)
		return status == MC_INVALID ? MC_PROTOCOL : status;
	status = members_read(root, made);
	if (status != MC_OK) {
		segment_desc_unref(made);
		return status;
	}
	*desc = made;
	return MC_OK;
}

enum mc_status segment_address_parse(const char *text, size_t size, struct segment_address *address)
{
	uint64_t port;
	CLEANUP_JSON cJSON *root = NULL;
	enum mc_status status = document_read(text, size, &root);

	if (status != MC_OK)
		return status;
	const char *host = text_of(root, "ip_or_host_name");
	if (!host[0] || strlen(host) >= sizeof(address->host) ||
	    !number_of(root, "rpc_port", UINT16_MAX, &port) || port == 0)
		return MC_PROTOCOL;
	memset(address, 0, sizeof(*address));
	strcpy(address->host, host);
	address->port = (uint16_t)port;
	return MC_OK;
}

/* -- printing: members in the order of the alphabet -- */

static void keys_print(struct json *json, const char *name, const uint32_t *keys, uint32_t count)
{
	json_begin_list(json, name);
	for (uint32_t i = 0; i < count; i++)
		json_number(json, NULL, keys[i]);
	json_end_list(json);
}

static void memory_print(struct json *json, const struct segment_desc *desc,
			 const struct segment_buffer *buffer)
{
	char key[20];

	json_number(json, "addr", buffer->addr);
	if (buffer->key) {
		snprintf(key, sizeof(key), "%016" PRIx64, buffer->key);
		json_text(json, "key", key);
	}
	json_number(json, "length", buffer->length);
	if (desc->protocol == SEGMENT_RDMA)
		keys_print(json, "lkey", buffer->lkey, desc->device_count);
	json_text(json, "name", buffer->name);
	if (desc->protocol == SEGMENT_RDMA)
		keys_print(json, "rkey", buffer->rkey, desc->device_count);
}

static void file_print(struct json *json, const struct segment_buffer *buffer)
{
	json_text(json, "file_path", buffer->file_path);
	json_number(json, "length", buffer->length);
	json_begin_object(json, "local_path_map");
	for (uint32_t i = 0; i < buffer->local_path_count; i++)
		json_text(json, buffer->local_paths[i].host, buffer->local_paths[i].path);
	json_end_object(json);
}

static void buffers_print(struct json *json, const struct segment_desc *desc)
{
	json_begin_list(json, "buffers");
	for (uint32_t i = 0; i < desc->buffer_count; i++) {
		json_begin_object(json, NULL);
		if (desc->protocol == SEGMENT_NVMEOF)
			file_print(json, &desc->buffers[i]);
		else
			memory_print(json, desc, &desc->buffers[i]);
		json_end_object(json);
	}
	json_end_list(json);
}

static void devices_print(struct json *json, const struct segment_desc *desc)
{
	json_begin_list(json, "devices");
	for (uint32_t i = 0; i < desc->device_count; i++) {
		const struct segment_device *device = &desc->devices[i];
		char gid[3 * sizeof(device->gid) + 1];
		for (size_t byte = 0; byte < sizeof(device->gid); byte++)
			snprintf(gid + 3 * byte, 4, "%02x:", device->gid[byte]);
		gid[3 * sizeof(device->gid) - 1] = '\0';
		json_begin_object(json, NULL);
		json_text(json, "gid", gid);
		json_number(json, "lid", device->lid);
		json_text(json, "name", device->name);
		json_end_object(json);
	}
	json_end_list(json);
}

/* End the document; the bytes become the caller's. */
static enum mc_status finish(struct writer *w, char **text)
{
	put_bytes(w, "\n", 2);
	if (w->failed) {
		writer_fini(w);
		return MC_NO_MEMORY;
	}
	*text = (char *)w->data;
	return MC_OK;
}

enum mc_status segment_desc_print(const struct segment_desc *desc, char **text)
{
	struct writer w;
	struct json json;

	writer_init(&w);
	json_init(&json, &w);
	json_begin_object(&json, NULL);
	buffers_print(&json, desc);
	if (desc->protocol == SEGMENT_RDMA)
		devices_print(&json, desc);
	if (desc->endpoint_count) {
		json_begin_list(&json, "endpoints");
		for (uint32_t i = 0; i < desc->endpoint_count; i++)
			json_text(&json, NULL, desc->endpoints[i]);
		json_end_list(&json);
	}
	if (desc->protocol != SEGMENT_NVMEOF)
		json_text(&json, "name", desc->name);
	if (desc->protocol == SEGMENT_RDMA)
		json_raw(&json, "priority_matrix",
			 desc->priority_matrix ? desc->priority_matrix : "{}");
	json_text(&json, "protocol", protocol_names[desc->protocol]);
	if (desc->protocol == SEGMENT_NVMEOF)
		json_text(&json, "server_name", desc->name);
	json_end_object(&json);
	return finish(&w, text);
}

enum mc_status segment_address_print(const struct segment_address *address, char **text)
{
	struct writer w;
	struct json json;

	writer_init(&w);
	json_init(&json, &w);
	json_begin_object(&json, NULL);
	json_text(&json, "ip_or_host_name", address->host);
	json_number(&json, "rpc_port", address->port);
	json_end_object(&json);
	return finish(&w, text);
}
