#!/usr/bin/python3
"""A long link for real TCP: two network namespaces, and a program between them that carries each packet after a while.

    long_link.py LAB FAR DELAY RATE LOSS

LAB and FAR are process ids, each in a network namespace; DELAY is in seconds, one way, RATE in bytes a second, each way. Of the
packets, in either direction, LOSS are lost (0.01: one in a hundred). It gives the two ends the addresses below, says "ready", and
then answers each line on its standard input with the bytes that it has carried from LAB to FAR since the line before. A kernel
with netem (tc qdisc ... netem) could do the same; this program needs none.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

import processes

LAB_ADDRESS, FAR_ADDRESS = "10.77.0.1", "10.77.0.2"

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454ca
IFF_TUN_NO_PI = 0x1001
PACKET = 65536
QUEUE = 4 << 20         # bytes that wait for their turn; what comes then is lost, as in a router
BATCH = 64              # packets that one side may bring before the other's turn

libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def namespace(pid):
    return "/proc/%d/ns/net" % pid


def enter_new_namespace():
    """This process and what it starts from now on have a network of their own, with a loopback and nothing else."""
    checked(libc.unshare(CLONE_NEWNET))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def inside(pid, command):
    """The command that runs this one in the network namespace of that process."""
    return ["nsenter", "--net=" + namespace(pid)] + list(command)


class LongLink:
    """From here (call enter_new_namespace before) to a far place: `command`s run there by far(command)."""

    def __init__(self, delay, rate, loss=0):
        here = os.readlink(namespace(os.getpid()))
        self.holder = processes.spawn(["unshare", "--net", "sleep", "infinity"])
        processes.wait_until(lambda: os.readlink(namespace(self.holder.pid)) != here, what="a network namespace")
        subprocess.run(self.far(["ip", "link", "set", "lo", "up"]), check=True)
        self.carrier = processes.spawn(
            [sys.executable, "-B", os.path.abspath(__file__), str(os.getpid()), str(self.holder.pid), str(delay), str(rate),
             str(loss)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True, bufsize=1)
        if self.carrier.stdout.readline() != "ready\n":
            raise RuntimeError("the link does not stand")

    def far(self, command):
        return inside(self.holder.pid, command)

    def mib_carried(self):
        """To the far place, since it was asked last."""
        self.carrier.stdin.write("\n")
        return int(self.carrier.stdout.readline()) / (1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        processes.end(self.carrier)
        processes.end(self.holder)


class Side:
    """One end: a network device of a namespace, and what is on its way there."""

    def __init__(self, pid, own, other):
        with open(namespace(pid)) as file:
            checked(libc.setns(file.fileno(), CLONE_NEWNET))
        self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", b"long", IFF_TUN_NO_PI))
        subprocess.run(["ip", "address", "add", own, "peer", other, "dev", "long"], check=True)
        subprocess.run(["ip", "link", "set", "long", "up", "txqueuelen", "10000"], check=True)
        self.queue = collections.deque()        # (when it is due, packet)
        self.queued = 0
        self.free_at = 0.0                      # when the link has sent what it was given
        self.carried = 0

    def take(self, packet, now, delay, rate, loss):
        if random.random() < loss or self.queued + len(packet) > QUEUE:
            return
        self.free_at = max(self.free_at, now) + len(packet) / rate
        self.queue.append((self.free_at + delay, packet))
        self.queued += len(packet)

    def deliver(self, now):
        while self.queue and self.queue[0][0] <= now:
            _, packet = self.queue.popleft()
            self.queued -= len(packet)
            self.carried += len(packet)
            os.write(self.device, packet)


def carry(lab, far, *way):
    other = {lab.device: far, far.device: lab}
    with select.epoll() as poller:
        for descriptor in (lab.device, far.device, sys.stdin.fileno()):
            poller.register(descriptor, select.EPOLLIN)
        while True:
            due = min((side.queue[0][0] for side in (lab, far) if side.queue), default=None)
            events = poller.poll(None if due is None else max(0, due - time.monotonic()))
            for descriptor, _ in events:
                if descriptor in other:
                    take_batch(descriptor, other[descriptor], *way)
                elif sys.stdin.readline():
                    print(far.carried, flush=True)
                    far.carried = 0
                else:
                    return
            for side in (lab, far):
                side.deliver(time.monotonic())


def take_batch(device, side, *way):
    now = time.monotonic()
    try:
        for _ in range(BATCH):
            side.take(os.read(device, PACKET), now, *way)
    except BlockingIOError:
        pass


def main():
    lab, far = (int(word) for word in sys.argv[1:3])
    way = [float(word) for word in sys.argv[3:6]]
    sides = Side(lab, LAB_ADDRESS, FAR_ADDRESS), Side(far, FAR_ADDRESS, LAB_ADDRESS)
    print("ready", flush=True)
    carry(*sides, *way)


if __name__ == "__main__":
    main()
