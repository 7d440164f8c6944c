"""The WalT server's lax parser is never put to the test: of whatever a client sends, it gets one clean request or none."""

import collections
import socket

import pytest

from proxies import WaltVpn
from recorder import Recorder, fault_of

Raw = collections.namedtuple("Raw", "name bytes reach reason")
HOST = "Host: entrypoint.example.org"
INNER = "GET /walt-vpn/per-ip/192-168-152-7/ HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*headers, body="abc", target="/walt-vpn/enroll", version="HTTP/1.1"):
    return "\r\n".join(("POST %s %s" % (target, version), HOST, "Connection: close") + headers) + "\r\n\r\n" + body


def get(*headers, target="/walt-vpn/server", body="", version="HTTP/1.1", host=HOST):
    return "\r\n".join(("GET %s %s" % (target, version), host) + headers) + "\r\n\r\n" + body


CHUNKED = "3\r\nabc\r\n0\r\n\r\n"

# reach: how many requests come through at most
RAWS = [Raw(*row) for row in [
    ("get", get("Connection: close"), 1, "the yardstick"),
    ("post", post("Content-Length: 3"), 1, "the yardstick"),
    ("chunked", post("Transfer-Encoding: chunked", body=CHUNKED), 1, "gets a length on its way"),
    ("length and chunked", post("Content-Length: 3", "Transfer-Encoding: chunked", body=CHUNKED + INNER), 1,
     "the coding counts; the length is not passed on"),
    ("chunked and length", post("Transfer-Encoding: chunked", "Content-Length: 60", body=CHUNKED + INNER), 1, "the other order"),
    ("short length and chunked", post("Content-Length: 0", "Transfer-Encoding: chunked", body=CHUNKED), 1, "the same"),
    ("two lengths", post("Content-Length: 3", "Content-Length: 60", body="abc" + INNER), 0, "which one counts?"),
    ("two lengths, the other order", post("Content-Length: 60", "Content-Length: 3", body="abc" + INNER), 0, "which one counts?"),
    ("the same length twice", post("Content-Length: 3", "Content-Length: 3"), 0, "no one who means well"),
    ("a list of lengths", post("Content-Length: 3, 3"), 0, "no number"),
    ("space before the colon", post("Content-Length : 3"), 1, "ignored by the WalT server, which would read the body as a request"),
    ("space before the colon and a length", post("Content-Length : 60", "Content-Length: 3", body="abc" + INNER), 0, "two lengths"),
    ("plus sign", post("Content-Length: +3"), 0, "no number"),
    ("negative", post("Content-Length: -1"), 0, "no number"),
    ("hexadecimal", post("Content-Length: 0x3"), 0, "no number"),
    ("two numbers", post("Content-Length: 3 3"), 0, "no number"),
    ("empty length", post("Content-Length: "), 0, "no number"),
    ("huge length", post("Content-Length: 99999999999999999999999"), 0, "more than fits"),
    ("vertical tab", post("Content-Length: \x0b3"), 0, "a control character"),
    ("folded length", post("Content-Length:\r\n 3"), 1, "obs-fold"),
    ("folded value", post("Content-Length: 3", "X-A: b\r\n Content-Length: 60", body="abc" + INNER), 1, "obs-fold that looks like a length"),
    ("folded first header", "POST /walt-vpn/enroll HTTP/1.1\r\n X-A: b\r\n" + HOST + "\r\n\r\n", 0, "nothing to fold to"),
    ("unknown coding", post("Transfer-Encoding: xchunked", body=CHUNKED), 0, "no one knows where it ends"),
    ("identity", post("Transfer-Encoding: identity", "Content-Length: 3"), 0, "not a coding any more"),
    ("chunked, identity", post("Transfer-Encoding: chunked, identity", body=CHUNKED), 0, "chunked must be the last"),
    ("identity, chunked", post("Transfer-Encoding: identity, chunked", body=CHUNKED), 1, "at most one clean request"),
    ("coding twice", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED), 0, "the same in two lines"),
    ("coding with a space", post("Transfer-Encoding : chunked", "Content-Length: 3", body=CHUNKED + INNER), 1, "hidden from some"),
    ("coding with a tab", post("Transfer-Encoding:\tchunked", body=CHUNKED), 1, "a tab is white space"),
    ("coding with a vertical tab", post("Transfer-Encoding: \x0bchunked", "Content-Length: 3", body=CHUNKED + INNER), 0, "hidden from some"),
    ("coding in HTTP/1.0", post("Transfer-Encoding: chunked", "Content-Length: 3", body=CHUNKED, version="HTTP/1.0"), 1, "not in that version"),
    ("chunk extension", post("Transfer-Encoding: chunked", body="3;a=b\r\nabc\r\n0\r\n\r\n"), 1, "dropped"),
    ("chunk extension with LF", post("Transfer-Encoding: chunked", body="3;a\nb\r\nabc\r\n0\r\n\r\n"), 1, "two readings of where it ends"),
    ("chunk size too large", post("Transfer-Encoding: chunked", body="fffffffffffffffff3\r\nabc\r\n0\r\n\r\n"), 0, "overflows"),
    ("chunk size negative", post("Transfer-Encoding: chunked", body="-3\r\nabc\r\n0\r\n\r\n"), 0, "no number"),
    ("chunk size 0x", post("Transfer-Encoding: chunked", body="0x3\r\nabc\r\n0\r\n\r\n"), 0, "no number"),
    ("chunk without end", post("Transfer-Encoding: chunked", body="3\r\nabcdef\r\n0\r\n\r\n"), 0, "data where CRLF belongs"),
    ("trailers", post("Transfer-Encoding: chunked", body="3\r\nabc\r\n0\r\nContent-Length: 60\r\nHost: x\r\n\r\n"), 1, "do not become headers"),
    ("bare LF", get("Connection: close").replace("\r\n", "\n"), 1, "tolerated or not, but not passed on"),
    ("bare LF in the head", get("X-A: b\nX-C: d", "Connection: close"), 1, "the same, one line"),
    ("bare CR in a value", get("X-A: b\rX-C: d"), 0, "a line end to some"),
    ("CR CR LF", get("X-A: b\r"), 0, "a line end too much"),
    ("NUL in a value", get("X-A: b\0c"), 0, "an end to some"),
    ("control character in a value", get("X-A: b\x01c", "Connection: close"), 0, "no text"),
    ("line without a colon", get("X-A b"), 0, "no header"),
    ("no name", get(": b"), 0, "no header"),
    ("space in a name", get("X A: b"), 0, "no header"),
    ("NUL in a name", get("X\0A: b"), 0, "no header"),
    ("long value", get("X-A: " + "b" * 8000, "Connection: close"), 1, "within httpd's limit"),
    ("too long value", get("X-A: " + "b" * 9000), 0, "beyond it"),
    ("too many headers", get(*["X-%d: b" % i for i in range(200)]), 0, "beyond httpd's limit"),
    ("length named by Connection", post("Content-Length: 53", "Connection: Content-Length", body=INNER), 1, "must not lose its length on the way"),
    ("coding named by Connection", post("Transfer-Encoding: chunked", "Connection: Transfer-Encoding", body=CHUNKED + INNER), 1, "nor its coding"),
    ("host named by Connection", get("Connection: close, Host, X-Forwarded-For"), 1, "nor its host"),
    ("body of a GET", get("Content-Length: %d" % len(INNER), "Connection: close", body=INNER), 1, "stays a body"),
    ("body of a GET without a length", get("Connection: close", body=INNER), 1, "is no body, and after Connection: close no request"),
    ("body of a boot.img request", get("Content-Length: %d" % len(INNER), "Connection: close", body=INNER,
                                       target="/walt-vpn/per-ip/192-168-152-7/boot.img"), 1, "stays a body"),
    ("body of a boot.sig request", get("Content-Length: %d" % len(INNER), "Connection: close", body=INNER,
                                       target="/walt-vpn/per-ip/192-168-152-7/boot.sig"), 1, "stays behind"),
    ("pipelined", get() + get("Connection: close"), 2, "two requests are two requests"),
    ("pipelined directory", get() + INNER.replace("Host: x", HOST), 1, "each is judged"),
    ("directory behind a body", post("Content-Length: 3").replace("Connection: close\r\n", "") + INNER.replace("Host: x", HOST), 1,
     "each is judged"),
    ("HTTP/0.9", "GET /walt-vpn/server\r\n\r\n", 0, "says no host"),
    ("HTTP/1.0 without host", "GET /walt-vpn/server HTTP/1.0\r\n\r\n", 0, "says no host"),
    ("HTTP/1.2", get("Connection: close", version="HTTP/1.2"), 1, "is answered as 1.1"),
    ("HTTP/2.0", get("Connection: close", version="HTTP/2.0"), 1, "at most one clean request"),
    ("http/1.1", get("Connection: close", version="http/1.1"), 1, "at most one clean request"),
    ("HTTP/1.1x", get("Connection: close", version="HTTP/1.1x"), 1, "at most one clean request"),
    ("no version", get("Connection: close", version=""), 0, "at most none"),
    ("spaces in the target", get(target="/walt-vpn/ser ver"), 0, "no target"),
    ("tab in the target", get(target="/walt-vpn/ser\tver"), 0, "no target"),
    ("fragment", get("Connection: close", target="/walt-vpn/server#../x"), 1, "is not sent"),
    ("raw 8-bit bytes", get("Connection: close", target="/walt-vpn/caf\xc3\xa9"), 0, "are not sent as they are"),
    ("raw quote", get("Connection: close", target='/walt-vpn/a"b<c>'), 1, "at most one clean request"),
    ("two hosts", get("Host: elsewhere.example.org", "Connection: close"), 0, "which one counts?"),
    ("host with a path", get("Connection: close", host="Host: entrypoint.example.org/x"), 0, "no host"),
    ("host with a user", get("Connection: close", host="Host: a@entrypoint.example.org"), 0, "no host"),
    ("absolute form", get("Connection: close", target="http://entrypoint.example.org/walt-vpn/server"), 1, "means the same"),
    ("absolute form elsewhere", get("Connection: close", target="http://elsewhere.example.org/walt-vpn/server"), 0, "names another host"),
    ("absolute form to a directory", get("Connection: close", target="http://entrypoint.example.org/walt-vpn/per-ip/"), 0, "is judged too"),
    ("absolute form that leaves", get("Connection: close", target="http://entrypoint.example.org/walt-vpn/../x"), 0, "is judged too"),
    ("CONNECT", "CONNECT entrypoint.example.org:80 HTTP/1.1\r\n%s\r\n\r\n" % HOST, 0, "no path"),
    ("OPTIONS *", "OPTIONS * HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 0, "no path"),
    ("TRACE", "TRACE /walt-vpn/server HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 1, "at most one clean request"),
    ("PURGE", "PURGE /walt-vpn/server HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 1, "at most one clean request"),
    ("method in small letters", "get /walt-vpn/server HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 0, "methods are words in capitals"),
    ("method with a digit", "5ET /walt-vpn/server HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 0, "methods are words in capitals"),
    ("method with a byte", "GE\xc9 /walt-vpn/server HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n" % HOST, 0, "methods are words in capitals"),
    ("websocket", get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 1, "no tunnel is opened"),
    ("h2c", get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), 1, "no tunnel is opened"),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, "no request"),
    ("100-continue", post("Content-Length: 3", "Expect: 100-continue"), 1, "httpd's own business"),
    ("another expectation", post("Content-Length: 3", "Expect: 200-ok"), 0, "no one can meet it"),
    ("early end of a body", post("Content-Length: 30"), 0, "half a request is none"),
    ("empty lines first", "\r\n\r\n" + get("Connection: close"), 1, "are skipped"),
    ("nothing", "\r\n\r\n", 0, "no request"),
]]


@pytest.fixture(scope="module")
def server():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(params=["Strict", "Unsafe"])
def ours(request, httpds, server):
    made = httpds(WaltVpn, server, server="HttpProtocolOptions %s\nTimeout 5\nKeepAliveTimeout 1" % request.param).start()
    made.tolerate_log("AH01093|AH01095")
    made.tolerate_log("was answered with|is not a signature")
    return made


def test_each(ours, server):
    """All in one run, so that what one request leaves behind would be met by the next."""
    objections = []
    for raw in RAWS:
        with ours.connect() as connection:
            connection.send(raw.bytes.encode("latin-1"))
            connection.socket.shutdown(socket.SHUT_WR)      # so that nobody waits for more
            reply = connection.rest()
        taken = server.take()
        for data in taken:
            fault = fault_of(data)
            if fault:
                objections.append("%s (%s): %s came with %s" % (raw.name, raw.reason, data[:300], fault))
        if len(taken) > raw.reach:
            objections.append("%s (%s): %d came through" % (raw.name, raw.reason, len(taken)))
        if reply.ended == "timeout":
            objections.append("%s: no answer and no end" % raw.name)
        if raw.reason == "the yardstick" and (len(taken) != 1 or reply.status != 200):
            objections.append("%s: %s" % (raw.name, reply))
    assert not objections, "\n".join(objections)


def test_the_head_is_built_here(ours, server):
    """Line by line: what a node sends reaches the WalT server so, and in no other form."""
    ours.get("/walt-vpn/per-ip/192-168-152-7/boot.bin?a=b", headers=[("X-A", "b")])
    data, = server.take()
    lines = data.decode("latin-1").split("\r\n")
    assert lines[0] == "GET /walt-vpn/per-ip/192-168-152-7/boot.bin?a=b HTTP/1.1"
    assert lines[1] == "Host: %s" % server.location
    assert "Connection: close" in lines and "X-A: b" in lines


def test_a_chunked_body_gets_a_length(ours, server):
    ours.get(raw=post("Transfer-Encoding: chunked", body="3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: u\r\n\r\n").encode())
    data, = server.take()
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"abcde" and b"\r\nContent-Length: 5" in head and b"chunked" not in head and b"X-T" not in head
