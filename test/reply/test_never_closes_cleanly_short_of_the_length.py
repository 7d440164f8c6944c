"""Whatever ends a reply before its last byte, the node sees a reset: after a clean end it would wait for good."""

import os
import signal
import socket

import pytest

import wire
from boot_client import WINDOW
from processes import wait_until

NODE = "192.168.152.7"
IMAGE = "/walt-vpn/per-ip/192-168-152-7/boot.img"
MIB = 24            # more than the kernel keeps for a connection
SOME = 256 * 1024   # bytes after which a download is under way


class Download:
    """A node in the middle of boot.img, which takes no more until .rest()."""

    def __init__(self, entrypoint, headers=()):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", entrypoint.port))
        self.socket.sendall(wire.request(IMAGE, entrypoint.server_name, headers=headers))
        self.data = bytearray()
        while len(self.data) < SOME:
            piece = self.socket.recv(WINDOW)
            assert piece, "ended before anything happened"
            self.data += piece

    def rest(self):
        """How it ends: ("FIN" or "RST", bytes of the body, Content-Length)."""
        ended = "FIN"
        try:
            while True:
                piece = self.socket.recv(1 << 20)
                if not piece:
                    break
                self.data += piece
        except ConnectionResetError:
            ended = "RST"
        self.socket.close()
        reply = wire.Reply(bytes(self.data))
        return ended, len(reply.body), int(reply.header("Content-Length"))


def assert_reset(download):
    ended, received, length = download.rest()
    assert length == MIB << 20
    assert received < length, "the download was whole before it could be interrupted"
    assert ended == "RST"


@pytest.fixture(params=["relayed", "cached"])
def make(request, entrypoint, walt, folder):
    """make(server=..., mpm=...): an entrypoint with a large image, which is in the cache if there is one."""
    def make(**options):
        walt.set_image(mib=MIB)
        ours = entrypoint(cache=folder + "/images" if request.param == "cached" else "", **options)
        ours.tolerate_log("AH03465")       # of event, whose pollset goes before its threads when it is stopped hard
        ours.tolerate_log("AH01110|AH01102|AH01114|AH00046|AH00045")  # of mod_proxy whose client went; of children that had to be killed
        if request.param == "cached":
            assert ours.get(IMAGE, method="HEAD").status == 200
        return ours
    return make


MPMS = pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])


@MPMS
def test_process_killed(make, mpm):
    ours = make(mpm=mpm)
    download = Download(ours)
    for child in ours.children():
        os.kill(child, signal.SIGKILL)
    assert_reset(download)


@MPMS
def test_process_killed_while_it_reads_a_request(entrypoint, mpm):
    """From then on the kernel would end the connection cleanly, and for a node that is the end of its boot."""
    ours = entrypoint(mpm=mpm)
    ours.tolerate_log("AH00052: child pid .* exit signal Killed")
    with ours.connect() as connection:
        connection.send(wire.request(IMAGE, ours.server_name)[:-2])
        wait_until(connection.is_read, what="a thread that reads the request")
        for child in ours.children():
            os.kill(child, signal.SIGKILL)
        assert connection.rest().ended == "RST"


@MPMS
def test_another_site_ends_as_without_us(httpd, walt, mpm):
    """Its clients see what httpd lets them see, at the same address as well."""
    ours = httpd("".join("<VirtualHost *:@PORT@>\nServerName %s\n%s\n</VirtualHost>\n" % site for site in (
        ("site.example.org", ""), ("entrypoint.example.org", "WaltVpnServer " + walt.location))), mpm=mpm)
    ours.tolerate_log("AH00052: child pid .* exit signal Killed")
    with open(os.path.join(ours.folder, "htdocs", "file"), "wb") as file:
        file.truncate(MIB << 20)
    with ours.connect() as idle, ours.connect() as connection:
        idle.send(wire.request("/", "site.example.org", close=False))
        assert idle.reply().status == 404
        connection.send(wire.request("/file", "site.example.org"))
        assert connection.receive()
        for child in ours.children():
            os.kill(child, signal.SIGKILL)
        assert idle.rest().ended == "FIN"
        reply = connection.rest()
        assert reply.ended == "FIN" and len(reply.body) < MIB << 20


@MPMS
@pytest.mark.thorough
def test_hard_restart(make, mpm):
    ours = make(mpm=mpm)
    ours.allow_crash_at_stop()
    download = Download(ours)
    ours.restart()
    assert_reset(download)


@MPMS
@pytest.mark.thorough
def test_hard_stop(make, mpm):
    ours = make(mpm=mpm)
    ours.allow_crash_at_stop()
    download = Download(ours)
    ours.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ours.process.poll() is not None, 30, "httpd's end")
    assert_reset(download)


def test_child_ended_by_signal(make):
    """As an administrator's kill does it. A child of event or worker sends what it has begun to send before it goes."""
    ours = make(mpm="prefork")
    ours.allow_crash_at_stop()
    download = Download(ours)
    for child in ours.children():
        os.kill(child, signal.SIGTERM)
    assert_reset(download)


@pytest.mark.parametrize("mpm", ["event", "prefork"])
@pytest.mark.thorough
def test_graceful_stop_with_a_time_limit(make, mpm):
    ours = make(mpm=mpm, server="GracefulShutdownTimeout 1")
    ours.allow_crash_at_stop()
    download = Download(ours)
    ours.process.send_signal(signal.SIGWINCH)
    wait_until(lambda: ours.process.poll() is not None, 30, "httpd's end")
    assert_reset(download)


@MPMS
def test_client_that_stops_reading(make, mpm):
    """httpd gives up on it after Timeout; whatever of the reply is left is not followed by a clean end."""
    ours = make(mpm=mpm, server="Timeout 1")
    download = Download(ours)
    wait_until(lambda: '"GET ' + IMAGE in ours.access_log, 30, "the end of the request")
    assert_reset(download)


@MPMS
def test_graceful_restart_lets_it_finish(make, mpm, walt):
    """The promise is no excuse: what can be finished is."""
    ours = make(mpm=mpm)
    download = Download(ours)
    ours.graceful()
    ended, received, length = download.rest()
    assert (ended, received) == ("FIN", length)


@pytest.mark.parametrize("close", [True, False], ids=["close", "keep-alive"])
@MPMS
def test_whole_reply_ends_cleanly(make, mpm, close):
    """And the setting is back to normal at the last byte: nothing of it is lost, even to a client that reads late."""
    ours = make(mpm=mpm, server="KeepAliveTimeout 1")
    with ours.connect(timeout=30) as connection:
        connection.send(wire.request(IMAGE, ours.server_name, close=close) + b"\r\n")
        reply = connection.reply()
        assert len(reply.body) == MIB << 20
        connection.rest()
        assert connection.ended == "FIN"
