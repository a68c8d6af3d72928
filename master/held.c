#include "master/held.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/failpoint.h"
#include "master/journal.h"

struct held {
	struct held *next;
	struct session *session; /* NULL: it has ended */
	uint64_t group;
	bool final; /* it waits until the group is stored, not only answerable */
	size_t size;
	uint8_t bytes[];
};

static void hold(struct mc_master *master, struct session *session, size_t begin, bool final)
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
			      .final = final,
			      .size = size};
	memcpy(held->bytes, out->data + begin, size);
	out->size = begin;
	if (final)
		session->finals++;
	else
		session->held++;
	if (!master->held)
		master->held_end = &master->held;
	*master->held_end = held;
	master->held_end = &held->next;
	failpoint("answer.held");
}

void held_add(struct mc_master *master, struct session *session, size_t begin)
{
	hold(master, session, begin, false);
}

/* Of copies: told in order. */
static bool is_final(const struct session *session, enum mc_verb verb)
{
	return verb == MC_VERB_DROP || verb == MC_VERB_KIND ||
	       (verb == MC_VERB_REPLICATE && session->finals > 0);
}

void held_push(struct mc_master *master, struct session *session, enum mc_verb verb, size_t begin)
{
	if (master->journal->ops->stored && is_final(session, verb))
		hold(master, session, begin, true);
	else if (session->held > 0)
		hold(master, session, begin, false);
}

/* A group that got nothing never ends: what waits for it waits for the one before. */
static bool is_due(const struct held *held, uint64_t group, uint64_t answerable, uint64_t stored)
{
	uint64_t done = held->final ? stored : answerable;

	return held->group <= done || group - 1 <= done;
}

void held_release(struct mc_master *master)
{
	const struct journal_ops *ops = master->journal->ops;

	if (!master->held)
		return;
	uint64_t answerable = ops->answerable(master->journal);
	uint64_t stored = ops->stored(master->journal);
	uint64_t group = ops->group(master->journal);
	while (master->held && is_due(master->held, group, answerable, stored)) {
		struct held *held = master->held;
		master->held = held->next;
		if (held->session) {
			if (held->final)
				held->session->finals--;
			else
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
