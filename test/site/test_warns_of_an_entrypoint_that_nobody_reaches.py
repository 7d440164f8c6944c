"""Nodes ask port 80 alone; a <VirtualHost> needs a Listen, and an address that the machine has.

Nothing is bound by configtest, so that port 80 can be had.
"""

import re

import pytest

import processes
import wire

ENTRY = "<VirtualHost %s>\nServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\n</VirtualHost>\n"
LISTEN = "httpd does not listen on %s of its <VirtualHost>; write Listen %d (Debian: in /etc/apache2/ports.conf)"
PORT_80 = "nodes ask port 80 alone, and entry.example.org is not there; write Listen 80 and <VirtualHost *:80>, " \
          "unless port 80 is forwarded to it"
ADDRESS = "no request comes to <VirtualHost %s>, an address that this machine does not have; write <VirtualHost *:80>"

ROWS = [
    (ENTRY % "*:80", "Listen 80", [], "all is well"),
    (ENTRY % "*:80 *:8080", "Listen 80\nListen 8080", [], "another port as well"),
    (ENTRY % "127.0.0.2:80", "Listen 80", [], "an address of this machine"),
    (ENTRY % "[::1]:80", "Listen 80", [], "an IPv6 address of this machine"),
    (ENTRY % "*:*", "Listen 80\nListen 8080", [], "any port"),
    (ENTRY % "*:80", "", [LISTEN % ("*:80", 80)], "no Listen"),
    (ENTRY % "*:80", "Listen 443", [LISTEN % ("*:80", 80)], "a Listen for https alone"),
    (ENTRY % "*:80 *:8080", "Listen 80", [LISTEN % ("*:8080", 8080)], "no Listen for one of its ports"),
    (ENTRY % "127.0.0.2:80", "Listen 127.0.0.3:80", [LISTEN % ("127.0.0.2:80", 80)], "a Listen on another address"),
    (ENTRY % "[::1]:80", "Listen 0.0.0.0:80", [LISTEN % ("[::1]:80", 80)], "a Listen for IPv4 alone"),
    (ENTRY % "127.0.0.2:80", "Listen [::]:80", [], "a Listen for IPv6, through which IPv4 comes, too"),
    (ENTRY % "*:8080", "Listen 8080", [PORT_80], "port 8080"),
    (ENTRY % "*:8080", "Listen 8080\nListen 80", [PORT_80], "port 8080, and httpd has port 80"),
    (ENTRY % "*:443", "Listen 443\nListen 80", [PORT_80], "https alone"),
    (ENTRY % "*:*", "Listen 8080", [PORT_80], "any port, and httpd has no port 80"),
    (ENTRY % "*:8080" + ENTRY % "*:80", "Listen 8080\nListen 80", [], "the same entrypoint is on port 80"),
    (ENTRY % "203.0.113.5:80", "Listen 80", [ADDRESS % "203.0.113.5:80"], "the address of a router in front of it"),
    (ENTRY % "203.0.113.5:80", "Listen 203.0.113.5:80", [ADDRESS % "203.0.113.5:80"],
     "the same with a Listen, which would fail"),
]


@pytest.mark.parametrize("sites, server, said, why", ROWS, ids=[row[3] for row in ROWS])
def test_configtest(sites, server, said, why, httpd):
    """What is said, and nothing more."""
    if "[::" in sites + server and not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    ours = httpd(sites, start=False, server=server)
    warnings = ours.warnings()
    assert warnings == ["WaltVpnServer 192.0.2.7 (%s): %s" % (ours.place("WaltVpnServer"), fault) for fault in said]


def test_main_server(httpd):
    """It has all ports that there are."""
    ours = httpd("<VirtualHost *:1>\nServerName unused.example.org\n</VirtualHost>", start=False,
                 server="ServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot")
    assert ours.warnings() == ["WaltVpnServer 192.0.2.7 (%s): %s" % (ours.place("WaltVpnServer"), PORT_80)]


def test_ipv4_through_a_listen_for_ipv6(httpd, walt):
    """It is so: requests come, and the notice says where."""
    if not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = processes.free_port()
    ours = httpd("<VirtualHost 127.0.0.1:%d>\nServerName entry.example.org\nWaltVpnServer %s\n</VirtualHost>"
                 % (port, walt.location), server="Listen [::]:%d" % port)
    assert wire.exchange(port, wire.request("/walt-vpn/server", "entry.example.org")).status == 200
    assert "is the WalT VPN HTTP entrypoint of %s/walt-vpn/ at 127.0.0.1:%d, exposing" % (walt.url, port) in ours.error_log


def test_at_start(entrypoint):
    """Each of the other tests' entrypoints is such a one: it is served all the same, and warned of once."""
    ours = entrypoint()
    ours.expect_log(r"\[walt_vpn:warn\] .*\): nodes ask port 80 alone, and entrypoint.example.org is not there; write Listen 80 ")
    assert ours.get("/walt-vpn/server").status == 200
    assert len(re.findall("nodes ask port 80 alone", ours.error_log)) == 1
