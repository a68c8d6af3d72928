/* Objects that are ready before anybody asks: when they are made, for whom, and when they go. */
#include "engine/transport/onesided/showcase.h"

#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/base/clock.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/transport/onesided/note.h"

#define MIB	(1ull << 20)
#define SIZE	(10 * MIB) /* three pieces */
#define FILES	4
#define PATIENT 60.0

/* --- a source of files in memory ------------------------------------------------------ */

static struct mc_engine *engine;
static struct showcase showcase;
static atomic_int holds, releases;
static atomic_bool slow; /* who holds without having been asked waits for go */
static sem_t held, go;
static atomic_int stop_at; /* and so does the thread before it sums that piece, from 1 */
static atomic_int looks;   /* of the thread at what moves, until then */
static atomic_uint_fast64_t moved;

static int files[FILES];

static int file_new(void)
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	ck_assert_int_eq(fallocate(fd, 0, 0, SIZE), 0);
	return fd;
}

/* Whoever calls back may hold locks, or take them. */
static void check_policy(void)
{
	ck_assert_int_eq(sched_getscheduler(0), sched_getscheduler(getpid()));
}

static enum mc_status hold(void *context, uint64_t id, uint64_t wanted, struct source_hold *made)
{
	(void)context;
	check_policy();
	(void)wanted;
	made->attr = (struct mc_attr){.id = id, .version = 1, .size = SIZE};
	made->fd = dup(files[id % FILES]);
	ck_assert_int_ge(made->fd, 0);
	atomic_fetch_add(&holds, 1);
	if (made->ahead)
		atomic_store(&looks, atomic_load(&stop_at));
	if (made->ahead && atomic_load(&slow)) {
		sem_post(&held);
		sem_wait(&go);
	}
	return MC_OK;
}

static void release(void *context, struct source_hold *made)
{
	(void)context;
	check_policy();
	close(made->fd);
	atomic_fetch_add(&releases, 1);
}

static const struct transport_source source = {.hold = hold, .release = release};

static uint64_t moved_ns(void *context)
{
	(void)context;
	check_policy();
	if (atomic_load(&looks) > 0 && atomic_fetch_sub(&looks, 1) == 1) {
		sem_post(&held);
		sem_wait(&go);
	}
	return atomic_load(&moved);
}

static void begin_with(uint64_t bytes_max)
{
	struct mc_engine_config config = {
		.metadata = "memory://showcase", .name = "owner", .listen = "127.0.0.1"};
	const struct fabric_ops *fabrics[] = {fabric_find("tcp"), NULL};
	struct showcase_config said = {.bytes_max = bytes_max, .moved_ns = moved_ns};

	said.source = &source;
	ck_assert_int_eq(engine_open(&config, fabrics, &engine), MC_OK);
	said.engine = engine;
	sem_init(&held, 0, 0);
	sem_init(&go, 0, 0);
	for (unsigned i = 0; i < FILES; i++)
		files[i] = file_new();
	ck_assert_int_eq(showcase_start(&showcase, &said), MC_OK);
}

static void begin(void)
{
	begin_with(1ull << 30);
}

static uint64_t regions(void)
{
	struct mc_engine_stats stats;

	mc_engine_stats(engine, &stats);
	return stats.regions;
}

static void end(void)
{
	showcase_stop(&showcase);
	ck_assert_uint_eq(regions(), 0);
	ck_assert_int_eq(atomic_load(&holds), atomic_load(&releases));
	mc_engine_close(engine);
	for (unsigned i = 0; i < FILES; i++)
		close(files[i]);
}

static struct transport_counters seen(void)
{
	struct transport_counters counters = {0};

	showcase_counters(&showcase, &counters);
	return counters;
}

static uint32_t field(const uint32_t *field)
{
	pthread_mutex_lock(&showcase.lock);
	uint32_t value = *field;
	pthread_mutex_unlock(&showcase.lock);
	return value;
}

/* Until it is so; the suite's own limit ends what never is. */
#define AWAIT(condition)                                                                           \
	while (!(condition))                                                                       \
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)

/* As the owner holds it for a visitor. */
static struct source_hold hold_of(uint64_t id)
{
	struct source_hold made = {.fd = -1};

	ck_assert_int_eq(hold(NULL, id, 0, &made), MC_OK);
	return made;
}

/* As the owner does for a visitor, once. */
static void a_turn(const struct source_hold *asked, struct exhibit **exhibit)
{
	ck_assert(!*exhibit || !exhibit_ready(*exhibit));
	ck_assert_int_eq(showcase_exhibit(&showcase, asked, exhibit), MC_OK);
}

static struct exhibit *get(const struct source_hold *asked, struct exhibit *exhibit)
{
	do
		a_turn(asked, &exhibit);
	while (!exhibit_ready(exhibit));
	return exhibit;
}

