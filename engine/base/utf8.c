#include "engine/base/utf8.h"

#include <stdint.h>

#include "engine/base/cleanup.h"

size_t utf8_size(const char *at, size_t size)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	const unsigned char *bytes = (const unsigned char *)at;

	for (size_t extra = 0; extra < ARRAY_SIZE(forms); extra++) {
		uint32_t code = bytes[0] & (uint32_t)(unsigned char)~forms[extra].mask;
		if ((bytes[0] & forms[extra].mask) != forms[extra].lead)
			continue;
		if (extra >= size)
			return 0;
		for (size_t i = 1; i <= extra; i++) {
			if ((bytes[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (bytes[i] & 0x3fu);
		}
		bool surrogate = code >= 0xd800 && code <= 0xdfff;
		return code < forms[extra].least || code > 0x10ffff || surrogate ? 0 : extra + 1;
	}
	return 0;
}

bool utf8_valid(const char *text, size_t size)
{
	size_t at = 0;

	while (at < size) {
		size_t length = utf8_size(text + at, size - at);
		if (length == 0)
			return false;
		at += length;
	}
	return true;
}
