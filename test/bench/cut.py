"""A link that breaks on purpose: how long until nodes boot over one on which all connections are reset every few seconds.

    make bench SECTIONS=cut
"""

import contextlib
import threading
import time

from boot_client import STAYS_ON, BootClient, Outcome
from contestants import HAPROXY, NGINX, PROXY_PASS, Cached, NginxSlice, SlowLink, Walt
from stand_in import COMING, RELEASED
from tables import say, table

MIB = 24
RATE = 0.4e6            # bytes a second
LIMIT = 150             # seconds, for each cell
RESTART = 5             # seconds that a board takes to start over
CONTESTS = ((20, 1), (5, 1), (3, 1), (20, 40))      # seconds between two cuts, nodes


class Board(threading.Thread):
    """A strict node that starts over until it has booted or hangs, or the time is over."""

    def __init__(self, number, entrypoint, ends_at):
        super().__init__(daemon=True)
        self.where = "127.0.0.1", entrypoint.port, "10.0.%d.%d" % divmod(number, 256), entrypoint.server_name
        self.ends_at = ends_at
        self.restarts = 0
        self.outcome = Outcome.UNDECIDED
        self.at = None          # time.monotonic() of its end

    def run(self):
        while time.monotonic() < self.ends_at:
            self.outcome = BootClient(*self.where, seconds=self.ends_at - time.monotonic()).boot().outcome
            self.at = time.monotonic()
            if self.outcome in STAYS_ON + (Outcome.BOOTED, Outcome.UNDECIDED):
                return
            time.sleep(max(0, min(RESTART, self.ends_at - time.monotonic())))
            self.restarts += 1
        self.outcome = Outcome.UNDECIDED


class Straight:
    """No entrypoint at all."""

    server_name = "walt.example.org"

    def __init__(self, link):
        self.port = link.port


def straight(_, link):
    return contextlib.nullcontext(Straight(link))


def through(kind):
    return lambda bench, link: bench.running(kind, link)


# (what it is, the version of WalT, is another entrypoint between it and the link?, what nodes ask at this end of the link)
WAYS = [("no entrypoint", COMING, False, straight),
        ("this module", COMING, False, through(Cached)),
        ("a chain of two", RELEASED, True, through(Cached)),
        ("NGINX, slice and cache", COMING, False, through(NginxSlice)),
        ("NGINX", COMING, False, through(NGINX)),
        ("HAProxy", COMING, False, through(HAPROXY)),
        ("ProxyPass", COMING, False, through(PROXY_PASS))]


def inner(bench, walt):
    """The one of a chain that is near the WalT server."""
    return bench.running(Cached, walt, vhost="ServerAlias 127.0.0.1")


def cell(bench, images, every, nodes, way):
    """(how it ended, MiB across the link, boots that started over)."""
    title, version, is_chain, entrypoint_of = way
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(Walt(images, version=version))
        if is_chain:
            behind = stack.enter_context(inner(bench, behind))
        link = stack.enter_context(SlowLink(behind, images, rate=RATE, cut=every))
        entrypoint = stack.enter_context(entrypoint_of(bench, link))
        began = time.monotonic()
        boards = [Board(number, entrypoint, began + LIMIT) for number in range(nodes)]
        for board in boards:
            board.start()
        for board in boards:
            board.join()
        mib = link.mib_sent()
    result = "%s; %.0f MiB; %d" % (ending(boards, began), mib, sum(board.restarts for board in boards))
    say("cut every %d s, %d nodes, %s: %s" % (every, nodes, title, result))
    return result


def ending(boards, began):
    booted = [board.at - began for board in boards if board.outcome is Outcome.BOOTED]
    hung = [board.at - began for board in boards if board.outcome in STAYS_ON]
    if len(booted) == len(boards):
        return "%.1f s" % max(booted)
    if hung and len(boards) == 1:
        return "hangs after %.0f s" % hung[0]
    return "**never**" if not booted and not hung else "**%d of %d**%s" % (
        len(booted), len(boards), ", %d hang" % len(hung) if hung else "")


def side_by_side(tasks):
    """What each gives, in threads of their own: the links are slow, and these runs disturb each other little."""
    results = {}

    def run(number, task):
        results[number] = task()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results.get(number, "failed, see above") for number in range(len(tasks))]


def cut(bench):
    """24 MiB over 0.4 MB/s, with all connections reset every 20, 5 and 3 s."""
    images = bench.images(1, MIB)
    rows = []
    for every, nodes in CONTESTS:
        cells = side_by_side([lambda way=way: cell(bench, images, every, nodes, way) for way in WAYS])
        rows.append(["%d s" % every, "%d" % nodes] + cells)
    print("\n## Cut: an image of %d MiB over a link of %.1f MB/s (%.0f s) on which all connections are reset so often" % (
        MIB, RATE / 1e6, MIB * (1 << 20) / RATE))
    table(["cut every", "nodes"] + [way[0] for way in WAYS], rows)
    print("Seconds until the last node has booted (never: not within %d s); MiB across the link; boots that started over. At the "
          "far end is a WalT server of the coming version, which knows ranges; in front of the chain's one of the released "
          "version, and the link is between its two entrypoints.\n" % LIMIT)
