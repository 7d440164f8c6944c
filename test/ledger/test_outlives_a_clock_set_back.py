"""A clock that was an hour ahead and is set right: what the entrypoint remembers from the hour that never was is forgotten, and
nobody waits, or is waited for, until it has come."""

import re

import pytest

import wire
from fleet import Fleet
from processes import wait_until

MIB = 1 << 20
HOUR = 3600


def boots_another_image(ours, walt, node):
    """A node whose link is lost once, and who had another image before."""
    walt.set_image("*", "another", 1)
    boot = node(ours, lost_links={"boot.img": [MIB // 2]}).boot()
    assert boot.booted and [status for _, _, status in boot.replies] == [200, 200, 206], boot


def test_after_a_boot(clock, entrypoint, walt, cache, node):
    """That the node had its old image in the future is no reason to start over."""
    ours = entrypoint(cache=cache.path)
    ours.tolerate_log("ended short")
    assert node(ours).boot().booted
    wait_until(lambda: "has image" in ours.error_log, what="the line about the boot")
    clock.shift(-HOUR)
    boots_another_image(ours, walt, node)


def test_during_a_boot(clock, entrypoint, walt, cache, node):
    """Neither is that it began to get it then; and that took no time less than none."""
    walt.set_image("*", "large", 16)
    ours = entrypoint(cache=cache.path)
    ours.tolerate_log("ended short")
    with ours.connect() as connection:
        connection.send(wire.request("/walt-vpn/per-ip/192-168-152-7/boot.img", ours.server_name))
        assert connection.receive()
        clock.shift(-HOUR)
        assert len(connection.rest().body) == 16 * MIB
    wait_until(lambda: "has image" in ours.error_log, what="the line about the boot")
    assert re.search(r"16777216 bytes in \d+\.\d{3} s, ", ours.error_log)
    boots_another_image(ours, walt, node)


FOUR_THREADS = ("StartServers 1\nServerLimit 1\nThreadsPerChild 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4"
                "\nAsyncRequestWorkerFactor 10")


@pytest.mark.parametrize("mpm", ["event", "worker"])
@pytest.mark.thorough
def test_while_a_node_is_silent(mpm, clock, entrypoint, walt, cache):
    """One that takes nothing of an image that is being fetched is given up after httpd's Timeout."""
    walt.set_image(mib=16)
    ours = entrypoint(cache=cache.path, server="Timeout 3", mpm=mpm)
    ours.tolerate_log("ended short")
    walt.fault("boot.img", "silence", at_byte=15 * MIB, seconds=9)
    with ours.connect() as fetching, ours.connect() as silent:
        fetching.send(wire.request("/walt-vpn/per-ip/192-168-152-1/boot.img", ours.server_name))
        wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [15 * MIB], what="most of the image")
        silent.send(wire.request("/walt-vpn/per-ip/192-168-152-2/boot.img", ours.server_name))
        assert silent.receive()
        clock.shift(-HOUR)
        ours.await_log(r"node 192[.]168[.]152[.]2 .* ended short", 8)
        assert not cache.images(), "the fetch is over: nothing was shown"
        wait_until(cache.images, 20, "the end of the fetch")
