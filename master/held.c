#include "master/held.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/failpoint.h"
#include "master/journal.h"

struct held {
	struct held *next;
	struct session *session; /* NULL: it has ended */
	uint64_t group;
	size_t size;
	uint8_t bytes[];
};

void held_add(struct mc_master *master, struct session *session, size_t begin)
{
	struct writer *out = &session->out;
	size_t size = out->size - begin;
	struct held *held = malloc(sizeof(*held) + size);

	if (!held) {
		out->size = begin;
		master_session_end(master, session);
		return;
	}
	*held = (struct held){.session = session,
			      .group = master->journal->ops->group(master->journal),
			      .size = size};
	memcpy(held->bytes, out->data + begin, size);
	out->size = begin;
	session->held++;
	if (!master->held)
		master->held_end = &master->held;
	*master->held_end = held;
	master->held_end = &held->next;
	failpoint("answer.held");
}

void held_release(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!master->held)
		return;
	uint64_t answerable = ops->answerable(master->journal);
	/* A group that got nothing never ends; its answers need not wait for it. */
	bool all = answerable >= ops->group(master->journal) - 1;
	while (master->held && (all || master->held->group <= answerable)) {
		struct held *held = master->held;
		master->held = held->next;
		if (held->session) {
			held->session->held--;
			put_bytes(&held->session->out, held->bytes, held->size);
			master_session_wrote(master, held->session);
			failpoint("answer.released");
		}
		free(held);
	}
}

void held_fini(struct mc_master *master)
{
	while (master->held) {
		struct held *held = master->held;
		master->held = held->next;
		free(held);
	}
}

void held_forget(struct mc_master *master, const struct session *session)
{
	for (struct held *held = master->held; held; held = held->next) {
		if (held->session == session)
			held->session = NULL;
	}
}
