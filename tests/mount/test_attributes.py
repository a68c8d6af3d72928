"""Extended attributes: the users' own, and those that the mount tells."""

import errno
import os

from suite import fails, on_mount, put, write_whole


@on_mount()
def user_attributes_are_set_got_listed_and_removed(place):
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for name in "fd":
        path = place.path(name)
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"\0binary\xff")
        os.setxattr(path, "user.empty", b"")
        assert os.getxattr(path, "user.one") == b"1"
        assert os.getxattr(path, "user.two") == b"\0binary\xff"
        assert os.getxattr(path, "user.empty") == b""
        assert {"user.one", "user.two", "user.empty"} <= set(os.listxattr(path))
        os.removexattr(path, "user.one")
        assert "user.one" not in os.listxattr(path)
        with fails(errno.ENODATA):
            os.getxattr(path, "user.one")
        with fails(errno.ENODATA):
            os.removexattr(path, "user.one")


@on_mount()
def create_and_replace_flags_are_obeyed(place):
    place.put("f", b"x")
    path = place.path("f")
    with fails(errno.ENODATA):
        os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.a") == b"3"


@on_mount()
def attributes_set_while_open_and_by_descriptor_are_kept(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.setxattr(fd, "user.early", b"set before publish")
    write_whole(fd, b"abc")
    os.close(fd)
    assert os.getxattr(place.path("f"), "user.early") == b"set before publish"


@on_mount()
def a_value_that_is_too_large_is_refused_and_no_memory_is_blamed(place):
    """The kernel passes on 65536 bytes, a string of the protocol has 65535."""
    place.put("published", b"x")
    with open(place.path("draft"), "wb") as draft:
        for path in (place.path("published"), draft.fileno()):
            os.setxattr(path, "user.large", b"v" * 65535)
            with fails(errno.ENOSPC):
                os.setxattr(path, "user.larger", b"v" * 65536)
            assert len(os.getxattr(path, "user.large")) == 65535


@on_mount()
def attributes_survive_rename_and_rewriting(place):
    place.put("f.tmp", b"x")
    os.setxattr(place.path("f.tmp"), "user.a", b"1")
    os.rename(place.path("f.tmp"), place.path("g"))
    assert os.getxattr(place.path("g"), "user.a") == b"1"
    put(place.path("g"), b"more", os.O_WRONLY | os.O_APPEND)
    assert os.getxattr(place.path("g"), "user.a") == b"1"


@on_mount()
def a_replaced_object_does_not_keep_the_old_attributes(place):
    place.put("f", b"x")
    os.setxattr(place.path("f"), "user.a", b"1")
    place.put("g.tmp", b"y")
    os.rename(place.path("g.tmp"), place.path("f"))
    with fails(errno.ENODATA):
        os.getxattr(place.path("f"), "user.a")


@on_mount()
def a_value_of_4096_bytes_and_forty_names_fit(place):
    place.put("f", b"x")
    os.setxattr(place.path("f"), "user.large", b"v" * 4096)
    assert os.getxattr(place.path("f"), "user.large") == b"v" * 4096
    for number in range(40):
        os.setxattr(place.path("f"), f"user.name{number}", b"%d" % number)
    assert os.getxattr(place.path("f"), "user.name39") == b"39"
    assert len(os.listxattr(place.path("f"))) >= 41


@on_mount()
def a_buffer_too_small_for_the_value_is_told_the_range(place):
    import ctypes
    import syscalls
    place.put("f", b"x")
    os.setxattr(place.path("f"), "user.a", b"0123456789")
    room = ctypes.create_string_buffer(4)
    path = os.fsencode(place.path("f"))
    assert syscalls.LIBC.getxattr(path, b"user.a", None, 0) == 10
    assert syscalls.LIBC.getxattr(path, b"user.a", room, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert syscalls.LIBC.listxattr(path, room, 4) == -1 and ctypes.get_errno() == errno.ERANGE


@on_mount()
def a_missing_name_has_no_attributes(place):
    for call in (lambda p: os.getxattr(p, "user.a"), os.listxattr,
                 lambda p: os.setxattr(p, "user.a", b"1"), lambda p: os.removexattr(p, "user.a")):
        with fails(errno.ENOENT):
            call(place.path("missing"))


@on_mount(tmpfs=False)
def an_object_tells_its_version_size_replicas_location_and_pin(place):
    place.put("f", b"x" * 1234)
    told = {name: os.getxattr(place.path("f"), f"user.mooncake.{name}").decode().strip("\0\n ")
            for name in ("version", "size", "replicas", "location", "pinned")}
    assert int(told["size"]) == 1234
    assert int(told["version"]) >= 1
    assert int(told["replicas"]) == 1
    assert told["location"]
    assert told["pinned"] == "0"


@on_mount(tmpfs=False)
def the_size_told_is_that_of_what_is_being_written(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    for size in (5, 10):
        write_whole(fd, b"12345")
        assert int(os.getxattr(fd, "user.mooncake.size")) == size
    os.close(fd)
    fd = os.open(place.path("f"), os.O_WRONLY)
    os.ftruncate(fd, 3)
    assert int(os.getxattr(fd, "user.mooncake.size")) == 3
    os.close(fd)


@on_mount(tmpfs=False)
def a_new_content_is_a_higher_version(place):
    versions = []
    for number in range(3):
        place.put("f", b"%d" % number)
        versions.append(int(os.getxattr(place.path("f"), "user.mooncake.version")))
    assert versions == sorted(set(versions)), versions


@on_mount(tmpfs=False)
def a_pin_is_set_and_taken_away(place):
    place.put("f", b"x")
    os.setxattr(place.path("f"), "user.mooncake.pinned", b"1")
    assert os.getxattr(place.path("f"), "user.mooncake.pinned").strip(b"\0\n") == b"1"
    os.setxattr(place.path("f"), "user.mooncake.pinned", b"0")
    assert os.getxattr(place.path("f"), "user.mooncake.pinned").strip(b"\0\n") == b"0"


@on_mount(tmpfs=False)
def what_the_mount_tells_cannot_be_overwritten_or_removed(place):
    place.put("f", b"x")
    for name in ("version", "size", "id", "location"):
        with fails(errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP):
            os.setxattr(place.path("f"), f"user.mooncake.{name}", b"9")
        with fails(errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP):
            os.removexattr(place.path("f"), f"user.mooncake.{name}")
    with fails(errno.ENODATA):
        os.getxattr(place.path("f"), "user.mooncake.nonsense")


@on_mount(tmpfs=False)
def the_count_of_copies_is_set_on_an_object_and_on_a_directory(place):
    place.put("f", b"x")
    os.mkdir(place.path("d"))
    for name in ("f", "d"):
        os.setxattr(place.path(name), "user.mooncake.replicas", b"2")
        for value in (b"", b"0", b"9", b"22", b"x"):
            with fails(errno.EINVAL):
                os.setxattr(place.path(name), "user.mooncake.replicas", value)
        os.removexattr(place.path(name), "user.mooncake.replicas")
    assert os.getxattr(place.path("f"), "user.mooncake.replicas") == b"1", "copies there are"
    with fails(errno.ENODATA):
        os.getxattr(place.path("d"), "user.mooncake.replicas")
    with open(place.path("g"), "wb") as file:
        os.setxattr(file.fileno(), "user.mooncake.ack", b"1")
        os.setxattr(file.fileno(), "user.mooncake.preferred", b"nobody")
        file.write(b"x")
    assert place.get("g") == b"x"


@on_mount(tmpfs=False)
def an_unpublished_object_tells_that_it_has_no_replica(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    write_whole(fd, b"x")
    assert int(os.getxattr(place.path("f"), "user.mooncake.replicas")) == 0
    os.close(fd)
    assert int(os.getxattr(place.path("f"), "user.mooncake.replicas")) == 1
