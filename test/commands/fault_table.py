#!/usr/bin/python3
"""Nodes boot while the WalT server fails in every way and place, through our module and the configurations that WalT
documents; prints what became of them as a Markdown table.

    test/commands/fault_table.py [--cells]       --cells: a line for each place, too
"""

import argparse
import collections
import concurrent.futures
import itertools
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

import wire
from behaviours import SHORT
from boot_client import PATIENCE, BootClient, Failed, Outcome
from boot_files import MIB, boot_sig, image_digest
from httpd import Httpd, log_objections
from proxies import Haproxy, Nginx, ProxyPass, WaltVpn, hasty
from stand_in import WaltServer

SIG_SIZE = len(boot_sig("0" * 64))

# Real times would make this take the better part of an hour: they are cut in about the same proportion, all of them.
# seconds a node waits for a byte (50), and an entrypoint for one of the WalT server's: ours 20, NGINX 60, HAProxy 50, httpd 60
CUT_PATIENCE, CUT_OURS, CUT_NGINX, CUT_HAPROXY, CUT_HTTPD = 4, 1, 5, 4, 5

KINDS = {"fin": "closes", "rst": "resets", "silence": "falls silent"}
PLACES = ["head", "0", "1", "middle", "last"]
TIMES = {1: "once", None: "always"}

Cell = collections.namedtuple("Cell", "file kind times place")
CELLS = [Cell(*cell) for cell in itertools.product(("boot.sig", "boot.img"), KINDS, TIMES, PLACES)]


class OursRelayed(WaltVpn):
    title = "mod_walt_vpn, no cache"

    def __init__(self, folder, walt):
        super().__init__(folder, walt, server=hasty(walt.location, CUT_OURS, ""))


class OursCached(WaltVpn):
    title = "mod_walt_vpn"

    def __init__(self, folder, walt):
        super().__init__(folder, walt, cache=folder + "/images", server=hasty(walt.location, CUT_OURS, ""))


class CutNginx(Nginx):
    def configuration(self):
        return super().configuration().replace("proxy_pass ", "proxy_read_timeout %ds; proxy_pass " % CUT_NGINX)


class CutHaproxy(Haproxy):
    def configuration(self):
        return super().configuration().replace("timeout server 50000", "timeout server %d000" % CUT_HAPROXY)


class CutProxyPass(ProxyPass):
    def __init__(self, folder, walt):
        super().__init__(folder, walt, server="ProxyTimeout %d" % CUT_HTTPD)


OURS = (OursCached, OursRelayed)
KINDS_OF_ENTRYPOINT = OURS + (CutNginx, CutHaproxy, CutProxyPass)


def size_of(name):
    return SIG_SIZE if name == "boot.sig" else MIB


class Node(BootClient):
    """One that is not followed into an endless series of resumes once a resume was answered with 200: it can't boot then."""

    def fetch(self, file, resuming, boot):
        if any(name == file.name and first > 0 and status == 200 for name, first, status in boot.replies):
            raise Failed(Outcome.CORRUPT if file.name == "boot.img" else Outcome.RESTARTS, "a 200 answered a resume")
        super().fetch(file, resuming, boot)


