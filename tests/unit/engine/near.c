/* Engines of one host: which fabric carries their bytes, and that each that could does. */
#include <check.h>
#include <mooncake/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "tests/support/suite.h"

#define SIZE (1u << 20)

static struct mc_engine *open_engine(const char *name, const char *protocols)
{
	struct mc_engine_config config = {
		.metadata = "memory://near",
		.name = name,
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
		.protocols = protocols,
	};
	struct mc_engine *engine;

	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	return engine;
}

static enum mc_status move(struct mc_engine *engine, enum mc_opcode opcode, void *local,
			   mc_segment_id segment, const void *remote)
{
	struct mc_request request = {opcode, local, segment, (uint64_t)(uintptr_t)remote, SIZE};
	struct mc_batch *batch;

	ck_assert_int_eq(mc_batch_new(engine, 1, &batch), MC_OK);
	enum mc_status status = mc_batch_submit(batch, &request, 1);
	if (!status)
		status = mc_batch_wait(batch, 20000);
	ck_assert_int_eq(mc_batch_free(batch), MC_OK);
	return status;
}

static const char *carrier_of(struct mc_engine *engine, mc_segment_id id)
{
	return engine->segments.table[id]->target->channel->peer->fabric->ops->name;
}

static const struct {
	const char *near, *far; /* what they may speak */
	const char *disable;	/* in the environment */
	const char *carrier;
} rows[] = {
	{NULL, NULL, NULL, "shm"},   {"tcp,shm", NULL, NULL, "shm"},
	{"shm", "shm", NULL, "shm"}, {"tcp", NULL, NULL, "tcp"},
	{NULL, "tcp", NULL, "tcp"},  {NULL, NULL, "MC_DISABLE_SHM", "tcp"},
};

START_TEST(the_nearest_fabric_that_both_have_carries)
{
	void *here, *there;
	mc_segment_id segment;

	if (rows[_i].disable)
		setenv(rows[_i].disable, "1", 1);
	struct mc_engine *near = open_engine("near", rows[_i].near);
	struct mc_engine *far = open_engine("far", rows[_i].far);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &here), MC_OK);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &there), MC_OK);
	memset(there, 7, SIZE);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
	ck_assert_str_eq(carrier_of(near, segment), rows[_i].carrier);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	ck_assert_uint_eq(((uint8_t *)here)[SIZE - 1], 7);
	ck_assert_int_eq(move(near, MC_WRITE, here, segment, there), MC_OK);
	/* The owner takes it back, and lends it again. */
	ck_assert_int_eq(mc_engine_unregister(far, there), MC_OK);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_ACCESS);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_REMOTE_READ), MC_OK);
	ck_assert_int_eq(mc_segment_sync(near, "far"), MC_OK);
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	ck_assert_int_eq(move(near, MC_WRITE, here, segment, there), MC_ACCESS);
	mc_engine_close(near);
	mc_engine_close(far);
	mc_memory_free(here);
	mc_memory_free(there);
}
END_TEST

/* --- the kernel's word ----------------------------------------------------------------------- */

#define STRANGER 65534u

struct card {
	char name[SEGMENT_NAME_SIZE];
	uint64_t address;
};

/* As a user without privileges; dumpable: whether others of it may look into its memory. */
static struct mc_engine *open_as_user(bool dumpable)
{
	struct mc_engine_config config = {
		.metadata = "P2PHANDSHAKE", .listen = "127.0.0.1", .announce = "127.0.0.1"};
	struct mc_engine *engine;

