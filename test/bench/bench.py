#!/usr/bin/python3
"""Measures this module beside the configurations that WalT documents, and prints tables in Markdown.

    make bench [SECTIONS="storm cold behind shared cut strangers slow bulk small growth chain lossy signatures"]

Everything is on loopback, with one WalT server, the same nodes and Debian's settings for all. What the nodes check is said in
nodes.c. Times depend on the machine, which is named above the tables; what carries over are the ratios.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "helpers"))

import processes
from boot_client import BootClient
from boot_files import image_pieces
from contestants import (ALL, BUILT, HAPROXY, NGINX, PROXY_PASS, Cached, FilesOnDisk, Images, SlowLink, Walt,
                         allow_descriptors)
from cut import cut
from httpd import Httpd, httpd_binary
from proxies import program
from stand_in import COMING, RELEASED, WaltServer
from strangers import strangers
from tables import milliseconds, say, table
from usage import Peak, cpu_seconds

MIB = 1 << 20
LINK = 125000000        # bytes a second: 1 Gb/s
SLOW = 64 * 1024        # bytes a second of a slow node
SLOW_SECONDS = 10       # that it is slow; then it hurries, so that the run ends
PROGRAM = os.path.join(BUILT, "nodes")
SIGNED_MIB = 48         # of an image whose signature is to be computed
RESTART = 5             # seconds that a board takes to start over
REBOOT_LIMIT = 90       # seconds after which who has not booted on it is not waited for

# For a thousand slow nodes. Each of httpd's children takes threads + factor * idle threads connections.
THOUSAND = "StartServers 4\nAsyncRequestWorkerFactor 20"


class Bench:
    """A folder for images and instances, and the runs in it."""

    def __init__(self, folder):
        self.folder = folder

    def images(self, count, mib):
        return Images(self.folder, count, mib)

    @contextlib.contextmanager
    def running(self, kind, walt, **options):
        """An instance of that kind with nothing in its cache; its folder goes with it."""
        place = tempfile.mkdtemp(dir=self.folder)
        try:
            with kind(place, walt, **options) as instance:
                yield instance
            for line in instance.log_objections() if isinstance(instance, Httpd) else ():
                say("%s: %s" % (instance.title, line))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def command(self, mode, instance, images, **options):
        words = [PROGRAM, mode, "--port", str(instance.port), "--host", instance.server_name]
        for name, value in options.items():
            words += ["--" + name, str(value)]
        return words + images.options

    def nodes(self, mode, instance, images, **options):
        """What nodes.c says."""
        with self.started(mode, instance, images, **options) as process:
            return json.loads(process.communicate(timeout=300)[0])

    @contextlib.contextmanager
    def started(self, mode, instance, images, **options):
        process = processes.spawn(self.command(mode, instance, images, **options), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, universal_newlines=True)
        try:
            yield process
        finally:
            processes.end(process)

    def boot(self, kind, walt, nodes, server="", probe_seconds=None, **options):
        """One cold start with so many nodes: what they say, what probes of /walt-vpn/server say meanwhile or for so many
        seconds, memory, descriptors, processor time, what crossed the link."""
        more = {"server": server} if server else {}
        if kind is FilesOnDisk:
            more["nodes"] = nodes
        with self.running(kind, walt, **more) as instance, self.started("probe", instance, walt.images) as prober:
            walt.mib_sent()
            with Peak(instance.process.pid) as peak, self.started("boot", instance, walt.images, nodes=nodes,
                                                                  **options) as booting:
                try:
                    booting.wait(probe_seconds)
                except subprocess.TimeoutExpired:
                    pass
                probes = json.loads(prober.communicate(timeout=20)[0])
                result = json.loads(booting.communicate(timeout=300)[0])
            result.update(probes=probes, pss=peak.mib, descriptors=peak.descriptors, mib=walt.mib_sent(),
                          cpu=cpu_seconds(instance.process.pid))
        say("%s, %d nodes: %s" % (kind.title, nodes, result))
        return result


def in_turn(rounds, measure):
    """{kind: [what measure(kind) gives, so many rounds]}, one of each kind after the other: what disturbs, disturbs all."""
    results = {kind: [] for kind in rounds}
    for number in range(max(rounds.values())):
        for kind in rounds:
            if number < rounds[kind]:
                results[kind].append(measure(kind))
    return results


def median_of(results, key):
    return statistics.median(result[key] for result in results)


def probe_cells(result):
    probes = result["probes"]
    answered = probes["asked"] > probes["failed"]
    return ["%d of %d" % (probes["failed"], probes["asked"]), milliseconds(probes["p50"]) if answered else "-",
            milliseconds(probes["max"]) if answered else "-"]


def storm(bench):
    """40 nodes on one image of 64 MiB, cold, behind 1 Gb/s."""
    rows, seconds, rounds = [], {}, {Cached: 3, FilesOnDisk: 3}
    with Walt(bench.images(1, 64), LINK) as walt:
        runs = in_turn({kind: rounds.get(kind, 1) for kind in ALL}, lambda kind: bench.boot(kind, walt, 40))
        for kind, results in runs.items():
            seconds[kind] = median_of(results, "last")
            worst = max(results, key=lambda result: result["probes"]["max"])
            rows.append([kind.title, "%d of 40" % min(result["booted"] for result in results),
                         "%.0f" % median_of(results, "mib"), "%.2f" % seconds[kind], "%.0f" % median_of(results, "pss")]
                        + probe_cells(worst))
    print("\n## Storm: 40 nodes start at once, one image of 64 MiB, nothing cached, 125 MB/s to the WalT server")
    table(["", "booted", "MiB across the link", "s until the last boot", "PSS MiB", "failed probes", "p50 ms", "max ms"], rows)
    limit = seconds[FilesOnDisk] + 64 * MIB / LINK
    print("%s takes %.2f times as long as files on disk plus one fetch (%.2f s); the others take %s times as long as it." % (
        Cached.title, seconds[Cached] / limit, limit,
        ", ".join("%.1f (%s)" % (seconds[kind] / seconds[Cached], kind.title) for kind in (NGINX, HAPROXY, PROXY_PASS))))


def cold(bench):
    """One node, as strict as the firmware, with a link of its own, on an image of 64 MiB that is new to the entrypoint."""
    rates = [(125, 12.5), (12.5, 12.5), (12.5, 125), (4, 12.5)]
    rows = []

    def boot(kind, walt, rate):
        with bench.running(kind, walt) as instance:
            told = BootClient("127.0.0.1", instance.port, "10.0.0.0", instance.server_name, rate=rate).boot()
        say("%s at %g B/s: %s" % (kind.title, rate, told))
        return {"seconds": told.seconds if told.booted else float("inf"), "resumes": told.resumes}

    for link, own in rates:
        with Walt(bench.images(1, 64), link * 1e6) as walt:
            runs = in_turn({Cached: 3, HAPROXY: 3}, lambda kind: boot(kind, walt, own * 1e6))
        ours, relayed = (median_of(runs[kind], "seconds") for kind in (Cached, HAPROXY))
        rows.append(["%g / %g" % (link, own), "%.2f" % (64 * MIB / (min(link, own) * 1e6)), "%.2f" % relayed, "%.2f" % ours,
                     "%.2f" % (ours / relayed), "%d" % max(run["resumes"] for run in runs[Cached])])
    print("\n## Cold: one node boots an image of 64 MiB that is not cached (link to the WalT server / the node's own, MB/s)")
    table(["", "s at least", "s through " + HAPROXY.title, "s through " + Cached.title, "ratio", "resumes"], rows)


def behind(bench):
    """40 and 200 nodes on an image of 24 MiB that crosses a link of 0.4 MB/s."""
    rows, fetch = [], 24 * MIB / 0.4e6
    with Walt(bench.images(1, 24), 0.4e6) as walt:
        for nodes, kind in ((40, Cached), (200, Cached), (40, HAPROXY)):
            result = bench.boot(kind, walt, nodes, probe_seconds=1.6 * fetch, limit=2 * fetch)
            rows.append(["%d" % nodes, kind.title, "%d" % result["booted"], "%.1f" % result["last"],
                         "%.2f" % (result["last"] / fetch), "%d" % result["resumes"],
                         "%d" % (result["failed"] + result["late"]), "%.0f" % result["mib"]] + probe_cells(result))
    print("\n## Behind a slow link: an image of 24 MiB that is new, 0.4 MB/s to the WalT server (%.0f s for one fetch)" % fetch)
    table(["nodes", "", "booted", "s until the last", "to a fetch", "resumes", "not booted after %.0f s" % (2 * fetch),
           "MiB across the link", "failed probes", "p50 ms", "max ms"], rows)


def shared(bench):
    """The same over a link that all replies share in the order in which they come."""
    rows, images, fetch = [], bench.images(1, 24), 24 * MIB / 0.4e6
    for version in (RELEASED, COMING):
        for nodes in (40, 200):
            with Walt(images, version=version) as walt, SlowLink(walt, images, rate=0.4e6, queue=256 * 1024) as link:
                result = bench.boot(Cached, link, nodes, probe_seconds=1.3 * fetch, limit=2.5 * fetch, restart=RESTART)
            rows.append([version, "%d" % nodes, "%d" % result["booted"], "%.1f" % result["median_first_byte"],
                         "%.1f" % result["last"], "%d" % result["restarts"], "%d" % result["resumes"], "%.0f" % result["mib"]]
                        + probe_cells(result))
    print("\n## Shared: an image of 24 MiB that is new, 0.4 MB/s to the WalT server (%.0f s for one fetch), where each reply, however "
          "small, queues behind up to 256 KiB of the image (0.65 s)" % fetch)
    table(["WalT", "nodes", "booted", "median s until the first byte of boot.img", "s until the last", "boots started over",
           "resumes", "MiB across the link", "failed probes", "p50 ms", "max ms"], rows)


FACTOR = "AsyncRequestWorkerFactor 10"


def slow(bench):
    """200, 400 and 1000 nodes at 64 KiB/s, cold, while /walt-vpn/server is asked."""
    contests = [(nodes, kind, server) for nodes in (200, 400)
                for kind, server in [(kind, "") for kind in ALL] + [(Cached, FACTOR), (FilesOnDisk, FACTOR)]]
    contests += [(1000, Cached, THOUSAND), (1000, HAPROXY, ""), (1000, FilesOnDisk, THOUSAND)]
    rows, found = [], {}
    with Walt(bench.images(1, 4), LINK) as walt:
        for nodes, kind, server in contests:
            result = bench.boot(kind, walt, nodes, server, probe_seconds=SLOW_SECONDS, rate=SLOW, hurry=SLOW_SECONDS,
                                patience=10, limit=70)
            found[nodes, kind, server] = result
            title = ", ".join([kind.title] + server.splitlines())
            rows.append(["%d" % nodes, title, "%d" % result["served"], "%d" % result["booted"],
                         "%.1f" % result["last_first_byte"]]
                        + probe_cells(result)
                        + ["%.0f" % result["pss"], "%d" % result["descriptors"], "%.2f" % result["cpu"]])
    print("\n## Slow nodes: an image of 4 MiB at 64 KiB/s, nothing cached, 125 MB/s to the WalT server")
    table(["nodes", "", "served while slow", "booted", "s until the last one's first byte", "failed probes", "p50 ms", "max ms",
           "PSS MiB", "most descriptors of a process", "CPU s"], rows)
    print("After %d s the nodes hurry and the probes, one every 100 ms, end. A node resumes after 10 s without a byte: a board "
          "waits 50 s, for an image that takes it a quarter of an hour.\n" % SLOW_SECONDS)
    for nodes, server in ((200, ""), (400, ""), (200, FACTOR), (400, FACTOR), (1000, THOUSAND)):
        ours, files, relay = found[nodes, Cached, server], found[nodes, FilesOnDisk, server], found[nodes, HAPROXY, ""]
        print("* %d nodes%s: the worst probe took %.1f times as long as with files on disk; memory is %.2f of HAProxy's." % (
            nodes, server and " (%s)" % ", ".join(server.splitlines()),
            ours["probes"]["max"] / max(files["probes"]["max"], 1e-6), ours["pss"] / relay["pss"]))


def rounds_of(bench, walt, images, kinds, measures, rounds, before=None):
    """All instances run at once and are measured in turn: {(kind, measure): [result]}."""
    results = {}
    with contextlib.ExitStack() as stack:
        instances = [(kind, stack.enter_context(bench.running(kind, walt))) for kind in kinds]
        for kind, instance in instances:
            bench.nodes("boot", instance, images, nodes=2)      # warm, and verified
        for number in range(rounds):
            for name, options in measures.items():
                for kind, instance in instances:
                    if before:
                        before()
                    cpu = cpu_seconds(instance.process.pid)
                    result = bench.nodes("load", instance, images, **options)
                    result["cpu"] = cpu_seconds(instance.process.pid) - cpu
                    results.setdefault((kind, name), []).append(result)
                    say("%s, %s, round %d: %s" % (kind.title, name, number, result))
    return results


def bulk(bench):
    """8 fast clients, 64 MiB, warm, no limit to the link."""
    images = bench.images(1, 64)
    with Walt(images) as walt:
        results = rounds_of(bench, walt, images, ALL, {"bulk": dict(clients=8, what="img", seconds=3)}, 3)
    rate, cost, rows = {}, {}, []
    for kind in ALL:
        runs = results[kind, "bulk"]
        rate[kind] = statistics.median(run["bytes"] / run["seconds"] / 1e6 for run in runs)
        cost[kind] = statistics.median(run["cpu"] / (run["bytes"] / 1e9) for run in runs)
    for kind in ALL:
        rows.append([kind.title, "%.0f" % rate[kind], "%.2f" % (rate[kind] / rate[HAPROXY]), "%.2f" % cost[kind],
                     "%.2f" % (cost[kind] / cost[HAPROXY])])
    print("\n## Bulk: 8 fast clients, an image of 64 MiB again and again, warm")
    table(["", "MB/s", "to HAProxy", "CPU s per GB", "to HAProxy"], rows)
    print("%s reaches %.2f of the rate of files on disk." % (Cached.title, rate[Cached] / rate[FilesOnDisk]))


def small(bench):
    """16 clients against the stand-in server of the tests, which behaves as the real one, in either version."""
    path = os.path.join(bench.folder, "default")
    with open(path, "wb") as file:
        file.writelines(image_pieces("default", 1))
    images = Images(bench.folder, 0, 1)
    images.paths = [path]
    for version, kinds in ((RELEASED, ALL), (COMING, (Cached, HAPROXY))):
        small_requests(bench, version, kinds, images)


def small_requests(bench, version, kinds, images):
    measures = {what: dict(clients=16, what=what, seconds=2) for what in ("server", "sig", "boot")}
    with WaltServer(version=version) as walt:
        walt.images = images
        results = rounds_of(bench, walt, images, kinds, measures, 3, before=walt.clear)
    rows, best = [], {}
    for kind in kinds:
        row = [kind.title]
        for name in measures:
            runs = results[kind, name]
            row += ["%.0f" % statistics.median(run["done"] / run["seconds"] for run in runs),
                    milliseconds(median_of(runs, "p50")), "%.2f" % statistics.median(
                        1000 * run["cpu"] / max(run["done"], 1) for run in runs)]
            best[kind, name] = statistics.median(run["done"] / run["seconds"] for run in runs)
        rows.append(row)
    print("\n## Small: 16 clients against the stand-in server (bottle on pywsgi, as the real one), %s version of WalT" % version)
    table(["", "server/s", "p50 ms", "CPU ms each", "boot.sig/s", "p50 ms", "CPU ms each", "boots/s (1 MiB)", "p50 ms",
           "CPU ms each"], rows)
    others = [kind for kind in (NGINX, HAPROXY, PROXY_PASS) if kind in kinds]
    for name, text in (("server", "/walt-vpn/server"), ("sig", "boot.sig"), ("boot", "boots")):
        print("%s: %s times as many as %s.\n" % (text, ", ".join(
            "%.2f" % (best[Cached, name] / best[kind, name]) for kind in others),
            ", ".join(kind.title for kind in others)))


def growth(bench):
    """What more nodes and more images cost."""
    kinds = (Cached, HAPROXY, FilesOnDisk)
    contests = [(nodes, 1) for nodes in (10, 40, 160)] + [(40, count) for count in (4, 16)]
    rows = []
    for nodes, count in contests:
        row = ["%d" % nodes, "%d" % count]
        with Walt(bench.images(count, 16), LINK) as walt:
            rounds = {kind: 1 if kind is HAPROXY else 3 for kind in kinds}
            for results in in_turn(rounds, lambda kind: bench.boot(kind, walt, nodes)).values():
                row += ["%.2f" % median_of(results, "last"), "%.0f" % median_of(results, "mib"),
                        "%.0f" % median_of(results, "pss")]
        rows.append(row)
    print("\n## Growth: nodes and images of 16 MiB, nothing cached, 125 MB/s to the WalT server")
    heads = [head % kind.title for kind in kinds for head in ("%s: s", "%s: MiB across", "%s: PSS MiB")]
    table(["nodes", "images"] + heads, rows)


def on_its_own(name):
    """A section that is a program, because it is in a network of its own while it runs."""
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, name + ".py")])
    if done.returncode:
        print("\n## %s: left out, see above\n" % name.capitalize(), flush=True)


def chain(_):
    """An entrypoint near the nodes in front of an entrypoint near the lab, over a link of 50 ms."""
    on_its_own("chain")


def lossy(_):
    """Nodes behind a way that loses packets, by the congestion control of the entrypoint's TCP."""
    on_its_own("lossy")


