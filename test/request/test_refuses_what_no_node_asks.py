"""Over the socket: what can't be legitimate gets 404 and one line that says why, and the WalT server never hears of it."""

import re
import subprocess

import pytest

import wire
from boot_files import MIB
from request_targets import ACCEPTED, DISGUISES, IMG, NODE, REFUSED, SIG

LIMIT = 32 * 1024


@pytest.fixture(params=["all", "boot"])
def expose(request):
    return request.param


@pytest.mark.parametrize("slashes", ["Off", "On", "NoDecode"])
def test_targets(entrypoint, walt, expose, slashes):
    """The whole table, as GET and in other forms, whatever httpd itself would do about slashes."""
    ours = entrypoint(vhost="WaltVpnExpose %s\nAllowEncodedSlashes %s" % (expose, slashes), server="MergeSlashes Off")
    ours.tolerate_log("was answered with 404")
    said = 0
    for row in REFUSED:
        target = "/walt-vpn/" + row.target
        for raw in (wire.request(target, ours.server_name),
                    wire.request("http://%s%s" % (ours.server_name, target), ours.server_name),
                    wire.request(target, ours.server_name, version="HTTP/1.0")):
            reply = ours.get(raw=raw)
            assert reply.status == 404, (row, reply)
            assert reply.header("Content-Length") == str(len(reply.body)) and len(reply.body) < 200, row
        lines = [line for line in ours.error_log.splitlines() if "refused with 404" in line]
        said += 2       # as often as there were different targets: the third was a repetition
        assert len(lines) == said, row
        assert all("[walt_vpn:info]" in line and row.fault in line for line in lines[-2:]), (row, lines[-2:])
    assert walt.requests() == []


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "FOO"])
def test_methods(entrypoint, walt, expose, method):
    """A bad target is bad in every method."""
    ours = entrypoint(vhost="WaltVpnExpose %s" % expose)
    ours.tolerate_log("was answered with 404")
    for target in (NODE, "../x", NODE + "..%2fx", "node-conf/x?fake_requester_ip=1.2.3.4"):
        assert ours.get("/walt-vpn/" + target, method=method).status == 404, target
    assert walt.requests() == []


LEFTOVERS = {
    "its folder": 'ProxyPass "/walt-vpn/" "%s/walt-vpn/"',
    "all": 'ProxyPass "/" "%s/"',
    "all as it was sent": 'ProxyPass "/" "%s/" nocanon',
    "as for servlets": 'ProxyPass "/walt-vpn/" "%s/walt-vpn/" mapping=servlet',
    "a rule": 'RewriteEngine on\nRewriteRule "^/*(walt-vpn/.*)" "%s/$1" [P]',
}


@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize("slashes, merge", [("Off", "On"), ("On", "Off"), ("NoDecode", "Off")])
def test_disguises(entrypoint, walt, leftover, slashes, merge):
    """A path below /walt-vpn/ is what httpd, or the server that a ProxyPass from before leads to, would make of these."""
    ours = entrypoint(vhost="WaltVpnExpose boot\nAllowEncodedSlashes %s\n%s" % (slashes, LEFTOVERS[leftover] % walt.url),
                      server="MergeSlashes " + merge, modules=("rewrite", "proxy", "proxy_http", "walt_vpn"))
    ours.tolerate_log("it passes requests below /walt-vpn/ on")
    targets = [start + rest for start in DISGUISES for rest in (NODE, "enroll?fake_requester_ip=1.2.3.4", "server")]
    for target in targets:
        for form in (target, "http://" + ours.server_name + target):
            reply = ours.get(form)
            assert reply.status == 404 and reply.body == b"Not found.\n", form
    assert walt.requests() == []
    told = re.findall(r"refused with 404: a path below /walt-vpn/ in disguise: (\S+)", ours.error_log)
    assert sorted(told) == sorted(form for target in targets for form in (target, "http://" + ours.server_name + target))


@pytest.mark.parametrize("settings, reason", [
    ("", "the default"),
    ("AllowEncodedSlashes NoDecode", "slashes stay encoded"),
    ("RewriteEngine on\nRewriteRule ^/x - [L]", "another module has looked at it"),
])
def test_accepted_targets_arrive_as_they_were_sent(entrypoint, walt, settings, reason):
    """In mode all; and an escape stays that escape."""
    ours = entrypoint(vhost=settings, server="MergeSlashes Off", modules=["rewrite", "proxy", "proxy_http", "walt_vpn"])
    ours.tolerate_log("was answered with")
    for row in ACCEPTED:
        if row.file in (SIG, IMG):
            continue        # these are asked for in the plain spelling, with a signature before the image: other tests
        ours.get("/walt-vpn/" + row.target)
        assert [request.target for request in walt.requests()] == ["/walt-vpn/" + row.target], row.reason
        walt.clear()


