"""The metrics page tells that the WalT server is down, that the folder is in trouble, that images were wrong or had to go."""

import os
import time

import pytest

import metrics
import wire
from processes import wait_until

MIB = 1 << 20
SERVER = "/walt-vpn/server"
SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
UP = "walt_vpn_server_up"
LAST_ANSWER = "walt_vpn_server_last_answer_timestamp_seconds"


@pytest.fixture
def watched(entrypoint):
    def make(**options):
        made = entrypoint(vhost=metrics.LOCATION, **options)
        made.tolerate_log("AH01114|AH00957|AH01102|AH00898|AH01110")
        return made
    return make


def await_sum(ours, value, name, **labels):
    wait_until(lambda: metrics.scrape(ours).sum(name, **labels) == value, what="%s %s" % (name, value))


@pytest.mark.parametrize("path", [SERVER, "/walt-vpn/per-ip/192-168-152-7/boot.sig",
                                  "/walt-vpn/per-ip/192-168-152-7/boot.img"])
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_a_walt_server_that_is_down(watched, walt, cache, mpm, path):
    """Nothing is said before it was asked; then what the last question showed, to all processes and after a restart."""
    ours = watched(mpm=mpm, cache=cache.path)
    page = metrics.scrape(ours)
    assert page.sum(UP) is None and page.sum(LAST_ANSWER) is None
    before = time.time()
    assert ours.get(path).status == 200
    await_sum(ours, 1, UP)
    answered = metrics.scrape(ours).sum(LAST_ANSWER)
    assert before - 1 < answered < time.time() + 1
    walt.down()
    assert ours.get(path).status == 503
    await_sum(ours, 0, UP)
    assert metrics.scrape(ours).sum(LAST_ANSWER) == answered
    ours.graceful()
    assert metrics.scrape(ours).sum(UP) == 0
    walt.up()
    assert ours.get(path).status == 200
    await_sum(ours, 1, UP)
    assert metrics.scrape(ours).sum(LAST_ANSWER) > answered


def test_an_error_is_an_answer(watched, walt):
    """And a reply that breaks off before its head is none."""
    ours = watched()
    walt.fault("server", "status", status=500)
    assert ours.get(SERVER).status == 500
    await_sum(ours, 1, UP)
    walt.fault("server", "fin", at_byte=None)
    assert ours.get(SERVER).status == 502
    await_sum(ours, 0, UP)
    assert ours.get(SERVER).status == 200
    await_sum(ours, 1, UP)


def test_what_is_refused_asks_nobody(watched, walt):
    """A stranger makes the WalT server neither up nor down."""
    ours = watched()
    assert ours.get("/walt-vpn/../x").status == 404
    await_sum(ours, 1, "walt_vpn_refusals_total")
    assert metrics.scrape(ours).sum(UP) is None


@pytest.mark.parametrize("method, path, headers, body", [
    ("GET", SERVER, [("Transfer-Encoding", "chunked")], b"no number\r\n"),
    ("HEAD", SERVER, [("Transfer-Encoding", "chunked")], b"no number\r\n"),
    ("POST", SERVER, [("Expect", "100-continue"), ("Content-Length", "5")], b""),
], ids=["a broken chunk", "a broken chunk behind HEAD", "a body that is announced and never comes"])
def test_what_goes_wrong_before_it_is_asked(watched, walt, method, path, headers, body):
    """Nor does a stranger whose request mod_proxy can't pass on."""
    ours = watched(server="Timeout 2")
    ours.tolerate_log("AH01095|AH01086|AH10154")
    assert ours.get(SERVER).status == 200
    assert ours.get(raw=wire.request(path, ours.server_name, method=method, headers=headers) + body).status != 200
    await_sum(ours, 2, "walt_vpn_requests_total")
    assert metrics.scrape(ours).sum(UP) == 1


