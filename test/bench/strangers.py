"""A stranger who asks too much, and what a node, walt-server-setup and the reader of another site notice of it.

    make bench SECTIONS=strangers
"""

import asyncio
import os
import statistics
import threading
import time

from boot_client import BootClient
from contestants import PROXY_PASS, Cached, SlowLink, Walt
from tables import milliseconds, say, table

SECONDS = 25            # that the stranger asks
PATIENCE = 30           # seconds after which a probe counts as unanswered
PROBE_EVERY = 0.25
MIB = 24
OTHER_SITE = "<VirtualHost *:@PORT@>\nServerName other.example.org\n</VirtualHost>"

# What is looked at meanwhile: how it is called, the path, and the host if it is not the entrypoint.
PROBES = (("boot.sig", "/walt-vpn/per-ip/10-0-0-7/boot.sig", None), ("/walt-vpn/server", "/walt-vpn/server", None),
          ("another site", "/page.html", "other.example.org"))

# What he asks: what it is, how, the path of his request of that number, how often a second, what the way to the lab is like.
HABITS = (("HEAD boot.img of an image on its way", "HEAD", lambda number: "/walt-vpn/per-ip/10-0-1-%d/boot.img" % (number % 250),
           40, dict(rate=0.4e6)),
          ("boot.sig of invented nodes, 100 ms to the lab", "GET",
           lambda number: "/walt-vpn/per-ip/10-9-%d-%d/boot.sig" % divmod(number, 250), 120, dict(delay=0.1)))


async def ask(entrypoint, method, path, host=None, source="127.0.0.1"):
    """Seconds until it was answered and the connection closed; None: it was not answered."""
    began = time.monotonic()
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", entrypoint.port, local_addr=(source, 0))
        writer.write(("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (
            method, path, host or entrypoint.server_name)).encode())
        reply = await reader.read()
        return time.monotonic() - began if reply.startswith(b"HTTP/1.1 ") else None
    except OSError:
        return None
    finally:
        if writer:
            writer.close()


class Visit:
    """A stranger's visit to an entrypoint, from so many addresses, and the probes meanwhile."""

    def __init__(self, entrypoint, habit, addresses):
        self.entrypoint = entrypoint
        _, self.method, self.path, self.rate, _ = habit
        self.addresses = ["127.0.0.%d" % (2 + number) for number in range(addresses)]
        self.answers = {name: [] for name, _, _ in PROBES}      # seconds; None: not answered
        self.asked = self.answered = 0

    async def one(self, number):
        source = self.addresses[number % len(self.addresses)]
        answer = await ask(self.entrypoint, self.method, self.path(number), source=source)
        self.answered += answer is not None

    async def probe(self, name, path, host):
        try:
            self.answers[name].append(await asyncio.wait_for(ask(self.entrypoint, "GET", path, host), PATIENCE))
        except asyncio.TimeoutError:
            self.answers[name].append(None)

    @staticmethod
    async def regularly(every, start):
        """start(number) again and again; the tasks."""
        began, tasks = time.monotonic(), []
        while time.monotonic() - began < SECONDS:
            tasks.append(asyncio.ensure_future(start(len(tasks))))
            await asyncio.sleep(max(0, began + len(tasks) * every - time.monotonic()))
        return tasks

    async def probes(self):
        async def start(_):
            await asyncio.gather(*(self.probe(*probe) for probe in PROBES))
        await asyncio.gather(*await self.regularly(PROBE_EVERY, start))

    async def go(self):
        probing = asyncio.ensure_future(self.probes())
        requests = await self.regularly(1 / self.rate, self.one)
        self.asked = len(requests)
        answered = self.answered
        await probing
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        self.answered = answered

    def cells(self):
        told = []
        for name, _, _ in PROBES:
            answers = self.answers[name]
            good = [answer for answer in answers if answer is not None]
            worst = milliseconds(max(good)) if good else "-"
            told.append("%s / %s%s" % (milliseconds(statistics.median(good)) if good else "-", worst,
                                       "; %d unanswered" % (len(answers) - len(good)) if len(good) < len(answers) else ""))
        return told + ["%d of %d" % (self.answered, self.asked)]


class Download(threading.Thread):
    """The node whose image is on its way meanwhile."""

    def __init__(self, entrypoint):
        super().__init__(daemon=True)
        self.client = BootClient("127.0.0.1", entrypoint.port, "10.0.0.1", entrypoint.server_name, seconds=SECONDS + 2)
        self.start()

    def run(self):
        self.boot = self.client.boot()

    def fate(self):
        self.join()
        return "%s; %d" % (self.boot.outcome.name.lower(), self.boot.resumes)


def measure(bench, images, kind, habit, addresses):
    with Walt(images) as walt, SlowLink(walt, images, **habit[-1]) as link, \
            bench.running(kind, link, server=OTHER_SITE) as entrypoint:
        with open(os.path.join(entrypoint.folder, "htdocs", "page.html"), "w") as page:
            page.write("another site\n")
        download = Download(entrypoint)
        time.sleep(1)       # so that the image has begun to come
        visit = Visit(entrypoint, habit, addresses)
        asyncio.run(visit.go())
        row = [habit[0], "%d" % addresses, entrypoint.title] + visit.cells() + [download.fate()]
    say(", ".join(row))
    return row


def strangers(bench):
    """40 HEAD boot.img a second, and 120 boot.sig a second, from one address and from twenty."""
    images = bench.images(1, MIB)
    rows = [measure(bench, images, kind, habit, addresses)
            for habit in HABITS for addresses in (1, 20) for kind in (Cached, PROXY_PASS)]
    print("\n## Strangers: %s, for %d s; what others notice, in ms (median / worst)" % (
        "; ".join("%d a second of %s" % (habit[3], habit[0]) for habit in HABITS), SECONDS))
    table(["what he asks", "addresses", ""] + [name for name, _, _ in PROBES]
          + ["of his requests answered when he stops", "a node's download; its resumes"], rows)
