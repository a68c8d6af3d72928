"""Directories: counts, renames, listings that hold while all changes."""

import errno
import os
import threading

import syscalls
from suite import fails, on_mount, put

FLAT_COUNT = 100_000


def listing(directory, room=32768):
    """Every entry by getdents64, dots left out."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    found = []
    while part := syscalls.directory_entries(fd, room):
        found += part
    os.close(fd)
    return [entry for entry in found if entry[0] not in (b".", b"..")]


@on_mount()
def a_directory_counts_itself_and_its_directories_as_links(place):
    os.mkdir(place.path("d"))
    assert os.stat(place.path("d")).st_nlink == 2
    for number in range(3):
        os.mkdir(place.path(f"d/{number}"))
        place.put(f"d/f{number}", b"x")
    assert os.stat(place.path("d")).st_nlink == 5
    os.rmdir(place.path("d/0"))
    os.rename(place.path("d/1"), place.path("1"))
    assert os.stat(place.path("d")).st_nlink == 3


@on_mount()
def a_directory_that_is_not_empty_is_not_removed(place):
    os.makedirs(place.path("d/sub"))
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path("d"))
    os.rmdir(place.path("d/sub"))
    place.put("d/f", b"x")
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path("d"))
    os.unlink(place.path("d/f"))
    os.rmdir(place.path("d"))
    with fails(errno.ENOENT):
        os.rmdir(place.path("d"))


@on_mount()
def a_directory_with_an_unpublished_file_is_not_removed(place):
    os.mkdir(place.path("d"))
    fd = os.open(place.path("d/f.tmp"), os.O_CREAT | os.O_WRONLY)
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path("d"))
    os.close(fd)
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path("d"))


@on_mount()
def a_directory_stays_when_its_last_object_goes(place):
    os.mkdir(place.path("d"))
    place.put("d/f", b"x")
    os.unlink(place.path("d/f"))
    assert os.path.isdir(place.path("d")) and os.listdir(place.path("d")) == []


@on_mount()
def a_directory_with_objects_is_renamed_with_all_below(place):
    os.makedirs(place.path("a/b/c"))
    for name in ("a/1", "a/b/2", "a/b/c/3", "a/b/c/4.tmp"):
        place.put(name, name.encode())
    fd = os.open(place.path("a/b/2"), os.O_RDONLY)
    os.rename(place.path("a"), place.path("z"))
    assert place.names() == ["z"]
    for name in ("1", "b/2", "b/c/3", "b/c/4.tmp"):
        assert place.get(f"z/{name}") == f"a/{name}".encode()
    assert os.pread(fd, 9, 0) == b"a/b/2"
    os.close(fd)
    with fails(errno.ENOENT):
        os.stat(place.path("a/b/2"))


@on_mount()
def a_directory_renamed_onto_an_empty_one_takes_its_place(place):
    os.mkdir(place.path("a"))
    os.mkdir(place.path("b"))
    place.put("a/f", b"x")
    os.rename(place.path("a"), place.path("b"))
    assert place.names() == ["b"] and os.listdir(place.path("b")) == ["f"]


@on_mount()
def renames_that_make_no_sense_are_refused_with_the_right_error(place):
    os.makedirs(place.path("d/sub"))
    os.mkdir(place.path("e"))
    place.put("e/f", b"x")
    place.put("g", b"y")
    for number, old, new in ((errno.EINVAL, "d", "d/sub/x"), (errno.ENOTEMPTY, "d", "e"),
                             (errno.EISDIR, "g", "d"), (errno.ENOTDIR, "d", "g"),
                             (errno.ENOENT, "missing", "x"), (errno.ENOENT, "g", "missing/x")):
        with fails(number, errno.EEXIST if number == errno.ENOTEMPTY else number):
            os.rename(place.path(old), place.path(new))
    assert place.get("g") == b"y" and place.get("e/f") == b"x"


@on_mount()
def a_rename_onto_itself_changes_nothing(place):
    place.put("f", b"x")
    os.rename(place.path("f"), place.path("f"))
    assert place.get("f") == b"x"


@on_mount()
def an_inode_number_survives_rename_also_over_an_existing_name(place):
    for kind in ("published", "staging"):
        name = "f" if kind == "published" else "f.tmp"
        place.put(name, b"x")
        inode = os.stat(place.path(name)).st_ino
        os.rename(place.path(name), place.path("g"))
        assert os.stat(place.path("g")).st_ino == inode
        place.put("h", b"y")
        os.rename(place.path("g"), place.path("h"))
        assert os.stat(place.path("h")).st_ino == inode, kind
    os.mkdir(place.path("d"))
    inode = os.stat(place.path("d")).st_ino
    os.rename(place.path("d"), place.path("e"))
    assert os.stat(place.path("e")).st_ino == inode


@on_mount()
def inode_numbers_of_a_listing_are_those_of_stat_and_unique(place):
    for number in range(40):
        place.put(f"f{number}", b"x")
        os.mkdir(place.path(f"d{number}"))
    entries = listing(place.directory)
    numbers = [inode for _, inode, _, _ in entries]
    assert len(set(numbers)) == len(numbers) == 80
    for name, inode, _, _ in entries:
        assert os.stat(os.fsencode(place.directory) + b"/" + name).st_ino == inode, name


@on_mount()
def a_listing_tells_the_type_of_each_entry(place):
    place.put("f", b"x")
    place.put("staging.tmp", b"x")
    os.mkdir(place.path("d"))
    kinds = {name: kind for name, _, _, kind in listing(place.directory)}
    assert kinds == {b"f": syscalls.DT_REG, b"staging.tmp": syscalls.DT_REG,
                     b"d": syscalls.DT_DIR}


@on_mount()
def a_listing_by_small_portions_is_the_same(place):
    for number in range(300):
        place.put(f"object-{number:05}", b"")
    whole = {name for name, _, _, _ in listing(place.directory, 1 << 20)}
    parts = [name for name, _, _, _ in listing(place.directory, 512)]
    assert len(parts) == len(set(parts)) == 300 and set(parts) == whole


@on_mount()
def a_listing_resumes_at_the_offset_it_gave(place):
    for number in range(200):
        place.put(f"{number:04}", b"")
    fd = os.open(place.directory, os.O_RDONLY | os.O_DIRECTORY)
    first = syscalls.directory_entries(fd, 1024)
    rest = []
    while part := syscalls.directory_entries(fd):
        rest += part
    os.lseek(fd, first[-1][2], os.SEEK_SET)
    again = []
    while part := syscalls.directory_entries(fd):
        again += part
    assert [e[0] for e in again] == [e[0] for e in rest] and rest
    os.lseek(fd, 0, os.SEEK_SET)
    again = [e[0] for e in syscalls.directory_entries(fd, 1024)]
    shorter = min(len(again), len(first))
    assert shorter and again[:shorter] == [e[0] for e in first][:shorter]
    os.close(fd)


@on_mount()
def a_rewound_listing_shows_what_was_made_since(place):
    fd = os.open(place.directory, os.O_RDONLY | os.O_DIRECTORY)
    before = {entry[0] for entry in syscalls.directory_entries(fd)}
    place.put("new", b"")
    os.lseek(fd, 0, os.SEEK_SET)
    after = {entry[0] for entry in syscalls.directory_entries(fd)}
    os.close(fd)
    assert after - before == {b"new"}


@on_mount()
def the_directory_that_is_read_may_be_removed(place):
    os.mkdir(place.path("d"))
    fd = os.open(place.path("d"), os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(place.path("d"))
    with fails(errno.ENOENT):
        os.stat(place.path("d"))
    names = {entry[0] for entry in syscalls.directory_entries(fd)} if _listable(fd) else set()
    assert names <= {b".", b".."}
    os.close(fd)


def _listable(fd):
    try:
        os.fstat(fd)
        syscalls.directory_entries(fd)
        os.lseek(fd, 0, os.SEEK_SET)
        return True
    except OSError as error:
        assert error.errno == errno.ENOENT, error
        return False


class Churn:
    """Threads that create and remove names beside a listing."""

    def __init__(self, place, prefix="churn"):
        self.place = place
        self.prefix = prefix
        self.stop = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(2)]

    def _run(self, thread):
        number = 0
        try:
            while not self.stop.is_set():
                path = self.place.path(f"flat/{self.prefix}-{thread}-{number % 50}")
                put(path, b"")
                if number % 3:
                    os.unlink(path)
                number += 1
        except OSError as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors


def check_listing_under_change(place, want, rounds):
    with Churn(place):
        for _ in range(rounds):
            names = [entry[0] for entry in listing(place.path("flat"))]
            stable = [name for name in names if not name.startswith(b"churn")]
            assert len(stable) == len(set(stable)), "a name is listed twice"
            assert set(stable) == want, f"{len(want - set(stable))} names are missing"


@on_mount()
def a_listing_under_change_has_every_steady_name_once(place):
    os.mkdir(place.path("flat"))
    want = set()
    for number in range(1500):
        put(place.path(f"flat/steady-{number:05}"), b"")
        want.add(b"steady-%05d" % number)
    check_listing_under_change(place, want, 8)


@on_mount(slow=True, timeout_s=600)
def a_flat_directory_of_100_000_lists_each_name_once_under_change(place):
    os.mkdir(place.path("flat"))
    directory = os.open(place.path("flat"), os.O_RDONLY | os.O_DIRECTORY)
    want = set()
    for number in range(FLAT_COUNT):
        name = f"{number:06x}"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644, dir_fd=directory))
        want.add(name.encode())
    check_listing_under_change(place, want, 2)
    kept = {name for name in want if int(name, 16) % 2}
    for name in want - kept:
        os.unlink(name, dir_fd=directory)
    check_listing_under_change(place, kept, 1)
    assert os.stat("000001", dir_fd=directory).st_size == 0
    with fails(errno.ENOENT):
        os.stat("000000", dir_fd=directory)
    os.close(directory)


@on_mount()
def everything_is_found_and_removed_while_it_is_listed(place):
    for number in range(700):
        place.put(f"f{number}", b"")
    with os.scandir(place.directory) as entries:
        for entry in entries:
            os.unlink(entry.path)
    left = place.names()
    assert left == [], f"{len(left)} names were skipped"


@on_mount()
def rename_refuses_an_existing_name_when_told_not_to_replace(place):
    place.put("a", b"1")
    place.put("b", b"2")
    with fails(errno.EEXIST):
        syscalls.rename2(place.path("a"), place.path("b"), syscalls.RENAME_NOREPLACE)
    syscalls.rename2(place.path("a"), place.path("c"), syscalls.RENAME_NOREPLACE)
    assert place.names() == ["b", "c"] and place.get("c") == b"1" and place.get("b") == b"2"


@on_mount()
def an_exchange_swaps_both_or_is_refused(place):
    place.put("a", b"1")
    place.put("b", b"2")
    try:
        syscalls.rename2(place.path("a"), place.path("b"), syscalls.RENAME_EXCHANGE)
        want = (b"2", b"1")
    except OSError as error:
        assert error.errno in (errno.EINVAL, errno.ENOSYS), error
        want = (b"1", b"2")
    assert (place.get("a"), place.get("b")) == want


@on_mount()
def unlink_and_rmdir_tell_objects_from_directories(place):
    os.mkdir(place.path("d"))
    place.put("f", b"x")
    with fails(errno.EISDIR, errno.EPERM):
        os.unlink(place.path("d"))
    with fails(errno.ENOTDIR):
        os.rmdir(place.path("f"))
    with fails(errno.EEXIST):
        os.mkdir(place.path("f"))
    with fails(errno.EISDIR):
        os.open(place.path("d"), os.O_WRONLY)


@on_mount(tmpfs=False)
def links_symlinks_and_devices_are_refused(place):
    import stat
    place.put("f", b"x")
    with fails(errno.EPERM):
        syscalls.link(place.path("f"), place.path("hard"))
    with fails(errno.EPERM):
        os.symlink("f", place.path("soft"))
    with fails(errno.EPERM):
        os.mknod(place.path("device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert place.names() == ["f"]
    assert os.stat(place.path("f")).st_nlink == 1