static void check_sums(const struct exhibit *exhibit)
{
	const uint8_t *map = exhibit->map;

	for (uint64_t at = 0; at < SIZE; at += NOTE_PIECE_SIZE) {
		uint64_t size = SIZE - at < NOTE_PIECE_SIZE ? SIZE - at : NOTE_PIECE_SIZE;
		ck_assert_uint_eq(load_u32(exhibit->sums + at / NOTE_PIECE_SIZE * 4),
				  crc32c(0, map + at, size));
	}
}

/* --- tests ------------------------------------------------------------------------------ */

START_TEST(what_rests_is_ready_when_nothing_moves)
{
	begin();
	showcase_show(&showcase, 1);
	AWAIT(seen().shown == 1);
	ck_assert_uint_eq(regions(), 1);
	ck_assert_int_eq(atomic_load(&releases), 1);
	end();
}
END_TEST

START_TEST(nothing_is_made_while_something_moves)
{
	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	nanosleep(&(struct timespec){.tv_nsec = 3 * SHOWCASE_QUIET_MS * 1000000}, NULL);
	ck_assert_int_eq(atomic_load(&holds), 0);
	atomic_store(&moved, clock_ns());
	AWAIT(seen().shown == 1);
	ck_assert_uint_ge(clock_ns() - atomic_load(&moved), SHOWCASE_QUIET_MS * 1000000);
	end();
}
END_TEST

START_TEST(what_begins_to_move_stops_the_making_which_is_done_later)
{
	begin();
	atomic_store(&slow, true);
	showcase_show(&showcase, 1);
	sem_wait(&held);
	atomic_store(&moved, UINT64_MAX);
	sem_post(&go);
	AWAIT(atomic_load(&releases) == 1);
	ck_assert_uint_eq(seen().shown + regions(), 0);
	atomic_store(&slow, false);
	atomic_store(&moved, 0);
	AWAIT(seen().shown == 1);
	ck_assert_int_eq(atomic_load(&holds), 2);
	end();
}
END_TEST

/* Who asks neither waits for the thread nor sums again what it has summed. */
START_TEST(one_in_the_making_is_taken_over_by_who_asks)
{
	struct exhibit *exhibit = NULL;

	begin();
	atomic_store(&stop_at, 3);
	showcase_show(&showcase, 1);
	sem_wait(&held);
	struct source_hold asked = hold_of(1);
	a_turn(&asked, &exhibit);
	ck_assert(exhibit_summed(exhibit));
	a_turn(&asked, &exhibit);
	check_sums(exhibit);
	ck_assert_uint_eq(seen().shown, 1);
	atomic_store(&stop_at, 0);
	sem_post(&go);
	AWAIT(atomic_load(&releases) == 1);
	ck_assert_uint_eq(seen().shown, 1);
	AWAIT(regions() == 1);
	showcase_leave(&showcase, exhibit);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(those_who_ask_at_once_make_it_together)
{
	struct exhibit *first = NULL, *second = NULL;

	begin_with(_i == 0 ? 0 : 1ull << 30);
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1), again = hold_of(1);
	a_turn(&asked, &first);
	a_turn(&again, &second);
	ck_assert_ptr_eq(first, second);
	/* The first leaves, and his hold with him. */
	showcase_leave(&showcase, first);
	release(NULL, &asked);
	a_turn(&again, &second);
	a_turn(&again, &second);
	ck_assert(exhibit_ready(second));
	check_sums(second);
	ck_assert_uint_eq(seen().shown, _i);
	showcase_leave(&showcase, second);
	release(NULL, &again);
	end();
}
END_TEST

START_TEST(what_nobody_goes_on_with_is_wished_for_again)
{
	struct exhibit *exhibit = NULL;

	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	a_turn(&asked, &exhibit);
	showcase_leave(&showcase, exhibit);
	release(NULL, &asked);
	ck_assert_uint_eq(seen().shown + regions(), 0);
	atomic_store(&moved, 0);
	AWAIT(seen().shown == 1);
	end();
}
END_TEST

