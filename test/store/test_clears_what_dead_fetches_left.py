"""What a fetch has left is gone on with by the next one, also after a restart, and makes room for anything else."""

import os
import shutil
import signal

import pytest

import metrics
import status_page
from boot_files import image_digest, image_pieces
from fetches import ONE_PROCESS, fetched
from fleet import Fleet
from processes import wait_until
from stand_in import COMING, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

HALF = 1 << 19
MIB = 1 << 20
STRANGER = "0123456789abcdef" * 4


@pytest.fixture
def leave(cache):
    """leave(name, bytes): a file in the folder, as a process that is dead now would have left it."""
    def make(name, content=b"x" * 1000):
        path = os.path.join(cache.path, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        if os.getuid() == 0:
            shutil.chown(path, os.stat(cache.path).st_uid)
    return make


def beginning(size):
    """Of the image that the WalT server has."""
    return b"".join(image_pieces("default", 1))[:size]


def test_is_gone_on_with(entrypoint, cache, leave, node, walt, walt_version):
    """At its byte, where the WalT server knows ranges."""
    httpd = entrypoint(cache=cache.path)
    leave(image_digest("default", 1) + ".part", beginning(3 * HALF // 2))
    assert node(httpd).boot().booted
    assert [request.sent for request in walt.requests("boot.img")] == [MIB - 3 * HALF // 2 if walt_version == COMING else MIB]
    assert cache.parts() == [] and len(cache.images()) == 1


def test_killed_with_everything(entrypoint, cache, walt, walt_version):
    """The whole server dies of -9 in the middle of a fetch: the next one goes on."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF)
    fleet = Fleet(httpd, 1, patience=1)
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [HALF], what="half an image")
    wait_until(lambda: cache.parts() and os.path.getsize(cache.part(cache.parts()[0])) > 0, what="something of it on the disk")
    os.killpg(httpd.process.pid, signal.SIGKILL)
    fleet.boots()
    left = os.path.getsize(cache.part(cache.parts()[0]))
    assert all(boot.booted for boot in Fleet(entrypoint(cache=cache.path), 3).boots())
    assert walt.requests("boot.img")[1].sent == (MIB - left if walt_version == COMING else MIB)
    assert cache.parts() == [] and len(cache.images()) == 1


@pytest.mark.parametrize("size", [1000, 2 * MIB], ids=["shorter", "longer"])
def test_what_is_not_of_the_image(size, entrypoint, cache, leave, walt):
    """It bears the name, but its bytes are others: no node is sent them to the end, and all boot."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("ended short|answered with 404")
    leave(image_digest("default", 1) + ".part", b"x" * size)
    for _ in range(2):
        boots = Fleet(httpd, 8).boots()
    assert all(boot.booted for boot in boots), boots
    assert cache.parts() == [] and len(cache.images()) == 1


def test_as_long_as_the_image(entrypoint, cache, leave, walt, walt_version):
    """Version 1.1.1 gave the file its full length beforehand: what it left ends in zeros, which no node is sent."""
    httpd = entrypoint(cache=cache.path)
    leave(image_digest("default", 1) + ".part", beginning(HALF) + bytes(MIB - HALF))
    boots = Fleet(httpd, 8).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert [request.sent for request in walt.requests("boot.img")] == [MIB - HALF if walt_version == COMING else MIB]
    assert cache.parts() == [] and len(cache.images()) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's file")
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_foreign_part(kind, entrypoint, cache, node, walt):
    """What another user put in the place of a .part gives way."""
    httpd = entrypoint(cache=cache.path)
    path = cache.part(image_digest("default", 1))
    if kind == "file":
        os.close(os.open(path, os.O_CREAT, 0o600))
    elif kind == "folder":
        os.mkdir(path)
    else:
        os.symlink("/etc/hostname", path)
    httpd.expect_log(r"\.part is not a file of the cache: removed")
    assert node(httpd).boot().booted
    assert cache.parts() == [] and len(cache.images()) == 1


def test_a_fifo_holds_nobody_up(entrypoint, cache, node, walt):
    """Whoever put one in the place of a .part: it goes when room is needed, and in its own place at once."""
    httpd = entrypoint(cache=cache.path)
    for name in (STRANGER, image_digest("default", 1)):
        os.mkfifo(cache.part(name))
        if os.getuid() == 0:
            shutil.chown(cache.part(name), os.stat(cache.path).st_uid)
    httpd.expect_log(r"\.part is not a file of the cache: removed")
    assert node(httpd).boot().booted
    assert len(cache.images()) == 1


def test_makes_room(entrypoint, cache, leave, node, walt):
    """Before any image."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 3M")
    kept = [walt.set_image(image=name) for name in ("one", "two") if node(httpd).boot() or True]
    assert node(httpd).boot().booted
    leave(STRANGER + ".part", b"x" * MIB)
    last = walt.set_image(image="last")
    assert node(httpd).boot().booted
    assert cache.parts() == [] and last in cache.images() and kept[-1] in cache.images()


def test_who_looks_clears_nothing(entrypoint, cache, leave, node, walt):
    """The pages for people and for Prometheus tell what is in the folder: images."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS, vhost=status_page.LOCATION + "\n" + metrics.LOCATION,
                       modules=status_page.MODULES)
    assert httpd.get().status
    leave(STRANGER + ".part")
    leave("notes.txt")
    assert status_page.look(httpd)[0].summary["Images in it"] == "0"
    assert metrics.scrape(httpd).sum("walt_vpn_cache_bytes") == 0
    assert cache.parts() == [STRANGER]
    assert node(httpd).boot().booted
    assert fetched(walt) == 1 and "notes.txt" in cache.names()


def test_living_fetch_is_left_alone(entrypoint, cache, walt):
    """New children come while an old one fetches: they follow it."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    fleet = Fleet(httpd, 3)
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [HALF], what="half an image")
    httpd.graceful()
    assert all(boot.booted for boot in Fleet(httpd, 2, first=10).boots() + fleet.boots())
    assert fetched(walt) == 1 and cache.parts() == []
