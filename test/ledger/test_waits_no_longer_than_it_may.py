"""A node that waits for another's fetch, or for its turn to be asked for, holds a thread: not for ever, and not so long that the
rest of the server stands."""

import pytest

import wire
from boot_client import Outcome
from fetches import fetched
from fleet import Fleet
from processes import wait_until
from proxies import hasty
from questions import ask, nodes as addresses

HALF = 1 << 19
RESET = "boot.img is still being fetched: the connection is reset"
ONE_PROCESS = ("StartServers 1\nServerLimit 1\nThreadsPerChild {0}\nMaxRequestWorkers {0}\nMinSpareThreads 1\nMaxSpareThreads {0}"
               "\nAsyncRequestWorkerFactor 10")


def begin(httpd, walt, nodes, seconds):
    """A fetch that does not begin for so many seconds, and nodes that ask for its image: nothing is here that they could be sent."""
    walt.fault("boot.img", "silence", seconds=seconds)
    fleet = Fleet(httpd, nodes)
    wait_until(lambda: len(walt.requests("boot.sig")) >= 2 * nodes, what="the nodes' requests")
    return fleet


@pytest.mark.thorough
def test_crowded(entrypoint, cache, walt):
    """More than half of a process's threads wait: after 8 s the first gives way, and other requests are answered."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.format(4))
    httpd.tolerate_log("AH00484|AH03490|AH10159|ended short|was answered with 504")
    fleet = begin(httpd, walt, 4, 11)
    assert httpd.get("/walt-vpn/server", timeout=20).status == 200
    assert RESET in httpd.error_log
    assert not fleet.results and cache.images() == [], "the fetch is not over"
    boots = fleet.boots()
    assert all(boot.booted for boot in boots), boots
    assert any(boot.resumes for boot in boots)
    assert fetched(walt) == 1


@pytest.mark.thorough
def test_crowded_by_resumes(entrypoint, cache, walt):
    """The same, logged as what it is, although an error that answers a resume is a 404."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.format(4) + '\nCustomLog @DIR@/reasons.log "%>s %{WALT_VPN_REASON}e"')
    httpd.tolerate_log("AH00484|AH03490|AH10159")
    walt.fault("boot.img", "silence", seconds=11)
    resumes = [httpd.connect(timeout=30) for _ in range(4)]
    for number, resume in enumerate(resumes):
        resume.send(wire.request("/walt-vpn/per-ip/192-168-152-%d/boot.img" % number, httpd.server_name,
                                 headers=[("Range", "bytes=1000-")]))
    ends = [resume.rest() for resume in resumes]
    sent_away = [end for end in ends if end.ended == "RST"]
    assert sent_away and {end.status for end in ends if end not in sent_away} == {206}
    with open(httpd.folder + "/reasons.log") as log:
        assert [line for line in log if not line.startswith("206 ")] == ["504 still being fetched, so reset\n"] * len(sent_away)


@pytest.mark.thorough
def test_not_crowded(entrypoint, cache, walt):
    """With threads to spare nobody is sent away, and other requests are answered at once."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.format(16))
    fleet = begin(httpd, walt, 4, 9)
    assert httpd.get("/walt-vpn/server", timeout=2).status == 200
    boots = fleet.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert RESET not in httpd.error_log
    assert fetched(walt) == 1


TURN = "boot.(sig|img) is still waiting for its turn: the connection is reset"


@pytest.mark.thorough
def test_crowded_line(entrypoint, cache, walt):
    """The same for those who wait for their turn, while the WalT server answers two of them late."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.format(4))
    httpd.tolerate_log("AH00484|AH03490|AH10159|was answered with 504")
    walt.fault("boot.sig", "silence", times=2, seconds=12)
    fleet = Fleet(httpd, 5)
    wait_until(lambda: walt.requests("boot.sig"), what="the first question")
    assert httpd.get("/walt-vpn/server", timeout=20).status == 200
    assert not fleet.results
    httpd.await_log(TURN)
    boots = fleet.boots()
    assert all(boot.booted for boot in boots), boots
    assert any(boot.resumes for boot in boots)


@pytest.mark.thorough
def test_longest_wait_for_a_turn(entrypoint, walt):
    """A little less than the node's 50 s, however slow the WalT server is; the node is reset, and asks again."""
    httpd = entrypoint(vhost=hasty(walt.location, 60))
    httpd.tolerate_log("was answered with 504")
    walt.fault("boot.sig", "silence", times=None, seconds=30)
    ends = [question.wait(70) for question in ask(httpd, addresses(6), patience=70)]
    sent_away = [question for question in ends if question.reply.ended == "RST"]
    assert sent_away and all(40 < question.seconds < 49 for question in sent_away)
    assert {question.reply.status for question in ends if question not in sent_away} == {200}
    httpd.await_log(TURN)


@pytest.mark.parametrize("nodes", [1, 6])
def test_link_so_slow_that_nodes_would_give_up(nodes, entrypoint, cache, walt):
    """The fetch lasts longer than their patience (here 1 s, three times), but they see the image come."""
    httpd = entrypoint(cache=cache.path)
    walt.rate(HALF // 2)
    boots = Fleet(httpd, nodes, patience=1).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1


@pytest.mark.parametrize("nodes", [1, 6])
@pytest.mark.thorough
def test_link_that_stops_until_nodes_give_up(nodes, entrypoint, cache, walt):
    """The fetch goes on without them, and they boot when they come again."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("ended short")
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=6)
    boots = Fleet(httpd, nodes, patience=1).boots()
    assert all(boot.outcome is Outcome.GAVE_UP for boot in boots), boots
    assert cache.images() == [] and len(cache.parts()) == 1
    wait_until(lambda: len(cache.images()) == 1, 20, "the image")
    assert all(boot.booted for boot in Fleet(httpd, nodes).boots())
    assert fetched(walt) == 1
