"""A way to the entrypoint that is lost once, half-way through a reply."""

import selectors
import socket
import struct
import threading

PATIENCE = 60       # seconds without a byte


class BrokenLink:
    """Listens on 127.0.0.1 and carries connections to `port` there. The first one is reset after `after` bytes of its
    reply; all later ones are carried to their end. `carried` has the bytes of reply of every connection."""

    def __init__(self, port, after):
        self.target = port
        self.after = after
        self.carried = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        """One connection after the other: downloaders have one at a time."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return      # shut down
            self.carried.append(0)
            with client, socket.create_connection(("127.0.0.1", self.target)) as server:
                try:
                    self.carry(client, server)
                except OSError:
                    pass    # either side went away: so does the other

    def carry(self, client, server):
        client.settimeout(PATIENCE)
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while True:
                sides = [key.fileobj for key, _ in ready.select(PATIENCE)]
                if not sides:
                    return
                if client in sides:
                    data = client.recv(65536)
                    if not data:
                        return
                    server.sendall(data)
                if server in sides:
                    if len(self.carried) == 1 and self.carried[0] == self.after:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return      # closing it resets it
                    data = server.recv(min(65536, self.after - self.carried[0]) if len(self.carried) == 1 else 65536)
                    if not data:
                        return
                    client.sendall(data)
                    self.carried[-1] += len(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
