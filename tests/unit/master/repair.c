/* The order, the rate and the delay of repair, by a clock that the test owns. */
#include "master/repair.h"

#include "master/budget.h"
#include "master/rank.h"
#include "master/standing.h"
#include "tests/unit/master/fleet.h"

/* The copy that is under way to a node arrives. */
static void arrive(struct entry *entry)
{
	uint32_t id = repair_flight(m->repair, entry->id);

	ck_assert_uint_ne(id, 0);
	copy_on(entry, &m->nodes.table[id - 1], MC_REPLICA_PRIMARY);
	repair_added(m, entry, &m->nodes.table[id - 1]);
}

static void pass(uint64_t ms)
{
	m->now_ms += ms;
	repair_turn(m, true);
}

/* The node's last session ends and its ttl passes. */
static void lose(struct node *node)
{
	nodes_leave(&m->nodes, node, m->now_ms);
	m->now_ms += TTL_MS;
	ck_assert_uint_eq(nodes_expire(&m->nodes, m->now_ms, TTL_MS), 1);
	if (node->reset)
		replicas_reset(m, node);
	repair_look(m, DELAY_MS);
	repair_turn(m, true);
}

static struct standing stands(const struct entry *entry)
{
	struct standing standing;

	standing_of(m, entry, &standing);
	return standing;
}

static struct repair_counters counted(void)
{
	struct repair_counters counters;

	repair_counters(m->repair, &counters);
	return counters;
}

START_TEST(an_object_of_a_lost_node_is_copied_after_the_delay)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_PRIMARY);
	pass(0);
	lose(b);
	ck_assert_uint_eq(stands(entry).primaries, 1);
	ck_assert_uint_eq(standing_lack(&(struct standing){.target = 2, .counted = 1}), 1);
	pass(DELAY_MS - 100);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), 0);
	pass(200);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
	arrive(entry);
	ck_assert_uint_eq(stands(entry).primaries, 2);
	ck_assert_uint_eq(counted().queued, 0);
	ck_assert_uint_eq(counted().made, 1);
}
END_TEST

START_TEST(a_node_whose_time_ends_amid_a_walk_is_not_forgotten)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	node_new(4, "h4");

	copy_on(object_new(a, 1, 2), c, MC_REPLICA_PRIMARY);
	/* More than one turn looks at. */
	for (int i = 0; i < 9000; i++)
		copy_on(object_new(a, 1, 2), b, MC_REPLICA_PRIMARY);
	lose(c);
	lose(b);
	m->now_ms += DELAY_MS - TTL_MS;
	repair_turn(m, true); /* what c had is looked for, and b may still return */
	pass(TTL_MS + 1);
	for (int i = 0; i < 20; i++)
		pass(1000);
	ck_assert_uint_eq(counted().queued, 9001);
}
END_TEST

START_TEST(a_node_that_flaps_starts_nothing)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	node_new(3, "h3");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_PRIMARY);
	pass(0);
	for (int i = 0; i < 20; i++) {
		lose(b);
		pass(DELAY_MS / 2);
		nodes_enter(&m->nodes, b, m->now_ms);
		if (b->reset)
			replicas_reset(m, b);
		/* It is announcing: what it had counts still. */
		pass(DELAY_MS);
		copy_on(entry, b, MC_REPLICA_PRIMARY);
		nodes_settle(b);
		pass(DELAY_MS);
		ck_assert_uint_eq(counted().queued, 0);
	}
	ck_assert_uint_eq(counted().made, 0);
	ck_assert_uint_eq(counted().lacking, 0);
}
END_TEST

static int flying(struct entry *const *entries, int count)
{
	int flights = 0;

	for (int i = 0; i < count; i++)
		flights += repair_flight(m->repair, entries[i]->id) != 0;
	return flights;
}

START_TEST(a_master_that_has_just_begun_to_lead_waits_for_its_nodes)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_PRIMARY);
	/* As loaded from the records, hours after this standby was started: nobody is here. */
	m->now_ms += 3600000;
	b->public.alive = false;
	b->state = NODE_ABSENT;
	b->settled = b->lenient = false;
	b->left_ms = 0;
	nodes_show(b);
	repair_begin(m);
	pass(1);
	repair_published(m, object_new(a, 1, 2), NULL, false);
	node_new(3, "h3");
	for (int i = 0; i < 5; i++)
		pass(1);
	ck_assert(!repair_expects(m->repair, entry->id));
	pass(TTL_MS + DELAY_MS);
	pass(1);
	ck_assert(repair_expects(m->repair, entry->id));
}
END_TEST

