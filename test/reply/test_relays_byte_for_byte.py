"""What is relayed arrives as it was sent: targets, methods, headers and bodies there; statuses, headers and bodies back."""

import os
import random

import pytest

import metrics
import wire
from httpd import ENTRYPOINT
from processes import wait_until

TARGETS = [
    "/walt-vpn/x", "/walt-vpn/x/y/", "/walt-vpn/", "/walt-vpn/x?", "/walt-vpn/x?a=b&c=d&&=;e", "/walt-vpn/x?q=/../..",
    "/walt-vpn/x?a+b%20c%2Bd", "/walt-vpn/x?http://elsewhere.example.org/?y", "/walt-vpn/x?%C3%A9%e9", "/walt-vpn/x?a?b?c",
    "/walt-vpn/%41%62c", "/walt-vpn/a%20b", "/walt-vpn/a+b", "/walt-vpn/%C3%A9", "/walt-vpn/a%3Fb", "/walt-vpn/a%23b",
    "/walt-vpn/a:b@c!d$e&f'g(h)i*j,k;l=m", "/walt-vpn/~x_-.", "/walt-vpn/x...y", "/walt-vpn/x%2e%2ey", "/walt-vpn/a|b^c`d",
    "/walt-vpn/server", "/walt-vpn/serve%72", "/walt-vpn/" + "x" * 4000, "/walt-vpn/x?" + "y" * 4000, "/walt-vpn/x%25",
    "/walt-vpn/node-conf/192.168.152.7/walt-node", "/walt-vpn/x;y=z/a", "/walt-vpn/x?[a]={b}|\\^`",
]

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "INVENTED"]

