"""Images on their way to the entrypoint: how often, in which process; and the folder that they come into."""

import os
import re

from processes import wait_until

# Four processes from the start, so small that one alone can't take all nodes.
FOUR_PROCESSES = "StartServers 4\nServerLimit 8\nThreadsPerChild 4\nMaxRequestWorkers 32\nMinSpareThreads 4\nMaxSpareThreads 32"
# One from the start, and no other.
ONE_PROCESS = "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8"
HALF = 1 << 19


def fetched(walt):
    """How many times a boot.img was asked for at the WalT server."""
    return len(walt.requests("boot.img"))


def await_fetch(walt, number=1):
    """The fetch has passed the middle of the image, where its fault keeps it."""
    wait_until(lambda: [request.sent for request in walt.requests("boot.img")[number - 1:]] == [HALF], what="half an image")


def fetcher(httpd):
    """The process that holds a .part open for writing (a waiter's is open too, but holds no lock)."""
    holders = set()
    with open("/proc/locks") as locks:
        for line in locks:
            found = re.search(r"FLOCK +ADVISORY +WRITE (\d+) ", line)
            if found and int(found.group(1)) in httpd.children():
                holders.add(int(found.group(1)))
    assert len(holders) == 1, holders
    return holders.pop()


def fill_disk(place):
    """Writes a file into this folder until its small file system has no room; returns the file's path."""
    path = os.path.join(place, "filling")
    with open(path, "wb") as filling:
        try:
            filling.write(b"x" * (4 << 20))
        except OSError:
            pass
    return path


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
