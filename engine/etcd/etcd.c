#include "engine/base/thread.h"
#include "engine/etcd/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/etcd/reply.h"

#define CONNECTIONS    8u
#define CONNECT_MS_MAX 1000u
#define TRY_MS_MIN     300u /* of one try, where there are other endpoints */
#define PAUSE_MS       50u  /* before a request that was refused for now is repeated */
#define TOKEN_SIZE     4096u
#define IDLE_EASY_MAX  ETCD_CONNECTION_MAX
#define WAIT_MS_MAX    1000

/*
 *   NONE ──► ASKED ──► THERE        a user is configured
 *     ▲        │         │
 *     └────────┴─────────┘ refused
 *   UNUSED                          none is, or the server wants none
 */
enum token_state { TOKEN_UNUSED, TOKEN_NONE, TOKEN_ASKED, TOKEN_THERE };

struct etcd {
	/* fixed after init */
	char *ca;
	char *certificate;
	char *key;
	char *user;
	char *password;
	uint32_t connections;
	uint32_t timeout_ms;
	pthread_t thread;
	CURLM *multi;

	/* protected by lock */
	pthread_mutex_t lock;
	struct etcd_call *submitted;
	struct etcd_call **submitted_end;
	bool stopping;

	/* atomic: set by any thread, taken by the client's */
	_Atomic bool ending_streams;

	/* owned by the client's thread */
	struct endpoints endpoints;
	struct etcd_call *pending;
	struct etcd_call **pending_end;
	struct etcd_call *active;
	unsigned active_count; /* without streams */
	CURL *idle[IDLE_EASY_MAX];
	unsigned idle_count;
	enum token_state token_state;
	char token[TOKEN_SIZE];
	bool refused; /* user or certificate: logged */
};

static uint64_t ms(uint64_t count)
{
	return count * 1000000u;
}

struct etcd_call *etcd_call_new(const char *path, etcd_done_fn *done, void *context)
{
	struct etcd_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->path = path;
	call->done = done;
	call->context = context;
	call->answer_max = ETCD_ANSWER_SIZE_MAX;
	writer_init(&call->body);
	writer_init(&call->answer);
	return call;
}

static void call_free(struct etcd_call *call)
{
	writer_fini(&call->body);
	writer_fini(&call->answer);
	free(call);
}

static void call_end(struct etcd_call *call, struct etcd_reply *reply)
{
	call->done(call->context, reply);
	etcd_reply_free(reply);
	call_free(call);
}

void etcd_call_send(struct etcd *etcd, struct etcd_call *call, uint32_t timeout_ms,
		    etcd_done_fn *done, void *context)
{
	if (!call) {
		struct etcd_reply *reply = etcd_reply_status(MC_NO_MEMORY);
		done(context, reply);
		etcd_reply_free(reply);
		return;
	}
	if (call->body.failed || call->last != MC_OK) {
		call_end(call, etcd_reply_status(call->last ? call->last : MC_NO_MEMORY));
		return;
	}
	call->etcd = etcd;
	if (!call->line)
		call->deadline_ns = clock_ns() + ms(timeout_ms ? timeout_ms : etcd->timeout_ms);
	pthread_mutex_lock(&etcd->lock);
	bool stopping = etcd->stopping;
	if (!stopping) {
		*etcd->submitted_end = call;
		etcd->submitted_end = &call->next;
	}
	pthread_mutex_unlock(&etcd->lock);
	if (stopping)
		call_end(call, etcd_reply_status(MC_CANCELLED));
	else
		curl_multi_wakeup(etcd->multi);
}

static void pend(struct etcd *etcd, struct etcd_call *call)
{
	call->next = NULL;
	*etcd->pending_end = call;
	etcd->pending_end = &call->next;
}

/* Take what was asked since; false: the client is to end. */
static bool submitted_take(struct etcd *etcd)
{
	WITH_LOCK(&etcd->lock);
	struct etcd_call *call = etcd->submitted;

	while (call) {
		struct etcd_call *next = call->next;
		pend(etcd, call);
		call = next;
	}
	etcd->submitted = NULL;
	etcd->submitted_end = &etcd->submitted;
	return !etcd->stopping;
}

