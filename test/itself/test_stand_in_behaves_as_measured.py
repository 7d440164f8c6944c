"""The stand-in WalT server answers as either version of the real one was seen to, and breaks as it is told."""

import contextlib
import email.utils
import hashlib
import time

import pytest

import processes
import wire
from boot_client import BootClient, Outcome
from boot_files import MIB, image_digest, image_pieces
from stand_in import COMING, RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)
of_the_released = pytest.mark.walt_versions(RELEASED)
of_the_coming = pytest.mark.walt_versions(COMING)

NODE = "/walt-vpn/per-ip/192-168-152-7/"


def ask(walt, path, **options):
    return wire.exchange(walt.port, wire.request(path, "walt.example.org", **options))


def test_server(walt):
    for method, body in (("GET", b"walt.example.org\n"), ("HEAD", b"")):
        reply = ask(walt, "/walt-vpn/server", method=method)
        assert (reply.status, reply.body, reply.header("Content-Length")) == (200, body, "17")
        assert reply.header("Content-Type").startswith("text/html")


def test_boot_sig_vouches_for_boot_img(walt):
    sig = ask(walt, NODE + "boot.sig")
    image = ask(walt, NODE + "boot.img")
    assert len(sig.body) == int(sig.header("Content-Length")) == 602
    first, second, third = sig.body.decode().splitlines()
    assert first == hashlib.sha256(image.body).hexdigest() == image_digest("default", 1)
    assert second.startswith("ts: ") and third.startswith("rsa2048: ") and len(bytes.fromhex(third[9:])) == 256


@of_the_released
def test_cache_of_signatures_is_no_lock(walt):
    """Each boot.sig that is asked for before the first one is done is computed too, in memory of its own; then none is."""
    digest = walt.set_image(image="new to it", mib=24)
    assert walt.signatures() == (0, 0, 0)
    walt.hold_signatures()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(wire.Wire(walt.port)) for _ in range(4)]
        for connection in connections:
            connection.send(wire.request(NODE + "boot.sig", "walt.example.org"))
        processes.wait_until(lambda: walt.signatures().at_once == 4, what="four at once")
        processes.wait_until(lambda: walt.signatures().peak_kib > 4 * 24 * 1024, what="memory of four")
        walt.release_signatures()
        for connection in connections:
            assert connection.rest().body.startswith(digest.encode())
    for _ in range(2):
        assert ask(walt, NODE + "boot.sig").body.startswith(digest.encode())
    assert walt.signatures()[:2] == (4, 4)
    walt.clear()
    assert walt.signatures() == (0, 0, 0)


@of_the_released
def test_signature_takes_the_whole_image_into_memory_once(walt):
    walt.set_image(image="new and large", mib=48)
    ask(walt, NODE + "boot.sig")
    computed, at_once, peak_kib = walt.signatures()
    assert (computed, at_once) == (1, 1)
    assert 48 * 1024 < peak_kib < 2 * 48 * 1024


@of_the_released
def test_signature_of_another_image_is_another_computation(walt):
    digests = [walt.set_image(ip, "of " + ip, 1) for ip in ("10.0.0.11", "10.0.0.12")]
    for _ in range(2):
        for number, digest in zip((11, 12), digests):
            assert ask(walt, "/walt-vpn/per-ip/10-0-0-%d/boot.sig" % number).body.startswith(digest.encode())
    assert walt.signatures().computed == 2
    assert walt.signatures().at_once == 1


def names(reply):
    return sorted(name for name, _ in reply.headers)


@of_the_released
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_released_boot_files_have_a_length_and_nothing_to_resume_by(walt, method):
    for name, size in (("boot.img", MIB), ("boot.sig", 602)):
        reply = ask(walt, NODE + name, method=method)
        assert (reply.status, len(reply.body)) == (200, size if method == "GET" else 0)
        assert names(reply) == ["Content-Length", "Content-Type", "Date"] and reply.header("Content-Length") == str(size)
        assert reply.header("Content-Type") == "text/html; charset=UTF-8"


@of_the_coming
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_coming_boot_files_are_files(walt, method):
    """With all that bottle 0.12 says of one: no ETag."""
    for name, size, kind in (("boot.img", MIB, "text/html; charset=UTF-8"), ("boot.sig", 602, "application/pgp-signature")):
        reply = ask(walt, NODE + name, method=method)
        assert (reply.status, len(reply.body)) == (200, size if method == "GET" else 0)
        assert names(reply) == ["Accept-Ranges", "Content-Length", "Content-Type", "Date", "Last-Modified"]
        assert (reply.header("Content-Length"), reply.header("Content-Type")) == (str(size), kind)
        assert reply.header("Accept-Ranges") == "bytes"


