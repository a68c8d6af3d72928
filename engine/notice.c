#include "engine/notice.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"

#define NAME   "name"
#define TEXT   "notify_msg"
#define TAKEN  "success"
#define FULL   "full"
#define ESCAPE 6u /* "\u0001": a byte that is written the longest way */
#define AROUND 256u

static enum mc_status print(const char *name, const char *text, char **json)
{
	cJSON *object = cJSON_CreateObject();
	char *printed = NULL;

	if (object && cJSON_AddStringToObject(object, NAME, name) &&
	    cJSON_AddStringToObject(object, TEXT, text))
		printed = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	if (!printed)
		return MC_NO_MEMORY;
	*json = printed;
	return MC_OK;
}

static const char *member(const cJSON *object, const char *name, size_t size_max)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text && strlen(text) <= size_max ? text : NULL;
}

/* NULL: it is no object, or longer than any valid one: that is not looked into. */
static cJSON *parse(const char *json)
{
	size_t size = strlen(json);

	if (size > ESCAPE * (MC_NOTIFY_NAME_MAX + MC_NOTIFY_TEXT_MAX) + AROUND)
		return NULL;
	return cJSON_ParseWithLengthOpts(json, size + 1, NULL, true);
}

enum mc_status notice_print(const char *name, const char *text, char **json)
{
	bool fits = strlen(name) <= MC_NOTIFY_NAME_MAX && strlen(text) <= MC_NOTIFY_TEXT_MAX;

	return fits ? print(name, text, json) : MC_TOO_BIG;
}

enum mc_status notice_parse(const char *json, char **name, char **text)
{
	cJSON *object = parse(json);
	const char *said = member(object, NAME, MC_NOTIFY_NAME_MAX);
	const char *what = member(object, TEXT, MC_NOTIFY_TEXT_MAX);
	enum mc_status status = said && what ? MC_OK : MC_PROTOCOL;

	if (!status) {
		char *first = strdup(said), *second = strdup(what);
		if (first && second) {
			*name = first;
			*text = second;
		} else {
			free(first);
			free(second);
			status = MC_NO_MEMORY;
		}
	}
	cJSON_Delete(object);
	return status;
}

enum mc_status notice_answer_print(enum mc_status said, char **json)
{
	MUST(said == MC_OK || said == MC_NO_SPACE);
	return print("", said ? FULL : TAKEN, json);
}

enum mc_status notice_answer_parse(const char *json)
{
	cJSON *object = parse(json);
	const char *said = member(object, TEXT, MC_NOTIFY_TEXT_MAX);
	enum mc_status status = MC_PROTOCOL;

	if (said && strcmp(said, TAKEN) == 0)
		status = MC_OK;
	else if (said && strcmp(said, FULL) == 0)
		status = MC_NO_SPACE;
	cJSON_Delete(object);
	return status;
}
