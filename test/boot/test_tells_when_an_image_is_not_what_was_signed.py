"""A stale signature: boot.img was changed on the WalT server, and boot.sig was left. No node boots that; it is said what to do."""

import pytest

import metrics
from boot_client import Outcome
from fetches import fetched
from fleet import Fleet
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 1 << 20
WORDS = r"boot.img on the WalT server is not the file that its boot.sig vouches for \(digest [0-9a-f]{12}, signed [0-9a-f]{12}\); " \
        "remove boot.sig there and set the image up again"


def test_is_said_and_not_fetched_again_and_again(entrypoint, cache, walt, node):
    """Two whole fetches agree; then nodes get 404 at once, for a minute."""
    httpd = entrypoint(cache=cache.path, vhost=metrics.LOCATION)
    httpd.tolerate_log("ended short|" + WORDS)
    walt.fault("boot.img", "flip", at_byte=MIB // 2, times=None)
    assert node(httpd).boot().outcome is Outcome.HTTP_ERROR
    assert {boot.outcome for boot in Fleet(httpd, 5).boots()} == {Outcome.HTTP_ERROR}
    httpd.await_log(WORDS)      # the first node may be gone before the second fetch ends
    assert fetched(walt) == 2
    assert metrics.scrape(httpd).sum("walt_vpn_digest_mismatches_total") == 2
    assert cache.names() == [] or all(name.startswith("boots.") for name in cache.names())


def test_another_image_is_fetched_at_once(entrypoint, cache, walt, node):
    """Set up again, its boot.sig has another digest."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("ended short|" + WORDS)
    walt.fault("boot.img", "flip", at_byte=MIB // 2, times=2)
    assert node(httpd).boot().outcome is Outcome.HTTP_ERROR
    digest = walt.set_image(image="set up again")
    boot = node(httpd).boot()
    assert boot.booted and boot.image_sha256 == digest
