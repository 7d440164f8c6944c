"""The manual pages beside the sources: every directive, variable, message and option is in them."""

import glob
import os
import re
import subprocess

import pytest

from httpd import PROJECT

STRING = r'"((?:[^"\\]|\\.)*)"'
ANY_STRING = STRING.replace("(", "(?:", 1)
ARGUMENTS = r'\(((?:%s|[^"])*?)\);' % ANY_STRING
LOGGED = re.compile(r"(?s)\b(?:ap_log_\w*error|image_folder_trouble|boot_watch_answer)" + ARGUMENTS)
MADE = re.compile(r"(?s)\b(?:complain|apr_psprintf|apr_pstrcat)" + ARGUMENTS)
WHY_AWAY = re.compile(r'("still [^"]*")')     # of boot_watch_send_away(), wherever it stands
RETURNED = re.compile(r"(?s)\breturn ((?:%s\s*)+);" % ANY_STRING)

SOURCES = [os.path.join(PROJECT, "mod_walt_vpn.c")] + sorted(glob.glob(os.path.join(PROJECT, "src", "*", "*.c")))

# Where a text is made that is logged elsewhere.
COMPLAINING = ("directives.c", "folder.c", "leftover_check.c", "name_check.c", "resolver_check.c")


def read(*path):
    with open(os.path.join(PROJECT, *path)) as file:
        return file.read()


def page():
    """The words of the manual page, without its macros; and without blanks before punctuation."""
    text = re.sub(r"(?m)^\.(It )?[A-Z][a-z] ?", "", read("conf", "mod_walt_vpn.5"))
    text = text.replace(r"\&", "").replace(r"\(dq", '"')
    return re.sub(r" ([,:;.])", r"\1", " ".join(text.split()))


def joined(literals):
    """The text of adjacent literals, with something between them where a value is put in."""
    text = re.sub(r'(?<!\\)"\s*"', "", re.sub(r'"\s*APR_\w+\s*"', "%s", literals))
    return [re.sub(r"\s+", " ", text.replace(r'\"', '"')) for text in re.findall(STRING, text)]


def fragment(message):
    """The first three words or more in a message that no value is put into, or none."""
    parts = [part.strip(" :,.\"") for part in re.split(r"%[-+.0-9]*l?[a-z]?|\(|: |, as in |, with ", message.split(";")[0])]
    return next((part for part in parts if len(part.split()) > 2), "")


def messages():
    """[(file, fragment of a message)]."""
    found = []
    for path in SOURCES:
        name, text = os.path.basename(path), re.sub(r"(?s)/\*.*?\*/", "", read(path))
        said = LOGGED.findall(text) + WHY_AWAY.findall(text)
        if name in COMPLAINING:
            said += MADE.findall(text) + RETURNED.findall(text)
        found += [(name, fragment(message)) for literals in said for message in joined(literals)]
    return sorted({(name, part) for name, part in found if part})


@pytest.mark.parametrize("name, part", messages(), ids=["%s: %s" % pair for pair in messages()])
def test_tells_the_message(name, part):
    """With its cause and remedy, in the table of mod_walt_vpn(5)."""
    assert part in page()

def test_tells_every_directive():
    """And none that the module does not have."""
    directives = set(re.findall(r'AP_INIT_\w+\("(\w+)"', read("src", "site", "directives.c")))
    assert directives
    assert set(re.findall(r"(?m)^\.It Ic (WaltVpn\w+)", read("conf", "mod_walt_vpn.5"))) == directives


def test_shows_the_example_site():
    """The lines that the package installs as walt-entry.conf."""
    lines = [line for line in read("conf", "walt-entry.conf").splitlines() if not line.startswith("#")]
    assert "\n".join(lines) in read("conf", "mod_walt_vpn.5")


def test_tells_every_variable():
    """And none that the module does not set."""
    sources = "".join(map(read, SOURCES))
    used = set(re.findall(r'subprocess_env,\s*"(WALT_VPN_[A-Z]+)"', sources))
    assert used and set(re.findall(r"(?m)^\.It Ev (\w+)", read("conf", "mod_walt_vpn.5"))) == used


def test_tells_every_option_of_the_command():
    """And none that it does not have."""
    options = set(re.findall(r'add_argument\("--(\w+)"', read("check", "check.py")))
    assert options
    assert set(re.findall(r"(?m)^\.It Fl -(\w+)", read("check", "walt-vpn-check.1"))) == options


def test_make_install_puts_everything_where_it_belongs(folder):
    """The command works from there, and "man walt_vpn" finds the page."""
    subprocess.run(["make", "install", "-o", "mod_walt_vpn.so", "DESTDIR=%s" % folder, "PREFIX=/usr",
                    "LIBEXECDIR=/usr/lib/modules"], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    assert os.path.exists(folder + "/usr/lib/modules/mod_walt_vpn.so")
    assert "--warm" in subprocess.run([folder + "/usr/bin/walt-vpn-check", "--help"], check=True, stdout=subprocess.PIPE,
                                      universal_newlines=True).stdout
    with open(folder + "/usr/share/man/man5/walt_vpn.5") as alias:
        assert alias.read() == read("conf", "mod_walt_vpn.5")
    assert os.path.exists(folder + "/usr/share/man/man1/walt-vpn-check.1")
