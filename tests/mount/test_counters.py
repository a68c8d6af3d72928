"""What an operation costs, by the mount's own counters."""

import itertools
import os
import time

import syscalls
from cluster import wait_until
from suite import content, on_mount, put, same, skip, write_whole

MIB = 1 << 20
ROUNDS = 40
# RPCs that no operation asks for: they come with time or with every so many.
BACKGROUND = ("rpc_heartbeat", "rpc_grant_ids", "rpc_recalled")


class Cost:
    """The difference of the counters over a block."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        self.before = self._settled()
        return self

    def __exit__(self, *_):
        self.after = self._settled()

    def _settled(self):
        """Counters that did not move for a moment: RELEASE comes late."""
        last = self.place.counters()
        for _ in range(50):
            time.sleep(0.01)
            now = self.place.counters()
            if all(now.get(k) == last.get(k) for k in ("fuse_release", "rpc_total")):
                return now
            last = now
        return last

    def of(self, name):
        assert name in self.after, f"there is no counter {name}: {sorted(self.after)}"
        return self.after[name] - self.before.get(name, 0)

    def rpcs(self):
        return self.of("rpc_total") - sum(self.after.get(name, 0) - self.before.get(name, 0)
                                          for name in BACKGROUND[1:])


@on_mount(tmpfs=False)
def a_warm_local_get_costs_no_rpc(place):
    place.put("k", content(1, MIB))
    place.get("k")
    with Cost(place) as cost:
        for _ in range(ROUNDS):
            same(place.get("k"), content(1, MIB))
            with syscalls.map_file(place.path("k")) as area:
                area.read(0, 4096)
    assert cost.rpcs() == 0, cost.rpcs()


@on_mount(tmpfs=False)
def a_passthrough_get_costs_no_read_request_and_no_copy(place):
    if not place.variant.passthrough:
        skip("passthrough is off in this variant")
    data = content(2, MIB)
    place.put("k", data)
    with Cost(place) as cost:
        for _ in range(ROUNDS):
            same(place.get("k"), data)
            with syscalls.map_file(place.path("k")) as area:
                same(area.read(), data)
    assert cost.of("fuse_read") == 0, cost.of("fuse_read")
    assert cost.of("bytes_copied") == 0, cost.of("bytes_copied")


@on_mount(tmpfs=False)
def a_passthrough_put_costs_no_write_request_and_no_copy(place):
    if not place.variant.passthrough:
        skip("passthrough is off in this variant")
    with Cost(place) as cost:
        for number in range(ROUNDS):
            place.put(f"k{number}", content(3, 300_000))
    assert cost.of("fuse_write") == 0, cost.of("fuse_write")
    assert cost.of("bytes_copied") == 0, cost.of("bytes_copied")


@on_mount(tmpfs=False)
def without_passthrough_the_requests_come_to_the_daemon(place):
    if place.variant.passthrough:
        skip("passthrough is on in this variant")
    with Cost(place) as cost:
        place.put("k", content(4, MIB))
        fd = os.open(place.path("k"), os.O_RDONLY | os.O_DIRECT)
        assert os.readv(fd, [syscalls.aligned_room(MIB)]) == MIB
        os.close(fd)
    assert cost.of("fuse_write") >= 1 and cost.of("fuse_read") >= 1


@on_mount(tmpfs=False)
def without_passthrough_the_bytes_that_are_there_are_counted_as_copied(place):
    if place.variant.passthrough:
        skip("passthrough is on in this variant")
    with Cost(place) as cost:
        place.put("k", content(5, 5000))
        same(place.get("k"), content(5, 5000))
    assert cost.of("fuse_read") >= 1
    assert cost.of("bytes_copied") == 2 * 5000, cost.of("bytes_copied")


@on_mount(tmpfs=False)
def a_put_costs_exactly_one_rpc(place):
    os.mkdir(place.path("d"))
    with Cost(place) as cost:
        for number in range(ROUNDS):
            place.put(f"d/k{number}", b"x" * 1000)
    assert cost.rpcs() == ROUNDS, cost.rpcs()


@on_mount(tmpfs=False)
def creates_find_drafts_that_were_made_ahead(place):
    if not place.variant.passthrough:
        skip("passthrough is off in this variant")
    serial = itertools.count()
    stocked = place.counters()["create_stocked"]

    def found():
        for _ in range(ROUNDS):
            name = f"k{next(serial)}"
            place.put(name, name.encode())
            same(place.get(name), name.encode(), name)
        return place.counters()["create_stocked"] >= stocked + 100

    wait_until(found, 60, "a hundred drafts made ahead were taken")
    assert place.names() == sorted(f"k{number}" for number in range(next(serial)))


@on_mount(tmpfs=False)
def creates_leave_no_descriptor_but_those_of_drafts_made_ahead(place):
    place.put("k", b"x")
    before = place.node.descriptor_count()
    for number in range(10 * ROUNDS):
        place.put(f"k{number}", b"x")
    wait_until(lambda: place.node.descriptor_count() <= before + 64, 60,
               "the descriptors of closed files went")


@on_mount(tmpfs=False)
def a_put_by_staging_and_rename_costs_exactly_one_rpc(place):
    os.mkdir(place.path("d"))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with Cost(place) as cost:
        for number in range(ROUNDS):
            put(place.path(f"d/k{number}.tmp"), b"x" * 1000, flags)
            os.rename(place.path(f"d/k{number}.tmp"), place.path(f"d/k{number}"))
    assert cost.rpcs() == ROUNDS, cost.rpcs()


@on_mount(tmpfs=False)
def an_exclusive_put_of_a_final_name_costs_two_rpcs(place):
    os.mkdir(place.path("d"))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with Cost(place) as cost:
        for number in range(ROUNDS):
            put(place.path(f"d/k{number}"), b"x" * 1000, flags)
    assert cost.rpcs() == 2 * ROUNDS, cost.rpcs()


@on_mount(tmpfs=False)
def closing_duplicates_without_writing_publishes_nothing_again(place):
    os.mkdir(place.path("d"))
    fd = os.open(place.path("d/k"), os.O_CREAT | os.O_WRONLY, 0o644)
    with Cost(place) as cost:
        write_whole(fd, b"x" * 1000)
        for _ in range(ROUNDS):
            os.close(os.dup(fd))
        os.close(fd)
    assert cost.rpcs() == 1, cost.rpcs()


@on_mount(tmpfs=False)
def opening_read_write_without_writing_costs_no_rpc(place):
    place.put("k", content(5, 100_000))
    place.get("k")
    with Cost(place) as cost:
        for _ in range(ROUNDS):
            fd = os.open(place.path("k"), os.O_RDWR)
            assert len(os.pread(fd, 100_000, 0)) == 100_000
            os.close(fd)
    assert cost.rpcs() == 0, cost.rpcs()


@on_mount(tmpfs=False)
def a_stat_of_a_local_object_costs_no_rpc(place):
    place.put("k", b"x")
    os.stat(place.path("k"))
    with Cost(place) as cost:
        for _ in range(ROUNDS):
            os.stat(place.path("k"))
            place.get("k")
            os.stat(place.path("k"))
    assert cost.rpcs() == 0, cost.rpcs()


@on_mount(tmpfs=False)
def an_unlink_costs_one_rpc(place):
    os.mkdir(place.path("d"))
    for number in range(ROUNDS):
        place.put(f"d/k{number}", b"x")
    with Cost(place) as cost:
        for number in range(ROUNDS):
            os.unlink(place.path(f"d/k{number}"))
    assert cost.rpcs() == ROUNDS, cost.rpcs()


@on_mount(tmpfs=False)
def requests_are_counted_by_kind(place):
    with Cost(place) as cost:
        os.mkdir(place.path("d"))
        place.put("d/k", b"x")
        place.get("d/k")
        os.unlink(place.path("d/k"))
        os.rmdir(place.path("d"))
    for kind in ("mkdir", "create", "open", "flush", "unlink", "rmdir"):
        assert cost.of(f"fuse_{kind}") >= 1, kind


@on_mount(tmpfs=False)
def missing_names_are_counted_as_errors_by_status(place):
    with Cost(place) as cost:
        for number in range(10):
            assert not os.path.exists(place.path(f"missing{number}"))
    errors = {k: v - cost.before.get(k, 0) for k, v in cost.after.items() if k.startswith("error")}
    assert sum(errors.values()) >= 10, errors


@on_mount(tmpfs=False)
def the_mount_tells_what_this_variant_asked_for(place):
    told = {}
    for line in os.getxattr(place.root, "user.mooncake.status").decode().splitlines():
        name, _, value = line.partition(" ")
        told[name.rstrip(":=")] = value.strip()
    for name, value in place.variant.options().items():
        assert name in told, f"{name} is not in {told}"
        assert (told[name].split()[:1] == ["on"]) == (value == "on"), (name, value, told[name])
