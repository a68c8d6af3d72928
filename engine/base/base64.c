#include "engine/base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void four(uint8_t *to, uint32_t three)
{
	for (int i = 3; i >= 0; i--, three >>= 6)
		to[i] = (uint8_t)digits[three & 63];
}

void base64_put(struct writer *w, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	uint8_t *to = writer_reserve(w, base64_size(size));

	if (!to)
		return;
	for (; size >= 3; size -= 3, from += 3, to += 4)
		four(to, (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2]);
	if (size == 0)
		return;
	four(to, (uint32_t)from[0] << 16 | (size == 2 ? (uint32_t)from[1] << 8 : 0));
	to[3] = '=';
	if (size == 1)
		to[2] = '=';
}

/* The value of a digit, 64 and more for what is none. */
static uint32_t value(char digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return (uint32_t)(digit - 'A');
	if (digit >= 'a' && digit <= 'z')
		return (uint32_t)(digit - 'a') + 26;
	if (digit >= '0' && digit <= '9')
		return (uint32_t)(digit - '0') + 52;
	return digit == '+' ? 62 : digit == '/' ? 63 : 64;
}

bool base64_get(const char *text, size_t size, uint8_t *to, size_t *to_size)
{
	size_t at = 0;

	if (size % 4)
		return false;
	for (size_t i = 0; i < size; i += 4) {
		size_t pad = 0;
		uint32_t a = value(text[i]), b = value(text[i + 1]);
		uint32_t c = value(text[i + 2]), d = value(text[i + 3]);
		if (i + 4 == size && text[i + 3] == '=') {
			pad = text[i + 2] == '=' ? 2 : 1;
			d = 0;
			c = pad == 2 ? 0 : c;
		}
		if ((a | b | c | d) > 63)
			return false;
		uint32_t three = a << 18 | b << 12 | c << 6 | d;
		to[at++] = (uint8_t)(three >> 16);
		if (pad < 2)
			to[at++] = (uint8_t)(three >> 8);
		if (pad < 1)
			to[at++] = (uint8_t)three;
	}
	*to_size = at;
	return true;
}