@of_the_coming
def test_coming_files_tell_when_they_were_made(walt):
    """boot.sig after boot.img; a file of another image at another time; and all of it some time ago."""
    def made(name):
        return email.utils.parsedate_to_datetime(ask(walt, NODE + name).header("Last-Modified")).timestamp()
    image, signature = made("boot.img"), made("boot.sig")
    assert image < signature < time.time()
    assert made("boot.img") == image
    walt.set_image(image="another")
    assert made("boot.img") != image


# What is asked for, and what the coming version sends of a file of 1 MiB: None for nothing.
RANGES = [("bytes=1000-", (1000, MIB - 1)), ("bytes=0-9", (0, 9)), ("bytes=-5", (MIB - 5, MIB - 1)), ("bytes=5-9,20-29", (5, 9)),
          ("bytes=%d-" % MIB, None), ("bytes=x", None)]


@pytest.mark.parametrize("asked, sent", RANGES, ids=[asked for asked, _ in RANGES])
def test_ranges(walt, walt_version, asked, sent):
    """The coming version sends the first one; the released one knows none."""
    whole = image_pieces("default", 1)[0]
    reply = ask(walt, NODE + "boot.img", headers=[("Range", asked)])
    if walt_version == RELEASED:
        assert (reply.status, reply.body, reply.values("Content-Range")) == (200, whole, [])
    elif sent:
        assert (reply.status, reply.body) == (206, whole[sent[0]:sent[1] + 1])
        assert reply.header("Content-Range") == "bytes %d-%d/%d" % (*sent, MIB)
    else:
        assert reply.status == 416 and reply.values("Content-Range") == []


@pytest.mark.parametrize("condition", ['"another"', "Sat, 01 Jan 2000 00:00:00 GMT"])
def test_if_range_is_ignored(walt, walt_version, condition):
    reply = ask(walt, NODE + "boot.img", headers=[("Range", "bytes=1000-"), ("If-Range", condition)])
    assert (reply.status, len(reply.body)) == ((200, MIB) if walt_version == RELEASED else (206, MIB - 1000))


def test_if_modified_since(walt, walt_version):
    made = ask(walt, NODE + "boot.img").values("Last-Modified")
    assert len(made) == (walt_version == COMING)
    for since, modified in ((made or ["Sat, 01 Jan 2022 00:00:00 GMT"], False), (["Sat, 01 Jan 2000 00:00:00 GMT"], True)):
        reply = ask(walt, NODE + "boot.img", headers=[("If-Modified-Since", since[0])])
        assert reply.status == (200 if walt_version == RELEASED or modified else 304)


def test_boot_sig_of_an_image_that_was_overwritten(walt, walt_version, node):
    """The coming version has made it when the image was set up, and leaves it alone."""
    before = ask(walt, NODE + "boot.sig").body
    digest = walt.overwrite_image(image="overwritten", mib=1)
    after = ask(walt, NODE + "boot.sig").body
    assert (after == before) == (walt_version == COMING)
    assert hashlib.sha256(ask(walt, NODE + "boot.img").body).hexdigest() == digest
    assert node(walt).boot().outcome is (Outcome.CORRUPT if walt_version == COMING else Outcome.BOOTED)
    walt.set_image(image="overwritten", mib=1)
    assert node(walt).boot().booted


def test_one_node_s_image_is_overwritten(walt, node):
    digest = walt.overwrite_image("192.168.152.7", "of one", 1)
    assert ask(walt, NODE + "boot.img").body == b"".join(image_pieces("of one", 1))
    assert node(walt, "192.168.152.8").boot().image_sha256 != digest


def test_errors(walt):
    reply = ask(walt, NODE + "other")
    assert reply.status == 404 and 650 < len(reply.body) < 850
    assert ask(walt, "/walt-vpn/server", method="PUT").status == 405
    assert ask(walt, "/walt-vpn/per-ip/192-168-152-7").status == 500


@pytest.mark.parametrize("path", [NODE + "caf%C3", "/walt-vpn/per-ip/192-168-152-%80/boot.img"])
def test_bytes_that_are_no_text(walt, path):
    assert ask(walt, path).status == 400


def test_without_its_daemon(walt, walt_version):
    """The folder of a node is the daemon's work."""
    walt.end_daemon()
    for name in ("boot.sig", "boot.img", "other"):
        assert ask(walt, NODE + name).status == (500 if walt_version == RELEASED else 404)
    assert ask(walt, "/walt-vpn/node-conf/boot-mode").status == 500
    assert ask(walt, "/walt-vpn/server").status == 200
    walt.clear()
    assert ask(walt, NODE + "boot.sig").status == 200


def enrolment(size):
    return (b"--limit\r\nContent-Disposition: form-data; name=\"ssh-pubkey\"; filename=\"key.pub\"\r\n\r\n"
            + b"k" * size + b"\r\n--limit--\r\n")


