"""What a proxy's processes cost: processor time and memory, as the kernel counts them."""

import os
import threading

import processes


def family(pid):
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        found += processes.children(parent)
    return found


def cpu_seconds(pid):
    """Of the family so far, with its members that have ended."""
    ticks = 0
    for member in family(pid):
        try:
            with open("/proc/%d/stat" % member) as stat:
                fields = stat.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue        # its parent has counted it
        ticks += sum(int(field) for field in fields[11:15])     # utime, stime, and those of reaped children
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mib(pid):
    """Proportional set size: shared pages are divided among those who share them."""
    kib = 0
    for member in family(pid):
        try:
            with open("/proc/%d/smaps_rollup" % member) as rollup:
                kib += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return kib / 1024


def descriptors(pid):
    """Open in that process of the family that has most."""
    most = 0
    for member in family(pid):
        try:
            most = max(most, len(os.listdir("/proc/%d/fd" % member)))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return most


class Peak:
    """with Peak(pid) as peak: ...; peak.mib, peak.descriptors"""

    def __init__(self, pid):
        self.pid = pid
        self.mib = 0.0
        self.descriptors = 0
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        while True:
            self.look()
            if self.over.wait(0.5):
                return

    def look(self):
        self.mib = max(self.mib, pss_mib(self.pid))
        self.descriptors = max(self.descriptors, descriptors(self.pid))

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watcher.join()
        self.look()
