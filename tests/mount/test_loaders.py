"""Savers and loaders of models: safetensors, llama.cpp, gguf, torch, numpy."""

import fcntl
import json
import os
import struct
import time

import syscalls
from suite import content, on_mount, put, same, write_whole

MIB = 1 << 20
BOTH = syscalls.PROT_READ | syscalls.PROT_WRITE


def safetensors_bytes(tensors):
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text] + list(tensors.values())


def save_070(path, pieces):
    """safetensors before 0.8: final name, size first, then 1 MiB writes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.ftruncate(fd, sum(map(len, pieces)))
    for piece in pieces:
        for at in range(0, len(piece), MIB):
            write_whole(fd, piece[at:at + MIB])
    os.close(fd)


def save_080(path, pieces):
    """safetensors 0.8.0: exclusive tmp, size first, rename before close."""
    tmp = os.path.join(os.path.dirname(path), ".tmp" + os.urandom(3).hex())
    fd = os.open(tmp, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(fd, sum(map(len, pieces)))
    for piece in pieces:
        for at in range(0, len(piece), MIB):
            write_whole(fd, piece[at:at + MIB])
    os.rename(tmp, path)
    os.close(fd)


def tensors():
    return {f"layer.{n}.weight": content(n, 600_000 + n) for n in range(5)}


@on_mount()
def safetensors_saved_to_the_final_name_are_loaded_by_map(place):
    pieces = safetensors_bytes(tensors())
    save_070(place.path("m.safetensors"), pieces)
    with syscalls.map_file(place.path("m.safetensors"), flags=syscalls.MAP_PRIVATE) as area:
        same(area.read(), b"".join(pieces))


@on_mount()
def safetensors_renamed_before_close_are_loaded_by_map(place):
    pieces = safetensors_bytes(tensors())
    for _ in range(2):
        save_080(place.path("m.safetensors"), pieces)
    with syscalls.map_file(place.path("m.safetensors"), flags=syscalls.MAP_PRIVATE) as area:
        same(area.read(), b"".join(pieces))
    assert place.names() == ["m.safetensors"]


@on_mount()
def safetensors_for_torch_are_mapped_twice_private_and_writable(place):
    pieces = safetensors_bytes(tensors())
    save_080(place.path("m.safetensors"), pieces)
    first = syscalls.map_file(place.path("m.safetensors"), flags=syscalls.MAP_PRIVATE)
    header = first.read(8, struct.unpack("<Q", first.read(0, 8))[0])
    assert set(json.loads(header)) == set(tensors())
    second = syscalls.map_file(place.path("m.safetensors"), prot=BOTH, flags=syscalls.MAP_PRIVATE)
    first.unmap()
    second.write(b"\0" * 4096, 8192)
    second.unmap()
    same(place.get("m.safetensors"), b"".join(pieces))


@on_mount(needs=("module:safetensors", "module:numpy"))
def the_real_safetensors_save_and_load(place):
    import numpy
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
    arrays = {name: numpy.frombuffer(data, dtype=numpy.uint8).copy()
              for name, data in tensors().items()}
    for _ in range(2):
        save_file(arrays, place.path("m.safetensors"))
        back = load_file(place.path("m.safetensors"))
        assert all((back[name] == array).all() for name, array in arrays.items())
    with safe_open(place.path("m.safetensors"), framework="numpy") as source:
        assert (source.get_tensor("layer.3.weight") == arrays["layer.3.weight"]).all()
    assert place.names() == ["m.safetensors"]


@on_mount()
def llama_cpp_maps_shared_populated_and_unmaps_parts(place):
    data = content(1, 6 * MIB)
    place.put("m.gguf", data)
    fd = os.open(place.path("m.gguf"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    area = syscalls.Map(fd, len(data), flags=syscalls.MAP_SHARED | syscalls.MAP_POPULATE)
    area.advise(syscalls.MADV_WILLNEED)
    area.advise(syscalls.MADV_RANDOM)
    same(area.read(), data)
    area.unmap(0, MIB)
    same(area.read(MIB, 4 * MIB), data[MIB:5 * MIB])
    area.unmap(5 * MIB, MIB)
    same(area.read(2 * MIB, MIB), data[2 * MIB:3 * MIB])
    area.unmap(MIB, 4 * MIB)
    os.close(fd)


@on_mount()
def llama_cpp_direct_io_reads_aligned_beyond_the_end(place):
    size = 5 * MIB + 1234
    data = content(2, size)
    place.put("m.gguf", data)
    fd = os.open(place.path("m.gguf"), os.O_RDONLY | os.O_DIRECT)
    unit = os.fstat(fd).st_blksize
    count = (size + unit - 1) // unit * unit
    room = syscalls.aligned_room(count)
    assert os.readv(fd, [room]) == size
    same(bytes(room[:size]), data)
    os.close(fd)


@on_mount()
def gguf_goes_on_writing_after_each_of_39_duplicates_closed(place):
    want = b"GGUF"
    with open(place.path("m.gguf"), "wb") as out:
        out.write(want)
        for number in range(39):
            out.flush()
            with os.fdopen(os.dup(out.fileno()), "wb") as other:
                part = content(number, 20_000)
                other.write(part)
            want += part
            out.seek(0, os.SEEK_END)
            out.write(bytes(32))
            want += bytes(32)
            out.flush()
            assert os.stat(place.path("m.gguf")).st_size == len(want)
    same(place.get("m.gguf"), want)


@on_mount()
def ten_opens_without_blocking_stream_parts_of_one_file(place):
    data = content(3, 10 * 300_000)
    place.put("m.bin", data)
    fds = [os.open(place.path("m.bin"), os.O_RDONLY | os.O_NONBLOCK) for _ in range(10)]
    for number, fd in enumerate(fds):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        same(os.pread(fd, 300_000, number * 300_000),
             data[number * 300_000:(number + 1) * 300_000])
    for fd in fds:
        os.close(fd)


@on_mount()
def every_advice_about_a_file_is_taken(place):
    data = content(4, MIB)
    place.put("k", data)
    fd = os.open(place.path("k"), os.O_RDONLY)
    for advice in (os.POSIX_FADV_NORMAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_SEQUENTIAL,
                   os.POSIX_FADV_WILLNEED, os.POSIX_FADV_NOREUSE, os.POSIX_FADV_DONTNEED):
        os.posix_fadvise(fd, 0, MIB, advice)
        same(os.pread(fd, MIB, 0), data)
    assert syscalls.LIBC.readahead(fd, syscalls.ctypes.c_long(0), MIB) == 0
    os.close(fd)


@on_mount()
def torch_shared_maps_of_a_new_file_start_as_zeros_and_keep_writes(place):
    fd = os.open(place.path("storage"), os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, 200_000)
    area = syscalls.Map(fd, 200_000, BOTH)
    os.close(fd)
    assert area.read() == bytes(200_000)
    area.write(b"tensor", 100_000)
    area.unmap()
    time.sleep(0.01)
    assert place.get("storage")[100_000:100_006] == b"tensor"


@on_mount()
def a_sparse_map_made_by_its_last_byte_keeps_what_is_stored(place):
    """numpy.memmap w+: only the last byte is written, all descriptors closed."""
    size = 3 * MIB
    fd = os.open(place.path("k"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    os.lseek(fd, size - 1, os.SEEK_SET)
    write_whole(fd, b"\0")
    duplicate = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    area = syscalls.Map(duplicate, size, BOTH)
    os.close(duplicate)
    os.close(fd)
    area.write(b"data", MIB)
    area.sync()
    area.unmap()
    same(place.get("k"), bytes(MIB) + b"data" + bytes(2 * MIB - 4))


@on_mount(needs=("module:numpy",))
def numpy_maps_read_copy_and_write(place):
    import numpy
    size = 500_000
    made = numpy.memmap(place.path("k"), dtype=numpy.int32, mode="w+", shape=(size,))
    made[:] = numpy.arange(size)
    made.flush()
    del made
    read = numpy.memmap(place.path("k"), dtype=numpy.int32, mode="r")
    assert (read == numpy.arange(size)).all()
    copied = numpy.memmap(place.path("k"), dtype=numpy.int32, mode="c")
    copied[7] = -1
    assert read[7] == 7
    changed = numpy.memmap(place.path("k"), dtype=numpy.int32, mode="r+")
    changed[9] = -9
    changed.flush()
    del changed
    again = numpy.fromfile(place.path("k"), dtype=numpy.int32)
    assert again[9] == -9 and again[7] == 7 and len(again) == size


@on_mount(needs=("module:numpy",))
def numpy_saves_and_loads_by_every_map_mode(place):
    import numpy
    array = numpy.arange(300_000, dtype=numpy.float32).reshape(300, 1000)
    numpy.save(place.path("a.npy"), array)
    for mode in (None, "r", "c", "r+"):
        assert (numpy.load(place.path("a.npy"), mmap_mode=mode) == array).all(), mode
    numpy.savez(place.path("a.npz"), first=array, second=array[:3])
    with numpy.load(place.path("a.npz")) as loaded:
        assert (loaded["second"] == array[:3]).all()


@on_mount()
def an_arrow_like_reader_maps_and_asks_for_each_batch(place):
    data = content(5, 4 * MIB)
    place.put("data.arrow", data)
    with syscalls.map_file(place.path("data.arrow")) as area:
        for at in range(0, 4 * MIB, MIB):
            syscalls.LIBC.madvise(area.address + at, MIB, syscalls.MADV_WILLNEED)
            same(area.read(at, MIB), data[at:at + MIB])


@on_mount()
def a_hundred_maps_of_many_objects_live_beside_each_other(place):
    areas = []
    for number in range(100):
        put(place.path(f"k{number}"), bytes([number]) * 50_000)
        areas.append(syscalls.map_file(place.path(f"k{number}")))
    for number, area in enumerate(areas):
        assert area.read(49_000, 1000) == bytes([number]) * 1000
        area.unmap()
