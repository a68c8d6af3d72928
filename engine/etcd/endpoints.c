#include "engine/etcd/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/log.h"

#define REST_MS_FIRST 20u
#define REST_MS_MAX   1000u

/* One endpoint of the list.  False: it is none. */
static bool endpoint_parse(struct endpoint *endpoint, const char *text, size_t size, bool secure)
{
	const char *scheme = secure ? "https://" : "http://";

	for (size_t i = 0; i < size; i++) {
		if (text[i] <= ' ' || text[i] > '~' || strchr("@?#\"<>\\", text[i]))
			return false;
	}
	if (size > 8 && memcmp(text, "https://", 8) == 0) {
		scheme = "https://";
		text += 8;
		size -= 8;
	} else if (size > 7 && memcmp(text, "http://", 7) == 0) {
		scheme = "http://";
		text += 7;
		size -= 7;
	}
	if (size > 0 && text[size - 1] == '/')
		size--;
	if (size == 0 || memchr(text, '/', size))
		return false;
	int length =
		snprintf(endpoint->url, sizeof(endpoint->url), "%s%.*s", scheme, (int)size, text);
	if (length < 0 || (size_t)length >= sizeof(endpoint->url))
		return false;
	const char *port = strrchr(endpoint->url, ':');
	char *end;
	unsigned long number = strtoul(port + 1, &end, 10);
	return port[1] != '/' && *end == '\0' && number > 0 && number < 65536;
}

enum mc_status endpoints_parse(struct endpoints *endpoints, const char *text, bool secure)
{
	const char *at = text ? text : "";

	*endpoints = (struct endpoints){0};
	do {
		size_t size = strcspn(at, ",");
		if (endpoints->count == ETCD_ENDPOINT_MAX ||
		    !endpoint_parse(&endpoints->rows[endpoints->count++], at, size, secure)) {
			log_error("not endpoints of etcd, must be HOST:PORT[,HOST:PORT...] "
				  "endpoints=%s",
				  text ? text : "");
			return MC_INVALID;
		}
		at += size;
	} while (*at++ == ',');
	return MC_OK;
}

_Static_assert(ETCD_ENDPOINT_MAX <= 32, "each has a bit of the failing ones");

static uint32_t bit_of(unsigned index)
{
	return 1u << index;
}

/* 0: ask it; more where another will do; a time: not before that. */
static uint64_t reluctance(const struct endpoints *endpoints, unsigned index, uint64_t now_ns)
{
	uint64_t rest_ns = endpoints->rows[index].rest_ns;

	if (rest_ns > now_ns)
		return rest_ns;
	return atomic_load(endpoints->failing) & bit_of(index) ? 1 : 0;
}

unsigned endpoints_pick(struct endpoints *endpoints, uint64_t now_ns, uint64_t *wait_ns)
{
	unsigned best = endpoints->current;
	uint64_t least = reluctance(endpoints, best, now_ns);

	for (unsigned i = 1; i < endpoints->count; i++) {
		unsigned index = (endpoints->current + i) % endpoints->count;
		uint64_t here = reluctance(endpoints, index, now_ns);
		if (here < least) {
			best = index;
			least = here;
		}
	}
	*wait_ns = least > now_ns ? least - now_ns : 0;
	if (*wait_ns == 0)
		endpoints->current = best;
	return best;
}

void endpoints_good(struct endpoints *endpoints, unsigned index)
{
	struct endpoint *endpoint = &endpoints->rows[index];

	if (atomic_fetch_and(endpoints->failing, ~bit_of(index)) & bit_of(index))
		log_info("etcd answers again endpoint=%s", endpoint->url);
	endpoint->failures = 0;
	endpoint->rest_ns = 0;
}

void endpoints_bad(struct endpoints *endpoints, unsigned index, uint64_t now_ns, const char *reason)
{
	struct endpoint *endpoint = &endpoints->rows[index];
	uint64_t rest_ms = REST_MS_MAX;

	/* Several requests that fail together are one failure. */
	if (endpoint->rest_ns > now_ns)
		return;
	if (!(atomic_fetch_or(endpoints->failing, bit_of(index)) & bit_of(index)))
		log_warn("etcd does not answer, trying elsewhere endpoint=%s reason=\"%s\"",
			 endpoint->url, reason);
	if (endpoint->failures < 6)
		rest_ms = REST_MS_FIRST << endpoint->failures;
	endpoint->failures++;
	endpoint->rest_ns = now_ns + (rest_ms < REST_MS_MAX ? rest_ms : REST_MS_MAX) * 1000000u;
	if (endpoints->current == index)
		endpoints->current = (index + 1) % endpoints->count;
}
