/*
 * tests/unit/transport/played.h -- a pull from an owner that the test plays
 *
 * The test listens where the transport looks for an owner, and answers what it likes.
 *
 *     int fd = played_listen("tcp", endpoint);
 *     ... somebody accepts and answers ...
 *     played_open(&transport_tcp_ops, &transport);
 *     getting_init(&getting, STEP_MS);
 *     transport->ops->pull(transport, endpoint, &getting.pull);
 *     enum mc_status status = getting_wait(&getting);
 *
 * Errors    All are failures of the test.
 */
#ifndef TESTS_UNIT_TRANSPORT_PLAYED_H
#define TESTS_UNIT_TRANSPORT_PLAYED_H

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "engine/transport/transport.h"

/* The object that is pulled. */
#define ID	5u
#define VERSION 7u
#ifndef SIZE /* else: before this is included */
#define SIZE 3000u
#endif

static inline int played_listen(const char *prefix, char endpoint[MC_ENDPOINT_SIZE])
{
	struct net_address address;
	char text[NET_TEXT_SIZE];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address.storage, address.size), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(net_bound(fd, &address), MC_OK);
	net_format(&address, text);
	snprintf(endpoint, MC_ENDPOINT_SIZE, "%s:%s", prefix, text);
	return fd;
}

/* -- the puller, which has no objects itself -- */

static inline enum mc_status none_hold(void *context, uint64_t id, uint64_t version,
				       struct source_hold *hold)
{
	(void)context, (void)id, (void)version, (void)hold;
	return MC_NOT_FOUND;
}

static inline void none_release(void *context, struct source_hold *hold)
{
	(void)context, (void)hold;
}

static inline void played_open(const struct transport_ops *ops, struct transport **transport)
{
	static const struct transport_source source = {.hold = none_hold, .release = none_release};
	struct transport_config config = {.listen_host = "127.0.0.1", .source = &source};

	ck_assert_int_eq(ops->open(&config, transport), MC_OK);
}

/* -- the pull, into memory -- */

struct getting {
	struct transport_pull pull;
	uint8_t memory[SIZE];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended;
	enum mc_status status;
};

static inline enum mc_status get_begin(struct transport_pull *pull, const struct mc_attr *attr,
				       struct transport_target *target)
{
	ck_assert_uint_eq(attr->size, SIZE);
	target->memory = container_of(pull, struct getting, pull)->memory;
	return MC_OK;
}

static inline void get_done(struct transport_pull *pull, enum mc_status status)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	WITH_LOCK(&getting->lock);
	getting->ended = true;
	getting->status = status;
	pthread_cond_signal(&getting->changed);
}

static inline void getting_init(struct getting *getting, uint32_t step_ms)
{
	static const struct transport_sink sink = {.begin = get_begin, .done = get_done};

	*getting = (struct getting){
		.pull = {.sink = &sink, .id = ID, .version = VERSION, .step_ms = step_ms},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
}

static inline enum mc_status getting_wait(struct getting *getting)
{
	WITH_LOCK(&getting->lock);
	while (!getting->ended)
		pthread_cond_wait(&getting->changed, &getting->lock);
	return getting->status;
}

#endif
