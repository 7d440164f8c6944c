"""By IPv6 on both sides: a node reaches the entrypoint by a name or an address, and the entrypoint the WalT server."""

import socket

import pytest

import wire
from boot_client import BootClient
from proxies import WaltVpn
from stand_in import WaltServer

# docs/setting-up.md shows these lines with a lab's addresses.
ALIAS = "ServerAlias [::1]"


@pytest.fixture
def by_ipv6(httpds, cache):
    """An entrypoint on ::1 and 127.0.0.1 in front of a WalT server on ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as problem:
        pytest.skip("no IPv6 on this machine: %s" % problem)
    with WaltServer("::1") as walt:
        walt.set_image(mib=4)
        ours = httpds(WaltVpn, walt, vhost=ALIAS, server="Listen [::1]:@PORT@", cache=cache.path).start()
        assert ours.vhost.startswith("WaltVpnServer [::1]:")
        yield ours
        dangers = walt.unexpected_dangers()
        assert not dangers


@pytest.mark.parametrize("http_host", ["entrypoint.example.org", "[::1]"])
def test_a_node_boots_and_resumes(by_ipv6, http_host):
    """Under a name that has an AAAA record, or by the address itself."""
    boot = BootClient("::1", by_ipv6.port, "192.168.152.7", http_host, lost_links={"boot.img": [1 << 20]}).boot()
    assert boot.booted and boot.resumes == 1, boot
    by_ipv6.await_log(r"node 192.168.152.7 \(::1\) has image")


def test_an_address_that_is_no_name_of_the_site_is_not_its_entrypoint(by_ipv6):
    """As with any other name."""
    assert wire.exchange(by_ipv6.port, wire.request("/walt-vpn/server", "[::2]"), "::1").status == 404
    assert wire.exchange(by_ipv6.port, wire.request("/walt-vpn/server", "[::1]"), "::1").status == 200
