"""The status page begins with the nodes that fail, until they boot; and says how the WalT server and the folder do."""

import os
import re
import signal
import time

import pytest

import status_page
from fleet import Fleet
from httpd import PROJECT
from processes import wait_until
from status_page import BUFFER, SlowNode, await_page

MIB = 1 << 20
SERVER = "/walt-vpn/server"
BOOT_SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
BOOT_IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
DOWN = "boot.sig was answered with 503: the WalT server can't be reached"


@pytest.fixture
def watched(entrypoint):
    """watched(...): an entrypoint whose site has a status page."""

    def make(vhost="", server="", modules=(), **options):
        made = entrypoint(vhost=status_page.LOCATION + "\n" + vhost, server="SendBufferSize %d\n" % BUFFER + server,
                          modules=tuple(modules) + status_page.MODULES, **options)
        made.tolerate_log("proxy:error|proxy_http:error")
        return made

    return make


def failing(page):
    return page.tables["Nodes that fail"]


def state(page):
    return page.summary["State of the WalT server"]


def milliseconds(page):
    return page.summary["Time for that answer"]


def now():
    return int(time.time())


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_a_node_that_fails_at_its_signature(watched, walt, node, cache, mpm):
    """It stands there first, with when, why and how often, in whatever process; and no more once it has booted."""
    ours = watched(cache=cache.path, mpm=mpm)
    before = now()
    walt.down()
    for _ in range(3):
        assert ours.get(BOOT_SIG).status == 503
    page = await_page(ours, lambda page: page.counts["Nodes that fail"] == 1, "a node that fails")
    row, = failing(page)
    assert (row["Node"], row["Trouble"], row["Times"], row["Client"]) == ("192.168.152.7", DOWN, "3", "127.0.0.1")
    assert before <= int(row["Since"]) <= int(row["Last"]) <= now()
    assert list(page.tables)[0] == "Nodes that fail"
    text = status_page.page(ours)
    assert text.index("<h2") < text.index("Nodes that fail") < text.index("Counted since")
    walt.up()
    assert node(ours).boot().booted
    await_page(ours, lambda page: page.counts["Last boots"] == 1 and not failing(page), "the boot")


def test_a_node_that_starts_over_and_over(watched, walt):
    """The connections of its former boots end later, when it has begun others: it fails all the same."""
    walt.set_image(mib=4)
    ours = watched()
    ours.tolerate_log("ended short")
    boots = []
    for _ in range(3):
        assert ours.get(BOOT_SIG).status == 200
        boots.append(SlowNode(ours))
        boots[-1].take(MIB)
    assert not failing(status_page.look(ours)[0])
    boots[0].close()
    page = await_page(ours, failing, "the first boot's end")
    row, = failing(page)
    assert row["Node"] == "192.168.152.7" and "ended short" in row["Trouble"]
    for boot in boots[1:]:
        boot.close()
    await_page(ours, lambda page: failing(page)[0]["Times"] == "3", "the end of each")


def test_a_node_that_fails_at_its_image(watched, walt, node):
    """An error and a download that ends short count alike; the last one is told."""
    walt.set_image(mib=4)
    ours = watched()
    assert ours.get(BOOT_SIG).status == 200
    walt.fault("boot.img", "status", status=404)
    assert ours.get(BOOT_IMG).status == 404
    with SlowNode(ours) as gone:
        gone.take(MIB)
    row, = failing(await_page(ours, lambda page: failing(page) and failing(page)[0]["Times"] == "2", "two troubles"))
    assert row["Trouble"].startswith("its download of boot.img ended short, after ")
    assert node(ours).boot().booted
    await_page(ours, lambda page: not failing(page), "the boot")


def test_a_node_whose_process_was_killed(watched, walt, cache):
    """Its parent tells of it."""
    walt.set_image(mib=16)
    ours = watched(cache=cache.path, mpm="prefork")
    ours.expect_log("the httpd process that sent it has ended")
    with SlowNode(ours) as download:
        download.take(MIB)
        killed = set(ours.children())
        for child in killed:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not killed & set(ours.children()) and ours.get().status, what="new children")
        row, = failing(await_page(ours, failing, "the node"))
    assert row["Node"] == "192.168.152.7" and row["Trouble"].endswith("the httpd process that sent it has ended")


