"""A way to an entrypoint, or to one of several, that breaks where a test says."""

import itertools
import selectors
import socket
import struct
import threading

PATIENCE = 60       # seconds without a byte
PIECE = 65536
LINGER_RESET = struct.pack("ii", 1, 0)


class Carried:
    """One connection: where it leads, the bytes of its request, how many bytes of reply came through, and what breaks it."""

    def __init__(self, target):
        self.target = target
        self.request = b""
        self.replied = 0
        self.cut = None         # (byte of the reply, kind)


class Link:
    """Listens on 127.0.0.1 and carries each connection to the next of `ports` there, in turn, as a name with several addresses
    leads to them. When one side is reset or closes, so does the other.

    >>> with Link(entrypoint.port) as link:
    ...     link.cut("boot.img", at_byte=1000)
    """

    def __init__(self, *ports):
        self.targets = itertools.cycle(ports)
        self.carried = []       # oldest first
        self.cuts = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def cut(self, path, at_byte, kind="rst", times=1):
        """The next `times` connections that ask for `path` break at that byte of the reply, its head included:

        "rst"       the asking side is reset
        "fin"       the asking side sees a clean end
        "silence"   nothing more comes through until it goes away
        "flip"      one bit of that byte is wrong
        """
        with self.lock:
            self.cuts += [(path.encode(), (at_byte, kind))] * times

    def asked(self, path):
        """The connections on which `path` was asked for."""
        return [one for one in self.carried if path.encode() in one.request]

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return      # shut down
            one = Carried(next(self.targets))
            self.carried.append(one)
            threading.Thread(target=self.carry, args=(client, one), daemon=True).start()

    def carry(self, client, one):
        with client:
            client.settimeout(PATIENCE)
            try:
                with socket.create_connection(("127.0.0.1", one.target), PATIENCE) as server:
                    self.exchange(client, server, one)
            except OSError:     # either side was reset, or is not there
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)

    def exchange(self, client, server, one):
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, self.take_request)
            ready.register(server, selectors.EVENT_READ, self.take_reply)
            going_on = True
            while going_on:
                events = ready.select(PATIENCE)
                going_on = bool(events) and all(key.data(client, server, one) for key, _ in events)

    def take_request(self, client, server, one):
        """False at the end of the connection; likewise take_reply."""
        data = client.recv(PIECE)
        one.request += data
        with self.lock:
            chosen = next((cut for cut in self.cuts if not one.cut and cut[0] in one.request), None)
            if chosen:
                self.cuts.remove(chosen)
                one.cut = chosen[1]
        server.sendall(data)
        return bool(data)

    def take_reply(self, client, server, one):
        data = server.recv(PIECE)
        at_byte, kind = one.cut or (0, None)
        place = at_byte - one.replied
        if kind and 0 <= place < len(data):
            if kind == "flip":
                data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]
            else:
                client.sendall(data[:place])
                one.replied += place
                return self.end(client, kind)
        client.sendall(data)
        one.replied += len(data)
        return bool(data)

    @staticmethod
    def end(client, kind):
        if kind == "rst":
            raise ConnectionResetError
        if kind == "silence":
            client.recv(PIECE)
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
