#!/usr/bin/python3
"""A stand-in WalT server, for tests and for trying an entrypoint.

It stands on what the real one stands on, bottle on gevent's pywsgi, so that headers, write pattern, keep-alive behaviour
and lax parsing are the real ones and not imitations. Where the real server would be harmed, this one notes a danger and
lives on. Tests start it through stand_in.WaltServer, which also breaks it on purpose.

    test/helpers/walt_server.py --port 8081 [--address 127.0.0.1] [--image-mib 4] [--version released]

It plays one of two versions of WalT (facts.md 2): the released one makes each boot.sig of boot.img when it is asked, and knows
no ranges; the coming one sends both as files.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import collections
import errno
import fcntl
import json
import os
import posixpath
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.parse
import zlib

import bottle
import gevent
import gevent.event
from gevent.pywsgi import WSGIHandler, WSGIServer

from boot_files import MIB, boot_sig, image_digest, image_pieces
from processes import free_port

RELEASED, COMING = VERSIONS = "released", "coming"
FQDN = "walt.example.org"
SIGNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "signer.py")
DEADLY_KEY_SIZES = range(64 * 1024, 208 * 1024 + 1)
SECRET = b"root:x:0:0:root:/root:/bin/bash\n"


class Fault:
    """How one reply goes wrong. Kinds: see stand_in.WaltServer.fault()."""

    def __init__(self, path, kind, at_byte=None, times=1, seconds=None, rate=None, status=500, reply=""):
        self.path = re.compile(path)
        self.kind = kind
        self.at_byte = at_byte      # of the body; None: before the status line
        self.times = times          # how many replies; None: all
        self.seconds = seconds      # of silence or delay; None: for ever, or none
        self.rate = rate            # bytes a second, for "slow"
        self.status = status        # for "status"
        self.reply = reply.encode("latin-1")    # for "raw"

    def take(self, target):
        if self.times == 0 or not self.path.search(target):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Pace:
    """A rate in bytes a second, shared by all who send through it."""

    def __init__(self, rate):
        self.rate = rate
        self.free_at = time.monotonic()

    def wait(self, size):
        """Time lost by sleeping too long, up to 10 ms, is caught up with."""
        now = time.monotonic()
        self.free_at = max(self.free_at, now - 0.01) + size / self.rate
        gevent.sleep(max(0, self.free_at - now))


class Record:
    """One request, as its bytes arrived, and what became of it."""

    def __init__(self, peer):
        self.peer = peer
        self.time = time.time()
        self.raw = bytearray()
        self.status = None          # none sent yet, or never
        self.sent = 0               # bytes of the reply's body
        self.finished = False

    def as_json(self):
        fields = dict(vars(self), raw=self.raw.decode("latin-1"))
        return fields


class Files:
    """The files of both versions. None has a name, and all end with this process."""

    def __init__(self):
        self.images = {}
        self.signatures = {}

    @staticmethod
    def made(pieces, modified):
        """modified: when, in seconds since 1970."""
        file = tempfile.TemporaryFile()
        file.writelines(pieces)
        file.flush()
        os.utime(file.fileno(), (modified, modified))
        return file

    @staticmethod
    def time_of(image):
        """When boot.img was made: its name and size determine that, too, and it has been a while."""
        return 1700000000 + zlib.crc32(repr(image).encode()) % 50000000

    def image(self, image):
        if image not in self.images:
            self.images[image] = self.made(image_pieces(*image), self.time_of(image))
        return self.images[image]

    def signature(self, image, text):
        """boot.sig with this text, made a minute after that boot.img."""
        if text not in self.signatures:
            self.signatures[text] = self.made([text], self.time_of(image) + 60)
        return self.signatures[text]


class Signatures:
    """Makes the digests of images that the released version's boot.sig vouches for. What is known comes from a cache, which is no
    lock: each one that is asked for before the first one of that image is done is computed again."""

    def __init__(self, files):
        self.files = files
        self.known = {}
        self.may_end = gevent.event.Event()
        self.clear()

    def clear(self):
        self.may_end.set()
        self.computed = 0
        self.at_once = 0
        self.peak = 0               # KiB of those at once
        self.running = {}           # process: KiB

    def digest(self, image):
        file = self.files.image(image)
        status = os.fstat(file.fileno())
        key = status.st_ino, status.st_mtime_ns, status.st_size
        if key not in self.known:
            self.known[key] = self.compute(file)
        return self.known[key]

    def compute(self, file):
        self.computed += 1
        with open("/proc/self/fd/%d" % file.fileno(), "rb") as image:   # with a place to read at of its own
            process = subprocess.Popen([sys.executable, "-IS", SIGNER], stdin=image, stdout=subprocess.PIPE,
                                       universal_newlines=True)
        self.running[process] = 0
        self.at_once = max(self.at_once, len(self.running))
        with process:
            self.running[process] = int(process.stdout.readline())
            self.peak = max(self.peak, sum(self.running.values()))
            digest = process.stdout.readline().strip()
            self.may_end.wait()
        self.running.pop(process, None)
        return digest


# What a node boots: boot.img, and the image that boot.sig was made of. The two differ where boot.img was overwritten since, and
# the version keeps boot.sig as a file.
Folder = collections.namedtuple("Folder", "image signed")


class State:
    """All that lasts longer than a request."""

    def __init__(self, image_mib, version):
        self.version = version
        self.default = Folder(("default", image_mib), ("default", image_mib))
        self.folders = {}           # of nodes that boot something else
        self.files = Files()
        self.signatures = Signatures(self.files)
        self.has_daemon = True
        self.last_answers = {}
        self.records = []
        self.connections = set()
        self.dangers = []
        self.faults = []
        self.pace = None

    def folder(self, node):
        return self.folders.get(node, self.default)

    def set_folder(self, node, folder):
        """node: "*" for all."""
        self.files.image(folder.image)
        if node == "*":
            self.folders.clear()
            self.default = folder
        else:
            self.folders[node] = folder

    def danger(self, kind):
        self.dangers.append({"kind": kind, "target": bottle.request.environ["walt.target"]})

    def fault(self, target):
        return next((fault for fault in self.faults if fault.take(target)), None)

    def need_daemon(self):
        if not self.has_daemon:
            raise bottle.HTTPError(500, "[Errno 2] No such file or directory")

    def ask_daemon(self, kind, answer, behind):
        """The web service asks another process for its files. After a stall there its answers can be one behind."""
        self.need_daemon()
        previous, self.last_answers[kind] = self.last_answers.get(kind), answer
        answer = previous if behind else answer
        if answer is None:
            raise bottle.HTTPError(500, "No answer.")
        return answer


class RecordingReader:
    """What the handler reads of a request, kept byte for byte."""

    def __init__(self, stream):
        self.stream = stream
        self.record = None

    def read(self, *size):
        return self.keep(self.stream.read(*size))

    def readline(self, *size):
        return self.keep(self.stream.readline(*size))

    def keep(self, data):
        if self.record:
            self.record.raw += data
        return data

    def close(self):
        self.stream.close()

    @property
    def closed(self):
        return self.stream.closed


class Aborted(OSError):
    """Ends a reply whose connection a fault has ended."""

    def __init__(self):
        super().__init__(errno.EPIPE, "the fault asked for it")


class Handler(WSGIHandler):
    """pywsgi's own handler, with an ear on what comes in and a hand on what goes out."""

    state = None
    fault = None
    slow = None

    def __init__(self, sock, address, server):
        self.client = sock
        self.recorder = RecordingReader(sock.makefile("rb", -1))
        super().__init__(sock, address, server, self.recorder)

    def handle(self):
        self.state.connections.add(self.client)
        try:
            super().handle()
        finally:
            self.state.connections.discard(self.client)

    def log_error(self, *message):
        pass

    def read_requestline(self):
        record = self.recorder.record = Record(list(self.client_address[:2]))
        line = super().read_requestline()
        if line:
            self.state.records.append(record)
        return line

    def get_environ(self):
        self.fault = self.state.fault(self.path)
        return dict(super().get_environ(), **{"walt.target": self.path, "walt.fault": self.fault})

    def handle_one_response(self):
        self.body_sent = None
        self.slow = None
        try:
            if self.fault and self.fault.kind == "raw":
                self.socket.sendall(self.fault.reply)
                gevent.sleep(self.fault.seconds or 0)
                self.end_with_fin()
                self.close_connection = True
            elif self.strikes_within(0, None):
                try:
                    self.strike()
                    super().handle_one_response()
                except Aborted:
                    self.close_connection = True
            else:
                super().handle_one_response()
        finally:
            self.recorder.record.finished = True

    def _sendall(self, data):
        """Headers come first and in one piece; all later data is body."""
        if self.body_sent is None:
            super()._sendall(data)
            self.recorder.record.status = self.code
            self.body_sent = 0
            if self.strikes_within(0, 0):
                self.strike()
            return
        if self.fault and self.fault.kind == "flip":
            place = self.fault.at_byte - self.body_sent
            if 0 <= place < len(data):
                data = bytearray(data)
                data[place] ^= 0x01
        if self.strikes_within(self.body_sent + 1, self.body_sent + len(data)):
            healthy = self.fault.at_byte - self.body_sent
            self.send_body(memoryview(data)[:healthy])
            self.strike()
            data = memoryview(data)[healthy:]
        self.send_body(data)

    def send_body(self, data):
        paces = [pace for pace in (self.state.pace, self.slow) if pace]
        if not paces:
            self.send_piece(data)
            return
        for start in range(0, len(data), 16384):
            piece = data[start:start + 16384]
            for pace in paces:
                pace.wait(len(piece))
            self.send_piece(piece)

    def send_piece(self, piece):
        super()._sendall(piece)
        self.body_sent += len(piece)
        self.recorder.record.sent = self.body_sent

    def strikes_within(self, first, last):
        fault = self.fault
        if not fault or fault.kind not in ("fin", "rst", "silence", "slow"):
            return False
        if last is None or fault.at_byte is None:
            return last is None and fault.at_byte is None
        return first <= fault.at_byte <= last

    def strike(self):
        fault, self.fault = self.fault, None
        if fault.kind == "slow":
            self.slow = Pace(fault.rate)
        elif fault.kind == "silence":
            self.keep_silent(fault.seconds)
        elif fault.kind == "fin":
            self.end_with_fin()
            raise Aborted
        elif fault.kind == "rst":
            self.wait_until_sent()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Aborted

    def keep_silent(self, seconds):
        """Until the time is over, or until the other side goes away."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(4096):
                pass
        except socket.timeout:
            self.socket.settimeout(None)
            return
        except OSError:
            pass
        raise Aborted

    def end_with_fin(self):
        self.wait_until_sent()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass    # the other side was faster

    def wait_until_sent(self):
        """A reset discards what the kernel still holds, so that byte N would not be where the reply ended."""
        for _ in range(2000):
            unsent = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
            if not unsent:
                return
            gevent.sleep(0.001)


def walt_service(state):
    """The routes of the real server's web service that an entrypoint exposes."""
    app = bottle.Bottle()

    def strikes(kind):
        fault = bottle.request.environ["walt.fault"]
        return bool(fault) and fault.kind == kind

    @app.hook("before_request")
    def broken():
        fault = bottle.request.environ["walt.fault"]
        if strikes("status"):
            gevent.sleep(fault.seconds or 0)
            raise bottle.HTTPError(fault.status)
        refuse_what_is_no_text(bottle.request.environ["walt.target"])

    @app.route("/walt-vpn/server")
    def server():
        return FQDN + "\n"

    @app.route("/walt-vpn/per-ip/<path:path>")
    def per_ip(path):
        dashed_ip, name = path.split("/", 1)    # fails, with 500, when there is no slash
        return (released if state.version == RELEASED else coming)(dashed_ip.replace("-", "."), name)

    def released(node, name):
        state.need_daemon()
        place = posixpath.normpath("/node/" + name)
        if place in ("/node", "/node/overlays"):    # the one folder in a Raspberry Pi 5's boot folder
            state.danger("directory")
            return b""
        if not place.startswith("/node/"):
            state.danger("traversal")
            return SECRET
        if place not in ("/node/boot.sig", "/node/boot.img"):
            raise bottle.HTTPError(404, "File not found.")
        image = state.ask_daemon("file", state.folder(node).image, strikes("behind"))
        if name == "boot.sig":
            return faulty(boot_sig(state.signatures.digest(image)))
        bottle.response.add_header("Content-Length", image[1] * MIB)
        return (piece for piece in image_pieces(*image))

    def coming(node, name):
        """As files, by bottle's own means: without asking the daemon, whose work the folder of a node is."""
        root = "/nonexistent/nodes/%s/tftp" % node
        place = posixpath.normpath(posixpath.join(root, name.strip("/")))
        if place == root + "/boot.img" and state.has_daemon:
            return sent(state.files.image(state.folder(node).image), "text/html")
        if place == root + "/boot.sig" and state.has_daemon:
            image = state.folder(node).signed
            return sent(state.files.signature(image, faulty(boot_sig(image_digest(*image)))), "application/pgp-signature")
        return bottle.static_file(name, root=root)

    def sent(file, kind):
        reply = bottle.static_file("%d" % file.fileno(), root="/proc/self/fd", mimetype=kind)
        reply.headers.pop("ETag", None)     # which is bottle's since 0.13; Debian 12 has 0.12
        return reply

    def faulty(signature):
        """The boot.sig, or what a fault makes of it."""
        if strikes("wrong-digest"):
            return boot_sig(image_digest("wrong", 1))
        return b"this is not a signature\n" if strikes("no-digest") else signature

    @app.route("/walt-vpn/enroll", method="POST")
    def enroll():
        if bottle.request.query.get("fake_requester_ip"):
            state.danger("impersonation")
        key = bottle.request.files.get("ssh-pubkey")
        if key is None:
            raise bottle.HTTPError(400, "Missing field ssh-pubkey.")
        content = key.file.read()
        if len(content) in DEADLY_KEY_SIZES:
            state.danger("enroll-key")
        return state.ask_daemon("enroll", "enrolled %d bytes\n" % len(content), False)

    @app.route("/walt-vpn/node-conf/<path:path>")
    def node_conf(path):
        if bottle.request.query.get("fake_requester_ip"):
            state.danger("impersonation")
        return state.ask_daemon("conf", "conf %s\n" % path, strikes("behind"))

    return app