def test_a_node_that_the_site_forbids(watched, walt):
    """Access control is the administrator's: who is kept out by mistake is seen at once."""
    ours = watched(vhost='<Location "/walt-vpn/">\nRequire ip 192.0.2.1\n</Location>', modules=["authz_host"])
    ours.expect_log("client denied by server configuration")
    assert ours.get(BOOT_SIG).status == 403
    row, = failing(await_page(ours, failing, "the node"))
    assert row["Trouble"] == "boot.sig was answered with 403: by the configuration of this httpd"


def test_strangers_fail_no_node(watched, walt):
    """What no node asks for says nothing about a node."""
    ours = watched(vhost="WaltVpnExpose boot")
    for path in (BOOT_SIG + "?fake_requester_ip=192.168.152.7", BOOT_IMG + "?x", "/walt-vpn/per-ip/192-168-152-7/",
                 "/walt-vpn/node-conf/x"):
        assert ours.get(path).status == 404
    page = await_page(ours, lambda page: page.summary["Requests refused"] == "4", "four refusals")
    assert not failing(page)


def test_a_stranger_who_asks_for_many_nodes_crowds_out_his_own(watched, walt):
    """At most 256 are remembered; a node that has failed more than once stays."""
    ours = watched()
    walt.fault("boot.sig", "status", status=404, times=None)
    for _ in range(3):
        assert ours.get(BOOT_SIG).status == 404
    for number in range(300):
        assert ours.get("/walt-vpn/per-ip/10-0-%d-%d/boot.sig" % divmod(number, 250)).status == 404
    page = await_page(ours, lambda page: failing(page) and failing(page)[0]["Node"] == "10.0.1.49", "the last one")
    assert page.counts["Nodes that fail"] == 256
    assert failing(page)[-1]["Node"] == "192.168.152.7" and failing(page)[-1]["Times"] == "3"


def test_what_failed_is_kept_over_a_graceful_restart(watched, walt):
    ours = watched()
    walt.down()
    assert ours.get(BOOT_SIG).status == 503
    before = failing(await_page(ours, failing, "the node"))
    ours.graceful()
    assert failing(status_page.look(ours)[0]) == before


@pytest.mark.parametrize("path", [SERVER, BOOT_SIG, BOOT_IMG], ids=["relayed", "asked", "fetched"])
def test_how_the_walt_server_does(watched, walt, cache, path):
    """Not asked yet; answers; is silent; answers again: since when, and how fast it was."""
    ours = watched(cache=cache.path)
    page, = status_page.look(ours)
    assert state(page) == "unknown" and milliseconds(page) == ""
    assert page.summary["In that state since"] == page.summary["Last answer"] == ""
    before = now()
    assert ours.get(path).status == 200
    page = await_page(ours, lambda page: state(page) == "up", "an answer")
    assert before <= page.number("In that state since") <= page.number("Last answer") <= now()
    assert 0 <= float(milliseconds(page)) < 10000
    walt.down()
    assert ours.get(path).status == 503
    page = await_page(ours, lambda page: state(page) == "down", "silence")
    assert page.number("Last answer") <= page.number("In that state since") <= now()
    walt.up()
    assert ours.get(path).status == 200
    assert await_page(ours, lambda page: state(page) == "up", "answers")


def test_an_error_of_the_walt_server_is_an_answer(watched, walt):
    """It is up, whatever it says; and what this httpd forbids asks it nothing."""
    ours = watched(vhost='<Location "/walt-vpn/per-ip/192-168-152-8/">\nRequire all denied\n</Location>')
    ours.expect_log("client denied by server configuration")
    assert ours.get(BOOT_SIG.replace("-7/", "-8/")).status == 403
    assert state(status_page.look(ours)[0]) == "unknown"
    walt.fault("server", "status", status=503)
    assert ours.get(SERVER).status == 503
    await_page(ours, lambda page: page.summary["Requests failed"] == "1" and state(page) == "up", "its error")


def test_how_long_an_answer_took(watched, walt):
    """In milliseconds, until its head came."""
    ours = watched()
    walt.fault("server", "status", status=500, seconds=1.5)
    assert ours.get(SERVER).status == 500
    page = await_page(ours, lambda page: milliseconds(page), "the answer")
    assert 1500 <= float(milliseconds(page)) < 15000


