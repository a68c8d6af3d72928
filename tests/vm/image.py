"""What a guest finds when it boots: a cpio archive, made from this machine's files.

The base (busybox, modules, programs of the system) is made once and kept under
build/vm; it is made anew when something that it is made of has changed.  The
programs of one run come behind it: the kernel unpacks both.
"""

import contextlib
import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(HERE, "..", "..", "build", "vm")

# With what they depend on.  Only those of BOOT_MODULES (see init) are loaded
# at boot, the others by modprobe, where a test wants them.
MODULES = ["virtio_pci", "virtio_net", "9p", "9pnet_virtio", "fuse", "ext4", "brd", "veth",
           "crc32_generic", "crc32c_generic", "rdma_rxe", "rdma_ucm", "nvmet", "nvmet_tcp",
           "nvmet_rdma", "nvme_tcp", "nvme_rdma"]

# Programs of the system in every guest, in the packages of tools/setup.sh --tests.
PROGRAMS = ["bash", "ip", "rdma", "ibv_devinfo", "ib_read_bw", "ib_write_bw", "ib_read_lat",
            "rping", "nvme", "mke2fs", "iperf3"]

LIBRARIES = "/lib/x86_64-linux-gnu"
# What programs open by name; ldd does not know of it.
PROVIDER = "/usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav34.so"
FILES = ["/etc/libibverbs.d/rxe.driver", PROVIDER, "/etc/mke2fs.conf",
         f"{LIBRARIES}/libgcc_s.so.1"]

TEXTS = {"etc/passwd": "root:x:0:0:root:/:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
         "etc/group": "root:x:0:\nnogroup:x:65534:\n",
         "etc/hosts": "127.0.0.1 localhost\n10.0.0.1 a\n10.0.0.2 b\n",
         "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
         # What nvme wants to know of its host.
         "etc/nvme/hostnqn": "nqn.2014-08.org.nvmexpress:uuid:3c2e1a34-0c5b-4f0a-9d35-7a6d0b1f9c01\n",
         "etc/nvme/hostid": "3c2e1a34-0c5b-4f0a-9d35-7a6d0b1f9c01\n"}


class Lacking(Exception):
    """This machine lacks something that a guest needs."""


