"""Who owns what, and who may do what."""

import errno
import os
import stat

from suite import as_user, fails, get, on_mount, put, write_whole

UID, GID, OTHER = 1234, 2345, 4321


def open_to_all(place):
    os.chmod(place.directory, 0o777)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@on_mount(needs=("root",))
def new_names_belong_to_their_creator(place):
    open_to_all(place)

    def create():
        put(place.path("f"), b"x")
        os.mkdir(place.path("d"))
        put(place.path("g.tmp"), b"x")
        os.rename(place.path("g.tmp"), place.path("g"))
        return os.fstat(os.open(place.path("h"), os.O_CREAT | os.O_WRONLY)).st_uid
    assert as_user(UID, GID, create) == UID
    for name in "fdgh":
        info = os.stat(place.path(name))
        assert (info.st_uid, info.st_gid) == (UID, GID), name


@on_mount()
def the_mode_of_a_new_name_is_what_was_asked_less_the_umask(place):
    os.umask(0o027)
    put(place.path("f"), b"", mode=0o666)
    os.mkdir(place.path("d"), 0o777)
    assert (mode_of(place.path("f")), mode_of(place.path("d"))) == (0o640, 0o750)
    os.umask(0)
    put(place.path("g"), b"x", mode=0o4755)
    os.mkdir(place.path("e"), 0o1777)
    assert (mode_of(place.path("g")), mode_of(place.path("e"))) == (0o4755, 0o1777)


@on_mount(needs=("root",))
def a_setgid_directory_gives_its_group_to_what_is_made_in_it(place):
    os.mkdir(place.path("d"))
    os.chown(place.path("d"), 0, 777)
    os.chmod(place.path("d"), 0o2777)

    def create():
        put(place.path("d/f"), b"x")
        os.mkdir(place.path("d/sub"))
    as_user(UID, GID, create)
    assert os.stat(place.path("d/f")).st_gid == 777
    assert os.stat(place.path("d/sub")).st_gid == 777
    assert mode_of(place.path("d/sub")) & stat.S_ISGID


@on_mount(needs=("root",))
def a_chown_by_its_owner_clears_the_set_id_bits(place):
    open_to_all(place)

    def change():
        put(place.path("f"), b"x")
        os.chmod(place.path("f"), 0o6755)
        before = mode_of(place.path("f"))
        os.chown(place.path("f"), -1, OTHER)
        return before
    assert as_user(UID, GID, change, groups=(GID, OTHER)) == 0o6755
    info = os.stat(place.path("f"))
    assert (info.st_gid, stat.S_IMODE(info.st_mode)) == (OTHER, 0o755)


@on_mount(needs=("root",))
def a_write_by_another_than_root_clears_the_set_id_bits(place):
    put(place.path("f"), b"12345")
    os.chown(place.path("f"), UID, GID)
    os.chmod(place.path("f"), 0o6777)
    as_user(OTHER, OTHER, lambda: put(place.path("f"), b"x", os.O_WRONLY))
    assert mode_of(place.path("f")) == 0o777
    assert get(place.path("f")) == b"x2345"


@on_mount(needs=("root",))
def a_truncation_by_another_than_root_clears_the_set_id_bits(place):
    put(place.path("f"), b"12345")
    os.chown(place.path("f"), UID, GID)
    os.chmod(place.path("f"), 0o6777)
    as_user(OTHER, OTHER, lambda: os.truncate(place.path("f"), 2))
    assert mode_of(place.path("f")) == 0o777


@on_mount(needs=("root",))
def root_may_give_a_file_away_and_keep_one_half(place):
    put(place.path("f"), b"x")
    os.chown(place.path("f"), UID, -1)
    os.chown(place.path("f"), -1, GID)
    info = os.stat(place.path("f"))
    assert (info.st_uid, info.st_gid) == (UID, GID)
    fd = os.open(place.path("f"), os.O_RDONLY)
    os.fchown(fd, OTHER, OTHER)
    assert os.fstat(fd).st_uid == OTHER
    os.close(fd)


@on_mount(needs=("root",))
def a_stranger_may_not_chown_chmod_or_set_times(place):
    put(place.path("f"), b"x")
    for change in (lambda: os.chown(place.path("f"), OTHER, -1),
                   lambda: os.chmod(place.path("f"), 0o777),
                   lambda: os.utime(place.path("f"), (1, 1))):
        with fails(errno.EPERM):
            as_user(OTHER, OTHER, change)
    info = os.stat(place.path("f"))
    assert info.st_uid == 0 and stat.S_IMODE(info.st_mode) == 0o644 and info.st_mtime > 1000