def test_trouble_with_the_folder_while_it_lasts(watched, walt, cache, node):
    """Why it does not serve, from the first relayed image on until one is kept again."""
    ours = watched(cache=cache.path)
    assert node(ours).boot().booted
    assert status_page.look(ours)[0].summary["Trouble with it"] == ""
    os.rename(cache.path, cache.path + ".away")
    ours.expect_log("images are relayed until this is mended")
    assert node(ours).boot().booted
    page = await_page(ours, lambda page: page.summary["Trouble with it"], "trouble")
    assert page.summary["Trouble with it"] == "No such file or directory"
    assert "No such file or directory: images are relayed until this is mended" in status_page.page(ours)
    os.rename(cache.path + ".away", cache.path)
    walt.set_image("*", "another")
    assert node(ours).boot().booted
    await_page(ours, lambda page: page.summary["Trouble with it"] == "", "the folder")


def test_downloads_by_node_with_their_expected_end(watched, walt, cache):
    """In the order of the addresses as numbers; counted already; and the end is as far away as the rate says."""
    walt.set_image(mib=16)
    ours = watched(cache=cache.path)
    assert Fleet(ours, ["192.168.152.200"]).boots()[0].booted
    sent = 16 * MIB + walt.requests("boot.sig")[0].sent
    before = await_page(ours, lambda page: page.number("Sent to nodes") == sent, "the count of the first boot")
    addresses = ["192-168-152-%d" % number for number in (10, 9, 100)]
    nodes = [SlowNode(ours, "/walt-vpn/per-ip/%s/boot.img" % address) for address in addresses]
    for slow in nodes:
        slow.take(4 * MIB)

    def all_there(page):
        rows = page.tables["Nodes downloading now"]
        return len(rows) == 3 and all(row["Expected end"] and int(row["Sent"]) > MIB for row in rows)

    page = await_page(ours, all_there, "three downloads")
    rows = page.tables["Nodes downloading now"]
    assert [row["Node"] for row in rows] == ["192.168.152.9", "192.168.152.10", "192.168.152.100"]
    for row in rows:
        left = (int(row["Size"]) - int(row["Sent"])) / int(row["Rate"])
        assert abs(int(row["Expected end"]) - now() - left) < 5 + left / 4
    assert page.number("Images from the cache") == before.number("Images from the cache") + 3
    assert page.number("Sent to nodes") > sent + 3 * MIB
    for slow in nodes:
        assert slow.rest().status == 200
        slow.close()
    page = await_page(ours, lambda page: page.number("Sent to nodes") == sent + 3 * 16 * MIB, "the ends")
    assert page.counts["Last boots"] == 4
    assert page.number("Images from the cache") == before.number("Images from the cache") + 3, "none is counted twice"


def test_a_relayed_image_that_breaks_off_counts_as_failed(watched, walt):
    """Though it was counted as relayed while it was sent."""
    walt.set_image(mib=4)
    ours = watched()
    walt.fault("boot.img", "rst", at_byte=2 * MIB)
    with SlowNode(ours) as node:
        assert node.rest().ended == "RST"
    page = await_page(ours, lambda page: page.summary["Requests failed"] == "1", "the failure")
    assert page.summary["Requests relayed"] == "0"


def test_two_clients_that_speak_for_one_node(watched, walt, cache):
    """Both downloads are there; the key with the node's name alone is the first one's."""
    walt.set_image(mib=16)
    ours = watched(cache=cache.path, vhost="RemoteIPHeader X-Client", modules=["remoteip"])
    with SlowNode(ours, headers=[("X-Client", "198.51.100.1")]) as one:
        one.take(2 * MIB)
        with SlowNode(ours, headers=[("X-Client", "198.51.100.2")]) as other:
            other.take(2 * MIB)
            await_page(ours, lambda page: page.counts["Nodes downloading now"] == 2, "two downloads")
            told = dict(status_page.look_automatically(ours))
            download = "WaltVpn[%s].Download[192.168.152.7" % ours.server_name
            assert told[download + "].Client"] == "198.51.100.1"
            assert told[download + ",198.51.100.2].Client"] == "198.51.100.2"
            for slow in (one, other):
                assert slow.rest().status == 200


