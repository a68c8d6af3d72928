/* An object that takes long to show holds up nobody but who asked for it. */
#include <check.h>
#include <semaphore.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"
#include "tests/support/transport_world.h"

#define ENGINE_TCP 2 /* the row of the world */
#define LARGE	   (20 * MIB)
#define STEP_MS	   20000u

static sem_t asked, go;
static struct world world;
static uint64_t large, small;
static struct transport_counters before; /* the small one was asked for */

/* On the owner's thread: what others ask for has come when the large one is begun with. */
static void holding(struct fake_source *fake, uint64_t id)
{
	(void)fake;
	if (id == large) {
		sem_post(&asked);
		sem_wait(&go);
	} else {
		before = world_counters(world.owner);
	}
}

static void begin(void)
{
	world_init(&world, ENGINE_TCP);
	sem_init(&asked, 0, 0);
	sem_init(&go, 0, 0);
	large = fake_add(&world.fake, 0, LARGE);
	small = fake_add(&world.fake, 1, 1000);
	world.fake.holding = holding;
}

static void ask(struct getting *getting, struct transport *visitor, uint64_t id)
{
	getting_init(getting, visitor, id, 0, STEP_MS);
	getting_start(getting, world.endpoint);
}

static void arrives(struct getting *getting)
{
	ck_assert_int_eq(getting_wait(getting), MC_OK);
	getting_check(getting, &world.fake);
	getting_fini(getting);
}

START_TEST(who_asks_for_a_large_object_holds_up_no_other)
{
	struct getting first, second;

	begin();
	struct transport *other = world_transport(world.ops, "127.0.0.1", &world.fake.source);
	/* Now it is connected. */
	ask(&second, other, small);
	arrives(&second);
	ask(&first, world.puller, large);
	sem_wait(&asked);
	ask(&second, other, small);
	sem_post(&go);
	arrives(&second);
	arrives(&first);
	ck_assert_uint_eq(before.pulls_served, 1);
	other->ops->close(other);
	world_fini(&world);
}
END_TEST

START_TEST(nothing_is_summed_for_who_has_left)
{
	struct getting getting;

	begin();
	struct transport *other = world_transport(world.ops, "127.0.0.1", &world.fake.source);
	ask(&getting, other, large);
	sem_wait(&asked);
	other->ops->close(other);
	ck_assert_int_eq(getting_wait(&getting), MC_CANCELLED);
	getting_fini(&getting);
	sem_post(&go);
	while (atomic_load(&world.fake.holds_made) == 0 || atomic_load(&world.fake.held) > 0)
		usleep(1000);
	ck_assert_uint_eq(world_counters(world.owner).bytes_served, 0);
	world_fini(&world);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exhibit");
	TCase *tc = tcase_create("visitors");

	log_set_level("error");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, who_asks_for_a_large_object_holds_up_no_other);
	tcase_add_test(tc, nothing_is_summed_for_who_has_left);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