def test_boot_lets_through_what_a_node_asks(entrypoint, walt):
    ours = entrypoint(vhost="WaltVpnExpose boot")
    ours.tolerate_log("was answered with 404")
    for row in ACCEPTED:
        for method in ("GET", "HEAD"):
            reply = ours.get("/walt-vpn/" + row.target, method=method)
            assert reply.status == (200 if row.plain else 404), row.reason
            if row.file == IMG and row.plain and method == "GET":
                assert len(reply.body) == MIB
        if not row.plain:
            assert walt.requests() == [], row.reason
        walt.clear()
    lines = re.findall(r"refused with 404: not among what WaltVpnExpose boot lets through: (.*)", ours.error_log)
    assert lines == ["/walt-vpn/" + row.target for row in ACCEPTED if not row.plain]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "FOO"])
def test_boot_names_the_methods_there_are(entrypoint, walt, method):
    """405 on the paths that exist, with the methods that work there; 404 on all others."""
    ours = entrypoint(vhost="WaltVpnExpose boot")
    ours.tolerate_log("was answered with")
    for target in ("server", NODE + "boot.sig", NODE + "boot.img"):
        reply = ours.get("/walt-vpn/" + target, method=method)
        assert reply.status == 405
        assert sorted(re.split(r",\s*", reply.header("Allow"))) == ["GET", "HEAD"]
    for target in ("enroll", "node-conf/x", NODE + "boot.bin"):
        assert ours.get("/walt-vpn/" + target, method=method, body=b"x").status == 404
    assert walt.requests() == []


def form(size):
    """An enroll body of so many bytes in all."""
    start = b'--limit\r\nContent-Disposition: form-data; name="ssh-pubkey"; filename="k"\r\n\r\n'
    end = b"\r\n--limit--\r\n"
    return start + b"k" * (size - len(start) - len(end)) + end


