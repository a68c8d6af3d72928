/* Where the master may be: what a look finds, and for how long that counts. */
#include <check.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/net.h"
#include "engine/rpc/masters.h"
#include "tests/support/suite.h"

/* One that takes connections and says nothing, as a master that leads. */
struct leading {
	int fd;
	char address[NET_TEXT_SIZE];
};

static struct leading ours;
static struct leading another;
static struct masters *masters;

static void lead(struct leading *leading)
{
	struct net_address address;

	ck_assert_int_eq(net_parse("127.0.0.1:0", &address), MC_OK);
	ck_assert_int_eq(net_listen(&address, &leading->fd), MC_OK);
	ck_assert_int_eq(net_bound(leading->fd, &address), MC_OK);
	net_format(&address, leading->address);
}

static void setup(void)
{
	char list[2 * NET_TEXT_SIZE + 2];

	lead(&ours);
	lead(&another);
	snprintf(list, sizeof(list), "%s,%s", ours.address, another.address);
	ck_assert_int_eq(masters_open(list, &masters), MC_OK);
}

static void teardown(void)
{
	masters_close(masters);
	close(ours.fd);
	close(another.fd);
}

static void next_is(const struct leading *leading)
{
	char address[MASTERS_ADDRESS_SIZE];

	ck_assert_int_eq(masters_next(masters, address), MC_OK);
	ck_assert_str_eq(address, leading->address);
}

START_TEST(a_look_finds_another_that_leads)
{
	next_is(&ours);
	ck_assert(!masters_moved(masters, ours.address));
	masters_look(masters, ours.address);
	ck_assert(masters_moved(masters, ours.address));
	next_is(&another);
}
END_TEST

START_TEST(what_a_look_found_is_told_once)
{
	next_is(&ours);
	masters_look(masters, ours.address);
	ck_assert(masters_moved(masters, ours.address));
	ck_assert(!masters_moved(masters, ours.address));
}
END_TEST

/* Else a connection to the new leader was given up for the one before. */
START_TEST(a_look_counts_for_the_connection_it_was_made_in)
{
	next_is(&ours);
	masters_look(masters, ours.address);
	next_is(&another);
	next_is(&ours);
	ck_assert(!masters_moved(masters, ours.address));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("looks");
	TCase *tcase = tcase_create("looks");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_look_finds_another_that_leads);
	tcase_add_test(tcase, what_a_look_found_is_told_once);
	tcase_add_test(tcase, a_look_counts_for_the_connection_it_was_made_in);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
