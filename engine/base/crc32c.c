#include "engine/base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "engine/base/buffer.h"

#define POLYNOMIAL 0x82f63b78u

/* Bytes of one of three streams: a long block pays for a large buffer, a short one for a small. */
#define BLOCK_LONG  4096u
#define BLOCK_SHORT 256u
/* How far one step of the widest way goes. */
#define FOLD_BITS 2048u

/* table[k][b]: the register after byte b and k zero bytes. */
static uint32_t table[8][256];
/* What the register becomes after a block of zero bytes, by byte of the register. */
static uint32_t skip_long[4][256];
static uint32_t skip_short[4][256];
/* What moves each half of 128 bits up by FOLD_BITS. */
static uint64_t fold_low, fold_high;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* a * b modulo the polynomial; bit 31 is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
	}
	return product;
}

/* square^exponent modulo the polynomial. */
static uint32_t power_of(uint32_t square, uint64_t exponent)
{
	uint32_t result = 1u << 31;

	for (; exponent; exponent >>= 1) {
		if (exponent & 1)
			result = multiply(result, square);
		square = multiply(square, square);
	}
	return result;
}

static void skip_fill(uint32_t skip[4][256], uint64_t size)
{
	uint32_t factor = power_of(1u << 23, size); /* x^(8 * size) modulo the polynomial */

	for (uint32_t byte = 0; byte < 256; byte++) {
		for (int i = 0; i < 4; i++)
			skip[i][byte] = multiply(factor, byte << (8 * i));
	}
}

static void tables_fill(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
		table[0][byte] = crc;
	}
	for (uint32_t byte = 0; byte < 256; byte++) {
		for (int k = 1; k < 8; k++)
			table[k][byte] =
				(table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xff];
	}
	/* Of 64 bits in the register, the low ones are the high powers. */
	fold_low = (uint64_t)power_of(1u << 30, FOLD_BITS + 64 - 1) << 32;
	fold_high = (uint64_t)power_of(1u << 30, FOLD_BITS - 1) << 32;
	skip_fill(skip_long, BLOCK_LONG);
	skip_fill(skip_short, BLOCK_SHORT);
}

/* The register over eight bytes a step. */
static uint32_t table_update(uint32_t crc, const uint8_t *p, size_t size)
{
	for (; size >= 8; p += 8, size -= 8) {
		uint32_t low = crc ^ load_u32(p);
		uint32_t high = load_u32(p + 4);
		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^
		      table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^ table[3][high & 0xff] ^
		      table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^
		      table[0][high >> 24];
	}
	for (; size; size--)
		crc = (crc >> 8) ^ table[0][(crc ^ *p++) & 0xff];
	return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* A call a word would cost more than the word. */
static inline uint64_t word(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

#define HARDWARE __attribute__((target("sse4.2")))

static uint32_t skip(const uint32_t by[4][256], uint32_t crc)
{
	return by[0][crc & 0xff] ^ by[1][crc >> 8 & 0xff] ^ by[2][crc >> 16 & 0xff] ^
	       by[3][crc >> 24];
}

/* Three streams of `block` bytes each: the instruction takes three cycles, one starts in each. */
HARDWARE static uint32_t triple_update(uint32_t crc, const uint8_t *p, size_t block,
				       const uint32_t by[4][256])
{
	uint64_t a = crc;
	uint64_t b = 0;
	uint64_t c = 0;

	for (size_t i = 0; i < block; i += 8) {
		a = _mm_crc32_u64(a, word(p + i));
		b = _mm_crc32_u64(b, word(p + block + i));
		c = _mm_crc32_u64(c, word(p + 2 * block + i));
	}
	return skip(by, skip(by, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

HARDWARE static uint32_t hardware_update(uint32_t crc, const uint8_t *p, size_t size)
{
	for (; size >= 3 * BLOCK_LONG; p += 3 * BLOCK_LONG, size -= 3 * BLOCK_LONG)
		crc = triple_update(crc, p, BLOCK_LONG, skip_long);
	for (; size >= 3 * BLOCK_SHORT; p += 3 * BLOCK_SHORT, size -= 3 * BLOCK_SHORT)
		crc = triple_update(crc, p, BLOCK_SHORT, skip_short);
	for (; size >= 8; p += 8, size -= 8)
		crc = (uint32_t)_mm_crc32_u64(crc, word(p));
	for (; size; size--)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}

static bool hardware_present(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#define WIDE	 __attribute__((target("avx512f,vpclmulqdq,sse4.2")))
#define WIDE_MIN 1024u /* below this the three streams are as fast */

/* Carry-less: both halves of each 128 bits move up by the distance that the factors stand for. */
WIDE static inline __m512i fold(__m512i sum, __m512i factors, const uint8_t *next)
{
	__m512i low = _mm512_clmulepi64_epi128(sum, factors, 0x00);
	__m512i high = _mm512_clmulepi64_epi128(sum, factors, 0x11);

	return _mm512_ternarylogic_epi64(low, high, _mm512_loadu_si512(next), 0x96);
}

/*
 * Fold 256 bytes into the 256 that follow, to the last: what is left has the
 * remainder of all.  (Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ", 2009, with the product's extra bit in the
 * factors.)
 */
WIDE static uint32_t wide_update(uint32_t crc, const uint8_t *p, size_t size)
{
	__m512i sums[4];
	uint8_t rest[sizeof(sums)];

	if (size < WIDE_MIN)
		return hardware_update(crc, p, size);
	__m512i factors =
		_mm512_broadcast_i32x4(_mm_set_epi64x((long long)fold_high, (long long)fold_low));
	for (int i = 0; i < 4; i++)
		sums[i] = _mm512_loadu_si512(p + 64 * i);
	sums[0] = _mm512_xor_si512(sums[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	for (p += sizeof(sums), size -= sizeof(sums); size >= sizeof(sums);
	     p += sizeof(sums), size -= sizeof(sums)) {
		for (int i = 0; i < 4; i++)
			sums[i] = fold(sums[i], factors, p + 64 * i);
	}
	memcpy(rest, sums, sizeof(rest));
	return hardware_update(hardware_update(0, rest, sizeof(rest)), p, size);
}

static bool wide_present(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
}
#else
static uint32_t wide_update(uint32_t crc, const uint8_t *p, size_t size)
{
	return table_update(crc, p, size);
}

static bool wide_present(void)
{
	return false;
}

static uint32_t hardware_update(uint32_t crc, const uint8_t *p, size_t size)
{
	return table_update(crc, p, size);
}

static bool hardware_present(void)
{
	return false;
}
#endif

static uint32_t (*update)(uint32_t crc, const uint8_t *p, size_t size);

static void choose(void)
{
	tables_fill();
	update = wide_present() ? wide_update : hardware_present() ? hardware_update : table_update;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
	pthread_once(&once, choose);
	return ~update(~crc, bytes, size);
}

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t size)
{
	pthread_once(&once, choose);
	return ~table_update(~crc, bytes, size);
}
