"""Bad journals, bad pools."""

import os

from cluster import mounted, wait_until
from suite import content, get, on_cluster, put, same

START_S = 20


def at(node, name):
    return os.path.join(node.path, name)


def journal_file(master):
    path = master.journal.split(":", 1)[1]
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in os.listdir(path)]
        return max((f for f in files if os.path.isfile(f)), key=os.path.getsize)
    return path


def filled(cluster, count=200):
    """A master with a journal of COUNT objects on a node, both stopped."""
    master = cluster.master()
    node = cluster.node(master)
    os.mkdir(at(node, "d"))
    for number in range(count):
        put(at(node, f"d/k{number}"), b"%d" % number)
    return master, node


def check(node, count=200):
    assert len(os.listdir(at(node, "d"))) == count
    assert all(get(at(node, f"d/k{n}")) == b"%d" % n for n in range(0, count, 13))


def ends_with_an_error(process, *words):
    wait_until(lambda: not process.alive(), START_S, f"{process.name} ends\n{process.log()}")
    said = process.log()
    assert process.wait() > 0, f"it ended with {process.wait()}\n{said}"
    for word in words:
        assert word in said.rsplit("\n$ ", 1)[-1], f"{word!r} is not in {said}"


@on_cluster(variants="one")
def a_torn_tail_of_the_journal_is_tolerated(cluster):
    for cut in (1, 7, 30):
        master, node = filled(cluster, 50) if cut == 1 else (master, node)
        master.stop()
        path = journal_file(master)
        os.truncate(path, max(0, os.path.getsize(path) - cut))
        master = cluster.again(master)
        wait_until(lambda: _has(node, 50), 20, "all objects are there again")
        check(node, 50)


def _has(node, count):
    try:
        return len(os.listdir(at(node, "d"))) == count
    except OSError:
        return False


@on_cluster(variants="one")
def half_a_record_at_the_end_of_the_journal_is_tolerated(cluster):
    master, node = filled(cluster, 50)
    master.kill()
    with open(journal_file(master), "ab") as journal:
        journal.write(content(1, 11))
    cluster.again(master)
    wait_until(lambda: _has(node, 50), 20, "all objects are there")
    put(at(node, "d/new"), b"x")
    assert get(at(node, "d/new")) == b"x"


@on_cluster(variants="one")
def garbage_in_the_middle_of_the_journal_is_refused_clearly(cluster):
    master, node = filled(cluster)
    node.stop()
    master.kill()
    path = journal_file(master)
    middle = os.path.getsize(path) // 2
    with open(path, "r+b") as journal:
        journal.seek(middle)
        journal.write(content(2, 64))
    kept = open(path, "rb").read()
    again = cluster.master(master.name, master.port, master.journal, ready=False)
    ends_with_an_error(again, "journal")
    same(open(path, "rb").read(), kept, "the journal")


@on_cluster(variants="one")
def a_file_that_is_no_journal_is_refused_and_left_alone(cluster):
    path = cluster.path("notes.txt")
    put(path, b"These are my notes, not a journal at all.\n" * 50)
    master = cluster.master(journal=f"file:{path}", ready=False)
    ends_with_an_error(master, "journal")
    assert get(path) == b"These are my notes, not a journal at all.\n" * 50


@on_cluster(variants="one")
def a_journal_that_cannot_be_made_is_named(cluster):
    with open(cluster.path("plain"), "w", encoding="utf-8"):
        pass
    master = cluster.master(journal=f"file:{cluster.path('plain')}/journal", ready=False)
    ends_with_an_error(master, "plain")
    master = cluster.master("second", journal="stone:tablet", ready=False)
    ends_with_an_error(master, "journal")


@on_cluster(variants="one")
def a_journal_in_use_is_refused_to_a_second_master(cluster):
    master = cluster.master()
    second = cluster.master("second", journal=master.journal, ready=False)
    ends_with_an_error(second, "journal")
    assert master.alive() and master.listens()


@on_cluster(variants="one")
def a_port_in_use_is_refused_clearly(cluster):
    master = cluster.master()
    second = cluster.master("second", port=master.port, ready=False)
    ends_with_an_error(second, str(master.port))
    assert master.alive() and master.listens()


