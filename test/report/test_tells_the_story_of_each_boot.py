"""The error log has one line for each node that has its image, and one for each kind of trouble of a node."""

import re
import socket

import pytest

from fleet import Fleet
from processes import wait_until
from wire import request

SIG = "/walt-vpn/per-ip/192-168-152-7/boot.sig"
IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
MIB = 1 << 20


def stories(httpd, count, level="info", words="has image"):
    """The lines about nodes of that level, once there are so many."""
    def lines():
        return [line.partition(" node ")[2] for line in httpd.error_log.splitlines()
                if "[walt_vpn:%s]" % level in line and " node " in line and words in line]
    wait_until(lambda: len(lines()) >= count, what="%d lines: %s" % (count, words))
    return lines()


def warnings(httpd, count):
    return stories(httpd, count, "warn", "")


def read(line):
    """(node, client, digest, bytes, resumes, how) of an info line."""
    return re.fullmatch(r"(\S+) \((\S+)\) has image ([0-9a-f]{12}|unverified): (\d+) bytes in \d+\.\d{3} s, (\d+) resumes?, (.*)",
                        line).groups()


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_one_line_for_each_boot(entrypoint, walt, cache, cached):
    """Node, address, digest, size and resumes are those of the boot; so is where the image came from. A lost link is trouble
    if httpd notices before the node is back: these nodes wait for that."""
    digest = walt.set_image(mib=2)[:12]
    ours = entrypoint(cache=cache.path if cached else "", server="SendBufferSize 65536")
    earlier = 0

    def noticed(boot):
        wait_until(lambda: ours.access_log.count("/boot.") == earlier + len(boot.replies), what="the end of the request")

    for ip, losses in (("192.168.152.7", []), ("192.168.152.8", [MIB]), ("192.168.152.9", [MIB // 2, MIB])):
        boot = Fleet(ours, [ip], lost_links={"boot.img": losses}, resuming=noticed).boots()[0]
        assert boot.booted and boot.resumes == len(losses)
        earlier += len(boot.replies)
    how = ["fetched", "cached", "cached"] if cached else ["relayed"] * 3
    assert [read(line) for line in stories(ours, 3)] == [
        ("192.168.152.7", "127.0.0.1", digest, str(2 * MIB), "0", how[0]),
        ("192.168.152.8", "127.0.0.1", digest if cached else "unverified", str(2 * MIB), "1", how[1] + ", after trouble 1 time"),
        ("192.168.152.9", "127.0.0.1", digest if cached else "unverified", str(2 * MIB), "2", how[2] + ", after trouble 2 times"),
    ]
    assert len(warnings(ours, 2)) == 2
    for line in warnings(ours, 2):
        assert re.search(r"its download of boot\.img ended short, after \d+ of 2097152 bytes", line), line


def test_a_fleet(entrypoint, walt, cache):
    """As many lines as nodes booted, whichever process served them; one of them fetched."""
    ours = entrypoint(cache=cache.path)
    walt.rate(4 * MIB)
    assert all(boot.booted for boot in Fleet(ours, 12).boots())
    told = [read(line) for line in stories(ours, 12)]
    assert len(told) == 12 and len({line[0] for line in told}) == 12
    assert sorted(line[5] for line in told).count("fetched") == 1
    assert {line[5] for line in told} <= {"fetched", "streamed", "waited", "cached"}


def test_repeated_trouble_is_said_once_and_counted(entrypoint, walt):
    """Ten errors of one kind are one line, another kind is another, another node's too; the boot says how many."""
    ours = entrypoint()
    walt.fault("192-168-152-7/boot.sig", "status", status=404, times=10)
    for _ in range(10):
        assert ours.get(SIG).status == 404
    walt.fault("192-168-152-8/boot.sig", "status", status=404)
    assert ours.get(SIG.replace("152-7", "152-8")).status == 404
    walt.fault("boot.img", "status", status=404)
    assert ours.get(IMG).status == 404
    assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
    assert read(stories(ours, 1)[0])[5] == "relayed, after trouble 11 times"
    assert [line.partition(": so says")[0] for line in warnings(ours, 3)] == [
        "192.168.152.7 (127.0.0.1): boot.sig was answered with 404",
        "192.168.152.8 (127.0.0.1): boot.sig was answered with 404",
        "192.168.152.7 (127.0.0.1): boot.img was answered with 404"]


def test_trouble_is_said_again_after_a_boot(entrypoint, walt):
    """A boot ends the silence: the same trouble later is news."""
    ours = entrypoint()
    for boots in (1, 2):
        walt.fault("boot.sig", "status", status=404, times=boots)    # a node that has booted is looked for twice
        assert ours.get(SIG).status == 404
        assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
        assert read(stories(ours, boots)[-1])[5] == "relayed, after trouble 1 time"
    assert len(warnings(ours, 2)) == 2


def test_trouble_of_a_node_is_not_that_of_another_lab(httpd, walt, another_walt):
    """Two WalT servers have nodes of the same address: neither silences the other's, nor counts it."""
    labs = {"one.example.org": walt, "two.example.org": another_walt}
    ours = httpd("".join("<VirtualHost *:@PORT@>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>\n" % (name, server.location)
                         for name, server in labs.items()))
    for name, server in labs.items():
        server.fault("boot.sig", "status", status=404)
        assert ours.get(SIG, host=name).status == 404
    assert len(warnings(ours, 2)) == 2
    for name in labs:
        assert ours.get(SIG, host=name).status == ours.get(IMG, host=name).status == 200
    assert [read(line)[5] for line in stories(ours, 2)] == ["relayed, after trouble 1 time"] * 2


def test_trouble_is_one_for_all_processes_and_restarts(entrypoint, walt):
    """Children of prefork and a graceful restart share what was said."""
    ours = entrypoint(mpm="prefork")
    walt.fault("boot.sig", "status", status=404, times=None)
    for _ in range(3):
        held = [ours.connect() for _ in range(4)]
        for connection in held:
            connection.send(request(SIG, ours.server_name))
        assert [connection.rest().status for connection in held] == [404] * 4
        ours.graceful()
    walt.heal()
    assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
    assert read(stories(ours, 1)[0])[5] == "relayed, after trouble 12 times"
    assert len(warnings(ours, 1)) == 1


def test_a_refusal_is_said_once(entrypoint):
    """A stranger who repeats a request is refused each time, and that is said once; another one is said too."""
    ours = entrypoint()
    for path in ["/walt-vpn/per-ip/192-168-152-7/"] * 5 + ["/walt-vpn/../x"]:
        assert ours.get(path).status == 404
    told = [line for line in ours.error_log.splitlines() if "refused with 404" in line]
    assert len(told) == 2 and told[0].endswith("/192-168-152-7/") and told[1].endswith("/walt-vpn/../x")


def test_a_refusal_is_no_trouble_of_the_node(entrypoint, walt):
    """Whoever asks for a node's file as no node does: neither warning nor count, and the node's own trouble is news."""
    ours = entrypoint(vhost="WaltVpnExpose boot")
    for _ in range(3):
        assert ours.get(SIG + "?x").status == 404
    wait_until(lambda: ours.access_log.count("/boot.sig?x") == 3, what="the end of these requests")
    assert not warnings(ours, 0)
    walt.fault("boot.sig", "status", status=404)
    assert ours.get(SIG).status == 404
    assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
    assert [line.partition(": so says")[0] for line in warnings(ours, 1)] == [
        "192.168.152.7 (127.0.0.1): boot.sig was answered with 404"]
    assert read(stories(ours, 1)[0])[5] == "relayed, after trouble 1 time"


def test_power_cut_in_mid_download(entrypoint, walt):
    """A node that starts over without a goodbye: its new boot is told, and the old download when it ends."""
    walt.set_image(mib=16)
    ours = entrypoint(server="SendBufferSize 65536")
    assert ours.get(SIG).status == 200
    with ours.connect() as cut:
        cut.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        cut.send(request(IMG, ours.server_name))
        while len(cut.buffer) < MIB:
            cut.receive()
        assert Fleet(ours, ["192.168.152.7"]).boots()[0].booted
        assert read(stories(ours, 1)[0])[4:] == ("0", "relayed")
    assert "ended short" in warnings(ours, 1)[0]
