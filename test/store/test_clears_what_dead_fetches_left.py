"""A .part file whose process is dead is cleared, one that is being written is not touched."""

import os
import shutil
import signal

import pytest

import metrics
import status_page
from boot_files import image_digest
from fetches import ONE_PROCESS, fetched
from fleet import Fleet
from processes import wait_until
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

HALF = 1 << 19
STRANGER = "0123456789abcdef" * 4


@pytest.fixture
def leave(cache):
    """leave(name, bytes, mode): a file in the folder, as a process that is dead now would have left it."""
    def make(name, size=1000, mode=0o600):
        path = cache.path + ".left"     # beside the folder: a child that starts just now may be clearing it
        with open(path, "wb") as file:
            file.write(b"x" * size)
        os.chmod(path, mode)
        if os.getuid() == 0:
            shutil.chown(path, os.stat(cache.path).st_uid)
        os.rename(path, os.path.join(cache.path, name))
    return make


MARKS = {"being fetched": 0o600, "given up as broken": 0o610, "given up without room": 0o601}


@pytest.mark.parametrize("mark", MARKS)
def test_cleared_at_start(mark, entrypoint, cache, leave, node, walt):
    """Whatever mark it bears; what is not ours stays."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    before.stop()
    leave(STRANGER + ".part", mode=MARKS[mark])
    leave("notes.txt")
    leave("abc.part")
    httpd = entrypoint(cache=cache.path)
    wait_until(lambda: cache.parts() == [], what="the sweep")
    assert cache.names() == sorted(["notes.txt", "abc.part", image_digest("default", 1) + ".img"])
    assert node(httpd).boot().booted
    assert fetched(walt) == 1


@pytest.mark.parametrize("mark", MARKS)
def test_taken_over(mark, entrypoint, cache, leave, walt):
    """One that bears the name of the image that is wanted now is written from its start, and keeps nobody waiting."""
    httpd = entrypoint(cache=cache.path)
    leave(image_digest("default", 1) + ".part", size=3 * HALF, mode=MARKS[mark])
    assert all(boot.booted and boot.seconds < 5 for boot in Fleet(httpd, 8).boots())
    assert fetched(walt) == 1
    assert cache.parts() == []


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
    """Whoever put one in the place of a .part: it goes at the next look, while httpd runs and when it starts."""
    def put():
        os.mkfifo(cache.part(STRANGER))
        if os.getuid() == 0:
            shutil.chown(cache.part(STRANGER), os.stat(cache.path).st_uid)

    first = entrypoint(cache=cache.path)
    put()
    assert node(first).boot().booted
    assert cache.parts() == []
    first.stop()
    put()
    second = entrypoint(cache=cache.path)
    wait_until(lambda: cache.parts() == [], what="the sweep")
    assert node(second).boot().booted


def test_who_looks_clears_nothing(entrypoint, cache, leave, node, walt):
    """The pages for people and for Prometheus tell what is in the folder; what is dead there goes when a fetch needs room."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS, vhost=status_page.LOCATION + "\n" + metrics.LOCATION,
                       modules=status_page.MODULES)
    assert httpd.get().status
    leave(STRANGER + ".part")
    assert status_page.look(httpd)[0].summary["Images in it"] == "0"
    assert metrics.scrape(httpd).sum("walt_vpn_cache_bytes") == 0
    assert cache.parts() == [STRANGER]
    assert node(httpd).boot().booted
    assert cache.parts() == []


def test_killed_with_everything(entrypoint, cache, walt):
    """The whole server dies of -9 in the middle of a fetch: the next one starts clean."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF)
    fleet = Fleet(httpd, 1, patience=1)
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [HALF], what="half an image")
    os.killpg(httpd.process.pid, signal.SIGKILL)
    fleet.boots()
    assert len(cache.parts()) == 1
    entrypoint(cache=cache.path)
    wait_until(lambda: cache.names() == [], what="the sweep")


def test_living_fetch_is_left_alone(entrypoint, cache, walt, leave):
    """New children sweep the folder while an old one fetches: its .part stays, a dead one goes."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    fleet = Fleet(httpd, 3)
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [HALF], what="half an image")
    leave(STRANGER + ".part")
    httpd.graceful()
    wait_until(lambda: STRANGER not in cache.parts(), what="the sweep")
    assert cache.parts() == [image_digest("default", 1)]
    assert all(boot.booted for boot in fleet.boots())
    assert fetched(walt) == 1
