"""Every claimed request carries variables for logs and expressions: node, file, answer, reason, first byte."""

import re

import pytest

import wire
from httpd import packaged
from processes import wait_until

SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"

LOG_FORMAT = re.search(r"(?m)^LogFormat .* walt_vpn$", packaged("walt_vpn.conf")).group()

LOGS = """
CustomLog @DIR@/packaged.log walt_vpn env=WALT_VPN_FILE
CustomLog @DIR@/nodes.log "%{WALT_VPN_NODE}e" env=WALT_VPN_NODE
CustomLog @DIR@/images.log "%{WALT_VPN_NODE}e" "expr=reqenv('WALT_VPN_FILE') == 'boot.img'"
"""


def lines_of(httpd, name, count):
    """The lines of a log, once there are so many: httpd writes them when the client has its reply."""
    def read():
        with open("%s/%s.log" % (httpd.folder, name)) as file:
            return file.read().splitlines()
    wait_until(lambda: len(read()) >= count, what="%d lines in %s.log" % (count, name))
    return read()


def fields_of(line):
    """(node, file, answer, status, first byte, reason) of a line in the packaged format."""
    return re.fullmatch(r'\[[^]]+\] 127\.0\.0\.1 (\S+) (\S+) (\S+) (\d+) \d+ bytes from (\S+) "(.*)"', line).groups()


@pytest.fixture
def ask(entrypoint, cache):
    """ask(path, ..., cached=False): the fields that one request leaves in the packaged log."""

    def ask(path, cached=False, vhost="", before=0, **options):
        ours = entrypoint(vhost=LOGS + vhost, server=LOG_FORMAT, cache=cache.path if cached else "")
        for _ in range(before):
            assert ours.get(path).status == 200
        ours.tolerate_log("AH01630")        # access control says so too
        ours.get(path, **options)
        return fields_of(lines_of(ours, "packaged", before + 1)[-1])

    return ask


REQUESTS = [
    ("/walt-vpn/server", {}, ("-", "server", "relayed", "200", "-", "-"), "the setup check"),
    (SIG, {}, ("192.168.152.7", "boot.sig", "relayed", "200", "-", "-"), "a node's first request"),
    (IMG, {}, ("192.168.152.7", "boot.img", "relayed", "200", "-", "-"), "and its second, where nothing is kept"),
    (IMG, {"headers": [("Range", "bytes=1000-")]}, ("192.168.152.7", "boot.img", "relayed", "206", "1000", "-"), "it resumes"),
    (IMG, {"cached": True}, ("192.168.152.7", "boot.img", "fetched", "200", "-", "-"), "the image was not there yet"),
    (IMG, {"cached": True, "before": 1}, ("192.168.152.7", "boot.img", "cached", "200", "-", "-"), "it was"),
    ("/walt-vpn/other", {}, ("-", "other", "relayed", "404", "-", "-"), "the WalT server's own error is relayed"),
    ("/walt-vpn/per-ip/192-168-152-7/", {}, ("-", "other", "refused", "404", "-", "*"), "a directory"),
    ("/walt-vpn/enroll", {"method": "POST", "body": b"x" * 40000},
     ("-", "enroll", "refused", "413", "-", "an enroll body of more than 32 KiB"), "too long a key"),
    (IMG, {"vhost": "WaltVpnExpose boot", "method": "POST"},
     ("192.168.152.7", "boot.img", "refused", "405", "-", "not among what WaltVpnExpose boot lets through"), "not exposed"),
    (IMG, {"vhost": '<Location "/walt-vpn/">\nRequire all denied\n</Location>'},
     ("192.168.152.7", "boot.img", "refused", "403", "-", "by the configuration of this httpd"), "the site's own rule"),
]


@pytest.mark.parametrize("path, options, fields, why", REQUESTS, ids=[row[-1] for row in REQUESTS])
def test_variables(ask, path, options, fields, why):
    """The packaged log format shows what the request was and how it was answered."""
    got = ask(path, **options)
    assert got[:5] == fields[:5], why
    assert fields[5] in ("*", got[5]) and (got[5] != "-") == (got[2] in ("refused", "failed")), why