START_TEST(the_most_endangered_are_copied_first)
{
	struct node *nodes[6];
	struct entry *entries[6];

	teardown();
	setup_rate(MIB); /* one at a time */
	for (uint8_t i = 0; i < 6; i++) {
		char host[8];
		snprintf(host, sizeof(host), "h%u", i);
		nodes[i] = node_new(i + 1u, host);
	}
	/* Made in the order of least danger: 3, 3, 2, 2, 1, 1 replicas are left. */
	for (int i = 0; i < 6; i++) {
		int left = 3 - i / 2;
		entries[i] = object_new(nodes[0], MIB, 4);
		for (int k = 1; k < left; k++)
			copy_on(entries[i], nodes[k], MC_REPLICA_PRIMARY);
		copy_on(entries[i], nodes[5], MC_REPLICA_PRIMARY);
	}
	lose(nodes[5]);
	m->now_ms += DELAY_MS;
	for (int i = 0; i < 8; i++)
		repair_turn(m, true); /* a pass of the walk each, for nothing of the budget */
	ck_assert_int_eq(flying(entries + 4, 2), 1);
	ck_assert_int_eq(flying(entries, 4), 0);
	for (int turn = 0; turn < 3; turn++)
		pass(1000);
	ck_assert_int_eq(flying(entries + 4, 2), 2);
	ck_assert_int_eq(flying(entries, 4), 0);
}
END_TEST

START_TEST(the_most_endangered_are_found_first_among_more_than_the_queue_takes)
{
	struct entry *endangered[100];

	teardown();
	setup_rate(1); /* nothing gets on */
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	node_new(4, "h4");
	for (int i = 0; i < 60000; i++) {
		struct entry *entry = object_new(a, MIB, 3);
		copy_on(entry, c, MC_REPLICA_PRIMARY);
		if (i % 600 == 0)
			endangered[i / 600] = entry;
		else
			copy_on(entry, b, MC_REPLICA_PRIMARY);
	}
	lose(c);
	m->now_ms += DELAY_MS;
	for (int i = 0; i < 40; i++)
		repair_turn(m, true);
	ck_assert_uint_ge(counted().queued, REPAIR_JOB_MAX / 2);
	ck_assert_uint_lt(counted().queued, 60000);
	for (int i = 0; i < 100; i++)
		ck_assert(repair_expects(m->repair, endangered[i]->id));
}
END_TEST

START_TEST(repair_keeps_to_its_rate)
{
	struct node *a;
	struct node *b;
	struct entry *entries[100];

	teardown();
	setup_rate(10 * MIB);
	a = node_new(1, "h1");
	b = node_new(2, "h2");
	for (uint8_t i = 3; i < 9; i++)
		node_new(i, "h3");
	for (int i = 0; i < 100; i++) {
		entries[i] = object_new(a, 2 * MIB, 2);
		copy_on(entries[i], b, MC_REPLICA_PRIMARY);
	}
	lose(b);
	uint64_t began_ms = m->now_ms + DELAY_MS;
	while (counted().made < 100) {
		pass(50);
		for (int i = 0; i < 100; i++) {
			if (repair_flight(m->repair, entries[i]->id))
				arrive(entries[i]);
		}
		uint64_t passed_ms = m->now_ms > began_ms ? m->now_ms - began_ms : 0;
		/* One second's worth may be saved up, one object may be over. */
		ck_assert_uint_le(counted().made * 2 * MIB,
				  (passed_ms + 1000) * 10 * MIB / 1000 + 2 * MIB);
	}
	ck_assert_uint_le(m->now_ms - began_ms, 21000);
	ck_assert_uint_ge(m->now_ms - began_ms, 18000);
}
END_TEST

START_TEST(a_cache_copy_is_raised_instead_of_copying)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct entry *entry = object_new(a, MIB, 1);

	copy_on(entry, b, MC_REPLICA_CACHE);
	lose(a);
	pass(DELAY_MS + 1);
	ck_assert_uint_eq(stands(entry).primaries, 1);
	ck_assert_uint_eq(m->counters.raised, 1);
	ck_assert_uint_eq(counted().queued, 0);
	/* The first owner comes back: one too many, and it is the one that goes. */
	nodes_enter(&m->nodes, a, m->now_ms);
	ck_assert_int_eq(rank_returned(m, entry, a, MC_REPLICA_PRIMARY), MC_REPLICA_CACHE);
}
END_TEST

