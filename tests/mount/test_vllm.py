"""vLLM's file system tier, its example connector, and llm-d's connector."""

import errno
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor

import syscalls
from suite import content, fails, on_mount, put, same, write_whole

MIB = 1 << 20
BLOCK_BYTES = 2 * MIB


def store_block(dest, data):
    """fs_io_C's store: one write, and a short one is an error."""
    if os.access(dest, os.F_OK):
        return False
    make_parents(os.path.dirname(dest))
    tmp = f"{dest}_{random.getrandbits(63)}.tmp"
    fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_TRUNC | os.O_DIRECT, 0o644)
    write_whole(fd, syscalls.aligned(data))
    os.close(fd)
    os.rename(tmp, dest)
    return True


def make_parents(directory):
    """std::filesystem::create_directories: stat bottom-up, mkdir top-down."""
    missing = []
    while True:
        try:
            os.stat(directory)
            break
        except FileNotFoundError:
            missing.append(directory)
            directory = os.path.dirname(directory)
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o777)
        except FileExistsError:
            pass


def load_block(path, count):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    room = syscalls.aligned_room(count)
    got = os.readv(fd, [room])
    os.close(fd)
    assert got == count, f"one readv gave {got} of {count}"
    return room


def block_path(root, number):
    name = f"{number * 0x9e3779b97f4a7c15 % 2**256:064x}"
    return f"{root}/m_0123456789ab_r0/{name[-3:]}/{name[-5:-3]}_g0/{name}.bin"


@on_mount()
def a_block_is_stored_and_loaded_with_o_direct(place):
    for number in range(6):
        assert store_block(block_path(place.directory, number), content(number, BLOCK_BYTES))
        assert not store_block(block_path(place.directory, number), content(number, BLOCK_BYTES))
    for number in range(6):
        same(load_block(block_path(place.directory, number), BLOCK_BYTES),
             content(number, BLOCK_BYTES))


@on_mount()
def real_block_sizes_that_are_no_multiple_of_a_sector_are_stored(place):
    for size in (658_432, 3_274_752, 100_001):
        dest = place.path(f"{size}.bin")
        store_block(dest, content(size, size))
        same(load_block(dest, size), content(size, size))


@on_mount()
def sixteen_threads_store_and_load_blocks_beside_each_other(place):
    size = 256 * 1024

    def work(number):
        path = block_path(place.directory, number % 40)
        data = content(number % 40, size)
        store_block(path, data)
        same(load_block(path, size), data)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(160)))


@on_mount()
def the_o_direct_probe_passes_and_leaves_nothing(place):
    path = place.path(".o_direct_probe_42.tmp")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_DIRECT, 0o644)
    write_whole(fd, syscalls.aligned(bytes(4096)))
    os.close(fd)
    os.remove(path)
    assert place.names() == []


@on_mount()
def the_config_is_written_by_many_small_writes(place):
    config = {f"field_{number}": list(range(number)) for number in range(50)}
    os.makedirs(place.path("m_0123456789ab"), exist_ok=True)
    with open(place.path("m_0123456789ab/config.json"), "w", buffering=1) as out:
        json.dump(config, out, indent=1)
    with open(place.path("m_0123456789ab/config.json")) as source:
        assert json.load(source) == config


@on_mount()
def a_thousand_lookups_answer_present_and_absent(place):
    present = [block_path(place.directory, number) for number in range(30)]
    for path in present:
        store_block(path, b"b" * 4096)
    absent = [block_path(place.directory, number) for number in range(1000, 1970)]
    assert all(os.access(path, os.F_OK) for path in present)
    assert not any(os.access(path, os.F_OK) for path in absent)


@on_mount()
def a_stored_block_cut_short_is_seen_as_short(place):
    path = place.path("b.bin")
    store_block(path, b"b" * 8192)
    os.truncate(path, 5000)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    assert os.readv(fd, [syscalls.aligned_room(8192)]) == 5000
    os.close(fd)
    os.unlink(path)
    assert not os.path.exists(path)