/* Hand whole lines on, keep the rest: no line ends in it.  False: the stream is to end. */
static bool lines_take(struct etcd_call *call, size_t fresh)
{
	struct writer *answer = &call->answer;
	size_t look = answer->size - fresh;
	size_t at = 0;
	const uint8_t *end;
	bool go_on = true;

	while (go_on && (end = memchr(answer->data + look, '\n', answer->size - look)) != NULL) {
		size_t size = (size_t)(end - answer->data) - at;
		go_on = call->line(call->context, answer->data + at, size);
		look = at += size + 1;
	}
	memmove(answer->data, answer->data + at, answer->size - at);
	answer->size -= at;
	return go_on;
}

static size_t on_bytes(char *bytes, size_t one, size_t size, void *context)
{
	struct etcd_call *call = context;

	(void)one;
	if (size > call->answer_max - call->answer.size) {
		call->last = MC_TOO_BIG;
		return 0;
	}
	put_bytes(&call->answer, bytes, size);
	if (call->answer.failed || (call->line && size && !lines_take(call, size)))
		return 0;
	return size;
}

static CURL *easy_take(struct etcd *etcd)
{
	if (etcd->idle_count == 0)
		return curl_easy_init();
	return etcd->idle[--etcd->idle_count];
}

static void easy_give(struct etcd *etcd, CURL *easy)
{
	if (etcd->idle_count == IDLE_EASY_MAX) {
		curl_easy_cleanup(easy);
		return;
	}
	curl_easy_reset(easy);
	etcd->idle[etcd->idle_count++] = easy;
}

/* How long one try may take: not all the time there is where another endpoint may answer. */
static long try_ms(const struct etcd *etcd, const struct etcd_call *call, uint64_t now_ns)
{
	uint64_t left = (call->deadline_ns - now_ns) / 1000000 + 1;

	if (etcd->endpoints.count == 1 || left < TRY_MS_MIN)
		return (long)left;
	return (long)(left / 2 > TRY_MS_MIN ? left / 2 : TRY_MS_MIN);
}

static bool headers_make(const struct etcd *etcd, struct etcd_call *call)
{
	static const char *const fixed[] = {"Content-Type: application/json", "Expect:"};
	char authorization[TOKEN_SIZE + 32] = "";

	if (etcd->token_state == TOKEN_THERE && !call->authenticates)
		snprintf(authorization, sizeof(authorization), "Authorization: %s", etcd->token);
	for (unsigned i = 0; i < 3; i++) {
		const char *line = i < 2 ? fixed[i] : authorization;
		if (!line[0])
			continue;
		struct curl_slist *longer = curl_slist_append(call->headers, line);
		if (!longer)
			return false;
		call->headers = longer;
	}
	return true;
}

static void options_set_tls(const struct etcd *etcd, CURL *easy)
{
	if (etcd->ca)
		curl_easy_setopt(easy, CURLOPT_CAINFO, etcd->ca);
	if (etcd->certificate)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, etcd->certificate);
	if (etcd->key)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, etcd->key);
}

static void options_set(struct etcd *etcd, struct etcd_call *call, uint64_t now_ns)
{
	char url[400];
	CURL *easy = call->easy;
	bool streams = call->line != NULL;

	snprintf(url, sizeof(url), "%s%s", etcd->endpoints.rows[call->endpoint].url, call->path);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const char *)call->body.data);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.size);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 2L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
	options_set_tls(etcd, easy);
	long try_for = streams ? (long)CONNECT_MS_MAX : try_ms(etcd, call, now_ns);
	if (!streams)
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, try_for);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			 try_for < (long)CONNECT_MS_MAX ? try_for : (long)CONNECT_MS_MAX);
}

