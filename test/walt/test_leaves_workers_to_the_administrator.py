"""A worker that the administrator defined for the same URL is used as it is; ours has settings of its own."""

import pytest

ONE_CHILD = "ServerLimit 1\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 25\nMaxRequestWorkers 25"

WORKERS = [
    ("@WORKER@ @SERVER@", "", "/walt-vpn/", "before the directive"),
    ("@SERVER@ @WORKER@", "", "/walt-vpn/", "after the directive"),
    ("@SERVER@", "@WORKER@", "/walt-vpn/", "in the main server"),
    ("@WORKER@ @SERVER@", "", "/walt-vpn", "before, without the last slash"),
    ("@SERVER@ @WORKER@", "", "/walt-vpn", "after, without the last slash"),
    ("@SERVER@", "@WORKER@", "/walt-vpn", "in the main server, without the last slash"),
]

SERVER = "WaltVpnServer %s\n"


def worker(walt, path, settings):
    return '<Proxy "%s%s">\nProxySet %s\n</Proxy>\n' % (walt.url, path, settings)


def texts(row, walt, settings):
    vhost, server, path, _ = row
    parts = {"@WORKER@": worker(walt, path, settings), "@SERVER@": SERVER % walt.location}
    for name, part in parts.items():
        vhost, server = vhost.replace(name, part), server.replace(name, part)
    return vhost, server + ONE_CHILD


def connections(ours, walt):
    """How many connections three requests for one file took."""
    for _ in range(3):
        assert ours.get("/walt-vpn/node-conf/x").status == 200
    return len({request.peer for request in walt.requests("node-conf")})


@pytest.mark.parametrize("row", WORKERS, ids=[row[3] for row in WORKERS])
@pytest.mark.thorough
def test_its_connections_are_kept(row, httpd, walt):
    """disablereuse=off, wherever it is written."""
    vhost, server = texts(row, walt, "disablereuse=off keepalive=on")
    assert connections(httpd(vhost, server=server), walt) == 1


@pytest.mark.parametrize("row", [WORKERS[1], WORKERS[2]], ids=[WORKERS[1][3], WORKERS[2][3]])
def test_its_timeout_counts(row, httpd, walt):
    """timeout=1, where ours has 20 s; also for what is asked on a node's behalf."""
    vhost, server = texts(row, walt, "timeout=1")
    ours = httpd(vhost, server=server)
    ours.tolerate_log("AH01102|AH00898")
    walt.fault("server", "silence")
    assert ours.get("/walt-vpn/server", timeout=10).status in (502, 504)
    walt.fault("boot.sig", "silence")
    assert ours.get("/walt-vpn/per-ip/192-168-152-7/boot.sig", timeout=10).status == 200


@pytest.mark.parametrize("lines", [
    '<Proxy "@URL@/">\nProxySet disablereuse=off keepalive=on\n</Proxy>',
    '<Proxy "@URL@/walt">\nProxySet disablereuse=off keepalive=on\n</Proxy>',
    'ProxyPass "/other/" "@URL@/" disablereuse=off',
], ids=["of the whole server", "of another folder", "of a ProxyPass"])
def test_a_worker_for_more_than_ours_is_not_meant(lines, httpd, walt):
    """Its settings are for other URLs of the same server."""
    ours = httpd(SERVER % walt.location + lines.replace("@URL@", walt.url), server=ONE_CHILD)
    assert connections(ours, walt) == 3


def test_a_worker_for_less_than_ours_counts_there(httpd, walt):
    """mod_proxy takes the longest match."""
    ours = httpd(SERVER % walt.location + worker(walt, "/walt-vpn/node-conf/", "disablereuse=off keepalive=on"), server=ONE_CHILD)
    assert connections(ours, walt) == 1
    for _ in range(3):
        assert ours.get("/walt-vpn/server").status == 200
    assert len({request.peer for request in walt.requests("/server")}) == 3


def test_a_proxypass_of_the_same_url_is_such_a_worker(httpd, walt):
    """Whoever comes from the documented ProxyPass line may leave it there, with its settings, for a while."""
    ours = httpd('ProxyPass "/walt-vpn/" "%s/walt-vpn/" disablereuse=off keepalive=on\n' % walt.url + SERVER % walt.location,
                 server=ONE_CHILD)
    ours.expect_log("ProxyPass .* it passes requests below /walt-vpn/ on")
    assert connections(ours, walt) == 1


def test_ours_keeps_no_connection(httpd, walt, node):
    """A kept connection costs 44 ms a reply, and may lead to a server that is gone."""
    ours = httpd(SERVER % walt.location, server=ONE_CHILD)
    assert connections(ours, walt) == 3
    assert node(ours).boot().booted
    assert len({request.peer for request in walt.requests()}) == len(walt.requests())


def test_the_same_worker_in_two_virtual_hosts(httpd, walt):
    """An administrator's worker in one virtual host is none of another's."""
    ours = httpd("".join("<VirtualHost *:@PORT@>\nServerName %s.example.org\n%s%s</VirtualHost>\n"
                         % (name, SERVER % walt.location, lines) for name, lines in (
                             ("kept", worker(walt, "/walt-vpn/", "disablereuse=off keepalive=on")), ("ours", ""))),
                 server=ONE_CHILD)
    for host, count in (("kept.example.org", 1), ("ours.example.org", 3)):
        before = len(walt.requests())
        for _ in range(3):
            assert ours.get("/walt-vpn/node-conf/x", host=host).status == 200
        assert len({request.peer for request in walt.requests()[before:]}) == count