def refuse_what_is_no_text(target):
    """As bottle 0.12 does with a path that is no UTF-8; 0.13 drops those bytes."""
    try:
        urllib.parse.unquote_to_bytes(target.partition("?")[0]).decode()
    except UnicodeDecodeError:
        raise bottle.HTTPError(400, "Invalid path string. Expected UTF-8")


class Listener:
    """The service on its port. The port stays ours while the service is down, and then refuses connections."""

    def __init__(self, state, address, port):
        self.state = state
        self.app = walt_service(state)
        self.handler = type("StatefulHandler", (Handler,), {"state": state})
        self.bound = None
        self.service = None
        self.bind(address, port)

    def bind(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(50):
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind((address, port or free_port(address)))
                self.bound = bound
                self.address, self.port = bound.getsockname()[:2]
                return
            except OSError as problem:
                bound.close()
                if port or problem.errno != errno.EADDRINUSE:
                    raise
        raise OSError("no free port")

    def up(self):
        if self.service:
            return
        self.bound.listen(1024)
        self.service = WSGIServer(self.bound, self.app, handler_class=self.handler, log=None, error_log=None)
        self.service.start()

    def down(self):
        if not self.service:
            return
        self.service.stop(timeout=0)
        self.service = None
        self.bind(self.address, self.port)
        for connection in list(self.state.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass    # gone already


class Control:
    """Orders from the process that started us: a JSON line in, a JSON line out."""

    def __init__(self, state, listener):
        self.state = state
        self.listener = listener

    def obey(self, connection):
        stream = connection.makefile("rw", encoding="utf-8")
        for line in stream:
            order, arguments = json.loads(line)
            try:
                answer = {"ok": getattr(self, "do_" + order)(**arguments)}
            except Exception as problem:    # the caller must see it, whatever it is
                answer = {"error": "%s: %s" % (type(problem).__name__, problem)}
            stream.write(json.dumps(answer) + "\n")
            stream.flush()

    def do_port(self):
        return self.listener.port

    def do_play(self, version):
        if version not in VERSIONS:
            raise ValueError("no version %r" % version)
        self.state.version = version

    def do_set_image(self, node, image, mib):
        self.state.set_folder(node, Folder((image, mib), (image, mib)))

    def do_overwrite_image(self, node, image, mib):
        self.state.set_folder(node, Folder((image, mib), self.state.folder(node).signed))

    def do_daemon(self, is_there):
        self.state.has_daemon = is_there

    def do_fault(self, **fault):
        self.state.faults.append(Fault(**fault))

    def do_heal(self):
        self.state.faults.clear()

    def do_rate(self, bytes_per_s):
        self.state.pace = Pace(bytes_per_s) if bytes_per_s else None

    def do_down(self):
        self.listener.down()

    def do_up(self):
        self.listener.up()

    def do_requests(self):
        return [record.as_json() for record in self.state.records]

    def do_dangers(self):
        return self.state.dangers

    def do_hold_signatures(self):
        self.state.signatures.may_end.clear()

    def do_release_signatures(self):
        self.state.signatures.may_end.set()

    def do_signatures(self):
        signatures = self.state.signatures
        return {"computed": signatures.computed, "at_once": signatures.at_once, "peak_kib": signatures.peak}

    def do_clear(self):
        self.state.signatures.clear()
        self.state.records.clear()
        self.state.dangers.clear()
        self.state.faults.clear()
        self.state.pace = None
        self.state.has_daemon = True
        self.listener.up()


def main():
    options = argparse.ArgumentParser(description="A stand-in WalT server.")
    options.add_argument("--address", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0, help="default: any free one")
    options.add_argument("--image-mib", type=int, default=4, help="size of boot.img (default 4)")
    options.add_argument("--version", choices=VERSIONS, default=RELEASED, help="which one it plays (default %(default)s)")
    options.add_argument("--control-fd", type=int, help=argparse.SUPPRESS)
    options = options.parse_args()

    state = State(options.image_mib, options.version)
    state.files.image(state.default.image)
    try:
        listener = Listener(state, options.address, options.port)
    except OSError as problem:
        sys.exit("port %d of %s: %s" % (options.port, options.address, problem.strerror or problem))
    listener.up()
    if options.control_fd is None:
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, sys.exit)
        print("WalT server %s, %s version, on http://%s:%d/walt-vpn/" % (
            FQDN, options.version, options.address, listener.port), flush=True)
        listener.service.serve_forever()
    else:
        Control(state, listener).obey(socket.socket(fileno=options.control_fd))


if __name__ == "__main__":
    main()