/* False: out of memory. */
static bool start(struct etcd *etcd, struct etcd_call *call, unsigned endpoint, uint64_t now_ns)
{
	call->endpoint = endpoint;
	writer_reset(&call->answer);
	call->last = MC_OK;
	call->easy = easy_take(etcd);
	if (!call->easy || !headers_make(etcd, call))
		return false;
	options_set(etcd, call, now_ns);
	if (curl_multi_add_handle(etcd->multi, call->easy) != CURLM_OK)
		return false;
	call->next = etcd->active;
	etcd->active = call;
	etcd->active_count += call->line == NULL;
	return true;
}

/* The try is over: the call is in no list any more. */
static void stop(struct etcd *etcd, struct etcd_call *call)
{
	struct etcd_call **at = &etcd->active;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at) {
		*at = call->next;
		etcd->active_count -= call->line == NULL;
		curl_multi_remove_handle(etcd->multi, call->easy);
	}
	if (call->easy)
		easy_give(etcd, call->easy);
	call->easy = NULL;
	curl_slist_free_all(call->headers);
	call->headers = NULL;
}

static void token_failed(struct etcd *etcd, enum mc_status status);
static void token_done(void *context, struct etcd_reply *reply)
{
	struct etcd *etcd = context;

	/* A good answer was taken before; this one is none. */
	if (reply->status != MC_OK)
		token_failed(etcd, reply->status);
}

static void token_ask(struct etcd *etcd)
{
	struct etcd_call *call = etcd_call_new("/v3/auth/authenticate", token_done, etcd);

	if (!call)
		return;
	/* Any bytes but quotes, backslashes and controls; config_copy() has looked. */
	etcd_json_text(&call->body, "{\"name\":\"");
	etcd_json_text(&call->body, etcd->user);
	etcd_json_text(&call->body, "\",\"password\":\"");
	etcd_json_text(&call->body, etcd->password);
	etcd_json_text(&call->body, "\"}");
	call->authenticates = true;
	call->repeatable = true;
	call->etcd = etcd;
	call->deadline_ns = clock_ns() + ms(etcd->timeout_ms);
	etcd->token_state = TOKEN_ASKED;
	call->next = etcd->pending;
	if (!etcd->pending)
		etcd->pending_end = &call->next;
	etcd->pending = call;
}

/* What the call comes to when no further try is made. */
static enum mc_status last_word(const struct etcd_call *call)
{
	if (call->unknown)
		return MC_TIMEOUT;
	return call->last == MC_OK || call->last == MC_AGAIN ? MC_UNREACHABLE : call->last;
}

static void try_again(struct etcd *etcd, struct etcd_call *call, uint64_t now_ns)
{
	call->due_ns = now_ns + ms(PAUSE_MS);
	if ((call->unknown && !call->repeatable) || call->due_ns >= call->deadline_ns)
		call_end(call, etcd_reply_status(last_word(call)));
	else
		pend(etcd, call);
}

/* No token to be had: everything that waits for one ends. */
static void token_failed(struct etcd *etcd, enum mc_status status)
{
	struct etcd_call *waiting = etcd->pending;

	if (status == MC_NOT_SUPPORTED) {
		log_warn("etcd asks for no password, going on without user=%s", etcd->user);
		etcd->token_state = TOKEN_UNUSED;
		return;
	}
	etcd->token_state = TOKEN_NONE;
	/* No answer is no refusal: whoever waits asks again until its deadline. */
	if (status == MC_UNREACHABLE || status == MC_TIMEOUT || status == MC_CANCELLED)
		return;
	if (!etcd->refused)
		log_error("etcd gives no token user=%s reason=\"%s\"", etcd->user,
			  mc_status_text(status));
	etcd->refused = true;
	etcd->pending = NULL;
	etcd->pending_end = &etcd->pending;
	while (waiting) {
		struct etcd_call *next = waiting->next;
		call_end(waiting, etcd_reply_status(status));
		waiting = next;
	}
}

static bool token_take(struct etcd *etcd, const struct etcd_call *call)
{
	if (!etcd_token_decode(call->answer.data, call->answer.size, etcd->token,
			       sizeof(etcd->token)))
		return false;
	etcd->token_state = TOKEN_THERE;
	etcd->refused = false;
	return true;
}

