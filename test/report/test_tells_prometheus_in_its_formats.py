"""The metrics page is what Prometheus and OpenMetrics say that such a page is, and comes only to who may have it."""

import re

import pytest

import metrics
import wire
from fleet import Fleet
from httpd import packaged
from processes import wait_until

# What Prometheus 2.42 sends.
PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
OPEN = "application/openmetrics-text"


@pytest.fixture
def watched(entrypoint, cache):
    """An entrypoint at which everything there is a name for has happened at least once."""
    def make(vhost="", **options):
        return entrypoint(vhost=metrics.LOCATION + "\n" + vhost, cache=cache.path, **options)
    return make


def use(ours):
    assert all(boot.booted for boot in Fleet(ours, 4).boots())
    for path in ("/walt-vpn/server", "/walt-vpn/../x", "/walt-vpn/elsewhere"):
        ours.get(path)
    wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_boots_total", result="done") == 4, what="four boots")


def test_promtool(watched, walt):
    """The format is right, and so are the names, by the rules that promtool has for them."""
    ours = watched()
    use(ours)
    for query in ("", "?nodes=10"):
        assert metrics.promtool(metrics.scrape(ours, query).text) == ""


def test_promtool_can_fail():
    """It does find what is wrong."""
    assert metrics.promtool("# TYPE walt_vpn_boots counter\nwalt_vpn_boots 1\n") != ""


def test_openmetrics(watched, walt):
    """A strict reader of OpenMetrics takes the page, with the same samples as the other format has."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    ours = watched()
    use(ours)
    text = metrics.page(ours, "?nodes=10", PROMETHEUS).body.decode()
    families = list(parser.text_string_to_metric_families(text))
    assert text.endswith("\n# EOF\n")
    samples = {(sample.name, frozenset(sample.labels.items())): sample.value
               for family in families for sample in family.samples}
    plain = metrics.scrape(ours, "?nodes=10")
    assert samples == plain.samples
    assert {family.name + "_total" for family in families if family.type == "counter"} == {
        name for name, kind in plain.types.items() if kind == "counter"}


@pytest.mark.parametrize("accept, is_open", [
    (None, False), ("*/*", False), ("text/plain", False), ("text/html", False), ("", False),
    (PROMETHEUS, True), (OPEN, True), (OPEN + ";version=1.0.0", True), (OPEN + "; version=1.0.0; charset=utf-8", True),
    (OPEN + ";version=0.0.1", False), (OPEN + ";q=0.2,text/plain;q=0.8", False),
    ("text/plain;q=0.2, " + OPEN + ";q=0.8", True), (OPEN + ";q=0", False), (OPEN + "-other", False), ("Application/OpenMetrics-Text", True),
])
def test_accept(watched, walt, accept, is_open):
    """The format that the client likes better; plain text for whoever does not say."""
    reply = metrics.page(watched(), accept=accept)
    assert reply.status == 200 and reply.header("Content-Type") == (metrics.OPEN if is_open else metrics.TEXT)
    assert reply.header("Vary") == "Accept"
    assert reply.body.endswith(b"# EOF\n") == is_open


def test_methods(watched, walt):
    """GET and HEAD, which has no body; anything else is told what there is."""
    ours = watched()
    head = metrics.page(ours, method="HEAD")
    assert head.status == 200 and head.header("Content-Type") == metrics.TEXT and head.body == b""
    for method in ("POST", "PUT", "DELETE"):
        reply = metrics.page(ours, method=method, body=b"x")
        assert reply.status == 405
        assert set(re.split(", *", reply.header("Allow"))) >= {"GET", "HEAD"} and "POST" not in reply.header("Allow")
    assert metrics.page(ours, method="OPTIONS").status == 200


def test_a_name_with_all_that_has_to_be_escaped(watched, walt):
    """It comes back as it was written, in both formats."""
    name = 'x\\n"<b>,{}=\\".example.org'
    ours = watched("ServerAlias entry.example.org", server_name="'%s'" % name.replace("\\", "\\\\"))
    ours.server_name = "entry.example.org"
    ours.expect_log("go to nobody")
    use(ours)
    page = metrics.scrape(ours)
    labels, = {labels["entrypoint"] for labels, _ in page.rows("walt_vpn_boots_total")}
    assert labels == name
    assert metrics.promtool(page.text) == ""


def test_two_entrypoints_of_one_name(httpd, walt, another_walt):
    """Each has series of its own, and one that is there on two ports has them once."""
    ours = httpd(vhost="".join("""
        <VirtualHost *:%s>
            ServerName one.example.org
            ServerAlias %s
            WaltVpnServer %s
            %s
        </VirtualHost>""" % (port, alias, server.location, metrics.LOCATION)
                         for port, alias, server in (("@PORT@", "a", walt), ("1", "b", walt),
                                                     ("@PORT@", "c", another_walt))))
    ours.expect_log("does not listen on")
    ours.tolerate_log("one.example.org")
    ours.server_name = "one.example.org"
    assert ours.get("/walt-vpn/server").status == 200
    page = metrics.scrape(ours)
    names = ["one.example.org %s/walt-vpn/" % server.url for server in (walt, another_walt)]
    assert sorted(labels["entrypoint"] for labels, _ in page.rows("walt_vpn_info")) == sorted(names)
    assert page.by("walt_vpn_requests_total", "entrypoint") == {names[0]: 1}


def test_without_an_entrypoint(httpd):
    """There is nothing to tell, in the right format."""
    page = metrics.scrape(httpd(metrics.LOCATION))
    assert not page.samples and metrics.promtool(page.text) == ""


def test_the_shipped_example(entrypoint, walt, node, cache):
    """Uncommented it is open to this machine, and closed to everybody else."""
    lines = re.search(r'(?ms)^#(<Location "/walt-vpn-metrics">.*?^#</Location>)', packaged("walt_vpn.conf")).group(1)
    ours = entrypoint(server="RemoteIPHeader X-Client\n" + re.sub("(?m)^#", "", lines), cache=cache.path,
                      modules=("proxy", "proxy_http", "walt_vpn", "authz_host", "remoteip"))
    assert node(ours).boot().booted
    wait_until(lambda: b"walt_vpn_node_last_boot_timestamp_seconds{" in ours.get("/walt-vpn-metrics?nodes=100").body,
               what="the node on the page")
    ours.expect_log("AH01630: client denied by server configuration")
    stranger = wire.request("/walt-vpn-metrics", ours.server_name, headers=[("X-Client", "198.51.100.9")])
    assert ours.get(raw=stranger).status == 403
