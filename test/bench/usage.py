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


class PeakMemory:
    """with PeakMemory(pid) as peak: ...; peak.mib"""

    def __init__(self, pid):
        self.pid = pid
        self.mib = 0.0
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        while True:
            self.mib = max(self.mib, pss_mib(self.pid))
            if self.over.wait(0.5):
                return

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watcher.join()
        self.mib = max(self.mib, pss_mib(self.pid))
