"""walt-vpn-check http://name --node IP, in front of a WalT server that fails: what a board would do, and the exit status."""

import os
import re
import subprocess

import pytest

import metrics
import processes
import status_page
from httpd import PROJECT
from proxies import ProxyPass

NODE = ("--node", "192.168.152.7")
WARM = ("--warm", "192.168.152.7")
STALLED = ("--patience", "0.3")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "relayed"])
def test_a_node_that_boots(check, entrypoint, cache, kept):
    """Although it loses its link once, on purpose."""
    ours = entrypoint(server_name="localhost", cache=cache.path if kept else "")
    url = "http://localhost:%d" % ours.port
    status, text = check(url, *NODE)
    assert status == 0
    assert text.startswith("WALT-VPN OK: %s: node 192.168.152.7 boots\n%s, as seen from here\n" % (url, url))
    assert re.search(r"ok +localhost, port %d of 127\.0\.0\.1, says walt\.example\.org in \d" % ours.port, text)
    assert re.search(r"ok +node 192\.168\.152\.7: booted \(1049178 bytes, 1 resume, .*\n"
                     r" +boot\.sig from byte 0: status 200\n +boot\.img from byte 0: status 200\n"
                     r" +boot\.img from byte 65536: status 206\n", text)


def test_its_boot_is_counted_as_the_nodes_own(check, entrypoint, walt):
    """As the manual page warns: with this machine as its client, and the node no longer fails."""
    walt.set_image(mib=4)
    ours = entrypoint(server_name="localhost", vhost=status_page.LOCATION + "\n" + metrics.LOCATION,
                      server="SendBufferSize 65536", modules=status_page.MODULES)
    walt.fault("boot.sig", "status", status=404)
    assert ours.get("/walt-vpn/per-ip/192-168-152-7/boot.sig").status == 404
    processes.wait_until(lambda: status_page.look(ours)[0].tables["Nodes that fail"], what="a node that fails")
    assert check("http://localhost:%d" % ours.port, *NODE)[0] == 0
    ours.await_log(r"node 192\.168\.152\.7 \(127\.0\.0\.1\) has image .*, 1 resume, relayed")
    processes.wait_until(lambda: not status_page.look(ours)[0].tables["Nodes that fail"], what="that none fails")
    row, = status_page.look(ours)[0].tables["Last boots"]
    assert (row["Node"], row["Client"], row["Resumes"]) == ("192.168.152.7", "127.0.0.1", "1")
    assert metrics.scrape(ours).by("walt_vpn_boots_total", "result") == {"unknown_node": 1, "done": 1}


def test_a_node_behind_a_mere_proxy(check, httpds, walt):
    """It boots as long as nothing breaks, which does not make the proxy an entrypoint."""
    proxy = httpds(ProxyPass, walt, server_name="localhost").start()
    url = "http://localhost:%d" % proxy.port
    assert check(url, *WARM)[0] == 0
    status, text = check(url, *NODE)
    assert status == 1
    assert text.startswith("WALT-VPN CRITICAL: node 192.168.152.7: starts over: boot.img is not the file that boot.sig "
                           "vouches for [boot.img: a 200 answered a resume: the whole file was appended] (")
    assert re.search(r" +boot\.img from byte 65536: status 200\n +-> it is no mod_walt_vpn that answers there, but a mere "
                     r"proxy, .*: write WaltVpnServer in that site in place of its ProxyPass; .*apachectl -S\n", text)


FAILURES = [    # the file, how what the URL leads to fails, what the board does, what to do
    ("boot.sig", dict(kind="status", status=404), "reports an HTTP error", "its boot.img is there: set its image up again"),
    ("boot.img", dict(kind="status", status=404), "reports an HTTP error", "its boot.sig is there: set its image up again"),
    ("boot", dict(kind="status", status=404), "reports an HTTP error", "its boot.img is not there either: .*walt node show"),
    ("boot.sig", dict(kind="no-digest"), "starts over: what it got instead of the file has no", "the WalT server"),
    ("boot.sig", dict(kind="status", status=500), "starts over: what it got instead", "the WalT server"),
    ("boot.sig", dict(kind="fin", at_byte=1), "hangs: waits for bytes that never come", "behind a mere proxy"),
    ("boot.sig", dict(kind="raw", reply="HTTP/1.1 302 Found\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n"),
     "fails: it was redirected", "apachectl -S"),
    ("boot.sig", dict(kind="raw", reply="HTTP/1.1 200 OK\r\n\r\n"), "fails: it does not understand", "mod_walt_vpn"),
    ("boot.sig", dict(kind="raw", reply="HTTP/1.1 200 OK\r\nX-Long: %s\r\n\r\n" % ("x" * 200)), "wedged", "Header unset"),
    ("boot.sig", dict(kind="silence"), "gives up: resuming brought nothing new", "the link to it"),
    ("boot.img", dict(kind="fin", at_byte=1000), "hangs: waits for bytes that never come", "behind a mere proxy"),
    ("boot.img", dict(kind="rst", at_byte=1000, times=1), "starts over: boot.img is not the file", "a mere proxy"),
    ("boot.img", dict(kind="silence", at_byte=0), "gives up: resuming brought nothing new", "the link to it"),
]


