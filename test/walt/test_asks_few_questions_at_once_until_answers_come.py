"""The WalT server computes a signature for every boot.sig that it is asked for before the first one is done: so four are asked for
at once until answers come that were not computed, by whatever process, virtual host or generation of children, and two for one client."""

import itertools

import pytest

from fleet import Fleet
from processes import wait_until
from questions import Question, ask, most_at_once, nodes

MPMS = ["event", "worker", "prefork"]
SLOW = 1.0      # seconds of an answer
FIRST = 4

TWO_HOSTS = """
<VirtualHost *:@PORT@>
ServerName entrypoint.example.org
WaltVpnServer %s
</VirtualHost>
<VirtualHost *:@PORT@>
ServerName other.example.org
WaltVpnServer %s
</VirtualHost>
"""


def slow_down(walt, seconds=SLOW):
    """It is silent for so long before it answers boot.sig."""
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=seconds)


def all_answered(questions):
    return [question.wait().reply.status for question in questions] == [200] * len(questions)


def ask_each(httpd, count, net="10.1.0", **options):
    """Each node asks from an address of its own."""
    return [Question(httpd, node, client="127.0.0.%d" % (number + 2), **options) for number, node in enumerate(nodes(count, net))]


def at_first(walt):
    """How many were asked before the first one was answered."""
    times = sorted(request.time for request in walt.requests("boot.sig"))
    return sum(time - times[0] < SLOW * 0.9 for time in times)


@pytest.mark.parametrize("mpm", MPMS)
def test_a_fleet_that_reboots_onto_a_new_image(mpm, entrypoint, cache, walt):
    """Its signature is computed a few times, not forty."""
    walt.set_image(image="new for %s" % mpm, mib=16)
    httpd = entrypoint(mpm=mpm, cache=cache.path)
    httpd.tolerate_log("AH00161|AH00484|ended short")
    boots = Fleet(httpd, 40 if mpm == "event" else 20).boots()
    assert all(boot.booted for boot in boots), boots
    assert 1 <= walt.signatures().computed <= FIRST


@pytest.mark.parametrize("mpm", MPMS)
def test_four_at_once_before_answers_come(mpm, entrypoint, walt):
    httpd = entrypoint(mpm=mpm)
    slow_down(walt)
    assert all_answered(ask_each(httpd, 10))
    assert at_first(walt) == FIRST


@pytest.mark.parametrize("known, most", [(0, FIRST), (20, 3 * FIRST)], ids=["of new images", "and as many of one that is known"])
def test_few_at_once_while_each_is_computed(known, most, entrypoint, walt):
    """Slow answers widen nothing; fast ones between them do for a moment, until the others are seen to take longer."""
    httpd = entrypoint()
    walt.fault("10-1-0-", "silence", at_byte=None, times=None, seconds=SLOW)
    asked = [node for pair in itertools.zip_longest(nodes(20), nodes(known, "10.2.0")) for node in pair if node]
    assert all_answered([Question(httpd, node, client="127.0.0.%d" % (number + 2)) for number, node in enumerate(asked)])
    assert most_at_once(walt.requests("10-1-0-"), lambda request: SLOW * 0.9) <= most


def test_two_of_them_for_one_client(entrypoint, walt):
    httpd = entrypoint()
    slow_down(walt)
    assert all_answered(ask(httpd, nodes(6)))
    assert at_first(walt) == FIRST // 2


def test_hosts_of_one_walt_server_stand_in_one_line(entrypoint, walt):
    httpd = entrypoint(vhost="", start=False)
    httpd.vhost = TWO_HOSTS % (walt.location, walt.location)
    httpd.start()
    slow_down(walt)
    assert all_answered(ask_each(httpd, 4) + ask_each(httpd, 4, "10.2.0", host="other.example.org"))
    assert at_first(walt) == FIRST


def test_another_walt_server_has_a_line_of_its_own(entrypoint, walt, another_walt):
    httpd = entrypoint(start=False)
    httpd.vhost = TWO_HOSTS % (walt.location, another_walt.location)
    httpd.start()
    slow_down(walt, 4)
    held = ask_each(httpd, FIRST)
    wait_until(lambda: len(walt.requests("boot.sig")) == FIRST, what="the slow questions")
    other, = ask(httpd, nodes(1), host="other.example.org")
    assert other.wait().reply.status == 200 and held[0].reply is None
    assert all_answered(held)


@pytest.mark.parametrize("mpm", MPMS)
def test_a_graceful_restart_keeps_the_line(mpm, entrypoint, walt):
    """Those who ask in the old children count beside those who come to the new ones."""
    httpd = entrypoint(mpm=mpm)
    slow_down(walt, 3)
    questions = ask_each(httpd, FIRST)
    wait_until(lambda: len(walt.requests("boot.sig")) == FIRST, what="the first questions")
    httpd.graceful()
    later = ask_each(httpd, 3, "10.2.0")
    assert all_answered(questions) and len(walt.requests("boot.sig")) < FIRST + 3 + 1
    assert all_answered(later)
    first = sorted(request.time for request in walt.requests("boot.sig"))
    assert first[FIRST] - first[0] > 2.5


def test_the_setup_check_and_what_is_refused_do_not_stand_in_it(entrypoint, walt):
    httpd = entrypoint()
    slow_down(walt, 4)
    held = ask_each(httpd, FIRST + 1)
    wait_until(lambda: len(walt.requests("boot.sig")) == FIRST, what="the slow questions")
    assert httpd.get("/walt-vpn/server", timeout=3).status == 200
    assert httpd.get("/walt-vpn/per-ip/192-168-152-7/overlays", timeout=3).status == 404
    assert httpd.get("/walt-vpn/per-ip/192-168-152-7/boot.img", timeout=3).status == 200, "relayed: there is no folder"
    assert not any(question.reply for question in held)
    assert all_answered(held)
