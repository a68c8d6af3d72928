/* What is read one-sided ends with the connection to its owner, who held it. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/metadata/segment_desc.h"
#include "engine/rpc/wire.h"
#include "engine/transport/onesided/note.h"
#include "engine/transport/pull.h"
#include "engine/transport/transport.h"
#include "tests/support/suite.h"

#define ID	5u
#define VERSION 7u
#define SIZE	3000u
#define STEP_MS 20000u

static void listen_at(int *fd, const char *prefix, char endpoint[MC_ENDPOINT_SIZE])
{
	struct net_address address;
	char text[NET_TEXT_SIZE];

	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	*fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&address.storage, address.size), 0);
	ck_assert_int_eq(listen(*fd, 8), 0);
	ck_assert_int_eq(net_bound(*fd, &address), MC_OK);
	net_format(&address, text);
	snprintf(endpoint, MC_ENDPOINT_SIZE, "%s:%s", prefix, text);
}

/* An object that lies where nobody answers. */
static void note_of(const char *endpoint, uint8_t **note, uint32_t *note_size)
{
	static const uint8_t sums[4];
	CLEANUP_FREE char *text = NULL;
	struct segment_buffer *buffer;
	struct segment_desc *desc;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "owner", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, endpoint), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "owner", &buffer), MC_OK);
	buffer->addr = 4096;
	buffer->length = SIZE;
	buffer->key = 1;
	ck_assert_int_eq(segment_desc_print(desc, &text), MC_OK);
	segment_desc_unref(desc);
	ck_assert_int_eq(note_write(sums, SIZE, text, strlen(text), note, note_size), MC_OK);
}

/* Says where the object lies, and is gone when the puller is at it. */
struct owner {
	int listen_fd, silent_fd;
	uint8_t *note;
	uint32_t note_size;
};

static void answer(const struct owner *owner, int fd, uint64_t request_id)
{
	uint8_t head[PULL_HEAD_SIZE];
	struct frame frame = {.kind = MC_FRAME_REPLY,
			      .verb = MC_VERB_PULL,
			      .size = PULL_FIXED_SIZE + owner->note_size,
			      .request_id = request_id};
	struct mc_attr attr = {.id = ID, .version = VERSION, .size = SIZE, .mode = S_IFREG};
	struct writer w;

	frame_encode(head, &frame);
	writer_init_fixed(&w, head + MC_FRAME_HEADER_SIZE, PULL_FIXED_SIZE);
	put_attr(&w, &attr);
	put_u64(&w, 0);
	put_u32(&w, owner->note_size);
	put_u32(&w, crc32c(0, owner->note, owner->note_size));
	ck_assert_int_eq(send(fd, head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
	ck_assert_int_eq(send(fd, owner->note, owner->note_size, MSG_NOSIGNAL), owner->note_size);
}

static void *own(void *context)
{
	const struct owner *owner = context;
	uint8_t request[MC_FRAME_HEADER_SIZE + PULL_REQUEST_SIZE];
	struct frame frame;

	int fd = accept(owner->listen_fd, NULL, NULL);
	ck_assert_int_eq(recv(fd, request, sizeof(request), MSG_WAITALL), sizeof(request));
	ck_assert_int_eq(frame_decode(request, &frame), MC_OK);
	answer(owner, fd, frame.request_id);
	int reader = accept(owner->silent_fd, NULL, NULL);
	close(fd);
	return (void *)(intptr_t)reader;
}

struct getting {
	struct transport_pull pull;
	uint8_t memory[SIZE];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended;
	enum mc_status status;
};

static enum mc_status get_begin(struct transport_pull *pull, const struct mc_attr *attr,
				struct transport_target *target)
{
	ck_assert_uint_eq(attr->size, SIZE);
	target->memory = container_of(pull, struct getting, pull)->memory;
	return MC_OK;
}

static void get_done(struct transport_pull *pull, enum mc_status status)
{
	struct getting *getting = container_of(pull, struct getting, pull);

	WITH_LOCK(&getting->lock);
	getting->ended = true;
	getting->status = status;
	pthread_cond_signal(&getting->changed);
}

static enum mc_status none_hold(void *context, uint64_t id, uint64_t version,
				struct source_hold *hold)
{
	(void)context, (void)id, (void)version, (void)hold;
	return MC_NOT_FOUND;
}

static void none_release(void *context, struct source_hold *hold)
{
	(void)context, (void)hold;
}

START_TEST(an_owner_that_is_gone_is_not_waited_for)
{
	static const struct transport_sink sink = {.begin = get_begin, .done = get_done};
	static const struct transport_source source = {.hold = none_hold, .release = none_release};
	struct transport_config config = {.listen_host = "127.0.0.1", .source = &source};
	struct getting getting = {
		.pull = {.sink = &sink, .id = ID, .version = VERSION, .step_ms = STEP_MS},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	char endpoint[MC_ENDPOINT_SIZE], silent[MC_ENDPOINT_SIZE];
	struct transport *transport;
	struct owner owner;
	pthread_t thread;
	void *reader;

	listen_at(&owner.listen_fd, "engine-tcp", endpoint);
	listen_at(&owner.silent_fd, "tcp", silent);
	note_of(silent, &owner.note, &owner.note_size);
	ck_assert_int_eq(pthread_create(&thread, NULL, own, &owner), 0);
	ck_assert_int_eq(transport_engine_ops.open(&config, &transport), MC_OK);

	transport_engine_ops.pull(transport, endpoint, &getting.pull);
	pthread_join(thread, &reader);
	uint64_t gone_ms = clock_ms();
	pthread_mutex_lock(&getting.lock);
	while (!getting.ended)
		pthread_cond_wait(&getting.changed, &getting.lock);
	pthread_mutex_unlock(&getting.lock);

	ck_assert_int_eq(getting.status, MC_UNREACHABLE);
	/* The reader itself would give up after five seconds, and try again. */
	ck_assert_uint_lt(clock_ms() - gone_ms, 4000);
	transport_engine_ops.close(transport);
	close((int)(intptr_t)reader);
	close(owner.listen_fd);
	close(owner.silent_fd);
	free(owner.note);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("onesided");
	TCase *tc = tcase_create("owners");

	log_set_level("error");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_owner_that_is_gone_is_not_waited_for);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
