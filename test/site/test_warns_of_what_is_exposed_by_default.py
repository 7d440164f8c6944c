"""What the WalT server is for inside its network is exposed by default: configtest and start say so unless the site does.

Nothing is bound by configtest, so that port 80 can be had.
"""

import re

import pytest

SITE = "<VirtualHost *:80>\nServerName entry.example.org\nWaltVpnServer 192.0.2.7\n%s\n</VirtualHost>\n"
WARNING = "everything below /walt-vpn/ is exposed; write WaltVpnExpose boot, which is all that nodes need, or " \
          "WaltVpnExpose all if more is meant to be"


@pytest.mark.parametrize("vhost, server, warned, why", [
    ("", "", True, "nothing is said"),
    ("WaltVpnExpose boot", "", False, "boot"),
    ("WaltVpnExpose all", "", False, "all is meant"),
    ("", "WaltVpnExpose boot", False, "boot, server-wide"),
    ("", "WaltVpnExpose all", False, "all, server-wide"),
    ("WaltVpnExpose all", "WaltVpnExpose boot", False, "one over the other"),
])
def test_configtest(vhost, server, warned, why, httpd):
    ours = httpd(SITE % vhost, start=False, server="Listen 80\n" + server)
    warnings = ours.warnings()
    assert warnings == (["WaltVpnServer 192.0.2.7 (%s): %s" % (ours.place("WaltVpnServer"), WARNING)] if warned else [])


def test_each_entrypoint_is_named(httpd):
    """It is said of those that do not say it, in their order."""
    other = SITE.replace("entry.", "another.").replace("192.0.2.7", "192.0.2.8")
    ours = httpd(SITE % "" + SITE.replace("entry.", "third.") % "WaltVpnExpose boot" + other % "", start=False,
                 server="Listen 80")
    assert [line.split(" (")[0] for line in ours.warnings()] == ["WaltVpnServer 192.0.2.7", "WaltVpnServer 192.0.2.8"]


def test_at_start(entrypoint):
    """Once at start, once at a restart, and no more once it is said."""
    ours = entrypoint()
    ours.expect_log(r"\[walt_vpn:warn\] .*" + WARNING)
    assert len(re.findall(WARNING, ours.error_log)) == 1
    ours.graceful()
    assert len(re.findall(WARNING, ours.error_log)) == 2
    ours.reconfigure(vhost=ours.vhost + "WaltVpnExpose all")
    ours.graceful()
    assert len(re.findall(WARNING, ours.error_log)) == 2
    assert ours.get("/walt-vpn/node-conf/x").status == 200
