#include "master/parking.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "master/service.h"
#include "master/session.h"
#include "master/state.h"

bool parking_add(struct mc_master *master, enum parking_for what, struct session *session,
		 const struct frame *frame, const uint8_t *body)
{
	struct parking *parking = &master->parkings[what];
	size_t size = MC_FRAME_HEADER_SIZE + (size_t)frame->size;

	if (session->parked_size[what] + size > PARKED_SIZE_MAX)
		return false;
	struct parked *parked = malloc(sizeof(*parked) + size);
	if (!parked)
		return false;
	*parked = (struct parked){.session = session, .size = size};
	frame_encode(parked->bytes, frame);
	memcpy(parked->bytes + MC_FRAME_HEADER_SIZE, body, frame->size);
	session->parked_size[what] += size;
	master->counters.parked++;
	if (!parking->first)
		parking->end = &parking->first;
	*parking->end = parked;
	parking->end = &parked->next;
	return true;
}

void parking_due(struct mc_master *master, enum parking_for what)
{
	master->parkings[what].due = true;
}

static void resume(struct mc_master *master, enum parking_for what)
{
	struct parking *parking = &master->parkings[what];

	while (parking->due && parking->first) {
		struct parked *waiting = parking->first;
		parking->first = NULL;
		parking->due = false;
		/* Those who must wait again count anew, so that nobody waits for who comes later.
		 */
		for (const struct parked *p = waiting; p; p = p->next)
			p->session->parked_size[what] -= p->size;
		while (waiting) {
			struct parked *parked = waiting;
			struct frame frame;
			waiting = parked->next;
			MUST(frame_decode(parked->bytes, &frame) == MC_OK);
			if (!parked->session->ending)
				service_request(master, parked->session, &frame,
						parked->bytes + MC_FRAME_HEADER_SIZE);
			free(parked);
		}
	}
	parking->due = false;
}

void parking_resume(struct mc_master *master)
{
	for (int what = 0; what < PARKING_COUNT; what++)
		resume(master, (enum parking_for)what);
}

void parking_forget(struct mc_master *master, const struct session *session)
{
	for (struct parking *parking = master->parkings; parking < master->parkings + PARKING_COUNT;
	     parking++) {
		struct parked **at = &parking->first;

		while (*at) {
			struct parked *parked = *at;
			if (parked->session != session) {
				at = &parked->next;
				continue;
			}
			*at = parked->next;
			free(parked);
		}
		parking->end = at;
	}
}
