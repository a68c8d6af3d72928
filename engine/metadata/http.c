/* http:// and https://: GET, PUT and DELETE of ?key=, as Mooncake's engine asks its server. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/http/token.h"
#include "engine/metadata/store.h"

#define HANDLE_MAX   8u /* kept with their connections for the next call */
#define URL_SIZE_MAX 4096u

struct http_store {
	struct metadata base;
	/* fixed after open */
	uint32_t timeout_ms;
	char *authorization; /* a header; NULL: none */
	char *url;
	char *ca_file;
	char *cert_file;
	char *key_file;

	pthread_mutex_t lock;
	/* protected by lock */
	CURL *idle[HANDLE_MAX];
	unsigned idle_count;
};

/* What a call sends and receives. */
struct exchange {
	const char *method;
	const char *text; /* NULL: no body */
	struct writer reply;
	bool too_big;
};

static struct http_store *own(struct metadata *metadata)
{
	return container_of(metadata, struct http_store, base);
}

static void library_start(void)
{
	MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static CURL *handle_take(struct http_store *store)
{
	WITH_LOCK(&store->lock);
	return store->idle_count ? store->idle[--store->idle_count] : curl_easy_init();
}

static void handle_leave(struct http_store *store, CURL *handle)
{
	WITH_LOCK(&store->lock);
	if (store->idle_count < HANDLE_MAX)
		store->idle[store->idle_count++] = handle;
	else
		curl_easy_cleanup(handle);
}

static size_t on_bytes(char *bytes, size_t one, size_t count, void *context)
{
	struct exchange *exchange = context;
	size_t size = one * count;

	if (exchange->reply.size + size > METADATA_VALUE_SIZE_MAX) {
		exchange->too_big = true;
		return 0;
	}
	put_bytes(&exchange->reply, bytes, size);
	return exchange->reply.failed ? 0 : size;
}

/* URL?key=KEY, or &key= where it has arguments already. */
static bool make_url(const struct http_store *store, CURL *handle, const char *key, char *url)
{
	char *escaped = curl_easy_escape(handle, key, 0);
	char mark = strchr(store->url, '?') ? '&' : '?';

	if (!escaped)
		return false;
	int size = snprintf(url, URL_SIZE_MAX, "%s%ckey=%s", store->url, mark, escaped);
	curl_free(escaped);
	return size > 0 && size < (int)URL_SIZE_MAX;
}

static void set_options(const struct http_store *store, CURL *handle, const char *url,
			struct curl_slist *headers, struct exchange *exchange)
{
	long timeout_ms = (long)store->timeout_ms;

	curl_easy_reset(handle);
	curl_easy_setopt(handle, CURLOPT_URL, url);
	curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	/* What is inside the cluster is not asked through the proxy for what is outside. */
	curl_easy_setopt(handle, CURLOPT_PROXY, "");
	curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
	curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, exchange->method);
	curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(handle, CURLOPT_WRITEDATA, exchange);
	curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
	if (exchange->text) {
		curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)strlen(exchange->text));
		curl_easy_setopt(handle, CURLOPT_POSTFIELDS, exchange->text);
	}
	if (store->ca_file)
		curl_easy_setopt(handle, CURLOPT_CAINFO, store->ca_file);
	if (store->cert_file)
		curl_easy_setopt(handle, CURLOPT_SSLCERT, store->cert_file);
	if (store->key_file)
		curl_easy_setopt(handle, CURLOPT_SSLKEY, store->key_file);
}

static enum mc_status status_of_code(long code)
{
	switch (code) {
	case 200:
		return MC_OK;
	case 401:
	case 403:
		return MC_ACCESS;
	case 404:
		return MC_NOT_FOUND;
	case 413:
		return MC_TOO_BIG;
	case 507:
		return MC_NO_SPACE;
	default:
		return MC_IO;
	}
}

/* Only what a caller may treat differently has its own status. */
static enum mc_status status_of(CURL *handle, CURLcode result, const struct exchange *exchange)
{
	long code = 0;

	if (exchange->too_big)
		return MC_TOO_BIG;
	if (result == CURLE_OPERATION_TIMEDOUT)
		return MC_TIMEOUT;
	if (result == CURLE_OUT_OF_MEMORY || exchange->reply.failed)
		return MC_NO_MEMORY;
	if (result == CURLE_COULDNT_CONNECT || result == CURLE_COULDNT_RESOLVE_HOST)
		return MC_UNREACHABLE;
	if (result != CURLE_OK)
		return MC_IO;
	curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
	return status_of_code(code);
}

