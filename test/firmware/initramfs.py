"""The initial ramdisk of a guest that does what a WalT node does next: it reaches the network, and says that it is up."""

import glob
import gzip
import lzma
import os
import re

CACHE = os.path.join(os.path.dirname(os.path.abspath(__file__)), ".cache")
KERNEL = os.path.join(CACHE, "vmlinuz")
BUSYBOX = os.path.join(CACHE, "busybox")
NETWORK_CARD = ("virtio_pci", "virtio_net")

# The kernel hands what it does not know of its command line to init's environment: $token, $entrypoint, $node.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
fail() {
    echo "node $token failed: $*"
    poweroff -f
}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in @MODULES@; do insmod /lib/$module.ko || fail "insmod $module"; done
ip link set eth0 up
udhcpc -f -n -q -i eth0 -s /bin/configure || fail "DHCP"
cd /tmp
wget -q -O server $entrypoint/server || fail "server"
wget -q -O boot.sig $entrypoint/per-ip/$node/boot.sig || fail "boot.sig"
wget -q -O boot.img $entrypoint/per-ip/$node/boot.img || fail "boot.img"
echo "$(head -n 1 boot.sig)  boot.img" | sha256sum -c || fail "digest of boot.img"
echo "node $token is up: WalT server $(cat server), boot.img is as boot.sig says"
poweroff -f
"""

CONFIGURE = """\
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev eth0
"""


class Module:
    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self.data = lzma.decompress(data) if path.endswith(".xz") else data
        found = re.search(rb"\0depends=([^\0]*)\0", self.data)
        self.needs = [name.replace("-", "_") for name in found.group(1).decode().split(",") if name] if found else []


def modules(wanted):
    """(name, content) of the wanted ones and of all that they need, in the order in which they must be loaded. One that has
    no file is built into the kernel."""
    paths = {os.path.basename(path).split(".")[0].replace("-", "_"): path
             for path in glob.glob(os.path.join(CACHE, "modules", "*.ko*"))}
    loaded = {}

    def load(name):
        if name in loaded or name not in paths:
            return
        module = Module(paths[name])
        for need in module.needs:
            load(need)
        loaded[name] = module.data

    for name in wanted:
        load(name)
    return list(loaded.items())


class Archive:
    """A cpio archive in the "newc" format, which needs neither cpio nor root."""

    def __init__(self):
        self.parts = []
        self.count = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.count += 1
        name = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0) + device + (len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        for part in (header, data):
            self.parts.append(part + b"\0" * (-len(part) % 4))

    def folder(self, name):
        self.add(name, 0o40755)

    def program(self, name, data):
        self.add(name, 0o100755, data)

    def packed(self):
        self.add("TRAILER!!!", 0)
        return gzip.compress(b"".join(self.parts), 1, mtime=0)


def initramfs():
    archive = Archive()
    for name in ("bin", "dev", "lib", "proc", "sys", "tmp"):
        archive.folder(name)
    archive.add("dev/console", 0o20600, device=(5, 1))
    with open(BUSYBOX, "rb") as file:
        archive.program("bin/busybox", file.read())
    drivers = modules(NETWORK_CARD)
    for name, data in drivers:
        archive.program("lib/%s.ko" % name, data)
    archive.program("init", INIT.replace("@MODULES@", " ".join(name for name, _ in drivers)).encode())
    archive.program("bin/configure", CONFIGURE.encode())
    return archive.packed()
