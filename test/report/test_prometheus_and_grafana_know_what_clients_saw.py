"""A real Prometheus scrapes an entrypoint during a storm with faults: its answers, our alerts and our dashboard are true."""

import json
import math
import os
import re
import shutil
import subprocess

import pytest

import metrics
import prometheus
from fleet import Fleet
from httpd import PROJECT
from processes import wait_until

MIB = 1 << 20
RULES = os.path.join(PROJECT, "docs", "prometheus-alerts.yml")
DASHBOARD = os.path.join(PROJECT, "docs", "grafana-dashboard.json")


@pytest.fixture(autouse=True)
def installed():
    if not prometheus.program() or not shutil.which("promtool"):
        pytest.skip("prometheus is not installed")


@pytest.fixture
def scraped(entrypoint, cache, folder):
    """(entrypoint, Prometheus), whose rules are ours, but for the patience."""
    ours = entrypoint(vhost=metrics.LOCATION + "\nWaltVpnExpose boot", cache=cache.path)
    ours.tolerate_log("proxy:error|proxy_http:error")
    place = os.path.join(folder, "prometheus")
    os.mkdir(place)
    with open(RULES) as rules, open(os.path.join(place, "rules.yml"), "w") as impatient:
        text, count = re.subn(r"for: [0-9]+m", "for: 1s", rules.read())
        assert count
        impatient.write(text)
    with prometheus.Prometheus(place, ours.port, os.path.join(place, "rules.yml")) as server:
        yield ours, server


def storm(ours, walt):
    """(all boots, how many of them got no boot.sig)."""
    walt.set_image(mib=8)
    walt.fault("boot.img", "rst", at_byte=3 * MIB)
    boots = Fleet(ours, 12).boots()
    walt.set_image("192.168.4.1", "another", mib=4)
    walt.fault("boot.img", "flip", at_byte=3 * MIB)
    walt.rate(4 * MIB)          # so that the node has most of the image when the wrong bit comes to light
    for _ in range(2):          # what the flipped bit spoils starts over
        boots += Fleet(ours, ["192.168.4.1"]).boots()
    walt.rate(None)
    boots += Fleet(ours, ["192.168.5.%d" % number for number in range(1, 7)], lost_links={"boot.img": [3 * MIB]}).boots()
    walt.fault("192-168-6-[0-9]*/boot.sig", "status", status=404, times=None)
    failed = Fleet(ours, ["192.168.6.%d" % number for number in range(1, 4)]).boots()
    walt.heal()
    assert all(boot.booted for boot in boots if boot.node != "192.168.4.1") and boots[13].booted
    assert not any(boot.booted for boot in failed)
    assert ours.get("/walt-vpn/node-conf/x").status == ours.get("/walt-vpn/per-ip/192-168-5-1/").status == 404
    return boots + failed, len(failed)


def panels():
    with open(DASHBOARD) as file:
        return json.load(file)["panels"]