static void answered(struct etcd *etcd, struct etcd_call *call)
{
	struct etcd_reply *reply = NULL;

	endpoints_good(&etcd->endpoints, call->endpoint);
	if (call->authenticates && token_take(etcd, call)) {
		reply = etcd_reply_status(MC_OK);
	} else {
		reply = etcd_reply_decode(call->answer.data, call->answer.size);
		if (!reply)
			reply = etcd_reply_status(MC_NO_MEMORY);
		else if (reply->status == MC_OK && call->authenticates)
			reply->status = MC_PROTOCOL;
		if (reply->status == MC_PROTOCOL)
			log_error("what answers is not etcd endpoint=%s path=%s",
				  etcd->endpoints.rows[call->endpoint].url, call->path);
	}
	call_end(call, reply);
}

static void refused(struct etcd *etcd, struct etcd_call *call, long http)
{
	uint64_t now_ns = clock_ns();
	enum etcd_effect effect;
	char words[128];

	call->last = etcd_refusal_decode(call->answer.data, call->answer.size, http, words,
					 sizeof(words), &effect);
	switch (effect) {
	case ETCD_TOKEN:
		if (etcd->user && !call->renewed && !call->authenticates) {
			call->renewed = true;
			if (etcd->token_state == TOKEN_THERE)
				etcd->token_state = TOKEN_NONE;
			pend(etcd, call);
			return;
		}
		break;
	case ETCD_NOTHING:
	case ETCD_UNKNOWN:
		call->unknown = call->unknown || effect == ETCD_UNKNOWN;
		endpoints_bad(&etcd->endpoints, call->endpoint, now_ns, words);
		try_again(etcd, call, now_ns);
		return;
	case ETCD_FINAL:
		break;
	}
	endpoints_good(&etcd->endpoints, call->endpoint);
	log_debug("etcd refused path=%s reason=\"%s\"", call->path, words);
	call_end(call, etcd_reply_status(call->last));
}

/* Our certificate or theirs. */
static bool about_trust(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
	       code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE;
}

static void broken(struct etcd *etcd, struct etcd_call *call, CURLcode code)
{
	uint64_t now_ns = clock_ns();
	bool trust = about_trust(code);

	if (call->last == MC_TOO_BIG || call->answer.failed) {
		call_end(call, etcd_reply_status(call->last ? call->last : MC_NO_MEMORY));
		return;
	}
	endpoints_bad(&etcd->endpoints, call->endpoint, now_ns, curl_easy_strerror(code));
	call->last = trust ? MC_ACCESS : MC_UNREACHABLE;
	if (code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST && !trust)
		call->unknown = true;
	try_again(etcd, call, now_ns);
}

/* A stream ended; its owner begins another. */
static void streamed(struct etcd *etcd, struct etcd_call *call, CURLcode code, long http)
{
	enum etcd_effect effect;
	char words[128];

	if (code != CURLE_OK && code != CURLE_WRITE_ERROR) {
		endpoints_bad(&etcd->endpoints, call->endpoint, clock_ns(),
			      curl_easy_strerror(code));
		call->last = about_trust(code) ? MC_ACCESS : MC_UNREACHABLE;
	} else if (code == CURLE_OK && http != 200) {
		call->last = etcd_refusal_decode(call->answer.data, call->answer.size, http, words,
						 sizeof(words), &effect);
		if (effect == ETCD_TOKEN && etcd->token_state == TOKEN_THERE)
			etcd->token_state = TOKEN_NONE;
	}
	call_end(call, etcd_reply_status(call->last));
}

static void tried(struct etcd *etcd, struct etcd_call *call, CURLcode code)
{
	long http = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &http);
	stop(etcd, call);
	if (call->line)
		streamed(etcd, call, code, http);
	else if (code != CURLE_OK)
		broken(etcd, call, code);
	else if (http == 200)
		answered(etcd, call);
	else
		refused(etcd, call, http);
}

