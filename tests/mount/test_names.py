"""Names: every byte, every length, and what the tree of them does."""

import errno
import os

from suite import fails, on_mount, put

FLAT_BYTES = [bytes([b]) for b in range(1, 256) if b not in b"/."]


def bytes_path(place, name):
    return os.fsencode(place.directory) + b"/" + name


@on_mount()
def every_byte_but_nul_and_slash_makes_a_name(place):
    for name in FLAT_BYTES:
        put(bytes_path(place, name), b"=" + name)
    assert sorted(os.listdir(os.fsencode(place.directory))) == sorted(FLAT_BYTES)
    for name in FLAT_BYTES:
        with open(bytes_path(place, name), "rb") as source:
            assert source.read() == b"=" + name


@on_mount()
def every_byte_survives_within_a_name_rename_and_removal(place):
    whole = b"".join(FLAT_BYTES)
    first, second = whole[:127] + b".", b"." + whole[127:]
    put(bytes_path(place, first), b"bytes")
    os.rename(bytes_path(place, first), bytes_path(place, second))
    assert os.listdir(os.fsencode(place.directory)) == [second]
    os.unlink(bytes_path(place, second))
    assert os.listdir(place.directory) == []


@on_mount()
def invalid_utf8_and_percent_signs_are_kept_byte_for_byte(place):
    names = [b"\xff\xfe", b"\xc3\x28", b"%2F", b"%00", b"%", b"a%zz", "é".encode(),
             "é".encode("utf-8") + b"\x80", b"back\\slash", b"new\nline", b"..."]
    for name in names:
        put(bytes_path(place, name), name)
    assert sorted(os.listdir(os.fsencode(place.directory))) == sorted(names)


@on_mount()
def a_name_of_255_bytes_works_for_every_call(place):
    for letter in ("x", "é"):
        name = (letter * 255).encode()[:254] + b"y"
        path = bytes_path(place, name)
        put(path, b"long")
        os.rename(path, path[:-1] + b"z")
        os.mkdir(path)
        assert sorted(os.listdir(os.fsencode(place.directory))) == [name, name[:-1] + b"z"]
        os.rmdir(path)
        os.unlink(path[:-1] + b"z")


@on_mount()
def a_name_of_256_bytes_is_too_long_for_every_call(place):
    place.put("f", b"x")
    for length in (256, 300, 1023, 1024, 2000):
        path = place.path("x" * length)
        for call in (os.stat, os.unlink, os.mkdir, os.rmdir, lambda p: put(p, b"x"),
                     lambda p: os.open(p, os.O_RDONLY), lambda p: os.rename(place.path("f"), p),
                     lambda p: os.rename(p, place.path("g")), lambda p: os.truncate(p, 0)):
            with fails(errno.ENAMETOOLONG):
                call(path)
    assert place.names() == ["f"]


def deep(length):
    """A relative path of LENGTH bytes, of components of at most 200."""
    parts = []
    while length > 201:
        take = 200 if length - 201 > 0 else length
        parts.append("d" * take)
        length -= take + 1
    parts.append("f" * length)
    return "/".join(parts)


def make_parents(path):
    at = 0
    while (at := path.find("/", at + 1)) > 0:
        os.mkdir(path[:at])


@on_mount(timeout_s=90)
def paths_to_4095_bytes_work_from_the_mounts_root(place):
    """The key counts from the root; the call's own path may add nothing."""
    prefix = len(os.path.relpath(place.directory, place.root)) + 1
    relative = deep(4095 - prefix)
    os.chdir(place.directory)
    make_parents(relative)
    put(relative, b"deep")
    with open(relative, "rb") as source:
        assert source.read() == b"deep"
    assert os.stat(relative).st_size == 4
    os.rename(relative, relative[:-1] + "g")
    os.unlink(relative[:-1] + "g")
    put(relative, b"left for the removal of the tree")


@on_mount(tmpfs=False, timeout_s=90)
def a_key_beyond_4095_bytes_is_refused_as_too_long(place):
    os.chdir(place.directory)
    for _ in range(19):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    with fails(errno.ENAMETOOLONG):
        for _ in range(3):
            os.mkdir("e" * 250)
            os.chdir("e" * 250)
    with fails(errno.ENAMETOOLONG):
        put("f" * 255, b"x")
        put("e" * 250 + "/" + "f" * 255, b"x")
    os.chdir("/")


@on_mount()
def forty_levels_of_directories_work(place):
    path = place.directory
    for level in range(40):
        path = f"{path}/{level}"
        os.mkdir(path)
        put(f"{path}/object", str(level).encode())
    assert sum(len(names) for _, _, names in os.walk(place.directory)) == 40


@on_mount()
def a_component_that_is_an_object_is_not_a_directory(place):
    place.put("f", b"x")
    for call in (os.stat, os.mkdir, lambda p: put(p, b"x"), os.unlink, os.listdir):
        with fails(errno.ENOTDIR):
            call(place.path("f/below"))
    with fails(errno.ENOTDIR):
        os.listdir(place.path("f"))


@on_mount()
def the_dots_lead_where_they_should(place):
    os.makedirs(place.path("a/b"))
    place.put("a/f", b"x")
    assert os.path.samefile(place.path("a/b/../../a/./f"), place.path("a/f"))
    for name in (".", ".."):
        with fails(errno.EEXIST, errno.EINVAL, errno.EISDIR):
            os.mkdir(place.path(f"a/{name}"))
    with fails(errno.EINVAL, errno.ENOTEMPTY):
        os.rmdir(place.path("a/."))


@on_mount()
def names_that_differ_in_case_or_form_are_different(place):
    names = ["Key", "key", "KEY", "e\u0301", "\u00e9"]
    for name in names:
        place.put(name, name.encode())
    assert len(place.names()) == 5
    assert all(place.get(name) == name.encode() for name in names)


@on_mount()
def an_object_and_a_prefix_of_another_key_cannot_share_a_name(place):
    place.put("k", b"x")
    with fails(errno.ENOTDIR):
        place.put("k/sub", b"y")
    os.mkdir(place.path("d"))
    with fails(errno.EISDIR):
        place.put("d", b"y")
