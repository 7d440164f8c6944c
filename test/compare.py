#!/usr/bin/python3
"""Puts our module and the configurations that WalT documents to every behaviour, and prints the table in Markdown."""

import argparse
import concurrent.futures
import os
import shutil
import tempfile

from behaviours import BEHAVIOURS
from boot_client import PATIENCE
from proxies import SEED, WaltVpn
from stand_in import WaltServer


def column(kind, patience):
    """The verdicts on one kind of entrypoint."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-")
    os.chmod(folder, 0o755)
    place = os.path.join(folder, "proxy")
    os.mkdir(place)
    options = {"cache": os.path.join(folder, "images")} if kind is WaltVpn else {}
    verdicts = []
    try:
        with WaltServer() as walt, kind(place, walt, **options) as entrypoint:
            for behaviour in BEHAVIOURS:
                walt.clear()
                walt.set_image()
                verdicts.append(behaviour.judge(entrypoint, walt, patience))
        return verdicts
    finally:
        shutil.rmtree(folder)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--patience", type=float, default=PATIENCE,
                         help="of a node, in seconds (default %(default)s, a board's own)")
    patience = options.parse_args().patience
    kinds = (WaltVpn,) + SEED
    with concurrent.futures.ThreadPoolExecutor(len(kinds)) as pool:
        columns = list(pool.map(lambda kind: column(kind, patience), kinds))
    print("| | %s |" % " | ".join(kind.title for kind in kinds))
    print("|---" * (len(kinds) + 1) + "|")
    for behaviour, verdicts in zip(BEHAVIOURS, zip(*columns)):
        print("| %s | %s |" % (behaviour.title, " | ".join(
            verdict.words if verdict.passed else "**%s**" % verdict.words for verdict in verdicts)))


if __name__ == "__main__":
    main()
