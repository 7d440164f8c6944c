"""The metrics page counts what clients saw: requests, bytes, boots, resumes, fetches, over all processes and restarts."""

import collections
import time

import pytest

import metrics
from fleet import Fleet
from processes import wait_until

MIB = 1 << 20
NODES = 16


@pytest.fixture(params=["event", "worker", "prefork"])
def mpm(request):
    return request.param


@pytest.fixture
def watched(entrypoint):
    def make(vhost="", **options):
        return entrypoint(vhost=metrics.LOCATION + "\n" + vhost, **options)
    return make


def await_page(httpd, condition, what, query=""):
    """The page, once that is true of it: what is counted when a request ends, its client knows a moment earlier."""
    wait_until(lambda: condition(metrics.scrape(httpd, query)), what=what)
    return metrics.scrape(httpd, query)


def faulty_fleet(ours, walt, first=1):
    """Nodes that lose links, strangers, and a WalT server that fails once. What they saw: (boots, {(file, code): count})."""
    walt.fault("boot.img", "rst", at_byte=MIB // 2)
    losses = {"boot.img": [MIB // 3]}
    boots = Fleet(ours, NODES - 4, first).boots() + Fleet(ours, 4, first + NODES - 4, lost_links=losses).boots()
    assert all(boot.booted for boot in boots), boots
    seen = collections.Counter((name, str(status)) for boot in boots for name, _, status in boot.replies)
    for target, file in (("server", "server"), ("../x", "other"), ("per-ip/1-2-3-4/", "other"), ("elsewhere", "other")):
        seen[file, str(ours.get("/walt-vpn/" + target).status)] += 1
    walt.fault("192-168-152-77/boot.sig", "status", status=404)
    seen["boot.sig", str(ours.get("/walt-vpn/per-ip/192-168-152-77/boot.sig").status)] += 1
    seen["enroll", str(ours.get("/walt-vpn/enroll", method="POST", body=b"x" * 40000).status)] += 1
    return boots, seen


def told_requests(page):
    told = collections.Counter()
    for labels, value in page.rows("walt_vpn_requests_total"):
        told[labels["file"], labels["code"]] += int(value)
    return told


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_a_fleet_with_faults(watched, walt, cache, mpm, cached):
    """Twice, with a graceful restart in between: the second fleet adds to the first."""
    ours = watched(mpm=mpm, cache=cache.path if cached else "", server="SendBufferSize 65536")
    ours.tolerate_log("AH01110|AH00898|AH01102")
    began = time.monotonic()
    boots, seen = faulty_fleet(ours, walt)
    ours.graceful()
    walt.set_image("*", "another")
    more, also_seen = faulty_fleet(ours, walt, 101)
    boots, seen = boots + more, seen + also_seen
    page = await_page(ours, lambda page: sum(told_requests(page).values()) >= sum(seen.values()), "all requests on the page")
    assert told_requests(page) == seen
    page.check_histograms()

    assert page.by("walt_vpn_boots_total", "result") == {"done": len(boots), "unknown_node": 2}
    resumes = sum(boot.resumes for boot in boots)
    assert page.sum("walt_vpn_resumes_total") == resumes >= 8
    assert page.sum("walt_vpn_boot_seconds_count") == page.sum("walt_vpn_download_bytes_per_second_count") == len(boots)
    # httpd may see the end of a boot later than its node.
    assert 0 < page.sum("walt_vpn_boot_seconds_sum") <= len(boots) * (time.monotonic() - began)
    assert page.by("walt_vpn_refusals_total", "reason") == {
        "a dot segment": 2, "a directory below per-ip/": 2, "an enroll body of more than 32 KiB": 2}

    # What was on its way when a link was lost may be counted or not; the next test has no such links.
    asked = walt.requests()
    sent, received = sum(request.sent for request in asked), sum(boot.bytes for boot in boots)
    assert abs(page.sum("walt_vpn_received_bytes_total") - sent) < resumes * MIB
    assert abs(page.sum("walt_vpn_sent_bytes_total") - received) < resumes * MIB
    for file in ("server", "boot.sig", "boot.img"):
        assert page.sum("walt_vpn_server_answer_seconds_count", file=file) == sum(file in request.target for request in asked)
    fetched = {"done": 2} if cached else {}
    assert page.by("walt_vpn_fetches_total", "result") == fetched
    assert page.sum("walt_vpn_fetch_seconds_count") == fetched.get("done", 0)
    for gauge in ("walt_vpn_downloads_running", "walt_vpn_fetches_running", "walt_vpn_waiting_threads"):
        assert page.sum(gauge) == 0


def test_bytes_exactly(watched, walt, cache, mpm):
    """Where no link is lost, to the byte."""
    ours = watched(mpm=mpm, cache=cache.path)
    boots = Fleet(ours, NODES).boots()
    received = sum(boot.bytes for boot in boots)
    page = await_page(ours, lambda page: page.sum("walt_vpn_boots_total", result="done") == NODES, "all boots")
    assert page.sum("walt_vpn_sent_bytes_total") == received == NODES * (MIB + len(boots[0].boot_sig))
    assert page.sum("walt_vpn_received_bytes_total") == sum(request.sent for request in walt.requests())


def test_what_is_under_way(watched, walt, cache, mpm):
    """Downloads, the fetch and the threads that wait for it, while they do; and none of them when a process is killed."""
    ours = watched(mpm=mpm, cache=cache.path)
    ours.tolerate_log("exit signal Killed|exit signal Kill")
    ours.allow_crash_at_stop()
    walt.set_image(mib=2)
    walt.rate(MIB // 4)
    held = [ours.connect() for _ in range(3)]
    for number, connection in enumerate(held):
        # If-Range: a client that is no node waits for the whole image.
        headers = [("If-Range", '"x"'), ("Range", "bytes=5-")] if number else []
        connection.send(metrics.request("/walt-vpn/per-ip/192-168-152-%d/boot.img" % number, ours.server_name, headers))
        wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_fetches_running") == 1, what="the fetch")
    page = await_page(ours, lambda page: page.sum("walt_vpn_waiting_threads") == (3 if mpm == "worker" else 2)
                      and page.sum("walt_vpn_downloads_running") == 1, "two that wait")
    assert page.sum("walt_vpn_fetches_running") == 1
    metrics.kill_children(ours)
    await_page(ours, lambda page: page.sum("walt_vpn_waiting_threads") == page.sum("walt_vpn_downloads_running")
               == page.sum("walt_vpn_fetches_running") == 0, "nothing under way")
    walt.rate(None)
    for connection in held:
        connection.close()
    walt.set_image("*", "another", 2)
    assert all(boot.booted for boot in Fleet(ours, 3).boots())
    assert metrics.scrape(ours).sum("walt_vpn_waiting_threads") == 0


def test_waits_are_measured(watched, walt, cache):
    """Two that wait for a fetch of a second: two waits for it, one at most for the other's boot.sig, and no time but that."""
    ours = watched(cache=cache.path)
    walt.set_image(mib=2)
    walt.rate(2 * MIB)
    held = [ours.connect(timeout=30) for _ in range(3)]
    for number, connection in enumerate(held):
        headers = [("If-Range", '"x"'), ("Range", "bytes=5-")] if number else []
        connection.send(metrics.request("/walt-vpn/per-ip/192-168-152-%d/boot.img" % number, ours.server_name, headers))
        wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_fetches_running") == 1, what="the fetch")
    assert [connection.rest().status for connection in held] == [200] * 3
    page = await_page(ours, lambda page: page.sum("walt_vpn_waiting_seconds_count") >= 2, "two waits")
    count = page.sum("walt_vpn_waiting_seconds_count")
    assert 2 <= count <= 4
    assert 0.1 < page.sum("walt_vpn_waiting_seconds_sum") <= count * (page.sum("walt_vpn_fetch_seconds_sum") + 1)
