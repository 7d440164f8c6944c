"""The HTTP-boot client of a Raspberry Pi 5, as strict as the board's firmware, which forgives nothing.

It boots one emulated node through any VPN HTTP entrypoint and says in the administrator's terms what the board would do.
walt-vpn-check stands on it, and so do the tests.
"""

import enum
import hashlib
import random
import re
import socket
import struct
import time

PATIENCE = 50           # seconds without a byte before it tries to resume
WINDOW = 64 * 1024      # its TCP receive window, which never grows
RESUMES = 2             # in a row without a new byte
LONGEST_LINE = 199      # of a reply's header; older firmware wedges on 200 bytes
MOST_LINES = 100        # of a reply's head that are read here: what a board makes of more is not known
MOST_REPLIES = 100      # that are told of
LARGEST_SIG = 4096


class Outcome(enum.Enum):
    """What became of a boot. Only the first is good; the board stays switched on after `HANGS` and `WEDGED`, unless it has a
    watchdog."""

    BOOTED = "booted"
    HANGS = "hangs: waits for bytes that never come, until someone switches it off and on"
    WEDGED = "wedged: its reply parser is stuck, until someone switches it off and on"
    CORRUPT = "starts over: boot.img is not the file that boot.sig vouches for"
    RESTARTS = "starts over: what it got instead of the file has no valid signature"
    HTTP_ERROR = "reports an HTTP error"
    REDIRECTED = "fails: it was redirected"
    NOT_UNDERSTOOD = "fails: it does not understand this kind of reply"
    GAVE_UP = "gives up: resuming brought nothing new"
    UNREACHABLE = "can't reach the entrypoint"
    TOO_LATE = "starts over: its watchdog has reset it"
    UNDECIDED = "is still busy: the time for it is over"


STAYS_ON = (Outcome.HANGS, Outcome.WEDGED)


class Boot:
    """The story of one boot."""

    def __init__(self, node):
        self.node = node
        self.outcome = None
        self.explanation = ""
        self.file = None        # the one it was busy with last
        self.bytes = 0          # of file content received in all
        self.resumes = 0
        self.seconds = 0.0
        self.replies = []       # (file, first byte asked for, status) of the first MOST_REPLIES replies
        self.image_sha256 = None
        self.boot_sig = None

    @property
    def booted(self):
        return self.outcome is Outcome.BOOTED

    def __str__(self):
        return "node %s: %s%s (%d bytes, %d resume%s, %.1f s)" % (
            self.node, self.outcome.value, self.explanation and " [%s: %s]" % (self.file, self.explanation),
            self.bytes, self.resumes, "" if self.resumes == 1 else "s", self.seconds)

    __repr__ = __str__


class Failed(Exception):
    """The boot ends here."""

    def __init__(self, outcome, explanation):
        super().__init__(explanation)
        self.outcome = outcome


class OutOfTime(Exception):
    """The board would go on; whoever asks what it does will not."""


class LinkLost(Exception):
    """The connection was reset or fell silent: the board resumes."""


class File:
    """A file on its way: the board keeps appending to it, whatever comes."""

    def __init__(self, name):
        self.name = name
        self.size = 0
        self.digest = hashlib.sha256()
        self.start = b""
        self.statuses = []

    def append(self, data):
        self.size += len(data)
        self.digest.update(data)
        if len(self.start) <= LARGEST_SIG:
            self.start += data[:LARGEST_SIG + 1]