static bool add_header(struct curl_slist **headers, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*headers, header);

	if (longer)
		*headers = longer;
	return longer;
}

static enum mc_status perform(struct http_store *store, CURL *handle, const char *key,
			      struct exchange *exchange)
{
	char url[URL_SIZE_MAX];
	struct curl_slist *headers = NULL;

	if (!make_url(store, handle, key, url))
		return MC_INVALID;
	if (!add_header(&headers, "Content-Type: application/json") ||
	    (store->authorization && !add_header(&headers, store->authorization))) {
		curl_slist_free_all(headers);
		return MC_NO_MEMORY;
	}
	set_options(store, handle, url, headers, exchange);
	CURLcode result = curl_easy_perform(handle);
	enum mc_status status = status_of(handle, result, exchange);
	curl_slist_free_all(headers);
	if (status != MC_OK && status != MC_NOT_FOUND)
		log_debug("metadata request failed method=%s url=%s reason=\"%s\" curl=\"%s\"",
			  exchange->method, url, mc_status_text(status),
			  curl_easy_strerror(result));
	return status;
}

static enum mc_status call(struct metadata *metadata, const char *key, struct exchange *exchange)
{
	struct http_store *store = own(metadata);
	CURL *handle = handle_take(store);

	writer_init(&exchange->reply);
	if (!handle)
		return MC_NO_MEMORY;
	enum mc_status status = perform(store, handle, key, exchange);
	handle_leave(store, handle);
	return status;
}

static enum mc_status http_get(struct metadata *metadata, const char *key, char **text)
{
	struct exchange exchange = {.method = "GET"};
	enum mc_status status = call(metadata, key, &exchange);

	put_u8(&exchange.reply, 0);
	if (status == MC_OK && exchange.reply.failed)
		status = MC_NO_MEMORY;
	if (status != MC_OK) {
		writer_fini(&exchange.reply);
		return status;
	}
	*text = (char *)exchange.reply.data;
	return MC_OK;
}

static enum mc_status http_put(struct metadata *metadata, const char *key, const char *text)
{
	struct exchange exchange = {.method = "PUT", .text = text};
	enum mc_status status = call(metadata, key, &exchange);

	writer_fini(&exchange.reply);
	/* A store that has no such path has not put anything. */
	return status == MC_NOT_FOUND ? MC_IO : status;
}

static enum mc_status http_remove(struct metadata *metadata, const char *key)
{
	struct exchange exchange = {.method = "DELETE"};
	enum mc_status status = call(metadata, key, &exchange);

	writer_fini(&exchange.reply);
	return status;
}

static void http_close(struct metadata *metadata)
{
	struct http_store *store = own(metadata);

	while (store->idle_count > 0)
		curl_easy_cleanup(store->idle[--store->idle_count]);
	pthread_mutex_destroy(&store->lock);
	free(store->authorization);
	free(store->url);
	free(store->ca_file);
	free(store->cert_file);
	free(store->key_file);
	free(store);
}

/* False: out of memory. */
static bool copy(const char *text, char **copied)
{
	*copied = text ? strdup(text) : NULL;
	return !text || *copied;
}

static enum mc_status take_token(struct http_store *store, const char *path)
{
	struct token token;
	enum mc_status status = token_read(path, &token);

	if (status != MC_OK)
		return status;
	if (asprintf(&store->authorization, "Authorization: Bearer %s", token.text) < 0) {
		store->authorization = NULL;
		return MC_NO_MEMORY;
	}
	return MC_OK;
}

static enum mc_status http_open(const struct metadata_config *config, struct metadata **metadata)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http_store *store = calloc(1, sizeof(*store));

	if (!store)
		return MC_NO_MEMORY;
	pthread_once(&once, library_start);
	pthread_mutex_init(&store->lock, NULL);
	store->base.ops = &metadata_http_ops;
	store->timeout_ms = config->timeout_ms;
	enum mc_status status = MC_OK;
	if (!copy(config->url, &store->url) || !copy(config->ca_file, &store->ca_file) ||
	    !copy(config->cert_file, &store->cert_file) ||
	    !copy(config->key_file, &store->key_file))
		status = MC_NO_MEMORY;
	if (status == MC_OK && config->token_file)
		status = take_token(store, config->token_file);
	if (status != MC_OK) {
		http_close(&store->base);
		return status;
	}
	*metadata = &store->base;
	return MC_OK;
}

const struct metadata_ops metadata_http_ops = {
	.open = http_open,
	.close = http_close,
	.get = http_get,
	.put = http_put,
	.remove = http_remove,
};