STATUSES = [
    (200, "OK"), (200, "Fine, thank you"), (200, ""), (201, "Created"), (202, "Accepted"), (203, "Non-Authoritative Information"),
    (206, "Partial Content"), (207, "Multi-Status"), (299, "Own Idea"), (300, "Multiple Choices"), (301, "Moved Permanently"),
    (302, "Found"), (303, "See Other"), (307, "Temporary Redirect"), (308, "Permanent Redirect"), (400, "Bad Request"),
    (401, "Unauthorized"), (402, "Payment Required"), (403, "Forbidden"), (404, "Not Found"), (404, "No Such Node"),
    (405, "Method Not Allowed"), (406, "Not Acceptable"), (408, "Request Timeout"), (409, "Conflict"), (410, "Gone"),
    (411, "Length Required"), (412, "Precondition Failed"), (413, "Too Large"), (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"), (418, "I'm a teapot"), (422, "Unprocessable"), (429, "Slow Down"), (451, "Unavailable"),
    (499, "Own Idea"), (500, "Internal Server Error"), (501, "Not Implemented"), (502, "Bad Gateway"), (503, "Service Unavailable"),
    (504, "Gateway Timeout"), (507, "Insufficient Storage"), (599, "Own Idea"),
]

EVERY_BYTE = bytes(range(256)) * 3

# What httpd itself says of each connection; mod_proxy's account of the client; what keeps caches away.
OF_THIS_HOP = {"connection", "keep-alive", "transfer-encoding", "via", "date", "server", "expires"}
ADDED = {"host", "connection", "x-forwarded-for", "x-forwarded-host", "x-forwarded-server", "content-length"}


def reply(status_line, headers, body):
    head = [status_line] + ["%s: %s" % field for field in headers]
    return ("\r\n".join(head) + "\r\n\r\n") + body.decode("latin-1")


def test_targets(entrypoint, walt):
    """The target of the request line, whatever is escaped in it."""
    ours = entrypoint()
    for target in TARGETS:
        ours.get(target)
        assert [request.target for request in walt.requests()] == [target]
        walt.clear()


@pytest.mark.parametrize("method", METHODS)
def test_methods(method, entrypoint, walt):
    """The method, also one that nobody knows, and the reply to it."""
    ours = entrypoint()
    answer = ours.get("/walt-vpn/node-conf/x", method=method)
    request, = walt.requests()
    assert (request.method, request.target, request.status) == (method, "/walt-vpn/node-conf/x", answer.status)
    assert request.version == "HTTP/1.1"


def test_trace_and_connect_are_not_passed_on(entrypoint, walt):
    """TRACE is httpd's own (or off), and CONNECT is for forward proxies."""
    ours = entrypoint(server="TraceEnable off")
    ours.tolerate_log("AH0")
    assert ours.get("/walt-vpn/x", method="TRACE").status in (403, 405)
    ours.get("entrypoint.example.org:80", method="CONNECT")
    assert walt.requests() == []


def test_request_headers(entrypoint, walt):
    """Every header of the client's, in its order; the entrypoint adds who asked, and its own Host."""
    sent = [("User-Agent", "rpiboot/1.0 (1f; version:5c4b1d2e timestamp:1)"), ("Accept", "*/*"), ("X-Empty", ""),
            ("x-lower", "a  b"), ("X-Long", "y" * 4000), ("Cookie", "a=b; c=d"), ("Authorization", "Basic eDp5"),
            ("Accept-Encoding", "gzip, br"), ("If-None-Match", '"x"'), ("X-Latin", "\xe9")]
    entrypoint().get("/walt-vpn/x", headers=sent)
    request, = walt.requests()
    assert [field for field in request.headers if field[0].lower() not in ADDED] == sent
    assert request.header("Host") == walt.location
    assert request.header("X-Forwarded-For") == "127.0.0.1"
    assert request.header("X-Forwarded-Host") == "entrypoint.example.org"


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_no_coding_is_asked_for(entrypoint, walt, cache, cached):
    """Another proxy on the way, NGINX with Debian's "gzip on", say, would encode what is no signature then, and no image."""
    ours = entrypoint(cache=cache.path if cached else "")
    for path in ("server", "per-ip/192-168-152-7/boot.sig", "per-ip/192-168-152-7/boot.img"):
        assert ours.get("/walt-vpn/" + path, headers=[("Accept-Encoding", "gzip, br"), ("X-A", "b")]).status == 200
    assert {request.target.rpartition("/")[2] for request in walt.requests()} == {"server", "boot.sig", "boot.img"}
    assert {request.header("Accept-Encoding") for request in walt.requests()} == {None}
    assert {request.header("X-A") for request in walt.requests()} <= {"b", None}, "ours carry no line of the client's"


@pytest.mark.parametrize("size", [0, 1, 1000, 300 * 1024])
def test_request_bodies(size, entrypoint, walt):
    """Every byte, with its length."""
    body = random.Random(size).randbytes(size)
    entrypoint().get("/walt-vpn/x", method="POST", body=body, headers=[("Content-Length", str(size)), ("Content-Type", "a/b")])
    # Its 404 may come before it has read all that it was sent.
    wait_until(lambda: len(walt.requests()[0].body) >= size, what="the whole body")
    request, = walt.requests()
    assert request.body[:size] == body and request.header("Content-Length") == str(size)
    assert request.header("Content-Type") == "a/b" and request.header("Transfer-Encoding") is None


def test_counts_all_of_what_a_site_puts_in(entrypoint, walt, folder):
    """What a program writes comes through a pipe, of which each read leaves the rest behind what was read."""
    program = os.path.join(folder, "program")
    with open(program, "w") as script:
        script.write("#!/bin/sh\necho 'Content-Type: text/plain'\necho\nhead -c 100000 /dev/zero | tr '\\0' x\n")
    os.chmod(program, 0o755)
    page = '<!--#include virtual="/program" -->'
    walt.fault("page", "raw", reply=reply("HTTP/1.1 200 OK", [("Content-Length", str(len(page)))], page.encode()))
    site = "<Location /walt-vpn/>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Location>\nScriptAlias /program %s\n" % program
    ours = entrypoint(vhost=site + metrics.LOCATION, modules=(*ENTRYPOINT, "alias", "filter", "include", "cgi"))
    assert ours.get("/walt-vpn/page").body.count(b"x") == 100000        # in chunks
    assert metrics.scrape(ours).sum("walt_vpn_received_bytes_total") == 100000


@pytest.mark.parametrize("status, reason", STATUSES)
def test_statuses(status, reason, entrypoint, walt):
    """The status line and the body that came with it, errors too: a client sees the WalT server's words."""
    headers = [("Content-Length", str(len(EVERY_BYTE))), ("Content-Type", "x/y"), ("X-Own", "kept")]
    walt.fault("/walt-vpn/x", "raw", reply=reply("HTTP/1.1 %d %s" % (status, reason), headers, EVERY_BYTE))
    answer = entrypoint().get("/walt-vpn/x")
    assert answer.status_line.rstrip() == ("HTTP/1.1 %d %s" % (status, reason)).rstrip()
    assert answer.body == EVERY_BYTE
    assert (answer.header("Content-Type"), answer.header("X-Own")) == ("x/y", "kept")


@pytest.mark.parametrize("status, reason", [(204, "No Content"), (304, "Not Modified")])
def test_statuses_without_a_body(status, reason, entrypoint, walt):
    """Replies that end with their head."""
    walt.fault("/walt-vpn/x", "raw", reply=reply("HTTP/1.1 %d %s" % (status, reason), [("ETag", '"x"')], b""))
    answer = entrypoint().get("/walt-vpn/x")
    assert (answer.status, answer.header("ETag"), answer.body) == (status, '"x"', b"")


def test_reply_headers(entrypoint, walt):
    """Every header of the WalT server's, with its value and its repetitions, in its order."""
    sent = [("Content-Type", "text/html; charset=UTF-8"), ("X-Empty", ""), ("x-lower", "a  b"), ("X-Long", "y" * 4000),
            ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d; Path=/walt-vpn/"), ("Location", "http://walt.example.org/walt-vpn/y"),
            ("ETag", '"x"'), ("Last-Modified", "Sun, 22 Nov 2026 21:53:24 GMT"), ("Cache-Control", "max-age=1"),
            ("Content-Language", "fr"), ("Content-Encoding", "gzip"), ("Vary", "Accept"), ("WWW-Authenticate", 'Basic realm="x"'),
            ("Retry-After", "7"), ("Allow", "GET"), ("Accept-Ranges", "bytes"), ("X-Latin", "\xe9"),
            ("Content-Disposition", 'attachment; filename="a b"'), ("Content-Length", "3")]
    walt.fault("/walt-vpn/x", "raw", reply=reply("HTTP/1.1 200 OK", sent, b"abc"))
    answer = entrypoint().get("/walt-vpn/x")
    came = [field for field in answer.headers if field[0].lower() not in OF_THIS_HOP]
    assert sorted(came) == sorted(sent)
    assert [value for name, value in came if name == "Set-Cookie"] == ["a=b", "c=d; Path=/walt-vpn/"]
    assert answer.body == b"abc"


def test_date_and_server_of_the_walt_server(entrypoint, walt):
    """They say how old the answer is and who gave it."""
    sent = [("Date", "Sun, 22 Nov 2026 21:53:24 GMT"), ("Server", "walt"), ("Expires", "Sun, 22 Nov 2026 21:53:25 GMT"),
            ("Content-Length", "0")]
    walt.fault("/walt-vpn/x", "raw", reply=reply("HTTP/1.1 200 OK", sent, b""))
    answer = entrypoint().get("/walt-vpn/x")
    assert {(name, answer.header(name)) for name, _ in sent} == set(sent)


@pytest.mark.parametrize("version, headers, framed, why", [
    ("HTTP/1.1", [], b"%s", "the end of the connection ends it"),
    ("HTTP/1.0", [], b"%s", "and so in HTTP/1.0"),
    ("HTTP/1.0", [("Content-Length", "%d")], b"%s", "HTTP/1.0 with a length"),
    ("HTTP/1.1", [("Transfer-Encoding", "chunked")], b"%x\r\n%s\r\n0\r\n\r\n", "in one chunk"),
    ("HTTP/1.1", [("Content-Length", "%d")], b"%s", "with a length"),
])
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1 << 20])
def test_reply_bodies(version, headers, framed, why, size, entrypoint, walt):
    """The body, however the WalT server marks its end."""
    body = random.Random(size).randbytes(size)
    if framed.count(b"%") > 1:
        sent = framed % (size, body) if size else b"0\r\n\r\n"
    else:
        sent = framed % body
    headers = [(name, value % size if "%d" in value else value) for name, value in headers]
    walt.fault("/walt-vpn/x", "raw", reply=reply(version + " 200 OK", headers, sent))
    answer = entrypoint().get("/walt-vpn/x")
    assert answer.status == 200
    assert (unchunked(answer.body) if answer.chunked else answer.body) == body


