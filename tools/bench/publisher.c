#include "tools/bench/publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/rpc/client.h"
#include "engine/rpc/wire.h"
#include "tools/bench/workload.h"

#define BATCHES_AT_ONCE 16u
#define START_TIMEOUT_S 600
#define CALL_TIMEOUT_MS 60000u

static void on_hello(void *context, struct writer *body)
{
	static const uint8_t uuid[16] = "mooncake-bench";

	(void)context;
	put_u8(body, MC_ROLE_NODE);
	put_bytes(body, uuid, sizeof(uuid));
	put_string(body, "bench", 5);
	put_string(body, "bench", 5);
	put_u64(body, 1ull << 40);
	put_u64(body, 0);
	put_u8(body, 0);
}

static enum mc_status on_welcome(void *context, struct reader *body)
{
	struct publisher *publisher = context;

	WITH_LOCK(&publisher->lock);
	(void)get_u32(body);
	(void)get_u32(body);
	(void)get_u64(body);
	publisher->next_id = get_u64(body);
	publisher->welcomed = true;
	pthread_cond_signal(&publisher->change);
	return MC_OK;
}

static void on_push(void *context, uint16_t verb, struct reader *body)
{
	(void)context;
	(void)verb;
	(void)body;
}

static void on_nothing(void *context)
{
	(void)context;
}

static const struct client_events publisher_events = {
	.hello = on_hello,
	.welcome = on_welcome,
	.push = on_push,
	.lost = on_nothing,
	.tick = on_nothing,
	.tick_ms = 200,
};

enum mc_status publisher_open(struct publisher *publisher, const char *address)
{
	struct client_events events = publisher_events;
	struct timespec until;
	char twice[160];

	/* Where there are several, the client tries again sooner. */
	snprintf(twice, sizeof(twice), "%s,%s", address, address);
	*publisher =
		(struct publisher){.flight = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}};
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->change, NULL);
	events.context = publisher;
	enum mc_status status = client_open(twice, &events, &publisher->client);
	if (status != MC_OK)
		return status;
	WITH_LOCK(&publisher->lock);
	for (int s = 0; !publisher->welcomed && !workload_interrupted; s++) {
		if (s > START_TIMEOUT_S)
			return MC_TIMEOUT;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&publisher->change, &publisher->lock, &until);
	}
	return publisher->welcomed ? MC_OK : MC_CANCELLED;
}

void publisher_close(struct publisher *publisher)
{
	client_close(publisher->client);
	pthread_cond_destroy(&publisher->change);
	pthread_mutex_destroy(&publisher->lock);
}

static void published(void *context, enum mc_status status, struct reader *body, bool resent)
{
	(void)resent;
	if (status == MC_OK) {
		uint16_t count = get_u16(body);
		status = count == PUBLISHER_BATCH && (int16_t)get_u16(body) == 0 ? MC_OK : MC_IO;
	}
	flight_end(context, status == MC_OK);
}

void publisher_send(struct publisher *publisher)
{
	struct mc_attr attr = {.size = PUBLISHER_OBJECT_SIZE,
			       .allocated = PUBLISHER_OBJECT_SIZE,
			       .mode = S_IFREG | 0644,
			       .nlink = 1,
			       .mtime = clock_real()};
	struct writer w;
	char name[96];

	writer_init(&w);
	put_u16(&w, PUBLISHER_BATCH);
	for (unsigned i = 0; i < PUBLISHER_BATCH; i++) {
		attr.id = attr.version = publisher->next_id++;
		int size = snprintf(name, sizeof(name), "%0*lu", (int)PUBLISHER_NAME_SIZE,
				    (unsigned long)attr.id);
		put_u64(&w, MC_ROOT_ID);
		put_string(&w, name, (size_t)size);
		put_u32(&w, 0);
		put_attr(&w, &attr);
	}
	client_call(publisher->client, MC_VERB_PUBLISH, &w, CALL_TIMEOUT_MS, published,
		    flight_begin(&publisher->flight, BATCHES_AT_ONCE));
	writer_fini(&w);
}

static void stats_done(void *context, enum mc_status status, struct reader *body, bool resent)
{
	struct publisher *publisher = context;
	char text[16384] = "";
	size_t size = 0;

	(void)resent;
	const char *said = status == MC_OK ? get_string(body, &size) : NULL;
	if (said && size < sizeof(text))
		memcpy(text, said, size);
	const char *line = strstr(text, "journal_bytes ");
	WITH_LOCK(&publisher->lock);
	publisher->journal_bytes = line ? strtoull(line + 14, NULL, 10) : UINT64_MAX;
	publisher->told = true;
	pthread_cond_signal(&publisher->change);
}

bool publisher_land(struct publisher *publisher)
{
	return flight_land(&publisher->flight);
}

uint64_t publisher_backlog(struct publisher *publisher)
{
	publisher->told = false;
	client_call(publisher->client, MC_VERB_STATS, NULL, CALL_TIMEOUT_MS, stats_done, publisher);
	WITH_LOCK(&publisher->lock);
	while (!publisher->told)
		pthread_cond_wait(&publisher->change, &publisher->lock);
	return publisher->journal_bytes;
}
