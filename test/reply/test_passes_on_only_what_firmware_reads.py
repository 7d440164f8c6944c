"""What reaches a node is its file, the rest that it asked for, or an error with its length; whatever the WalT server sends.

Firmware takes the body of any other reply for its file, or appends it to what it holds (facts.md 1)."""

import pytest

import wire
from boot_files import MIB, boot_sig, image_digest, image_pieces
from stand_in import COMING, VERSIONS

PLACE = "/walt-vpn/per-ip/192-168-152-7/"
IMG = PLACE + "boot.img"
IMAGE = b"".join(image_pieces("default", 1))
SIGNATURE = boot_sig(image_digest("default", 1)).decode()
RESUME = [("Range", "bytes=3-")]

FILES = {"boot.sig": SIGNATURE, "boot.img": "a file of some bytes"}


def answer(status, lines=(), body="hello"):
    lines = ["HTTP/1.1 " + status] + list(lines) + ["Connection: close"]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def length(body):
    return "Content-Length: %d" % len(body)


# What is neither the file nor the rest of it, from byte 3 on.
NOTHING_ASKED = [
    ("101", answer("101 Switching Protocols", ["Upgrade: x"])),
    ("103 and no more", answer("103 Early Hints", body="")),
    ("201", answer("201 Created", [length("hello")])),
    ("203", answer("203 Non-Authoritative Information", [length("hello")])),
    ("204", answer("204 No Content", body="")),
    ("204 with a length", answer("204 No Content", [length("hello")])),
    ("205", answer("205 Reset Content", [length("")], "")),
    ("206 of another piece", answer("206 Partial Content", [length("hello"), "Content-Range: bytes 5-9/10"])),
    ("206 of a piece that ends early", answer("206 Partial Content", [length("hello"), "Content-Range: bytes 3-7/10"])),
    ("206 of other bytes than it has", answer("206 Partial Content", [length("hello"), "Content-Range: bytes 3-9/10"])),
    ("206 of unknown size", answer("206 Partial Content", [length("hello"), "Content-Range: bytes 3-7/*"])),
    ("206 without Content-Range", answer("206 Partial Content", [length("hello")])),
    ("206 of many pieces", answer("206 Partial Content", [length("hello"), "Content-Type: multipart/byteranges; boundary=x"])),
    ("206 without a length", answer("206 Partial Content", ["Content-Range: bytes 3-7/8"])),
    ("226", answer("226 IM Used", [length("hello")])),
    ("299", answer("299 Own Idea", [length("hello")])),
    ("300", answer("300 Multiple Choices", [length("hello")])),
    ("302", answer("302 Found", [length("hello"), "Location: /"])),
    ("304", answer("304 Not Modified", body="")),
    ("304 with a length", answer("304 Not Modified", [length("hello")], body="")),
    ("399", answer("399 Own Idea", [length("hello")])),
    ("416", answer("416 Range Not Satisfiable", [length("hello")])),
    ("416 with Content-Range", answer("416 Range Not Satisfiable", [length("hello"), "Content-Range: bytes */2"])),
    ("600", answer("600 Own Idea", [length("hello")])),
]


def is_readable(reply):
    """As firmware reads: one length, which is the body's, and no end before it."""
    return (reply.ended == "FIN" and reply.values("Content-Length") == [str(len(reply.body))] and not reply.chunked
            and reply.values("Content-Encoding") == [])


def exchanges(ours, walt, file, rows, requests):
    """Each row's reply of the WalT server's to each request: (row, headers, the reply)."""
    for row in rows:
        walt.heal()
        walt.fault(file, "raw", reply=row[-1], times=None)
        for headers in requests:
            yield row, headers, ours.get(PLACE + file, headers=headers)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.thorough)], ids=["relayed", "from the folder"])
def ours(request, entrypoint, cache):
    made = entrypoint(cache=cache.path if request.param else "")
    made.tolerate_log("was answered with|proxy|AH0|is left out of replies to nodes|what answers there for boot.sig")
    return made


