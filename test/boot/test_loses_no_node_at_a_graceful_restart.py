"""A graceful restart in the middle of fetches, waits and slow downloads: every node gets its whole image, undisturbed."""

import pytest

from fetches import fetched
from fleet import SLOW, Fleet
from processes import wait_until
from proxies import hasty

MIB = 1 << 20
HALF = MIB // 2
MPMS = ["event", "worker", "prefork"]


def await_new_children(httpd, old):
    wait_until(lambda: set(httpd.children()) - set(old), what="new children")


@pytest.mark.parametrize("mpm", MPMS)
def test_during_a_fetch(mpm, entrypoint, cache, walt):
    """Nodes that asked before it and nodes that ask after it, of old and new children, share the one fetch."""
    httpd = entrypoint(cache=cache.path, mpm=mpm)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    before = Fleet(httpd, 4)
    wait_until(lambda: len(walt.requests("boot.sig")) == 8 and cache.bytes() == MIB, what="a fetch and those who wait")
    old = httpd.children()
    httpd.graceful()
    await_new_children(httpd, old)
    after = Fleet(httpd, 4, first=10)
    boots = before.boots() + after.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1
    assert cache.parts() == [] and len(cache.images()) == 1


@pytest.mark.parametrize("mpm", MPMS)
def test_during_slow_downloads(mpm, entrypoint, cache, walt):
    """Twice, and the old children end when their last node is served."""
    httpd = entrypoint(cache=cache.path, mpm=mpm)
    walt.set_image("*", "slow", 8)
    assert Fleet(httpd, 1).boots()[0].booted
    slow = Fleet(httpd, 4, first=10, rate=SLOW)
    wait_until(lambda: len(walt.requests("boot.sig")) == 10, what="slow downloads")
    generations = [httpd.children()]
    for _ in range(2):
        httpd.graceful()
        await_new_children(httpd, generations[-1])
        generations.append(httpd.children())
    assert not slow.results
    slow.hurry()
    boots = slow.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1
    wait_until(lambda: not set(generations[0]) & set(httpd.children()), what="the end of the old children")


def test_during_a_fetch_that_must_be_repeated(entrypoint, cache, walt):
    """The first try breaks off after the restart: the second one is made by whichever process is first."""
    httpd = entrypoint(cache=cache.path, vhost=hasty(walt.location))
    httpd.tolerate_log("proxy")
    walt.fault("boot.img", "silence", at_byte=HALF)
    before = Fleet(httpd, 4)
    wait_until(lambda: cache.parts(), what="the fetch")
    httpd.graceful()
    after = Fleet(httpd, 4, first=10)
    boots = before.boots() + after.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 2


@pytest.mark.parametrize("mpm", MPMS)
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "fetched"])
@pytest.mark.thorough
def test_last_connection_of_a_process(cached, mpm, entrypoint, cache, walt):
    """With MaxConnectionsPerChild a process ends by itself, just as gracefully."""
    httpd = entrypoint(cache=cache.path, mpm=mpm, server="MaxConnectionsPerChild 1")
    walt.set_image("*", "slow", 8)
    if cached:
        assert Fleet(httpd, 1).boots()[0].booted
    else:
        walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    boots = Fleet(httpd, 3, first=10, rate=8 * SLOW).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1


def test_restart_at_once(entrypoint, cache, walt):
    """Not graceful: what is under way is reset, never ended cleanly, and nodes resume after it."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("proxy")
    walt.set_image("*", "slow", 8)
    assert Fleet(httpd, 1).boots()[0].booted
    slow = Fleet(httpd, 4, first=10, rate=SLOW)
    wait_until(lambda: len(walt.requests("boot.sig")) == 10, what="slow downloads")
    httpd.restart()
    slow.hurry()
    boots = slow.boots()
    assert all(boot.booted and boot.resumes for boot in boots), boots
    assert fetched(walt) == 1