def chunks(body, size=1000):
    pieces = (body[start:start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("target", ["enroll", "%65nroll", "enroll;x", "enroll?a=b"])
@pytest.mark.parametrize("expect", [False, True], ids=["", "expecting"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_enroll_body(entrypoint, walt, target, expect, chunked):
    """32 KiB pass, one byte more does not: a large key ends the WalT daemon."""
    ours = entrypoint()
    ours.tolerate_log("AH02608|AH01095")      # mod_proxy, of the body that was cut off
    headers = [("Content-Type", "multipart/form-data; boundary=limit")]
    headers += [("Expect", "100-continue")] if expect else []
    headers += [("Transfer-Encoding", "chunked")] if chunked else []
    for size, arrives in ((300, True), (LIMIT, True), (LIMIT + 1, False), (100 * 1024, False), (3 * MIB, False)):
        body = form(size)
        reply = ours.get("/walt-vpn/" + target, method="POST", headers=headers, body=chunks(body) if chunked else body)
        final = re.findall(rb"HTTP/1\.1 (\d+)", reply.raw)
        if arrives:
            assert final[-1] != b"413"
            request, = walt.requests()
            assert request.header("Content-Length") == str(size) and request.header("Transfer-Encoding") is None
            if target != "enroll;x":        # the WalT server knows no such path, and does not wait for its body
                assert request.body == body
        else:
            assert final == [b"413"] or size > LIMIT + 1 and reply.ended == "RST"   # to a client that goes on sending
            assert walt.requests() == []
        walt.clear()
    assert len(re.findall("refused with 413: an enroll body of more than 32 KiB", ours.error_log)) == 1   # said once


def test_length_decides_before_the_body(entrypoint, walt):
    """The answer comes while the client still has everything to send."""
    ours = entrypoint()
    with ours.connect() as connection:
        connection.send(wire.request("/walt-vpn/enroll", ours.server_name, method="POST", headers=[("Content-Length", "32769")]))
        assert connection.reply().status == 413
    assert walt.requests() == []


BODIES = [
    ([("Content-Length", "100000")], b"x" * 100000, "as large as it likes"),
    ([("Content-Length", "1")], b"x", "as small as one can be"),
    ([("Content-Length", "100000")], b"", "announced, and never sent"),
    ([("Content-Length", "5"), ("Expect", "100-continue")], b"", "held back until it is asked for"),
    ([("Transfer-Encoding", "chunked")], b"1\r\nx\r\n0\r\n\r\n", "without a length"),
    ([("Transfer-Encoding", "chunked")], b"0\r\n\r\n", "of no bytes, which shows behind the head only"),
    ([("Transfer-Encoding", "chunked")], b"x", "of broken chunks"),
]


@pytest.mark.parametrize("headers, body, reason", BODIES, ids=[row[2] for row in BODIES])
def test_boot_lets_no_body_through(entrypoint, walt, headers, body, reason):
    """Of none of the three, in none of the methods: at once, and with the end of the connection."""
    ours = entrypoint(vhost="WaltVpnExpose boot")
    ours.tolerate_log("was answered with 4")
    for target in ("server", NODE + "boot.sig", NODE + "boot.img"):
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "FOO"):
            with ours.connect() as connection:
                connection.send(wire.request("/walt-vpn/" + target, ours.server_name, method, headers, close=False) + body)
                reply = connection.reply(head_only=method == "HEAD")
                assert reply.status == 413 and reply.header("Connection") == "close"
    assert walt.requests() == []
    assert len(re.findall("refused with 413: a body, which WaltVpnExpose boot does not let through", ours.error_log)) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("target, status", [("server", 413), (NODE + "boot.sig", 413), ("enroll", 404)])
def test_no_byte_of_a_refused_body_is_a_request(entrypoint, walt, method, target, status):
    """On a connection that is kept, with what is a request behind it, and one of those that end the WalT daemon in it."""
    ours = entrypoint(vhost="WaltVpnExpose boot")
    ours.tolerate_log("was answered with 4")
    body = wire.request("/walt-vpn/server?inner", ours.server_name, close=False)
    behind = wire.request("/behind", ours.server_name)
    for form, sent in (("Content-Length", str(len(body))), ("Transfer-Encoding", "chunked")):
        raw = wire.request("/walt-vpn/" + target, ours.server_name, method, [(form, sent)], close=False)
        reply = ours.get(raw=raw + (body if form == "Content-Length" else chunks(body)) + behind)
        assert reply.raw.startswith(b"HTTP/1.1 %d " % status) and reply.raw.count(b"HTTP/1.1 ") == 1
    assert walt.requests() == [] and "inner" not in ours.access_log


def test_boot_lets_no_body_through_in_http_2(entrypoint, walt):
    """Where it needs neither a length nor a coding. mod_http2 may reset the stream of a body that comes late: curl says 92."""
    ours = entrypoint(vhost="WaltVpnExpose boot\nProtocols h2c http/1.1", modules=("http2", "proxy", "proxy_http", "walt_vpn"))
    for options, ends in ((["--data", "x"], [(0, "413"), (92, "000")]), ([], [(0, "200")]),
                          (["--data", "x", "-H", "Content-Length:"], [(0, "413"), (92, "000")])):
        done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-X", "GET", "-w", "%{http_code}", "-o", "/dev/null",
                               "-H", "Host: " + ours.server_name, *options, "http://127.0.0.1:%d/walt-vpn/server" % ours.port],
                              stdout=subprocess.PIPE, universal_newlines=True)
        assert (done.returncode, done.stdout) in ends, options
    assert len(walt.requests()) == 1


def test_a_length_of_nothing_is_no_body(entrypoint, walt):
    """Some clients write one with each request."""
    ours = entrypoint(vhost="WaltVpnExpose boot")
    with ours.connect() as connection:
        for _ in range(2):
            connection.send(wire.request("/walt-vpn/server", ours.server_name, headers=[("Content-Length", "0")], close=False))
            assert connection.reply().status == 200
    assert len(walt.requests()) == 2


def test_names_the_client_behind_a_proxy(entrypoint, walt):
    """mod_remoteip has said who the client is by the time that a refusal is logged."""
    ours = entrypoint(vhost="RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1",
                      modules=["remoteip", "proxy", "proxy_http", "walt_vpn"])
    assert ours.get("/walt-vpn/per-ip/x/", headers=[("X-Forwarded-For", "203.0.113.9")]).status == 404
    assert "[client 203.0.113.9:0] refused with 404: a directory below per-ip/" in ours.error_log
    assert "203.0.113.9 " in ours.access_log and walt.requests() == []


@pytest.mark.parametrize("method, target", [("PUT", "x"), ("GET", "server")])
def test_chunked_body(entrypoint, walt, method, target):
    """mod_proxy collects it on the disk to find its length: 1 MiB passes, what would fill the disk does not."""
    ours = entrypoint()
    ours.tolerate_log("AH02608|AH01095")      # mod_proxy, of the body that was cut off
    for size, arrives in ((MIB, True), (MIB + 1, False)):
        reply = ours.get("/walt-vpn/" + target, method=method, headers=[("Transfer-Encoding", "chunked")],
                         body=chunks(b"x" * size, 65536))
        assert (reply.status != 413) == arrives
        assert [request.header("Content-Length") for request in walt.requests()] == [str(MIB)]
    assert "refused with 413: a chunked body of more than 1 MiB" in ours.error_log
