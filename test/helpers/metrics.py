"""The page for Prometheus, read as Prometheus reads it."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import wire
from processes import wait_until

LOCATION = '<Location "/metrics">\nSetHandler walt-vpn-metrics\n</Location>'
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

SAMPLE = re.compile(r'(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (?P<value>[0-9]+(?:\.[0-9]+)?)')


class Metrics:
    """All samples of a page, which is insisted to be well-formed: a family's samples together, no series twice.

    types       {"walt_vpn_boots_total": "counter", ...}
    samples     {(name, frozenset(labels.items())): value}
    """

    def __init__(self, text):
        self.text = text
        self.types = {}
        self.samples = {}
        family = None
        assert text.endswith("\n")
        for line in text.splitlines():
            if line == "# EOF":
                continue
            words = line.split(" ", 3)
            if words[0] == "#":
                if words[1] == "TYPE":
                    assert words[2] not in self.types
                    family = words[2]
                    self.types[family] = words[3]
                continue
            found = SAMPLE.fullmatch(line)
            assert found and found.group("name").startswith(family), line
            labels = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', found.group("labels")))
            plain = {key: re.sub(r"\\(.)", lambda c: "\n" if c.group(1) == "n" else c.group(1), value)
                     for key, value in labels.items()}
            key = found.group("name"), frozenset(plain.items())
            assert key not in self.samples, "twice: " + line
            self.samples[key] = float(found.group("value"))

    def rows(self, name, **labels):
        """[(labels, value), ...] of a name, as far as they have these labels."""
        return [(dict(key[1]), value) for key, value in self.samples.items()
                if key[0] == name and labels.items() <= dict(key[1]).items()]

    def sum(self, name, **labels):
        """Of all samples with these labels; None: there are none."""
        values = [value for _, value in self.rows(name, **labels)]
        return sum(values) if values else None

    def by(self, name, label, **labels):
        """{value of the label: sum}, without what is zero."""
        sums = {}
        for row, value in self.rows(name, **labels):
            sums[row[label]] = sums.get(row[label], 0) + value
        return {key: value for key, value in sums.items() if value}

    def check_histograms(self):
        """Buckets only grow, and the last one is the count."""
        for family in [name for name, kind in self.types.items() if kind == "histogram"]:
            for labels, count in self.rows(family + "_count"):
                buckets = [(float(row["le"].replace("+Inf", "inf")), value)
                           for row, value in self.rows(family + "_bucket", **labels)]
                assert [value for _, value in sorted(buckets)] == sorted(value for _, value in buckets)
                assert len(buckets) > 2 and max(buckets) == (float("inf"), count)


def page(httpd, query="", accept=None, **options):
    headers = [("Accept", accept)] if accept else []
    options.setdefault("version", "HTTP/1.0")
    return httpd.get("/metrics" + query, headers=headers, **options)


def scrape(httpd, query="", accept=None):
    """The page."""
    reply = page(httpd, query, accept)
    assert reply.status == 200 and reply.header("Content-Type") == TEXT, reply
    return Metrics(reply.body.decode())


def promtool(text):
    """What "promtool check metrics" finds in this page; "": nothing."""
    program = shutil.which("promtool")
    if not program:
        pytest.skip("no promtool: install prometheus")
    run = subprocess.run([program, "check", "metrics"], input=text, universal_newlines=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.stdout if run.returncode == 0 else run.stdout or "it failed"


def request(path, host, headers=()):
    return wire.request(path, host, headers=headers)


def kill_children(httpd):
    """All of them at once, and wait for others."""
    killed = set(httpd.children())
    for child in killed:
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: not killed & set(httpd.children()) and httpd.get().status, what="new children")
