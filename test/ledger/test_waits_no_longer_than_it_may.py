"""Who waits for another's fetch, or for its turn to be asked for, has a seat in the waiting room: half of the threads and of the
connections stay free for the rest of the server, whoever has most seats gives way first, and nobody waits for ever."""

import time

import pytest

import metrics
import wire
from boot_client import Outcome
from fetches import ONE_PROCESS, fetched
from fleet import Fleet
from processes import wait_until
from proxies import hasty
from questions import Question, ask, nodes as addresses

HALF = 1 << 19
MIB = 1 << 20
RESET = "is still being fetched: the connection is reset"
COMPARED = "is still being compared with its digest: the connection is reset"
TURN = "boot.(sig|img) is still waiting for its turn: the connection is reset"
SMALL = ("StartServers 1\nServerLimit 1\nThreadsPerChild {0}\nMaxRequestWorkers {0}\nMinSpareThreads 1\nMaxSpareThreads {0}"
         "\n")
IMG = "/walt-vpn/per-ip/192-168-152-%d/boot.img"


def wait_in_line(httpd, walt, number, client, method="GET", patience=30):
    """A client that waits for the image, whose fetch is silent."""
    connection = wire.Wire(httpd.port, timeout=patience, client=client)
    connection.send(wire.request(IMG % number, httpd.server_name, method=method))
    return connection


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_a_page_finds_a_thread(mpm, entrypoint, cache, walt):
    """More clients than threads wait for an image; with the event MPM none of them holds one, else at most half of them do."""
    httpd = entrypoint(cache=cache.path, server=SMALL.format(6) + ("AsyncRequestWorkerFactor 10" if mpm == "event" else ""), mpm=mpm)
    httpd.tolerate_log("AH00484|AH03490|AH10159|ended short|was answered with 504")
    walt.fault("boot.img", "silence", seconds=4)
    waiting = [wait_in_line(httpd, walt, number, "127.0.0.%d" % (2 + number)) for number in range(10)]
    wait_until(lambda: walt.requests("boot.img"), what="the fetch")
    assert httpd.get("/walt-vpn/server", timeout=3).status == 200
    assert not cache.images(), "the fetch is over: nothing was shown"
    ends = [connection.rest() for connection in waiting]
    assert {end.status for end in ends if end.ended != "RST"} == {200}
    assert sum(end.ended == "RST" for end in ends) == (0 if mpm == "event" else 7)
    if mpm == "worker":
        httpd.await_log(RESET)


def test_who_has_most_seats_gives_way(entrypoint, cache, walt):
    """A stranger takes all of them; each node that comes has one of his, the newest first."""
    httpd = entrypoint(cache=cache.path, server=SMALL.format(8), mpm="worker", vhost=metrics.LOCATION)
    httpd.tolerate_log("AH00286|AH00287|ended short|was answered with 504")
    walt.fault("boot.img", "silence", seconds=5)
    stranger = []
    for number in range(4):
        stranger.append(wait_in_line(httpd, walt, 100 + number, "127.0.0.9"))
        wait_until(lambda: metrics.scrape(httpd).sum("walt_vpn_waiting_threads") == len(stranger), what="his seat")
    nodes = []
    for number in range(2):
        nodes.append(wait_in_line(httpd, walt, number, "127.0.0.%d" % (2 + number)))
        assert stranger.pop().rest().ended == "RST"
    assert [node.rest().status for node in nodes] == [200, 200]
    assert [connection.rest().status for connection in stranger] == [200, 200]
    httpd.await_log(RESET)


def test_more_nodes_behind_one_address_than_seats(entrypoint, cache, walt):
    """Who has none is reset, and boots when it comes again."""
    httpd = entrypoint(cache=cache.path, server=SMALL.format(4), mpm="worker")
    httpd.tolerate_log("AH00484|AH00286|AH00287|ended short|was answered with 504")
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=2)
    boots = Fleet(httpd, 4).boots()
    assert {boot.outcome for boot in boots} <= {Outcome.BOOTED, Outcome.GAVE_UP}
    assert sum(boot.booted for boot in boots) >= 2
    assert all(boot.booted for boot in Fleet(httpd, 4).boots())
    assert fetched(walt) == 1
    httpd.await_log(RESET)


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_a_digest_is_waited_for_without_a_thread(mpm, calls, entrypoint, cache, walt, node):
    """A new process reads an image before it sends it. Of those who want it meanwhile none holds a thread with the event MPM, and
    half of the threads stay free with others; each wait is counted."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    before.stop()
    httpd = entrypoint(cache=cache.path, server=SMALL.format(8), mpm=mpm, vhost=metrics.LOCATION)
    httpd.tolerate_log("AH00484|AH00286|AH00287|AH03490|AH10159|ended short|was answered with 504")
    calls.delay("pread of 128 KiB", 0.5)
    waiting = [wait_in_line(httpd, walt, number, "127.0.0.%d" % (2 + number)) for number in range(10)]
    wait_until(lambda: len(walt.requests("boot.sig")) > 5, what="the questions")
    assert httpd.get("/walt-vpn/server", timeout=3).status == 200
    assert not any(connection.buffer for connection in waiting), "the digest is known: nothing was shown"
    ends = [connection.rest() for connection in waiting]
    sent = [end for end in ends if end.ended != "RST"]
    assert {end.status for end in sent} == {200} and (len(sent) == 10 if mpm == "event" else len(sent) >= 4)
    assert fetched(walt) == 1
    waits = metrics.scrape(httpd)
    assert waits.sum("walt_vpn_waiting_seconds_count") - waits.sum("walt_vpn_waiting_seconds_bucket", le="2.5") >= len(sent) - 1
    if mpm == "worker":
        httpd.await_log(COMPARED)


@pytest.mark.thorough
def test_longest_wait_for_a_digest(calls, entrypoint, cache, walt, node):
    """A little less than the node's 50 s, however slow the disk is."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    before.stop()
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS)
    httpd.tolerate_log("ended short")
    calls.delay("pread of 128 KiB", 8)
    began = time.monotonic()
    waiting = [wait_in_line(httpd, walt, number, "127.0.0.%d" % (2 + number), patience=80) for number in range(4)]
    ends = [connection.rest() for connection in waiting]
    assert sum(end.ended == "RST" for end in ends) == 3 and time.monotonic() - began < 75
    httpd.await_log(COMPARED)


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


def test_a_question_outlives_its_client(entrypoint, walt):
    """Who hangs up holds up nobody, and leaves no seat behind."""
    httpd = entrypoint(vhost=metrics.LOCATION)
    walt.fault("boot.sig", "silence", times=8, seconds=1)
    for number in range(8):
        Question(httpd, "10.7.0.%d" % number, client="127.0.0.%d" % (2 + number)).connection.close()
    wait_until(lambda: walt.requests("boot.sig"), what="the first question")
    assert ask(httpd, addresses(1))[0].wait(20).reply.status == 200
    wait_until(lambda: metrics.scrape(httpd).sum("walt_vpn_waiting_threads") == 0, what="empty seats")
