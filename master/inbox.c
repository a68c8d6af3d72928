#include "master/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/rpc/wire.h"
#include "master/session.h"

void inbox_init(struct inbox *inbox)
{

	*inbox = (struct inbox){0};
	inbox->end = &inbox->first;
	pthread_mutex_init(&inbox->lock, NULL);
	clock_cond_init(&inbox->filled);
}

void inbox_fini(struct inbox *inbox)
{
	struct batch *batch = inbox->first;

	while (batch) {
		struct batch *next = batch->next;
		batch_free(batch);
		batch = next;
	}
	pthread_cond_destroy(&inbox->filled);
	pthread_mutex_destroy(&inbox->lock);
}

static void filled_locked(struct inbox *inbox)
{
	__atomic_store_n(&inbox->waiting, true, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&inbox->filled);
}

void inbox_put(struct inbox *inbox, struct batch *batch)
{
	WITH_LOCK(&inbox->lock);
	batch->next = NULL;
	*inbox->end = batch;
	inbox->end = &batch->next;
	filled_locked(inbox);
}

void inbox_opened(struct inbox *inbox, struct session *session)
{
	WITH_LOCK(&inbox->lock);
	session->opened_next = inbox->opened;
	inbox->opened = session;
	filled_locked(inbox);
}

void inbox_closed(struct inbox *inbox, struct session *session)
{
	WITH_LOCK(&inbox->lock);
	session->closed_next = inbox->closed;
	inbox->closed = session;
	filled_locked(inbox);
}

struct delivery inbox_take(struct inbox *inbox)
{
	WITH_LOCK(&inbox->lock);
	struct delivery delivery = {inbox->opened, inbox->first, inbox->closed};

	inbox->opened = inbox->closed = NULL;
	inbox->first = NULL;
	inbox->end = &inbox->first;
	__atomic_store_n(&inbox->waiting, false, __ATOMIC_RELEASE);
	return delivery;
}

bool inbox_wait(struct inbox *inbox, unsigned timeout_ms)
{
	uint64_t until_ns = clock_ns() + timeout_ms * 1000000ull;

	WITH_LOCK(&inbox->lock);
	while (!inbox->stopping && !inbox->waiting) {
		if (!clock_cond_wait(&inbox->filled, &inbox->lock, until_ns))
			break;
	}
	return !inbox->stopping;
}

void inbox_stop(struct inbox *inbox)
{
	WITH_LOCK(&inbox->lock);
	inbox->stopping = true;
	pthread_cond_signal(&inbox->filled);
}

void inbox_wake(struct inbox *inbox)
{
	WITH_LOCK(&inbox->lock);
	filled_locked(inbox);
}

/* What stands before the frame in a batch. */
struct prefix {
	struct session *session;
	size_t size; /* of the frame, without the padding to whole words */
};

static size_t padded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

bool batch_add(struct batch **batch, struct session *session, const struct frame *frame,
	       const uint8_t *body)
{
	struct prefix prefix = {session, MC_FRAME_HEADER_SIZE + (size_t)frame->size};

	if (!*batch) {
		*batch = calloc(1, sizeof(**batch));
		if (!*batch)
			return false;
		writer_init(&(*batch)->letters);
	}
	struct writer *w = &(*batch)->letters;
	uint8_t *at = writer_reserve(w, sizeof(prefix) + padded(prefix.size));
	if (!at) {
		w->failed = false;
		return false;
	}
	memcpy(at, &prefix, sizeof(prefix));
	frame_encode(at + sizeof(prefix), frame);
	if (frame->size)
		memcpy(at + sizeof(prefix) + MC_FRAME_HEADER_SIZE, body, frame->size);
	return true;
}

bool batch_next(const struct batch *batch, size_t *position, struct letter *letter)
{
	struct prefix prefix;

	if (*position >= batch->letters.size)
		return false;
	memcpy(&prefix, batch->letters.data + *position, sizeof(prefix));
	letter->session = prefix.session;
	letter->bytes = batch->letters.data + *position + sizeof(prefix);
	*position += sizeof(prefix) + padded(prefix.size);
	return true;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	writer_fini(&batch->letters);
	free(batch);
}