FORM = ("Content-Type", "multipart/form-data; boundary=limit")


def test_enroll(walt):
    assert ask(walt, "/walt-vpn/enroll", method="POST", headers=[FORM], body=enrolment(400)).status == 200
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(enrolment(400)), enrolment(400))
    assert ask(walt, "/walt-vpn/enroll", method="POST", headers=[FORM, ("Transfer-Encoding", "chunked")], body=chunked).status == 400


@pytest.mark.parametrize("path, kind, status", [
    (NODE, "directory", 403),
    (NODE + ".", "directory", 403),
    (NODE + "/", "directory", 403),
    (NODE + "overlays", "directory", 404),
    (NODE + "../../etc/passwd", "traversal", 403),
    (NODE + "%2e%2e/secret", "traversal", 403),
    (NODE + "..%2fsecret", "traversal", 403),
    ("/walt-vpn/node-conf/x?fake_requester_ip=192.168.152.7", "impersonation", None),
    ("/walt-vpn/node-conf/x?%66ake_requester_ip=192.168.152.7", "impersonation", None),
])
def test_danger_is_noted(walt, walt_version, path, kind, status):
    """status: with which the coming version refuses what harms the released one."""
    walt.expect_danger(kind)
    reply = ask(walt, path)
    if walt_version == COMING and status:
        assert (reply.status, walt.dangers()) == (status, [])
    else:
        assert walt.dangers() == [{"kind": kind, "target": path}]
        assert bool(walt.fatal_events()) == (kind == "directory")


def test_an_enroll_key_of_100_kib_ends_the_daemon(walt):
    walt.expect_danger("enroll-key")
    ask(walt, "/walt-vpn/enroll", method="POST", headers=[FORM], body=enrolment(100 * 1024))
    assert len(walt.fatal_events()) == 1


def test_requests_are_recorded_byte_for_byte(walt):
    raw = b"POST /walt-vpn/x%2Fy?a=%41&&b HTTP/1.1\r\nHOST: a\r\nx-Two:  1\r\nX-two: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    wire.exchange(walt.port, raw)
    request, = walt.requests()
    assert request.raw == raw
    assert (request.method, request.target, request.body, request.status) == ("POST", "/walt-vpn/x%2Fy?a=%41&&b", b"abc", 404)
    assert request.headers[:3] == [("HOST", "a"), ("x-Two", "1"), ("X-two", "2")]


def test_its_parser_is_lax(walt):
    lengths = b"Content-Length: 3\r\nContent-Length: 4\r\n"
    assert wire.exchange(walt.port, b"POST /walt-vpn/x HTTP/1.1\r\nConnection: close\r\n" + lengths + b"\r\nabcd").status == 404


def test_keeps_connections_alive(walt):
    with wire.Wire(walt.port) as connection:
        for _ in range(2):
            connection.send(wire.request("/walt-vpn/server", "x", close=False))
            assert connection.reply().body == b"walt.example.org\n"
    first, second = walt.requests("/walt-vpn/server")
    assert first.peer == second.peer


ENDINGS = pytest.mark.parametrize("kind, ending", [("fin", "FIN"), ("rst", "RST"), ("silence", "timeout")])
BOOT_FILES = pytest.mark.parametrize("name, size", [("boot.sig", 602), ("boot.img", MIB)])


@of_the_released
@BOOT_FILES
@ENDINGS
@pytest.mark.parametrize("place", [None, 0, 1, 300, -1])
@pytest.mark.thorough
def test_breaks_off_at_that_byte(walt, name, size, kind, ending, place):
    breaks_off(walt, name, size, kind, ending, place)


@of_the_coming
@BOOT_FILES
@pytest.mark.parametrize("place", [None, 0, 300, -1])
def test_coming_files_break_off_at_that_byte(walt, name, size, place):
    breaks_off(walt, name, size, "rst", "RST", place)


@of_the_coming
def test_a_range_breaks_off_at_that_byte_of_what_is_sent(walt):
    walt.fault("boot.img", "rst", at_byte=300)
    reply = ask(walt, NODE + "boot.img", headers=[("Range", "bytes=1000-")])
    assert (reply.status, reply.ended) == (206, "RST") and reply.body == image_pieces("default", 1)[0][1000:1300]


def breaks_off(walt, name, size, kind, ending, place):
    at_byte = place if place is None or place >= 0 else size - 1
    walt.fault(name, kind, at_byte=at_byte)
    reply = wire.exchange(walt.port, wire.request(NODE + name, "x"), timeout=2 if kind == "silence" else 60)
    assert reply.ended == ending
    assert (len(reply.raw) == 0) if at_byte is None else (reply.head_complete and len(reply.body) == at_byte)
    assert ask(walt, NODE + name).ended == "FIN", "once is enough"