def signed_image(bench, walt, name):
    """An image that the stand-in server has not signed yet, for all nodes from now on."""
    walt.set_image(image=name, mib=SIGNED_MIB)
    path = os.path.join(bench.folder, "signed")
    with open(path, "wb") as file:
        file.writelines(image_pieces(name, SIGNED_MIB))
    image_pieces.cache_clear()
    images = Images(bench.folder, 0, SIGNED_MIB)
    images.paths = [path]
    walt.clear()
    return images


def reboot(bench, kind, nodes):
    """So many nodes on a new image: what they say, and what the stand-in server computed for them. Of this module also how
    long one node and then that many took, the image being new for the one and known to the others."""
    with WaltServer() as walt, bench.running(kind, walt) as instance:
        images = signed_image(bench, walt, "fleet")
        result = bench.nodes("boot", instance, images, nodes=nodes, limit=REBOOT_LIMIT)
        result.update(walt.signatures()._asdict())
        if kind is Cached:
            images = signed_image(bench, walt, "one first")
            result["apart"] = sum(bench.nodes("boot", instance, images, nodes=count)["last"] for count in (1, nodes))
    say("%s, %d nodes on a new image: %s" % (kind.title, nodes, result))
    return result


def has_memory(nodes):
    """The WalT server may need as much as this for as many signatures at once."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    return available / 1024 > 2 * nodes * SIGNED_MIB


def signatures(bench):
    """Nodes that reboot onto a new image all at once: what that costs the WalT server."""
    rows, ratios = [], []
    for nodes in (40, 200):
        for kind in (Cached, NGINX, HAPROXY, PROXY_PASS):
            if kind is not Cached and not has_memory(nodes):
                rows.append(["%d" % nodes, kind.title] + ["not run: too little memory"] + [""] * 5)
                continue
            result = reboot(bench, kind, nodes)
            booted = result["booted"] > 0
            rows.append(["%d" % nodes, kind.title, "%d" % result["booted"], "%.1f" % result["first"] if booted else "-",
                         "%.1f" % result["last"] if booted else "-", "%d" % result["computed"], "%d" % result["at_once"],
                         "%.0f" % (result["peak_kib"] / 1024)])
            if kind is Cached:
                ratios.append("%d nodes take %.2f times as long as one and then %d" % (
                    nodes, result["last"] / result["apart"], nodes))
    print("\n## Signatures: all nodes reboot at once onto a new image of %d MiB, against the stand-in server of the tests" % SIGNED_MIB)
    table(["nodes", "", "booted in %d s" % REBOOT_LIMIT, "s until the first", "s until the last", "signatures computed",
           "most at once", "MiB that these take"], rows)
    print("%s: %s.\n" % (Cached.title, "; ".join(ratios)))


SECTIONS = {section.__name__: section for section in (
    storm, cold, behind, shared, cut, strangers, slow, bulk, small, growth, chain, lossy, signatures)}


def version(*command):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return run.stdout.splitlines()[0].split(": ")[-1]


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return "%d cores (%s), %.0f GiB, Linux %s; %s; %s; %s" % (
        os.cpu_count(), model, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, platform.release(),
        version(httpd_binary(), "-v"), version(program("nginx"), "-v"), version(program("haproxy"), "-v").split(" 20")[0])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sections", nargs="*", metavar="section", help="of %s; default: all" % ", ".join(SECTIONS))
    chosen = options.parse_args().sections or list(SECTIONS)
    for name in chosen:
        if name not in SECTIONS:
            options.error("no section %r; there are %s" % (name, ", ".join(SECTIONS)))
    allow_descriptors()
    folder = tempfile.mkdtemp(prefix="walt-vpn-bench-")
    os.chmod(folder, 0o755)
    try:
        print("Machine: %s.\n" % machine(), flush=True)
        for name in chosen:
            say("-- %s" % name)
            SECTIONS[name](Bench(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
