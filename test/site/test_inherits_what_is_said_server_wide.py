"""WaltVpnExpose and the cache directives may be said once for all entrypoints, and otherwise in one of them."""

import os

import pytest

HIDDEN, SHOWN = 404, 200


@pytest.mark.parametrize("server, vhost, status, why", [
    ("", "", SHOWN, "everything is shown unless said otherwise"),
    ("", "WaltVpnExpose all", SHOWN, "the default in words"),
    ("", "WaltVpnExpose boot", HIDDEN, "said in the virtual host"),
    ("WaltVpnExpose boot", "", HIDDEN, "inherited"),
    ("WaltVpnExpose boot", "WaltVpnExpose all", SHOWN, "overridden"),
    ("WaltVpnExpose all", "WaltVpnExpose boot", HIDDEN, "overridden the other way"),
    ("WaltVpnExpose all\nWaltVpnExpose boot", "", HIDDEN, "the last one counts"),
])
def test_expose(server, vhost, status, why, entrypoint):
    """What of the WalT server is shown."""
    ours = entrypoint(server=server, vhost=vhost)
    assert ours.get("/walt-vpn/node-conf/x").status == status
    assert ("exposing what nodes boot from" in ours.error_log) == (status == HIDDEN)


def fetches(ours, walt, node):
    """Of two nodes with one image, how many cost a fetch?"""
    for ip in ("10.0.0.1", "10.0.0.2"):
        assert node(ours, ip).boot().booted
    return len(walt.requests("boot.img"))


@pytest.mark.parametrize("server, vhost, kept, why", [
    ("", "", None, "no folder unless said"),
    ("WaltVpnCacheRoot @DIR@/a", "", "a", "inherited"),
    ("", "WaltVpnCacheRoot @DIR@/b", "b", "said in the virtual host"),
    ("WaltVpnCacheRoot @DIR@/a", "WaltVpnCacheRoot @DIR@/b", "b", "overridden"),
    ("WaltVpnCacheRoot @DIR@/a", "WaltVpnCacheRoot none", None, "switched off"),
    ("WaltVpnCacheRoot none", "WaltVpnCacheRoot @DIR@/b", "b", "switched on"),
    ("WaltVpnCacheRoot a", "WaltVpnCacheSize 2M", "a", "a size of its own leaves the folder"),
    ("WaltVpnCacheSize 2M", "WaltVpnCacheRoot b", "b", "a folder of its own leaves the size"),
])
def test_cache_root(server, vhost, kept, why, entrypoint, walt, node):
    """Where images are kept; a relative folder is below ServerRoot."""
    ours = entrypoint(server=server, vhost=vhost)
    assert fetches(ours, walt, node) == (1 if kept else 2)
    for name in ("a", "b"):
        place = os.path.join(ours.folder, name)
        assert bool(os.path.isdir(place) and any(file.endswith(".img") for file in os.listdir(place))) == (name == kept)


@pytest.mark.parametrize("server, vhost, fits, why", [
    ("", "", True, "1 GiB unless said"),
    ("WaltVpnCacheSize 1023K", "", False, "inherited: the image has 1 MiB"),
    ("WaltVpnCacheSize 1048575", "", False, "in bytes"),
    ("WaltVpnCacheSize 1048576", "", True, "exactly the image"),
    ("", "WaltVpnCacheSize 1023k", False, "said in the virtual host, in a small letter"),
    ("WaltVpnCacheSize 1K", "WaltVpnCacheSize 1M", True, "overridden"),
    ("WaltVpnCacheSize 1G", "WaltVpnCacheSize 1K", False, "overridden the other way"),
])
def test_cache_size(server, vhost, fits, why, entrypoint, walt, node, folder):
    """How much the folder may hold; what is larger is relayed."""
    ours = entrypoint(server=server, vhost=vhost, cache=folder + "/images")
    ours.tolerate_log("walt_vpn:warn" if not fits else "^$")
    assert fetches(ours, walt, node) == (1 if fits else 2) or not fits and len(walt.requests("boot.img")) >= 2


def test_neighbours_do_not_mix(httpd, walt, node):
    """What one virtual host says is nothing to the next."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName narrow.example.org\nWaltVpnServer {0}\nWaltVpnExpose boot\n"
                 "WaltVpnCacheRoot a\n</VirtualHost>\n"
                 "<VirtualHost *:@PORT@>\nServerName wide.example.org\nWaltVpnServer {0}\n</VirtualHost>".format(walt.location))
    assert ours.get("/walt-vpn/node-conf/x", host="narrow.example.org").status == HIDDEN
    assert ours.get("/walt-vpn/node-conf/x", host="wide.example.org").status == SHOWN
    for expected in (1, 2):
        assert node(ours, http_host="wide.example.org").boot().booted
        assert len(walt.requests("boot.img")) == expected
