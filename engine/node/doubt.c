#include "engine/node/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/*
 * What this node can't know before the master says so.
 *
 * Between PUBLISH and its answer an object is on offer: the master may have it or
 * not.  When the answer does not come its writer hears MC_TIMEOUT, and the offer
 * is in doubt: its file stays as it is, also for a node that is started anew, and
 * the master is asked as by an announcement, again and again until it says
 *
 *   that it has the object   -> it is published, what it was to replace is gone
 *   that it has it not       -> a draft again; what it was to replace has never gone
 *
 * The second is final: the master does what comes over a connection in order, and
 * the next connection of a node ends the one before.
 */

#define DOUBT_AGAIN_NS 300000000ull

/* A call that waits for the master's word. */
struct doubt_wait {
	struct doubt_wait *next;
	struct object *object; /* counted; NULL: the whole inventory */
	uint64_t deadline_ns;
	doubt_over_fn *go;
	void *context;
};

/* -- what is on offer -- */

void node_offer_locked(struct node *node, struct offer *offer)
{
	offer->next = node->offers;
	if (offer->next)
		offer->next->at = &offer->next;
	offer->at = &node->offers;
	node->offers = offer;
}

void node_offer_end_locked(struct offer *offer)
{
	if (!offer->at)
		return;
	*offer->at = offer->next;
	if (offer->next)
		offer->next->at = offer->at;
	offer->at = NULL;
}

struct offer *node_offered_locked(const struct node *node, const struct object *object)
{
	struct offer *offer = NULL;

	if (object_is(object, OBJECT_PUBLISHING))
		offer = node->offers;
	while (offer && offer->object != object)
		offer = offer->next;
	return offer;
}

bool node_leaving_locked(const struct node *node, const struct object *object)
{
	const struct offer *offer = node->offers;

	while (offer && offer->over != object->attr.id)
		offer = offer->next;
	return offer || object->leaving > 0;
}

/* -- waiting -- */

static bool wait_locked(struct node *node, struct object *object, uint64_t deadline_ns,
			doubt_over_fn *go, void *context)
{
	struct doubt_wait *wait = node->stopping ? NULL : malloc(sizeof(*wait));

	if (!wait)
		return false;
	if (object)
		object_ref(object);
	*wait = (struct doubt_wait){node->doubt_waits, object, deadline_ns, go, context};
	node->doubt_waits = wait;
	return true;
}

/* A draft is not taken to be one again before whoever took it from the doubt has said so. */
bool node_offer_wait_locked(struct node *node, struct object *object, doubt_over_fn *go,
			    void *context)
{
	bool draft = !object_is(object, OBJECT_PUBLISHED);

	return object_is(object, draft ? OBJECT_PUBLISHING : OBJECT_DOUBT) &&
	       wait_locked(node, object, UINT64_MAX, go, context);
}

bool node_told_wait(struct node *node, uint64_t deadline_ns, doubt_over_fn *go, void *context)
{
	WITH_LOCK(&node->lock);
	return node->told_session != node->session &&
	       wait_locked(node, NULL, deadline_ns, go, context);
}

/* Who is meant: those who wait for an object, or for the inventory, or too long. */
enum waiting { WAITING_OBJECT, WAITING_DOUBT, WAITING_INVENTORY, WAITING_LATE, WAITING_ALL };

static bool is_meant(const struct doubt_wait *wait, enum waiting who, const struct object *object)
{
	switch (who) {
	case WAITING_OBJECT:
		return wait->object == object;
	case WAITING_DOUBT:
		return wait->object != NULL;
	case WAITING_INVENTORY:
		return wait->object == NULL;
	case WAITING_LATE:
		return wait->deadline_ns <= clock_ns();
	case WAITING_ALL:
		break;
	}
	return true;
}

static void waits_end(struct node *node, enum waiting who, const struct object *object,
		      enum mc_status status)
{
	struct doubt_wait *ended = NULL;

	node_lock(node);
	for (struct doubt_wait **at = &node->doubt_waits; *at;) {
		struct doubt_wait *wait = *at;
		if (!is_meant(wait, who, object)) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		wait->next = ended;
		ended = wait;
	}
	node_unlock(node);
	while (ended) {
		struct doubt_wait *next = ended->next;
		ended->go(ended->context, status);
		node_unref(node, ended->object);
		free(ended);
		ended = next;
	}
}