@on_mount()
def a_store_that_fails_leaves_no_trace_after_its_unlink(place):
    tmp = place.path("b.bin_1.tmp")
    fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_DIRECT, 0o644)
    write_whole(fd, syscalls.aligned(b"h" * 4096))
    os.close(fd)
    with fails(errno.ENOENT):
        os.rename(tmp, place.path("missing/b.bin"))
    os.unlink(tmp)
    assert place.names() == []


@on_mount(timeout_s=120)
def a_thousand_directories_are_made_and_found(place):
    for high in range(40):
        for low in range(25):
            os.makedirs(place.path(f"r0/{high:03x}/{low:02x}_g0"), exist_ok=True)
    assert len(os.listdir(place.path("r0"))) == 40
    assert len(os.listdir(place.path("r0/027"))) == 25
    assert os.stat(place.path("r0/000/18_g0")).st_nlink >= 1


@on_mount()
def the_example_connector_finds_a_prompt_by_its_directory(place):
    folder = place.path("0123abcd" * 4)
    assert not os.path.exists(folder)
    os.makedirs(folder, exist_ok=True)
    assert os.path.exists(folder)
    for layer in range(4):
        path = f"{folder}/model.layers.{layer}.self_attn.attn.safetensors"
        put(path, content(layer, 100_000))
    for layer in range(4):
        with syscalls.map_file(f"{folder}/model.layers.{layer}.self_attn.attn.safetensors",
                               flags=syscalls.MAP_PRIVATE) as area:
            same(area.read(), content(layer, 100_000))


@on_mount()
def llmd_renames_before_it_closes(place):
    dest = place.path("0a/1b.bin")
    os.mkdir(place.path("0a"))
    tmp = f"{dest}_{random.getrandbits(32)}.tmp"
    parts = [content(number, MIB) for number in range(4)]
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    assert os.writev(fd, parts) == 4 * MIB
    os.rename(tmp, dest)
    os.close(fd)
    same(place.get("0a/1b.bin"), b"".join(parts))
    assert os.listdir(place.path("0a")) == ["1b.bin"]


@on_mount()
def llmd_reads_the_tail_by_seeking(place):
    data = content(1, 3 * MIB)
    place.put("k", data)
    fd = os.open(place.path("k"), os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_END) == 3 * MIB
    os.lseek(fd, 2 * MIB, os.SEEK_SET)
    same(os.read(fd, MIB), data[2 * MIB:])
    os.close(fd)


@on_mount()
def llmd_touches_a_block_it_skips(place):
    place.put("k", b"block")
    os.utime(place.path("k"), ns=(10**18, 10**18))
    os.close(os.open(place.path("k"), os.O_RDONLY))
    syscalls.set_times(place.path("k"), (0, syscalls.UTIME_NOW), (0, syscalls.UTIME_OMIT))
    after = os.stat(place.path("k"))
    assert after.st_mtime_ns == 10**18 and after.st_atime_ns > 10**18


@on_mount()
def llmd_gds_writes_read_write_with_o_direct(place):
    data = syscalls.aligned(content(2, MIB))
    fd = os.open(place.path("k_1.tmp"), os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    write_whole(fd, data, 0)
    os.close(fd)
    os.rename(place.path("k_1.tmp"), place.path("k"))
    same(load_block(place.path("k"), MIB), data)


@on_mount()
def the_pvc_evictor_crawls_deletes_and_removes_empty_folders(place):
    for number in range(30):
        store_block(block_path(place.directory, number), b"b" * 1000)
    victims, folders = [], []

    def crawl(directory):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    crawl(entry.path)
                    folders.append(entry.path)
                elif entry.stat().st_atime > 0:
                    victims.append(entry.path)
    crawl(place.directory)
    assert len(victims) == 30
    for path in victims:
        os.unlink(path)
    for path in folders:
        os.rmdir(path)
    assert place.names() == []