def unchunked(body):
    pieces = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        pieces += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]
    return pieces


def test_files_that_nodes_boot_from(entrypoint, walt, folder):
    """boot.sig and boot.img are the WalT server's own bytes, relayed or from the cache."""
    for options in ({}, {"cache": folder + "/images"}):
        ours = entrypoint(**options)
        for name in ("boot.sig", "boot.img"):
            target = "/walt-vpn/per-ip/192-168-152-7/" + name
            direct = wire.exchange(walt.port, wire.request(target, "x"))
            through = ours.get(target)
            assert (through.status, through.body) == (200, direct.body)
            assert through.header("Content-Length") == direct.header("Content-Length") == str(len(through.body))


FORM = [("Content-Type", "multipart/form-data; boundary=limit")]


def form(size):
    return (b'--limit\r\nContent-Disposition: form-data; name="ssh-pubkey"; filename="key.pub"\r\n\r\n'
            + b"k" * size + b"\r\n--limit--\r\n")


def test_enroll(entrypoint, walt):
    """A node's key, byte for byte."""
    answer = entrypoint().get("/walt-vpn/enroll", method="POST", headers=FORM, body=form(400))
    assert (answer.status, answer.body) == (200, b"enrolled 400 bytes\n")
    assert walt.requests()[0].body == form(400)


