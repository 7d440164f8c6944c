"""A link to the WalT server that breaks more often than an image takes: the fetch goes on where it was, and nodes boot."""

import types

import pytest

import wire
from boot_files import image_digest, image_pieces
from fetches import HALF, fetched
from fleet import Fleet
from link import Link
from proxies import WaltVpn
from stand_in import COMING

pytestmark = pytest.mark.walt_versions(COMING)

MIB = 1 << 20
PIECE = 150 * 1024      # bytes that come through before the link breaks
MPMS = ["event", "worker", "prefork"]


@pytest.fixture
def breaking(httpds, walt, cache):
    """breaking(...): an entrypoint whose way to the WalT server is reset behind each PIECE of boot.img; and that way."""
    links = []

    def make(**options):
        link = Link(int(walt.location.rpartition(":")[2]))
        links.append(link)
        link.cut("boot.img", PIECE, times=10000)
        made = httpds(WaltVpn, types.SimpleNamespace(location="127.0.0.1:%d" % link.port), **dict({"cache": cache.path}, **options))
        made.tolerate_log("proxy")
        return made.start(), link
    yield make
    for link in links:
        link.__exit__()


@pytest.mark.parametrize("mpm", MPMS)
def test_nodes_see_a_pause(mpm, breaking, cache, walt):
    """However many times it breaks, no node resumes, and no byte crosses twice but those that a reset loses on the way."""
    httpd, link = breaking(mpm=mpm)
    boots = Fleet(httpd, 5 if mpm != "prefork" else 3).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) > MIB // PIECE
    assert sum(one.replied for one in link.asked("boot.img")) < 1.6 * MIB, "from the start each time it would be four times as much"
    assert len(cache.images()) == 1 and cache.parts() == []


def test_asks_for_the_rest_alone(breaking, walt, node):
    """With the validator that it has, from the byte behind the last."""
    httpd, _ = breaking()
    assert node(httpd).boot().booted
    asked = walt.requests("boot.img")
    assert asked[0].header("Range") is None and asked[0].header("If-Range") is None
    starts = [int(request.header("Range")[len("bytes="):-1]) for request in asked[1:]]
    assert starts == sorted(starts) and starts[0] > 0 and len(set(starts)) == len(starts)
    assert {request.header("If-Range") for request in asked[1:]} != {None}


def test_a_chain_of_two(breaking, entrypoint, httpds, walt, folder, node):
    """The outer entrypoint, behind the link that breaks, in front of one that has a folder."""
    inner = entrypoint(cache=folder + "/inner", vhost="ServerAlias 127.0.0.1")
    with Link(inner.port) as link:
        link.cut("boot.img", PIECE, times=10000)
        outer = httpds(WaltVpn, types.SimpleNamespace(location="127.0.0.1:%d" % link.port), cache=folder + "/outer")
        outer.tolerate_log("proxy")
        inner.tolerate_log("ended short")
        assert node(outer.start()).boot().booted
        assert len(link.asked("boot.img")) > MIB // PIECE
    assert fetched(walt) == 1


def test_what_has_changed_meanwhile(breaking, walt, node):
    """A 206 of another file than before is not gone on with, although the WalT server gives it in spite of If-Range."""
    httpd, _ = breaking(vhost="Timeout 20")
    httpd.tolerate_log("ended short|answered with 404")
    walt.rate(MIB // 2)
    fleet = Fleet(httpd, 1)
    while not walt.requests("boot.img"):
        pass
    new = walt.set_image(image="new")
    boots = fleet.boots()
    assert boots[0].booted or boots[0].outcome.name == "HTTP_ERROR", boots
    walt.rate(None)
    assert node(httpd).boot().image_sha256 == new


HEAD = "HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"


@pytest.mark.parametrize("length, lines, is_right", [
    (HALF, "Content-Range: bytes %d-%d/%d\r\n" % (HALF, MIB - 1, MIB), True),
    (HALF, "Content-Range: bytes %d-%d/%d\r\n" % (HALF - 1, MIB - 2, MIB - 1), False),
    (HALF + 1, "Content-Range: bytes %d-%d/%d\r\n" % (HALF - 1, MIB - 1, MIB), False),
    (HALF, "Content-Range: bytes %d-%d/%d\r\n" % (HALF, MIB - 2, MIB), False),
    (HALF - 1, "Content-Range: bytes %d-%d/%d\r\n" % (HALF, MIB - 1, MIB), False),
    (HALF + 1, "Content-Range: bytes %d-%d/%d\r\n" % (HALF, MIB, MIB + 1), False),
    (HALF, "Content-Range: bytes %d-%d/*\r\n" % (HALF, MIB - 1), False),
    (HALF, "", False),
    (HALF, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Range: bytes %d-%d/%d\r\n" % (HALF, MIB - 1, MIB), False)],
    ids=["right", "other rest", "other start", "no end", "other length", "other size", "no size", "nothing said", "other file"])
def test_what_is_not_the_rest(length, lines, is_right, entrypoint, cache, walt, node):
    """Nothing of a 206 that is not what was asked for is in the file: the next question is for all of it. (It breaks off behind
    one byte.)"""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("proxy")
    walt.fault("boot.img", "fin", at_byte=HALF)
    byte = image_pieces("default", 1)[0][HALF:HALF + 1].decode("latin-1")
    walt.fault("boot.img", "raw", reply=HEAD % (length, lines) + byte)
    assert node(httpd).boot().booted
    asked = [request.header("Range") for request in walt.requests("boot.img")]
    assert asked == [None, "bytes=%d-" % HALF, "bytes=%d-" % (HALF + 1) if is_right else None]


def test_without_a_folder(breaking, walt):
    """A relay is reset, and the rest of it is asked for by the node."""
    httpd, _ = breaking(cache="")
    httpd.tolerate_log("ended short")
    boot, = Fleet(httpd, 1).boots()
    assert boot.booted and boot.resumes >= MIB // PIECE, boot
    assert boot.image_sha256 == image_digest("default", 1)


def test_one_that_reads_nothing_keeps_no_other(entrypoint, cache, walt):
    """Whatever httpd does with files: without sendfile, it would wait for that node."""
    walt.set_image(mib=8)
    httpd = entrypoint(cache=cache.path, server="EnableSendfile Off")
    httpd.tolerate_log("ended short")
    walt.rate(8 * MIB)
    with httpd.connect(timeout=5) as sleeper:
        sleeper.send(wire.request("/walt-vpn/per-ip/192-168-152-99/boot.img", httpd.server_name))
        boots = Fleet(httpd, 6).boots(20)
        assert all(boot.booted and not boot.resumes and boot.seconds < 8 for boot in boots), boots
        assert sleeper.reply().body == b"".join(image_pieces("default", 8))
