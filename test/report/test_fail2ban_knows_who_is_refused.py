"""examples/fail2ban finds in httpd's own error log the clients that were refused, and nobody else, whatever they write."""

import os
import re
import shutil
import subprocess

import pytest

import wire
from httpd import PROJECT
from request_targets import REFUSED

EXAMPLES = os.path.join(PROJECT, "conf", "examples", "fail2ban")
FILTER = os.path.join(EXAMPLES, "filter.conf")
PER_IP = "/walt-vpn/per-ip/192-168-152-7/"
INNOCENT = "198.51.100.1"

# What would name somebody else, if the filter looked anywhere but at the beginning of a line.
FORGED = "refused with 404: x: [client %s:5] refused with 404: x" % INNOCENT
FORGED_LINE = "[Tue Nov 24 15:22:50.500000 2026] [walt_vpn:info] [pid 1:tid 2] [client %s:5] refused with 404: x: /x" % INNOCENT


def run(*command):
    """What it says, as lines."""
    if not shutil.which(command[0]):
        pytest.skip("fail2ban is not installed (test/install fail2ban)")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def found(log):
    """The address in each line of the log in which the filter finds one."""
    return run("fail2ban-regex", "-o", "ip", log, FILTER)


@pytest.fixture(params=["info", "debug"])
def ours(request, entrypoint):
    """An entrypoint behind a proxy that tells it which address its clients have, so that they can come from anywhere."""
    made = entrypoint(vhost="WaltVpnExpose boot\nRemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1",
                      server="LogLevel walt_vpn:%s" % request.param, modules=("remoteip", "proxy", "proxy_http", "walt_vpn"))
    made.tolerate_log("was answered with 404")
    return made


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::5", "2001:db8:1:2:3:4:5:6"])
def test_everything_that_is_refused(ours, address):
    """The whole table of bad requests, and again, which is told at the level debug: one find for each line that tells of one."""
    for row in REFUSED + REFUSED:
        ours.get("/walt-vpn/" + row.target, headers=[("X-Forwarded-For", address)])
    told = [line for line in ours.error_log.splitlines() if "refused with 404" in line]
    assert len(told) >= len({row.target for row in REFUSED}) - 1
    assert found(ours.error_log_path) == [address] * len(told)


def test_the_client_of_a_connection_of_its_own(entrypoint):
    """Its port is no part of its address, by IPv4 and by IPv6."""
    made = entrypoint(vhost="WaltVpnExpose boot\nServerAlias [::1]", server="Listen [::1]:@PORT@")
    wire.exchange(made.port, wire.request(PER_IP + "etc", made.server_name))
    wire.exchange(made.port, wire.request(PER_IP + "etc", "[::1]"), "::1")
    assert found(made.error_log_path) == ["127.0.0.1", "::1"]


def test_who_invents_nodes(ours, walt):
    """One find for ten of them."""
    walt.fault("10-9-", "status", status=404, times=None)
    for number in range(25):
        ours.get("/walt-vpn/per-ip/10-9-0-%d/boot.sig" % number, headers=[("X-Forwarded-For", "203.0.113.9")])
    assert found(ours.error_log_path) == ["203.0.113.9"] * 2


def test_nobody_else(ours, walt, node):
    """Nodes, with every trouble that they can have, people who lost their way, and who is named by another's words."""
    assert node(ours, lost_links={"boot.img": [1000]}).boot().booted
    ours.tolerate_log(r"\[proxy|File does not exist")
    for fault in ("fin", "status"):
        walt.fault("boot.img", fault, at_byte=None)
        ours.get(PER_IP + "boot.img", headers=[("X-Forwarded-For", INNOCENT)])
    walt.fault("boot.sig", "status", status=404)
    ours.get(PER_IP + "boot.sig", headers=[("X-Forwarded-For", INNOCENT)])
    for path in ("/", "/favicon.ico", "/walt-vpn", "/walt-vpn/server"):
        ours.get(path, headers=[("X-Forwarded-For", INNOCENT)])
    for number in range(9):
        ours.get("/walt-vpn/../%d" % number, headers=[("X-Forwarded-For", INNOCENT), ("Referer", "http://other.example.org/")])
    assert found(ours.error_log_path) == []


def test_nobody_by_what_another_writes(ours):
    """In the path, with line ends in it, in headers that are logged, and where another module tells of it."""
    guilty = "203.0.113.9"
    for text in (FORGED, FORGED_LINE):
        for before in ("", "%0a", "%0d%0a", "x%5cn", "%5b%5d "):
            path = before + text.replace(" ", "%20")
            ours.get("/walt-vpn/" + path, headers=[("X-Forwarded-For", guilty), ("User-Agent", text)])
            ours.get("/walt-vpn/" + path, headers=[("X-Forwarded-For", guilty), ("Referer", text)])
        ours.get("/" + text.replace(" ", "%20"), headers=[("X-Forwarded-For", guilty)])
        ours.get("/walt-vpn/x", host=text.replace(" ", ""), headers=[("X-Forwarded-For", guilty)])
    addresses = found(ours.error_log_path)
    assert addresses and set(addresses) == {guilty}
    assert "File does not exist" in ours.error_log


def test_its_jail_is_taken_by_fail2ban(folder):
    """With the rest as Debian has it; and it names the filter and the ports of a web server."""
    if not os.path.isdir("/etc/fail2ban"):
        pytest.skip("fail2ban is not installed (test/install fail2ban)")
    configuration = os.path.join(folder, "fail2ban")
    shutil.copytree("/etc/fail2ban", configuration)
    shutil.rmtree(configuration + "/jail.d")
    os.mkdir(configuration + "/jail.d")
    shutil.copy(FILTER, configuration + "/filter.d/walt-vpn.conf")
    log = os.path.join(folder, "error.log")
    open(log, "w").close()
    with open(os.path.join(EXAMPLES, "jail.conf")) as file:
        text = file.read().replace("/var/log/apache2/error.log", log)
    with open(configuration + "/jail.d/walt-vpn.conf", "w") as file:
        file.write(text + "\n[sshd]\nenabled = false\n")
    said = "\n".join(run("fail2ban-client", "-c", configuration, "-d"))
    assert re.search(r"\['add', 'walt-vpn', ", said)
    assert re.search(r"\['set', 'walt-vpn', 'addlogpath', '%s'" % re.escape(log), said)
    assert "refused with" in said and re.search(r"'walt-vpn', 'maxretry', 5\]", said) and "http,https" in said
