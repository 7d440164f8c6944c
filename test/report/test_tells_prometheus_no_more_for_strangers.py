"""What strangers send makes no new series on the metrics page: every label's value is one of a few, and has its name."""

import random

import metrics
import wire
from processes import wait_until
from request_targets import ACCEPTED, REFUSED

LABELS = {
    "file": {"server", "boot.sig", "boot.img", "enroll", "other"},
    "answer": {"relayed", "cached", "fetched", "streamed", "waited", "refused", "failed"},
    "code": {"200", "206", "304", "404", "413", "416", "500", "502", "503", "504", "other"},
}


def test_every_refusal_has_its_reason(entrypoint):
    """Whatever the judgement finds is told by the words that are in the log; none of it is "other"."""
    ours = entrypoint(vhost="WaltVpnExpose boot\n" + metrics.LOCATION)
    for row in REFUSED:
        raw = wire.request("/walt-vpn/" + row.target, ours.server_name)
        assert ours.get(raw=raw).status == 404, row
    for path, method in (("server", "POST"), ("elsewhere", "GET"), ("../walt-vpn/server", "GET"), ("server", "TRACE")):
        ours.get("/walt-vpn/" + path, method=method)
    ours.get("/./walt-vpn/server")
    wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_refusals_total") >= len(REFUSED) + 3, what="all refusals")
    told = metrics.scrape(ours).by("walt_vpn_refusals_total", "reason")
    assert "other" not in told and "by the configuration of this httpd" not in told
    for fault in {row.fault for row in REFUSED}:
        assert any(fault in reason for reason in told), fault
    assert "a path below /walt-vpn/ in disguise" in told and "not among what WaltVpnExpose boot lets through" in told


def test_an_access_rule_of_the_site_is_a_reason(entrypoint, walt):
    """Nobody but httpd itself refuses it."""
    ours = entrypoint(vhost=metrics.LOCATION + '\n<Location "/walt-vpn/">\nRequire all denied\n</Location>')
    ours.expect_log("AH01630")
    assert ours.get("/walt-vpn/server").status == 403
    wait_until(lambda: metrics.scrape(ours).sum("walt_vpn_refusals_total"), what="a refusal")
    page = metrics.scrape(ours)
    assert page.by("walt_vpn_refusals_total", "reason") == {"by the configuration of this httpd": 1}
    assert page.by("walt_vpn_requests_total", "code") == {"other": 1}


def test_labels_are_bounded(entrypoint, walt, cache):
    """Thousands of odd requests, with any names, statuses, ranges and methods."""
    ours = entrypoint(vhost=metrics.LOCATION, cache=cache.path)
    ours.tolerate_log("proxy|AH0")
    chance = random.Random("strangers")
    targets = [row.target for row in REFUSED + ACCEPTED]
    before = len(metrics.scrape(ours, "?nodes=10").samples)
    for number in range(1500):
        if number % 10 == 0:
            walt.fault("elsewhere", "status", status=chance.randrange(200, 600))
        path = chance.choice(targets + ["elsewhere/%d" % number] * 20 + ["per-ip/10-0-0-%d/boot.sig" % (number % 250)] * 20)
        headers = [("Range", "bytes=%d-" % chance.randrange(1 << 21))] if chance.random() < 0.3 else []
        ours.get(raw=wire.request("/walt-vpn/" + path, ours.server_name, chance.choice(["GET", "GET", "HEAD", "PUT", "BREW"]),
                                  headers + [("User-Agent", 'x"\\')]))
    page = metrics.scrape(ours)
    assert page.sum("walt_vpn_requests_total") > 1000
    for labels, _ in page.rows("walt_vpn_requests_total"):
        assert set(labels) == {"entrypoint", "file", "answer", "code"}
        for name, values in LABELS.items():
            assert labels[name] in values
    assert {labels["entrypoint"] for labels in (dict(key[1]) for key in page.samples)} == {ours.server_name}
    assert len(page.samples) - before < 24 + 5 * 7 * 11
    assert "elsewhere" not in page.text and "BREW" not in page.text and "10.0.0" not in page.text
    assert metrics.promtool(page.text) == ""
