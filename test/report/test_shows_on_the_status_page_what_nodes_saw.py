"""The section on mod_status's page says what the nodes saw, as tables and as "Key: value" lines alike."""

import os
import re
import signal
import time

import pytest

import status_page
from fleet import Fleet
from processes import wait_until
from status_page import BUFFER, SlowNode, await_page

MIB = 1 << 20
BOOT_SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
BOOT_IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"


@pytest.fixture
def watched(entrypoint):
    """watched(...): an entrypoint whose site has a status page."""

    def make(vhost="", server="", **options):
        return entrypoint(vhost=status_page.LOCATION + "\n" + vhost, server="SendBufferSize %d\n" % BUFFER + server,
                          modules=status_page.MODULES, **options)

    return make


def received(boots):
    """Bytes of bodies that these nodes got."""
    return sum(boot.bytes for boot in boots)


def sent(walt):
    """Bytes of bodies that the WalT server sent."""
    return sum(request.sent for request in walt.requests())


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_counters_are_what_the_clients_saw(watched, walt, cache, mpm, cached):
    """Requests by answer, bytes to nodes, bytes from the WalT server and what that saves, over all processes."""
    ours = watched(mpm=mpm, cache=cache.path if cached else "")
    began = time.monotonic()
    boots = Fleet(ours, 16).boots()
    assert all(boot.booted for boot in boots)
    assert ours.get("/walt-vpn/per-ip/192-168-152-7/").status == 404
    refusal = len(b"Not found.\n")
    page = await_page(ours, lambda page: page.counts["Last boots"] == 16 and page.summary["Requests refused"] == "1",
                      "16 boots on the page")
    assert page.name == ours.server_name
    assert page.summary["WalT server"] == walt.url + "/walt-vpn/" and page.summary["Exposed"] == "all"
    answers = {label: page.number(label) for label in page.summary if label.startswith(("Images f", "Images s", "Images w", "Requests"))}
    images = sum(answers[label] for label in answers if label.startswith("Images"))
    assert images == (16 if cached else 0) and answers["Images fetched first"] == (1 if cached else 0)
    assert answers["Requests relayed"] == (16 if cached else 32) and answers["Requests failed"] == 0
    assert page.number("Sent to nodes") == received(boots) + refusal
    assert page.number("From the WalT server") == sent(walt)
    assert page.number("Saved by the cache") == max(0, received(boots) + refusal - sent(walt))
    if cached:
        assert page.number("Saved by the cache") > 14 * MIB
    told = {boot["Node"]: boot for boot in page.tables["Last boots"]}
    assert set(told) == {boot.node for boot in boots}
    assert {boot["Size"] for boot in told.values()} == {str(MIB)} and {boot["Resumes"] for boot in told.values()} == {"0"}
    assert {boot["Image"] for boot in told.values()} == {boots[0].image_sha256[:12]}
    # httpd may see the end of a boot later than its node.
    assert all(0 <= float(boot["Seconds"]) <= time.monotonic() - began for boot in told.values())