class Archive:
    """A cpio archive of the kind "newc", as the kernel unpacks it."""

    def __init__(self, out):
        self.out = out
        self.names = set()

    def folder(self, name):
        if name and name not in self.names:
            self.folder(os.path.dirname(name))
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, data, mode=0o644):
        name = name.lstrip("/")
        if name not in self.names:
            self.folder(os.path.dirname(name))
            self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        if name not in self.names:
            self.folder(os.path.dirname(name))
            self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, name, source):
        with open(source, "rb") as file:
            self.file(name, file.read(), stat.S_IMODE(os.stat(source).st_mode))

    def program(self, source):
        """The program under bin, and the libraries that it names.

        Those of the system stand where they do here, others where the loader looks
        last: a guest mounts its own /tmp, whatever was built below it.
        """
        self.copy(f"bin/{os.path.basename(source)}", source)
        for library in libraries(source):
            system = library.startswith(("/lib", "/usr/lib"))
            self.copy(library if system else f"{LIBRARIES}/{os.path.basename(library)}", library)

    def close(self):
        self._entry("TRAILER!!!", 0, b"")

    def _entry(self, name, mode, data):
        self.names.add(name)
        raw = name.encode() + b"\0"
        fields = [len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        self.out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def libraries(program):
    """The paths of the libraries that PROGRAM is linked with."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    missing = re.findall(r"(\S+) => not found", done.stdout)
    if missing:
        raise Lacking(f"{program} lacks its libraries {', '.join(missing)}")
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.MULTILINE)


def find_program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise Lacking(f"needs the program {name}")
    return os.path.realpath(path) if os.path.basename(os.path.realpath(path)) == name else path


class Kernel:
    """The kernel's image and its modules, fetched where they are not there yet."""

    def __init__(self, cache=CACHE):
        self.folder = os.path.join(cache, "kernel")
        if not os.path.exists(self.image):
            done = subprocess.run([os.path.join(HERE, "kernel.sh"), self.folder],
                                  capture_output=True, text=True, timeout=600, check=False)
            if done.returncode != 0:
                why = done.stderr.strip().splitlines()
                raise Lacking("no kernel could be fetched: " + (why[-1] if why else "no reason given"))
        self.modules = os.path.join(self.folder, "lib", "modules")
        self.release = os.listdir(self.modules)[0]

    @property
    def image(self):
        return os.path.join(self.folder, "vmlinuz")

    def depends(self):
        """{module's path: paths of those it needs}, as modules.dep has it."""
        with open(os.path.join(self.modules, self.release, "modules.dep")) as lines:
            return {path: needs.split() for path, _, needs in
                    (line.rstrip("\n").partition(":") for line in lines)}

    def closure(self, names):
        """[(path, needs)] of modules and of what they need; built-in ones have no path."""
        depends = self.depends()
        by_name = {module_name(path): path for path in depends}
        chosen = {}
        for name in names:
            if name in by_name:
                for path in [by_name[name], *depends[by_name[name]]]:
                    chosen[path] = depends[path]
        return sorted(chosen.items())


def module_name(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


def add_modules(archive, kernel):
    folder = f"lib/modules/{kernel.release}"
    lines = []
    for path, needs in kernel.closure(MODULES):
        with lzma.open(os.path.join(kernel.modules, kernel.release, path)) as packed:
            archive.file(f"{folder}/{path.removesuffix('.xz')}", packed.read())
        lines.append(" ".join([f"{path}:", *needs]).replace(".ko.xz", ".ko"))
    archive.file(f"{folder}/modules.dep", ("\n".join(lines) + "\n").encode())


def write_base(path, kernel, programs):
    with open(path, "wb") as out:
        archive = Archive(out)
        for folder in ("dev", "proc", "sys", "run", "tmp", "share", "mnt", "var"):
            archive.folder(folder)
        for source in programs:
            archive.program(source)
        archive.file("bin/busybox", read(find_program("busybox")), 0o755)
        done = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
        for applet in done.stdout.split():
            archive.link(f"bin/{applet}", "busybox")
        for source in FILES:
            archive.copy(source, source)
        for library in libraries(PROVIDER):
            archive.copy(library, library)
        for name, text in TEXTS.items():
            archive.file(name, text.encode())
        archive.file("init", read(os.path.join(HERE, "init")), 0o755)
        archive.file("etc/guest.sh", read(os.path.join(HERE, "guest.sh")))
        add_modules(archive, kernel)
        archive.close()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def base(kernel):
    """The path of the base; made when there is none of the same parts."""
    programs = [find_program(name) for name in PROGRAMS]
    lacking = [path for path in FILES if not os.path.exists(path)]
    if lacking:
        raise Lacking(f"needs the file {lacking[0]}")
    digest = hashlib.sha256(kernel.release.encode())
    for path in [*programs, find_program("busybox"), *FILES]:
        at = os.stat(path)
        digest.update(f"{path} {at.st_size} {at.st_mtime_ns}\n".encode())
    for name in ("image.py", "init", "guest.sh"):
        digest.update(read(os.path.join(HERE, name)))
    path = os.path.join(CACHE, f"base-{digest.hexdigest()[:16]}.cpio")
    if not os.path.exists(path):
        for old in os.listdir(CACHE):
            if old.startswith("base-"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(CACHE, old))
        part = f"{path}.{os.getpid()}"
        write_base(part, kernel, programs)
        os.rename(part, path)
    return path


def write_image(path, kernel, programs):
    """The base and behind it PROGRAMS, as one file that a guest boots from."""
    with open(path, "wb") as out:
        with open(base(kernel), "rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)
        archive = Archive(out)
        for program in programs:
            archive.program(program if "/" in program else find_program(program))
        archive.close()
