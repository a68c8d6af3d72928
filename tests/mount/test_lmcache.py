"""LMCache: local disk, file system connectors, GDS fallback."""

import os
import threading
import urllib.parse

import syscalls
from suite import content, on_mount, put, same, write_whole

MIB = 1 << 20
KEY = "meta-llama-Llama-3.1-8B@1@0@{:064x}@bfloat16"


@on_mount()
def local_disk_writes_straight_to_the_final_path(place):
    for number in range(5):
        path = place.path(KEY.format(number) + ".pt")
        with open(path, "wb") as out:
            out.write(content(number, 700_000))
        room = bytearray(700_000)
        with open(path, "rb") as source:
            assert source.readinto(room) == 700_000
        same(room, content(number, 700_000))


@on_mount()
def local_disk_with_o_direct_puts_over_old_objects_without_truncating(place):
    unit = os.statvfs(place.directory).f_bsize
    path = place.path(KEY.format(1) + ".pt")
    for round_number in range(3):
        data = content(round_number, 64 * unit)
        put(path, syscalls.aligned(data), os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        room = syscalls.aligned_room(64 * unit)
        assert os.readv(fd, [room]) == 64 * unit
        os.close(fd)
        same(room, data, f"after put {round_number}")


@on_mount()
def a_shorter_put_without_truncating_leaves_the_old_tail(place):
    path = place.path("k.pt")
    put(path, b"a" * 10_000, os.O_CREAT | os.O_WRONLY)
    put(path, b"b" * 4_000, os.O_CREAT | os.O_WRONLY)
    same(place.get("k.pt"), b"b" * 4_000 + b"a" * 6_000)


@on_mount()
def the_fs_connector_puts_by_two_writes_and_a_rename(place):
    header, payload = content(1, 28), content(2, MIB)
    final = place.path("model-SEP-x@00000001.data")
    tmp = os.path.splitext(final)[0] + ".tmp"
    with open(tmp, "wb", buffering=0) as out:
        assert out.write(header) == 28
        assert out.write(payload) == MIB
    os.replace(tmp, final)
    with open(final, "rb") as source:
        got_header, room = bytearray(28), bytearray(MIB)
        assert source.readinto(got_header) == 28 and source.readinto(room) == MIB
    same(got_header + room, header + payload)


@on_mount()
def the_fs_connector_renames_out_of_a_relative_staging_directory(place):
    os.makedirs(place.path("tmpdir"))
    for number in range(10):
        put(place.path(f"tmpdir/{number}.data"), content(number, 5000))
        os.replace(place.path(f"tmpdir/{number}.data"), place.path(f"{number}.data"))
    assert os.listdir(place.path("tmpdir")) == []
    for number in range(10):
        same(place.get(f"{number}.data"), content(number, 5000))


@on_mount()
def two_writers_that_share_one_temporary_name_leave_a_whole_object(place):
    """Both write the same bytes to one name; one of the renames may miss it."""
    for number in range(20):
        data = content(number, 300_000)
        barrier = threading.Barrier(2)
        failures = []

        def writer(key=f"k{number}", data=data, barrier=barrier, failures=failures):
            barrier.wait()
            fd = os.open(place.path(key + ".tmp"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            write_whole(fd, data)
            os.close(fd)
            try:
                os.replace(place.path(key + ".tmp"), place.path(key))
            except FileNotFoundError as error:
                failures.append(error)
        threads = [threading.Thread(target=writer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failures) <= 1, failures
        assert f"k{number}" in place.names()
        same(place.get(f"k{number}"), data)


@on_mount()
def two_connectors_one_after_the_other_on_a_shared_temporary_name_both_succeed(place):
    data = content(3, 200_000)
    first = os.open(place.path("k.tmp"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    write_whole(first, data)
    second = os.open(place.path("k.tmp"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    write_whole(second, data)
    os.close(first)
    os.replace(place.path("k.tmp"), place.path("k"))
    os.close(second)
    same(place.get("k"), data)


@on_mount()
def a_glob_lists_the_data_files_only(place):
    import glob
    for number in range(15):
        place.put(f"{number}.data", b"x")
    place.put("half.tmp", b"x")
    assert len(glob.glob(place.path("*.data"))) == 15


@on_mount()
def a_read_goes_on_while_another_thread_unlinks(place):
    data = content(4, 2 * MIB)
    place.put("k.data", data)
    fd = os.open(place.path("k.data"), os.O_RDONLY)
    same(os.read(fd, MIB), data[:MIB])
    os.unlink(place.path("k.data"))
    place.put("k.data", b"another")
    same(os.read(fd, MIB), data[MIB:])
    os.close(fd)
    assert place.get("k.data") == b"another"


@on_mount()
def the_gds_fallback_writes_by_map_and_renames(place):
    name = urllib.parse.quote("model@1@0@" + "ab" * 16, safe="") + ".kvcache.safetensors"
    os.makedirs(place.path("ab/cd"))
    final = place.path(f"ab/cd/{name}")
    tmp, data = final + ".tmp1234abcd", content(5, MIB)
    with open(tmp, "wb") as out:
        out.write(content(6, 4096))
    fd = os.open(tmp, os.O_RDWR)
    os.ftruncate(fd, MIB + 4096)
    duplicate = os.dup(fd)
    area = syscalls.Map(duplicate, MIB + 4096, syscalls.PROT_READ | syscalls.PROT_WRITE)
    os.close(fd)
    os.close(duplicate)
    area.write(data, 4096)
    area.unmap()
    os.rename(tmp, final)
    put(final + ".metadata", content(7, 4096))
    with syscalls.map_file(final, flags=syscalls.MAP_PRIVATE | syscalls.MAP_POPULATE) as area:
        same(area.read(), content(6, 4096) + data)


@on_mount()
def gds_reads_headers_at_start_without_access_time(place):
    for number in range(8):
        os.makedirs(place.path(f"{number:02x}/00"), exist_ok=True)
        place.put(f"{number:02x}/00/k.metadata", content(number, 4096))
    found = 0
    for first in os.scandir(place.directory):
        for second in os.scandir(first.path):
            for entry in os.scandir(second.path):
                fd = os.open(entry.path, os.O_RDONLY | os.O_NOATIME)
                assert len(os.read(fd, 4096)) == 4096
                os.close(fd)
                found += 1
    assert found == 8


@on_mount()
def cufile_compat_opens_r_plus(place):
    place.put("k.tmp", bytes(4096))
    with open(place.path("k.tmp"), "r+b", buffering=0) as out:
        assert os.pwrite(out.fileno(), content(8, 500_000), 4096) == 500_000
    os.rename(place.path("k.tmp"), place.path("k"))
    same(place.get("k"), bytes(4096) + content(8, 500_000))