START_TEST(what_is_hidden_while_who_asked_makes_it_is_his_alone)
{
	struct exhibit *exhibit = NULL;

	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	a_turn(&asked, &exhibit);
	showcase_hide(&showcase, 1);
	showcase_show(&showcase, 1);
	exhibit = get(&asked, exhibit);
	ck_assert_uint_eq(seen().shown, 0);
	showcase_leave(&showcase, exhibit);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(one_that_is_wished_for_is_made_by_who_asks_and_stays_for_others)
{
	struct exhibit *first, *second;

	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	first = get(&asked, NULL);
	ck_assert_uint_eq(seen().shown, 1);
	ck_assert_uint_eq(seen().pulls_shown, 0);
	second = get(&asked, NULL);
	ck_assert_ptr_eq(first, second);
	ck_assert_uint_eq(seen().pulls_shown, 1);
	showcase_leave(&showcase, first);
	showcase_leave(&showcase, second);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(nothing_is_answered_from_what_is_hidden_and_a_visitor_keeps_his)
{
	struct exhibit *first, *second;

	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	first = get(&asked, NULL);
	showcase_hide(&showcase, 1);
	ck_assert_uint_eq(seen().shown, 0);
	showcase_clear(&showcase);
	ck_assert_uint_eq(regions(), 1);
	second = get(&asked, NULL);
	ck_assert_ptr_ne(first, second);
	showcase_leave(&showcase, first);
	showcase_leave(&showcase, second);
	ck_assert_uint_eq(regions(), 0);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(what_is_hidden_in_the_making_never_comes_to_be)
{
	begin();
	atomic_store(&slow, true);
	showcase_show(&showcase, 1);
	sem_wait(&held);
	showcase_hide(&showcase, 1);
	sem_post(&go);
	AWAIT(atomic_load(&releases) == 1);
	AWAIT(regions() == 0);
	ck_assert_uint_eq(seen().shown, 0);
	end();
}
END_TEST

/* Row 0: another version in the same file; row 1: the same version in another file. */
START_TEST(what_is_not_the_same_bytes_is_made_anew)
{
	struct exhibit *first, *second;

	begin();
	atomic_store(&moved, UINT64_MAX);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	first = get(&asked, NULL);
	struct source_hold other = hold_of(_i == 0 ? 1 : 2);
	other.attr.id = 1;
	other.attr.version += _i == 0;
	second = get(&other, NULL);
	ck_assert_ptr_ne(first, second);
	ck_assert_uint_eq(second->version, other.attr.version);
	ck_assert_uint_eq(seen().pulls_shown, 0);
	showcase_leave(&showcase, first);
	showcase_leave(&showcase, second);
	release(NULL, &asked);
	release(NULL, &other);
	end();
}
END_TEST

START_TEST(the_newest_stay_within_the_bytes_allowed)
{
	begin_with(2 * SIZE + 1);
	atomic_store(&moved, UINT64_MAX);
	for (uint64_t id = 1; id <= 5; id++)
		showcase_show(&showcase, id);
	atomic_store(&moved, 0);
	AWAIT(field(&showcase.count) == 2 && seen().shown == 2);
	AWAIT(regions() == 2);
	struct exhibit *exhibit;
	struct source_hold asked = hold_of(6);
	showcase_show(&showcase, 6);
	exhibit = get(&asked, NULL);
	ck_assert_uint_le(seen().shown, 2);
	showcase_leave(&showcase, exhibit);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(nothing_is_shown_where_nothing_may_be)
{
	struct exhibit *exhibit;

	begin_with(0);
	showcase_show(&showcase, 1);
	struct source_hold asked = hold_of(1);
	exhibit = get(&asked, NULL);
	ck_assert_uint_eq(seen().shown, 0);
	showcase_leave(&showcase, exhibit);
	release(NULL, &asked);
	end();
}
END_TEST

START_TEST(the_oldest_wishes_go_when_there_are_too_many)
{
	begin();
	atomic_store(&moved, UINT64_MAX);
	for (uint64_t id = 1; id <= SHOWCASE_MAX + 10; id++)
		showcase_show(&showcase, id);
	ck_assert_uint_eq(showcase.count, SHOWCASE_MAX);
	showcase_hide(&showcase, 10);
	ck_assert_uint_eq(showcase.count, SHOWCASE_MAX);
	showcase_hide(&showcase, 11);
	ck_assert_uint_eq(showcase.count, SHOWCASE_MAX - 1);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("showcase");
	TCase *tc = tcase_create("showcase");
	SRunner *runner = srunner_create(suite);

	tcase_set_timeout(tc, PATIENT);
	tcase_add_test(tc, what_rests_is_ready_when_nothing_moves);
	tcase_add_test(tc, nothing_is_made_while_something_moves);
	tcase_add_test(tc, what_begins_to_move_stops_the_making_which_is_done_later);
	tcase_add_test(tc, one_in_the_making_is_taken_over_by_who_asks);
	tcase_add_loop_test(tc, those_who_ask_at_once_make_it_together, 0, 2);
	tcase_add_test(tc, what_nobody_goes_on_with_is_wished_for_again);
	tcase_add_test(tc, what_is_hidden_while_who_asked_makes_it_is_his_alone);
	tcase_add_test(tc, one_that_is_wished_for_is_made_by_who_asks_and_stays_for_others);
	tcase_add_test(tc, nothing_is_answered_from_what_is_hidden_and_a_visitor_keeps_his);
	tcase_add_test(tc, what_is_hidden_in_the_making_never_comes_to_be);
	tcase_add_loop_test(tc, what_is_not_the_same_bytes_is_made_anew, 0, 2);
	tcase_add_test(tc, the_newest_stay_within_the_bytes_allowed);
	tcase_add_test(tc, nothing_is_shown_where_nothing_may_be);
	tcase_add_test(tc, the_oldest_wishes_go_when_there_are_too_many);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
