#!/usr/bin/python3
"""What an entrypoint near the nodes is worth when the lab is far away: boots over a long link, with and without it.

    make bench SECTIONS=chain

The strict client, the stand-in WalT server, and a link with real TCP at both ends (long_link.py). It needs root, and works in a
network namespace of its own: nothing of the machine's network is touched.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "helpers")]

from fleet import Fleet
from long_link import LAB_ADDRESS, LongLink, enter_new_namespace
from proxies import WaltVpn
from stand_in import WaltServer
from tables import say, table

ROUND_TRIP = 0.050      # seconds
RATE = 12500000         # bytes a second: 100 Mb/s
MIB = 16
NODES = 20
NAME = WaltVpn.server_name


class Place:
    """A WaltVpnServer."""

    def __init__(self, port, address):
        self.location = "%s:%d" % (address, port)


class Entrypoint(WaltVpn):
    """With an empty folder of images, near the lab or, with a link, at its far end."""

    def __init__(self, folder, walt, link=None):
        self.link = link
        super().__init__(folder, walt, vhost="ServerAlias " + LAB_ADDRESS, cache=os.path.join(folder, "images"),
                         server="" if link else "Listen %s:@PORT@" % LAB_ADDRESS)

    def command(self, *options):
        command = super().command(*options)
        return self.link.far(command) if self.link else command


def boot(link, address, port, nodes):
    """So many nodes at the far end, at once: the seconds of each that booted, in order, and the MiB that crossed the link."""
    link.mib_carried()
    run = subprocess.run(link.far([sys.executable, "-B", os.path.abspath(__file__), "--nodes", str(nodes), address, str(port)]),
                         stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return json.loads(run.stdout), link.mib_carried()


class Entry:
    """What Fleet asks of an entrypoint."""

    server_name = NAME

    def __init__(self, port):
        self.port = port


def boot_here(nodes, address, port):
    boots = Fleet(Entry(port), nodes, address=address).boots(300)
    print(json.dumps(sorted(boot.seconds for boot in boots if boot.booted)))


def arrangements(folder, walt, link):
    """(what it is, the entrypoints, the address at which nodes reach the last of them) of each."""
    place = Place(walt.port, LAB_ADDRESS)

    def made(*arguments):
        return Entrypoint(tempfile.mkdtemp(dir=folder), *arguments).start()

    near_lab = made(place)
    yield "one, near the lab", [near_lab], LAB_ADDRESS
    near_nodes = made(place, link)
    yield "one, near the nodes", [near_nodes], "127.0.0.1"
    inner = made(place)
    outer = made(Place(inner.port, LAB_ADDRESS), link)
    yield "a chain of both", [inner, outer], "127.0.0.1"


def measure(folder):
    rows = []
    with LongLink(ROUND_TRIP / 2, RATE) as link, WaltServer(LAB_ADDRESS) as walt:
        walt.set_image(mib=MIB)
        for title, entrypoints, address in arrangements(folder, walt, link):
            row = [title]
            for nodes in (1, 1, NODES):
                if nodes == NODES:      # another image: cold again
                    walt.set_image(image=title, mib=MIB)
                seconds, mib = boot(link, address, entrypoints[-1].port, nodes)
                row += ["%d of %d" % (len(seconds), nodes), "%.1f" % seconds[-1] if seconds else "-", "%.0f" % mib]
                say("%s, %d nodes: %s" % (title, nodes, row[-3:]))
            rows.append(row)
            for entrypoint in entrypoints:
                entrypoint.stop()
                for line in entrypoint.log_objections():
                    say("%s: %s" % (title, line))
    return rows


def check_means():
    if os.getuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
        sys.exit("It needs root and /dev/net/tun (modprobe tun): run it as root, on a machine or in a container that has it.")


def in_its_own_network(name, measure):
    """measure(folder), in a network namespace of this process; the folder goes afterwards."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-%s-" % name)
    os.chmod(folder, 0o755)
    try:
        enter_new_namespace()
        return measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nodes", type=int, help=argparse.SUPPRESS)
    options.add_argument("address", nargs="?", help=argparse.SUPPRESS)
    options.add_argument("port", nargs="?", type=int, help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.nodes:
        return boot_here(options.nodes, options.address, options.port)
    check_means()
    rows = in_its_own_network("chain", measure)
    print("\n## Chain: an image of %d MiB over a link of %.0f ms and %.1f MB/s" % (MIB, 1000 * ROUND_TRIP, RATE / 1e6))
    heads = ["entrypoints"] + ["%s: %s" % (what, unit) for what in ("first node", "the same again", "%d nodes, new image" % NODES)
                               for unit in ("booted", "s until the last", "MiB over the link")]
    table(heads, rows)


if __name__ == "__main__":
    main()
