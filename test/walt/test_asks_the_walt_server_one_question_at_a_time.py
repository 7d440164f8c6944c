"""The WalT server computes a signature for every boot.sig that it is asked for before the first one is done: so one is asked for
at a time, by whatever process, virtual host or generation of children, while answers are slow."""

import pytest

from fleet import Fleet
from processes import wait_until
from questions import ask, gaps, nodes

MPMS = ["event", "worker", "prefork"]
SLOW = 0.4      # seconds of an answer

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


def slow_down(httpd, walt, seconds=SLOW):
    """From now on it is silent for so long before it answers boot.sig, which it did faster before."""
    assert all_answered(ask(httpd, nodes(1, "10.9.0")))
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=seconds)


def all_answered(questions):
    return [question.wait().reply.status for question in questions] == [200] * len(questions)


def one_at_a_time(walt, seconds=SLOW):
    """None was asked before the one before it was answered."""
    return min(gaps(slow_ones(walt))) > seconds * 0.95


def slow_ones(walt):
    return [request for request in walt.requests("boot.sig") if "10-9-0" not in request.target]


@pytest.mark.parametrize("mpm", MPMS)
def test_a_fleet_that_reboots_onto_a_new_image(mpm, entrypoint, cache, walt):
    """Its signature is computed once."""
    walt.set_image(image="new for %s" % mpm, mib=16)
    httpd = entrypoint(mpm=mpm, cache=cache.path)
    httpd.tolerate_log("AH00161|AH00484|ended short")
    boots = Fleet(httpd, 40).boots()
    assert all(boot.booted for boot in boots), boots
    assert walt.signatures().computed == 1


@pytest.mark.parametrize("mpm", MPMS)
def test_one_at_a_time_while_answers_are_slow(mpm, entrypoint, walt):
    httpd = entrypoint(mpm=mpm)
    slow_down(httpd, walt)
    assert all_answered(ask(httpd, nodes(6)))
    assert one_at_a_time(walt)


def test_hosts_of_one_walt_server_stand_in_one_line(entrypoint, walt):
    httpd = entrypoint(vhost="", start=False)
    httpd.vhost = TWO_HOSTS % (walt.location, walt.location)
    httpd.start()
    slow_down(httpd, walt)
    questions = ask(httpd, nodes(3)) + ask(httpd, nodes(3, "10.2.0"), host="other.example.org")
    assert all_answered(questions)
    assert one_at_a_time(walt)


def test_another_walt_server_has_a_line_of_its_own(entrypoint, walt, another_walt):
    httpd = entrypoint(start=False)
    httpd.vhost = TWO_HOSTS % (walt.location, another_walt.location)
    httpd.start()
    slow_down(httpd, walt, 5)
    held = ask(httpd, nodes(1))
    wait_until(lambda: slow_ones(walt), what="the slow question")
    other, = ask(httpd, nodes(1), host="other.example.org")
    assert other.wait().reply.status == 200 and held[0].reply is None
    assert all_answered(held)


@pytest.mark.parametrize("mpm", MPMS)
def test_a_graceful_restart_keeps_the_line(mpm, entrypoint, walt):
    """Those who wait in the old children and those who come to the new ones are asked for one at a time."""
    httpd = entrypoint(mpm=mpm)
    slow_down(httpd, walt)
    questions = ask(httpd, nodes(6))
    wait_until(lambda: slow_ones(walt), what="the first question")
    httpd.graceful()
    questions += ask(httpd, nodes(6, "10.2.0"))
    assert all_answered(questions)
    assert one_at_a_time(walt)


@pytest.mark.thorough
def test_the_setup_check_and_what_is_refused_do_not_stand_in_it(entrypoint, walt):
    httpd = entrypoint()
    slow_down(httpd, walt, 6)
    held = ask(httpd, nodes(2))
    wait_until(lambda: slow_ones(walt), what="the slow question")
    assert httpd.get("/walt-vpn/server", timeout=3).status == 200
    assert httpd.get("/walt-vpn/per-ip/192-168-152-7/overlays", timeout=3).status == 404
    assert httpd.get("/walt-vpn/per-ip/192-168-152-7/boot.img", timeout=3).status == 200, "relayed: there is no folder"
    assert not any(question.reply for question in held)
    assert all_answered(held)
