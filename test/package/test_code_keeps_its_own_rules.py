"""What CONTRIBUTING.md says of the C code holds: every arrow points down, and functions and lines are short."""

import os
import re

import pytest

from httpd import PROJECT

FOLDERS = ["request", "ledger", "store", "report", "reply", "walt", "boot", "site"]      # of src/, from the ground up
SOURCES = ["mod_walt_vpn.c"] + sorted("src/%s/%s" % (folder, name) for folder in FOLDERS
                                      for name in os.listdir(os.path.join(PROJECT, "src", folder)) if re.search(r"\.[ch]$", name))
WIDTH = 100     # columns
LENGTH = 40     # lines between the braces of a function


def lines_of(name):
    with open(os.path.join(PROJECT, name)) as file:
        return file.read().splitlines()


def test_no_folder_stands_beside_these():
    assert sorted(name for name in os.listdir(os.path.join(PROJECT, "src")) if name != "exports.map") == sorted(FOLDERS)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("src/")])
def test_a_folder_includes_itself_and_those_below_it(name):
    own = FOLDERS.index(name.split("/")[1])
    for line in lines_of(name):
        found = re.match(r'#include "(?:(\w+)/)?(\w+)\.h"', line)
        if found and found.group(1):
            assert FOLDERS.index(found.group(1)) <= own, line
        elif found:         # httpd's, then: ours are named with their folder
            assert not any(os.path.exists(os.path.join(PROJECT, "src", folder, found.group(2) + ".h")) for folder in FOLDERS), line


@pytest.mark.parametrize("name", SOURCES)
def test_lines_fit(name):
    assert [(number, line) for number, line in enumerate(lines_of(name), 1) if len(line) > WIDTH or "\t" in line] == []


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith(".c")])
def test_functions_are_short(name):
    began, long = None, []
    for number, line in enumerate(lines_of(name), 1):
        if line == "{":
            began = number
        elif line == "}" and began:
            if number - began - 1 >= LENGTH:
                long.append(began)
            began = None
    assert long == []
