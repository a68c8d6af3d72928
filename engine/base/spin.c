#include "engine/base/spin.h"

bool spin_begin(struct spin *spin, uint64_t now_ns)
{
	spin->begin_ns = now_ns;
	spin->last_ns = now_ns;
	return now_ns >= spin->rest_until_ns;
}

static void rest(struct spin *spin, uint64_t now_ns)
{
	spin->rest_until_ns = now_ns + SPIN_REST_NS;
	spin->vain = 0;
}

bool spin_on(struct spin *spin, bool found, uint64_t now_ns)
{
	bool jumped = now_ns - spin->last_ns >= SPIN_JUMP_NS;

	spin->last_ns = now_ns;
	if (jumped) {
		rest(spin, now_ns);
		return false;
	}
	if (found) {
		spin->vain -= spin->vain > 0;
		return false;
	}
	if (now_ns - spin->begin_ns < SPIN_NS)
		return true;
	if (++spin->vain == SPIN_VAIN_MAX)
		rest(spin, now_ns);
	return false;
}
