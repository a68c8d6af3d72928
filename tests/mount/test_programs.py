"""Everyday programs: their call sequences, and the programs themselves."""

import errno
import fcntl
import os
import sqlite3

import syscalls
from suite import content, fails, in_processes, on_mount, put, same, tool, write_whole

MIB = 1 << 20


def take_filelock(path):
    """filelock's acquire: descriptor of the holder, None when it is held."""
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK, 0o644)
        os.fchmod(fd, 0o644)
    except FileExistsError:
        fd = os.open(path, flags)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        os.close(fd)
        return None


@on_mount()
def filelock_has_one_holder_at_a_time(place):
    lock = place.path("model.lock")
    held = take_filelock(lock)
    assert held is not None and os.fstat(held).st_size == 0
    assert in_processes([lambda: take_filelock(lock) is None]) == [True]
    fcntl.flock(held, fcntl.LOCK_UN)
    os.close(held)
    assert in_processes([lambda: take_filelock(lock) is None]) == [False]
    os.unlink(lock)


@on_mount()
def filelock_guards_a_counter_among_processes(place):
    place.put("count", b"0")

    def count_up():
        done = 0
        while done < 20:
            fd = take_filelock(place.path("l.lock"))
            if fd is None:
                continue
            place.put("count", str(int(place.get("count")) + 1).encode())
            os.close(fd)
            done += 1
        return done
    assert in_processes([count_up] * 3) == [20] * 3
    assert place.get("count") == b"60"


