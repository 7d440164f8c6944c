"""When as many boots, or nodes that fail, are written down as can be, new ones take the places of old ones: each its own."""

import os
import re
import struct

import pytest

import status_page
import wire
from fleet import Fleet
from processes import wait_until

BOOTS = 1536
FAILURES = 256
AT_ONCE = 6


def fnv(data):
    result = 14695981039346656037
    for byte in data:
        result = ((result ^ byte) * 1099511628211) & (1 << 64) - 1
    return result


@pytest.fixture
def watched(entrypoint, cache, calls):
    """watched(): another start of the same entrypoint, whose site has a status page."""
    return lambda: entrypoint(vhost=status_page.LOCATION, cache=cache.path, modules=status_page.MODULES)


def nodes(httpd, title, begin):
    return [row["Node"] for row in status_page.look(httpd, "?node=" + begin)[0].tables[title] if row["Node"].startswith(begin)]


def fill(cache):
    """Have the file that tells of one boot tell of as many as there are places."""
    name, = cache.memories()
    path = os.path.join(cache.path, name)
    with open(path, "rb") as file:
        head, boot = file.read(40), file.read()[8:]
    rows = b"".join(boot.replace(b"192.168.152.7".ljust(16, b"\0"), (b"10.0.%d.%d" % divmod(number, 256)).ljust(16, b"\0"))
                    for number in range(BOOTS))
    with open(path, "wb") as file:
        file.write(head + struct.pack("=Q", fnv(rows)) + rows)


@pytest.fixture
def full(watched, cache, node):
    """An entrypoint that remembers as many boots as can be, of a node each."""
    first = watched()
    assert node(first).boot().booted
    wait_until(cache.memories, what="the file that tells of the boot")
    first.stop()
    fill(cache)
    ours = watched()
    assert len(nodes(ours, "Last boots", "10.0.")) == BOOTS
    return ours


def test_a_node_that_boots_again_and_again(full, node):
    """Takes no more than two places of others."""
    for _ in range(4):
        assert node(full).boot().booted
    assert nodes(full, "Last boots", "192.168.") == ["192.168.152.7"]
    assert len(nodes(full, "Last boots", "10.0.")) == BOOTS - 2


def test_boots(full, calls):
    """Who was faster leaves the others a place: each node has its line, in the log and on the page."""
    ours = full
    calls.delay("getpid", 0.2)
    fleet = Fleet(ours, AT_ONCE)
    assert all(boot.booted for boot in fleet.boots())
    calls.mend()
    wait_until(lambda: len(re.findall("node .* has image", ours.error_log)) == AT_ONCE, what="a line for each")
    assert sorted(nodes(ours, "Last boots", "192.168.")) == sorted(fleet.results)
    assert len(nodes(ours, "Last boots", "10.0.")) == BOOTS - AT_ONCE


def test_nodes_that_fail(entrypoint, calls):
    """Likewise; nobody takes the place that another has just taken."""
    ours = entrypoint(vhost=status_page.LOCATION + '\n<Location "/walt-vpn/">\nRequire all denied\n</Location>',
                      modules=status_page.MODULES)
    ours.expect_log("client denied by server configuration")
    for number in range(FAILURES):
        ours.get("/walt-vpn/per-ip/10-0-0-%d/boot.sig" % number)
    wait_until(lambda: len(nodes(ours, "Nodes that fail", "10.0.")) == FAILURES, what="all that fail")
    calls.delay("getpid", 0.2)
    asking = [ours.connect() for _ in range(AT_ONCE)]
    for number, connection in enumerate(asking):
        connection.send(wire.request("/walt-vpn/per-ip/192-168-0-%d/boot.sig" % number, ours.server_name))
    for connection in asking:
        assert connection.rest().status == 403
        connection.close()
    wait_until(lambda: len(nodes(ours, "Nodes that fail", "192.168.")) == AT_ONCE, what="each of the new ones")
    calls.mend()
    assert len(nodes(ours, "Nodes that fail", "10.0.")) == FAILURES - AT_ONCE
