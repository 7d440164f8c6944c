"""Fixtures of the firmware tests, what they need of the machine, and a summary of what became of every guest."""

import ctypes
import os
import platform
import secrets
import shutil
import tempfile

import pytest

import guest as guest_module
from initramfs import BUSYBOX, KERNEL
from node_folder import NodeFolder


def no_http_boot():
    """Is the DHCP server of QEMU's network known to make no offer for UEFI's HTTP boot? It is that of libslirp 4.4 (Debian 11)."""
    try:
        libslirp = ctypes.CDLL("libslirp.so.0")
    except OSError:
        return False    # QEMU has it in itself
    libslirp.slirp_version_string.restype = ctypes.c_char_p
    return [int(part) for part in libslirp.slirp_version_string().decode().split(".")[:2]] <= [4, 4]


NEEDS = {
    "qemu": lambda: shutil.which(guest_module.QEMU),
    "ipxe": lambda: any(os.path.exists(folder + "/pxe-virtio.rom") for folder in guest_module.ROMS),
    "ovmf": lambda: os.path.exists(guest_module.OVMF),
    "grub": lambda: shutil.which("grub-mkimage") and os.path.exists("/usr/lib/grub/x86_64-efi/http.mod"),
    "mtools": lambda: shutil.which("mformat"),
    "binutils": lambda: shutil.which("as") and shutil.which("ld"),
    "kernel": lambda: os.path.exists(KERNEL),
    "busybox": lambda: os.path.exists(BUSYBOX),
    "curl": lambda: shutil.which("curl"),
    "wget": lambda: shutil.which("wget"),
    "nginx": lambda: shutil.which("nginx", path="/usr/sbin:" + os.environ["PATH"]),
    "haproxy": lambda: shutil.which("haproxy", path="/usr/sbin:" + os.environ["PATH"]),
}


def pytest_configure(config):
    config.addinivalue_line("markers", "http_boot: skip where QEMU's network is too old for UEFI's HTTP boot")
    config.addinivalue_line("markers", "needs(thing, ...): skip, with a reason, where one of these is not installed")


def pytest_runtest_setup(item):
    """FIRMWARE=required, as `make test-firmware` sets it, makes a failure of what would be a skip."""
    missing = [thing for mark in item.iter_markers("needs") for thing in mark.args if not NEEDS[thing]()]
    if missing:
        required = os.environ.get("FIRMWARE") == "required" and platform.machine() == "x86_64"
        say = pytest.fail if required else pytest.skip
        say("not installed: %s (test/firmware/install brings it)" % ", ".join(missing))
    if item.get_closest_marker("http_boot") and no_http_boot():
        pytest.skip("QEMU's network is too old for UEFI's HTTP boot (libslirp 4.4)")


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    stories = [text for report in reports if getattr(report, "when", "") == "call"
               for name, text in report.user_properties if name == "guest"]
    if stories:
        terminalreporter.section("what became of the guests")
    for story in stories:
        terminalreporter.write_line(story)


@pytest.fixture
def tell(record_property):
    """tell("..."): a line of the summary."""
    return lambda story: record_property("guest", story)


@pytest.fixture
def token():
    """Something that no console shows by chance."""
    return secrets.token_hex(8)


@pytest.fixture
def walt(folder):
    """The WalT server, its nodes' folder empty except for what walt.put() brings."""
    place = tempfile.mkdtemp(dir=folder)
    with NodeFolder(place) as server:
        yield server
        assert not server.unexpected_dangers()


@pytest.fixture
def cached_entrypoint(entrypoint, folder):
    """The module as it is meant to be used: with a cache, asked for by the name that guests know."""
    cache = os.path.join(folder, "cache")
    return entrypoint(cache=cache, server_name=guest_module.ENTRYPOINT)


@pytest.fixture
def boot(folder):
    """boot(entrypoint, path, ...): a running Guest, that ends with the test."""
    guests = []

    def start(entrypoint, path, **options):
        guests.append(guest_module.Guest(tempfile.mkdtemp(dir=folder), entrypoint.port, path, **options))
        return guests[-1]

    yield start
    for guest in guests:
        guest.stop()
