"""Where the WalT server is none, or has no address, the administrator reads which directive says so, and what to look at."""

import os
import re

import pytest

from httpd import ENTRYPOINT, Httpd

SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reply", [
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 33\r\n\r\n<h1>Please log in to the net</h1>",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ids=["a captive portal", "nothing"])
def test_a_boot_sig_that_is_none(reply, method, entrypoint, walt, node):
    """404, which a node understands at once, one warning however many ask, and a count."""
    ours = entrypoint()
    walt.fault("boot.sig", "raw", reply=reply, times=None)
    for number in (7, 8, 7):
        assert ours.get(SIG.replace("-7/", "-%d/" % number), method=method).status == 404
    ours.expect_log(r"WaltVpnServer %s \(\S+:\d+\): what answers there for boot.sig is not a signature: probably another web server, "
                    r"or a captive portal in between. Nodes get 404; look at what .curl %s/walt-vpn/per-ip/192-168-152-7/boot.sig. "
                    r"gives from here" % (re.escape(walt.location), re.escape(walt.url)))
    assert ours.error_log.count("is not a signature") == 1
    ours.tolerate_log("boot.sig was answered with 404: the WalT server's boot.sig is none")
    walt.heal()
    assert node(ours).boot().booted
    walt.fault("boot.sig", "raw", reply=reply, times=None)
    assert ours.get(SIG, method=method).status == 404
    assert ours.error_log.count("is not a signature") == 2, "it was over meanwhile"


@pytest.mark.parametrize("cached, path", [(False, SIG), (True, SIG), (False, IMG)])
def test_not_found_there(cached, path, entrypoint, walt, cache):
    """Whose 404 it is, and what it may mean."""
    ours = entrypoint(cache=cache.path if cached else "")
    walt.fault(path, "status", status=404, times=None)
    assert ours.get(path).status == 404
    ours.expect_log(r"node 192.168.152.7 \(127.0.0.1\): boot.(sig|img) was answered with 404: so says what WaltVpnServer %s \(\S+:\d+\) "
                    r"leads to: the node or its %s is not there, at least for now, its daemon is down, or it is no WalT server; what "
                    r"it says of /walt-vpn/server and %s tells which" % (
                        re.escape(walt.location), os.path.basename(path), "boot.img" if path == SIG else "boot.sig"))


def test_a_name_that_does_not_resolve(httpd):
    """503 rather than 500, and the directive, its place and the resolver's word; nothing is blamed on the WalT server."""
    ours = httpd("WaltVpnServer no-such-host.invalid", modules=ENTRYPOINT)
    ours.tolerate_log("proxy|resolve")
    assert ours.get("/walt-vpn/server").status == 503
    assert ours.get(SIG).status == ours.get(IMG).status == 503
    ours.expect_log(r"node 192.168.152.7 \(127.0.0.1\): boot.sig was answered with 503: WaltVpnServer no-such-host.invalid \(\S+:\d+\) does "
                    r"not resolve: .*(resolution|known|lookup|DNS)")
    assert "reports an error" not in ours.error_log


OTHERS = """
<VirtualHost *:@PORT@>
ServerName first.example.org
</VirtualHost>
<VirtualHost *:@PORT@>
ServerName entry.example.org
ServerAlias alias.example.org *.entry.example.org
WaltVpnServer %s
WaltVpnExpose all
</VirtualHost>
"""


@pytest.mark.parametrize("host, told", [
    ("127.0.0.1", "127.0.0.1"), ("first.example.org", "first.example.org"), ("misspelt.example.org", "misspelt.example.org"),
    (None, "no name")])
@pytest.mark.thorough
def test_another_name(host, told, httpds, walt):
    """Not ours, as ever; but one line says which name was asked for, and which ones there are."""
    ours = httpds(Httpd, OTHERS % walt.location).start()
    for _ in range(3):
        assert ours.get("/walt-vpn/server", raw=b"GET /walt-vpn/server HTTP/1.%d\r\n%s\r\n" % (
            host is not None, b"" if host is None else b"Host: %s\r\n" % host.encode())).status == 404
        assert ours.get("/elsewhere", host=host or "first.example.org").status == 404
    said = re.findall(r'/walt-vpn/ was asked for under "(.*)", the entrypoint\'s names are: (.*)', ours.error_log)
    assert said == [(told, "entry.example.org, alias.example.org, *.entry.example.org")]
    assert walt.requests() == []
