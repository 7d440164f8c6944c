"""What a stranger does in a node's name, or in that of nodes that are none, is no trouble of the node's or of the entrypoint's."""

import os
import re
import socket

import pytest

import metrics
import status_page
import wire
from boot_client import Outcome
from boot_files import MIB
from processes import wait_until

NODE = "192.168.152.7"
SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
STRANGER, MOVED = "127.0.0.9", "127.0.0.8"
SIZE = 16 * MIB


@pytest.fixture
def watched(entrypoint, walt):
    def make(**options):
        made = entrypoint(vhost=status_page.LOCATION + "\n" + metrics.LOCATION, modules=status_page.MODULES,
                          server="SendBufferSize 65536", **options)
        made.tolerate_log("was answered with|proxy")
        return made
    return make


def exchange(httpd, path, client=STRANGER, **options):
    with wire.Wire(httpd.port, timeout=10, client=client) as connection:
        connection.send(wire.request(path, httpd.server_name, **options))
        return connection.rest(head_only=options.get("method") == "HEAD")


def break_off(httpd, path=IMG, client=STRANGER, size=1, **options):
    """Ask, take so many bytes, with a node's window, and reset. How many bytes of the body came."""
    with wire.Wire(httpd.port, timeout=10, client=client) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, status_page.BUFFER)
        connection.send(wire.request(path, httpd.server_name, **options))
        while len(connection.buffer) < size:
            assert connection.receive()
        return len(bytes(connection.buffer).partition(b"\r\n\r\n")[2])


def resume(first):
    return dict(headers=[("Range", "bytes=%d-" % first)])


def ended(httpd):
    """Once no download is under way any more, and all that has ended is told."""
    wait_until(lambda: metrics.scrape(httpd).sum("walt_vpn_downloads_running") == 0, what="the end of all downloads")


def record(httpd):
    """All that is told of the node: on both pages, and in the log; without what only the time changes."""
    told = {key: value for key, value in status_page.look_automatically(httpd)
            if re.search(r"(Node|Failing)\[|\.Failing$|\.Nodes$", key)}
    lines = [line.partition(" node ")[2] for line in httpd.error_log.splitlines()
             if re.search(r"\[walt_vpn:(warn|info)\] .* node [0-9.]+ \(", line)]
    page = metrics.scrape(httpd)
    return told, lines, page.by("walt_vpn_boots_total", "result"), page.sum("walt_vpn_resumes_total")


def deeds(httpd, walt):
    """What a stranger may do, one after the other."""
    yield "a resume that is broken off", lambda: break_off(httpd, **resume(1))
    yield "a resume to the end", lambda: exchange(httpd, IMG, **resume(1))
    yield "the last byte", lambda: exchange(httpd, IMG, **resume(SIZE - 1))
    yield "the whole", lambda: exchange(httpd, IMG)
    yield "a download that is broken off", lambda: break_off(httpd)
    yield "another one, later", lambda: break_off(httpd, size=4 * MIB)
    yield "a resume from behind the end", lambda: exchange(httpd, IMG, **resume(SIZE))
    yield "far behind the end", lambda: exchange(httpd, IMG, **resume(99 * SIZE))
    yield "a piece", lambda: exchange(httpd, IMG, headers=[("Range", "bytes=0-9")])
    yield "no piece", lambda: exchange(httpd, IMG, headers=[("Range", "bytes=%d-%d" % (SIZE, SIZE + 1))])
    yield "a condition", lambda: exchange(httpd, IMG, headers=[("If-Match", '"x"')])
    yield "HEAD boot.img", lambda: exchange(httpd, IMG, method="HEAD")
    yield "HEAD boot.sig", lambda: exchange(httpd, SIG, method="HEAD")
    yield "HEAD boot.img in part", lambda: exchange(httpd, IMG, method="HEAD", **resume(1))

    def failing(file, status, *arguments, **options):
        def do():
            walt.fault(file, "status", status=status, times=None)
            assert exchange(httpd, *arguments, **options).status in (status, 404, 502)
            walt.heal()
        return do

    for status in (403, 404, 500):
        yield "boot.sig that fails", failing("boot.sig", status, SIG)
        yield "HEAD of it", failing("boot.sig", status, SIG, method="HEAD")
        yield "boot.img whose boot.sig fails", failing("boot", status, IMG)
        yield "its rest", failing("boot", status, IMG, **resume(1))


def booted(httpd, node):
    assert node(httpd).boot().booted


def signed(httpd, node):
    assert httpd.get(SIG).status == 200


def short(httpd, node):
    signed(httpd, node)
    break_off(httpd, client="127.0.0.1", size=4 * MIB)
    httpd.await_log("ended short")


def failed(httpd, node):
    booted(httpd, node)
    httpd.walt.fault("boot.sig", "status", status=404, times=2)
    assert httpd.get(SIG).status == 404


