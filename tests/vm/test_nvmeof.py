"""Segments behind the kernel's NVMe-oF target, reached by the kernel's host."""

from suite import on_guests

NQN = "nqn.2026-01.mooncake:store"
ENGINE_TEST = "test-unit-engine-files"
FABRIC_TEST = "test-unit-fabric-nvmeof-files"


def serve(guest, transport, address, count, size_mb):
    """Serve disks in this guest's memory as the namespaces of one subsystem."""
    guest.run(f"nvmet_serve {transport} {address} {NQN} {count} {size_mb}")


def connect(guest, transport, address):
    """Connect; the devices of the namespaces, in order."""
    return guest.run(f"nvme_connect {transport} {address} {NQN}").split()


def fabric_test(guest, before, environment="", cases="bytes"):
    """Run the fabric's own tests in a guest; all must pass."""
    output = guest.run(f"{before}; for CK_RUN_CASE in {cases}; do export CK_RUN_CASE; "
                       f"{environment} CK_VERBOSITY=verbose {FABRIC_TEST}; done", timeout_s=240)
    assert output.count("100%") == len(cases.split()) and "SKIPPED" not in output, output


def moved_over(transport, before, cases):
    """The body of a test: raw namespaces of another machine, and files on one."""
    def test(lab):
        a, b = lab.boot(2, add=[lab.test_program(FABRIC_TEST)])
        for guest in (a, b):
            guest.run(before)
        serve(a, transport, "10.0.0.1", 3, 64)
        raw, more, disk = connect(b, transport, "10.0.0.1")
        fabric_test(b, "cd /tmp", f"MOONCAKE_NVMEOF_FILES={raw}:{more}", cases)
        b.run(f"modprobe -a crc32c_generic ext4; mke2fs -q -t ext4 {disk}; mount {disk} /mnt")
        fabric_test(b, "cd /mnt")
        b.run("umount /mnt")
    return test


@on_guests(timeout_s=240)
def a_namespace_that_goes_and_comes_back_is_used_again(lab):
    a, b = lab.boot(2, add=[lab.test_program(FABRIC_TEST)])
    serve(a, "tcp", "10.0.0.1", 1, 64)
    device, = connect(b, "tcp", "10.0.0.1")
    reader = b.start(f"cd /tmp; export CK_RUN_CASE=gone MOONCAKE_NVMEOF_FILES={device}; "
                     f"CK_VERBOSITY=verbose {FABRIC_TEST}")
    b.run(f"sleep 2; nvme disconnect -n {NQN}; sleep 3")
    assert reader.poll() is None, reader.output
    assert connect(b, "tcp", "10.0.0.1") == [device]
    output = reader.wait(60)
    assert "gone" in output and "100%" in output, output


@on_guests(timeout_s=240)
def an_engine_finds_a_registered_segment_and_moves_its_bytes(lab):
    a, b = lab.boot(2, add=[lab.test_program(ENGINE_TEST)])
    url = "http://10.0.0.1:50080/metadata"
    disks = [f"/dev/ram{number}" for number in range(3)]
    a.start("exec mooncake-master --listen 10.0.0.1:50051 --journal memory --http 10.0.0.1:50080")
    serve(a, "tcp", "10.0.0.1", len(disks), 5)
    a.run(f"within 20 listens 50080; "
          f"mooncake nvmeof register disk {' '.join(disks)} --name store1 --metadata {url}")
    for disk, device in zip(disks, connect(b, "tcp", "10.0.0.1")):
        b.run(f"mooncake nvmeof mount disk {disk} {device} --name node --metadata {url}")
    output = b.run(f"MOONCAKE_NVMEOF_METADATA={url} CK_VERBOSITY=verbose {ENGINE_TEST}")
    assert "100%" in output, output
    # What was written is at the target: the first bytes of the test's pattern.
    seen = a.run("head -c 4096 /dev/ram0 | od -An -v -tu1 -w1").split()
    assert [int(word) for word in seen] == [(i * 2654435761 % 2**64 >> 7) & 255 for i in range(4096)]


for name, setup, which in (("tcp", "true", "bytes ends"), ("rdma", "rxe_eth", "bytes")):
    function = moved_over(name, setup, which)
    function.__name__ = f"namespaces_of_another_machine_are_read_and_written_over_{name}"
    on_guests(timeout_s=600)(function)
