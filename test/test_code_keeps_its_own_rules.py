"""What CONTRIBUTING.md says of the C code holds: every arrow points down, and functions and lines are short."""

import os
import re

import pytest

from httpd import PROJECT

SOURCES = sorted(name for name in os.listdir(PROJECT) if re.search(r"\.[ch]$", name))
WIDTH = 100     # columns
LENGTH = 40     # lines between the braces of a function


def lines_of(name):
    with open(os.path.join(PROJECT, name)) as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def order():
    """Rooms from top to bottom."""
    return [line.split()[1][:-2] for line in lines_of("walt_vpn.h") if re.match(r" \* \w+\.c  ", line)]


@pytest.mark.parametrize("name", SOURCES)
def test_uses_only_what_stands_below(name, order):
    room = name[:-2]
    used = [found.group(1) for line in lines_of(name) for found in [re.match(r'#include "(\w+)\.h"', line)] if found]
    for other in used:
        if other in order and other != room:
            assert room in order and order.index(room) < order.index(other), other


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
