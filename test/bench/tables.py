"""What a benchmark prints: tables in Markdown on its standard output, and what goes on meanwhile on the other."""

import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


def table(heads, rows):
    print("\n| %s |" % " | ".join(heads))
    print("|---" * len(heads) + "|")
    for row in rows:
        print("| %s |" % " | ".join(row))
    print(flush=True)


def milliseconds(seconds):
    return "%.2g" % (seconds * 1000) if seconds < 0.1 else "%.0f" % (seconds * 1000)