void node_told(struct node *node)
{
	waits_end(node, WAITING_INVENTORY, NULL, MC_OK);
}

/* -- asking -- */

/* Nobody waits longer than for one try to ask. */
static void asked(struct node *node, void *context, enum mc_status status)
{
	(void)context;
	node_lock(node);
	node->doubts_asked = false;
	node->doubt_ns = clock_ns() + DOUBT_AGAIN_NS;
	node_unlock(node);
	if (!status)
		return;
	log_debug("could not ask for what is in doubt status=\"%s\"", mc_status_text(status));
	node_publishes_give_up(node, NULL);
	waits_end(node, WAITING_DOUBT, NULL, MC_TIMEOUT);
}

/* An offer in doubt, and what it was to replace here. */
static size_t collect_locked(struct node *node, uint64_t *ids)
{
	size_t count = 0;

	for (const struct offer *offer = node->offers; offer; offer = offer->next) {
		if (!offer->doubted)
			continue;
		if (ids) {
			ids[count] = offer->attr.id;
			ids[count + 1] = offer->over;
		}
		count += 2;
	}
	return count;
}

void node_doubts_turn(struct node *node)
{
	uint64_t *ids = NULL;
	size_t count = 0;

	node_lock(node);
	if (node->offers && !node->doubts_asked && !node->stopping && clock_ns() >= node->doubt_ns)
		count = collect_locked(node, NULL);
	if (count > 0)
		ids = malloc(count * sizeof(*ids));
	if (ids) {
		collect_locked(node, ids);
		node->doubts_asked = true;
	}
	bool waited = node->doubt_waits != NULL;
	node_unlock(node);
	if (ids)
		node_ask_about(node, ids, count, asked, NULL);
	free(ids);
	if (waited)
		waits_end(node, WAITING_LATE, NULL, MC_TIMEOUT);
}

void node_doubt_locked(struct node *node, struct offer *offer)
{
	offer->doubted = true;
	offer->object->flags |= OBJECT_DOUBT;
	node->doubt_ns = 0;
}

struct offer *node_doubt_take_locked(struct node *node, const struct object *object,
				     uint64_t version)
{
	struct offer *offer = node_offered_locked(node, object);

	if (!offer || !offer->doubted || offer->attr.version != version)
		return NULL;
	node_offer_end_locked(offer);
	offer->object->flags &= ~(uint32_t)OBJECT_DOUBT;
	return offer;
}

void node_offer_over(struct node *node, const struct object *object)
{
	waits_end(node, WAITING_OBJECT, object, MC_OK);
}

void node_doubts_stop(struct node *node)
{
	node_publishes_give_up(node, NULL);
	waits_end(node, WAITING_ALL, NULL, MC_CANCELLED);
}

void node_doubts_end(struct node *node)
{
	while (node->offers) {
		struct offer *offer = node->offers;
		node_offer_end_locked(offer);
		node_offer_drop(offer);
	}
}

/* -- opening for writing -- */

static void open_again(void *context, enum mc_status status)
{
	struct op *op = context;

	if (status) {
		op_end(op, status, NULL);
		return;
	}
	node_open_object(op->node, op->object, op->flags, (int32_t)op->stamp, op->done,
			 op->context);
	op_free(op);
}

bool node_doubt_open(struct node *node, struct object *object, uint32_t flags, int32_t tid,
		     node_done_fn *done, void *context)
{
	node_lock(node);
	bool doubt = object_is(object, OBJECT_DOUBT);
	node_unlock(node);
	struct op *op = doubt ? op_new(node, object, NULL, NULL, NULL, done, context) : NULL;
	if (!op)
		return doubt;
	op->flags = flags;
	op->stamp = (uint64_t)tid;
	node_lock(node);
	bool waits = object_is(object, OBJECT_DOUBT) &&
		     wait_locked(node, object, UINT64_MAX, open_again, op);
	node_unlock(node);
	if (!waits)
		op_free(op);
	return waits;
}
