"""What a stranger does in a node's name, or in that of nodes that are none, is no trouble of the node's or of the entrypoint's."""

import os

import metrics
import status_page
import wire
from boot_client import Outcome

IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
STRANGER = "127.0.0.9"


def watched(entrypoint, **options):
    return entrypoint(vhost=status_page.LOCATION + "\n" + metrics.LOCATION, modules=status_page.MODULES, **options)


def exchange(httpd, path, **options):
    with wire.Wire(httpd.port, timeout=10, client=STRANGER) as connection:
        connection.send(wire.request(path, httpd.server_name, **options))
        return connection.rest()


def test_a_booted_node_stays_booted(entrypoint, cache, walt, node):
    """A resume that is broken off, and one behind the end."""
    httpd = watched(entrypoint, cache=cache.path)
    walt.set_image(mib=16)
    assert node(httpd).boot().booted
    with wire.Wire(httpd.port, timeout=10, client=STRANGER) as stranger:
        stranger.send(wire.request(IMG, httpd.server_name, headers=[("Range", "bytes=1-")]))
        stranger.receive()
    assert exchange(httpd, IMG, headers=[("Range", "bytes=99999999-")]).status == 416
    assert "node 192.168.152.7" not in "".join(line for line in httpd.error_log.splitlines() if ":warn" in line and "boot.img" in line)


def test_invented_nodes_crowd_out_nobody(entrypoint, cache, walt, node):
    """500 of them: a folder in trouble is shown on."""
    httpd = watched(entrypoint, cache=cache.path)
    httpd.tolerate_log("was answered with 404|images are relayed until this is mended")
    walt.fault("10-9-", "status", status=404, times=None)
    assert node(httpd).boot().booted
    os.chmod(cache.path, 0)
    try:
        assert node(httpd).boot().outcome is Outcome.BOOTED
        assert metrics.scrape(httpd).sum("walt_vpn_cache_degraded") == 1
        for number in range(500):
            exchange(httpd, "/walt-vpn/per-ip/10-9-%d-%d/boot.sig" % (number // 250, number % 250))
        assert metrics.scrape(httpd).sum("walt_vpn_cache_degraded") == 1
    finally:
        os.chmod(cache.path, 0o700)


def test_a_browsers_request_bans_nobody(entrypoint):
    """A page of another site has its reader's browser ask: fail2ban does not look for what is said of that."""
    httpd = entrypoint()
    assert exchange(httpd, "/walt-vpn/../1", headers=[("Accept-Language", "fr")]).status == 404
    assert exchange(httpd, "/walt-vpn/../2").status == 404
    said = [line for line in httpd.error_log.splitlines() if "refused with 404" in line]
    assert ["a browser's request is refused" in line for line in said] == [True, False]