START_TEST(a_cache_copy_on_the_same_host_is_raised_only_when_there_is_no_other)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h1");
	struct node *c = node_new(3, "h2");
	pass(0);
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_CACHE);
	repair_changed(m, entry);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
	c->public.alive = false;
	repair_refused(m, entry->id, c, MC_NO_SPACE);
	pass(0);
	ck_assert_uint_eq(stands(entry).primaries, 2);
	ck_assert_uint_eq(m->counters.raised, 1);
}
END_TEST

START_TEST(an_object_with_many_cache_copies_on_one_host_still_gets_another_host)
{
	struct node *a = node_new(1, "h1");
	struct entry *entry = object_new(a, MIB, 2);

	for (uint8_t i = 2; i < 6; i++)
		copy_on(entry, node_new(i, "h1"), MC_REPLICA_CACHE);
	struct node *other = node_new(9, "h2");
	repair_look(m, 0);
	for (int i = 0; i < 10; i++)
		pass(1);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), other->public.id);
}
END_TEST

START_TEST(who_returns_while_copies_are_missing_stays_primary)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_PRIMARY);
	ck_assert_int_eq(rank_returned(m, entry, b, MC_REPLICA_PRIMARY), MC_REPLICA_PRIMARY);
	ck_assert_int_eq(rank_returned(m, entry, a, MC_REPLICA_PRIMARY), MC_REPLICA_PRIMARY);
	struct node *c = node_new(3, "h3");
	ck_assert_int_eq(rank_returned(m, entry, c, MC_REPLICA_PRIMARY), MC_REPLICA_CACHE);
}
END_TEST

static bool is_primary(const struct entry *entry, const struct node *node)
{
	for (uint8_t i = 0; i < entry->replica_count; i++) {
		if (REPLICA_NODE(entry->replicas[i]) == node_index(node))
			return REPLICA_KIND(entry->replicas[i]) == MC_REPLICA_PRIMARY;
	}
	return false;
}

START_TEST(of_too_many_replicas_those_that_share_a_host_are_lowered)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h1");
	struct node *c = node_new(3, "h2");
	struct entry *entry = object_new(a, MIB, 2);

	pass(0);
	copy_on(entry, b, MC_REPLICA_PRIMARY);
	copy_on(entry, c, MC_REPLICA_PRIMARY);
	repair_changed(m, entry);
	ck_assert_uint_eq(stands(entry).primaries, 2);
	ck_assert(is_primary(entry, c));
}
END_TEST

START_TEST(replicas_are_on_two_hosts_again_when_the_second_returns)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h1");
	struct node *c = node_new(3, "h2");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, c, MC_REPLICA_PRIMARY);
	pass(0);
	lose(c);
	pass(DELAY_MS + 1);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	arrive(entry);
	nodes_enter(&m->nodes, c, m->now_ms);
	copy_on(entry, c, rank_returned(m, entry, c, MC_REPLICA_PRIMARY));
	nodes_settle(c);
	for (int i = 0; i < 5; i++)
		pass(DELAY_MS);
	ck_assert_uint_eq(stands(entry).primaries, 2);
	ck_assert(is_primary(entry, c));
}
END_TEST

START_TEST(a_node_that_refuses_is_not_asked_again_and_a_new_one_is)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	pass(0);
	struct entry *entry = object_new(a, MIB, 2);

	ck_assert_uint_eq(repair_published(m, entry, NULL, false), 0);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	repair_refused(m, entry->id, b, MC_NO_SPACE);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), 0);
	ck_assert(!repair_expects(m->repair, entry->id));
	struct node *c = node_new(3, "h3");
	for (int i = 0; i < 3; i++)
		pass(DELAY_MS);
	uint32_t to = repair_flight(m->repair, entry->id);
	ck_assert(to == c->public.id || to == b->public.id);
}
END_TEST