class Connection:
    """One connection for one request, with the board's small window and a reset for goodbye.

    patience     seconds without a byte after which the link counts as lost
    deadline     when time.monotonic() says this, OutOfTime is raised; None: never
    """

    def __init__(self, host, port, patience, deadline=None):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.socket = socket.socket(family, kind, protocol)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            self.patience = patience
            self.deadline = deadline
            self.limit_wait()
            self.socket.connect(address)
        except (OSError, OutOfTime):
            self.socket.close()
            raise
        self.pending = b""

    def limit_wait(self):
        left = self.patience if self.deadline is None else min(self.patience, self.deadline - time.monotonic())
        if left <= 0:
            raise OutOfTime
        self.socket.settimeout(left)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass    # the board notices when it reads

    def receive(self, most=WINDOW):
        """The next bytes, or none at a clean end."""
        if self.pending:
            data, self.pending = self.pending[:most], self.pending[most:]
            return data
        self.limit_wait()
        try:
            return self.socket.recv(most)
        except socket.timeout:
            self.limit_wait()
            raise LinkLost("silent for %g s" % self.patience)
        except OSError as problem:
            raise LinkLost(problem.strerror or str(problem))

    def line(self, longest):
        """The next line of the reply's head, without its end. longest: bytes of it that are read."""
        line = b""
        while b"\r\n" not in line and len(line) <= longest + 1:
            more = self.receive()
            if not more:
                raise Failed(Outcome.HANGS, "closed cleanly before the end of the headers")
            line += more
        line, _, self.pending = line.partition(b"\r\n")
        if len(line) > longest:
            raise Failed(Outcome.WEDGED, "header line too long (%d bytes or more)" % (longest + 1))
        return line

    def head(self, longest=LONGEST_LINE):
        """The lines of the reply's head. longest: bytes of a line that are read."""
        lines = []
        for _ in range(MOST_LINES):
            line = self.line(longest)
            if not line and lines:
                return lines
            lines.append(line)
        raise Failed(Outcome.NOT_UNDERSTOOD, "more than %d header lines" % (MOST_LINES - 1))

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class BootClient:
    """One node.

    http_host    HTTP_HOST in its EEPROM, if that is not what `host` says
    patience     seconds without a byte before it resumes
    seconds      most that a boot may take, None: whatever it takes
    watchdog     seconds after which the board resets itself if the boot has not come to its end, even if it hangs
                 (BOOT_WATCHDOG_TIMEOUT in its EEPROM), None: never
    rate         most bytes a second it takes, None: as fast as they come
    lost_links   {"boot.img": [1000, ...]}: there the way to the entrypoint is lost, once each
    resuming     called with the Boot before each resume
    """

    def __init__(self, host, port=80, node="192.168.152.7", http_host=None, patience=PATIENCE, seconds=None, rate=None,
                 lost_links=None, resuming=lambda boot: None, watchdog=None):
        self.host = host
        self.port = port
        self.node = node
        self.http_host = http_host or host
        self.patience = patience
        self.seconds = seconds
        self.watchdog = watchdog
        self.deadline = None
        self.rate = rate
        self.lost_links = {name: sorted(places) for name, places in (lost_links or {}).items()}
        self.resuming = resuming

    def boot(self, known=()):
        """Boots it. Of an image whose digest is among the known ones only the boot.sig is asked for."""
        boot = Boot(self.node)
        started = time.monotonic()
        limit = min((limit for limit in (self.seconds, self.watchdog) if limit), default=None)
        self.deadline = limit and started + limit
        try:
            expected = self.expected_digest(boot, self.download("boot.sig", boot))
            if expected in known:
                boot.image_sha256 = expected
            else:
                image = self.download("boot.img", boot)
                boot.image_sha256 = image.digest.hexdigest()
                self.verify(image, expected)
            boot.outcome = Outcome.BOOTED
        except Failed as failure:
            boot.outcome, boot.explanation = failure.outcome, str(failure)
        except OutOfTime:
            boot.outcome = Outcome.TOO_LATE if limit == self.watchdog else Outcome.UNDECIDED
            boot.explanation = "after %g s" % limit
        boot.seconds = time.monotonic() - started
        if self.watchdog and boot.outcome in STAYS_ON:
            boot.outcome, boot.seconds = Outcome.TOO_LATE, self.watchdog
        return boot

    @staticmethod
    def expected_digest(boot, sig):
        boot.boot_sig = sig.start
        if sig.size > LARGEST_SIG:
            raise Failed(Outcome.RESTARTS, "%d bytes; there is room for %d" % (sig.size, LARGEST_SIG))
        # The board checks the RSA signature; here, with no key, what a 200 appended to half of the file must not pass for one.
        if not re.fullmatch(rb"[0-9a-f]{64}\nts: [0-9]+\nrsa2048: [0-9a-f]+\n", sig.start):
            raise Failed(Outcome.RESTARTS, "not a signature; status %s" % sig.statuses)
        return sig.start[:64].decode()

    @staticmethod
    def verify(image, expected):
        if image.digest.hexdigest() == expected:
            return
        if image.statuses[0] not in (200, 206):
            raise Failed(Outcome.RESTARTS, "the body of a %d was taken as the file" % image.statuses[0])
        if 200 in image.statuses[1:]:
            raise Failed(Outcome.CORRUPT, "a 200 answered a resume: the whole file was appended")
        raise Failed(Outcome.CORRUPT, "SHA-256 differs; status %s" % image.statuses)

    def download(self, name, boot):
        boot.file = name
        file = File(name)
        resuming = False
        fruitless = 0
        while True:
            held = file.size
            try:
                self.fetch(file, resuming, boot)
                return file
            except LinkLost as loss:
                fruitless = fruitless + 1 if file.size == held else 1
                if fruitless > RESUMES:
                    raise Failed(Outcome.GAVE_UP, "%s after %d bytes" % (loss, file.size))
            resuming = True
            boot.resumes += 1
            self.resuming(boot)

    def request(self, file, resuming):
        lines = ["GET /walt-vpn/per-ip/%s/%s HTTP/1.1" % (self.node.replace(".", "-"), file.name),
                 "host: %s" % self.http_host,
                 "Connection: close"]
        if resuming:
            lines.append("Range: bytes=%d-" % file.size)
        lines.append("User-Agent: rpiboot/1.0 (%x; version:%08x timestamp:%d)"
                     % (random.getrandbits(32), 0x5c4b1d2e, time.time()))
        return "".join(line + "\r\n" for line in lines + [""]).encode()

    def fetch(self, file, resuming, boot):
        try:
            connection = Connection(self.host, self.port, self.patience, self.deadline)
        except OSError as problem:
            raise Failed(Outcome.UNREACHABLE, "%s port %d: %s" % (self.host, self.port, problem.strerror or problem))
        try:
            connection.send(self.request(file, resuming))
            status, length = self.judge(connection.head())
            file.statuses.append(status)
            if len(boot.replies) < MOST_REPLIES:
                boot.replies.append((file.name, file.size, status))
            self.take_body(connection, file, length, boot)
        finally:
            connection.reset()

    @staticmethod
    def judge(lines):
        """Status and length of a reply that the board can follow."""
        start = re.match(rb"HTTP/1[.]\S* ([0-9]{3})(?: |$)", lines[0])
        if not start:
            raise Failed(Outcome.NOT_UNDERSTOOD, "no HTTP status line: %r" % lines[0][:LONGEST_LINE])
        status = int(start.group(1))
        if status == 404:
            raise Failed(Outcome.HTTP_ERROR, "404")
        if status in (301, 302, 303, 307, 308):
            raise Failed(Outcome.REDIRECTED, "status %d" % status)
        length = None
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"transfer-encoding":
                raise Failed(Outcome.NOT_UNDERSTOOD, "transfer coding:%s" % value.decode("latin-1"))
            if name.lower() == b"content-encoding":
                raise Failed(Outcome.NOT_UNDERSTOOD, "content coding:%s" % value.decode("latin-1"))
            usable = re.fullmatch(rb"content-length: ([0-9]{1,18})", line, re.IGNORECASE)
            if usable:
                length = int(usable.group(1))
        if length is None:
            raise Failed(Outcome.NOT_UNDERSTOOD, "no usable Content-Length in a reply of status %d" % status)
        return status, length

    def take_body(self, connection, file, length, boot):
        end = file.size + length
        started, before = time.monotonic(), file.size
        lost_links = self.lost_links.get(file.name, [])
        while file.size < end:
            stop = min([end] + lost_links[:1])
            if stop <= file.size:
                lost_links.pop(0)
                raise LinkLost("link lost")
            data = connection.receive(min(WINDOW, stop - file.size))
            if not data:
                raise Failed(Outcome.HANGS, "closed cleanly %d bytes before the end" % (end - file.size))
            file.append(data)
            boot.bytes += len(data)
            rate = self.rate        # which another thread may change
            if rate:
                self.sleep((file.size - before) / rate - (time.monotonic() - started))

    def sleep(self, seconds):
        """These bytes take so long at this rate: some are not there yet when the time is over."""
        left = seconds if self.deadline is None else self.deadline - time.monotonic()
        time.sleep(max(0, min(seconds, left)))
        if seconds > left:
            raise OutOfTime
