"""Where the WalT server's name has several addresses, the one that takes a connection first is asked, and the others cost nothing.

mod_proxy alone asks the first, waits 4 s for it, and goes on to the next, at each question.
"""

import contextlib
import re
import time

import pytest

import processes
from names import dead
from recorder import Recorder
from stand_in import WaltServer

NAME = "walt.test"
FIRST, SECOND, THIRD = "127.0.0.5", "127.0.0.6", "127.0.0.7"
ONE_CHILD = "ServerLimit 1\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 25\nMaxRequestWorkers 25"
UP_AGAIN = r"\[walt_vpn:info\] .*WaltVpnServer walt\.test:\d+ \(.*\): of 2 addresses it is 127\.0\.0\.5 that takes a connection first"


@pytest.fixture
def servers():
    """servers(*addresses): WalT servers of one port there, which these addresses have free."""
    with contextlib.ExitStack() as stack:
        def start(*addresses):
            first = stack.enter_context(WaltServer(address=addresses[0]))
            return [first] + [stack.enter_context(WaltServer(address=address, port=first.port)) for address in addresses[1:]]
        yield start


@contextlib.contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, "it took %.1f s" % took


def asked(walt):
    """How often it was asked for its name."""
    return len(walt.requests("/server"))


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_a_first_address_that_is_dead(mpm, httpd, names, servers):
    """Each of these questions would take 4 s; the first one, too, with which the setup check has 2 s of patience."""
    walt, = servers(SECOND)
    names.set(NAME, FIRST, SECOND)
    with dead(FIRST, walt.port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port), mpm=mpm)
        with within(2):
            assert ours.get("/walt-vpn/server").body == b"walt.example.org\n"
        with within(4):
            for _ in range(10):
                assert ours.get("/walt-vpn/server").status == 200
    assert {request.header("host") for request in walt.requests()} == {"%s:%d" % (NAME, walt.port)}


@pytest.mark.parametrize("server", ["", "WaltVpnCacheRoot images"], ids=["relayed", "cached"])
def test_boots(server, httpd, names, servers, node):
    """What is asked on a node's behalf goes there as well."""
    walt, = servers(SECOND)
    walt.set_image()
    names.set(NAME, FIRST, SECOND)
    with dead(FIRST, walt.port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port), server=server)
        with within(8):
            for _ in range(3):
                assert node(ours).boot().booted


def test_one_of_many(httpd, names, servers):
    """The last of twelve: those that refuse at once cost nothing, those that are silent a head start each."""
    walt, = servers("127.0.0.31")
    addresses = ["127.0.0.%d" % n for n in range(20, 32)]
    names.set(NAME, *addresses)
    with dead(addresses[4], walt.port), dead(addresses[8], walt.port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
        with within(4):
            for _ in range(3):
                assert ours.get("/walt-vpn/server").status == 200


def test_the_resolvers_order_holds_among_those_that_live(httpd, names, servers):
    """It may have its reasons."""
    first, second = servers(FIRST, SECOND)
    names.set(NAME, FIRST, SECOND)
    ours = httpd("WaltVpnServer %s:%d" % (NAME, first.port))
    for _ in range(5):
        assert ours.get("/walt-vpn/server").status == 200
    assert (asked(first), asked(second)) == (5, 0)


def test_the_first_is_asked_again_when_it_is_back(httpd, names, clock, servers):
    """What was found out counts for half a minute."""
    first, second = servers(FIRST, SECOND)
    names.set(NAME, FIRST, SECOND)
    first.down()
    ours = httpd("WaltVpnServer %s:%d" % (NAME, first.port))
    for shift, expected in ((0, (0, 3)), (10, (0, 3)), (50, (3, 0))):
        before = asked(first), asked(second)
        if shift:
            first.up()
        clock.shift(shift)
        for _ in range(3):
            assert ours.get("/walt-vpn/server").status == 200
        assert (asked(first) - before[0], asked(second) - before[1]) == expected, shift
    assert len(re.findall(UP_AGAIN, ours.error_log)) == 1


def test_the_same_address_twice(httpd, names, clock, servers):
    """As of two lines in /etc/hosts: which one it is is said once, not at each lookup."""
    walt, = servers(FIRST)
    names.set(NAME, FIRST, FIRST)
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
    for shift in (0, 60, 120):
        clock.shift(shift)
        assert ours.get("/walt-vpn/server").status == 200
    assert len(re.findall(UP_AGAIN, ours.error_log)) == 1


@pytest.mark.parametrize("name_server", ["set", "fail"])
def test_the_one_that_was_asked_goes(name_server, httpd, names, servers):
    """At most the request that finds it out gets an error: the next one is answered by another. So it is when the name server
    goes with it."""
    second, third = servers(SECOND, THIRD)
    names.set(NAME, FIRST, SECOND, THIRD)
    with dead(FIRST, second.port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, second.port))
        ours.tolerate_log("AH00957: .*attempt to connect|AH01114")
        assert ours.get("/walt-vpn/server").status == 200
        assert asked(second) == 1
        time.sleep(1.1)     # what fails sooner than that after a lookup would cause another at each request
        second.down()
        if name_server == "fail":
            names.fail(NAME)
            ours.expect_log("no address of its name is found any more")
        ours.get("/walt-vpn/server")
        with within(4):
            assert [ours.get("/walt-vpn/server").status for _ in range(5)] == [200] * 5