def byte_of(cell):
    """Where in the file the WalT server fails; None: before the status line."""
    size = size_of(cell.file)
    return {"head": None, "0": 0, "1": 1, "middle": size // 2, "last": size - 1}[cell.place]


def path_of(node, file):
    return "/walt-vpn/per-ip/%s/%s" % (node.replace(".", "-"), file)


def run_cell(entrypoint, node):
    """A node, and its Boot."""
    client = Node("127.0.0.1", entrypoint.port, node, entrypoint.server_name, patience=CUT_PATIENCE)
    return node, client.boot()


def column(kind, cells=CELLS):
    """What became of each cell's node behind this kind of entrypoint: a dict of Boots."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-")
    os.chmod(folder, 0o755)
    place = os.path.join(folder, "proxy")
    os.mkdir(place)
    try:
        with WaltServer() as walt, kind(place, walt) as entrypoint:
            nodes = ["10.1.%d.%d" % (number // 250, number % 250 + 1) for number in range(len(cells))]
            for node in nodes:
                walt.set_image(node=node, image="image of %s" % node)
                # Its signature is made now: sixty at a time would keep a busy machine longer than the cut times allow.
                wire.exchange(walt.port, wire.request(path_of(node, "boot.sig"), "x"))
            before = len(walt.requests())
            for node, cell in zip(nodes, cells):
                walt.fault(path_of(node, cell.file), cell.kind, at_byte=byte_of(cell), times=cell.times)

            def run(number):
                return cells[number], run_cell(entrypoint, nodes[number])

            # A WalT server that says nothing about one boot.sig is soon taken for one that says nothing at all: one node at a time.
            alone = [number for number, cell in enumerate(cells) if (cell.file, cell.kind) == ("boot.sig", "silence")]
            with concurrent.futures.ThreadPoolExecutor(len(cells)) as pool:
                boots = dict(pool.map(run, sorted(set(range(len(cells))) - set(alone))))
            boots.update(map(run, alone))
            requests = walt.requests()[before:]
        if isinstance(entrypoint, Httpd):
            crashes = log_objections(entrypoint.error_log, tolerated=[""])
            assert not crashes, crashes
        for cell, (node, boot) in boots.items():
            check_strike(requests, node, cell)
            check_bytes(node, boot)
        return {cell: boot for cell, (_, boot) in boots.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_strike(requests, node, cell):
    """The WalT server failed as it was told to, where it was told to."""
    asked = [request for request in requests if path_of(node, cell.file) in request.target]
    assert asked and asked[0].sent == (byte_of(cell) or 0), (cell, asked)
    assert (asked[0].status is None) == (cell.place == "head"), (cell, asked)


def check_bytes(node, boot):
    """The emulated node is no optimist: what it calls a boot has the right bytes."""
    if boot.booted:
        assert boot.image_sha256 == image_digest("image of %s" % node, 1) and boot.boot_sig == boot_sig(boot.image_sha256)


def is_harmless(boot):
    """It booted, or it failed at once and knows it: no wait for good, and no 200 or 206 with other bytes than the server's."""
    if boot.outcome is Outcome.RESTARTS:        # because the body of an error was taken for the file
        return all(status >= 500 for file, _, status in boot.replies if file == boot.file)
    return boot.outcome in (Outcome.BOOTED, Outcome.HTTP_ERROR, Outcome.GAVE_UP)


def words(boots):
    """The outcomes of several cells in few words, the bad ones emphasised."""
    counted = collections.Counter(SHORT[boot.outcome] if is_harmless(boot) else "**%s**" % SHORT[boot.outcome] for boot in boots)
    if len(counted) == 1:
        return next(iter(counted))
    return ", ".join("%s %d" % (word, count) for word, count in counted.most_common())


def print_table(columns, rows):
    print("| The WalT server | %s |" % " | ".join(kind.title for kind in columns))
    print("|---" * (len(columns) + 1) + "|")
    for title, cells in rows:
        print("| %s | %s |" % (title, " | ".join(words([boots[cell] for cell in cells]) for boots in columns.values())))


def main():
    options = argparse.ArgumentParser(description="Boots nodes against a WalT server that fails, and prints a table.")
    options.add_argument("--cells", action="store_true", help="a line for each place, too")
    options = options.parse_args()
    kinds = []
    for kind in KINDS_OF_ENTRYPOINT:
        if kind in (CutNginx, CutHaproxy) and not shutil.which(kind.__base__.__name__.lower(), path="/usr/sbin:" + os.environ["PATH"]):
            print("%s is not installed" % kind.title, file=sys.stderr)
            continue
        kinds.append(kind)
    columns = {kind: column(kind) for kind in kinds}
    titles = {"head": "before the head", "0": "at byte 0", "1": "at byte 1", "middle": "half-way", "last": "at the last byte"}
    print("Each cell: %d nodes, one for each place in the file (%s)." % (len(PLACES), ", ".join(titles.values())))
    print("Times were cut: a node waits %d s for a byte instead of %d; an entrypoint for the WalT server's: ours %d s instead of 20,"
          % (CUT_PATIENCE, PATIENCE, CUT_OURS))
    print("NGINX %d s instead of 60, HAProxy %d s instead of 50, httpd ProxyPass %d s instead of 60.\n"
          % (CUT_NGINX, CUT_HAPROXY, CUT_HTTPD))
    groups = list(itertools.product(("boot.sig", "boot.img"), KINDS, TIMES))
    print_table(columns, [("%s during %s, %s" % (KINDS[kind], file, TIMES[times]),
                           [Cell(file, kind, times, place) for place in PLACES]) for file, kind, times in groups])
    if options.cells:
        print()
        print_table(columns, [("%s during %s, %s, %s" % (KINDS[cell.kind], cell.file, titles[cell.place], TIMES[cell.times]), [cell])
                              for cell in CELLS])


if __name__ == "__main__":
    main()
