/* What is read one-sided ends with the connection to its owner, who held it. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/metadata/segment_desc.h"
#include "engine/rpc/wire.h"
#include "engine/transport/onesided/note.h"
#include "engine/transport/pull.h"
#include "tests/support/suite.h"
#include "tests/unit/transport/played.h"

#define STEP_MS 20000u

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

START_TEST(an_owner_that_is_gone_is_not_waited_for)
{
	struct getting getting;
	char endpoint[MC_ENDPOINT_SIZE], silent[MC_ENDPOINT_SIZE];
	struct transport *transport;
	struct owner owner;
	pthread_t thread;
	void *reader;

	owner.listen_fd = played_listen("engine-tcp", endpoint);
	owner.silent_fd = played_listen("tcp", silent);
	note_of(silent, &owner.note, &owner.note_size);
	ck_assert_int_eq(pthread_create(&thread, NULL, own, &owner), 0);
	played_open(&transport_engine_ops, &transport);

	getting_init(&getting, STEP_MS);
	transport_engine_ops.pull(transport, endpoint, &getting.pull);
	pthread_join(thread, &reader);
	uint64_t gone_ms = clock_ms();

	ck_assert_int_eq(getting_wait(&getting), MC_UNREACHABLE);
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
