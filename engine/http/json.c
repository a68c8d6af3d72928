#include "engine/http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

static void put_text(struct writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

static void put_escape(struct writer *w, unsigned code)
{
	char text[8];

	snprintf(text, sizeof(text), "\\u%04x", code);
	put_text(w, text);
}

/* How many bytes from here on stand for themselves: most, so they go out as one. */
static size_t plain_size(const char *bytes, size_t size)
{
	size_t plain = 0;

	while (plain < size && bytes[plain] >= ' ' && bytes[plain] < 0x7f && bytes[plain] != '"' &&
	       bytes[plain] != '\\')
		plain++;
	return plain;
}

/* One character that is not plain.  Returns how many bytes it was. */
static size_t put_character(struct writer *w, const char *bytes, size_t size)
{
	unsigned char byte = (unsigned char)bytes[0];
	size_t length = utf8_size(bytes, size);

	if (byte < ' ' || byte == 0x7f) {
		put_escape(w, byte);
	} else if (length == 0) {
		put_escape(w, 0xdc00u + byte);
	} else {
		if (length == 1)
			put_text(w, "\\");
		put_bytes(w, bytes, length);
	}
	return length ? length : 1;
}

static void put_quoted(struct writer *w, const char *bytes, size_t size)
{
	put_text(w, "\"");
	for (size_t i = 0; i < size;) {
		size_t plain = plain_size(bytes + i, size - i);
		put_bytes(w, bytes + i, plain);
		i += plain;
		if (i < size)
			i += put_character(w, bytes + i, size - i);
	}
	put_text(w, "\"");
}

static void begin_value(struct json *json, const char *name)
{
	if (json->comma)
		put_text(json->w, ",");
	json->comma = true;
	if (!name)
		return;
	put_quoted(json->w, name, strlen(name));
	put_text(json->w, ":");
}

void json_init(struct json *json, struct writer *w)
{
	*json = (struct json){.w = w};
}

void json_begin_object(struct json *json, const char *name)
{
	begin_value(json, name);
	put_text(json->w, "{");
	json->comma = false;
}

void json_begin_list(struct json *json, const char *name)
{
	begin_value(json, name);
	put_text(json->w, "[");
	json->comma = false;
}

void json_end_object(struct json *json)
{
	put_text(json->w, "}");
	json->comma = true;
}

void json_end_list(struct json *json)
{
	put_text(json->w, "]");
	json->comma = true;
}

void json_text(struct json *json, const char *name, const char *text)
{
	json_bytes(json, name, text, strlen(text));
}

void json_bytes(struct json *json, const char *name, const char *bytes, size_t size)
{
	begin_value(json, name);
	put_quoted(json->w, bytes, size);
}

void json_number(struct json *json, const char *name, uint64_t value)
{
	char digits[24];

	begin_value(json, name);
	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	put_text(json->w, digits);
}

void json_bool(struct json *json, const char *name, bool value)
{
	begin_value(json, name);
	put_text(json->w, value ? "true" : "false");
}

void json_raw(struct json *json, const char *name, const char *text)
{
	begin_value(json, name);
	put_text(json->w, text);
}