def test_everything_is_kept_over_a_graceful_restart(watched, walt, cache):
    """Counters and boots go on, also those of a download that outlives the restart."""
    walt.set_image(mib=4)
    ours = watched(cache=cache.path)
    assert all(boot.booted for boot in Fleet(ours, 4).boots())
    with SlowNode(ours) as slow:
        slow.take(MIB)
        before = await_page(ours, lambda page: page.counts["Nodes downloading now"] == 1, "the download")
        ours.graceful()
        after = status_page.look(ours)[0]
        for label, value in before.summary.items():
            if label not in ("Sent to nodes", "Saved by the cache"):
                assert after.summary[label] == value, label
        assert after.counts["Nodes downloading now"] == 1 and after.tables["Last boots"] == before.tables["Last boots"]
        assert slow.rest().status == 200
    page = await_page(ours, lambda page: page.counts["Last boots"] == 5, "the boot that outlived the restart")
    assert page.counts["Nodes downloading now"] == 0 and page.tables["Last boots"][0]["Node"] == "192.168.152.7"


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_downloads_in_progress(watched, walt, cache, cached):
    """Percent and bytes are those that the node has, give or take what is on its way."""
    walt.set_image(mib=16)
    ours = watched(cache=cache.path if cached else "")
    with SlowNode(ours) as slow:
        for part in (4, 8, 12):
            slow.take(part * MIB)

            def shown(page):
                now = page.tables["Nodes downloading now"]
                return now and part * MIB - 2 * MIB < int(now[0]["Sent"]) <= part * MIB + 2 * MIB

            row = await_page(ours, shown, "%d MiB on the page" % part).tables["Nodes downloading now"][0]
            assert row["Node"] == "192.168.152.7" and row["Client"] == "127.0.0.1" and row["Size"] == str(16 * MIB)
            assert int(row["Progress"]) == int(row["Sent"]) * 100 // (16 * MIB) and int(row["Rate"]) > 0
        assert slow.rest().status == 200
    page = await_page(ours, lambda page: page.counts["Last boots"] == 1, "the end")
    assert not page.tables["Nodes downloading now"]


def test_a_resumed_download_goes_on_in_its_line(watched, walt, cache):
    """One boot with one resume: the percent starts where it was resumed, the rate counts what was sent since."""
    walt.set_image(mib=16)
    ours = watched(cache=cache.path)
    assert ours.get(BOOT_SIG).status == 200
    with SlowNode(ours) as first:
        first.take(2 * MIB)
    page = await_page(ours, lambda page: page.counts["Last boots"] == 1, "the end of the first part")
    assert re.fullmatch(r"ended short at \d+ %", page.tables["Last boots"][0]["Result"])
    assert MIB < page.number("Sent to nodes") < 12 * MIB
    with SlowNode(ours, headers=[("Range", "bytes=%d-" % (12 * MIB))]) as second:
        second.take(1)
        page = await_page(ours, lambda page: page.counts["Nodes downloading now"] == 1, "the second part")
        row = page.tables["Nodes downloading now"][0]
        assert int(row["Progress"]) >= 75 and row["Resumes"] == "1" and not page.tables["Last boots"]
        assert second.rest().status == 206
    page = await_page(ours, lambda page: page.counts["Last boots"] == 1, "the end of the second part")
    assert page.tables["Last boots"][0]["Result"] == "fetched" and page.tables["Last boots"][0]["Resumes"] == "1"


def test_an_error_is_the_result_of_a_boot(watched, walt):
    """A node that had its boot.sig and got an error for boot.img."""
    ours = watched()
    assert ours.get(BOOT_SIG).status == 200
    walt.fault("boot.img", "status", status=404)
    assert ours.get(BOOT_IMG).status == 404
    page = await_page(ours, lambda page: page.counts["Last boots"] == 1, "the error")
    assert page.tables["Last boots"][0]["Result"] == "error 404"


def test_the_last_32_nodes_and_all_of_them(watched, walt):
    """The latest comes first; the rest is a link away, and any part of it can be asked for."""
    ours = watched()
    for number in range(34):
        assert ours.get(BOOT_IMG.replace("152-7", "9-%d" % number)).status == 200
    page = await_page(ours, lambda page: page.tables["Last boots"] and page.tables["Last boots"][0]["Node"] == "192.168.9.33",
                      "the last boot")
    assert [boot["Node"] for boot in page.tables["Last boots"]] == ["192.168.9.%d" % number for number in range(33, 1, -1)]
    text = status_page.page(ours)
    assert '<a href="?node=#walt-vpn-%s">Show all 34</a>' % ours.server_name in text and '<input name="node"' in text
    everyone, = status_page.look(ours, "?node=")
    assert [boot["Node"] for boot in everyone.tables["Last boots"]] == ["192.168.9.%d" % n for n in range(33, -1, -1)]
    some, = status_page.look(ours, "?node=192.168.9.1")
    assert {boot["Node"] for boot in some.tables["Last boots"]} == {"192.168.9.%d" % number for number in (1, *range(10, 20))}
    told = dict(status_page.look_automatically(ours, "&node=192.168.9.0"))
    us = "WaltVpn[%s]." % ours.server_name
    assert told[us + "Node[192.168.9.0].Size"] == str(MIB) and told[us + "Nodes"] == "1"
    assert status_page.look(ours, "?node=%22%3E%3Cscript%3E")[0].counts["Last boots"] == 32, "no address"


