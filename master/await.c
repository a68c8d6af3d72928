#include "master/await.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "master/repair.h"
#include "master/service.h"
#include "master/standing.h"

struct wait {
	struct wait *next;
	struct session *session;
	uint64_t request_id;
	uint64_t id;
	uint64_t version;
	uint8_t count;
};

/* Take the wait out and answer it. */
static void answer(struct mc_master *master, struct wait **at, enum mc_status status)
{
	struct wait *wait = *at;

	*at = wait->next;
	service_reply(master, wait->session, MC_VERB_AWAIT, wait->request_id, status);
	free(wait);
}

void await_check(struct mc_master *master, const struct entry *entry)
{
	struct wait **at = &master->waits;
	struct standing standing;

	if (!*at)
		return;
	standing_of(master, entry, &standing);
	while (*at) {
		const struct wait *wait = *at;
		bool gone = wait->version != entry->version;
		if (wait->id == entry->id && (gone || standing.primaries >= wait->count))
			answer(master, at, gone ? MC_NOT_FOUND : MC_OK);
		else
			at = &(*at)->next;
	}
}

void await_fail(struct mc_master *master, uint64_t id, enum mc_status status)
{
	struct wait **at = &master->waits;

	while (*at) {
		if ((*at)->id == id)
			answer(master, at, status);
		else
			at = &(*at)->next;
	}
}

void await_forget(struct mc_master *master, const struct session *session)
{
	struct wait **at = &master->waits;

	while (*at) {
		struct wait *wait = *at;
		if (session && wait->session != session) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		free(wait);
	}
}

void await_read(struct reader *r, struct item *item)
{
	item->id = get_u64(r);
	item->version = get_u64(r);
	item->kind = get_u8(r);
	if (item->kind > MC_REPLICA_MAX)
		r->failed = true;
}

enum mc_status await_apply(struct call *call, const struct item *item)
{
	struct mc_master *master = call->master;
	struct entry *entry = catalog_find(&master->catalog, item->id);
	struct standing standing;

	if (!entry || entry_is_directory(entry) || entry->version != item->version)
		return MC_NOT_FOUND;
	standing_of(master, entry, &standing);
	/* It may have been published to the leader before, and nobody asks for its copies yet. */
	if (standing.primaries < item->kind && !master->read_only) {
		(void)repair_want(master, entry, &standing);
		standing_of(master, entry, &standing);
	}
	if (standing.primaries >= item->kind)
		return MC_OK;
	if (!repair_expects(master->repair, item->id))
		return master->read_only ? MC_READ_ONLY : MC_NO_SPACE;
	struct wait *wait = malloc(sizeof(*wait));
	if (!wait)
		return MC_NO_MEMORY;
	*wait = (struct wait){
		.next = master->waits,
		.session = call->session,
		.request_id = call->request_id,
		.id = item->id,
		.version = item->version,
		.count = item->kind,
	};
	master->waits = wait;
	call->later = true;
	return MC_OK;
}