def test_keys_keep_their_meaning(watched, walt, cache):
    """A node's keys stay, whatever other nodes come and go; the names in them are those of the page."""
    ours = watched(cache=cache.path)
    us = "WaltVpn[%s]." % ours.server_name
    assert all(boot.booted for boot in Fleet(ours, ["192.168.152.7"]).boots())
    await_page(ours, lambda page: page.counts["Last boots"] == 1, "one boot")
    told = {key: value for key, value in status_page.look_automatically(ours) if key.startswith(us + "Node[")}
    assert told[us + "Node[192.168.152.7].Result"] == "fetched"
    assert all(boot.booted for boot in Fleet(ours, 9).boots())
    await_page(ours, lambda page: page.counts["Last boots"] == 10, "ten boots")
    after = dict(status_page.look_automatically(ours))
    assert {key: after[key] for key in told} == told


def test_every_key_is_documented(watched, walt, cache):
    """In docs/monitoring.md, in the row of its kind; and no other."""
    with open(os.path.join(PROJECT, "docs", "monitoring.md")) as file:
        rows = [line for line in file.read().split("| key, behind")[1].split("\n\n")[0].splitlines() if line.startswith("| `")]
    documented = set()
    for row in rows:
        first, second = row.strip("| ").split(" | ", 1)
        kind = re.fullmatch(r"`([A-Z][a-z]+\[)[A-Z]+\]\.`", first)
        documented |= {(kind.group(1) if kind else "") + key
                       for key in re.findall("`([A-Z][A-Za-z]+)`", second if kind else first)}
    walt.set_image(mib=16)
    ours = watched(cache=cache.path)
    assert Fleet(ours, 1).boots()[0].booted
    walt.set_image("192.168.152.8", "another", mib=16)
    with SlowNode(ours) as download:
        download.take(MIB)
        walt.fault("152-9/boot.sig", "status", status=404)
        assert ours.get(BOOT_SIG.replace("-7/", "-9/")).status == 404
        walt.rate(MIB)
        with SlowNode(ours, BOOT_IMG.replace("-7/", "-8/")):
            await_page(ours, lambda page: all(page.counts.values()), "something of each kind")
            told = {re.sub(r"^WaltVpn\[[^]]*\]\.|(?<=\[)[^]]*\]\.", "", key)
                    for key, _ in status_page.look_automatically(ours)}
        walt.rate(None)
        assert download.rest().status == 200
    assert told == documented


def test_one_name_for_two_walt_servers(httpd, walt, another_walt):
    """On two ports: each has keys of its own."""
    ours = httpd(modules=status_page.MODULES, vhost="".join("""
        <VirtualHost *:%s>
            ServerName one.example.org
            WaltVpnServer %s
            %s
        </VirtualHost>""" % (port, server.location, status_page.LOCATION)
                                                         for port, server in (("@PORT@", walt), ("1", another_walt))))
    ours.server_name = "one.example.org"
    ours.expect_log(r"httpd does not listen on \*:1 of its <VirtualHost>")
    told = dict(status_page.look_automatically(ours))
    for server in (walt, another_walt):
        url = server.url + "/walt-vpn/"
        assert told["WaltVpn[one.example.org,%s].Server" % url] == url
    text = status_page.page(ours, "?node=192.168.")
    anchors = re.findall('<h2 id="([^"]*)"', text)
    assert len(set(anchors)) == 2 and re.findall('<form action="#([^"]*)"', text) == anchors


def test_times_have_their_zone(watched, walt):
    """In the server's own time, and said so."""
    ours = watched()
    zone = time.strftime("%Z")
    assert "Counted since</th><td title=\"" in status_page.page(ours)
    shown = status_page.page(ours).split("Counted since</th><td title=\"")[1].split("<")[0].split(">")[1]
    assert shown.endswith(" " + zone) and time.strptime(shown[:19], "%Y-%m-%d %H:%M:%S")


def test_a_link_at_the_top(watched, walt):
    """mod_status lets us write below its own tables only; a link to there stands at the top."""
    text = status_page.page(watched())
    assert '<p class="walt-vpn-top"><a href="#walt-vpn">' in text and '<div id="walt-vpn"></div>' in text
    assert '<h2 id="walt-vpn-entrypoint.example.org">' in text