STALE = [("If-None-Match", '"x"'), ("If-Modified-Since", "Sun, 22 Nov 2026 21:53:24 GMT")]


@pytest.mark.parametrize("file", FILES)
def test_what_nobody_asked_for(ours, walt, file):
    """To who wants the whole an error, to who resumes a 404: the only error whose body is not appended."""
    for (name, _), headers, reply in exchanges(ours, walt, file, NOTHING_ASKED, [[], STALE, RESUME, RESUME + STALE]):
        assert reply.status in ((404,) if RESUME[0] in headers else (404, 502)), (name, headers, reply)
        assert is_readable(reply) and b"hello" not in reply.body, (name, headers, reply.raw)


UNFIT = ["X-A : b", ": b", "X-A: \x01", "X-A: b\x7f", "X A: b", "X-\xe9: b", "Content-Type: \x01", "Content-Language: \x01",
         "X-A"]


@pytest.mark.parametrize("file", FILES)
def test_a_header_line_that_httpd_refuses(ours, walt, file):
    """Is left out; httpd would make an error of it, without a length. mod_proxy may take it for no reply."""
    body = FILES[file]
    rows = [(status, line, answer(status, [length(body), line], body))
            for status in ("200 OK", "404 Not Found", "403 Forbidden", "500 Own Idea") for line in UNFIT]
    for (status, line, _), headers, reply in exchanges(ours, walt, file, rows, [[], RESUME]):
        good = (206 if status == "200 OK" else 404) if headers else int(status[:3])
        assert is_readable(reply), (status, line, reply.raw)
        assert reply.status in ((good, 404) if headers else (good, 404, 502)), (status, line, reply)
        assert reply.status not in (200, 206) or reply.body == body[3 if headers else 0:].encode(), (status, line, reply)


def test_such_a_line_for_other_files(entrypoint, walt):
    """It is left out there, too, or the reply is an error that has its length; other lines stay, however long."""
    ours = entrypoint()
    ours.tolerate_log("proxy|AH0|is left out of replies")
    for path in ("server", "x", "per-ip/192-168-152-7/start.elf", "node-conf/x"):
        for line in UNFIT:
            walt.heal()
            walt.fault(path, "raw", reply=answer("200 OK", [length("hello"), "X-Long: " + "y" * 300, line]), times=None)
            reply = ours.get("/walt-vpn/" + path)
            assert is_readable(reply) and (reply.status == 502 or (reply.status, reply.body) == (200, b"hello")), (line, reply.raw)
            assert reply.status == 502 or reply.header("X-Long") == "y" * 300


STATUS_LINES = ["HTTP/1.1 200 O\x01K", "HTTP/1.1 200 " + "K" * 300, "HTTP/1.1 200", "HTTP/1.1 000 x", "HTTP/1.1 1000 x",
                "HTTP/9.9 200 OK"]


@pytest.mark.parametrize("file", FILES)
def test_an_odd_status_line(ours, walt, file):
    """The file, or an error."""
    body = FILES[file]
    rows = [(line, "%s\r\n%s\r\nConnection: close\r\n\r\n%s" % (line, length(body), body)) for line in STATUS_LINES]
    for (line, _), headers, reply in exchanges(ours, walt, file, rows, [[], RESUME]):
        assert is_readable(reply) and max(map(len, reply.header_lines + [reply.status_line])) < 200, (line, reply.raw)
        assert reply.status in ((404, 206) if headers else (200, 404, 502)), (line, reply)
        assert reply.status not in (200, 206) or reply.body == body[3 if headers else 0:].encode(), (line, reply)