/* True: something ended, so there may be more to do at once. */
static bool collect(struct etcd *etcd)
{
	bool any = false;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(etcd->multi, &left)) != NULL) {
		struct etcd_call *call;
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		tried(etcd, call, code);
		any = true;
	}
	return any;
}

/* Start the call, end it, or leave it (false); *wait_ns shrinks to when it is due. */
static bool pending_try(struct etcd *etcd, struct etcd_call *call, uint64_t now_ns,
			uint64_t *wait_ns)
{
	uint64_t rest_ns;
	uint64_t wait = call->deadline_ns > now_ns ? call->deadline_ns - now_ns : 0;

	if (!call->line && wait == 0) {
		call_end(call, etcd_reply_status(last_word(call)));
		return true;
	}
	unsigned endpoint = endpoints_pick(&etcd->endpoints, now_ns, &rest_ns);
	bool token = call->authenticates || etcd->token_state == TOKEN_UNUSED ||
		     etcd->token_state == TOKEN_THERE;
	if (call->due_ns <= now_ns && rest_ns == 0 && token &&
	    (call->line || etcd->active_count < etcd->connections)) {
		if (!start(etcd, call, endpoint, now_ns)) {
			stop(etcd, call);
			call_end(call, etcd_reply_status(MC_NO_MEMORY));
		}
		return true;
	}
	if (call->due_ns > now_ns && call->due_ns - now_ns < wait)
		wait = call->due_ns - now_ns;
	if (rest_ns && rest_ns < wait)
		wait = rest_ns;
	if (wait < *wait_ns)
		*wait_ns = wait;
	return false;
}

/* Start what is due; returns how long nothing else will be. */
static uint64_t pending_start(struct etcd *etcd)
{
	uint64_t now_ns = clock_ns();
	uint64_t wait_ns = ms(WAIT_MS_MAX);

	if (etcd->pending && etcd->token_state == TOKEN_NONE)
		token_ask(etcd);
	struct etcd_call *call = etcd->pending;
	etcd->pending = NULL;
	etcd->pending_end = &etcd->pending;
	while (call) {
		struct etcd_call *next = call->next;
		if (!pending_try(etcd, call, now_ns, &wait_ns))
			pend(etcd, call);
		call = next;
	}
	return wait_ns;
}

static void streams_check(struct etcd *etcd)
{
	if (!atomic_exchange(&etcd->ending_streams, false))
		return;
	struct etcd_call *call = etcd->active;
	while (call) {
		struct etcd_call *next = call->next;
		if (call->line) {
			stop(etcd, call);
			endpoints_bad(&etcd->endpoints, call->endpoint, clock_ns(), "stalled");
			call_end(call, etcd_reply_status(MC_UNREACHABLE));
		}
		call = next;
	}
}

static void cancel_all(struct etcd *etcd)
{
	while (etcd->active) {
		struct etcd_call *call = etcd->active;
		stop(etcd, call);
		call_end(call, etcd_reply_status(MC_CANCELLED));
	}
	while (etcd->pending) {
		struct etcd_call *call = etcd->pending;
		etcd->pending = call->next;
		call_end(call, etcd_reply_status(MC_CANCELLED));
	}
	etcd->pending_end = &etcd->pending;
}

static void *run(void *context)
{
	struct etcd *etcd = context;
	int running;

	while (submitted_take(etcd)) {
		streams_check(etcd);
		uint64_t wait_ns = pending_start(etcd);
		curl_multi_perform(etcd->multi, &running);
		if (!collect(etcd))
			curl_multi_poll(etcd->multi, NULL, 0, (int)(wait_ns / 1000000) + 1, NULL);
	}
	cancel_all(etcd);
	return NULL;
}

static bool copy(char **to, const char *from)
{
	if (from && from[0])
		*to = strdup(from);
	return !from || !from[0] || *to;
}

/* They go into JSON as they are. */
static bool plain(const char *text)
{
	for (; text && *text; text++) {
		if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\')
			return false;
	}
	return true;
}