def test_failed_and_why(entrypoint, walt):
    """A WalT server that can't be reached: failed, and the reason."""
    ours = entrypoint(vhost=LOGS, server=LOG_FORMAT)
    ours.tolerate_log("proxy")
    walt.down()
    assert ours.get(SIG).status == 503
    assert fields_of(lines_of(ours, "packaged", 1)[0]) == (
        "192.168.152.7", "boot.sig", "failed", "503", "-", "the WalT server can't be reached")


def test_broken_off_and_why(entrypoint, walt):
    """A relayed image that the WalT server breaks off: failed although its status was 200."""
    ours = entrypoint(vhost=LOGS, server=LOG_FORMAT)
    ours.tolerate_log("proxy")
    walt.fault("boot.img", "rst", at_byte=1 << 19)
    assert ours.get(IMG).ended == "RST"
    assert fields_of(lines_of(ours, "packaged", 1)[0]) == (
        "192.168.152.7", "boot.img", "failed", "200", "-", "the WalT server broke off")


def test_gone_and_why(entrypoint, walt):
    """A client that leaves in the middle of a relayed image is no fault of the WalT server."""
    walt.set_image(mib=16)
    ours = entrypoint(vhost=LOGS, server=LOG_FORMAT)
    with ours.connect() as connection:
        connection.send(wire.request(IMG, ours.server_name))
        assert connection.receive()
    assert fields_of(lines_of(ours, "packaged", 1)[0]) == (
        "192.168.152.7", "boot.img", "relayed", "200", "-", "ended short")
    assert "the WalT server broke off" not in ours.error_log


@pytest.mark.parametrize("headers, status, told", [([], 200, "streamed"), ([("Range", "bytes=0-9")], 206, "waited")])
def test_another_ones_fetch(headers, status, told, entrypoint, walt, cache):
    """Of two that ask for an image that is not there, one is said to have fetched it; the other was sent it meanwhile, or waited."""
    ours = entrypoint(vhost=LOGS, server=LOG_FORMAT, cache=cache.path)
    walt.rate(4 << 20)
    with ours.connect() as one, ours.connect() as other:
        one.send(wire.request(IMG, ours.server_name))
        wait_until(lambda: walt.requests("boot.img"), what="the fetch")
        other.send(wire.request(IMG, ours.server_name, headers=headers))
        assert one.rest().status == 200 and other.rest().status == status
    assert sorted(fields_of(line)[2] for line in lines_of(ours, "packaged", 2)) == ["fetched", told]


def test_conditional_logs(entrypoint):
    """env= and expr= of CustomLog choose by the variables; other requests of the site have none of them."""
    ours = entrypoint(vhost=LOGS, server=LOG_FORMAT)
    for path in ("/", "/walt-vpn/server", SIG, IMG):
        ours.get(path)
    assert len(lines_of(ours, "packaged", 3)) == 3
    assert lines_of(ours, "nodes", 2) == ["192.168.152.7"] * 2
    assert lines_of(ours, "images", 1) == ["192.168.152.7"]


def test_expressions(entrypoint):
    """<If>, Header and Require see the node before the request is passed on."""
    ours = entrypoint(modules=("proxy", "proxy_http", "headers", "walt_vpn", "authz_host"), vhost="""
        <If "reqenv('WALT_VPN_FILE') == 'boot.sig'">
            Header set X-Node "expr=%{reqenv:WALT_VPN_NODE}"
        </If>
        <Location "/walt-vpn/per-ip/">
            <RequireAll>
                Require env WALT_VPN_NODE
                Require expr "reqenv('WALT_VPN_NODE') -ipmatch '192.168.152.0/24'"
            </RequireAll>
        </Location>""")
    ours.tolerate_log("AH01630")
    assert ours.get(SIG).header("X-Node") == "192.168.152.7"
    assert ours.get(IMG).header("X-Node") is None and ours.get("/walt-vpn/server").header("X-Node") is None
    assert ours.get(SIG.replace("152", "153")).status == 403
    assert ours.get("/walt-vpn/per-ip/192-168-152-7/boot.txt").status == 403
