"""The WalT server's lax parser is never put to the test: of whatever a client sends, it gets one clean request or none."""

import socket

import pytest

from proxies import WaltVpn
from raw_requests import RAWS, post
from recorder import Recorder, fault_of


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