bool etcd_password_read(const char *path, char password[ETCD_PASSWORD_SIZE])
{
	FILE *file = fopen(path, "re");
	bool good = file && fgets(password, ETCD_PASSWORD_SIZE, file) != NULL;

	if (file)
		fclose(file);
	if (good)
		password[strcspn(password, "\r\n")] = '\0';
	else
		log_error("can't read the password for etcd path=%s", path);
	return good;
}

static enum mc_status config_copy(struct etcd *etcd, const struct etcd_config *config)
{
	bool secure =
		(config->ca && config->ca[0]) || (config->certificate && config->certificate[0]);

	etcd->connections = config->connections ? config->connections : CONNECTIONS;
	if (etcd->connections > ETCD_CONNECTION_MAX)
		etcd->connections = ETCD_CONNECTION_MAX;
	etcd->timeout_ms = config->timeout_ms ? config->timeout_ms : ETCD_TIMEOUT_MS;
	if (!copy(&etcd->ca, config->ca) || !copy(&etcd->certificate, config->certificate) ||
	    !copy(&etcd->key, config->key) || !copy(&etcd->user, config->user) ||
	    !copy(&etcd->password, config->password ? config->password : ""))
		return MC_NO_MEMORY;
	if (!plain(etcd->user) || !plain(etcd->password)) {
		log_error("user and password of etcd can't have quotes, backslashes or controls");
		return MC_INVALID;
	}
	if (etcd->user && !etcd->password && !(etcd->password = strdup("")))
		return MC_NO_MEMORY;
	etcd->token_state = etcd->user ? TOKEN_NONE : TOKEN_UNUSED;
	enum mc_status status = endpoints_parse(&etcd->endpoints, config->endpoints, secure);
	etcd->endpoints.failing = config->failing ? config->failing : &etcd->endpoints.own;
	return status;
}

static void etcd_free(struct etcd *etcd)
{
	while (etcd->idle_count > 0)
		curl_easy_cleanup(etcd->idle[--etcd->idle_count]);
	curl_multi_cleanup(etcd->multi);
	pthread_mutex_destroy(&etcd->lock);
	free(etcd->ca);
	free(etcd->certificate);
	free(etcd->key);
	free(etcd->user);
	free(etcd->password);
	free(etcd);
}

static void global_init(void)
{
	MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

enum mc_status etcd_open(const struct etcd_config *config, struct etcd **etcd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct etcd *e = calloc(1, sizeof(*e));

	if (!e)
		return MC_NO_MEMORY;
	pthread_once(&once, global_init);
	pthread_mutex_init(&e->lock, NULL);
	e->submitted_end = &e->submitted;
	e->pending_end = &e->pending;
	e->multi = curl_multi_init();
	enum mc_status status = e->multi ? config_copy(e, config) : MC_NO_MEMORY;
	if (status == MC_OK) {
		curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)e->connections + 4);
		if (thread_start(&e->thread, run, e) != 0)
			status = MC_NO_MEMORY;
	}
	if (status != MC_OK) {
		etcd_free(e);
		return status;
	}
	pthread_setname_np(e->thread, "mc-etcd");
	*etcd = e;
	return MC_OK;
}

void etcd_close(struct etcd *etcd)
{
	if (!etcd)
		return;
	pthread_mutex_lock(&etcd->lock);
	etcd->stopping = true;
	pthread_mutex_unlock(&etcd->lock);
	curl_multi_wakeup(etcd->multi);
	pthread_join(etcd->thread, NULL);
	etcd_free(etcd);
}

void etcd_after(struct etcd *etcd, uint32_t after_ms, etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new("", done, context);

	if (call) {
		call->due_ns = UINT64_MAX;
		call->unknown = true; /* so it ends with MC_TIMEOUT */
	}
	etcd_call_send(etcd, call, after_ms, done, context);
}

void etcd_push(struct etcd *etcd)
{
	int running;

	if (!submitted_take(etcd))
		return;
	pending_start(etcd);
	curl_multi_perform(etcd->multi, &running);
}

void etcd_streams_end(struct etcd *etcd)
{
	etcd->ending_streams = true;
	curl_multi_wakeup(etcd->multi);
}