START_TEST(a_copy_to_a_node_that_is_lost_goes_to_another)
{
	struct node *a = node_new(1, "h1");
	struct mc_placement first = {.replicas = 2, .preferred_count = 1, .preferred = {"n2"}};
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	pass(0);
	struct entry *entry = object_new(a, MIB, 0);

	repair_published(m, entry, &first, false);
	ck_assert_uint_eq(MC_ATTR_REPLICAS_GET(entry->flags), 2);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	nodes_leave(&m->nodes, b, m->now_ms);
	pass(1000);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
}
END_TEST

START_TEST(a_writer_waits_for_no_more_copies_than_are_wanted)
{
	struct node *a = node_new(1, "h1");
	struct mc_placement placement = {.replicas = 2, .ack = 2};
	node_new(2, "h2");
	pass(0);

	ck_assert_uint_eq(repair_published(m, object_new(a, 1, 0), &placement, false), 2);
	placement.ack = 8;
	ck_assert_uint_eq(repair_published(m, object_new(a, 1, 0), &placement, false), 2);
	placement.ack = 1;
	ck_assert_uint_eq(repair_published(m, object_new(a, 1, 0), &placement, false), 0);
	/* The policy of a prefix counts before the mount, the put before both. */
	struct mc_placement policy = {.replicas = 3};
	ck_assert_int_eq(policies_set(&m->policies, "", 0, &policy), MC_OK);
	struct entry *ruled = object_new(a, 1, 0);
	repair_published(m, ruled, &placement, false);
	ck_assert_uint_eq(policy_wanted(m, ruled), 3);
	struct entry *own = object_new(a, 1, 0);
	repair_published(m, own, &placement, true);
	ck_assert_uint_eq(policy_wanted(m, own), 2);
}
END_TEST

START_TEST(an_object_moves_to_the_node_that_is_preferred)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct mc_placement placement = {.preferred_count = 1, .preferred = {"n2"}};
	pass(0);
	struct entry *entry = object_new(a, MIB, 0);

	repair_published(m, entry, &placement, false);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	arrive(entry);
	ck_assert_uint_eq(stands(entry).primaries, 1);
	ck_assert_uint_eq(REPLICA_KIND(entry->replicas[0]), MC_REPLICA_CACHE);
	ck_assert(!repair_expects(m->repair, entry->id));
	/* Where that node is not there, the object stays where it is. */
	b->public.alive = false;
	struct entry *other = object_new(a, MIB, 0);
	node_new(3, "h3");
	repair_published(m, other, &placement, false);
	pass(0);
	ck_assert(!repair_expects(m->repair, other->id));
}
END_TEST

START_TEST(a_draining_node_is_emptied_and_never_of_the_last_copy)
{
	struct node *a = node_new(1, "h1");
	struct entry *entries[10];

	for (int i = 0; i < 10; i++)
		entries[i] = object_new(a, MIB, 1);
	pass(0);
	a->public.draining = true;
	repair_look(m, 0);
	for (int i = 0; i < 10; i++)
		pass(1000);
	ck_assert_uint_eq(a->replicas, 10);
	ck_assert_uint_eq(counted().lacking, 10);
	node_new(2, "h2");
	for (int i = 0; i < 10; i++)
		pass(1000);
	for (int i = 0; i < 10; i++) {
		arrive(entries[i]);
		ck_assert(!replicas_has(entries[i], a));
	}
	ck_assert_uint_eq(a->replicas, 0);
}
END_TEST

START_TEST(a_node_that_is_gone_for_good_is_drained_without_delay)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	struct entry *entry = object_new(a, MIB, 2);

	copy_on(entry, b, MC_REPLICA_PRIMARY);
	pass(0);
	lose(b);
	b->public.draining = true;
	repair_look(m, 0);
	pass(1);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
	arrive(entry);
	ck_assert_uint_eq(b->replicas, 0);
}
END_TEST

START_TEST(what_a_guest_puts_moves_to_a_node_that_lends)
{
	struct node *guest = node_new(1, "h1");
	guest->public.guest = true;
	pass(0);
	struct entry *entry = object_new(guest, MIB, 0);

	ck_assert_uint_eq(repair_published(m, entry, NULL, false), 1);
	pass(0);
	ck_assert(!repair_expects(m->repair, entry->id));
	struct node *b = node_new(2, "h1");
	for (int i = 0; i < 3; i++)
		pass(DELAY_MS);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	arrive(entry);
	ck_assert_uint_eq(stands(entry).primaries, 1);
	ck_assert_uint_eq(REPLICA_KIND(entry->replicas[0]), MC_REPLICA_CACHE);
	/* It takes no copies itself. */
	struct entry *other = object_new(b, MIB, 2);
	repair_published(m, other, NULL, false);
	pass(0);
	ck_assert(!repair_expects(m->repair, other->id));
}
END_TEST