def test_none_answers(httpd, names):
    """One connection timeout in all, not one for each."""
    port = processes.free_port()
    names.set(NAME, FIRST, SECOND, THIRD)
    with dead(FIRST, port), dead(SECOND, port), dead(THIRD, port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, port))
        ours.expect_log("AH00957: .*attempt to connect")
        ours.tolerate_log("AH01114")
        with within(8):
            assert ours.get("/walt-vpn/server", timeout=20).status == 503


def test_all_refuse(httpd, names, servers):
    """The first that is up again is asked, at once."""
    walt, = servers(SECOND)
    names.set(NAME, FIRST, SECOND)
    walt.down()
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port), server=ONE_CHILD)
    ours.tolerate_log("AH00957: .*attempt to connect|AH01114")
    assert ours.get("/walt-vpn/server").status == 503
    walt.up()
    assert ours.get("/walt-vpn/server").status == 200


def test_all_processes_know_it(httpd, names, servers):
    """Each would have to find it out for itself, and a new one again: with prefork one for each connection."""
    walt, = servers(SECOND)
    names.set(NAME, FIRST, SECOND)
    with dead(FIRST, walt.port):
        ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port), mpm="prefork", server="MaxConnectionsPerChild 1")
        assert ours.get("/walt-vpn/server").status == 200
        ours.graceful()
        with within(4):
            for _ in range(10):
                assert ours.get("/walt-vpn/server").status == 200
    assert len(re.findall("that takes a connection first", ours.error_log)) == 1


@pytest.mark.parametrize("addresses, settings", [
    ((SECOND,), "disablereuse=off keepalive=on"), ((SECOND, FIRST), "disablereuse=off keepalive=on"),
    ((FIRST, SECOND), "timeout=30")])
def test_with_a_worker_of_the_administrators(addresses, settings, httpd, names, servers):
    """It is given the address as well, and keeps its connections where the resolver's order is right."""
    walt, = servers(SECOND)
    names.set(NAME, *addresses)
    worker = '<Proxy "http://%s:%d/walt-vpn/">\nProxySet connectiontimeout=4 %s\n</Proxy>\n' % (NAME, walt.port, settings)
    with dead(FIRST, walt.port):
        ours = httpd(worker + "WaltVpnServer %s:%d" % (NAME, walt.port), server=ONE_CHILD)
        with within(4):
            for _ in range(3):
                assert ours.get("/walt-vpn/node-conf/x").status == 200
    peers = {request.peer for request in walt.requests("node-conf")}
    assert len(peers) == (1 if "keepalive" in settings else len(peers))


def test_by_way_of_another_proxy(httpd, names):
    """Whose business the address is: the name need not have one here."""
    names.fail(NAME)
    with Recorder() as proxy:
        ours = httpd("WaltVpnServer %s\nProxyRemote * %s" % (NAME, proxy.url))
        ours.tolerate_log("this machine's resolver")
        assert ours.get("/walt-vpn/server").status == 200
        assert [data.split(b"\r\n")[0] for data in proxy.take()] == [b"GET http://%s/walt-vpn/server HTTP/1.1" % NAME.encode()]
