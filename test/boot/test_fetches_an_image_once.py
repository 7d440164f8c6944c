"""However many nodes want an image at the same time, in however many processes, it crosses to the entrypoint once."""

import os
import re
import signal
import time

import pytest

import processes
import wire
from fetches import FOUR_PROCESSES, HALF, await_fetch, fetched, fetcher
from fleet import Fleet
from processes import wait_until
from stand_in import RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)


def processes_that_answered(httpd):
    """Process ids in the log lines about a node that has its image."""
    return set(re.findall(r"\[pid (\d+):tid \d+\].* has image", httpd.error_log))


def await_waiters(httpd, walt, nodes):
    """All nodes have asked for boot.img: the entrypoint has asked twice for each one's boot.sig."""
    wait_until(lambda: len(walt.requests("boot.sig")) >= 2 * nodes, what="the nodes' requests")


@pytest.mark.parametrize("nodes", [1, 24])
def test_fleet_on_a_cold_cache(nodes, entrypoint, cache, walt):
    """Nodes in several processes wait for one fetch and boot; the next ones wait for nothing."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    walt.rate(2 << 20)
    assert all(boot.booted for boot in Fleet(httpd, nodes).boots())
    assert fetched(walt) == 1
    wait_until(lambda: nodes == 1 or len(processes_that_answered(httpd)) > 1, what="log lines of two processes")
    assert cache.parts() == [] and len(cache.images()) == 1
    assert all(boot.booted for boot in Fleet(httpd, nodes).boots())
    assert fetched(walt) == 1


def test_different_images_side_by_side(entrypoint, cache, walt):
    """A fetch that stalls keeps nobody from another image."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    for number in range(1, 5):
        walt.set_image("192.168.0.%d" % number, "image %d" % number)
    walt.fault("192-168-0-1/boot.img", "silence", at_byte=HALF, seconds=5)
    stalled = Fleet(httpd, ["192.168.0.1"])
    await_fetch(walt)
    assert all(boot.booted for boot in Fleet(httpd, 3, first=2).boots())
    assert len(cache.images()) == 3 and len(cache.parts()) == 1
    assert not stalled.results
    assert stalled.boots()[0].booted
    assert fetched(walt) == 4 and len(cache.images()) == 4


def test_more_fetches_than_threads(entrypoint, cache, walt):
    """Links that stall keep nobody else from the WalT server: each fetch has a connection to it, and others have theirs."""
    httpd = entrypoint(cache=cache.path, server="StartServers 1\nServerLimit 1\nThreadsPerChild 3\nMaxRequestWorkers 3\nMinSpareThreads 1\n"
                                                "MaxSpareThreads 3\nAsyncRequestWorkerFactor 20")
    for number in range(1, 5):
        walt.set_image("192.168.0.%d" % number, "image %d" % number)
    walt.fault("boot.img", "silence", at_byte=HALF, times=4, seconds=8)
    stalled = Fleet(httpd, 4)
    wait_until(lambda: fetched(walt) == 4, seconds=6, what="the fetches")
    began = time.monotonic()
    assert httpd.get("/walt-vpn/server").status == 200
    assert time.monotonic() - began < 4
    assert not stalled.results
    assert all(boot.booted for boot in stalled.boots())