@pytest.mark.parametrize("file, fault, does, remedy", FAILURES,
                         ids=["%s, %s" % (row[0], row[2]) for row in FAILURES])
def test_a_node_that_does_not(check, walt, file, fault, does, remedy):
    walt.fault(file, **dict({"times": None}, **fault))
    status, text = check(walt.url, *NODE, *STALLED)
    assert status == 1
    assert text.startswith("WALT-VPN CRITICAL: node 192.168.152.7: " + does)
    assert re.search(r"(?m)^  CRITICAL  node .*\n(?:    .*\n)*? +-> .*" + remedy, text)


@pytest.mark.parametrize("file, fault", [("boot.sig", dict(kind="wrong-digest")),
                                         ("boot.img", dict(kind="flip", at_byte=1000))], ids=["digest", "image"])
def test_an_image_that_is_not_the_signed_one(check, walt, file, fault):
    """Where no resume is to blame, the proxy is not blamed."""
    walt.fault(file, times=None, **fault)
    status, text = check(walt.url, *WARM)
    assert status == 1
    assert re.search(r"(?m)^  CRITICAL  node .*: starts over: boot.img is not the file .*\n(?:    .*\n)*? +-> .*signed one",
                     text)


def test_a_node_that_takes_too_long(check, walt):
    """Whether it would boot can't be told."""
    walt.fault("boot.img", "slow", rate=20000)
    status, text = check(walt.url, *NODE, "--limit", "0.5")
    assert status == 2
    assert text.startswith("WALT-VPN UNKNOWN: node 192.168.152.7: is still busy: the time for it is over [boot.img: after 0.5")
    assert "-> give it more time with --limit\n" in text


def test_a_rate_that_is_too_low(check, walt):
    """The limit holds while the node is slow by itself, too."""
    status, text = check(walt.url, *NODE, "--limit", "0.5", "--rate", "5000")
    assert status == 2 and "is still busy" in text
    assert float(re.search(r"resumes?, (\S+) s\)", text).group(1)) < 5


def test_a_watchdog_that_waits_long_enough(check, entrypoint, cache):
    """How long it took, and what is left. Of an image that a node before has brought only the digest is asked for."""
    ours = entrypoint(server_name="localhost", cache=cache.path)
    status, text = check("http://localhost:%d" % ours.port, *NODE, "--warm", "192.168.152.8", "192.168.152.9",
                         "--watchdog", "40", "--nagios")
    assert status == 0
    told = re.findall(r"(?m)^  ok +node (\S+): booted \(.*, (\S+) s\)\n +in time: its watchdog gives the whole boot 40 s, (\S+) s "
                      r"more\n +boot\.sig", text)
    assert [node for node, _, _ in told] == ["192.168.152.7", "192.168.152.8"]
    assert all(abs(float(took) + float(left) - 40) < 0.11 for _, took, left in told)
    figures = re.fullmatch(r"WALT-VPN OK: .* \| boot_192\.168\.152\.7=(\d+\.\d{3})s;;40 boot_192\.168\.152\.8=(\d+\.\d{3})s;;40",
                           text.splitlines()[0]).groups()
    assert [abs(float(figure) - float(took)) < 0.06 for figure, (_, took, _) in zip(figures, told)] == [True, True]