@on_mount()
def datasets_opens_its_temporary_file_again_by_name(place):
    tmp = place.path("tmpa1b2c3d4")
    first = os.open(tmp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    second = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    data = content(1, 400_000)
    write_whole(second, data)
    os.close(second)
    same(os.pread(first, len(data), 0), data)
    os.close(first)
    os.rename(tmp, place.path("data.arrow"))
    os.chmod(place.path("data.arrow"), 0o644)
    same(place.get("data.arrow"), data)


@on_mount()
def datasets_renames_a_directory_that_is_not_empty(place):
    os.makedirs(place.path("d.incomplete/sub"))
    for number in range(10):
        place.put(f"d.incomplete/part-{number}.arrow", content(number, 10_000))
    place.put("d.incomplete/sub/info.json", b"{}")
    space = os.statvfs(place.path("d.incomplete"))
    assert space.f_bavail * space.f_frsize > 0
    os.rename(place.path("d.incomplete"), place.path("d"))
    for number in range(10):
        same(place.get(f"d/part-{number}.arrow"), content(number, 10_000))
    assert place.get("d/sub/info.json") == b"{}" and place.names() == ["d"]


@on_mount()
def rsync_calls_keep_times_and_mode_across_the_rename(place):
    tmp = place.path(".name.AbCdEf")
    fd = os.open(tmp, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    write_whole(fd, b"payload")
    os.close(fd)
    os.utime(tmp, ns=(10**18 + 1, 10**18 + 2))
    fd = os.open(tmp, os.O_RDONLY)
    os.fchmod(fd, 0o640)
    os.close(fd)
    os.rename(tmp, place.path("name"))
    info = os.stat(place.path("name"))
    assert (info.st_mtime_ns, info.st_mode & 0o777) == (10**18 + 2, 0o640)
    assert place.get("name") == b"payload"


@on_mount()
def cp_asks_for_a_clone_and_falls_back_to_copying_ranges(place):
    data = content(2, 5 * MIB + 17)
    place.put("a", data)
    source = os.open(place.path("a"), os.O_RDONLY)
    target = os.open(place.path("b"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        fcntl.ioctl(target, syscalls.FICLONE, source)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EXDEV), error
        left = len(data)
        while left:
            count = os.copy_file_range(source, target, left)
            assert count > 0, "copy_file_range ended early"
            left -= count
    os.close(target)
    os.close(source)
    same(place.get("b"), data)


@on_mount(needs=("cp", "cmp"))
def cp_in_out_and_within_the_mount_keeps_every_byte(place):
    data = content(3, 4 * MIB + 1)
    with place.scratch() as scratch:
        put(f"{scratch}/in", data)
        tool(["cp", f"{scratch}/in", place.path("a")])
        tool(["cp", "--reflink=auto", place.path("a"), place.path("b")])
        tool(["cp", place.path("b"), f"{scratch}/out"])
        tool(["cmp", f"{scratch}/in", f"{scratch}/out"])
        tool(["cp", "-f", f"{scratch}/in", place.path("a")])
        same(place.get("a"), data)


@on_mount(needs=("cp", "find"))
def cp_a_keeps_a_tree_with_modes_and_times(place):
    with place.scratch() as scratch:
        for number in range(12):
            os.makedirs(f"{scratch}/t/{number % 3}", exist_ok=True)
            put(f"{scratch}/t/{number % 3}/{number}", content(number, number * 999))
            os.chmod(f"{scratch}/t/{number % 3}/{number}", 0o600 + number)
        tool(["cp", "-a", f"{scratch}/t", place.path("t")])
        listing = ["find", ".", "-type", "f", "-printf", "%p %s %m %T@\\n"]
        want = sorted(tool(listing, cwd=f"{scratch}/t").stdout.splitlines())
        assert sorted(tool(listing, cwd=place.path("t")).stdout.splitlines()) == want
        tool(["cp", "-a", place.path("t"), place.path("u")])
        assert sorted(tool(listing, cwd=place.path("u")).stdout.splitlines()) == want


@on_mount(needs=("rsync",))
def rsync_copies_in_verifies_and_finds_nothing_to_do(place):
    with place.scratch() as scratch:
        for number in range(25):
            os.makedirs(f"{scratch}/d{number % 4}", exist_ok=True)
            put(f"{scratch}/d{number % 4}/f{number}", content(number, number * 4321))
        tool(["rsync", "-a", f"{scratch}/", place.path("copy")])
        again = tool(["rsync", "-ai", "--checksum", f"{scratch}/", place.path("copy")])
        assert again.stdout == b"", again.stdout
        put(f"{scratch}/d1/f1", b"changed")
        tool(["rsync", "-a", "--delete", "--inplace", f"{scratch}/", place.path("copy")])
        assert place.get("copy/d1/f1") == b"changed"
        tool(["diff", "-r", scratch, place.path("copy")])


@on_mount(needs=("git",), timeout_s=90)
def git_clones_commits_and_checks_its_objects_in_the_mount(place):
    base = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.auto=0",
            "-c", "init.defaultBranch=main"]
    origin, clone = place.path("origin"), place.path("clone")
    tool(base + ["init", "-q", origin])
    for number in range(20):
        put(f"{origin}/file{number}", content(number, 3000))
    tool(base + ["-C", origin, "add", "-A"])
    tool(base + ["-C", origin, "commit", "-qm", "one"])
    tool(base + ["clone", "-q", "--no-hardlinks", f"file://{origin}", clone])
    put(f"{clone}/file3", b"changed\n")
    tool(base + ["-C", clone, "commit", "-qam", "two"])
    tool(base + ["-C", clone, "fsck", "--strict"])
    tool(base + ["-C", clone, "repack", "-adq"])
    assert tool(base + ["-C", clone, "status", "--porcelain"]).stdout == b""
    assert tool(base + ["-C", clone, "log", "--oneline"]).stdout.count(b"\n") == 2


@on_mount(needs=("tar",))
def tar_packs_and_unpacks_in_the_mount(place):
    os.mkdir(place.path("src"))
    for number in range(30):
        place.put(f"src/f{number}", content(number, number * 2000))
    tool(["tar", "-C", place.directory, "-cf", place.path("a.tar"), "src"])
    os.mkdir(place.path("out"))
    tool(["tar", "-C", place.path("out"), "-xf", place.path("a.tar")])
    tool(["diff", "-r", place.path("src"), place.path("out/src")])


@on_mount()
def sqlite_in_wal_mode_serves_a_writer_and_readers(place):
    path = place.path("db.sqlite")
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
    base.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
    base.commit()

    def write():
        link = sqlite3.connect(path, timeout=20)
        for number in range(100):
            link.execute("INSERT INTO t (v) VALUES (?)", (b"v" * 500,))
            link.commit()
        return link.execute("SELECT COUNT(*) FROM t").fetchone()[0] >= 100

    def read():
        link = sqlite3.connect(path, timeout=20)
        counts = [link.execute("SELECT COUNT(*) FROM t").fetchone()[0] for _ in range(100)]
        return counts == sorted(counts)
    assert in_processes([write, read, write]) == [True, True, True]
    assert base.execute("SELECT COUNT(*), SUM(LENGTH(v)) FROM t").fetchone() == (200, 100_000)
    assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    base.close()


@on_mount()
def sqlite_with_a_rollback_journal_rolls_back(place):
    link = sqlite3.connect(place.path("db.sqlite"))
    link.execute("PRAGMA journal_mode=DELETE")
    link.execute("CREATE TABLE t (v)")
    link.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    link.commit()
    link.execute("DELETE FROM t")
    link.rollback()
    assert link.execute("SELECT SUM(v) FROM t").fetchone()[0] == 499_500
    link.execute("VACUUM")
    link.close()


def fio(place, engine, name, *more):
    return tool(["fio", f"--name={name}", f"--directory={place.directory}", f"--ioengine={engine}",
                 "--size=16m", "--bs=64k", "--rw=randrw", "--verify=crc32c", "--do_verify=1",
                 "--verify_fatal=1", "--group_reporting", "--randseed=7", "--end_fsync=1",
                 "--verify_state_save=0", *more], timeout_s=120)


@on_mount(needs=("fio",), timeout_s=150)
def fio_verifies_what_it_wrote_by_libaio(place):
    fio(place, "libaio", "aio", "--iodepth=16", "--direct=1")


@on_mount(needs=("fio",), timeout_s=150)
def fio_verifies_what_it_wrote_by_io_uring(place):
    fio(place, "io_uring", "uring", "--iodepth=16", "--direct=1")
    fio(place, "io_uring", "buffered", "--iodepth=16")


@on_mount(needs=("fio",), timeout_s=150)
def fio_verifies_what_it_wrote_by_mmap(place):
    fio(place, "mmap", "mmap")


@on_mount(needs=("fio",), timeout_s=150)
def fio_verifies_what_it_wrote_by_psync_of_odd_sizes(place):
    fio(place, "psync", "odd", "--bsrange=512-70000", "--bs_unaligned")


@on_mount(needs=("fio",), timeout_s=150)
def fio_verifies_what_it_wrote_by_posix_aio(place):
    fio(place, "posixaio", "posixaio", "--iodepth=8")


@on_mount(needs=("find",))
def find_by_type_size_and_name_tells_the_truth(place):
    for number in range(20):
        place.put(f"k{number:02}.bin", b"x" * number * 1024)
    os.mkdir(place.path("d"))
    found = tool(["find", ".", "-type", "f", "-size", "+10k"], cwd=place.directory).stdout.split()
    assert len(found) == 9
    assert tool(["find", ".", "-mindepth", "1", "-type", "d"],
                cwd=place.directory).stdout == b"./d\n"
    tool(["find", ".", "-name", "*.bin", "-delete"], cwd=place.directory)
    assert place.names() == ["d"]


@on_mount(needs=("sh",))
def the_shell_redirects_appends_and_refuses_to_clobber(place):
    script = "echo one > f; echo two >> f; cat f f > g; set -C; (echo no > f) 2>/dev/null; cat g"
    done = tool(["sh", "-c", script], cwd=place.directory)
    assert done.stdout == b"one\ntwo\none\ntwo\n"
    assert place.get("f") == b"one\ntwo\n"


@on_mount(needs=("dd",))
def dd_writes_sparse_seeks_and_does_not_truncate(place):
    tool(["dd", "if=/dev/zero", f"of={place.path('f')}", "bs=1k", "count=100"])
    tool(["dd", "if=/dev/urandom", f"of={place.path('f')}", "bs=1k", "count=1", "seek=50",
          "conv=notrunc"])
    data = place.get("f")
    assert len(data) == 102_400 and data[:51_200] == bytes(51_200)
    assert data[51_200:52_224] != bytes(1024) and data[52_224:] == bytes(50_176)


@on_mount()
def tempfile_module_makes_names_of_its_own(place):
    import tempfile
    with tempfile.NamedTemporaryFile(dir=place.directory) as file:
        file.write(b"abc")
        file.flush()
        assert os.stat(file.name).st_size == 3
    assert place.names() == []
    with fails(errno.ENOENT):
        os.stat(file.name)


@on_mount()
def an_unnamed_temporary_file_works_or_is_refused_as_unsupported(place):
    try:
        fd = os.open(place.directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT), error
        return
    write_whole(fd, b"x")
    os.close(fd)
    assert place.names() == []