def test_time_until_it_answers(watched, walt):
    """Of each file by itself, until its head comes, not its end."""
    ours = watched()
    walt.fault("server", "status", status=200, seconds=2)
    walt.rate(MIB / 2)
    for path in (SERVER, "/walt-vpn/per-ip/192-168-152-7/boot.img", "/walt-vpn/elsewhere"):
        ours.get(path)
    page = metrics.scrape(ours)
    times = {file: page.sum("walt_vpn_server_answer_seconds_sum", file=file) for file in ("server", "boot.img", "other")}
    assert page.by("walt_vpn_server_answer_seconds_count", "file") == {"server": 1, "boot.img": 1, "other": 1}
    assert times["server"] > 1.9 and times["boot.img"] < 1.5 and times["other"] < 1.5
    buckets = {row["le"]: value for row, value in page.rows("walt_vpn_server_answer_seconds_bucket", file="server")}
    assert buckets["1.0"] == 0 and buckets["+Inf"] == 1


def test_a_folder_and_what_is_in_it(watched, walt, cache, node):
    """Bytes, images and limit; an image that has to go; one of the folder and one of the WalT server that were wrong."""
    ours = watched(cache=cache.path, server="WaltVpnCacheSize 3M")
    for image in ("a", "b", "c", "d"):
        digest = walt.set_image(image=image)
        assert node(ours).boot().booted
    await_sum(ours, 4, "walt_vpn_fetches_total", result="done")
    page = metrics.scrape(ours)
    assert page.sum("walt_vpn_evictions_total") == 1 and page.sum("walt_vpn_cache_images") == len(cache.images()) == 3
    assert page.sum("walt_vpn_cache_bytes") == page.sum("walt_vpn_cache_limit_bytes") == 3 * MIB
    assert page.sum("walt_vpn_digest_mismatches_total") == page.sum("walt_vpn_cache_degraded") == 0

    with open(cache.image(digest), "r+b") as image:
        image.write(b"damaged")
    ours.expect_log("is damaged: removed")
    assert node(ours).boot().booted
    await_sum(ours, 1, "walt_vpn_digest_mismatches_total")
    walt.set_image(image="e")
    walt.fault("boot.img", "flip", at_byte=100)
    node(ours).boot()           # it may have been sent some of that, and start over
    await_sum(ours, 2, "walt_vpn_digest_mismatches_total")


def test_fetches_that_fail(watched, walt, cache, node):
    """An image that never comes whole, and one that is larger than the folder may be."""
    ours = watched(cache=cache.path, server="WaltVpnCacheSize 3M")
    ours.expect_log("is larger than WaltVpnCacheSize")
    walt.set_image(mib=4)
    assert node(ours).boot().booted
    await_sum(ours, 1, "walt_vpn_fetches_total", result="no_room")
    walt.set_image(image="broken")
    walt.fault("boot.img", "rst", at_byte=1000, times=None)
    assert not node(ours).boot().booted
    wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_fetches_total", result="broken"), what="a fetch that failed")
    page = metrics.scrape(ours)
    assert page.sum("walt_vpn_fetches_total", result="done") == page.sum("walt_vpn_fetch_seconds_count") == 0


def test_without_a_folder(watched, walt):
    """There is nothing to say of one."""
    assert not [name for name, _ in metrics.scrape(watched()).samples if name.startswith("walt_vpn_cache_")]


def test_a_folder_in_trouble(watched, walt, cache, node):
    """As long as it is, with the operating system's reason."""
    ours = watched(cache=cache.path)
    assert node(ours).boot().booted
    os.rename(cache.path, cache.path + "-away")
    ours.expect_log("can't open the folder.*images are relayed")
    walt.set_image(image="another")
    assert node(ours).boot().booted
    (labels, value), = metrics.scrape(ours).rows("walt_vpn_cache_degraded")
    assert labels["reason"] == "No such file or directory" and value == 1
    os.rename(cache.path + "-away", cache.path)
    assert node(ours).boot().booted
    wait_until(lambda: metrics.scrape(ours).rows("walt_vpn_cache_degraded")[0][1] == 0, what="a folder that serves again")
    assert metrics.scrape(ours).rows("walt_vpn_cache_degraded")[0][0]["reason"] == ""
