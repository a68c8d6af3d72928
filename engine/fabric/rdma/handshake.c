#include "engine/fabric/rdma/handshake.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/fabric/rdma/gid.h"

static void cleanup_json(cJSON **json)
{
	cJSON_Delete(*json);
}

#define CLEANUP_JSON __attribute__((cleanup(cleanup_json)))

const char *handshake_device(const char *path)
{
	const char *at = strrchr(path, '@');

	return at ? at + 1 : path + strlen(path);
}

/* --- to text ------------------------------------------------------------- */

static bool add_ours(cJSON *json, const struct handshake *handshake)
{
	char gid[GID_TEXT_SIZE];

	gid_format(handshake->gid, gid);
	return cJSON_AddStringToObject(json, "local_gid", gid) &&
	       cJSON_AddNumberToObject(json, "local_lid", handshake->lid) &&
	       cJSON_AddNumberToObject(json, "mtu", handshake->mtu) &&
	       cJSON_AddNumberToObject(json, "psn", handshake->psn) &&
	       cJSON_AddNumberToObject(json, "rd_atomic", handshake->rd_atomic) &&
	       cJSON_AddNumberToObject(json, "cm_port", handshake->cm_port);
}

static bool add_numbers(cJSON *json, const struct handshake *handshake)
{
	cJSON *numbers = cJSON_AddArrayToObject(json, "qp_num");

	for (uint32_t i = 0; numbers && i < handshake->qp_count; i++) {
		cJSON *number = cJSON_CreateNumber(handshake->qp_num[i]);
		if (!number || !cJSON_AddItemToArray(numbers, number))
			return false;
	}
	return numbers != NULL;
}

enum mc_status handshake_print(const struct handshake *handshake, uint8_t **bytes, size_t *size)
{
	CLEANUP_JSON cJSON *json = cJSON_CreateObject();

	if (!json || !cJSON_AddStringToObject(json, "local_nic_path", handshake->local_path) ||
	    !cJSON_AddStringToObject(json, "peer_nic_path", handshake->peer_path) ||
	    !add_numbers(json, handshake) ||
	    !cJSON_AddStringToObject(json, "reply_msg", handshake->reply) ||
	    !add_ours(json, handshake))
		return MC_NO_MEMORY;
	CLEANUP_FREE char *text = cJSON_PrintUnformatted(json);
	if (!text)
		return MC_NO_MEMORY;
	size_t length = strlen(text);
	uint8_t *made = malloc(8 + length + 1);
	if (!made)
		return MC_NO_MEMORY;
	store_u64(made, length);
	memcpy(made + 8, text, length + 1); /* the terminator is not sent */
	*bytes = made;
	*size = 8 + length;
	return MC_OK;
}

/* --- from text ------------------------------------------------------------ */

static bool text_member(const cJSON *json, const char *name, char *text, size_t size)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);

	if (!cJSON_IsString(member) || strlen(member->valuestring) >= size)
		return false;
	snprintf(text, size, "%s", member->valuestring);
	return true;
}

static bool number_of(const cJSON *item, uint32_t min, uint32_t max, uint32_t *number)
{
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= min) || item->valuedouble > max ||
	    item->valuedouble != floor(item->valuedouble))
		return false;
	*number = (uint32_t)item->valuedouble;
	return true;
}

static bool number_member(const cJSON *json, const char *name, uint32_t min, uint32_t max,
			  uint32_t *number)
{
	return number_of(cJSON_GetObjectItemCaseSensitive(json, name), min, max, number);
}

static bool path_member(const cJSON *json, const char *name, char path[HANDSHAKE_PATH_SIZE])
{
	if (!text_member(json, name, path, HANDSHAKE_PATH_SIZE))
		return false;
	const char *device = handshake_device(path);
	return *device != '\0' && device > path + 1;
}

static bool qp_numbers(const cJSON *json, struct handshake *handshake)
{
	const cJSON *numbers = cJSON_GetObjectItemCaseSensitive(json, "qp_num");
	const cJSON *number;

	if (!cJSON_IsArray(numbers))
		return false;
	cJSON_ArrayForEach(number, numbers)
	{
		if (handshake->qp_count == HANDSHAKE_QP_MAX ||
		    !number_of(number, 0, 0xffffff, &handshake->qp_num[handshake->qp_count++]))
			return false;
	}
	return handshake->qp_count > 0;
}

/* Those who don't know it leave it out. */
static bool port_member(const cJSON *json, uint16_t *port)
{
	uint32_t number = 0;

	if (cJSON_HasObjectItem(json, "cm_port") &&
	    !number_member(json, "cm_port", 0, UINT16_MAX, &number))
		return false;
	*port = (uint16_t)number;
	return true;
}

static bool our_members(const cJSON *json, struct handshake *handshake)
{
	static const uint8_t null_gid[16];
	char gid[GID_TEXT_SIZE];
	uint32_t lid;

	if (!text_member(json, "local_gid", gid, sizeof(gid)) || !gid_parse(gid, handshake->gid) ||
	    memcmp(handshake->gid, null_gid, sizeof(null_gid)) == 0 ||
	    !number_member(json, "local_lid", 0, UINT16_MAX, &lid) ||
	    !number_member(json, "mtu", 256, 4096, &handshake->mtu) ||
	    !number_member(json, "psn", 0, 0xffffff, &handshake->psn) ||
	    !number_member(json, "rd_atomic", 1, 255, &handshake->rd_atomic) ||
	    !port_member(json, &handshake->cm_port))
		return false;
	handshake->lid = (uint16_t)lid;
	return (handshake->mtu & (handshake->mtu - 1)) == 0;
}

enum mc_status handshake_parse(const char *text, size_t size, struct handshake *handshake)
{
	CLEANUP_JSON cJSON *json = NULL;

	if (size > HANDSHAKE_SIZE_MAX)
		return MC_PROTOCOL;
	json = cJSON_ParseWithLength(text, size);
	*handshake = (struct handshake){.qp_count = 0};
	if (!cJSON_IsObject(json) || !path_member(json, "local_nic_path", handshake->local_path) ||
	    !path_member(json, "peer_nic_path", handshake->peer_path) ||
	    !text_member(json, "reply_msg", handshake->reply, sizeof(handshake->reply)))
		return MC_PROTOCOL;
	if (handshake->reply[0] != '\0')
		return MC_OK;
	return qp_numbers(json, handshake) && our_members(json, handshake) ? MC_OK : MC_PROTOCOL;
}