def test_enroll_that_waits_for_a_word(entrypoint, walt):
    """curl sends Expect: 100-continue and waits for the answer before it sends the body."""
    ours = entrypoint()
    with ours.connect() as connection:
        connection.send(wire.request("/walt-vpn/enroll", ours.server_name, method="POST",
                                     headers=FORM + [("Expect", "100-continue"), ("Content-Length", str(len(form(400))))]))
        assert connection.reply().status == 100
        connection.send(form(400))
        assert connection.rest().body == b"enrolled 400 bytes\n"
    assert walt.requests()[0].body == form(400)


@pytest.mark.parametrize("pieces", [1, 7, 100])
@pytest.mark.parametrize("target", ["/walt-vpn/enroll", "/walt-vpn/enroll?x=y", "/walt-vpn/enrol%6c"])
def test_enroll_in_chunks(pieces, target, entrypoint, walt):
    """The WalT server can't read chunks: it gets the same bytes with a Content-Length."""
    body = form(700)
    size = len(body) // pieces + 1
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + size]), body[at:at + size]) for at in range(0, len(body), size))
    answer = entrypoint().get(target, method="POST", headers=FORM + [("Transfer-Encoding", "chunked")], body=chunked + b"0\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"enrolled 700 bytes\n")
    request, = walt.requests()
    assert request.header("Transfer-Encoding") is None and request.header("Content-Length") == str(len(body))
    assert request.body == body


def test_other_chunked_bodies(entrypoint, walt):
    """They get a Content-Length, too, whatever their size."""
    body = random.Random(1).randbytes(200000)
    entrypoint().get("/walt-vpn/x", method="PUT", headers=[("Transfer-Encoding", "chunked")],
                     body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    request, = walt.requests()
    assert request.header("Content-Length") == "200000" and request.body == body


def test_requests_on_one_connection(entrypoint, walt):
    """A client may keep its connection, and ask before it has its answer."""
    ours = entrypoint()
    with ours.connect() as connection:
        for number in range(3):
            connection.send(wire.request("/walt-vpn/node-conf/%d" % number, ours.server_name, close=False))
        for number in range(3):
            assert connection.reply().body == b"conf %d\n" % number
