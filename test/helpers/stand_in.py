"""The stand-in WalT server as tests hold it: started, watched, and broken on purpose."""

import collections
import json
import os
import signal
import socket
import sys

import processes
from boot_files import image_digest

RELEASED, COMING = VERSIONS = "released", "coming"
TITLES = {RELEASED: "released version of WalT (master d103a235)", COMING: "coming version of WalT (etienne-dev a49705ec)"}
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "walt_server.py")


class Request:
    """A request as the WalT server received it, byte for byte, and what it got."""

    def __init__(self, peer, time, raw, status, sent, finished):
        self.peer = tuple(peer)         # address and port of the other end: equal for requests on one connection
        self.time = time
        self.raw = raw.encode("latin-1")
        self.status = status            # None: no status line was sent
        self.sent = sent                # bytes of the reply's body
        self.finished = finished
        head, _, self.body = self.raw.partition(b"\r\n\r\n")    # the body with its chunk framing, if it has one
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        words = self.line.split(" ")
        self.method = words[0]
        self.target = words[1] if len(words) > 1 else ""
        self.version = words[-1]
        self.headers = [tuple(part.strip() for part in line.partition(":")[::2]) for line in lines[1:]]

    def header(self, name):
        """The only value of a header, or None; an assertion when it came more than once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, "%s came %d times: %r" % (name, len(values), values)
        return values[0] if values else None

    def __repr__(self):
        return "<%s -> %s, %d bytes>" % (self.line, self.status, self.sent)


Signatures = collections.namedtuple("Signatures", "computed at_once peak_kib")


class WaltServer:
    """A WalT server in a process of its own, that ends with this one.

    >>> with WaltServer() as walt:
    ...     walt.fault("boot.img", "rst", at_byte=1000)
    """

    fqdn = "walt.example.org"

    def __init__(self, address="127.0.0.1", port=0, image_mib=1, version=RELEASED):
        """version: of WalT, as which it behaves; see facts.md 2."""
        self.address = address
        self.image_mib = image_mib
        self.expected_dangers = []
        ours, theirs = socket.socketpair()
        self.process = processes.spawn(
            [sys.executable, "-B", PROGRAM, "--address", address, "--port", str(port),
             "--image-mib", str(image_mib), "--version", version, "--control-fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        self.channel = ours
        self.stream = ours.makefile("rw", encoding="utf-8")
        try:
            self.port = self.order("port")
        except BaseException:       # Ctrl-C, too
            processes.end(self.process)
            raise

    def order(self, order, **arguments):
        self.stream.write(json.dumps([order, arguments]) + "\n")
        self.stream.flush()
        line = self.stream.readline()
        if not line:
            raise RuntimeError("the stand-in WalT server ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    @property
    def location(self):
        """host:port, as WaltVpnServer wants it."""
        return ("[%s]:%d" if ":" in self.address else "%s:%d") % (self.address, self.port)

    @property
    def url(self):
        return "http://%s" % self.location

    # What it serves

    def play(self, version):
        """From now on it behaves as that version of WalT."""
        self.order("play", version=version)

    def set_image(self, node="*", image="default", mib=1):
        """From now on that node ("*": every node) boots that image. Its content: boot_files.image_pieces(image, mib)."""
        self.order("set_image", node=node, image=image, mib=mib)
        return image_digest(image, mib)

    def overwrite_image(self, node="*", image="default", mib=1):
        """As a node's own update script does: the coming version's boot.sig stays what it was, and vouches for another file; the
        released version makes a new one."""
        self.order("overwrite_image", node=node, image=image, mib=mib)
        return image_digest(image, mib)

    def rate(self, bytes_per_s):
        """A limit shared by all connections; None: no limit."""
        self.order("rate", bytes_per_s=bytes_per_s)

    # What it saw

    def requests(self, path=""):
        """The requests so far whose target contains `path`, oldest first."""
        return [request for request in (Request(**fields) for fields in self.order("requests")) if path in request.target]

    def dangers(self):
        """What would have harmed the real server: {"kind": ..., "target": ...}. Kinds: "directory" and "enroll-key" end
        its daemon, "traversal" gives away its files (the coming version suffers from "enroll-key" and "impersonation" alone), "impersonation" honours fake_requester_ip."""
        return self.order("dangers")

    def signatures(self):
        """Those that it computed, if it is the released version, since it was cleared: how many, how many most at once, and the memory that the latter took."""
        return Signatures(**self.order("signatures"))

    def fatal_events(self):
        return [danger for danger in self.dangers() if danger["kind"] in ("directory", "enroll-key")]

    def expect_danger(self, kind):
        """This test lets such a request through knowingly: the check at its end will not object."""
        self.expected_dangers.append(kind)

    def unexpected_dangers(self):
        return [danger for danger in self.dangers() if danger["kind"] not in self.expected_dangers]

    # What goes wrong

    def fault(self, path, kind, at_byte=None, times=1, **how):
        """The next `times` replies (None: all from now on) to a target in which the regular expression `path` is found:

        "fin", "rst"    the connection ends at that byte of the body (0: after the headers; None: before the status line)
        "silence"       nothing more comes from that byte on, for seconds= (default: until the other side goes away)
        "slow"          from that byte on (None: from the start) rate= bytes a second
        "flip"          one bit of that byte of the body is wrong
        "behind"        the answer belongs to the request before this one (coming version: of node-conf alone)
        "wrong-digest"  boot.sig vouches for another image
        "no-digest"     boot.sig is a line of text
        "status"        status= (default 500) after seconds= (default: at once)
        "raw"           the bytes of reply= (a latin-1 str), then after seconds= (default: at once) FIN
        """
        self.order("fault", path=path, kind=kind, at_byte=at_byte, times=times, **how)

    def heal(self):
        """Forgets all faults, also those that did not strike yet."""
        self.order("heal")

    def hold_signatures(self):
        """From now on none that it computes is done before it may release them."""
        self.order("hold_signatures")

    def release_signatures(self):
        self.order("release_signatures")

    def down(self):
        """Its connections end and new ones are refused."""
        self.order("down")

    def up(self):
        self.order("up")

    def end_daemon(self):
        """Its web service goes on without walt-server-daemon, until it is cleared."""
        self.order("daemon", is_there=False)

    def freeze(self):
        """The whole service stalls; connections are still accepted by the kernel."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def clear(self):
        """As new: no record, no danger, no fault, no limit, up. Images stay, and its version."""
        self.expected_dangers.clear()
        self.order("clear")

    def stop(self):
        self.thaw()
        self.stream.close()
        self.channel.close()
        processes.end(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