@pytest.mark.parametrize("limit, ends", [([], r"booted \(1049178 bytes"), (["--limit", "0.7"], "is still busy")])
def test_a_watchdog_that_is_faster(check, walt, limit, ends):
    """It boots in this while, or might: a board with that watchdog starts over."""
    walt.fault("boot.img", "slow", rate=1 << 20)
    status, text = check(walt.url, *WARM, "--watchdog", "0.5", "--nagios", *limit)
    assert status == 2
    assert text.startswith("WALT-VPN CRITICAL: node 192.168.152.7: ")
    assert re.search(r"(?m)^  CRITICAL  node 192\.168\.152\.7: " + ends + r".*\n +too late: its watchdog resets it after 0\.5 s, and it "
                     r"starts over\n(?:.*\n)* +-> set BOOT_WATCHDOG_TIMEOUT .*: walt-vpn-check --warm 192\.168\.152\.7$", text)
    assert bool(re.search(r" \| boot_192\.168\.152\.7=\d\.\d{3}s;;0\.5$", text.splitlines()[0])) == (not limit)


@pytest.mark.parametrize("kind, told", [("fin", True), ("no-digest", False)])
def test_a_watchdog_that_ends_a_hang(check, walt, kind, told):
    """But for no other failure is it to blame, or of use."""
    walt.fault("boot.sig", kind, at_byte=1)
    status, text = check(walt.url, *WARM, "--watchdog", "40")
    assert status == 1
    assert ("\n            its watchdog resets it after 40 s, and it starts over\n" in text) == told
    assert "BOOT_WATCHDOG_TIMEOUT" not in text


def test_an_entrypoint_that_nobody_reaches(check):
    port = processes.free_port()
    status, text = check("http://127.0.0.1:%d" % port, *NODE)
    assert status == 1
    assert text.splitlines()[0] == "WALT-VPN CRITICAL: 127.0.0.1, port %d of 127.0.0.1: Connection refused" % port
    assert "boot.sig" not in text


def test_an_entrypoint_that_is_silent(check, walt):
    walt.freeze()
    status, text = check(walt.url, "--timeout", "0.5")
    walt.thaw()
    assert status == 1 and "did not answer within 0.5 s" in text.splitlines()[0]


def test_an_entrypoint_whose_walt_server_is_down(check, entrypoint, walt):
    ours = entrypoint(server_name="localhost")
    ours.tolerate_log("proxy")
    walt.down()
    status, text = check("http://localhost:%d" % ours.port)
    assert status == 1
    assert re.search("CRITICAL +localhost, port %d of 127.0.0.1: status 503\n +-> look at the error log" % ours.port, text)


def test_a_name_that_does_not_resolve(check):
    status, text = check("http://walt-entry.test", names={"walt-entry.test": []})
    assert status == 1
    assert text.splitlines()[0] == "WALT-VPN CRITICAL: walt-entry.test does not resolve: Name or service not known"


def test_the_host_it_asks_for(check, walt):
    assert check(walt.url, *WARM, "--host", "entrypoint.example.org")[0] == 0
    assert {request.header("host") for request in walt.requests()} == {"entrypoint.example.org"}


def test_a_monitoring_plugin_that_is_content(check, entrypoint, cache):
    status, text = check("--nagios", at=entrypoint(server_name="localhost", cache=cache.path))
    assert status == 0
    assert re.fullmatch(r"WALT-VPN OK: localhost: in order \| walt_server=\d\.\d{3}s;2 cache=0B;;;0;1073741824",
                        text.splitlines()[0])


def test_the_figures_of_two_entrypoints(check, httpd, walt, another_walt, folder):
    """Each has a label of its own: a monitoring system would take those of one label for one."""
    os.chmod(folder, 0o777)
    sites = ["<VirtualHost *:@PORT@>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>" % site
             for site in (("localhost", walt.location), ("b.test", another_walt.location))]
    ours = httpd("\n".join(sites), server="WaltVpnCacheRoot %s/images" % folder)
    _, text = check("--nagios", at=ours, names={"b.test": ["127.0.0.1"]})
    figures = re.fullmatch(r"WALT-VPN OK: localhost, b.test: in order \| (.*)", text.splitlines()[0]).group(1)
    assert [figure.split("=")[0] for figure in figures.split()] == [
        "walt_server_localhost", "cache_localhost", "walt_server_b.test", "cache_b.test"]


@pytest.mark.parametrize("fault, status", [(dict(kind="status", status=404), 2), (dict(kind="slow", rate=100), 3)])
def test_a_monitoring_plugin_that_is_not(check, walt, fault, status):
    """CRITICAL and UNKNOWN have the numbers there that WARNING and CRITICAL lack here."""
    walt.fault("boot.sig", **fault)
    assert check(walt.url, *NODE, "--nagios", "--limit", "0.5")[0] == status


