"""Many nodes at once, and the folder that their images come from."""

import os
import re
import threading

from boot_client import BootClient


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
        for ip in nodes:
            client = BootClient(address, entrypoint.port, ip, entrypoint.server_name, **options)
            self.threads.append(threading.Thread(target=self.boot, args=(client,), daemon=True))
            self.threads[-1].start()

    def boot(self, client):
        self.results[client.node] = client.boot()

    def boots(self, seconds=60.0):
        """What became of each, in the order of their addresses. Who is not done by then hangs."""
        for thread in self.threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self.threads), "nodes still wait after %g s" % seconds
        return [self.results[ip] for ip in sorted(self.results)]


class CacheFolder:
    """A WaltVpnCacheRoot, looked at from outside."""

    def __init__(self, path):
        self.path = str(path)

    def names(self):
        """Of all files but those that tell which nodes have booted."""
        return sorted(name for name in os.listdir(self.path) if not name.startswith("boots."))

    def memories(self):
        """Of these."""
        return sorted(name for name in os.listdir(self.path) if name.startswith("boots."))

    def images(self):
        """Digests of the images in it."""
        return [name[:-4] for name in self.names() if re.fullmatch("[0-9a-f]{64}[.]img", name)]

    def parts(self):
        """Digests of the images on their way."""
        return [name[:-5] for name in self.names() if re.fullmatch("[0-9a-f]{64}[.]part", name)]

    def image(self, digest):
        return os.path.join(self.path, digest + ".img")

    def part(self, digest):
        return os.path.join(self.path, digest + ".part")

    def bytes(self):
        """What all files in it take, as WaltVpnCacheSize counts. A look during which files came or went is none: it may have
        counted one that has gone and also the one that took its place."""
        while True:
            names, total = self.names(), 0
            for name in names:
                try:
                    total += os.stat(os.path.join(self.path, name)).st_size
                except FileNotFoundError:
                    break
            else:
                if self.names() == names:
                    return total


def fetched(walt):
    """How many times a boot.img was asked for at the WalT server."""
    return len(walt.requests("boot.img"))