START_TEST(a_copy_waits_for_the_node_that_makes_it_possible)
{
	struct mc_placement twice = {.replicas = 2};
	struct node *a = node_new(1, "h1");
	pass(0);
	struct entry *entry = object_new(a, MIB, 0);

	repair_published(m, entry, &twice, false);
	pass(0);
	ck_assert(!repair_expects(m->repair, entry->id));
	struct node *b = node_new(2, "h2");
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
	/* Its session breaks, it is back at once, and has not heard. */
	repair_left(m, b);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), 0);
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), b->public.id);
}
END_TEST

START_TEST(a_damaged_copy_goes_when_there_is_another)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	struct session session = {.id = 1};
	pass(0);
	struct entry *entry = object_new(a, MIB, 2);

	repair_bad(m, &session, entry, a->public.id, MC_IO);
	ck_assert(replicas_has(entry, a)); /* the last one */
	copy_on(entry, b, MC_REPLICA_PRIMARY);
	repair_bad(m, &session, entry, a->public.id, MC_UNREACHABLE);
	ck_assert(replicas_has(entry, a));
	repair_bad(m, &session, entry, a->public.id, MC_IO);
	ck_assert(!replicas_has(entry, a));
	pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
	ck_assert_uint_eq(counted().bad, 3);
}
END_TEST

START_TEST(an_evicted_copy_is_made_again_only_where_there_is_room)
{
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	struct node *c = node_new(3, "h3");
	pass(0);
	struct entry *entry = object_new(a, MIB, 2);

	c->public.used = 900 * MIB;
	b->public.used = 1000 * MIB;
	repair_dropped(m, entry, b);
	repair_look(m, 0); /* nor by a walk that comes by */
	pass(1);
	pass(1);
	ck_assert(!repair_expects(m->repair, entry->id));
	ck_assert_uint_eq(counted().lacking, 1);
	c->public.used = 100 * MIB;
	repair_look(m, 0);
	pass(1);
	pass(1);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
}
END_TEST

START_TEST(a_late_copy_is_given_to_another_node)
{
	struct node *a = node_new(1, "h1");
	node_new(2, "h2");
	node_new(3, "h3");
	pass(0);
	struct entry *entry = object_new(a, MIB, 2);

	repair_published(m, entry, NULL, false);
	pass(0);
	uint32_t first = repair_flight(m->repair, entry->id);
	ck_assert_uint_ne(first, 0);
	pass(REPAIR_LATE_MS / 2);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), first);
	pass(REPAIR_LATE_MS / 2 + 1000);
	ck_assert_uint_ne(repair_flight(m->repair, entry->id), 0);
	ck_assert_uint_ne(repair_flight(m->repair, entry->id), first);
}
END_TEST

START_TEST(a_node_gets_so_many_copies_at_once_and_no_more)
{
	struct node *a = node_new(1, "h1");
	node_new(2, "h2");
	struct entry *entries[REPAIR_FLIGHT_MAX + 5];
	pass(0);

	for (unsigned i = 0; i < REPAIR_FLIGHT_MAX + 5; i++) {
		entries[i] = object_new(a, MIB, 2);
		repair_published(m, entries[i], NULL, false);
	}
	pass(0);
	ck_assert_uint_eq(counted().flights, REPAIR_FLIGHT_MAX);
	arrive(entries[0]);
	pass(0);
	ck_assert_uint_eq(counted().flights, REPAIR_FLIGHT_MAX);
	for (unsigned i = 1; i < REPAIR_FLIGHT_MAX + 5; i++) {
		pass(0);
		arrive(entries[i]);
	}
	ck_assert_uint_eq(counted().made, REPAIR_FLIGHT_MAX + 5);
	ck_assert_uint_eq(counted().queued, 0);
}
END_TEST

