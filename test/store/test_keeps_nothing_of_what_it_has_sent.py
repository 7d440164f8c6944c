"""A connection that is kept for thousands of requests costs no more memory than at its beginning."""

import os

import pytest

import wire
from fetches import ONE_PROCESS

NODE = "/walt-vpn/per-ip/192-168-152-7/"
WARM, REQUESTS = 300, 2000
MOST = 150          # bytes for each request: a file that APR remembers has more than 200. A thread that runs for the first time
                    # takes 128 KiB, which is 65 for each.


def memory(pid):
    """Bytes that are this process's own."""
    with open("/proc/%d/smaps_rollup" % pid) as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))


@pytest.fixture
def kept(entrypoint, cache, node):
    """An entrypoint with a cached image, in one process, that closes no connection by itself."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS + "\nMaxKeepAliveRequests 0")
    assert node(httpd).boot().booted
    return httpd


def ask(connection, httpd, path, method):
    connection.send(wire.request(path, httpd.server_name, method, close=False))
    return connection.reply(head_only=method == "HEAD")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_connection_is_not_kept_for_ever_for_images(method, kept):
    """100 are sent, and with the next one it ends; what else it was asked for counts as much."""
    with kept.connect() as connection:
        for number in range(1, 102):
            reply = ask(connection, kept, NODE + ("boot.img" if number % 2 else "boot.sig"), method)
            assert reply.status == 200
            assert (reply.values("Connection") == ["close"]) == (number == 101), number


@pytest.mark.thorough
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="no /proc")
@pytest.mark.parametrize("file", ["boot.img", "boot.sig"])
def test_memory_does_not_grow(file, kept):
    """Nor for what is no image, on one connection all the time."""
    child, = kept.children()
    connection, before = kept.connect(), 0
    for number in range(WARM + REQUESTS):
        if number == WARM:
            before = memory(child)
        reply = ask(connection, kept, NODE + file, "HEAD")
        assert reply.status == 200
        if reply.values("Connection") == ["close"]:
            assert file == "boot.img"
            connection.close()
            connection = kept.connect()
    grown = memory(child) - before
    connection.close()
    assert grown < MOST * REQUESTS
