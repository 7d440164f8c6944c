"""An image that is relayed is compared with its signature as it passes: one that is another is not completed; and of what was not
compared no digest is told."""

import pytest

import metrics
import status_page
from boot_client import Outcome
from stand_in import RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 1 << 20
HALF = MIB // 2
WORDS = r"boot.img on the WalT server is not the file that its boot.sig vouches for \(digest [0-9a-f]{12}, signed [0-9a-f]{12}\); " \
        "remove boot.sig there and set the image up again"


@pytest.fixture
def relaying(entrypoint):
    """An entrypoint without a folder, with both pages."""
    return entrypoint(vhost=status_page.LOCATION + "\n" + metrics.LOCATION, modules=status_page.MODULES)


def test_a_wrong_image(relaying, walt, node):
    """The connection is reset before its end; who comes back for the rest starts over; log, page and metric say it."""
    relaying.tolerate_log(WORDS)
    walt.fault("boot.img", "flip", at_byte=HALF, times=None)
    boot = node(relaying).boot()
    assert boot.outcome is Outcome.HTTP_ERROR and boot.bytes < MIB, boot
    assert len(walt.requests("boot.img")) == 1, "the rest was not even asked for"
    relaying.await_log(r"node 192.168.152.7 .*ended short, after \d+ of %d bytes: %s" % (MIB, WORDS))
    page = status_page.await_page(relaying, lambda page: page.counts["Nodes that fail"] == 1, "a node that fails")
    assert "not the file that its boot.sig vouches for" in str(page.tables["Nodes that fail"])
    assert metrics.scrape(relaying).sum("walt_vpn_digest_mismatches_total") == 1
    assert "has image" not in relaying.error_log
    walt.heal()
    assert node(relaying).boot().booted


def test_a_small_wrong_image(relaying, walt, node):
    """One that is held until it is whole becomes a 404."""
    walt.fault("boot.img", "raw", times=None, reply="HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    boot = node(relaying).boot()
    assert boot.outcome is Outcome.HTTP_ERROR and boot.resumes == 0
    relaying.expect_log("boot.img was answered with 404: " + WORDS)


def test_the_right_one(relaying, walt, node):
    assert node(relaying).boot().booted
    relaying.await_log("has image [0-9a-f]{12}: .*relayed")


@pytest.mark.walt_versions(RELEASED)
def test_a_wrong_image_that_is_resumed(relaying, walt, node):
    """The released version sends all of it again, so that all of it passes."""
    relaying.tolerate_log("ended short")
    walt.fault("boot.img", "flip", at_byte=HALF + 1000, times=None)
    boot = node(relaying, lost_links={"boot.img": [HALF]}).boot()
    assert boot.outcome is Outcome.HTTP_ERROR and boot.bytes < MIB, boot
    relaying.await_log(WORDS)


def test_what_was_not_compared(relaying, node):
    """What a node holds that resumes came in another reply: nobody has computed the digest of both."""
    relaying.tolerate_log("ended short")
    assert node(relaying, lost_links={"boot.img": [HALF]}).boot().booted
    relaying.await_log(r"has image unverified: %d bytes .* 1 resume, relayed" % MIB)
    assert metrics.scrape(relaying, "?nodes=9").sum("walt_vpn_node_last_boot_timestamp_seconds", image="") > 0
    page = status_page.await_page(relaying, lambda page: page.counts["Last boots"] == 1, "a boot")
    assert page.tables["Last boots"][0]["Image"] == ""


def test_an_image_for_which_the_folder_has_no_room(entrypoint, walt, cache, node):
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1000K")
    httpd.tolerate_log("is relayed|boot.img")
    walt.fault("boot.img", "flip", at_byte=HALF, times=None)
    boot = node(httpd).boot()
    assert not boot.booted and boot.outcome is Outcome.HTTP_ERROR and boot.bytes < MIB
    httpd.await_log(WORDS)
