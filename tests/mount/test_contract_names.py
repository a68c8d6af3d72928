"""What frameworks rely on: directories, removal, times, maps, names, locks."""

import errno
import fcntl
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import syscalls
from suite import content, fails, in_processes, on_mount, put, same, tool, write_whole

MIB = 1 << 20


@on_mount()
def making_the_same_directory_from_many_threads_gives_eexist_to_all_but_one(place):
    def make(_):
        try:
            os.mkdir(place.path("d"))
            return 1
        except FileExistsError:
            return 0
    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(make, range(8))) == 1
        os.rmdir(place.path("d"))


@on_mount()
def nested_directories_are_made_at_once_and_again(place):
    for _ in range(2):
        os.makedirs(place.path("a/b/c/d/e"), exist_ok=True)
    assert os.path.isdir(place.path("a/b/c/d/e"))
    assert os.listdir(place.path("a/b/c/d/e")) == []


@on_mount()
def walking_finds_every_object_and_no_other(place):
    want = set()
    for bucket in range(8):
        os.mkdir(place.path(f"{bucket:02x}"))
        for number in range(20):
            name = f"{bucket:02x}/{number:064x}.bin"
            place.put(name, b"v" * number)
            want.add(name)
    found = {os.path.relpath(os.path.join(where, name), place.directory)
             for where, _, names in os.walk(place.directory) for name in names}
    assert found == want
    with os.scandir(place.path("03")) as entries:
        assert all(entry.is_file() and entry.stat().st_size < 20 for entry in entries)


@on_mount()
def an_unlinked_object_is_read_to_its_end_by_who_has_it_open(place):
    data = content(16, MIB)
    place.put("k", data)
    fd = os.open(place.path("k"), os.O_RDONLY)
    area = syscalls.map_file(place.path("k"))
    os.unlink(place.path("k"))
    with fails(errno.ENOENT):
        os.unlink(place.path("k"))
    assert not os.path.exists(place.path("k"))
    same(os.pread(fd, MIB, 0), data, "read after unlink")
    same(area.read(), data, "map after unlink")
    area.unmap()
    os.close(fd)


@on_mount(needs=("xargs", "rm"))
def xargs_rm_f_removes_a_hundred_a_call_and_tolerates_missing_ones(place):
    names = [place.path(f"-k {n}\n") for n in range(250)]
    for name in names:
        put(name, b"1")
    listed = "\0".join(names + [place.path("missing")]).encode()
    subprocess.run(["xargs", "-0", "-n", "100", "rm", "-f"], input=listed, check=True, timeout=30)
    assert place.names() == []


@on_mount()
def a_tree_is_removed_whole(place):
    for number in range(60):
        os.makedirs(place.path(f"t/{number % 5}/{number % 3}"), exist_ok=True)
        place.put(f"t/{number % 5}/{number % 3}/{number}", b"x")
    shutil.rmtree(place.path("t"))
    assert place.names() == []


@on_mount()
def access_and_modification_times_order_objects_for_an_evictor(place):
    for number in range(10):
        place.put(f"k{number}", b"x")
        os.utime(place.path(f"k{number}"), ns=(10**18 + number, 10**18 + 5 - number))
    by_access = sorted(place.names(), key=lambda n: os.stat(place.path(n)).st_atime_ns)
    by_change = sorted(place.names(), key=lambda n: os.stat(place.path(n)).st_mtime_ns)
    assert by_access == [f"k{n}" for n in range(10)]
    assert by_change == [f"k{n}" for n in reversed(range(10))]


@on_mount()
def touching_the_access_time_alone_leaves_the_modification_time(place):
    place.put("k", b"x")
    before = os.stat(place.path("k"))
    os.utime(place.path("k"), ns=(10**18, before.st_mtime_ns))
    syscalls.set_times(place.path("k"), (0, syscalls.UTIME_NOW), (0, syscalls.UTIME_OMIT))
    after = os.stat(place.path("k"))
    assert after.st_mtime_ns == before.st_mtime_ns
    assert after.st_atime_ns >= before.st_atime_ns


@on_mount()
def opening_without_access_time_works(place):
    place.put("k", b"abc")
    fd = os.open(place.path("k"), os.O_RDONLY | os.O_NOATIME)
    assert os.read(fd, 10) == b"abc"
    os.close(fd)


@on_mount()
def a_checksum_attribute_set_after_publish_is_found_on_load(place):
    place.put("k", b"block")
    os.setxattr(place.path("k"), "user.vllm_kv_crc32", b"\x01\x02\x00\xff")
    assert os.getxattr(place.path("k"), "user.vllm_kv_crc32") == b"\x01\x02\x00\xff"


