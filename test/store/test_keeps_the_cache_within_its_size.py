"""WaltVpnCacheSize holds: the image that was used least recently goes first, and nobody who is being sent it notices."""

import os
import re
import signal
import threading

import pytest

import metrics
import wire
from fetches import fetched, fetcher
from fleet import SLOW, Fleet
from processes import wait_until
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 1 << 20


def boot(httpd, node, walt, image, mib=1):
    """A node boots this image; its digest."""
    digest = walt.set_image("*", image, mib)
    result = node(httpd).boot()
    assert result.booted and result.image_sha256 == digest, result
    return digest


def test_least_recently_used_goes_first(entrypoint, cache, walt, node):
    """Used is used: sent, not only fetched; every image that goes is named once in the log."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 3M")
    a, b, c = (boot(httpd, node, walt, name) for name in "abc")
    assert cache.images() == sorted([a, b, c])
    boot(httpd, node, walt, "a")
    d = boot(httpd, node, walt, "d")
    assert cache.images() == sorted([a, c, d])
    boot(httpd, node, walt, "c")
    e = boot(httpd, node, walt, "e")
    assert cache.images() == sorted([c, d, e])
    assert fetched(walt) == 5
    assert re.findall("evicted ([0-9a-f]{64})[.]img", httpd.error_log) == [b, a]


def test_as_many_as_it_takes(entrypoint, cache, walt, node):
    """A large image takes the place of several small ones, and no more than it needs."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 5M")
    small = [boot(httpd, node, walt, name) for name in "abcde"]
    large = boot(httpd, node, walt, "large", 3)
    assert cache.images() == sorted(small[3:] + [large])


def test_exact_fit(entrypoint, cache, walt, node):
    """An image of just that size is kept, one of a byte more than that is not."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 2097152")
    fits = boot(httpd, node, walt, "fits", 2)
    assert cache.images() == [fits]
    httpd.reconfigure(server=httpd.server.replace("2097152", "2097151"))
    httpd.graceful()
    httpd.expect_log("image of 2097152 bytes is larger than WaltVpnCacheSize 2097151: it is relayed; raise WaltVpnCacheSize")
    for _ in range(3):
        boot(httpd, node, walt, "other", 2)
    assert httpd.error_log.count("raise WaltVpnCacheSize") == 1
    assert cache.images() == [fits], "what is there stays until room is needed"


def test_smaller_from_now_on(entrypoint, cache, walt, node):
    """A size that was lowered is reached with the next image."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 4M")
    for name in "abcd":
        boot(httpd, node, walt, name)
    httpd.reconfigure(server=httpd.server.replace("4M", "2M"))
    httpd.graceful()
    boot(httpd, node, walt, "e")
    assert len(cache.images()) == 2


