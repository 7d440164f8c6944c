"""The image of a node changes at the WalT server at the worst moments: it boots the one it was vouched for, or starts over."""

import pytest

import wire
from boot_client import Outcome
from fetches import fetched
from fleet import Fleet
from processes import wait_until
from stand_in import RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 1 << 20
HALF = MIB // 2
PLACE = "/walt-vpn/per-ip/192-168-152-7/"


class Changing:
    """A node whose image changes when it has come so far."""

    def __init__(self, client, walt, when, image):
        self.client = client
        download = client.download

        def changing(name, boot):
            if name == when:
                walt.set_image(client.node, image)
            return download(name, boot)

        client.download = changing


def test_between_boot_sig_and_boot_img(entrypoint, cache, walt, node):
    """The node holds the old signature and gets the new image, which it refuses; its next boot succeeds."""
    httpd = entrypoint(cache=cache.path)
    client = node(httpd)
    Changing(client, walt, "boot.img", "new")
    boot = client.boot()
    assert boot.outcome is Outcome.CORRUPT
    boot = node(httpd).boot()
    assert boot.booted
    assert fetched(walt) == 1, "the old image was never needed"


def test_during_a_fetch(entrypoint, cache, walt):
    """The image that is on its way is still the one that its signature vouched for, and is kept under its own digest."""
    httpd = entrypoint(cache=cache.path)
    old = walt.set_image("*", "old")
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1.5)
    fleet = Fleet(httpd, 3)
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")] == [HALF], what="half an image")
    wait_until(lambda: [request.finished for request in walt.requests("boot.sig")] == 6 * [True], what="those who wait for it")
    new = walt.set_image("*", "new")
    later = Fleet(httpd, 3, first=10)
    assert all(boot.booted and boot.image_sha256 == new for boot in later.boots())
    assert all(boot.booted and boot.image_sha256 == old for boot in fleet.boots())
    assert cache.images() == sorted([old, new]) and fetched(walt) == 2


def test_before_the_fetch_is_answered(entrypoint, cache, walt, node):
    """The signature that we are given is not the one that the node was given: asked again, before anything is fetched."""
    httpd = entrypoint(cache=cache.path)
    new = walt.set_image("*", "new")
    assert httpd.get(PLACE + "boot.sig").status == 200
    walt.fault("boot.sig", "wrong-digest")
    reply = httpd.get(PLACE + "boot.img")
    assert reply.status == 200 and reply.header("ETag") == '"%s"' % new
    assert cache.images() == [new] and fetched(walt) == 1


@pytest.mark.walt_versions(RELEASED)     # of the coming one: test_asks_once_where_boot_sig_is_a_file.py
def test_resume_across_a_change(entrypoint, cache, walt, node):
    """The rest of another image would not fit: the node is told so at once, and boots the new one when it starts over."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("its image has changed since it began")
    client = node(httpd, lost_links={"boot.img": [HALF]})
    fetch = client.fetch

    def change_then_fetch(file, resuming, boot):
        if resuming:
            walt.set_image(client.node, "new")
        return fetch(file, resuming, boot)

    client.fetch = change_then_fetch
    boot = client.boot()
    assert boot.outcome is Outcome.HTTP_ERROR and boot.bytes < MIB
    assert node(httpd).boot().booted


def test_back_and_forth(entrypoint, cache, walt, node):
    """An image that comes back is still there."""
    httpd = entrypoint(cache=cache.path)
    for image in ("a", "b", "a", "b"):
        digest = walt.set_image("*", image)
        boot = node(httpd).boot()
        assert boot.booted and boot.image_sha256 == digest
    assert fetched(walt) == 2


def test_conditional_on_the_old_image(entrypoint, cache, walt, node):
    """A client that says which image it began with (If-Range) gets the new one from its start."""
    httpd = entrypoint(cache=cache.path)
    old = walt.set_image("*", "old")
    assert node(httpd).boot().booted
    headers = [("Range", "bytes=1000-"), ("If-Range", '"%s"' % old)]
    assert httpd.get(PLACE + "boot.img", headers=headers).status == 206
    walt.set_image("*", "new")
    reply = wire.exchange(httpd.port, wire.request(PLACE + "boot.img", httpd.server_name, headers=headers))
    assert reply.status == 200 and len(reply.body) == MIB
