"""What the WalT server sends is relayed as it is, or as an error, or ends in a reset: never as half a file that looks whole."""

import os
import re
import signal
import threading

import pytest

import wire
from boot_client import LONGEST_LINE
from boot_files import MIB, boot_sig, image_digest, image_pieces
from processes import wait_until

PLACE = "/walt-vpn/per-ip/192-168-152-7/"
HELD = 64 * 1024
IMAGE = b"".join(image_pieces("default", 1))
SIGNATURE = boot_sig(image_digest("default", 1))


def head(*lines):
    return "\r\n".join(lines) + "\r\n\r\n"


@pytest.fixture
def ours(entrypoint):
    made = entrypoint()
    made.tolerate_log("proxy:error|proxy_http:error|proxy_http:warn|was answered with|ended short")
    return made


@pytest.mark.parametrize("kind", ["fin", "rst"])
@pytest.mark.parametrize("file, size", [("boot.sig", len(SIGNATURE)), ("boot.img", MIB)])
def test_broken_off(ours, walt, file, size, kind):
    """boot.sig is held until it is whole: a 502. boot.img is on its way by then: a reset."""
    for at_byte in (0, 1, size // 2, size - 1):
        walt.fault(file, kind, at_byte=at_byte, times=None)
        reply = ours.get(PLACE + file)
        if file == "boot.sig":
            assert reply.status == 502 and reply.ended == "FIN" and reply.size == len(reply.raw)
        else:
            assert reply.ended == "RST" and reply.status in (200, None) and IMAGE.startswith(reply.body)
            assert len(reply.body) <= at_byte
        walt.heal()


@pytest.mark.parametrize("size, status", [(1, 502), (HELD - 1, 502), (HELD, 502), (HELD + 1, 200), (10 * HELD, 200)])
@pytest.mark.parametrize("file", ["boot.img", "another.file"])
def test_up_to_64_kib_are_held(ours, walt, file, size, status):
    """A broken reply of up to that size becomes a 502, a larger one a reset; whole ones are relayed."""
    body = "x" * size
    walt.fault(file, "raw", reply=head("HTTP/1.1 200 OK", "Content-Length: %d" % size) + body[:-1])
    reply = ours.get(PLACE + file)
    if status == 502:
        assert (reply.status, reply.ended) == (502, "FIN") and reply.size == len(reply.raw)
    else:
        assert reply.ended == "RST" and len(reply.body) < size
    walt.fault(file, "raw", reply=head("HTTP/1.1 200 OK", "Content-Length: %d" % size) + body)
    reply = ours.get(PLACE + file)
    assert (reply.status, reply.ended, reply.body) == (200, "FIN", body.encode())


CHUNKED = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")


ODD = [
    (CHUNKED + "3\r\nabc\r\n0\r\n\r\n", 200, b"abc", "chunks become a length"),
    (CHUNKED + "3\r\nabc\r\n", 502, None, "the last chunk is missing"),
    (CHUNKED + "3\r\nab", 502, None, "half a chunk"),
    (CHUNKED + "zz\r\nabc", 502, None, "no chunk"),
    (CHUNKED + "%x\r\n" % (2 * HELD) + "x" * 2 * HELD + "\r\n0\r\n\r\n", 502, None, "too large to give it a length"),
    (head("HTTP/1.1 200 OK", "Connection: close") + "abc", None, b"abc", "a length, or an error: who knows if this is all"),
    (head("HTTP/1.0 200 OK") + "abc", None, b"abc", "the same in HTTP/1.0"),
    (head("HTTP/1.1 200 OK", "Content-Length: 0"), 200, b"", "an empty file is one"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 3") + "abc", None, b"abc", "one length, or an error"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 4") + "abcd", None, b"abc", "two lengths: the first, or an error"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3x") + "abc", 502, None, "no length"),
    (head("HTTP/1.1 200 OK", "content-length:   3") + "abc", 200, b"abc", "firmware wants exactly one space"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3") + "abcdef", 200, b"abc", "more than announced"),
    (head("HTTP/1.1 100 Continue") + head("HTTP/1.1 200 OK", "Content-Length: 3") + "abc", 200, b"abc",
     "firmware takes the first status line for the answer"),
    (head("HTTP/1.1 200 " + "O" * 300, "Content-Length: 3") + "abc", 200, b"abc", "a status line that is too long"),
    (head("HTTP/1.1 200 OK", "Content-Type: " + "t" * 300, "Content-Length: 3") + "abc", 200, b"abc", "a type that is too long"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3", "X-Long: " + "x" * 300) + "abc", 200, b"abc", "a line that is too long"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3", "X-Edge: " + "x" * 191) + "abc", 200, b"abc", "199 bytes are not too long"),
    (head("HTTP/1.1 200 OK", "Content-Length: 3", "Keep-Alive: timeout=5", "Connection: keep-alive, X-Hop", "X-Hop: 1") + "abc",
     200, b"abc", "what belongs to the connection stays there"),
    ("nonsense\r\n\r\n", None, None, "no reply at all"),
    ("", 502, None, "nothing"),
]


def signed(answer, body):
    """The same with a first line of boot.sig for "abc": what has none is not relayed as one."""
    line = 64 * "a" + "\n"
    for old, new in (("ength: 3", "ength: 65"), ("ength:   3", "ength:   65"), ("ength: 4", "ength: 66"), ("3\r\nab", "41\r\nab"),
                     ("abc", line)):
        answer = answer.replace(old, new)
    return answer, body and body.replace(b"abc", line.encode())


@pytest.mark.parametrize("answer, status, body, reason", ODD, ids=[row[-1] for row in ODD])
@pytest.mark.parametrize("file", ["boot.sig", "boot.img"])
def test_odd_replies(ours, walt, file, answer, status, body, reason):
    """Firmware gets the bytes with one length, or a short error with one."""
    ours.tolerate_log("line of 200 bytes or more")
    if file == "boot.sig":
        answer, body = signed(answer, body)
        if body == b"" or answer.startswith("nonsense"):
            status, body = 404, None
            ours.expect_log("what answers there for boot.sig is not a signature")
    for close, pause in ((True, None), (False, None), (True, 0.2)):
        walt.heal()
        walt.fault(file, "raw", reply=answer, times=None, seconds=pause)
        with ours.connect() as connection:
            connection.send(wire.request(PLACE + file, ours.server_name, close=close))
            reply = connection.reply()
        assert reply.status in ((200, 502) if status is None else (status,)), (reason, reply.raw[:500])
        lines = reply.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert max(map(len, lines)) <= LONGEST_LINE, reason
        assert [line for line in reply.header_lines if re.match("(?i)content-length|transfer-encoding", line)] == [
            "Content-Length: %d" % len(reply.body)], reason
        if reply.status == 200 and body is not None:
            assert reply.body == body, reason
        if "X-Edge" in answer:
            assert reply.header("X-Edge")
        assert not reply.values("X-Hop")


@pytest.mark.parametrize("value, first, reason", [
    ("bytes=5-", 5, "a resume"),
    ("bytes=1048575-", 1048575, "the last byte"),
    ("Bytes=5-", 5, "units know no case"),
    ("bytes=0005-", 5, "zeros do not make it octal"),
    ("bytes=1048576-", 404, "past the end: firmware knows no 416"),
    ("bytes=9223372036854775807-", 404, "far past the end"),
    ("bytes=0-", None, "nothing was held: the whole file is the rest"),
    ("bytes=99999999999999999999-", None, "no number that fits"),
    ("bytes=-5", None, "the last bytes: nodes do not ask for these"),
    ("bytes=5-9", None, "a piece"),
    ("bytes=5-,7-", None, "two"),
    ("bytes=5-;q=1", None, "something behind it"),
    ("bytes=+5-", None, "a sign"),
    ("bytes= 5-", None, "a space"),
    ("bytes=5 -", None, "another space"),
    ("bytes=0x5-", None, "hexadecimal"),
    ("bytes=-", None, "no number"),
    ("lines=5-", None, "other units"),
    ("5-", None, "no units"),
])
def test_ranges_of_a_relayed_image(ours, walt, value, first, reason):
    """The WalT server ignores Range; a resume gets the rest all the same, every other form the whole file."""
    reply = ours.get(PLACE + "boot.img", headers=[("Range", value)])
    if first == 404:
        assert reply.status == 404 and len(reply.body) < 100, reason
    elif first is None:
        assert reply.status == 200 and reply.body == IMAGE and reply.header("Content-Range") is None, reason
    else:
        assert reply.status == 206 and reply.body == IMAGE[first:], reason
        assert reply.header("Content-Range") == "bytes %d-%d/%d" % (first, MIB - 1, MIB), reason
    assert reply.header("Content-Length") == str(len(reply.body))


def test_conditional_and_head(ours):
    """If-Range asks for the whole unless it matches, and nothing can match; HEAD has no range."""
    reply = ours.get(PLACE + "boot.img", headers=[("Range", "bytes=5-"), ("If-Range", '"x"')])
    assert reply.status == 200 and reply.body == IMAGE
    reply = ours.get(PLACE + "boot.img", method="HEAD", headers=[("Range", "bytes=5-")])
    assert reply.status == 200 and reply.header("Content-Length") == str(MIB) and reply.body == b""


def test_resume_across_a_break(ours, walt):
    """While the rest is relayed the WalT server breaks off, before and behind the byte that the node wants."""
    for at_byte in (100, 600000):
        walt.fault("boot.img", "fin", at_byte=at_byte)
        reply = ours.get(PLACE + "boot.img", headers=[("Range", "bytes=500000-")])
        assert reply.ended == "RST" and IMAGE[500000:].startswith(reply.body)
        assert ours.get(PLACE + "boot.img", headers=[("Range", "bytes=500000-")]).body == IMAGE[500000:]


def test_a_server_that_resumes_by_itself(ours, walt):
    """A later WalT server may: its 206 is relayed."""
    walt.fault("boot.img", "raw", reply=head("HTTP/1.1 206 Partial Content", "Content-Range: bytes 5-7/8", "Content-Length: 3") + "abc")
    reply = ours.get(PLACE + "boot.img", headers=[("Range", "bytes=5-")])
    assert (reply.status, reply.body, reply.header("Content-Range")) == (206, b"abc", "bytes 5-7/8")


def test_a_header_that_had_to_go_is_named_once(entrypoint, walt):
    """By all processes together, also when one of them dies and another takes its place."""
    modules = ["headers", "proxy", "proxy_http", "walt_vpn"]
    ours = entrypoint(vhost='Header always set X-First "%s"\nHeader set X-Second "%s"' % ("x" * 300, "y" * 300), modules=modules)
    ours.expect_log("header X-First: line of 200 bytes or more")
    ours.expect_log("header X-Second: line of 200 bytes or more")

    def ask():
        for _ in range(10):
            assert ours.get(PLACE + "boot.sig").body == SIGNATURE

    for _ in range(2):
        askers = [threading.Thread(target=ask) for _ in range(6)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        before = ours.children()
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(ours.children()) - set(before)) > 0, 20, "a new child")
    ask()
    for name in ("X-First", "X-Second"):
        assert len(re.findall("header %s: line of 200 bytes or more" % name, ours.error_log)) == 1
    assert ours.get("/walt-vpn/server").header("X-First"), "what no firmware reads keeps its headers"


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(entrypoint, walt, cache, status, method, cached):
    """What answers in the WalT server's place may want its clients elsewhere; a node goes nowhere."""
    ours = entrypoint(cache=cache.path if cached else "")
    ours.tolerate_log("was answered with 502")
    walt.fault("boot", "raw", reply=head("HTTP/1.1 %d Elsewhere" % status, "Location: https://walt.example.org/",
                                         "Content-Length: 0"), times=None)
    for file in ("boot.sig", "boot.img"):
        reply = ours.get(PLACE + file, method=method)
        assert reply.status == 502 and reply.ended == "FIN" and reply.values("Location") == []
        assert method == "HEAD" or reply.size == len(reply.raw)


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
@pytest.mark.parametrize("file, status", [("boot.img", 500), ("boot.img", 403), ("boot.sig", 500)])
def test_errors_that_answer_a_resume(file, status, cached, entrypoint, cache, walt):
    """The node would append their text to what it holds: 404, on which it starts over at once. Also when nobody answers."""
    ours = entrypoint(cache=cache.path if cached else "")
    ours.tolerate_log("proxy|was answered with")
    resume = [("Range", "bytes=5-")]
    walt.fault(file, "status", status=status, times=None)
    assert ours.get(PLACE + file, headers=resume).status == 404
    assert ours.get(PLACE + file).status in (status, 502)
    walt.heal()
    walt.down()
    assert ours.get(PLACE + file, headers=resume).status == 404
    assert ours.get(PLACE + file).status == 503
    walt.up()


@pytest.mark.parametrize("answer", [
    CHUNKED + "3\r\nabc\r\n0\r\n\r\n",
    head("HTTP/1.1 200 OK", "Connection: close") + "abc",
    head("HTTP/1.1 203 Non-Authoritative Information", "Content-Length: 3") + "abc",
    head("HTTP/1.1 204 No Content"),
    "nonsense\r\n\r\n",
], ids=["chunks", "no length", "another success", "no content", "no reply at all"])
def test_what_is_no_rest_of_the_file(ours, walt, answer):
    """Another server's page, say: the node would append that, too, and the log say that it has its image."""
    walt.fault("boot.img", "raw", reply=answer, times=None)
    assert ours.get(PLACE + "boot.img", headers=[("Range", "bytes=5-")]).status == 404
    assert "has image" not in ours.error_log
    walt.heal()
    assert ours.get(PLACE + "boot.img", headers=[("Range", "bytes=5-")]).body == IMAGE[5:]