	if (setresgid(STRANGER, STRANGER, STRANGER) != 0 ||
	    setresuid(STRANGER, STRANGER, STRANGER) != 0 || prctl(PR_SET_DUMPABLE, dumpable) != 0)
		_exit(2);
	/* Where Yama asks for it; where it doesn't, this fails. */
	if (dumpable)
		(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	return mc_engine_open(&config, &engine) == MC_OK ? engine : NULL;
}

static int lend(bool dumpable, int to, int from)
{
	struct mc_engine *engine = open_as_user(dumpable);
	struct card card = {0};
	void *memory;
	char byte;

	if (!engine || mc_memory_alloc(SIZE, &memory))
		return 3;
	memset(memory, 0x5a, SIZE);
	if (mc_engine_register(engine, memory, SIZE, "*", MC_REGION_DEFAULT))
		return 3;
	snprintf(card.name, sizeof(card.name), "%s", mc_engine_name(engine));
	card.address = (uint64_t)(uintptr_t)memory;
	if (write(to, &card, sizeof(card)) != sizeof(card))
		return 4;
	(void)!read(from, &byte, 1);
	return 0;
}

/* 0: what was read is right, and this fabric carried it. */
static int borrow(const struct card *card, const char *carrier)
{
	struct mc_engine *engine = open_as_user(true);
	uint8_t *here = malloc(SIZE);
	mc_segment_id id;

	if (!engine || !here || mc_engine_register(engine, here, SIZE, "*", MC_REGION_LOCAL) ||
	    mc_segment_open(engine, card->name, 0, &id))
		return 5;
	if (move(engine, MC_READ, here, id, (void *)(uintptr_t)card->address))
		return 6;
	if (here[0] != 0x5a || here[SIZE - 1] != 0x5a)
		return 7;
	return strcmp(carrier_of(engine, id), carrier) == 0 ? 0 : 8;
}

static int outcome_of(pid_t child)
{
	int outcome;

	ck_assert_int_eq(waitpid(child, &outcome, 0), child);
	ck_assert(WIFEXITED(outcome));
	return WEXITSTATUS(outcome);
}

START_TEST(where_the_kernel_forbids_to_copy_tcp_carries)
{
	bool dumpable = _i == 1;
	struct card card;
	int up[2], down[2];

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: only root can become a user without privileges\n");
		return;
	}
	ck_assert(pipe(up) == 0 && pipe(down) == 0);
	pid_t lender = fork();
	if (lender == 0) {
		close(down[1]);
		_exit(lend(dumpable, up[1], down[0]));
	}
	close(up[1]);
	ck_assert_int_eq(read(up[0], &card, sizeof(card)), sizeof(card));
	pid_t borrower = fork();
	if (borrower == 0)
		_exit(borrow(&card, dumpable ? "shm" : "tcp"));
	ck_assert_int_eq(outcome_of(borrower), 0);
	close(down[1]);
	ck_assert_int_eq(outcome_of(lender), 0);
}
END_TEST

/* --- memory of a GPU ---------------------------------------------------------------------------
 */

START_TEST(memory_of_a_gpu_that_nothing_here_can_reach_is_refused)
{
	struct mc_engine *engine = open_engine("gpu", "shm,tcp");
	struct mc_engine_stats stats;
	void *memory;

	ck_assert_int_eq(mc_memory_alloc(SIZE, &memory), MC_OK);
	ck_assert_int_eq(mc_engine_register(engine, memory, SIZE, "cuda:0", MC_REGION_DEFAULT),
			 MC_NOT_SUPPORTED);
	mc_engine_stats(engine, &stats);
	ck_assert_uint_eq(stats.regions, 0);
	ck_assert_int_eq(mc_engine_register(engine, memory, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	mc_engine_close(engine);
	mc_memory_free(memory);
}
END_TEST

START_TEST(a_neighbour_that_restarted_is_found_again)
{
	struct mc_engine *near = open_engine("near", NULL), *far = open_engine("far", NULL);
	void *here, *there;
	mc_segment_id segment;

	ck_assert_int_eq(mc_memory_alloc(SIZE, &here), MC_OK);
	ck_assert_int_eq(mc_memory_alloc(SIZE, &there), MC_OK);
	ck_assert_int_eq(mc_engine_register(near, here, SIZE, "*", MC_REGION_LOCAL), MC_OK);
	ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT), MC_OK);
	ck_assert_int_eq(mc_segment_open(near, "far", 0, &segment), MC_OK);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
		mc_engine_close(far);
		far = open_engine("far", NULL);
		ck_assert_int_eq(mc_engine_register(far, there, SIZE, "*", MC_REGION_DEFAULT),
				 MC_OK);
		/* A descriptor is fetched anew no more often than that. */
		usleep(25000);
	}
	ck_assert_int_eq(move(near, MC_READ, here, segment, there), MC_OK);
	mc_engine_close(near);
	mc_engine_close(far);
	mc_memory_free(here);
	mc_memory_free(there);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("near");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, the_nearest_fabric_that_both_have_carries, 0, ARRAY_SIZE(rows));
	tcase_add_test(tcase, a_neighbour_that_restarted_is_found_again);
	tcase_add_loop_test(tcase, where_the_kernel_forbids_to_copy_tcp_carries, 0, 2);
	tcase_add_test(tcase, memory_of_a_gpu_that_nothing_here_can_reach_is_refused);
	suite_add_tcase(s, tcase);
	log_set_level("error");
	return suite_run(s);
}