def test_evicted_while_it_is_sent(entrypoint, cache, walt, node):
    """Slow nodes get the whole image that they began with, though it has left the folder."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 8M", vhost=metrics.LOCATION)
    slow_digest = walt.set_image("*", "slow", 8)
    slow = Fleet(httpd, 6, rate=SLOW)
    wait_until(lambda: metrics.scrape(httpd).sum("walt_vpn_downloads_running") == 6 and cache.images(), what="slow downloads")
    walt.set_image("192.168.152.7", "next", 8)
    assert node(httpd).boot().booted
    assert slow_digest not in cache.images() and len(cache.images()) == 1
    assert not slow.results, "they are still on it"
    slow.hurry()
    boots = slow.boots()
    assert all(result.booted and result.image_sha256 == slow_digest and not result.resumes for result in boots), boots
    assert fetched(walt) == 2


def test_two_fetches_for_one_place(entrypoint, cache, walt):
    """There is no room for both: one is kept, the other relayed, and no node waits for the room of the other."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1M")
    for number in (1, 2):
        walt.set_image("192.168.0.%d" % number, "image %d" % number)
    walt.fault("boot.img", "silence", at_byte=MIB // 2, seconds=2)
    first = Fleet(httpd, ["192.168.0.1"])
    wait_until(lambda: cache.parts(), what="the first fetch")
    second = Fleet(httpd, ["192.168.0.2"])
    assert second.boots()[0].booted
    assert not first.results
    assert first.boots()[0].booted
    assert len(cache.images()) == 1 and cache.bytes() == MIB
    assert "other fetches fill WaltVpnCacheSize" in httpd.error_log


def test_no_image_goes_in_vain(entrypoint, cache, walt, node):
    """Nor for one that does not fit beside what is being fetched, though it would fit alone."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 4M")
    kept = boot(httpd, node, walt, "kept")
    walt.set_image("192.168.0.1", "long", 2)
    walt.set_image("192.168.0.2", "large", 3)
    walt.fault("192-168-0-1/boot.img", "silence", at_byte=MIB // 2, seconds=2)
    first = Fleet(httpd, ["192.168.0.1"])
    wait_until(lambda: cache.bytes() > MIB, what="bytes of the first fetch")
    assert node(httpd, "192.168.0.2").boot().booted
    assert cache.images() == [kept] and "evicted" not in httpd.error_log
    assert first.boots()[0].booted and len(cache.images()) == 2


def test_never_beyond(entrypoint, cache, walt):
    """Many images at once through a folder for three of them, watched all the time."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 3M")
    for number in range(1, 13):
        walt.set_image("192.168.0.%d" % number, "image %d" % (number % 6))
    most = [0]
    over = threading.Event()

    def watch():
        while not over.is_set():
            most.append(cache.bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(4):
            assert all(result.booted for result in Fleet(httpd, 12).boots())
    finally:
        over.set()
        watcher.join()
    assert 2 * MIB <= max(most) <= 3 * MIB
    assert cache.parts() == []


def test_strangers_are_not_counted(entrypoint, cache, walt, node):
    """Only images are counted and evicted: another file in the folder is none of ours."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 2M")
    boot(httpd, node, walt, "a")
    with open(os.path.join(cache.path, "README"), "wb") as stranger:
        stranger.write(b"x" * 5 * MIB)
    for name in "bcd":
        boot(httpd, node, walt, name)
    assert len(cache.images()) == 2 and "README" in cache.names()


@pytest.mark.parametrize("nodes", [12])
def test_image_that_is_too_large_is_relayed_to_all(nodes, entrypoint, cache, walt):
    """A fleet whose image can't be kept still boots, each node with a relay of its own."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1000000")
    httpd.expect_log("larger than WaltVpnCacheSize")
    assert all(result.booted for result in Fleet(httpd, nodes).boots())
    assert cache.names() == []


def test_what_a_killed_fetch_left_makes_room(entrypoint, cache, walt, node):
    """It is kept for nodes that go on with it, but not at the price of another image. Then it is over: the next fetch of its
    image, whose file may have the same inode, has nothing to do with it."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1M", vhost=metrics.LOCATION)
    httpd.tolerate_log("ended short")
    walt.set_image("192.168.0.1", "one")
    walt.fault("192-168-0-1/boot.img", "silence", at_byte=MIB // 2)
    with httpd.connect() as reader:
        reader.send(wire.request("/walt-vpn/per-ip/192-168-0-1/boot.img", httpd.server_name))
        wait_until(lambda: len(reader.buffer) > 1000 or not reader.receive(), what="a part of the image")
        killed = fetcher(httpd)
        os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in httpd.children(), what="its end")
    assert len(cache.parts()) == 1
    other = walt.set_image("192.168.0.2", "two")
    assert node(httpd, "192.168.0.2").boot().booted
    assert cache.images() == [other] and cache.parts() == []
    wait_until(lambda: metrics.scrape(httpd).by("walt_vpn_fetches_total", "result") == {"broken": 1, "done": 1},
               what="the burial of the first")
    assert node(httpd, "192.168.0.1").boot().booted
    assert cache.bytes() == MIB and "differs from what it sent before" not in httpd.error_log
