#!/usr/bin/python3
"""Everything at once, for as long as you like: nodes that boot, lose their links, are slow or go away; a WalT server that
fails in all its ways and changes its images; children of httpd that are killed; graceful restarts; a cache that is too
small, and damaged, on a disk that fails now and then, with and without sendfile; a stranger's floods.

    test/commands/soak.py [--seconds 120] [--seed N] [--mpm event] [--walt-version coming]

Afterwards: as long as nobody changed a byte, no node got another one than its image's; after that, none that booted did. None
hangs, the folder holds sound images and nothing else, and the processes that lived through a quiet part of it have no more
descriptors or memory than before. The seed is printed: the same one makes the same plan, though not the same races.
"""

import fcntl
import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

import wire
from boot_client import BootClient, Outcome
from fetches import CacheFolder
from flaky_disk import FlakyDisk
from fleet import Fleet
from httpd import OF_A_TEST, log_objections
from processes import descriptors, wait_until
from proxies import WaltVpn, hasty
from stand_in import VERSIONS, WaltServer

MIB = 1 << 20
NODES = 16
IMAGES = [("a", 1), ("b", 1), ("c", 2), ("d", 3)]

# Room for some of the images; a stalled WalT server is given up soon; small processes, so that several take part.
SERVER = {
    "event": "StartServers 3\nServerLimit 6\nThreadsPerChild 8\nMaxRequestWorkers 48\nMinSpareThreads 8\nMaxSpareThreads 48",
    "prefork": "StartServers 12\nServerLimit 48\nMaxRequestWorkers 48\nMinSpareServers 8\nMaxSpareServers 48",
}
SERVER["worker"] = SERVER["event"]

# What may become of a node when nobody changes a byte. Not: it hangs, its parser is stuck, a reply it can't understand.
HARMLESS = (Outcome.BOOTED, Outcome.RESTARTS, Outcome.HTTP_ERROR, Outcome.GAVE_UP)

# Longest time for a boot: a node's patience is 3 s here, and an image lasts 3 s on a slow link.
LONGEST = 60

# So long an image is not fetched of which two whole fetches brought the same wrong bytes: MISMATCH_LASTS (src/request/times.h).
MISMATCH = 60

# What the faults may leave in the error log; of httpd itself only that children are killed and that they are all busy.
TOLERATED = [OF_A_TEST, "proxy", "was answered with [45]", "ended short", "is damaged: removed", "is not a signature",
             "images are relayed until this is mended", "AH10392", "AH03490", "AH10159",
             "AH00286", "AH00287", "AH00484", "AH00161"]


def is_locked(path):
    """Is a process at this file?"""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class Trouble(Exception):
    """The soak found something."""


