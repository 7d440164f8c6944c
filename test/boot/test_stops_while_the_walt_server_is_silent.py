"""An httpd that is told to end ends at once, although the WalT server is silent in the middle of an image."""

import pytest

import wire
from fetches import HALF, await_fetch
from processes import wait_until
from stand_in import VERSIONS


@pytest.mark.parametrize("mpm", ["event", "worker"])
@pytest.mark.walt_versions(*VERSIONS)
def test_fetch_is_silent(mpm, entrypoint, cache, walt):
    """httpd writes AH00045 into its error log when a child does not end, which no test tolerates."""
    httpd = entrypoint(cache=cache.path, mpm=mpm)
    httpd.tolerate_log("proxy_http:error|ended short")
    walt.fault("boot.img", "silence", at_byte=HALF)
    with httpd.connect() as node:
        node.send(wire.request("/walt-vpn/per-ip/192-168-152-7/boot.img", httpd.server_name))
        await_fetch(walt)
        httpd.stop()
    assert len(cache.parts()) == 1 and not cache.images()


@pytest.mark.parametrize("mpm", ["event", "worker"])
@pytest.mark.walt_versions(*VERSIONS)
def test_question_is_silent(mpm, entrypoint, walt):
    """So for boot.sig."""
    httpd = entrypoint(mpm=mpm)
    httpd.tolerate_log("proxy_http:error|was answered with 502")
    walt.fault("boot.sig", "silence", at_byte=0)
    with httpd.connect() as node:
        node.send(wire.request("/walt-vpn/per-ip/192-168-152-7/boot.sig", httpd.server_name))
        wait_until(lambda: walt.requests("boot.sig"), what="the question")
        httpd.stop()