def queries():
    """[(title of the panel, query as Grafana sends it), ...]."""
    return [(panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$entrypoint", ".*"))
            for panel in panels() for target in panel["targets"]]


@pytest.mark.thorough
def test_a_storm_with_faults(scraped, walt):
    """What Prometheus tells is what the clients saw; no query of the dashboard fails or is empty; and an alert fires when the
    WalT server is stopped, until it is back."""
    ours, server = scraped
    wait_until(lambda: server.value("up") == 1, 30, "the first scrape")
    boots, failed = storm(ours, walt)
    booted = sum(boot.booted for boot in boots)
    resumes = sum(status == 206 for boot in boots for _, _, status in boot.replies)
    assert resumes >= 6
    total = "sum(walt_vpn_%s)"
    wait_until(lambda: server.value(total % 'boots_total{result="done"}') == booted
               and server.value(total % "refusals_total") == 3, 20, "all boots at Prometheus")
    assert server.value(total % 'boots_total{result="unknown_node"}') == failed
    assert server.value('walt_vpn_refusals_total{reason="what it holds came of a fetch that failed"}') == 1
    assert server.value(total % "resumes_total") == resumes
    assert server.value("walt_vpn_boot_seconds_count") == booted
    seen = {("boot.sig", "404"): failed, ("boot.img", "404"): 1}
    for boot in boots:
        for file, _, status in boot.replies:
            seen[file, str(status)] = seen.get((file, str(status)), 0) + 1
    told = {(labels["file"], labels["code"]): value for labels, value in
            server.query('sum by (file, code) (walt_vpn_requests_total{file=~"boot.*"})')}
    assert told == seen
    received = sum(boot.bytes for boot in boots)
    lost = 6 * 3 * MIB      # at most: what a lost link took with it is not known
    assert abs(received - server.value(total % "sent_bytes_total")) <= lost
    assert server.value(total % "received_bytes_total") == sum(request.sent for request in walt.requests())
    assert server.value("walt_vpn_digest_mismatches_total") == 1 and server.value("walt_vpn_cache_images") == 2

    def empty():
        """Queries that give no number. A rate needs two looks, and a time that nothing took is none."""
        return [query for query in queries() if all(math.isnan(value) for _, value in server.query(query[1]))]

    try:
        wait_until(lambda: not empty(), 60)
    except TimeoutError:
        pytest.fail("empty on the dashboard: %s" % empty())

    assert "WaltVpnServerSilent" not in server.firing()
    walt.down()
    assert ours.get("/walt-vpn/server").status == 503
    wait_until(lambda: "WaltVpnServerSilent" in server.firing(), 60, "the alert")
    walt.up()
    assert ours.get("/walt-vpn/server").status == 200
    wait_until(lambda: "WaltVpnServerSilent" not in server.firing(), 60, "the end of the alert")


def names(text):
    """Our metrics that a query speaks of."""
    return set(re.findall(r"\bwalt_vpn_[a-z_]+\b(?!\")", text))


def test_all_names_are_there(entrypoint, cache):
    """Rules and dashboard speak of nothing that the page does not have, and together of nearly all that it has."""
    ours = entrypoint(vhost=metrics.LOCATION, cache=cache.path)
    page = metrics.scrape(ours)
    have = set()
    for name, kind in page.types.items():
        have |= {name + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    with open(RULES) as rules:
        in_rules = {name for line in re.findall(r"(?m)^(?!\s*#).*$", rules.read()) for name in names(line)} - {"walt_vpn"}
    on_dashboard = {name for _, query in queries() for name in names(query)}
    assert in_rules <= have and on_dashboard <= have
    used = {re.sub("_bucket$", "", name) for name in in_rules | on_dashboard}
    assert set(page.types) - used == {"walt_vpn_info"}, "which the dashboard asks for its entrypoints"


def promtool(*arguments):
    """(exit status, what it said)."""
    run = subprocess.run(["promtool", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return run.returncode, run.stdout


def test_rules_are_accepted():
    """By promtool."""
    status, said = promtool("check", "rules", RULES)
    assert status == 0 and "9 rules found" in said, said


ENTRYPOINT = 'entrypoint="e", instance="i", job="walt_vpn"'

# What makes each alert fire, as series for promtool: "0+1x60" is 0 at first and 1 more each minute.
FIRES = {
    "WaltVpnEntrypointDown": {'up{instance="i", job="walt_vpn"}': "0x60"},
    "WaltVpnServerSilent": {"walt_vpn_server_up{%s}": "0x60"},
    "WaltVpnServerSlow": {'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="5"}': "0x60",
                          'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="10"}': "0+5x60",
                          'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="+Inf"}': "0+5x60"},
    "WaltVpnNodesFail": {'walt_vpn_boots_total{%s, result="failed_at_signature"}': "0+1x60",
                         'walt_vpn_boots_total{%s, result="done"}': "5x60"},
    "WaltVpnFetchesBreak": {'walt_vpn_fetches_total{%s, result="broken"}': "0+1x60"},
    "WaltVpnWrongImages": {"walt_vpn_digest_mismatches_total{%s}": "0+1x60"},
    "WaltVpnCacheDegraded": {'walt_vpn_cache_degraded{%s, reason="No space left on device"}': "1x60"},
    "WaltVpnCacheTooSmall": {"walt_vpn_evictions_total{%s}": "0+1x60", "walt_vpn_cache_images{%s}": "3x60"},
    "WaltVpnThreadsWait": {"walt_vpn_waiting_threads{%s}": "60x60"},
}

# The same entrypoint on a good day.
CALM = {
    'up{instance="i", job="walt_vpn"}': "1x60", "walt_vpn_server_up{%s}": "1x60",
    'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="5"}': "0+5x60",
    'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="10"}': "0+5x60",
    'walt_vpn_server_answer_seconds_bucket{%s, file="boot.sig", le="+Inf"}': "0+5x60",
    'walt_vpn_boots_total{%s, result="failed_at_signature"}': "0+0.1x60", 'walt_vpn_boots_total{%s, result="done"}': "0+5x60",
    'walt_vpn_fetches_total{%s, result="broken"}': "3x60", "walt_vpn_digest_mismatches_total{%s}": "1x60",
    'walt_vpn_cache_degraded{%s, reason=""}': "0x60", "walt_vpn_waiting_threads{%s}": "3x60",
    "walt_vpn_evictions_total{%s}": "0+0.02x60", "walt_vpn_cache_images{%s}": "3x60",
}


@pytest.mark.parametrize("alert", [None, *FIRES])
def test_an_alert_fires(folder, alert):
    """Each when its series say so; on a good day none."""
    with open(RULES) as rules:
        assert set(FIRES) == set(re.findall(r"alert: (\w+)", rules.read()))
    series = {name.replace("%s", ENTRYPOINT): values for name, values in (FIRES[alert] if alert else CALM).items()}
    case = {"rule_files": [RULES], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "45m",
                              "exp_samples": [{"labels": '{alertname="%s"}' % alert, "value": 1}] if alert else []}]}]}
    path = os.path.join(folder, "test.yml")
    with open(path, "w") as file:
        json.dump(case, file)       # JSON is YAML
    status, said = promtool("test", "rules", path)
    assert status == 0, said
