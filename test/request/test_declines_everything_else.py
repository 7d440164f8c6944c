"""What is not below /walt-vpn/ of the entrypoint's own names is left to the rest of the site."""

import os

import pytest

import wire

OURS = "entrypoint.example.org"

LEFT_ALONE = [
    ("/walt-vpn/server", "elsewhere.example.org", "another host"),
    ("/walt-vpn/server", "entrypoint.example.org.evil.example", "a host that begins with the name"),
    ("/walt-vpn/server", "xentrypoint.example.org", "a host that ends with the name"),
    ("/walt-vpn/server", "192.0.2.1", "an address that is no name of it"),
    ("/walt-vpn", OURS, "no slash"),
    ("/walt-vpn?x", OURS, "no slash, and a query"),
    ("/walt-vpnx/server", OURS, "a longer name"),
    ("/x/walt-vpn%2fserver", OURS, "not at the beginning, and an escaped slash is no slash"),
    ("/x/walt-vpn/../server", OURS, "nor is what leads back to where it came from"),
    ("/WALT-VPN/server", OURS, "paths know capitals"),
    ("/x/walt-vpn/server", OURS, "not at the beginning"),
    ("/", OURS, "the site's front page"),
    ("/page", OURS, "a page of the site"),
    ("http://elsewhere.example.org/walt-vpn/server", OURS, "absolute form: the target counts, not the Host line"),
]


@pytest.mark.parametrize("target, host, why", LEFT_ALONE)
def test_left_to_the_site(target, host, why, entrypoint, walt):
    """The site answers exactly as it would without us, and the WalT server hears nothing."""
    ours = entrypoint(vhost="FallbackResource /fallback\nAllowEncodedSlashes NoDecode",
                      modules=("dir", "proxy", "proxy_http", "walt_vpn"))
    with open(os.path.join(ours.folder, "htdocs", "fallback"), "w") as page:
        page.write("the site's own\n")
    reply = ours.get(target, host=host)
    assert (reply.status, reply.body) == (200, b"the site's own\n")
    assert walt.requests() == []


def test_no_host(entrypoint, walt):
    """HTTP/1.0 without a Host line may mean any site."""
    ours = entrypoint()
    assert ours.get(raw=wire.request("/walt-vpn/server", None, version="HTTP/1.0")).status == 404
    assert ours.get(raw=wire.request("/walt-vpn/server", None)).status == 400
    assert walt.requests() == []


@pytest.mark.parametrize("target", ["/./walt-vpn/server", "/x//../walt-vpn/server", "/x/../walt-vpn/server"])
def test_a_path_that_httpd_would_mend(target, entrypoint, walt):
    """A node and walt-server-setup spell the path plainly."""
    assert entrypoint().get(target).status == 404
    assert walt.requests() == []


def test_another_virtual_host(httpd, walt):
    """The directive is not inherited, neither from the main server nor from a neighbour."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName first.example.org\n</VirtualHost>\n"
                 "<VirtualHost *:@PORT@>\nServerName second.example.org\nWaltVpnServer %s\n</VirtualHost>" % walt.location,
                 server="WaltVpnServer %s" % walt.location)
    ours.expect_log("requests for localhost at .* go to the <VirtualHost> at")
    assert ours.get("/walt-vpn/server", host="first.example.org").status == 404
    assert ours.get("/walt-vpn/server", host="localhost").status == 404
    assert walt.requests() == []
    assert ours.get("/walt-vpn/server", host="second.example.org").status == 200
    assert len(walt.requests()) == 1


def test_a_loaded_module_without_an_entrypoint(httpd):
    """a2enmod alone changes nothing."""
    assert httpd().get("/walt-vpn/server").status == 404
