"""Many nodes at once."""

import threading

from boot_client import BootClient


# Bytes a second: 8 MiB take half a minute, or until the fleet is told to hurry.
SLOW = 256 * 1024


class Fleet:
    """Nodes that boot at the same time, each in a thread of its own.

    >>> boots = Fleet(entrypoint, 40).boots()
    """

    def __init__(self, entrypoint, nodes, first=1, address="127.0.0.1", **options):
        """nodes: how many, or their addresses; address: of the entrypoint; options as for BootClient."""
        if isinstance(nodes, int):
            nodes = ["192.168.%d.%d" % divmod(number, 250) for number in range(first, first + nodes)]
        self.results = {}
        self.threads = []
        self.clients = []
        for ip in nodes:
            client = BootClient(address, entrypoint.port, ip, entrypoint.server_name, **options)
            self.clients.append(client)
            self.threads.append(threading.Thread(target=self.boot, args=(client,), daemon=True))
            self.threads[-1].start()

    def boot(self, client):
        self.results[client.node] = client.boot()

    def hurry(self):
        """Slow nodes take the rest as fast as it comes: whatever was to happen in the middle of their downloads has."""
        for client in self.clients:
            client.rate = None

    def boots(self, seconds=60.0):
        """What became of each, in the order of their addresses. Who is not done by then hangs."""
        for thread in self.threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self.threads), "nodes still wait after %g s" % seconds
        return [self.results[ip] for ip in sorted(self.results)]