def test_silence_can_end(walt):
    walt.fault("boot.img", "silence", at_byte=1000, seconds=0.2)
    started = time.monotonic()
    assert len(ask(walt, NODE + "boot.img").body) == MIB
    assert time.monotonic() - started >= 0.2


def test_slow(walt):
    walt.fault("boot.img", "slow", rate=4 * MIB)
    started = time.monotonic()
    assert len(ask(walt, NODE + "boot.img").body) == MIB
    assert 0.2 < time.monotonic() - started < 5


def test_rate_is_shared(walt):
    walt.rate(8 * MIB)
    started = time.monotonic()
    with wire.Wire(walt.port) as one, wire.Wire(walt.port) as other:
        for connection in (one, other):
            connection.send(wire.request(NODE + "boot.img", "x"))
        assert len(one.rest().body) == len(other.rest().body) == MIB
    assert 0.2 < time.monotonic() - started < 5


@of_the_released
def test_one_answer_behind(walt):
    eleven, twelve = walt.set_image("10.0.0.11", "eleven", 1), walt.set_image("10.0.0.12", "twelve", 1)
    ask(walt, "/walt-vpn/per-ip/10-0-0-11/boot.sig")
    walt.fault("10-0-0-12", "behind", times=2)
    assert ask(walt, "/walt-vpn/per-ip/10-0-0-12/boot.sig").body.decode().startswith(eleven)
    assert ask(walt, "/walt-vpn/per-ip/10-0-0-12/boot.sig").body.decode().startswith(twelve)


@of_the_coming
def test_coming_files_are_never_behind(walt):
    """Its files need no daemon; what does can be."""
    for path, behind in (("per-ip/10-0-0-%d/boot.sig", False), ("node-conf/%d", True)):
        digest = [walt.set_image("10.0.0.%d" % number, str(number), 1) for number in (11, 12)][1]
        before = ask(walt, "/walt-vpn/" + path % 11).body
        walt.fault(path % 12, "behind")
        reply = ask(walt, "/walt-vpn/" + path % 12)
        assert (reply.body == before) == behind
        assert behind or reply.body.decode().startswith(digest)


def test_wrong_files(walt, node):
    walt.fault("boot.sig", "wrong-digest")
    assert node(walt).boot().outcome is Outcome.CORRUPT
    walt.fault("boot.img", "flip", at_byte=MIB - 1)
    assert node(walt).boot().outcome is Outcome.CORRUPT
    walt.fault("boot.sig", "no-digest")
    assert node(walt).boot().outcome is Outcome.RESTARTS
    walt.fault("boot.sig", "raw", reply="HTTP/1.1 200 OK\r\nContent-Length:2\r\n\r\nhi")
    assert node(walt).boot().outcome is Outcome.NOT_UNDERSTOOD
    assert node(walt).boot().booted


def test_500_after_a_while(walt):
    walt.fault("boot.sig", "status", seconds=0.2)
    started = time.monotonic()
    assert ask(walt, NODE + "boot.sig").status == 500
    assert time.monotonic() - started >= 0.2


def test_down_and_up(walt):
    walt.down()
    with pytest.raises(ConnectionRefusedError):
        ask(walt, "/walt-vpn/server")
    walt.up()
    assert ask(walt, "/walt-vpn/server").status == 200


def test_going_down_ends_its_connections(walt):
    walt.fault("boot.img", "silence", at_byte=1000)
    with wire.Wire(walt.port) as idle, wire.Wire(walt.port) as busy:
        idle.send(wire.request("/walt-vpn/server", "x", close=False))
        assert idle.reply().status == 200
        busy.send(wire.request(NODE + "boot.img", "x"))
        while len(busy.buffer) < 1000:
            assert busy.receive()
        walt.down()
        assert idle.rest().ended in ("FIN", "RST")
        assert busy.rest().ended in ("FIN", "RST")


def test_frozen_and_thawed(walt):
    walt.freeze()
    assert wire.exchange(walt.port, wire.request("/walt-vpn/server", "x"), timeout=0.3).ended == "timeout"
    walt.thaw()
    assert ask(walt, "/walt-vpn/server").status == 200


def test_a_node_boots_from_it(walt, node):
    assert node(walt).boot().booted


def test_image_content_is_known_by_name(walt):
    walt.set_image(image="big", mib=3)
    assert ask(walt, NODE + "boot.img").body == b"".join(image_pieces("big", 3))


@pytest.mark.parametrize("resumed_after", [1, MIB // 2])
def test_a_resume_straight_from_it(walt, walt_version, resumed_after):
    boot = BootClient("127.0.0.1", walt.port, lost_links={"boot.img": [resumed_after]}).boot()
    assert boot.outcome is (Outcome.CORRUPT if walt_version == RELEASED else Outcome.BOOTED)
