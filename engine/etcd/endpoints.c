#include "engine/etcd/internal.h"

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

unsigned endpoints_pick(struct endpoints *endpoints, uint64_t now_ns, uint64_t *wait_ns)
{
	unsigned best = endpoints->current;

	*wait_ns = 0;
	for (unsigned i = 0; i < endpoints->count; i++) {
		unsigned index = (endpoints->current + i) % endpoints->count;
		if (endpoints->rows[index].rest_ns <= now_ns) {
			endpoints->current = index;
			return index;
		}
		if (endpoints->rows[index].rest_ns < endpoints->rows[best].rest_ns)
			best = index;
	}
	*wait_ns = endpoints->rows[best].rest_ns - now_ns;
	return best;
}

void endpoints_good(struct endpoints *endpoints, unsigned index)
{
	struct endpoint *endpoint = &endpoints->rows[index];

	if (endpoint->failing)
		log_info("etcd answers again endpoint=%s", endpoint->url);
	endpoint->failing = false;
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
	if (!endpoint->failing)
		log_warn("etcd does not answer, trying elsewhere endpoint=%s reason=\"%s\"",
			 endpoint->url, reason);
	endpoint->failing = true;
	if (endpoint->failures < 6)
		rest_ms = REST_MS_FIRST << endpoint->failures;
	endpoint->failures++;
	endpoint->rest_ns = now_ns + (rest_ms < REST_MS_MAX ? rest_ms : REST_MS_MAX) * 1000000u;
	if (endpoints->current == index)
		endpoints->current = (index + 1) % endpoints->count;
}
