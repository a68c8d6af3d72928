"""The guest's soft-RoCE itself, by the programs of others: what our numbers stand beside."""

import re

from suite import on_guests, skip

SIZE = 1 << 20


TRIES = 8


def between(server_guest, server, client_guest, client):
    """The client's output.  perftest gives up, and says so, where a guest's clocks don't agree."""
    for _ in range(TRIES):
        serving = server_guest.start(server)
        asking = client_guest.start(client)
        output = asking.wait(120, check=False)
        serving.wait(check=False)
        if asking.status == 0:
            return output
        assert "Can't produce a report" in output, output
    skip(f"the guest's clocks did not agree {TRIES} times: {client}")


def measure(guest, program, arguments):
    """The last line of numbers of a perftest program, as floats."""
    output = between(guest, f"{program} -d rxe0 {arguments}", guest,
                     f"within 20 listens 18515; {program} -d rxe1 {arguments} 10.1.0.1")
    rows = [line.split() for line in output.splitlines()
            if re.fullmatch(r"[\s\d.]+", line) and line.strip()]
    assert rows, output
    return [float(word) for word in rows[-1]]


@on_guests(timeout_s=240)
def two_devices_of_one_guest_read_and_write_each_others_memory(lab):
    guest, = lab.boot()
    guest.run("rxe_pair")
    for program in ("ib_read_bw", "ib_write_bw"):
        size, _, _, average_mb_s, _ = measure(guest, program, f"-s {SIZE} -n 30")
        print(f"{program}: {average_mb_s} MB/s")
        assert size == SIZE and average_mb_s > 0
    size, count, *latency_us = measure(guest, "ib_read_lat", "-s 8 -n 200")
    print(f"ib_read_lat: {latency_us[2]} us")
    assert (size, count) == (8, 200) and latency_us[2] > 0
    sent = guest.run("cat /sys/class/net/v0/statistics/tx_bytes /sys/class/net/v1/statistics/tx_bytes")
    assert sum(map(int, sent.split())) > 2 * 30 * SIZE, "the bytes did not cross the wire"


@on_guests(timeout_s=240)
def two_guests_read_each_others_memory(lab):
    a, b = lab.boot(2)
    for guest in (a, b):
        guest.run("rxe_eth")
    output = between(a, f"ib_read_bw -d rxe0 -s {SIZE} -n 30",
                     b, f"sleep 1; ib_read_bw -d rxe0 -s {SIZE} -n 30 a")
    assert re.search(rf"^ {SIZE} +30 ", output, re.MULTILINE), output


@on_guests(timeout_s=240)
def connections_are_made_by_address(lab):
    guest, = lab.boot()
    guest.run("rxe_pair")
    server = guest.start("rping -s -a 10.1.0.1 -C 5")
    guest.run("sleep 0.3; rping -c -a 10.1.0.1 -C 5")
    server.wait()
