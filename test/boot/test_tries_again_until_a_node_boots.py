"""A WalT server that fails once or twice costs a node nothing; one that goes on failing, a quick and clear answer."""

import time

import pytest

import proxies
from boot_client import Outcome
from fetches import fetched
from fleet import Fleet
from stand_in import COMING, RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

HALF = 1 << 19
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"



@pytest.fixture
def hasty(entrypoint, cache, walt):
    """An entrypoint with a cache, soon impatient with the WalT server, whose failures may be in its log."""
    httpd = entrypoint(cache=cache.path, vhost=proxies.hasty(walt.location))
    httpd.tolerate_log("proxy")
    httpd.tolerate_log("boot.(img|sig) was answered with 50[234]")
    return httpd


FAULTS = [
    ("boot.img", "fin", None, {}, "closed before a status line"),
    ("boot.img", "fin", 0, {}, "closed after the headers"),
    ("boot.img", "fin", HALF, {}, "closed half-way"),
    ("boot.img", "fin", 2 * HALF - 1, {}, "closed before the last byte"),
    ("boot.img", "rst", 0, {}, "reset after the headers"),
    ("boot.img", "rst", HALF, {}, "reset half-way"),
    ("boot.img", "silence", None, {}, "silent from the start"),
    ("boot.img", "silence", HALF, {}, "silent half-way"),
    ("boot.img", "status", None, {"status": 500}, "an error"),
    ("boot.img", "status", None, {"status": 404}, "not there, for a moment"),
    ("boot.img", "raw", None, {"reply": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, "an empty file"),
    ("boot.img", "raw", None, {"reply": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}, "another file"),
    ("boot.img", "raw", None, {"reply": "HTTP/1.1 206 OK\r\nContent-Length: 5\r\n\r\nhello"}, "a piece"),
    ("boot.img", "raw", None, {"reply": "Gopher!\r\n"}, "not HTTP"),
    ("boot.sig", "fin", None, {}, "boot.sig closed before a status line"),
    ("boot.sig", "rst", 300, {}, "boot.sig reset half-way"),
    ("boot.sig", "silence", 300, {}, "boot.sig silent half-way"),
    ("boot.sig", "wrong-digest", None, {}, "boot.sig vouches for another image, to us alone"),
]


# Twice the same wrong image is what the WalT server has: test_tells_when_an_image_is_not_what_was_signed.py.
ONCE_ONLY = ("another file",)


@pytest.mark.parametrize("times, path, kind, at_byte, how, reason", [
    (times, *row) for row in FAULTS for times in (1, 2) if times == 1 or row[-1] not in ONCE_ONLY], ids=lambda value: str(value)[:40])
def test_failing(times, path, kind, at_byte, how, reason, hasty, cache, walt, node, walt_version):
    """Once or twice: the node boots without noticing, and what came wrong is not kept."""
    if path == "boot.img":
        walt.fault(path, kind, at_byte=at_byte, times=times, **how)
        boot = node(hasty).boot()
        assert boot.booted and boot.resumes == 0, boot
        assert fetched(walt) == times + 1 or (walt_version == COMING and at_byte and fetched(walt) <= times + 1)
    else:
        # The node's own boot.sig first: what is broken is the one that we ask for to judge its image.
        assert hasty.get(IMG.replace("img", "sig")).status == 200
        walt.fault(path, kind, at_byte=at_byte, times=times, **how)
        reply = hasty.get(IMG)
        assert reply.status == 200 and len(reply.body) == 2 * HALF
    assert len(cache.images()) == 1 and cache.parts() == []


def test_a_wrong_bit_in_the_last_byte(hasty, cache, walt, node):
    """The image is fetched again. A node that was sent bytes before the last one came starts over, and boots."""
    hasty.tolerate_log("ended short|answered with 404")
    walt.fault("boot.img", "flip", at_byte=2 * HALF - 1)
    boot = node(hasty).boot()
    if boot.bytes < 2 * HALF:
        assert boot.outcome == Outcome.HTTP_ERROR and boot.resumes == 1, boot
        boot = node(hasty).boot()
    assert boot.booted and boot.resumes == 0, boot
    assert fetched(walt) == 2
    assert len(cache.images()) == 1 and cache.parts() == []


@pytest.mark.parametrize("kind, at_byte, seconds", [
    ("fin", 0, 2), ("rst", 0, 2), ("silence", 0, 6), ("silence", None, 6)])
@pytest.mark.thorough
def test_failing_for_ever(kind, at_byte, seconds, hasty, cache, walt, node):
    """Three tries, then 502 if nothing was sent by then: fast, and nothing is left in the folder."""
    walt.fault("boot.img", kind, at_byte=at_byte, times=None)
    began = time.monotonic()
    reply = hasty.get(IMG)
    assert reply.status == 502
    assert reply.header("Content-Length") == str(len(reply.body)) and len(reply.body) < 100
    assert time.monotonic() - began < seconds + 15
    assert fetched(walt) == 3
    assert cache.names() == []
    walt.heal()
    assert node(hasty).boot().booted


@pytest.mark.parametrize("kind, seconds", [("fin", 2), ("rst", 2), ("silence", 6)])
@pytest.mark.thorough
@pytest.mark.walt_versions(RELEASED)
def test_failing_half_way_for_ever(kind, seconds, hasty, cache, walt, node):
    """Three tries, then a reset. What came stays in the folder; the node's next boot goes on with it."""
    hasty.tolerate_log("ended short|boot.img was answered with 404")
    walt.fault("boot.img", kind, at_byte=HALF, times=None)
    began = time.monotonic()
    boot = node(hasty).boot()
    assert boot.outcome in (Outcome.HTTP_ERROR, Outcome.GAVE_UP) and boot.bytes < 2 * HALF, boot
    assert time.monotonic() - began < 3 * seconds + 15
    assert cache.images() == [] and len(cache.parts()) == 1
    walt.heal()
    assert node(hasty).boot().booted


def test_fleet_behind_a_failing_server(hasty, cache, walt):
    """All who waited for a fetch that failed try again, with one fetch at a time."""
    walt.rate(4 << 20)
    walt.fault("boot.img", "rst", at_byte=HALF, times=2)
    assert all(boot.booted for boot in Fleet(hasty, 12).boots())
    assert fetched(walt) in (2, 3)


def test_down(hasty, walt, cache, node):
    """No connection: 503 at once, without a second try; nodes boot as soon as it is up."""
    walt.down()
    assert hasty.get(IMG).status == 503
    assert hasty.error_log.count("AH00957") == 1, "attempts to connect"
    walt.up()
    assert node(hasty).boot().booted


def test_down_with_the_image_in_the_cache(hasty, walt, cache, node):
    """What nobody vouches for now is not sent, though it is there."""
    assert node(hasty).boot().booted
    walt.down()
    assert hasty.get(IMG).status == 503
    walt.up()
    assert node(hasty).boot().booted
    assert fetched(walt) == 1


@pytest.mark.walt_versions(RELEASED)     # it takes long
@pytest.mark.thorough
def test_stalled_for_less_than_the_nodes_patience(entrypoint, cache, walt, node):
    """The generated worker: a reply that stalls is given up after 20 s, so that a second try ends before the node's 50."""
    httpd = entrypoint(cache=cache.path)
    httpd.expect_log("AH01110|AH01102")
    walt.fault("boot.img", "silence", at_byte=HALF)
    boot = node(httpd).boot()
    assert boot.booted and boot.resumes == 0
    assert 19 < boot.seconds < 30


TWO_NODES = {"192.168.152.7": "seven", "192.168.152.8": "eight"}


@pytest.mark.walt_versions(RELEASED)     # the coming one's files never are
@pytest.mark.parametrize("path, reason", [
    ("boot.img", "node 7's digest, node 8's image"),
    ("boot.sig", "node 8's digest, node 7's image"),
    ("boot", "node 8's digest, then the image of whoever asked last"),
])
def test_one_behind(path, reason, hasty, cache, walt, node):
    """Another node's file never gets into the cache under a wrong name, nor to a node as what it is not."""
    digests = {ip: walt.set_image(ip, name) for ip, name in TWO_NODES.items()}
    hasty.get("/walt-vpn/per-ip/192-168-152-8/boot.sig")
    walt.fault(path, "behind", times=None)
    for _ in range(4):
        for ip in TWO_NODES:
            boot = node(hasty, ip).boot()
            # A signed boot.sig of another node and its image fit together: nobody on the way can tell.
            assert boot.outcome in (Outcome.BOOTED, Outcome.CORRUPT, Outcome.RESTARTS), boot
    walt.heal()
    for ip in TWO_NODES:
        boot = node(hasty, ip).boot()
        assert boot.booted and boot.image_sha256 == digests[ip]
    assert sorted(cache.images()) == sorted(digests.values())


@pytest.mark.parametrize("kind, how, status, reason", [
    ("no-digest", {}, 200, "a boot.sig without a digest"),
    ("status", {"status": 404}, 200, "no boot.sig for this node"),
    ("status", {"status": 500}, 200, "an error"),
    ("raw", {"reply": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, 200, "an empty one"),
    ("raw", {"reply": "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + 64 * "a"}, 200, "digits that never end"),
    ("raw", {"reply": "HTTP/1.1 200 OK\r\nContent-Length: 66\r\n\r\n" + 64 * "g" + "\n\n"}, 200, "not digits"),
])
def test_relayed_without_a_digest(kind, how, status, reason, hasty, cache, walt):
    """Nothing vouches for the image, so it is relayed as without a cache, and not kept."""
    walt.fault("boot.sig", kind, times=None, **how)
    for number in (1, 2):
        reply = hasty.get(IMG)
        assert reply.status == status and len(reply.body) == 2 * HALF
        assert fetched(walt) == number
    assert cache.names() == []


def test_boot_sig_is_the_servers(hasty, cache, walt, node):
    """boot.sig itself is passed on as it is, and never from the cache."""
    first = node(hasty).boot()
    walt.set_image("*", "another")
    second = node(hasty).boot()
    assert first.booted and second.booted and first.image_sha256 != second.image_sha256