ERRORS = ["400 Bad", "401 Own", "403 Forbidden", "404 Not Found", "405 Own", "451 Own", "500 Own", "503 Own"]
FRAMED = [([length("hello")], "hello"), ([], "hello"), (["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n")]


@pytest.mark.parametrize("file", FILES)
def test_errors_of_the_walt_server(ours, walt, file):
    """With a length, whether it had one or not; 404 to a resume."""
    rows = [(status, answer(status, lines, body)) for status in ERRORS for lines, body in FRAMED]
    for (status, _), headers, reply in exchanges(ours, walt, file, rows, [[], RESUME]):
        assert is_readable(reply), (status, reply.raw)
        assert reply.status in ((404,) if headers else (int(status[:3]), 502)), (status, reply)


# A Range or If-Range that no node sends.
STRANGE = [
    [("Range", "bytes=0-9")], [("Range", "bytes=-5")], [("Range", "bytes=3-5,7-9")], [("Range", "bytes=1048576-1048577")],
    [("Range", "bytes=x")], [("Range", "bytes=5-2")], [("Range", "lines=1-2")], [("Range", "bytes=0-")],
    [("Request-Range", "bytes=3-")],
    [("Range", "bytes=3-"), ("If-Range", '"x"')], [("Range", "bytes=3-"), ("If-Range", "Sun, 22 Nov 2026 21:53:24 GMT")],
    [("If-Range", '"x"')], [("If-Modified-Since", "Sun, 22 Nov 2099 21:53:24 GMT")], [("If-None-Match", "*")],
    [("If-Match", '"x"')], [("If-Unmodified-Since", "Sun, 22 Nov 1999 21:53:24 GMT")],
]


@pytest.mark.walt_versions(*VERSIONS)
def test_a_strangers_conditions_stay_here(entrypoint, walt, walt_version):
    """Relayed, the whole file answers them: both versions of WalT are asked for that alone."""
    ours = entrypoint()
    for file, body in (("boot.img", IMAGE), ("boot.sig", SIGNATURE.encode())):
        for headers in STRANGE:
            reply = ours.get(PLACE + file, headers=headers)
            assert (reply.status, len(reply.body)) == (200, len(body)) and reply.header("Content-Range") is None, headers
            assert reply.body == body or file == "boot.sig"
    assert {request.status for request in walt.requests()} == {200}
    asked = {name.lower() for request in walt.requests() for name, _ in request.headers}
    assert not asked & {"range", "request-range", "if-range", "if-match", "if-none-match", "if-modified-since",
                        "if-unmodified-since"}


@pytest.mark.walt_versions(*VERSIONS)
@pytest.mark.parametrize("value, first", [("bytes=3-", 3), ("Bytes=0003-", 3), ("bytes=%d-" % (MIB - 1), MIB - 1)])
def test_a_resume_of_a_relayed_image(entrypoint, walt, walt_version, value, first):
    """Is asked for as a node spells it, and answered with the rest by both versions of WalT."""
    ours = entrypoint()
    reply = ours.get(IMG, headers=[("Range", value)])
    assert (reply.status, reply.body) == (206, IMAGE[first:]) and is_readable(reply)
    assert reply.header("Content-Range") == "bytes %d-%d/%d" % (first, MIB - 1, MIB)
    request, = walt.requests()
    assert request.header("Range") == "bytes=%d-" % first and request.status == (206 if walt_version == COMING else 200)


@pytest.mark.walt_versions(*VERSIONS)
@pytest.mark.parametrize("first", [MIB, MIB + 1, 9223372036854775807])
def test_a_resume_from_behind_the_end(ours, walt, walt_version, first):
    """Whoever finds that out: 404. Firmware knows no 416, and would append its body."""
    for _ in range(2):
        reply = ours.get(IMG, headers=[("Range", "bytes=%d-" % first)])
        assert reply.status == 404 and is_readable(reply)
        assert ours.get(IMG).body == IMAGE


def test_head_has_no_range(entrypoint, walt):
    """As the RFC says; the coming version would answer it with 206."""
    walt.play(COMING)
    reply = entrypoint().get(IMG, method="HEAD", headers=RESUME)
    assert (reply.status, reply.header("Content-Length")) == (200, str(MIB))


def test_a_folder(ours, walt):
    """Is not asked for: the coming version has 403 for it, and the released one dies."""
    walt.play(COMING)
    for path in ("", "overlays", "overlays/", "boot.img/"):
        for headers in ([], RESUME):
            reply = ours.get(PLACE + path, headers=headers)
            assert reply.status == 404 and is_readable(reply)
    assert walt.requests() == []
