/*
 * Notifications from any bytes.  A text that is one is printed as one that reads the same;
 * a listener lives through any frame, keeps within its bounds and goes on taking valid
 * ones; whoever asked lives through any answer.
 *
 * cmake -S . -B build-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DMOONCAKE_FUZZ=ON
 * ninja -C build-fuzz fuzz-notify && build-fuzz/fuzz/fuzz-notify -max_total_time=60
 *
 * FUZZ_SEEDS=DIR makes it write valid ones there, and end.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/mailbox.h"
#include "engine/metadata/handshake_frame.h"
#include "engine/metadata/question.h"
#include "engine/notice.h"
#include "engine/notify.h"

#define PATIENCE_MS 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct mailbox mailbox;
static struct handshake *handshake; /* fills the mailbox */
static int liar;		    /* listens, and answers with the fuzzer's bytes */

/* --- texts ------------------------------------------------------------------------------- */

static void check_text(const char *json)
{
	CLEANUP_FREE char *name = NULL, *text = NULL, *printed = NULL;
	CLEANUP_FREE char *name_again = NULL, *text_again = NULL;
	enum mc_status said = notice_answer_parse(json);

	MUST(said == MC_OK || said == MC_NO_SPACE || said == MC_PROTOCOL);
	if (notice_parse(json, &name, &text) != MC_OK)
		return;
	MUST(strlen(name) <= MC_NOTIFY_NAME_MAX && strlen(text) <= MC_NOTIFY_TEXT_MAX);
	MUST(notice_print(name, text, &printed) == MC_OK);
	MUST(notice_parse(printed, &name_again, &text_again) == MC_OK);
	MUST(strcmp(name, name_again) == 0 && strcmp(text, text_again) == 0);
}

/* --- who listens --------------------------------------------------------------------------- */

static enum mc_status answer(void *context, enum handshake_type type, const char *request,
			     size_t size, char **reply)
{
	MUST(strlen(request) == size);
	return type == HANDSHAKE_NOTIFY ? notify_answer(context, request, reply) : MC_NOT_FOUND;
}

/* No port waits for the rest of a minute: there will be many. */
static void end_at_once(int fd)
{
	struct linger none = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
}

static void say(const void *bytes, size_t size)
{
	struct net_address address;
	char reply[512];
	int fd;

	MUST(net_parse(handshake_address(handshake), &address) == MC_OK);
	MUST(net_connect(&address, PATIENCE_MS, &fd) == MC_OK);
	(void)!send(fd, bytes, size, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, reply, sizeof(reply), 0) > 0) {
	}
	end_at_once(fd);
}

static void take_all(void)
{
	struct mc_notification *list;
	size_t count;

	MUST(mailbox_take(&mailbox, 0, &list, &count) == MC_OK);
	MUST(count <= MC_NOTIFY_COUNT_MAX);
	for (size_t i = 0; i < count; i++)
		MUST(strlen(list[i].text) <= MC_NOTIFY_TEXT_MAX);
	free(list);
}

static void check_listener(const uint8_t *data, size_t size, const char *json)
{
	struct writer frame;

	writer_init(&frame);
	handshake_frame_put(&frame, HANDSHAKE_NOTIFY, json);
	say(data, size);
	say(frame.data, frame.size);
	writer_fini(&frame);
	take_all();
}

/* --- who asks --------------------------------------------------------------------------------- */

static void check_asker(const uint8_t *data, size_t size)
{
	uint64_t until_ms = clock_ms() + PATIENCE_MS;
	CLEANUP_FREE char *reply = NULL;
	struct net_address address;
	struct question *question;
	enum mc_status status;
	int fd = -1;

	MUST(net_bound(liar, &address) == MC_OK);
	MUST(question_open(&address, HANDSHAKE_NOTIFY, "{}", &question) == MC_OK);
	while ((status = question_go_on(question, &reply)) == MC_AGAIN) {
		struct pollfd waits = question_waits(question);
		MUST(clock_ms() < until_ms);
		if (fd < 0 && net_accept(liar, &fd) == MC_OK) {
			(void)!send(fd, data, size, MSG_NOSIGNAL);
			(void)shutdown(fd, SHUT_WR);
		}
		(void)poll(&waits, 1, 10);
	}
	MUST(!status == (reply != NULL));
	question_close(question);
	if (fd >= 0)
		end_at_once(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *json = strndup((const char *)data, size);

	MUST(json);
	check_text(json);
	check_listener(data, size, json);
	check_asker(data, size);
	return 0;
}

/* --- before the first ---------------------------------------------------------------------------
 */

static const char *const seeds[] = {
	"{\"name\":\"node7\",\"notify_msg\":\"layer 3\"}",
	"{\"name\":\"\",\"notify_msg\":\"success\"}",
	"{\"name\":\"\",\"notify_msg\":\"full\"}",
	"{\"name\":\"\\u00e9\",\"notify_msg\":\"\\ud83e\\udd6e\"}",
};

static void write_seeds(const char *directory)
{
	char path[4096];

	for (size_t i = 0; i < 2 * ARRAY_SIZE(seeds); i++) {
		const char *text = seeds[i / 2];
		struct writer frame;
		writer_init(&frame);
		handshake_frame_put(&frame, HANDSHAKE_NOTIFY, text);
		snprintf(path, sizeof(path), "%s/%zu", directory, i);
		FILE *file = fopen(path, "we");
		size_t size = i % 2 ? frame.size : strlen(text);
		MUST(file &&
		     fwrite(i % 2 ? frame.data : (const uint8_t *)text, 1, size, file) == size);
		MUST(fclose(file) == 0);
		writer_fini(&frame);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct handshake_config config = {
		.listen_host = "127.0.0.1", .answer = answer, .context = &mailbox};
	const char *directory = getenv("FUZZ_SEEDS");

	(void)argc;
	(void)argv;
	if (directory) {
		write_seeds(directory);
		exit(0);
	}
	log_level_now = LOG_LEVEL_ERROR;
	mailbox_init(&mailbox);
	MUST(handshake_open(&config, &handshake) == MC_OK);
	MUST(handshake_start(handshake) == MC_OK);
	MUST(net_listen_range("127.0.0.1", 0, 0, &liar) == MC_OK);
	return 0;
}