@pytest.mark.parametrize("cached", [pytest.param(False, marks=pytest.mark.thorough), True], ids=["relayed", "cached"])
@pytest.mark.parametrize("state", [booted, signed, short, failed])
def test_no_strangers_deed_is_a_nodes(watched, cache, walt, node, state, cached):
    """Neither slander nor praise: whatever state the node is in, nothing is told of it that its own address did not do."""
    walt.set_image(mib=16)
    httpd = watched(cache=cache.path if cached else "")
    httpd.walt = walt
    state(httpd, node)
    ended(httpd)
    before = record(httpd)
    changed = []
    for what, do in deeds(httpd, walt):
        do()
        ended(httpd)
        after = record(httpd)
        results = {name: count for name, count in after[2].items() if name != "unknown_node"}
        if (after[0], after[1], results, after[3]) != before:
            changed.append((what, after))
            before = (after[0], after[1], results, after[3])
    assert not changed
    booted(httpd, node)
    httpd.await_log(r"node 192\.168\.152\.7 \(127\.0\.0\.1\) has image")
    wait_until(lambda: NODE not in str([key for key, _ in status_page.look_automatically(httpd) if "Failing[" in key]),
               what="the boot to end what failed before")


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_no_stranger_takes_a_download_over(watched, cache, walt, cached):
    """That is under way: it ends as one of the node's address, without a resume; and its page shows it on."""
    walt.set_image(mib=16)
    httpd = watched(cache=cache.path if cached else "")
    assert httpd.get(SIG).status == 200
    with status_page.SlowNode(httpd) as download:
        download.take(4 * MIB)
        for what, do in list(deeds(httpd, walt))[:8]:
            do()
            told = dict(status_page.look_automatically(httpd))
            assert told["WaltVpn[%s].Download[192.168.152.7].Client" % httpd.server_name] == "127.0.0.1", what
        assert len(download.rest().body) == SIZE
    httpd.await_log(r"node 192\.168\.152\.7 \(127\.0\.0\.1\) has image \S+: %d bytes in \S+ s, 0 resumes" % SIZE)
    assert len(re.findall(r"\] node 192\.168\.152\.7 \(", httpd.error_log)) == 1
    assert metrics.scrape(httpd).by("walt_vpn_boots_total", "result") == {"done": 1}


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_who_goes_on_where_it_ended_short_is_the_node(watched, cache, walt, cached):
    """Its link may come back with another address."""
    walt.set_image(mib=16)
    httpd = watched(cache=cache.path if cached else "")
    assert httpd.get(SIG).status == 200
    held = break_off(httpd, client="127.0.0.1", size=4 * MIB)
    httpd.await_log("ended short")
    assert len(exchange(httpd, IMG, client=MOVED, **resume(held)).body) == SIZE - held
    httpd.await_log(r"node 192\.168\.152\.7 \(127\.0\.0\.8\) has image \S+: %d bytes in \S+ s, 1 resume, " % SIZE)
    assert metrics.scrape(httpd).by("walt_vpn_boots_total", "result") == {"done": 1}


def test_a_strangers_download_is_not_what_the_node_holds(watched, cache, walt):
    """A node with another address that holds bytes of a former image starts over, whatever a stranger is being sent meanwhile."""
    walt.set_image(mib=16)
    httpd = watched(cache=cache.path)
    assert httpd.get(SIG).status == 200
    held = break_off(httpd, client="127.0.0.1", size=4 * MIB)
    httpd.await_log("ended short")
    walt.set_image(image="new", mib=16)
    with status_page.SlowNode(httpd, client=STRANGER) as download:
        download.take(MIB)
        assert exchange(httpd, IMG, client=MOVED, **resume(held)).status == 404


def test_a_node_that_has_moved_is_the_node(watched, walt):
    """With its next boot.sig: from then on the boot is that address's."""
    httpd = watched()
    for client in ("127.0.0.1", MOVED):
        assert exchange(httpd, SIG, client).status == exchange(httpd, IMG, client).status == 200
        httpd.await_log(r"node 192\.168\.152\.7 \(%s\) has image" % re.escape(client))
        walt.fault("boot.img", "status", status=404)
        assert exchange(httpd, IMG, client).status == 404
        assert client in str([line for line in status_page.look_automatically(httpd) if "Failing[192.168.152.7].Client" in line[0]])


def invent(httpd, first, count, client=STRANGER, **options):
    for number in range(first, first + count):
        reply = exchange(httpd, "/walt-vpn/per-ip/10-9-%d-%d/boot.sig" % divmod(number, 250), client, **options)
        assert reply.status == 404


@pytest.fixture
def unknown(walt):
    walt.fault("10-9-", "status", status=404, times=None)


