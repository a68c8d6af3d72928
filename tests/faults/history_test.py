#!/usr/bin/env python3
"""The judge is judged: histories that are right, and histories that are not."""

import unittest

from history import ABSENT, Operation as O, explain


class Judge(unittest.TestCase):
    def right(self, *operations):
        self.assertIsNone(explain(list(operations)))

    def wrong(self, *operations):
        self.assertIsNotNone(explain(list(operations)))

    def test_what_was_put_is_read(self):
        self.right(O("put", "a", 1, begin=0, end=1), O("get", "a", 1, begin=2, end=3))

    def test_a_lost_put_is_found(self):
        self.wrong(O("put", "a", 1, begin=0, end=1), O("get", "a", ABSENT, begin=2, end=3))

    def test_a_read_during_a_put_may_see_either(self):
        for value in (ABSENT, 1):
            self.right(O("put", "a", 1, begin=0, end=5), O("get", "a", value, begin=2, end=3))

    def test_a_name_does_not_go_back_to_what_it_was(self):
        self.wrong(O("put", "a", 1, begin=0, end=1), O("put", "a", 2, begin=2, end=3),
                   O("get", "a", 2, begin=4, end=5), O("get", "a", 1, begin=6, end=7))

    def test_two_readers_agree_on_the_order_of_two_writers(self):
        self.wrong(O("put", "a", 1, begin=0, end=10), O("put", "a", 2, begin=0, end=10),
                   O("get", "a", 1, begin=1, end=2), O("get", "a", 2, begin=3, end=4),
                   O("get", "a", 1, begin=5, end=6))

    def test_an_unknown_put_may_have_happened_late_or_not_at_all(self):
        put = O("put", "a", 1, begin=0, unknown=True)
        self.right(put)
        self.right(put, O("get", "a", ABSENT, begin=1, end=2), O("get", "a", 1, begin=3, end=4))

    def test_an_unknown_put_does_not_happen_before_it_began(self):
        self.wrong(O("put", "a", 1, begin=5, unknown=True), O("get", "a", 1, begin=1, end=2))

    def test_what_nobody_put_is_found(self):
        self.wrong(O("get", "a", 7, begin=1, end=2))

    def test_a_removed_name_is_gone(self):
        self.right(O("put", "a", 1, begin=0, end=1), O("remove", "a", begin=2, end=3),
                   O("remove_absent", "a", begin=4, end=5))
        self.wrong(O("put", "a", 1, begin=0, end=1), O("remove", "a", begin=2, end=3),
                   O("stat", "a", 1, begin=4, end=5))

    def test_a_name_is_removed_by_one_of_two(self):
        self.wrong(O("put", "a", 1, begin=0, end=1), O("remove", "a", begin=2, end=4),
                   O("remove", "a", begin=2, end=4))

    def test_a_rename_moves_in_one_step(self):
        self.right(O("put", "a", 1, begin=0, end=1), O("rename", "a", other="b", begin=2, end=5),
                   O("get", "a", 1, begin=2, end=3), O("get", "b", 1, begin=3, end=4),
                   O("get", "a", ABSENT, begin=4, end=5))
        self.wrong(O("put", "a", 1, begin=0, end=1), O("rename", "a", other="b", begin=2, end=9),
                   O("get", "b", 1, begin=3, end=4), O("get", "a", 1, begin=5, end=6))

    def test_more_room_for_a_read_is_used(self):
        late = [O("put", "a", 1, begin=0, end=1), O("put", "a", 2, begin=2, end=3)]
        self.wrong(*late, O("get", "a", 1, begin=4, end=5))
        self.right(*late, O("get", "a", 1, begin=2.5, end=5))

    def test_an_idle_rename_may_change_nothing_or_be_one(self):
        first = [O("put", "a", 1, begin=0, end=1), O("rename", "a", other="b", begin=2, end=3)]
        self.wrong(*first, O("rename", "a", other="b", begin=4, end=5))
        idle = O("rename", "a", other="b", begin=4, end=5, idle=True)
        self.right(*first, idle, O("get", "b", 1, begin=6, end=7))
        again = [*first, O("put", "a", 2, begin=3.5, end=3.6), idle]
        self.right(*again, O("get", "b", 2, begin=6, end=7), O("get", "a", ABSENT, begin=6, end=7))
        self.right(*again, O("get", "b", 1, begin=6, end=7), O("get", "a", 2, begin=6, end=7))
        self.wrong(*again, O("get", "b", 1, begin=6, end=7), O("get", "a", ABSENT, begin=6, end=7))

    def test_a_repeated_remove_may_find_nothing_but_leaves_nothing(self):
        first = O("put", "a", 1, begin=0, end=1)
        removes = [O("remove", "a", begin=2, end=9, idle=True) for _ in range(2)]
        self.right(first, *removes, O("get", "a", ABSENT, begin=10, end=11))
        self.wrong(first, *removes, O("get", "a", 1, begin=10, end=11))

    def test_a_put_of_unknown_effect_leaves_the_old_or_the_new(self):
        first = O("put", "a", 1, begin=0, end=1)
        failed = O("put", "a", 2, begin=2, unknown=True)
        self.right(first, failed, O("get", "a", 1, begin=3, end=4), O("get", "a", 2, begin=5, end=6))
        self.wrong(first, failed, O("get", "a", 2, begin=3, end=4), O("get", "a", 1, begin=5, end=6))
        self.wrong(first, failed, O("get", "a", ABSENT, begin=5, end=6))

    def test_many_at_once_end_in_time(self):
        puts = [O("put", "a", n, begin=0, end=100) for n in range(8)]
        gets = [O("get", "a", n % 8, begin=n, end=n + 0.5) for n in range(8)]
        self.right(*puts, *gets)
        self.wrong(*puts, *gets, O("get", "a", 0, begin=50, end=51), O("get", "a", 1, begin=52, end=53),
                   O("get", "a", 0, begin=54, end=55))


if __name__ == "__main__":
    unittest.main()
