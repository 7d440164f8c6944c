#!/usr/bin/python3
"""What a node's boot takes over a way that loses packets, by the congestion control of the entrypoint's TCP.

    make bench SECTIONS=lossy

The strict clients, which take at most 64 KiB in a round trip, are at the far end of a link with real TCP at both ends
(long_link.py). Each column of the table is measured by a process of its own, at the same time as the others. It needs root, and
each process works in a network namespace of its own: nothing of the machine's network is touched.
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

import processes
from boot_client import BootClient
from chain import Entrypoint, Place, boot, check_means, in_its_own_network
from long_link import FAR_ADDRESS, LAB_ADDRESS, LongLink
from stand_in import WaltServer
from tables import say, table

ROUND_TRIP = 0.050      # seconds
RATE = 12500000         # bytes a second: 100 Mb/s
MIB = 16
NODES = 2               # at once in each column; more would want more of the processor than of the links
LOSSES = (0, 0.001, 0.01, 0.03)

# (congestion control, do the nodes tell which packets came behind a lost packet?) Whether the firmware's TCP does is not known.
COLUMNS = (("cubic", 1), ("bbr", 1), ("cubic", 0), ("bbr", 0))


def use(control):
    """Connections to the far place are sent by this congestion control. The route says so, because the setting of a namespace may
    be one of net.ipv4.tcp_allowed_congestion_control only. False: the kernel does not have it."""
    route = ["ip", "route", "replace", FAR_ADDRESS, "dev", "long", "src", LAB_ADDRESS, "congctl", control]
    return subprocess.run(route).returncode == 0


def cell(folder, walt, loss, control, sack):
    """The seconds of each node's boot."""
    place = tempfile.mkdtemp(dir=folder)
    with LongLink(ROUND_TRIP / 2, RATE, loss) as link, Entrypoint(place, Place(walt.port, "127.0.0.1")) as entrypoint:
        if not use(control):
            return "not run: no %s" % control
        subprocess.run(link.far(["sh", "-c", "echo %d >/proc/sys/net/ipv4/tcp_sack" % sack]), check=True)
        seconds, _ = boot(link, LAB_ADDRESS, entrypoint.port, NODES)
    for line in entrypoint.log_objections():
        say(line)
    result = ", ".join(["%.1f" % each for each in seconds] + ["did not boot"] * (NODES - len(seconds)))
    say("%g lost, %s, SACK %d: %s" % (loss, control, sack, result))
    return result


def column(control, sack):
    def measure(folder):
        with WaltServer() as walt:
            walt.set_image(mib=MIB)
            BootClient("127.0.0.1", walt.port).boot()       # it makes the image, and signs it
            return [cell(folder, walt, loss, control, sack) for loss in LOSSES]
    print(json.dumps(in_its_own_network("lossy", measure)))


def measured():
    """All columns. Their processes have their folders in one that this process removes."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-lossy-")
    os.chmod(folder, 0o755)
    running = [processes.spawn([sys.executable, "-B", os.path.abspath(__file__), control, str(sack)], stdout=subprocess.PIPE,
                               universal_newlines=True, env=dict(os.environ, TMPDIR=folder)) for control, sack in COLUMNS]
    try:
        return [json.loads(process.stdout.read()) for process in running]
    finally:
        for process in running:
            processes.end(process)
        shutil.rmtree(folder, ignore_errors=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("control", nargs="?", help=argparse.SUPPRESS)
    options.add_argument("sack", nargs="?", type=int, help=argparse.SUPPRESS)
    options = options.parse_args()
    check_means()
    if options.control:
        return column(options.control, options.sack)
    columns = measured()
    print("\n## Lossy: %d nodes boot an image of %d MiB over a link of %.0f ms and %.1f MB/s; s of each" % (
        NODES, MIB, 1000 * ROUND_TRIP, RATE / 1e6))
    table(["packets lost"] + [control + ("" if sack else ", nodes without SACK") for control, sack in COLUMNS],
          [["%g %%" % (100 * loss)] + list(cells) for loss, cells in zip(LOSSES, zip(*columns))])


if __name__ == "__main__":
    main()