START_TEST(copies_for_a_busy_node_hold_up_none_for_others)
{
	const struct mc_placement liked = {
		.replicas = 2, .preferred_count = 1, .preferred = {"n2"}};
	struct node *a = node_new(1, "h1");
	struct node *b = node_new(2, "h2");
	const struct node *c = node_new(3, "h3");
	struct entry *entries[1000];

	pass(0);
	for (int i = 0; i < 1000; i++) {
		entries[i] = object_new(a, MIB, 2);
		repair_published(m, entries[i], &liked, false);
	}
	pass(0);
	ck_assert_uint_eq(counted().flights, REPAIR_FLIGHT_MAX);
	struct entry *entry = object_new(a, MIB, 2);
	repair_published(m, entry, NULL, false);
	for (int i = 0; i < 70; i++)
		pass(0);
	ck_assert_uint_eq(repair_flight(m->repair, entry->id), c->public.id);
	arrive(entry);
	/* Some that wait need not any more, the others come to an end, the oldest first. */
	for (int i = 20; i < 900; i++) {
		copy_on(entries[i], b, MC_REPLICA_PRIMARY);
		repair_added(m, entries[i], b);
	}
	pass(0);
	for (int i = 0; i < 1000; i++) {
		if (i >= 20 && i < 900)
			continue;
		ck_assert_uint_ne(repair_flight(m->repair, entries[i]->id), 0);
		arrive(entries[i]);
		pass(0);
	}
	ck_assert_uint_eq(counted().queued, 0);
}
END_TEST

START_TEST(a_budget_saves_up_no_more_than_a_second)
{
	struct budget budget;

	budget_begin(&budget, 1000, 5);
	ck_assert(budget_has(&budget, 5));
	budget_spend(&budget, 3000);
	ck_assert(!budget_has(&budget, 5));
	ck_assert(!budget_has(&budget, 2005));
	ck_assert(budget_has(&budget, 2006));
	ck_assert(budget_has(&budget, 1u << 30));
	ck_assert_int_eq(budget.bytes, 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("repair");
	TCase *tc = tcase_create("repair");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_object_of_a_lost_node_is_copied_after_the_delay);
	tcase_add_test(tc, a_node_whose_time_ends_amid_a_walk_is_not_forgotten);
	tcase_add_test(tc, a_node_that_flaps_starts_nothing);
	tcase_add_test(tc, a_master_that_has_just_begun_to_lead_waits_for_its_nodes);
	tcase_add_test(tc, the_most_endangered_are_copied_first);
	tcase_add_test(tc, the_most_endangered_are_found_first_among_more_than_the_queue_takes);
	tcase_add_test(tc, repair_keeps_to_its_rate);
	tcase_add_test(tc, a_cache_copy_is_raised_instead_of_copying);
	tcase_add_test(tc, a_cache_copy_on_the_same_host_is_raised_only_when_there_is_no_other);
	tcase_add_test(tc, an_object_with_many_cache_copies_on_one_host_still_gets_another_host);
	tcase_add_test(tc, who_returns_while_copies_are_missing_stays_primary);
	tcase_add_test(tc, of_too_many_replicas_those_that_share_a_host_are_lowered);
	tcase_add_test(tc, replicas_are_on_two_hosts_again_when_the_second_returns);
	tcase_add_test(tc, a_node_that_refuses_is_not_asked_again_and_a_new_one_is);
	tcase_add_test(tc, a_copy_to_a_node_that_is_lost_goes_to_another);
	tcase_add_test(tc, a_writer_waits_for_no_more_copies_than_are_wanted);
	tcase_add_test(tc, an_object_moves_to_the_node_that_is_preferred);
	tcase_add_test(tc, a_draining_node_is_emptied_and_never_of_the_last_copy);
	tcase_add_test(tc, a_node_that_is_gone_for_good_is_drained_without_delay);
	tcase_add_test(tc, what_a_guest_puts_moves_to_a_node_that_lends);
	tcase_add_test(tc, a_copy_waits_for_the_node_that_makes_it_possible);
	tcase_add_test(tc, a_damaged_copy_goes_when_there_is_another);
	tcase_add_test(tc, an_evicted_copy_is_made_again_only_where_there_is_room);
	tcase_add_test(tc, a_late_copy_is_given_to_another_node);
	tcase_add_test(tc, a_node_gets_so_many_copies_at_once_and_no_more);
	tcase_add_test(tc, copies_for_a_busy_node_hold_up_none_for_others);
	tcase_add_test(tc, a_budget_saves_up_no_more_than_a_second);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
