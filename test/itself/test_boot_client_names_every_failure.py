"""The boot client against replies written by hand: each way to fail has its name."""

import fcntl
import hashlib
import re
import socket
import struct
import termios
import threading
import time

import pytest

from boot_client import MOST_REPLIES, BootClient, Outcome
from boot_files import boot_sig, image_pieces

IMAGE = image_pieces("by hand", 1)[0][:100000]
HALF = len(IMAGE) // 2


def digest(data):
    return hashlib.sha256(data).hexdigest()


SIG = boot_sig(digest(IMAGE))


def reply(body, status="200 OK", length=None, extra=""):
    length = "Content-Length: %d" % len(body) if length is None else length
    return ("HTTP/1.1 %s\r\n%s%s\r\n\r\n" % (status, extra, length)).encode() + body


def partial(first):
    return reply(IMAGE[first:], "206 Partial Content")


class ScriptedServer:
    """Its n-th connection is given the n-th of these bytes, then ended in the way said."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.endings = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        for data, ending in self.script:
            connection, _ = self.listener.accept()
            connection.settimeout(10)
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            self.requests.append(request)
            connection.sendall(data)
            if ending == "RST":
                self.let_it_read(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif ending == "silence":
                self.end_of(connection)
            elif ending == "listen":
                self.endings.append(self.end_of(connection))
            connection.close()

    @staticmethod
    def let_it_read(connection):
        while any(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)):
            time.sleep(0.001)

    @staticmethod
    def end_of(connection):
        try:
            return "FIN" if not connection.recv(1) else "data"
        except ConnectionResetError:
            return "RST"

    def finish(self):
        self.thread.join(10)
        self.listener.close()


def boot(script, **options):
    server = ScriptedServer(script)
    options.setdefault("patience", 0.3)
    result = BootClient("127.0.0.1", server.port, http_host="entrypoint.example.org", **options).boot()
    server.finish()
    return result, server


GOOD_SIG = (reply(SIG), "listen")

FAILURES = [
    # of boot.sig
    ("404", [(reply(b"no", "404 Not Found"), "listen")], Outcome.HTTP_ERROR),
    ("301", [(reply(b"", "301 Moved", extra="Location: https://x/\r\n"), "listen")], Outcome.REDIRECTED),
    ("302", [(reply(b"", "302 Found", extra="Location: https://x/\r\n"), "listen")], Outcome.REDIRECTED),
    ("a 503 is taken as the file", [(reply(b"busy", "503 Service Unavailable"), "listen")], Outcome.RESTARTS),
    ("4097 bytes of boot.sig", [(reply(SIG.ljust(4097)), "listen")], Outcome.RESTARTS),
    ("no Content-Length", [(reply(SIG, length="X-Other: 1"), "FIN")], Outcome.NOT_UNDERSTOOD),
    ("no blank after the colon", [(reply(SIG, length="Content-Length:%d" % len(SIG)), "FIN")], Outcome.NOT_UNDERSTOOD),
    ("two blanks after the colon", [(reply(SIG, length="Content-Length:  %d" % len(SIG)), "FIN")], Outcome.NOT_UNDERSTOOD),
    ("chunked", [(reply(b"0\r\n\r\n", length="Transfer-Encoding: chunked"), "FIN")], Outcome.NOT_UNDERSTOOD),
    ("compressed", [(reply(SIG, extra="Content-Encoding: gzip\r\n"), "FIN")], Outcome.NOT_UNDERSTOOD),
    ("not HTTP", [(b"SSH-2.0-OpenSSH\r\n\r\n", "FIN")], Outcome.NOT_UNDERSTOOD),
    ("a header line of 200 bytes", [(reply(SIG, extra="X-Long: %s\r\n" % ("x" * 192)), "FIN")], Outcome.WEDGED),
    ("100 header lines", [(reply(SIG, extra="X: y\r\n" * 98), "listen")], Outcome.NOT_UNDERSTOOD),
    ("a status of two digits", [(reply(SIG, status="20 OK"), "listen")], Outcome.NOT_UNDERSTOOD),
    ("a Content-Length of 19 digits", [(reply(SIG, length="Content-Length: 1" + "0" * 18), "listen")], Outcome.NOT_UNDERSTOOD),
    ("closed before the status line", [(b"", "FIN")], Outcome.HANGS),
    ("closed within the headers", [(b"HTTP/1.1 200 OK\r\nContent-", "FIN")], Outcome.HANGS),
    ("closed before the body", [(reply(SIG)[:-len(SIG)], "FIN")], Outcome.HANGS),
    ("reset, three times", [(b"", "RST")] * 3, Outcome.GAVE_UP),
    ("silent, three times", [(b"", "silence")] * 3, Outcome.GAVE_UP),
    # of boot.img
    ("closed one byte short", [GOOD_SIG, (reply(IMAGE)[:-1], "FIN")], Outcome.HANGS),
    ("404 for the image", [GOOD_SIG, (reply(b"no", "404 Not Found"), "listen")], Outcome.HTTP_ERROR),
    ("a 502 is taken as the image", [GOOD_SIG, (reply(b"bad", "502 Bad Gateway"), "listen")], Outcome.RESTARTS),
    ("a wrong byte", [GOOD_SIG, (reply(IMAGE[:-1] + b"?"), "listen")], Outcome.CORRUPT),
    ("a 200 answers a resume", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (reply(IMAGE), "listen")], Outcome.CORRUPT),
    ("a 206 for another place", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (partial(HALF - 1), "listen")], Outcome.CORRUPT),
    ("a 416 is appended", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (reply(b"no", "416 No"), "listen")], Outcome.CORRUPT),
    ("a 404 answers a resume", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (reply(b"", "404 No"), "listen")], Outcome.HTTP_ERROR),
    ("two resumes bring nothing", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (b"", "RST"), (b"", "silence")], Outcome.GAVE_UP),
]


@pytest.mark.parametrize("script, outcome", [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_failure_is_named(script, outcome):
    result, server = boot(script)
    assert result.outcome is outcome, result
    assert len(server.requests) == len(script)
    assert result.explanation


@pytest.mark.parametrize("script", [
    [GOOD_SIG, (reply(IMAGE)[:-1], "FIN")],
    [(reply(SIG, extra="X-Long: %s\r\n" % ("x" * 192)), "listen")],
], ids=["hangs", "wedged"])
def test_a_watchdog_ends_a_hang(script):
    """By a reset, after all of its time, which is not waited for here."""
    result, _ = boot(script, watchdog=30)
    assert (result.outcome, result.seconds) == (Outcome.TOO_LATE, 30) and result.explanation


def test_a_watchdog_is_of_the_whole_boot():
    """No byte that comes, and no new connection, gives it more time."""
    slow = dict(rate=len(IMAGE) // 2, patience=5)
    result, _ = boot([GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (partial(HALF), "listen")], watchdog=1.5, **slow)
    assert (result.outcome, result.explanation) == (Outcome.TOO_LATE, "after 1.5 s") and result.bytes > HALF
    result, _ = boot([GOOD_SIG, (reply(IMAGE), "listen")], watchdog=30, **slow)
    assert result.booted
    result, _ = boot([GOOD_SIG, (reply(IMAGE), "listen")], watchdog=30, seconds=0.5, **slow)
    assert result.outcome is Outcome.UNDECIDED


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert BootClient("127.0.0.1", port).boot().outcome is Outcome.UNREACHABLE


SUCCESSES = [
    ("at once", [GOOD_SIG, (reply(IMAGE), "listen")], 0),
    ("with a 199 byte header line", [(reply(SIG, extra="X-Long: %s\r\n" % ("x" * 191)), "listen"), (reply(IMAGE), "listen")], 0),
    ("with 99 header lines", [(reply(SIG, extra="X: y\r\n" * 97), "listen"), (reply(IMAGE), "listen")], 0),
    ("with CONTENT-LENGTH", [(reply(SIG, length="CONTENT-LENGTH: 602"), "listen"), (reply(IMAGE), "listen")], 0),
    ("after a reset", [GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (partial(HALF), "listen")], 1),
    ("after silence", [GOOD_SIG, (reply(IMAGE)[:-HALF], "silence"), (partial(HALF), "listen")], 1),
    ("after four resumes, each with something new", [GOOD_SIG] + [
        (partial(first)[:first + 1 - len(IMAGE)], "RST") for first in range(4)] + [(partial(4), "listen")], 4),
    ("after two resumes in vain, but not in a row", [
        GOOD_SIG, (partial(0)[:1 - len(IMAGE)], "RST"), (b"", "RST"), (partial(1)[:2 - len(IMAGE)], "RST"), (b"", "RST"),
        (partial(2), "listen")], 4),
]


@pytest.mark.parametrize("script, resumes", [case[1:] for case in SUCCESSES], ids=[case[0] for case in SUCCESSES])
def test_boots(script, resumes):
    result, server = boot(script)
    assert result.outcome is Outcome.BOOTED, result
    assert result.resumes == resumes
    assert result.image_sha256 == digest(IMAGE)


def test_requests_are_the_firmwares_own_bytes():
    _, server = boot([GOOD_SIG, (reply(IMAGE)[:-HALF], "RST"), (partial(HALF), "listen")], node="10.0.7.12")
    agent = rb"User-Agent: rpiboot/1.0 \([0-9a-f]+; version:[0-9a-f]{8} timestamp:[0-9]+\)\r\n"
    for request, name, ranges in zip(server.requests, (b"boot.sig", b"boot.img", b"boot.img"),
                                     (b"", b"", b"Range: bytes=%d-\r\n" % HALF)):
        assert re.fullmatch(rb"GET /walt-vpn/per-ip/10-0-7-12/" + name + rb" HTTP/1.1\r\n"
                            rb"host: entrypoint.example.org\r\nConnection: close\r\n" + ranges + agent + rb"\r\n", request)


def test_resets_the_connection_after_the_last_byte():
    _, server = boot([GOOD_SIG, (reply(IMAGE), "listen")])
    assert server.endings == ["RST", "RST"]


def test_a_lost_link_is_a_resume():
    result, server = boot([GOOD_SIG, (reply(IMAGE), "listen"), (partial(1000), "listen")], lost_links={"boot.img": [1000]})
    assert result.booted and result.resumes == 1


def test_a_line_of_199_bytes_that_comes_in_pieces():
    """Its end is no part of it, and may be in the next segment; so may the head's."""
    sig = reply(SIG, extra="X-Long: %s\r\n" % ("x" * 191))
    cuts = [sig.index(b"x\r\n") + 2, sig.index(b"\r\n\r\n") + 1]
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for pieces in ([sig[:cuts[0]], sig[cuts[0]:cuts[1]], sig[cuts[1]:]], [reply(IMAGE)]):
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for piece in pieces:
                    connection.sendall(piece)
                    ScriptedServer.let_it_read(connection)
                    time.sleep(0.05)    # to be read alone; if it is not, this shows nothing
                ScriptedServer.end_of(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    result = BootClient("127.0.0.1", server.getsockname()[1], patience=5).boot()
    thread.join(10)
    server.close()
    assert result.booted, result


def test_replies_without_end_are_not_all_kept():
    """A byte each, and a reset: a board resumes for ever."""
    script = [GOOD_SIG] + [(partial(first)[:first + 1 - len(IMAGE)], "RST") for first in range(120)] + [(partial(120), "listen")]
    result, _ = boot(script)
    assert result.booted and result.resumes == 120 and len(result.replies) == MOST_REPLIES


def test_rate_is_kept():
    result, _ = boot([GOOD_SIG, (reply(IMAGE), "listen")], rate=200000)
    assert result.booted
    assert 0.4 < result.seconds < 5