@on_mount()
def syncing_an_object_and_its_directory_succeeds(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_RDWR, 0o644)
    write_whole(fd, b"x" * 10_000)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    fd = os.open(place.directory, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    same(place.get("k"), b"x" * 10_000)


@on_mount()
def every_kind_of_map_shows_the_object(place):
    data = content(17, 2 * MIB + 100)
    place.put("k", data)
    read, both = syscalls.PROT_READ, syscalls.PROT_READ | syscalls.PROT_WRITE
    for prot, flags in ((read, syscalls.MAP_SHARED), (read, syscalls.MAP_PRIVATE),
                        (both, syscalls.MAP_PRIVATE),
                        (read, syscalls.MAP_SHARED | syscalls.MAP_POPULATE),
                        (read, syscalls.MAP_PRIVATE | syscalls.MAP_POPULATE)):
        with syscalls.map_file(place.path("k"), prot=prot, flags=flags) as area:
            area.advise(syscalls.MADV_WILLNEED)
            same(area.read(), data, f"map with prot {prot} flags {flags:x}")


@on_mount()
def writing_to_a_private_map_leaves_the_object_alone(place):
    data = content(18, 100_000)
    place.put("k", data)
    both = syscalls.PROT_READ | syscalls.PROT_WRITE
    with syscalls.map_file(place.path("k"), prot=both, flags=syscalls.MAP_PRIVATE) as area:
        area.write(b"#" * 50_000)
    same(place.get("k"), data)


@on_mount()
def a_slab_is_rewritten_in_place_by_descriptors_kept_open(place):
    page, count = 16_384, 64
    fds = [os.open(place.path("hicache.0.bin"), os.O_RDWR | os.O_CREAT, 0o644) for _ in range(4)]
    os.ftruncate(fds[0], page * count)
    for step in range(300):
        slot = (step * 29) % count
        write_whole(fds[step % 4], bytes([step % 251]) * page, slot * page)
        same(os.pread(fds[(step + 1) % 4], page, slot * page), bytes([step % 251]) * page)
    os.fsync(fds[0])
    for fd in fds:
        os.close(fd)
    assert os.stat(place.path("hicache.0.bin")).st_size == page * count


@on_mount()
def names_of_all_clients_are_taken(place):
    names = ["-SEP-models-x@0x00000001@0@" + "a" * 64 + ".data", "model@1@0@ff%val=1+2:3.pt",
             "urlquoted%40name.kvcache.safetensors", "-leading", "@tp_rank:0@pcp0@group:0@ab",
             "x" * 255, ".hidden", "..a", "a b", "é☃".encode().decode()]
    for name in names:
        place.put(name, name.encode())
    assert place.names() == sorted(names)
    for name in names:
        assert place.get(name) == name.encode()


@on_mount()
def every_temporary_name_of_the_clients_is_staging_and_renames(place):
    final = "f" * 64 + ".bin"
    patterns = [f"{final}.tmp", f"{final}.tmp.12.345.{'ab' * 16}", f"{final}_123456.tmp",
                f"{final}.tmp.1f0e-22", f"{final}.tmpdeadbeef", ".o_direct_probe_7.tmp",
                f".{'cd' * 16}.tmp", ".tmpAbCdEf"]
    for number, name in enumerate(patterns):
        place.put(name, bytes([number]) * 999)
        assert place.names() == [name]
        assert place.get(name) == bytes([number]) * 999
        os.rename(place.path(name), place.path(f"k{number}"))
        assert place.get(f"k{number}") == bytes([number]) * 999
        os.unlink(place.path(f"k{number}"))


@on_mount()
def an_unpublished_file_answers_every_call_by_name_and_descriptor(place):
    fd = os.open(place.path("k"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    write_whole(fd, b"12345")
    assert os.fstat(fd).st_size == 5 and os.stat(place.path("k")).st_size == 5
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(1, 2))
    os.chmod(place.path("k"), 0o644)
    again = os.open(place.path("k"), os.O_RDWR)
    assert os.pread(again, 9, 0) == b"12345"
    write_whole(again, b"!", 5)
    with fails(errno.EEXIST):
        os.open(place.path("k"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.close(again)
    os.rename(place.path("k"), place.path("l"))
    os.close(fd)
    assert place.get("l") == b"12345!"
    assert os.stat(place.path("l")).st_mode & 0o777 == 0o644


@on_mount()
def a_put_is_seen_by_stat_and_rename_right_after_close(place):
    for number in range(100):
        put(place.path(f"a{number}"), b"x" * number)
        assert os.stat(place.path(f"a{number}")).st_size == number
        os.rename(place.path(f"a{number}"), place.path(f"b{number}"))
    assert len(place.names()) == 100


@on_mount()
def a_write_through_a_shared_map_is_kept(place):
    place.put("k", bytes(50_000))
    fd = os.open(place.path("k"), os.O_RDWR)
    area = syscalls.Map(fd, 50_000, syscalls.PROT_READ | syscalls.PROT_WRITE)
    os.close(fd)
    area.write(b"mapped", 40_000)
    area.sync()
    area.unmap()
    fd = os.open(place.root, os.O_RDONLY)
    assert syscalls.LIBC.syncfs(fd) == 0
    os.close(fd)
    same(place.get("k"), bytes(40_000) + b"mapped" + bytes(9_994))


@on_mount()
def appending_adds_to_a_complete_object(place):
    place.put("log", b"one\n")
    put(place.path("log"), b"two\n", os.O_WRONLY | os.O_APPEND)
    put(place.path("log"), b"three\n", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assert place.get("log") == b"one\ntwo\nthree\n"


@on_mount()
def an_empty_object_is_an_object(place):
    place.put("k", b"")
    assert os.stat(place.path("k")).st_size == 0
    assert place.get("k") == b"" and place.names() == ["k"]


@on_mount()
def locks_hold_between_processes_of_a_node(place):
    fd = os.open(place.path("l.lock"), os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)

    def try_lock():
        other = os.open(place.path("l.lock"), os.O_RDWR)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "taken"
        except BlockingIOError:
            return "busy"
    assert in_processes([try_lock]) == ["busy"]
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert in_processes([try_lock]) == ["taken"]
    os.close(fd)


@on_mount(needs=("tar",))
def metadata_is_restored_by_an_archiver_before_the_file_is_closed(place):
    with place.scratch() as scratch:
        for number in range(20):
            put(f"{scratch}/f{number}", content(number, number * 1000))
            os.utime(f"{scratch}/f{number}", ns=(10**18, 10**18 + number))
        tool(["sh", "-c", f"tar -C {scratch} -cf - . | tar -C {place.directory} -xpf -"])
        for number in range(20):
            same(place.get(f"f{number}"), content(number, number * 1000))
            assert os.stat(place.path(f"f{number}")).st_mtime == 10**9