class Soak:
    """One run."""

    def __init__(self, seconds, seed, mpm, version=None, say=print):
        """version: of WalT, by default as the seed will have it."""
        self.seconds = seconds
        self.seed = seed
        self.mpm = mpm
        self.version = version or self.random("version").choice(VERSIONS)
        self.sendfile = self.random("sendfile").choice(["On", "Off"])
        self.say = say
        self.over = threading.Event()
        self.outcomes = collections.Counter()
        self.deeds = collections.Counter()
        self.failures = []
        self.busy = {}          # node: since when it boots
        self.harmless = HARMLESS

    def random(self, part):
        return random.Random("%s/%s" % (self.seed, part))

    # Nodes

    def node(self, number):
        """Boots again and again, each time with other habits."""
        chance = self.random("node %d" % number)
        ip = "192.168.0.%d" % number
        while not self.over.is_set():
            size = 3 * MIB
            lost_links = {"boot.img": [chance.randrange(size) for _ in range(chance.choice([0, 0, 1, 2]))],
                          "boot.sig": [chance.randrange(600)] if chance.random() < 0.1 else []}
            client = BootClient("127.0.0.1", self.httpd.port, ip, self.httpd.server_name, patience=3,
                                rate=chance.choice([None, None, None, MIB, 4 * MIB]), lost_links=lost_links)
            if chance.random() < 0.1:
                self.go_away(client, chance)
                continue
            self.busy[ip] = time.monotonic()
            try:
                boot = client.boot()
            except Exception as problem:     # whatever it is, the run must tell it
                self.failures.append("node %s: %s: %s" % (ip, type(problem).__name__, problem))
                return
            finally:
                del self.busy[ip]
            self.outcomes[boot.outcome.name] += 1
            if boot.outcome not in self.harmless or boot.seconds > LONGEST:
                self.failures.append(str(boot))
            self.over.wait(chance.random() / 10)

    def go_away(self, client, chance):
        """Asks, and is gone before it has the answer."""
        self.deeds["a node goes away"] += 1
        with self.httpd.connect() as connection:
            connection.send(b"GET /walt-vpn/per-ip/%s/boot.img HTTP/1.1\r\nHost: %s\r\n\r\n"
                            % (client.node.replace(".", "-").encode(), self.httpd.server_name.encode()))
            self.over.wait(chance.random() / 5)

    # Everybody else

    def flood(self, chance):
        """A stranger, whose address is no node's, asks for what takes time, more often than there are threads, with as many header
        lines as httpd takes, and waits a little."""
        self.deeds["a request of a flood"] += 60
        connections = []
        for _ in range(60):
            method, file = chance.choice([("HEAD", "boot.img"), ("GET", "boot.sig"), ("GET", "boot.img")])
            try:
                connections.append(socket.create_connection(("127.0.0.1", self.httpd.port), 2, ("127.0.0.66", 0)))
                connections[-1].send(b"%s /walt-vpn/per-ip/192-168-%d-%d/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (
                    method.encode(), chance.choice([0, 9]), chance.randint(1, NODES), file.encode(),
                    self.httpd.server_name.encode(), b"".join(b"X-%d: y\r\n" % line for line in range(97))))
            except OSError:
                pass        # httpd is busy, or restarts
        self.over.wait(chance.random() / 2)
        for connection in connections:
            connection.close()

    def change_images(self, chance):
        who = chance.choice(["*", "192.168.0.%d" % chance.randint(1, NODES)])
        self.walt.set_image(who, *chance.choice(IMAGES))

    def break_walt(self, chance):
        self.fault(chance, chance.choice(["fin", "rst", "silence", "slow", "status"]))

    def let_walt_lie(self, chance):
        self.fault(chance, chance.choice(["flip", "behind", "wrong-digest", "no-digest"]))

    def fault(self, chance, kind):
        path = chance.choice(["boot.img", "boot.img", "boot.sig"]) if kind not in ("wrong-digest", "no-digest") else "boot.sig"
        size = 602 if path == "boot.sig" else MIB
        at_byte = None if kind in ("behind", "wrong-digest", "no-digest", "status") else chance.randrange(size)
        if kind == "no-digest" and chance.random() < 0.8:
            return      # a node restarts on it: not all the time
        self.walt.fault(path, kind, at_byte=at_byte, times=chance.randint(1, 3), rate=MIB, status=chance.choice([404, 500]))

    def kill_child(self, chance):
        children = self.httpd.children()
        if children:
            try:
                os.kill(chance.choice(children), signal.SIGKILL)
            except ProcessLookupError:
                pass        # it has just ended by itself

    def restart_gracefully(self, _):
        self.httpd.process.send_signal(signal.SIGUSR1)

    def damage_image(self, chance):
        images = self.cache.images()
        if images:
            try:
                with open(self.cache.image(chance.choice(images)), "r+b") as image:
                    image.seek(chance.randrange(MIB))
                    image.write(b"damage")
            except FileNotFoundError:
                pass    # evicted just now

    def remove_image(self, chance):
        images = self.cache.images()
        if images:
            try:
                os.unlink(self.cache.image(chance.choice(images)))
            except FileNotFoundError:
                pass

    def walt_goes_down(self, chance):
        self.walt.down()
        self.over.wait(chance.random() / 2)
        self.walt.up()

    def disk_fails(self, chance):
        self.disk.fail(one_in=chance.choice([2, 10, 50]))
        self.over.wait(chance.random())
        self.disk.mend()

    def look_for_hangers(self):
        now = time.monotonic()
        for ip, since in list(self.busy.items()):
            if now - since > LONGEST:
                raise Trouble("node %s boots since %d s" % (ip, now - since))

    # The parts of a run

    def sign_images(self):
        """The WalT server knows all signatures from here on: computing one may take longer than a hasty entrypoint waits."""
        for image in IMAGES:
            self.walt.set_image("*", *image)
            question = wire.request("/walt-vpn/per-ip/192-168-0-1/boot.sig", self.walt.location)
            if wire.exchange(self.walt.port, question, timeout=60).status != 200:
                raise Trouble("the WalT server signed nothing")

    def quiet_boots(self, rounds):
        """Nothing goes wrong, but for the images that change; enough of them that some are evicted."""
        chance = self.random("quiet")
        for _ in range(rounds):
            digest = self.walt.set_image("*", *chance.choice(IMAGES))
            for boot in Fleet(self.httpd, NODES).boots(LONGEST):
                if not boot.booted or boot.resumes or boot.image_sha256 != digest:
                    raise Trouble("though nothing went wrong: %s" % boot)
                self.outcomes["BOOTED"] += 1

    def measure(self):
        """{process: (descriptors, KiB of its own memory)} when nothing is going on."""
        found = {}
        for child in self.httpd.children():
            try:
                wait_until(lambda: not self.open_images(child), 15, "the end of what %d sends" % child)
                with open("/proc/%d/smaps_rollup" % child) as rollup:
                    memory = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Dirty", "Anonymous")))
                found[child] = (len(os.listdir("/proc/%d/fd" % child)), memory)
            except (FileNotFoundError, ProcessLookupError):
                pass    # ended meanwhile
        return found

    @staticmethod
    def open_images(child):
        """Files of the cache that it holds open."""
        return [name for name in descriptors(child).values() if ".img" in name or ".part" in name or name.endswith("/images")]

    def honest_storm(self, seconds):
        """Whatever can go wrong while each node has one image and nobody changes a byte: no node gets another byte."""
        for number in range(1, NODES + 1):
            self.walt.set_image("192.168.0.%d" % number, *IMAGES[number % len(IMAGES)])
        self.storm(seconds, [(self.break_walt, 20), (self.kill_child, 1), (self.restart_gracefully, 1), (self.remove_image, 4),
                             (self.walt_goes_down, 1), (self.disk_fails, 10), (self.flood, 2)])

    def storm_of_lies(self, seconds):
        """Also images change, between their signature and their bytes, too, and bytes do, on their way and in the folder: a node
        may notice that."""
        self.harmless += (Outcome.CORRUPT,)
        self.storm(seconds, [(self.change_images, 6), (self.break_walt, 17), (self.let_walt_lie, 13), (self.kill_child, 1),
                             (self.restart_gracefully, 1), (self.damage_image, 3), (self.remove_image, 1),
                             (self.walt_goes_down, 1), (self.disk_fails, 3), (self.flood, 2)])

    def storm(self, seconds, plan):
        deeds = [deed for deed, weight in plan for _ in range(weight)]
        chance = self.random("storm of %d" % len(plan))
        self.over.clear()
        threads = [threading.Thread(target=self.node, args=(number,), daemon=True) for number in range(1, NODES + 1)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failures:
            deed = chance.choice(deeds)
            deed(chance)
            self.deeds[deed.__name__.replace("_", " ")] += 1
            self.look_for_hangers()
            time.sleep(chance.random() / 10)
        self.over.set()
        self.walt.heal()
        for thread in threads:
            thread.join(LONGEST)
        if any(thread.is_alive() for thread in threads):
            raise Trouble("nodes hang after the storm: %s" % sorted(self.busy))
        if self.failures:
            raise Trouble("\n".join(self.failures))

    def compare(self, before):
        """The processes of `before` that still live. They may have two descriptors more, and others for a moment, until httpd has
        noticed that a node is gone; and as much more memory as pools keep for the next request."""
        end = time.monotonic() + 15
        while True:
            after = self.measure()
            survivors = sorted(set(before) & set(after))
            if time.monotonic() > end or all(after[child][0] <= before[child][0] + 2 for child in survivors):
                break
            time.sleep(0.1)
        if not survivors:
            raise Trouble("no process lived through the quiet part")
        for child in survivors:
            if after[child][0] > before[child][0] + 2:
                raise Trouble("process %d has %d descriptors, it had %d" % (child, after[child][0], before[child][0]))
            if after[child][1] > before[child][1] * 1.5 + 4096:
                raise Trouble("process %d has %d KiB, it had %d" % (child, after[child][1], before[child][1]))
        return survivors

    def judge_folder(self):
        """Nothing but sound images, and not more than fit."""
        def settled():
            return not any(is_locked(self.cache.part(name)) for name in self.cache.parts())
        # What a fetch has left is kept for the next one.
        wait_until(settled, 100, "the end of the last fetches (%s)" % self.cache.parts())
        if self.cache.bytes() > 5 * MIB:
            raise Trouble("the folder holds %d bytes" % self.cache.bytes())
        strangers = [name for name in self.cache.names() if name[:64] not in self.cache.images() + self.cache.parts()]
        if strangers:
            raise Trouble("left in the folder: %s" % strangers)

    def judge_images(self, patience=0):
        """After a last boot of each image, whatever is in the folder under a name that was asked for is sound. For so many seconds a
        node may be told that an image is another than the signed one."""
        end = time.monotonic() + patience
        for image in IMAGES:
            digest = self.walt.set_image("*", *image)
            client = BootClient("127.0.0.1", self.httpd.port, "192.168.0.1", self.httpd.server_name)
            boot = client.boot()
            while boot.outcome is Outcome.HTTP_ERROR and time.monotonic() < end:
                time.sleep(1)
                boot = client.boot()
            if not boot.booted or boot.image_sha256 != digest:
                raise Trouble("after the storm: %s" % boot)
            with open(self.cache.image(digest), "rb") as kept:
                if hashlib.sha256(kept.read()).hexdigest() != digest:
                    raise Trouble("%s is not what its name says" % digest)

    def run(self):
        """None, or Trouble."""
        folder = tempfile.mkdtemp(prefix="walt-vpn-soak-")
        os.chmod(folder, 0o755)
        place = os.path.join(folder, "httpd")
        os.mkdir(place)
        self.cache = CacheFolder(os.path.join(folder, "images"))
        self.disk = FlakyDisk(folder, self.cache.path)
        self.say("soak of %g s on %s, %s version of WalT, EnableSendfile %s, seed %s" % (
            self.seconds, self.mpm, self.version, self.sendfile, self.seed))
        try:
            with mock.patch.dict(os.environ, self.disk.environment), WaltServer(version=self.version) as self.walt, \
                    WaltVpn(place, self.walt, cache=self.cache.path, mpm=self.mpm, vhost=hasty(self.walt.location),
                            server="WaltVpnCacheSize 5M\nHostnameLookups On\nEnableSendfile %s\n%s" % (
                                self.sendfile, SERVER[self.mpm])) as self.httpd:
                quiet = max(2, int(self.seconds / 4))
                self.sign_images()
                self.quiet_boots(quiet)
                before = self.measure()
                self.quiet_boots(2 * quiet)
                survivors = self.compare(before)
                self.honest_storm(self.seconds / 4)
                self.judge_images()
                self.storm_of_lies(self.seconds / 4)
                self.judge_folder()
                self.judge_images(MISMATCH + 5)
                self.quiet_boots(quiet)
                before = self.measure()
                self.quiet_boots(2 * quiet)
                survivors += self.compare(before)
                if self.walt.dangers():
                    raise Trouble("the WalT server was harmed: %s" % self.walt.dangers())
            objections = log_objections(self.httpd.error_log, [], TOLERATED)
            if objections:
                raise Trouble("in the error log:\n" + "\n".join(objections))
            if not self.outcomes["BOOTED"]:
                raise Trouble("not one node booted")
            self.say("nodes: %s" % ", ".join("%d %s" % (number, name) for name, number in self.outcomes.most_common()))
            self.say("meanwhile: %s" % ", ".join("%d times %s" % (number, name) for name, number in self.deeds.most_common()))
            self.say("%d processes compared: no descriptor and no memory lost" % len(survivors))
        except (Trouble, TimeoutError):
            self.say(self.httpd.error_log[-20000:])
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    options = argparse.ArgumentParser(description="A soak with all faults mixed.")
    options.add_argument("--seconds", type=float, default=120, help="length, roughly (default %(default)s)")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="default: any, printed")
    options.add_argument("--mpm", choices=sorted(SERVER), default="event")
    options.add_argument("--walt-version", choices=VERSIONS, help="default: either, as the seed will have it")
    options = options.parse_args()
    try:
        Soak(options.seconds, options.seed, options.mpm, options.walt_version).run()
    except (Trouble, TimeoutError) as trouble:
        sys.exit("TROUBLE with seed %d: %s" % (options.seed, trouble))
    print("no wrong byte, no node hung, nothing left behind")


if __name__ == "__main__":
    main()
