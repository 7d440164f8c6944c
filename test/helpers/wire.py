"""HTTP over a bare socket: sends exactly the bytes it is given, hides nothing of what comes back."""

import socket

from processes import tcp_connections


class Reply:
    """A reply and how the connection ended: "FIN", "RST", "timeout", or "open" when the reply was complete before."""

    def __init__(self, raw, head_only=False):
        self.raw = raw
        self.ended = None
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.head_complete = b"\r\n\r\n" in raw
        self.head_only = head_only
        lines = head.decode("latin-1").split("\r\n")
        self.status_line = lines[0]
        words = lines[0].split(" ", 2)
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        self.header_lines = lines[1:]
        self.headers = [tuple(part.strip() for part in line.partition(":")[::2]) for line in self.header_lines]

    def values(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        """The only value of a header, or None; an assertion when it came more than once."""
        values = self.values(name)
        assert len(values) < 2, "%s came %d times: %r" % (name, len(values), values)
        return values[0] if values else None

    @property
    def chunked(self):
        return any("chunked" in value.lower() for value in self.values("Transfer-Encoding"))

    @property
    def size(self):
        """Bytes that belong to this reply, or None while that can't be known."""
        if not self.head_complete:
            return None
        head = len(self.raw) - len(self.body)
        if self.head_only or self.status in (204, 304) or (self.status or 0) < 200:
            return head
        if self.chunked:
            end = 0 if self.body.startswith(b"0\r\n\r\n") else self.body.find(b"\r\n0\r\n\r\n")
            return None if end < 0 else head + end + (5 if end == 0 and self.body.startswith(b"0\r\n") else 7)
        if self.values("Content-Length"):
            return head + int(self.values("Content-Length")[0])
        return None

    def __repr__(self):
        return "<%s, %d bytes, %s>" % (self.status_line, len(self.body), self.ended)


class Wire:
    """A connection. client: the address that it comes from, if that matters."""

    def __init__(self, port, address="127.0.0.1", timeout=10.0, client=""):
        self.socket = socket.create_connection((address, port), timeout, (client, 0))
        self.buffer = bytearray()
        self.ended = "open"

    def send(self, data):
        self.socket.sendall(data)

    def is_read(self):
        """Has the server accepted this connection, of IPv4, and read all that was sent?"""
        ends = [end[1] for end in (self.socket.getpeername(), self.socket.getsockname())]
        return any([int(end.split(":")[1], 16) for end in row[1:3]] == ends and row[9] != "0" and row[4].endswith(":00000000")
                   for row in tcp_connections())

    def receive(self):
        """One more piece; False when there will be none."""
        if self.ended != "open":
            return False
        try:
            data = self.socket.recv(1 << 20)
            self.buffer += data
            if not data:
                self.ended = "FIN"
        except socket.timeout:
            self.ended = "timeout"
        except OSError:
            self.ended = "RST"
        return self.ended == "open"

    def reply(self, head_only=False):
        """The next reply, as far as it came; the connection stays open for more."""
        while b"\r\n\r\n" not in self.buffer and self.receive():
            pass
        length = Reply(bytes(self.buffer[:self.buffer.find(b"\r\n\r\n") + 4]), head_only)
        if not length.chunked and length.size is not None:
            while len(self.buffer) < length.size and self.receive():
                pass
            size = length.size
        else:
            while Reply(bytes(self.buffer), head_only).size is None and self.receive():
                pass
            size = Reply(bytes(self.buffer), head_only).size
        raw = bytes(self.buffer if size is None else self.buffer[:size])
        del self.buffer[:len(raw)]
        reply = Reply(raw, head_only)
        reply.ended = self.ended
        return reply

    def rest(self, head_only=False):
        """Everything until the connection ends, as one reply."""
        while self.receive():
            pass
        reply = Reply(bytes(self.buffer), head_only)
        reply.ended = self.ended
        return reply

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(path, host, method="GET", headers=(), body=b"", version="HTTP/1.1", close=True):
    """The bytes of a request. host=None: no Host line."""
    lines = ["%s %s %s" % (method, path, version)]
    if host is not None:
        lines.append("Host: %s" % host)
    if close:
        lines.append("Connection: close")
    lines += ["%s: %s" % field for field in headers]
    if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def exchange(port, raw, address="127.0.0.1", timeout=10.0):
    """Sends these bytes and takes everything that comes until the connection ends."""
    with Wire(port, address, timeout) as wire:
        try:
            wire.send(raw)
        except OSError:
            pass    # refused early; the answer may be there all the same
        return wire.rest(head_only=raw.startswith(b"HEAD "))