def test_requester_goes_away(entrypoint, cache, walt):
    """The fetch goes on without the node that caused it: for those who wait, and when nobody does."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1)
    first = httpd.connect()
    first.send(wire.request("/walt-vpn/per-ip/192-168-0-99/boot.img", httpd.server_name))
    await_fetch(walt)
    others = Fleet(httpd, 4)
    await_waiters(httpd, walt, 4)
    first.close()
    assert all(boot.booted for boot in others.boots())
    assert fetched(walt) == 1


def test_requester_who_speaks_http2_goes_away(entrypoint, cache, walt):
    """mod_http2 tells its streams when a client has gone, and mod_proxy heeds that; not this fetch, which others wait for."""
    httpd = entrypoint(cache=cache.path, vhost="Protocols h2c http/1.1", modules=("http2", "proxy", "proxy_http", "walt_vpn"))
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1.5)
    first = processes.spawn(["curl", "-sS", "-o", "/dev/null", "--http2-prior-knowledge", "-H", "Host: " + httpd.server_name,
                             "http://127.0.0.1:%d/walt-vpn/per-ip/192-168-0-99/boot.img" % httpd.port])
    await_fetch(walt)
    others = Fleet(httpd, 4)
    await_waiters(httpd, walt, 4)
    processes.end(first)
    boots = others.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1


def test_nobody_is_left(entrypoint, cache, walt, node):
    """A node that gave up finds the image when it comes again."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=0.5)
    with httpd.connect() as only:
        only.send(wire.request("/walt-vpn/per-ip/192-168-152-7/boot.img", httpd.server_name))
        await_fetch(walt)
    wait_until(lambda: len(cache.images()) == 1, what="the image")
    assert node(httpd).boot().booted
    assert fetched(walt) == 1


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_fetching_process_is_killed(mpm, entrypoint, cache, walt):
    """-9 in the middle: one of those who wait takes over at once, and all of them boot."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES if mpm != "prefork" else "", mpm=mpm)
    walt.fault("boot.img", "silence", at_byte=HALF)
    fleet = Fleet(httpd, 12 if mpm != "prefork" else 4)
    await_fetch(walt)
    await_waiters(httpd, walt, len(fleet.threads))
    victim = fetcher(httpd)
    os.kill(victim, signal.SIGKILL)
    killed = time.time()
    assert all(boot.booted for boot in fleet.boots())
    requests = walt.requests("boot.img")
    assert len(requests) == 2
    assert requests[1].time - killed < 2, "a waiter looks every 25 ms"
    assert cache.parts() == [] and len(cache.images()) == 1


def test_fetching_process_is_told_to_end(entrypoint, cache, walt):
    """A child of prefork, as at a restart, while it waits for the WalT server: it tidies up without a crash, and its node boots."""
    httpd = entrypoint(cache=cache.path, mpm="prefork")
    walt.fault("boot.img", "silence", at_byte=HALF)
    with httpd.connect() as first:
        first.send(wire.request("/walt-vpn/per-ip/192-168-0-99/boot.img", httpd.server_name))
        wait_until(lambda: len(first.buffer) > HALF // 2 or not first.receive(), what="a part of the image")
        await_fetch(walt)
        victim = fetcher(httpd)
        wait_until(lambda: processes.state_of(victim)[0] == "S", what="nothing more to do")
        os.kill(victim, signal.SIGTERM)
        assert first.rest().ended == "RST"
    wait_until(lambda: victim not in httpd.children(), what="its end")
    assert Fleet(httpd, ["192.168.0.99"]).boots()[0].booted
    assert fetched(walt) == 2 and cache.parts() == []


@pytest.mark.walt_versions(RELEASED)
def test_every_process_that_takes_over_is_killed(entrypoint, cache, walt):
    """Twice -9, which is what a node's patience with lost connections lasts for: the second successor brings it."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    httpd.tolerate_log("AH10392: children are killed successively")
    walt.fault("boot.img", "silence", at_byte=HALF, times=2)
    fleet = Fleet(httpd, 10)
    for number in (1, 2):
        await_fetch(walt, number)
        if number == 1:
            await_waiters(httpd, walt, 10)
        os.kill(fetcher(httpd), signal.SIGKILL)
    assert all(boot.booted for boot in fleet.boots())
    assert fetched(walt) == 3


def test_head_and_get_share_a_fetch(entrypoint, cache, walt):
    """HEAD of an image that is not there fetches it too: its length is not known before."""
    httpd = entrypoint(cache=cache.path)
    head = httpd.get("/walt-vpn/per-ip/192-168-152-7/boot.img", method="HEAD")
    assert head.status == 200 and head.body == b"" and head.header("Content-Length") == str(1 << 20)
    got = httpd.get("/walt-vpn/per-ip/192-168-152-7/boot.img")
    assert len(got.body) == 1 << 20
    assert fetched(walt) == 1
