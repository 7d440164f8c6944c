"""A server that answers anything with "ok" and keeps, for each connection, every byte that came until its end."""

import re
import socket
import threading

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


class Recorder:
    """Can stand for the WalT server of an entrypoint: with Recorder() as server: ... server.take()

    answer(target) gives the body of a reply, if it is not to be "ok".
    """

    def __init__(self, answer=lambda target: b"ok\n"):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.location = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.url = "http://" + self.location
        self.lock = threading.Condition()
        self.connections = []
        self.open = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
            threading.Thread(target=self.record, args=(connection,), daemon=True).start()

    def record(self, connection):
        """Answers as soon as there is a head, and goes on listening: what follows is what someone wanted to slip in."""
        data, continued, answered = b"", False, False
        connection.settimeout(10)
        try:
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                data += piece
                if not continued and re.search(rb"(?im)^expect: 100-continue\r\n(.*\r\n)*\r\n", data):
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    continued = True
                if not answered and complete(data):
                    connection.sendall(self.reply(data))
                    connection.shutdown(socket.SHUT_WR)
                    answered = True
        except OSError:
            pass
        finally:
            connection.close()
            with self.lock:
                if data:
                    self.connections.append(data)
                self.open -= 1
                self.lock.notify_all()

    def reply(self, data):
        method, target = (data.split(b"\r\n")[0].split(b" ") + [b""])[:2]
        body = self.answer(target.decode("latin-1"))
        return HEAD % len(body) + (b"" if method == b"HEAD" else body)

    def take(self):
        """What came so far, once all connections have ended; forgets it."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.open == 0, 15), "a connection to the server stays open"
            taken, self.connections = self.connections, []
            return taken

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def length_of(head):
    found = re.search(rb"(?im)^content-length:\s*([0-9]+)", head)
    return int(found.group(1)) if found else 0


def complete(data):
    head, end, body = data.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= length_of(head)


def fault_of(data):
    """Why these bytes are not exactly one request in the strictest reading, for a path below /walt-vpn/; None: they are."""
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not end:
        return "no end of its head"
    if re.search(r"[\r\n\0]", "".join(lines)):
        return "a stray CR, LF or NUL in its head"
    if not re.fullmatch(r"[A-Z]+ /walt-vpn/[!-~]* HTTP/1\.1", lines[0]):
        return "its first line"
    names = []
    for line in lines[1:]:
        if not re.fullmatch(TOKEN + r": [\t -~\x80-\xff]*", line):
            return "the line %r" % line
        names.append(line.partition(":")[0].lower())
    for name in ("content-length", "host", "transfer-encoding", "connection"):
        if names.count(name) > 1:
            return "%s, twice" % name
    if names.count("host") != 1:
        return "no host"
    if "transfer-encoding" in names:
        return "a transfer coding"
    length = [line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("content-length:")]
    if length and not re.fullmatch(r"[0-9]+", length[0]):
        return "its length"
    if len(body) != (int(length[0]) if length else 0):
        return "%d bytes behind its head, not %s" % (len(body), length)
    return None