def test_invented_nodes_push_no_trouble_off(watched, cache, walt, node, unknown):
    """500 of them: a folder in trouble is shown on, and a WalT server that gave no signature; and nobody is warned of it again."""
    httpd = watched(cache=cache.path)
    httpd.tolerate_log("images are relayed until this is mended")
    httpd.expect_log("what answers there for boot.sig is not a signature")
    booted(httpd, node)
    walt.fault("7/boot.sig", "no-digest", times=2)
    assert httpd.get(SIG).status == 404
    os.chmod(cache.path, 0)
    try:
        assert node(httpd).boot().outcome is not Outcome.BOOTED     # it has its second boot.sig that is none
        assert node(httpd).boot().booted
        warned = httpd.error_log.count("images are relayed until this is mended")
        assert metrics.scrape(httpd).sum("walt_vpn_cache_degraded") == warned == 1
        invent(httpd, 0, 500)
        assert node(httpd).boot().booted
        assert metrics.scrape(httpd).sum("walt_vpn_cache_degraded") == 1
        assert status_page.look(httpd)[0].summary["Trouble with it"]
        assert httpd.error_log.count("images are relayed until this is mended") == 1
    finally:
        os.chmod(cache.path, 0o700)


@pytest.mark.thorough
def test_invented_nodes_push_no_failing_node_off(watched, walt, unknown):
    """1024 of them: of 40 nodes that took their boot.sig once and fail now, each is on the page, and before all others."""
    httpd = watched()
    nodes = ["192.168.0.%d" % number for number in range(1, 41)]
    for ip in nodes:
        assert httpd.get("/walt-vpn/per-ip/%s/boot.sig" % ip.replace(".", "-")).status == 200
    walt.fault("192-168-0-", "status", status=404, times=None)
    for ip in nodes:
        assert httpd.get("/walt-vpn/per-ip/%s/boot.img" % ip.replace(".", "-")).status == 404
    invent(httpd, 0, 1024)
    shown = [row["Node"] for row in status_page.look(httpd)[0].tables["Nodes that fail"]]
    assert set(shown[:40]) == set(nodes)


def test_nodes_that_never_booted_have_a_result_of_their_own(watched, walt, node, unknown):
    """What climbs to an alert is of nodes that are known; invented ones are counted apart."""
    httpd = watched()
    booted(httpd, node)
    invent(httpd, 0, 30)
    assert metrics.scrape(httpd).by("walt_vpn_boots_total", "result") == {"done": 1, "unknown_node": 30}
    assert status_page.look(httpd)[0].number("Boots of unknown nodes") == 30
    walt.fault("boot.sig", "status", status=404, times=2)
    assert httpd.get(SIG).status == 404
    assert metrics.scrape(httpd).by("walt_vpn_boots_total", "result") == {"done": 1, "unknown_node": 30, "failed_at_signature": 1}


def jailed(httpd):
    """The lines that the jail counts."""
    return [line for line in httpd.error_log.splitlines()
            if re.search(r"\[(client|remote) [0-9.]+:\d+\] (refused with \d{3}|unknown nodes asked for):", line)]


def test_the_jail_hears_of_who_invents_nodes(watched, walt, unknown):
    """A line for each ten of them; not for the same one again and again, nor for different ones of different clients."""
    httpd = watched()
    invent(httpd, 0, 55)
    assert len(jailed(httpd)) == 5 and all(STRANGER in line for line in jailed(httpd))
    for _ in range(30):
        invent(httpd, 100, 1, "127.0.0.10")
    for number in range(20):
        invent(httpd, 200 + number, 1, "127.0.0.%d" % (20 + number))
    assert len(jailed(httpd)) == 5


def test_the_jail_hears_of_no_network_with_nodes(watched, walt, node, unknown):
    """New nodes of a lab may be unknown to the WalT server for long, but where one has booted there are nodes; nor of the WalT
    server's trouble."""
    httpd = watched()
    booted(httpd, node)
    invent(httpd, 0, 60, "127.0.0.1")
    walt.heal()
    walt.fault("10-8-", "status", status=503, times=None)
    for number in range(60):
        assert exchange(httpd, "/walt-vpn/per-ip/10-8-0-%d/boot.sig" % number).status == 503
    assert jailed(httpd) == []


# What browsers add to what a page of another site has them ask for, by <img>, <script>, fetch(), a form, or a link.
BROWSERS = [
    [("Accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"), ("Accept-Language", "fr"), ("Referer", "http://x/")],
    [("Accept", "image/avif,image/webp,*/*")],
    [("Accept", "*/*"), ("Referer", "https://other.example.org/")],
    [("Accept", "*/*"), ("Accept-Language", "en-US,en;q=0.5")],
    [("Sec-Fetch-Dest", "image"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Site", "cross-site")],
    [("Accept", "*/*"), ("Origin", "https://other.example.org")],
]


@pytest.mark.parametrize("headers", BROWSERS, ids=["Chrome's", "image", "Referer", "language", "Sec-Fetch", "Origin"])
def test_a_page_bans_none_of_its_readers(watched, unknown, headers):
    """Their browsers ask for what a page of another site names; the jail, which five lines fill, hears of none of it."""
    httpd = watched()
    for number in range(6):
        assert exchange(httpd, "/walt-vpn/../%d" % number, headers=headers).status == 404
        exchange(httpd, "/walt-vpn/per-ip/%d/" % number, headers=headers, method="POST")
    invent(httpd, 0, 60, headers=headers)
    assert jailed(httpd) == [] and "a browser's request is refused with 404" in httpd.error_log
    assert exchange(httpd, "/walt-vpn/../9").status == 404
    assert len(jailed(httpd)) == 1
