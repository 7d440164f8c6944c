"""configtest and start warn of a WaltVpnServer that no resolver knows, and wait for none that is silent.

No test needs a resolver: those that need a certain one bring it, on loopback, in a /etc of their own.
"""

import os
import random
import re
import socket
import subprocess
import time

import pytest

import processes

SITE = "<VirtualHost *:80>\nServerName %s.example.org\nWaltVpnServer %s\nWaltVpnExpose boot\n</VirtualHost>\n"
REMEDY = 'no node boots until it has one; try "getent hosts %s", and mend the name, write the address in its place, ' \
         'or add it to /etc/hosts'
FOUND_NONE = "this machine's resolver finds no address of it (%s); " + REMEDY
SILENT = FOUND_NONE.replace("%s", "it did not answer within %d s", 1)


@pytest.fixture
def etc(own_mounts, folder):
    """etc(name, text): /etc/name has this text during the test."""
    mounted = []

    def replace(name, text):
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text)
        if os.path.exists("/etc/" + name):
            subprocess.run(["mount", "--bind", path, "/etc/" + name], check=True)
            mounted.append("/etc/" + name)
        elif name != "nsswitch.conf":       # without it, glibc does what ours says
            pytest.skip("no /etc/%s to put another over" % name)

    replace("nsswitch.conf", "hosts: files dns\n")
    yield replace
    for path in mounted:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def silent_resolver(etc):
    """A resolver that takes questions and never answers: its socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        address = "127.%d.%d.%d" % tuple(random.SystemRandom().randrange(1, 255) for _ in range(3))
        resolver.bind((address, 53))
        etc("resolv.conf", "nameserver %s\n" % address)
        yield resolver


def configured(httpd, *hosts):
    return httpd("".join(SITE % ("entry%d" % n, host) for n, host in enumerate(hosts)), start=False, server="Listen 80")


def test_a_name_that_nobody_has(httpd):
    """Whatever resolver there is: directive, place, its word, and what to type."""
    ours = configured(httpd, "walt.lab.invalid:8080")
    warnings = ours.warnings()
    assert len(warnings) == 1
    place = re.escape("WaltVpnServer walt.lab.invalid:8080 (%s): " % ours.place("WaltVpnServer"))
    none = re.escape(FOUND_NONE % ("WORD", "walt.lab.invalid")).replace("WORD", r"[A-Z][\w ]+")
    assert re.fullmatch("%s(%s|%s)" % (place, none, re.escape(SILENT % (3, "walt.lab.invalid"))), warnings[0]), warnings


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "192.0.2.7", "192.0.2.7:8080", "[::1]", "[::1]:8080"])
def test_an_address(host, httpd):
    """Nothing to say of what has one."""
    if "[" in host and not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert configured(httpd, host).warnings() == []


def test_a_name_in_etc_hosts(httpd, etc):
    """The remedy is one."""
    etc("hosts", "192.0.2.7 walt.lab.invalid\n")
    assert configured(httpd, "walt.lab.invalid").warnings() == []


def test_a_resolver_that_is_not_there(httpd, etc):
    """The resolver's own word."""
    etc("resolv.conf", "nameserver 127.%d.9.9\n" % random.SystemRandom().randrange(1, 255))
    ours = configured(httpd, "walt.lab.invalid")
    assert ours.warnings() == ["WaltVpnServer walt.lab.invalid (%s): %s" % (
        ours.place("WaltVpnServer"), FOUND_NONE % ("Temporary failure in name resolution", "walt.lab.invalid"))]


def test_a_resolver_that_is_silent(httpd, silent_resolver):
    """All names are waited for at a time: getaddrinfo() would take 10 s for each."""
    names = ["walt%d.lab.invalid" % n for n in range(4)]
    ours = configured(httpd, *names)
    before = time.monotonic()
    warnings = ours.warnings()
    took = time.monotonic() - before
    assert warnings == ["WaltVpnServer %s (%s): %s" % (name, ours.place("WaltVpnServer " + name),
                                                       SILENT % (3, name)) for name in names]
    assert took < 9, took


def test_an_address_is_not_looked_up(httpd, silent_resolver):
    """A silent resolver is not asked for numbers."""
    assert configured(httpd, "192.0.2.7", "192.0.2.8:8080").warnings() == []
    silent_resolver.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent_resolver.recv(1)


def test_at_start_with_a_silent_resolver(httpd, silent_resolver):
    """httpd starts, says it once, and waits a shorter time, as nobody is served meanwhile. Nothing is left of who asked, or
    httpd would wonder about its "long lost child" after a restart."""
    ours = httpd("WaltVpnServer walt.lab.invalid\nWaltVpnExpose boot")
    ours.expect_log(r"\[walt_vpn:warn\] .*" + re.escape(SILENT % (1, "walt.lab.invalid")))
    assert len(re.findall("this machine's resolver", ours.error_log)) == 1
    ours.graceful()
    assert len(re.findall("this machine's resolver", ours.error_log)) == 2
    assert ours.get("/").status == 404
    ours.graceful()
