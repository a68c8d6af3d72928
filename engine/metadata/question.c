#include "engine/metadata/question.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/metadata/handshake_frame.h"

struct question {
	/* fixed after open */
	int fd;
	enum handshake_type type;
	/* owned by who has it */
	bool connected;
	size_t sent;
	struct writer out, in;
};

enum mc_status question_open(const struct net_address *address, enum handshake_type type,
			     const char *request, struct question **question)
{
	if (strlen(request) >= HANDSHAKE_SIZE_MAX)
		return MC_TOO_BIG;
	struct question *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	made->fd = -1;
	made->type = type;
	writer_init(&made->out);
	writer_init(&made->in);
	handshake_frame_put(&made->out, type, request);
	enum mc_status status = made->out.failed ? MC_NO_MEMORY : MC_OK;
	if (!status)
		status = net_connect_start(address, &made->fd);
	if (status)
		question_close(made);
	else
		*question = made;
	return status;
}

void question_close(struct question *question)
{
	if (!question)
		return;
	if (question->fd >= 0)
		close(question->fd);
	writer_fini(&question->out);
	writer_fini(&question->in);
	free(question);
}

bool question_is_out(const struct question *question)
{
	return question->sent == question->out.size;
}

struct pollfd question_waits(const struct question *question)
{
	return (struct pollfd){.fd = question->fd,
			       .events = question_is_out(question) ? POLLIN : POLLOUT};
}

static enum mc_status connected(struct question *question)
{
	struct pollfd waits = question_waits(question);

	if (question->connected)
		return MC_OK;
	if (poll(&waits, 1, 0) < 1)
		return MC_AGAIN;
	question->connected = true;
	return net_connect_finish(question->fd);
}

static enum mc_status put_out(struct question *question)
{
	const struct writer *out = &question->out;

	while (!question_is_out(question)) {
		ssize_t sent = send(question->fd, out->data + question->sent,
				    out->size - question->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0)
			question->sent += (size_t)sent;
		else if (errno == EAGAIN)
			return MC_AGAIN;
		else if (errno != EINTR)
			return MC_UNREACHABLE;
	}
	return MC_OK;
}

/* MC_OK: the frame is whole. */
static enum mc_status hear(struct question *question)
{
	struct writer *in = &question->in;
	size_t wanted;

	while (true) {
		enum mc_status status = handshake_frame_size(in, &wanted);
		if (status || (wanted && in->size == wanted))
			return status;
		ssize_t got = handshake_frame_receive(question->fd, in, wanted);
		/* Who has no answer ends the connection. */
		if (got == 0)
			return in->size ? MC_PROTOCOL : MC_NOT_FOUND;
		if (got < 0 && errno == EAGAIN)
			return MC_AGAIN;
		if (got < 0 && errno != EINTR)
			return MC_UNREACHABLE;
		if (in->failed)
			return MC_NO_MEMORY;
	}
}

static enum mc_status take_answer(struct question *question, char **reply)
{
	const char *text;
	uint8_t said;
	size_t size;

	handshake_frame_take(&question->in, &said, &text, &size);
	if (!text)
		return MC_NO_MEMORY;
	if (said != question->type || strlen(text) != size)
		return MC_PROTOCOL;
	*reply = strdup(text);
	return *reply ? MC_OK : MC_NO_MEMORY;
}

enum mc_status question_go_on(struct question *question, char **reply)
{
	enum mc_status status = connected(question);

	if (!status)
		status = put_out(question);
	if (!status)
		status = hear(question);
	return status ? status : take_answer(question, reply);
}

/* -- with the waiting -- */

/* For the answer, or until then. */
static enum mc_status wait_for(struct question *question, uint64_t until_ms, char **reply)
{
	enum mc_status status;

	while ((status = question_go_on(question, reply)) == MC_AGAIN) {
		struct pollfd waits = question_waits(question);
		uint64_t now_ms = clock_ms();
		if (now_ms >= until_ms)
			return MC_TIMEOUT;
		if (poll(&waits, 1, (int)(until_ms - now_ms)) < 0 && errno != EINTR)
			return MC_IO;
	}
	return status;
}

enum mc_status handshake_ask(const char *address, enum handshake_type type, const char *request,
			     uint32_t timeout_ms, char **reply)
{
	uint64_t until_ms = clock_ms() + timeout_ms;
	struct question *question;
	struct net_address peer;
	enum mc_status status = net_resolve(address, &peer);

	if (!status)
		status = question_open(&peer, type, request, &question);
	if (status)
		return status;
	status = wait_for(question, until_ms, reply);
	question_close(question);
	return status;
}
