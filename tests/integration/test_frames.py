"""Bytes that no honest peer sends, to the ports of masters and nodes."""

import os
import random
import socket
import struct
import time

from cluster import listening_names, listening_ports
from suite import content, get, on_cluster, put, same

# magic, version, kind, verb, status, body bytes, epoch, request id
HEADER = struct.Struct("<HBBHhIIQ")
MAGIC, VERSION = 0x434D, 1
REQUEST, REPLY, PUSH = 0, 1, 2
HELLO, LOOKUP, PUBLISH, LIST, PULL = 1, 3, 5, 11, 60
PROTOCOL_ERROR = -71


def frame(verb, body=b"", kind=REQUEST, magic=MAGIC, version=VERSION, length=None, number=1):
    size = len(body) if length is None else length
    return HEADER.pack(magic, version, kind, verb, 0, size, 0, number) + body


def connect(address):
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    link = socket.socket(family, socket.SOCK_STREAM)
    link.settimeout(5)
    link.connect(("127.0.0.1", address) if isinstance(address, int) else address)
    return link


def throw(address, data, finish=True):
    """Send DATA, drain what comes back, and close; any reset is fine."""
    try:
        with connect(address) as link:
            link.settimeout(0.3)
            link.sendall(data)
            if finish:
                link.shutdown(socket.SHUT_WR)
                while link.recv(65536):
                    pass
    except (ConnectionError, socket.timeout, TimeoutError, BrokenPipeError):
        pass


def closes(address, data):
    """Whether the other side closes after DATA without being asked to."""
    with connect(address) as link:
        try:
            link.sendall(data)
            while link.recv(65536):
                pass
            return True
        except socket.timeout:
            return False
        except ConnectionError:
            return True


def evil():
    """What to throw: by the rules of protocol.h, every one of them broken."""
    yield b""
    yield b"\0"
    yield b"GET / HTTP/1.0\r\n\r\n"
    yield frame(LOOKUP)[:10]
    yield frame(LOOKUP, b"x" * 100)[:60]
    yield frame(HELLO, magic=0x4D43)
    yield frame(HELLO, version=0)
    yield frame(HELLO, version=255)
    yield frame(HELLO, kind=7)
    yield frame(HELLO, kind=REPLY)
    yield frame(HELLO, kind=PUSH)
    yield frame(HELLO, length=0xFFFFFFFF)
    yield frame(HELLO, length=0x7FFFFFFF)
    yield frame(HELLO, length=(16 << 20) + 1)
    yield frame(HELLO, b"x" * 1000, length=16 << 20)
    for verb in (0, HELLO, LOOKUP, PUBLISH, LIST, PULL, 63, 64, 999, 65535):
        yield frame(verb)
        yield frame(verb, b"\xff" * 64)
        yield frame(verb, b"\0" * 64)
        yield frame(verb, struct.pack("<HQH", 65535, 1, 65535))
    chance = random.Random(11)
    for _ in range(40):
        yield chance.randbytes(chance.randrange(1, 3000))
        yield frame(chance.randrange(70), chance.randbytes(chance.randrange(200)),
                    kind=chance.randrange(3))
    hello = struct.pack("<B16sH", 0, b"u" * 16, 1) + b"n" + struct.pack("<H", 1) + b"h" + \
        struct.pack("<QQB", 0, 0, 0)
    for verb in range(1, 27):
        yield frame(HELLO, hello) + frame(verb, b"\xff" * 200, number=2) + frame(verb, number=3)
        yield frame(HELLO, hello) + b"".join(
            frame(verb, chance.randbytes(chance.randrange(120)), number=n) for n in range(20))


def bombard(address):
    for data in evil():
        throw(address, data)


def peers(process):
    """Every address it listens on."""
    return listening_ports(process.pid) + listening_names(process.pid)


def goes_on(cluster, processes, a, b, number):
    for process in processes:
        assert process.alive(), f"{process.name} died\n{process.log()[-3000:]}"
    put(os.path.join(a.path, f"k{number}"), content(number, 100_000))
    same(get(os.path.join(b.path, f"k{number}")), content(number, 100_000))


@on_cluster(variants="one", timeout_s=180)
def a_master_survives_every_bad_frame_and_serves_on(cluster):
    master, a, b = cluster.pair()
    goes_on(cluster, [master], a, b, 1)
    bombard(master.port)
    goes_on(cluster, [master, a, b], a, b, 2)


@on_cluster(variants="one", timeout_s=180)
def a_node_survives_every_bad_frame_on_every_socket_and_serves_on(cluster):
    master, a, b = cluster.pair()
    goes_on(cluster, [master], a, b, 1)
    addresses = peers(a)
    assert any(isinstance(address, int) for address in addresses), "a node listens on no port"
    for address in addresses:
        bombard(address)
    goes_on(cluster, [master, a, b], a, b, 2)
    c = cluster.node(master, "c", transport="tcp")
    same(get(os.path.join(c.path, "k1")), content(1, 100_000))


@on_cluster(variants="one")
def a_frame_with_lost_boundaries_closes_its_connection_alone(cluster):
    master, a, b = cluster.pair()
    node_port = listening_ports(a.pid)[0]
    for address in (master.port, node_port):
        assert closes(address, frame(HELLO, magic=0x1234)), "magic"
        assert closes(address, frame(HELLO, version=99)), "version"
        assert closes(address, frame(HELLO, length=0xFFFFFFF0)), "length"
    goes_on(cluster, [master, a, b], a, b, 1)


@on_cluster(variants="one")
def a_request_before_hello_is_answered_as_a_breach(cluster):
    master = cluster.master()
    with connect(master.port) as link:
        link.sendall(frame(LOOKUP, struct.pack("<HQH", 1, 1, 1) + b"x", number=77))
        answer = link.recv(HEADER.size, socket.MSG_WAITALL)
    if answer:
        magic, _, kind, verb, status, size, _, number = HEADER.unpack(answer)
        assert (magic, kind, verb, number) == (MAGIC, REPLY, LOOKUP, 77)
        assert status == PROTOCOL_ERROR and size == 0, (status, size)


@on_cluster(variants="one")
def connections_that_say_nothing_do_not_keep_others_out(cluster):
    master, a, b = cluster.pair()
    idle = [connect(master.port) for _ in range(200)]
    idle += [connect(listening_ports(a.pid)[0]) for _ in range(200)]
    for link in idle[::2]:
        link.sendall(frame(LOOKUP)[:12])
    goes_on(cluster, [master, a, b], a, b, 1)
    cluster.node(master, "c")
    for link in idle:
        link.close()
    goes_on(cluster, [master, a, b], a, b, 2)


@on_cluster(variants="one")
def descriptors_of_closed_connections_are_given_back(cluster):
    master, a, b = cluster.pair()
    before = (master.descriptor_count(), a.descriptor_count())
    port = listening_ports(a.pid)[0]
    for _ in range(150):
        connect(master.port).close()
        connect(port).close()
    for _ in range(100):
        after = (master.descriptor_count(), a.descriptor_count())
        if after[0] <= before[0] + 3 and after[1] <= before[1] + 3:
            return
        time.sleep(0.1)
    raise AssertionError(f"descriptors before {before}, after {after}")