def test_a_fetch_in_progress(watched, walt, cache):
    """Its image, how much of it has come, how fast; and nothing of it when it is over."""
    digest = walt.set_image(mib=4)
    ours = watched(cache=cache.path)
    walt.rate(2 * MIB)
    fleet = Fleet(ours, 3)
    page = await_page(ours, lambda page: any(int(row["Progress"]) > 10 for row in page.tables["Images being fetched now"]),
                      "a fetch on the page")
    row, = page.tables["Images being fetched now"]
    assert row["Image"] == digest[:12] and row["Size"] == str(4 * MIB) and 0 < int(row["Received"]) < 4 * MIB
    assert int(row["Progress"]) == int(row["Received"]) * 100 // (4 * MIB) and 0 < int(row["Rate"]) < 8 * MIB
    walt.rate(None)
    assert all(boot.booted for boot in fleet.boots())
    page = await_page(ours, lambda page: page.counts["Last boots"] == 3, "three boots")
    assert not page.tables["Images being fetched now"]
    assert [(row["Image"], row["Size"]) for row in page.tables["Images in the cache folder"]] == [(digest, str(4 * MIB))]
    assert page.summary["Cache folder"] == cache.path and page.number("Images in it") == 4 * MIB
    assert page.number("It may hold") == 1 << 30


def test_what_a_killed_child_was_at_vanishes(watched, walt, cache):
    """Its downloads have ended short, its fetch is gone, and its parent says so in the error log."""
    walt.set_image(mib=16)
    walt.set_image("192.168.152.8", "another", mib=16)
    ours = watched(cache=cache.path, mpm="prefork")
    ours.expect_log(r"node 192\.168\.152\.7 \(127\.0\.0\.1\): its download of boot\.img ended short, after \d+ of 16777216 bytes: "
                    "the httpd process that sent it has ended")
    with SlowNode(ours) as download:
        download.take(MIB)
        await_page(ours, lambda page: page.counts["Images in the cache folder"] == 1, "the first image")
        walt.rate(MIB)
        fetch = SlowNode(ours, BOOT_IMG.replace("-7/", "-8/"))
        await_page(ours, lambda page: page.counts["Images being fetched now"] == 1, "a download and a fetch")
        killed = set(ours.children())
        for child in killed:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not killed & set(ours.children()) and ours.get().status, what="new children")
        page = await_page(ours, lambda page: page.counts["Last boots"] > 0, "the download's end")
        assert not page.tables["Nodes downloading now"] and not page.tables["Images being fetched now"]
        assert all(boot["Result"].startswith("ended short at") for boot in page.tables["Last boots"])
        assert "192.168.152.7" in [boot["Node"] for boot in page.tables["Last boots"]]
        assert fetch.rest().ended == "RST"
        walt.rate(None)


def test_lines_and_tables_are_the_same(watched, walt, cache):
    """?auto has every value of the tables in their order, each behind a key of its own."""
    ours = watched(cache=cache.path)
    assert all(boot.booted for boot in Fleet(ours, 5).boots())
    await_page(ours, lambda page: page.counts["Last boots"] == 5, "five boots")
    pairs = status_page.look_automatically(ours)
    _, values, _ = status_page.read_html(status_page.page(ours))
    assert [value for _, value in pairs] == values
    told = dict(pairs)
    us = "WaltVpn[%s]." % ours.server_name
    assert told[us + "Nodes"] == "5" and told[us + "Node[192.168.0.4].Resumes"] == "0" and told[us + "Cached"].isdigit()
    assert told[us + "Image[%s].Size" % cache.images()[0]] == str(MIB)


