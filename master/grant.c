#include "master/grant.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "master/parking.h"
#include "master/state.h"

/* When someone other than this session added a name to the directory. */
static uint64_t others_added_ms(const struct directory *directory, const struct session *session)
{
	bool mine = __atomic_load_n(&directory->adder, __ATOMIC_RELAXED) == session->id;

	return __atomic_load_n(mine ? &directory->added_before_ms : &directory->added_ms,
			       __ATOMIC_RELAXED);
}

bool grant_likely(const struct session *session, const struct directory *directory, uint64_t now_ms)
{
	uint64_t added_ms = others_added_ms(directory, session);

	if (!session->node || __atomic_load_n(&directory->grant, __ATOMIC_RELAXED))
		return false;
	if (__atomic_load_n(&directory->count, __ATOMIC_RELAXED) > MC_GRANT_NAMES_MAX)
		return false;
	return added_ms == 0 || now_ms >= added_ms + GRANT_QUIET_MS;
}

static bool may_have(const struct mc_master *master, const struct session *session,
		     const struct directory *directory, const struct writer *w)
{
	return grant_likely(session, directory, master->now_ms) &&
	       w->size + 8ull * directory->count <= GRANT_REPLY_MAX;
}

static void holder_set(struct directory *directory, struct grant *grant)
{
	__atomic_store_n(&directory->grant, grant, __ATOMIC_RELAXED);
}

static struct grant *grant_new(struct session *session, struct directory *directory)
{
	struct grant *grant = calloc(1, sizeof(*grant));

	if (!grant)
		return NULL;
	grant->session = session;
	grant->directory = directory;
	grant->next = session->grants;
	if (grant->next)
		grant->next->previous = grant;
	session->grants = grant;
	holder_set(directory, grant);
	return grant;
}

void grant_put(struct mc_master *master, struct session *session, struct directory *directory,
	       struct writer *w)
{
	if (!may_have(master, session, directory, w) || !grant_new(session, directory)) {
		put_u8(w, 0);
		return;
	}
	master->counters.grants++;
	put_u8(w, 1);
	put_u32(w, directory->count);
	uint32_t place = 0;
	const struct entry *entry;
	while ((entry = directory_next(directory, &place)) != NULL)
		put_u64(w, mc_name_hash(entry->name, entry->name_size));
}

void grant_added(struct mc_master *master, const struct session *session,
		 struct directory *directory)
{
	if (directory->adder != session->id) {
		__atomic_store_n(&directory->added_before_ms, directory->added_ms,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&directory->adder, session->id, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&directory->added_ms, master->now_ms, __ATOMIC_RELAXED);
}

bool grant_clear(struct mc_master *master, struct session *session, struct directory *directory)
{
	struct grant *grant = directory->grant;
	uint8_t body[8];

	if (!grant || grant->session == session)
		return true;
	if (grant->recalled)
		return false;
	grant->recalled = true;
	master->recalled++;
	grant->recalled_ms = master->now_ms;
	master->counters.recalls++;
	/* The holder doesn't get it again while this one goes on adding. */
	grant_added(master, session, directory);
	store_u64(body, directory->entry->id);
	master_session_push(master, grant->session, MC_VERB_RECALL, body, sizeof(body));
	return false;
}

void grant_end(struct mc_master *master, struct grant *grant)
{
	if (grant->next)
		grant->next->previous = grant->previous;
	if (grant->previous)
		grant->previous->next = grant->next;
	else
		grant->session->grants = grant->next;
	holder_set(grant->directory, NULL);
	master->recalled -= grant->recalled;
	free(grant);
	parking_due(master, PARKED_FOR_GRANT);
}

void grant_return(struct mc_master *master, struct session *session, struct directory *directory)
{
	if (directory->grant && directory->grant->session == session)
		grant_end(master, directory->grant);
}

void grant_end_all(struct mc_master *master, struct session *session)
{
	while (session->grants)
		grant_end(master, session->grants);
}

void grant_expire(struct mc_master *master)
{
	for (struct session *s = master->sessions; s; s = s->next) {
		for (const struct grant *grant = s->grants; grant && !s->silent;
		     grant = grant->next) {
			if (!grant->recalled ||
			    master->now_ms - grant->recalled_ms < master->ttl_ms)
				continue;
			log_warn("did not give a directory back, ended the session session=%u "
				 "peer=%s directory=%lu",
				 s->id, s->connection->peer,
				 (unsigned long)grant->directory->entry->id);
			s->silent = true;
			master_session_end(master, s);
		}
	}
}
