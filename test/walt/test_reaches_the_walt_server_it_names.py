"""WaltVpnServer takes a name, an IPv4 address or a bracketed IPv6 address, and a port that is 80 unless said."""

import re

import pytest

import processes
from names import dead
from stand_in import WaltServer

FORMS = [
    ("127.0.0.1:%d", "127.0.0.1", "an IPv4 address"),
    ("localhost:%d", "127.0.0.1", "a name"),
    ("LocalHost:%d", "127.0.0.1", "a name in capitals"),
    ("[::1]:%d", "::1", "an IPv6 address"),
    ("[0:0:0:0:0:0:0:1]:%d", "::1", "an IPv6 address in another spelling"),
    ("[::ffff:127.0.0.1]:%d", "127.0.0.1", "an IPv4 address in IPv6"),
]

# What is warned of a name that DNS does not have, or that no resolver here can tell.
NO_ADDRESS = r"\[walt_vpn:warn\] .*WaltVpnServer \S+ \(.*\): this machine's resolver "


@pytest.mark.parametrize("form, address, why", FORMS, ids=[row[2] for row in FORMS])
def test_form(form, address, why, httpd, node):
    """Every form of the value leads to the server, for what is relayed and for what is asked on a node's behalf."""
    if ":" in form.partition(":%d")[0] and not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    with WaltServer(address=address) as walt:
        ours = httpd("WaltVpnServer " + form % walt.port)
        assert ours.get("/walt-vpn/server").body == b"walt.example.org\n"
        assert node(ours).boot().booted


@pytest.mark.parametrize("value, url", [
    ("127.0.0.77", "http://127.0.0.77/walt-vpn/"),
    ("127.0.0.77:80", "http://127.0.0.77/walt-vpn/"),
    ("127.0.0.77:81", "http://127.0.0.77:81/walt-vpn/"),
    ("Walt.Example.org:8080", "http://walt.example.org:8080/walt-vpn/"),
    ("[2001:DB8::1]", "http://[2001:db8::1]/walt-vpn/"),
])
def test_notice(value, url, httpd):
    """One notice at start, and one at each reload, says which name is the entrypoint of which WalT server."""
    ours = httpd("WaltVpnServer " + value)
    ours.tolerate_log(NO_ADDRESS)
    notice = r"walt_vpn:notice.* entrypoint\.example\.org is the WalT VPN HTTP entrypoint of %s at 127\.0\.0\.1:%d, exposing everything" \
             % (re.escape(url), ours.port)
    assert len(re.findall(notice, ours.error_log)) == 1
    ours.graceful()
    assert len(re.findall(notice, ours.error_log)) == 2


def test_no_notice_without_an_entrypoint_and_none_from_configtest(httpd):
    """What is not served is not announced."""
    ours = httpd()
    assert "entrypoint of" not in ours.error_log
    ours.reconfigure(vhost="WaltVpnServer 127.0.0.77")
    assert not [line for line in ours.warnings() if "entrypoint of" in line]
    assert "entrypoint of" not in ours.error_log


def test_port_80_unless_said(httpd):
    """Nobody listens there: the attempt is enough."""
    ours = httpd("WaltVpnServer 127.0.0.77")
    ours.expect_log(r"AH00957: .*attempt to connect to 127\.0\.0\.77:80 ")
    ours.tolerate_log("AH01114")
    assert ours.get("/walt-vpn/server").status == 503


def test_two_entrypoints_of_two_servers(httpd, walt, another_walt, node):
    """Each virtual host asks its own."""
    ours = httpd("".join("<VirtualHost *:@PORT@>\nServerName %s.example.org\nWaltVpnServer %s\n</VirtualHost>\n" % (name, server.location)
                         for name, server in (("one", walt), ("other", another_walt))), server="WaltVpnCacheRoot images")
    ours_digest, others_digest = walt.set_image(image="one"), another_walt.set_image(image="other")
    one = node(ours, http_host="one.example.org").boot()
    other = node(ours, http_host="other.example.org").boot()
    assert one.booted and one.image_sha256 == ours_digest
    assert other.booted and other.image_sha256 == others_digest
    assert len(walt.requests("boot.img")) == len(another_walt.requests("boot.img")) == 1


def test_two_entrypoints_of_one_server(httpd, walt, node):
    """Both work, and share what they keep."""
    ours = httpd("".join("<VirtualHost *:@PORT@>\nServerName %s.example.org\nWaltVpnServer %s\n</VirtualHost>\n" % (name, walt.location)
                         for name in ("one", "other")), server="WaltVpnCacheRoot images")
    for name in ("one", "other"):
        assert node(ours, http_host=name + ".example.org").boot().booted
    assert len(walt.requests("boot.img")) == 1
    assert {request.header("host") for request in walt.requests()} == {walt.location}


def test_down_and_back(entrypoint, walt, node):
    """503 at once while it is down; the first request after it is back succeeds: nothing is held down."""
    ours = entrypoint()
    ours.expect_log("AH00957: .*attempt to connect")
    ours.tolerate_log("AH01114")
    assert ours.get("/walt-vpn/server").status == 200
    for _ in range(3):
        walt.down()
        for target in ("server", "per-ip/192-168-152-7/boot.sig", "node-conf/x"):
            assert ours.get("/walt-vpn/" + target, timeout=2).status == 503
        walt.up()
        assert ours.get("/walt-vpn/server").status == 200
    assert node(ours).boot().booted


def test_an_unknown_name_is_an_error_and_no_reason_not_to_start(httpd):
    """The name server may be back later."""
    ours = httpd("WaltVpnServer walt.invalid")
    ours.expect_log(NO_ADDRESS)
    ours.tolerate_log("AH00898|AH01102|AH00957|AH01114")
    assert ours.get("/walt-vpn/server", timeout=30).status in (500, 502, 503)


def test_a_server_that_does_not_accept_costs_seconds(httpd):
    """Its queue is full, so the connection attempt itself hangs; Timeout would be a minute."""
    port = processes.free_port()
    with dead("127.0.0.1", port):
        ours = httpd("WaltVpnServer 127.0.0.1:%d" % port, server="Timeout 60")
        ours.expect_log("AH00957: .*attempt to connect")
        ours.tolerate_log("AH01114")
        assert ours.get("/walt-vpn/server", timeout=20).status == 503


@pytest.mark.thorough
def test_a_silent_server_costs_half_a_nodes_patience(entrypoint, walt):
    """A node waits 50 s for a byte; Timeout would be five minutes."""
    ours = entrypoint(server="Timeout 300")
    ours.expect_log("AH01102")
    ours.tolerate_log("AH00898")
    walt.fault("server", "silence", times=None)
    assert ours.get("/walt-vpn/server", timeout=25).status in (502, 504)