@on_mount(needs=("root",))
def modes_are_enforced_for_reading_writing_and_searching(place):
    put(place.path("secret"), b"x", mode=0o600)
    os.mkdir(place.path("closed"), 0o700)
    put(place.path("closed/f"), b"x")
    for denied in (lambda: get(place.path("secret")),
                   lambda: put(place.path("secret"), b"y", os.O_WRONLY),
                   lambda: os.stat(place.path("closed/f")),
                   lambda: os.listdir(place.path("closed")),
                   lambda: put(place.path("new"), b"y"),
                   lambda: os.unlink(place.path("secret")),
                   lambda: os.rename(place.path("secret"), place.path("renamed"))):
        with fails(errno.EACCES):
            as_user(OTHER, OTHER, denied)
    assert as_user(OTHER, OTHER, lambda: os.access(place.path("secret"), os.F_OK))
    assert not as_user(OTHER, OTHER, lambda: os.access(place.path("secret"), os.R_OK))


@on_mount(needs=("root",))
def another_user_reads_what_everyone_may_read(place):
    put(place.path("f"), b"shared", mode=0o644)
    assert as_user(OTHER, OTHER, lambda: get(place.path("f"))) == b"shared"


@on_mount(needs=("root",))
def supplementary_groups_count(place):
    put(place.path("f"), b"group")
    os.chown(place.path("f"), 0, GID)
    os.chmod(place.path("f"), 0o640)
    assert as_user(OTHER, OTHER, lambda: get(place.path("f")), groups=(GID,)) == b"group"
    with fails(errno.EACCES):
        as_user(OTHER, OTHER, lambda: get(place.path("f")))


@on_mount(needs=("root",))
def in_a_sticky_directory_only_the_owner_removes(place):
    os.chmod(place.directory, 0o1777)
    as_user(UID, GID, lambda: put(place.path("f"), b"x"))
    with fails(errno.EPERM, errno.EACCES):
        as_user(OTHER, OTHER, lambda: os.unlink(place.path("f")))
    as_user(UID, GID, lambda: os.unlink(place.path("f")))


@on_mount(needs=("root",))
def a_file_created_with_mode_0000_stays_usable_by_its_descriptor(place):
    open_to_all(place)

    def create():
        fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR | os.O_EXCL, 0)
        write_whole(fd, b"still open")
        data = os.pread(fd, 100, 0)
        os.ftruncate(fd, 5)
        os.close(fd)
        return data
    assert as_user(UID, GID, create) == b"still open"
    assert mode_of(place.path("f")) == 0 and os.stat(place.path("f")).st_size == 5
    with fails(errno.EACCES):
        as_user(UID, GID, lambda: get(place.path("f")))


@on_mount(needs=("root",))
def a_read_only_file_created_for_writing_takes_the_bytes(place):
    open_to_all(place)

    def create():
        fd = os.open(place.path("f"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o444)
        write_whole(fd, b"bytes")
        os.close(fd)
    as_user(UID, GID, create)
    assert get(place.path("f")) == b"bytes" and mode_of(place.path("f")) == 0o444


@on_mount()
def a_mode_changed_while_open_shows_by_name_and_descriptor(place):
    fd = os.open(place.path("f"), os.O_CREAT | os.O_RDWR, 0o600)
    os.fchmod(fd, 0o4711)
    assert mode_of(place.path("f")) == 0o4711
    os.chmod(place.path("f"), 0o644)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o644
    os.close(fd)
    assert mode_of(place.path("f")) == 0o644


@on_mount(needs=("root",))
def mode_and_owner_survive_rename_and_replacement(place):
    put(place.path("a"), b"a")
    os.chown(place.path("a"), UID, GID)
    os.chmod(place.path("a"), 0o604)
    put(place.path("b"), b"b")
    os.replace(place.path("a"), place.path("b"))
    info = os.stat(place.path("b"))
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (UID, GID, 0o604)
    put(place.path("b"), b"new content", os.O_WRONLY | os.O_TRUNC)
    info = os.stat(place.path("b"))
    assert (info.st_uid, stat.S_IMODE(info.st_mode), info.st_size) == (UID, 0o604, 11)


@on_mount()
def a_directory_takes_mode_and_owner_changes(place):
    os.mkdir(place.path("d"))
    os.chmod(place.path("d"), 0o711)
    assert mode_of(place.path("d")) == 0o711 and stat.S_ISDIR(os.stat(place.path("d")).st_mode)
    if os.geteuid() == 0:
        os.chown(place.path("d"), UID, GID)
        assert os.stat(place.path("d")).st_gid == GID