@pytest.mark.parametrize("reply, said", [
    ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 200000, "more than 99 header lines"),
    ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 200000 + "Content-Length: 1\r\n\r\nx", "more than 99 header lines"),
    ("HTTP/1.1 200 OK\r\nContent-Length: " + "1" * 5000 + "\r\n\r\n", "no usable Content-Length in a reply of status 200"),
    ("HTTP/1.1 " + "2" * 5000 + " OK\r\nContent-Length: 1\r\n\r\nx", "no HTTP status line"),
    ("HTTP/1.1 200 OK\r\nX: " + "y" * 20000 + "\r\n\r\n", "header line too long (8191 bytes or more)")],
    ids=["lines without end", "very many lines", "a length of 5000 digits", "a status of 5000 digits", "a long line"])
def test_a_stranger_s_head(check, walt, reply, said):
    """What it costs to read does not depend on whoever answers."""
    walt.fault("/walt-vpn/server", "raw", times=None, reply=reply)
    status, text = check(walt.url, "--timeout", "20")
    assert status == 1 and said in text and len(text) < 2000


def test_a_stranger_s_resumes(check, walt):
    """A byte, and a reset, as long as --limit lets it: the report is as short as ever."""
    walt.fault("boot.img", "rst", at_byte=1, times=None)
    status, text = check(walt.url, *WARM, "--limit", "3")
    assert status == 2 and re.search(r", \d{3,} resumes, ", text)
    assert len(text.splitlines()) < 110 and "\n            and so on\n" in text


def test_a_stranger_s_words(check, walt):
    """They reach neither the terminal's own commands nor a monitoring system's figures."""
    walt.fault("/walt-vpn/server", "raw", times=None, reply="HTTP/1.1 302 Found\r\nLocation: http://portal/?a|b=9\r\n"
                                                            "Server: \x1b[2J\x07\r\nContent-Length: 0\r\n\r\n")
    assert "status 302 to http://portal/?a|b=9 from \\x1b[2J\\x07: this is not the entrypoint\n" in check(walt.url)[1]
    status, text = check(walt.url, "--nagios")
    assert status == 2 and "|" not in text and "\x1b" not in text


@pytest.mark.parametrize("arguments, said", [
    (["walt-entry.test"],
     "walt-entry.test: write http://NAME[:port] without a path, as in: walt-vpn-check http://walt-entry.test\n"),
    (["walt-entry.test:8080"], "without a path, as in: walt-vpn-check http://walt-entry.test:8080\n"),
    (["https://walt-entry.test"], "https://walt-entry.test: nodes know no https; write http://NAME[:port] without a path, "
                                  "as in: walt-vpn-check http://walt-entry.test\n"),
    (["http://walt-entry.test/walt-vpn/"], "without a path, as in: walt-vpn-check http://walt-entry.test\n"),
    (["http://walt-entry.test:99999"], "without a path, as in: walt-vpn-check http://walt-entry.test\n"),
    (["http://"], "without a path, as in: walt-vpn-check http://walt-entry.example.org\n"),
    (["http://walt-entry.test", "--node", "node1"], "node1 is not an IPv4 address as 192.168.152.7"),
    (["http://walt-entry.test", "--timeout", "0"], "0: write a number greater than zero"),
    (["http://walt-entry.test", "--watchdog", "40"], "--watchdog goes with --node or --warm"),
    (["--nagio"], "unrecognized arguments: --nagio"),
    (["--port", "0"], "0: write a number from 1 to 65535"),
    (["--host", "x"], "--host goes with http://name"),
    (["http://walt-entry.test", "--port", "8080"],
     "--port is one of this machine: write it into the URL, as in http://NAME:8080"),
    (["--purge", "../x"], '../x: write "all", or the first 8 or more digits of an image\'s SHA-256'),
    (["--purge", "all", "http://walt-entry.test"], "--purge stands alone")])
def test_what_it_does_not_understand(check, arguments, said):
    status, text = check(*arguments)
    assert status == 2 and said in text


@pytest.mark.parametrize("arguments, said", [
    (["localhost"], "localhost: write http://NAME"), (["--timeout", "0"], "argument --timeout: 0: write a number greater"),
    (["--what"], "unrecognized arguments: --what")])
def test_what_a_monitoring_plugin_does_not_understand(check, arguments, said):
    """There a status of 2 would mean that nodes do not boot."""
    done = subprocess.run([os.path.join(PROJECT, "check", "walt-vpn-check"), *arguments, "--nagios"], timeout=60,
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 3 and re.fullmatch("WALT-VPN UNKNOWN: %s.*\n" % re.escape(said), done.stdout)
