#!/usr/bin/python3
"""Puts our module and the configurations that WalT documents to every behaviour, and prints the table in Markdown."""

import argparse
import concurrent.futures
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

from behaviours import BEHAVIOURS
from boot_client import PATIENCE
from proxies import SEED, WaltVpn
from stand_in import WaltServer


COLUMNS = [(WaltVpn.title, WaltVpn, True), ("without its cache", WaltVpn, False)] + [(kind.title, kind, False) for kind in SEED]


def verdicts(kind, cached, behaviours, patience):
    """What one kind of entrypoint makes of these behaviours."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-")
    os.chmod(folder, 0o755)
    place = os.path.join(folder, "proxy")
    os.mkdir(place)
    options = {"cache": os.path.join(folder, "images")} if cached else {}
    found = []
    try:
        with WaltServer() as walt, kind(place, walt, **options) as entrypoint:
            for behaviour in behaviours:
                walt.clear()
                walt.set_image(image=behaviour.title)       # one that no cache has yet
                found.append(behaviour.judge(entrypoint, walt, patience))
        return found
    finally:
        shutil.rmtree(folder)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--patience", type=float, default=PATIENCE,
                         help="of a node, in seconds (default %(default)s, a board's own)")
    options.add_argument("--only", default="", help="regular expression that a behaviour's title must match")
    options = options.parse_args()
    behaviours = [behaviour for behaviour in BEHAVIOURS if re.search(options.only, behaviour.title)]
    with concurrent.futures.ThreadPoolExecutor(len(COLUMNS)) as pool:
        columns = list(pool.map(lambda column: verdicts(*column[1:], behaviours, options.patience), COLUMNS))
    print("| | %s |" % " | ".join(title for title, _, _ in COLUMNS))
    print("|---" * (len(COLUMNS) + 1) + "|")
    for behaviour, row in zip(behaviours, zip(*columns)):
        print("| %s | %s |" % (behaviour.title, " | ".join(
            verdict.words if verdict.passed else "**%s**" % verdict.words for verdict in row)))


if __name__ == "__main__":
    main()