def test_two_entrypoints(httpd, walt, another_walt):
    """Each has its section; the same name on another port is the same entrypoint; other sites have none."""
    ours = httpd(modules=status_page.MODULES, vhost="""
        <VirtualHost *:@PORT@>
            ServerName one.example.org
            WaltVpnServer %s
            %s
        </VirtualHost>
        <VirtualHost *:1>
            ServerName one.example.org
            WaltVpnServer %s
        </VirtualHost>
        <VirtualHost *:@PORT@>
            ServerName two.example.org
            WaltVpnServer %s
            WaltVpnExpose boot
        </VirtualHost>
        <VirtualHost *:@PORT@>
            ServerName three.example.org
        </VirtualHost>""" % (walt.location, status_page.LOCATION, walt.location, another_walt.location))
    ours.expect_log(r"httpd does not listen on \*:1 of its <VirtualHost>")
    for name, count in (("one.example.org", 1), ("two.example.org", 2)):
        for _ in range(count):
            assert ours.get("/walt-vpn/server", host=name).status == 200
    ours.server_name = "one.example.org"

    def sections():
        return sorted(status_page.look(ours), key=lambda page: page.name)

    wait_until(lambda: [page.summary["Requests relayed"] for page in sections()] == ["1", "2"], what="one and two requests")
    one, two = sections()
    assert (one.name, one.summary["Exposed"], one.summary["WalT server"]) == ("one.example.org", "all", walt.url + "/walt-vpn/")
    assert (two.name, two.summary["Exposed"]) == ("two.example.org", "boot")


def test_what_is_shown_is_escaped(entrypoint, walt, cache):
    """A name and a folder with markup in them are text; what a client sends is not shown at all, whatever it sends."""
    name = "x<script>alert(1)</script>&amp;'\".example.org"
    hostile = "<script>alert(2)</script>"
    ours = entrypoint(vhost="ServerAlias entry.example.org\n" + status_page.LOCATION, modules=status_page.MODULES,
                      cache=cache.path + "<b>&", server_name="'%s'" % name.replace("'", "\\'"))
    ours.server_name = "entry.example.org"
    ours.expect_log("httpd refuses such a name with 400")
    assert ours.get(BOOT_IMG, headers=[("User-Agent", hostile), ("X-Forwarded-For", hostile)]).status == 200
    for path in ("/walt-vpn/" + hostile, "/walt-vpn/per-ip/%3Cscript%3E/boot.sig", BOOT_SIG + "?" + hostile):
        ours.get(path)
    text = status_page.page(ours)
    ours_text = text[text.index("WalT VPN entrypoint"):]
    page, = status_page.read_html(text)[0]
    assert page.name == name and page.summary["Cache folder"] == cache.path + "<b>&"
    assert "<script" not in ours_text and "alert(2)" not in ours_text
    assert dict(status_page.look_automatically(ours))["WaltVpn[%s].Exposed" % name] == "all"


def test_without_mod_status(entrypoint, walt, cache):
    """The module needs it for nothing."""
    ours = entrypoint(cache=cache.path, vhost=status_page.LOCATION)
    assert all(boot.booted for boot in Fleet(ours, 2).boots())
    assert ours.get("/server-status").status == 404


def test_a_status_page_without_an_entrypoint(httpd):
    """Loaded but not used: nothing of ours is there."""
    ours = httpd(status_page.LOCATION, modules=status_page.MODULES)
    assert "WalT" not in status_page.page(ours) and not status_page.look_automatically(ours)
