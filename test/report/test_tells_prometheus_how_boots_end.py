"""The metrics page tells how boots ended, each once, and of each node when the last one did, if that is asked for."""

import socket

import pytest

import metrics
import status_page
import wire
from fleet import Fleet
from processes import wait_until

MIB = 1 << 20
SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
LAST = "walt_vpn_node_last_boot_timestamp_seconds"


@pytest.fixture
def ours(clock, entrypoint, walt):
    """An entrypoint whose clock can be shifted, and an image that does not fit into a socket."""
    walt.set_image(mib=16)
    made = entrypoint(vhost=metrics.LOCATION, server="SendBufferSize 65536")
    made.tolerate_log("ended short")
    return made


def results(ours, query=""):
    return metrics.scrape(ours, query).by("walt_vpn_boots_total", "result")


def await_results(ours, **expected):
    wait_until(lambda: results(ours) == expected, what="%s on the page" % expected)


def break_off(ours, start=0):
    """A download that its node leaves."""
    headers = [("Range", "bytes=%d-" % start)] if start else []
    with ours.connect() as connection:
        connection.send(wire.request(IMG, ours.server_name, headers=headers))
        while len(connection.buffer) < MIB:
            assert connection.receive()
    wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_downloads_running") == 0, what="the end of the download")


def test_short(ours, clock):
    """Not before a minute has passed in which nothing is heard of it."""
    assert ours.get(SIG).status == 200
    break_off(ours)
    clock.shift(50)
    assert results(ours) == {}
    clock.shift(70)
    await_results(ours, short=1)
    clock.shift(3000)
    assert results(ours) == {"short": 1}


def test_resumed_in_time(ours, clock, node):
    """Is one boot, and it is done."""
    assert ours.get(SIG).status == 200
    break_off(ours)
    clock.shift(50)
    assert ours.get(IMG, headers=[("Range", "bytes=%d-" % MIB)]).status == 206
    await_results(ours, done=1)
    clock.shift(3000)
    page = metrics.scrape(ours)
    assert results(ours) == {"done": 1} and page.sum("walt_vpn_resumes_total") == 1


def test_resumed_late(ours, clock):
    """Was short when the minute was over, whether anybody looked then or not, and is done after all."""
    assert ours.get(SIG).status == 200
    break_off(ours)
    clock.shift(100)
    assert ours.get(IMG, headers=[("Range", "bytes=%d-" % MIB)]).status == 206
    await_results(ours, short=1, done=1)


def test_started_over(ours, clock, node):
    """A node that begins again, with a boot.sig or without, while the boot before has not ended."""
    assert ours.get(SIG).status == 200
    break_off(ours)
    assert node(ours).boot().booted
    await_results(ours, started_over=1, done=1)
    break_off(ours)
    assert ours.get(IMG).status == 200
    await_results(ours, started_over=2, done=2)
    clock.shift(3000)
    assert results(ours) == {"started_over": 2, "done": 2}


def test_failed_at_signature(ours, walt, clock, node):
    """Each time that an error answers; not for HEAD, which no node asks, nor what a stranger is refused. Of a node that has never
    had a boot.sig it is counted apart."""
    walt.fault("boot.sig", "status", status=404)
    assert ours.get(SIG).status == 404 and node(ours).boot().booted
    walt.fault("boot.sig", "status", status=403, times=3)
    assert ours.get(SIG).status == ours.get(SIG).status == 403
    assert ours.get(SIG, method="HEAD").status == 403
    assert ours.get(SIG.replace("boot.sig", "../boot.sig")).status == 404
    walt.down()
    assert ours.get(SIG).status == 503
    walt.up()
    ours.tolerate_log("AH01114|AH00957")
    assert ours.get(SIG).status == 200
    clock.shift(3000)
    await_results(ours, done=1, unknown_node=1, failed_at_signature=3)


def test_the_last_boot_of_each_node(ours, walt, clock):
    """Only when it is asked for; the latest nodes, and of each node its last boot alone."""
    walt.set_image(mib=1)
    assert all(boot.booted for boot in Fleet(ours, 5).boots())
    await_results(ours, done=5)
    clock.shift(10)
    digest = walt.set_image(mib=16)
    assert Fleet(ours, ["192.168.0.3"]).boots()[0].booted
    assert ours.get(SIG).status == 200
    clock.shift(20)
    break_off(ours)
    await_results(ours, done=6)
    assert metrics.scrape(ours).rows(LAST) == []
    assert LAST not in metrics.scrape(ours).text
    rows = metrics.scrape(ours, "?nodes=3").rows(LAST)
    assert len(rows) == 3
    assert [(row["node"], row["result"], row["image"]) for row, _ in rows[1:2]] == [("192.168.0.3", "done", digest[:12])]
    assert rows[0][0]["node"] == "192.168.152.7" and rows[0][0]["result"] == "short"
    assert 5 < rows[0][1] - rows[1][1] < 60 and 5 < rows[1][1] - rows[2][1] < 60
    assert {row["node"] for row, _ in metrics.scrape(ours, "?x=1&nodes=100").rows(LAST)} == {
        "192.168.152.7", *("192.168.0.%d" % number for number in range(1, 6))}


def test_the_last_boot_is_the_one_that_began_last(entrypoint, walt, clock):
    """Though an earlier download ended later: the node had its link cut, and started over. So say both pages."""
    walt.set_image(mib=16)
    ours = entrypoint(vhost=metrics.LOCATION + "\n" + status_page.LOCATION, modules=status_page.MODULES,
                      server="SendBufferSize 65536")
    ours.tolerate_log("ended short")
    with ours.connect() as cut:
        cut.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        cut.send(wire.request(IMG, ours.server_name))
        assert cut.receive()
        clock.shift(10)
        assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
        wait_until(lambda: metrics.scrape(ours, "?nodes=9").rows(LAST), what="the boot on the page")
        clock.shift(20)
    ours.await_log("ended short")
    row, = metrics.scrape(ours, "?nodes=9").rows(LAST)
    assert row[0]["result"] == "done"
    row, = status_page.look(ours)[0].tables["Last boots"]
    assert row["Result"] == "relayed"


def test_no_more_nodes_than_it_has_room_for(entrypoint, walt):
    """Whatever is asked for, 500; what is no number is an error."""
    ours = entrypoint(vhost=metrics.LOCATION)
    for number in range(510):
        assert ours.get("/walt-vpn/per-ip/10-0-%d-%d/boot.img" % divmod(number, 250),
                        headers=[("Range", "bytes=%d-" % (MIB - 1))]).status == 206
    await_results(ours, done=510)
    for nodes in ("500", "501", "99999", "9" * 30):
        assert len(metrics.scrape(ours, "?nodes=" + nodes).rows(LAST)) == 500
    for nodes in ("", "-1", "x", "1x", "%00"):
        assert metrics.page(ours, "?nodes=" + nodes).status == 400, nodes
    assert metrics.scrape(ours, "?nodes=0").rows(LAST) == []
