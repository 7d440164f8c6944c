"""`make compare` prints a table in Markdown of what our module and the documented configurations do, measured."""

import os
import subprocess
import sys

import pytest

from behaviours import BEHAVIOURS
from httpd import PROJECT
from proxies import SEED, program

TITLES = ["", "mod_walt_vpn", "without its cache", "NGINX", "HAProxy", "httpd ProxyPass"]


def installed(name):
    try:
        return program(name)
    except FileNotFoundError:
        return None


@pytest.mark.skipif(not installed("nginx") or not installed("haproxy"), reason="needs nginx and haproxy")
def test_table():
    """Failures are bold, and none of them is ours."""
    run = subprocess.run([sys.executable, "-B", os.path.join(PROJECT, "test", "commands", "compare.py"), "--only", "node boots|link|https"],
                         stdout=subprocess.PIPE, universal_newlines=True, timeout=120, check=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines()]
    assert rows[0] == TITLES and set(rows[1]) == {"---"} and len(TITLES) == 3 + len(SEED)
    assert [row[0] for row in rows[2:]] == ["a node boots", "the node loses its link half-way through boot.img",
                                            "the site sends every visitor to https"]
    assert rows[2][1:] == ["boots"] * 5
    assert rows[3][1:] == ["boots"] * 2 + ["**image corrupt**"] * 3
    assert rows[4][1:] == ["boots"] * 2 + ["**redirected**"] * 3


def test_every_row_has_a_title_of_its_own():
    """The table is read by its titles."""
    assert len({behaviour.title for behaviour in BEHAVIOURS}) == len(BEHAVIOURS) > 10