@on_cluster(variants="one")
def the_journal_does_not_grow_without_end(cluster):
    master = cluster.master()
    node = cluster.node(master)
    for number in range(5000):  # some 1.5 MB of records
        put(at(node, "same-key"), b"%d" % number)
    master.stop()
    master = cluster.again(master)
    wait_until(lambda: os.path.exists(at(node, "same-key")), 20, "the object is there")
    master.stop()
    size = os.path.getsize(journal_file(master))
    assert size < 1 << 20, f"{size} bytes for one object after a restart"


def pool_files(node):
    """The object files in the pool of a stopped node."""
    found = []
    for where, _, names in os.walk(node.options["pool"]):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > 5000:
                found.append(path)
    return sorted(found)


def pool_of_ten(cluster):
    master = cluster.master()
    node = cluster.node(master)
    for number in range(10):
        put(at(node, f"k{number}"), bytes([65 + number]) * (6000 + number))
    node.stop()
    assert mounted(node.options["pool"]) or pool_files(node), "the pool did not outlive its node"
    files = pool_files(node)
    assert len(files) == 10, files
    return node, files


def served(node):
    """Names that give whole, true content; anything else is an error."""
    names = sorted(os.listdir(node.path))
    for name in names:
        number = int(name[1:])
        same(get(at(node, name)), bytes([65 + number]) * (6000 + number), name)
    return names


@on_cluster()
def files_that_are_no_objects_are_set_aside_reported_and_not_served(cluster):
    node, files = pool_of_ten(cluster)
    where = os.path.dirname(files[0])
    put(os.path.join(where, "foreign.txt"), b"not an object")
    put(os.path.join(where, "0000000000000042"), b"no metadata")
    os.symlink("/etc/passwd", os.path.join(where, "link"))
    os.mkdir(os.path.join(where, "directory"))
    os.mkfifo(os.path.join(where, "fifo"))
    node = cluster.again(node)
    assert served(node) == [f"k{n}" for n in range(10)]
    assert "foreign.txt" in node.log() or "aside" in node.log(), "nothing is reported"


@on_cluster()
def objects_with_broken_metadata_are_set_aside_and_the_others_served(cluster):
    node, files = pool_of_ten(cluster)
    names = os.listxattr(files[0])
    assert names, "the pool's files carry no metadata"
    for name in names:
        value = os.getxattr(files[0], name)
        os.setxattr(files[0], name, content(3, len(value)))
        os.setxattr(files[1], name, os.getxattr(files[1], name)[:len(value) // 2])
        os.setxattr(files[2], name, b"")
        os.removexattr(files[3], name)
        value = bytearray(os.getxattr(files[4], name))
        value[len(value) // 2] ^= 0x40
        os.setxattr(files[4], name, bytes(value))
        os.setxattr(files[5], name, os.getxattr(files[5], name) + content(4, 3000))
    node = cluster.again(node)
    names = served(node)
    assert len(names) == 4, f"{names} are served of ten with six broken"
    put(at(node, "k0"), bytes([65]) * 6000)
    assert "k0" in served(node)
    node.kill()
    node = cluster.again(node)
    assert len(served(node)) >= 4


@on_cluster()
def an_object_cut_short_in_the_pool_is_never_served_whole(cluster):
    node, files = pool_of_ten(cluster)
    for path, size in zip(files, (100, 0, 9000)):
        before = os.stat(path)
        os.truncate(path, size)
        # Who writes to a file moves its time, and that is a change.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    node = cluster.again(node)
    assert len(served(node)) == 7


@on_cluster()
def two_files_that_claim_one_name_leave_one_object(cluster):
    import shutil
    node, files = pool_of_ten(cluster)
    copy = os.path.join(os.path.dirname(files[0]), "f" * len(os.path.basename(files[0])))
    shutil.copyfile(files[0], copy)
    for name in os.listxattr(files[0]):
        os.setxattr(copy, name, os.getxattr(files[0], name))
    node = cluster.again(node)
    assert served(node) == [f"k{n}" for n in range(10)]


@on_cluster(variants="one")
def an_emptied_pool_makes_the_names_missing(cluster):
    node, files = pool_of_ten(cluster)
    for path in files[:5]:
        os.unlink(path)
    node = cluster.again(node)
    assert len(served(node)) == 5
