"""The WalT server is asked where it was last, as long as its name has no other address; and where it moves to, when it does."""

import re
import time

import pytest

from stand_in import WaltServer

NAME = "walt.test"
TROUBLE = r"\[walt_vpn:warn\] .*WaltVpnServer walt\.test:\d+ \(.*\): no address of its name is found any more: the last one that " \
          r"worked, 127\.0\.0\.1, serves until there is one"
OVER = r"\[walt_vpn:notice\] .*WaltVpnServer walt\.test:\d+ \(.*\): an address of its name is found again"
LATER = 40      # seconds, when an address has to be looked up again


@pytest.fixture
def moved(walt):
    """The WalT server at another address, with another image."""
    with WaltServer(address="127.0.0.5", port=walt.port) as server:
        server.set_image(image="moved")
        yield server


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
@pytest.mark.parametrize("trouble", ["fail", "hang"])
def test_boots_go_on(trouble, mpm, httpd, names, clock, walt, node):
    """However long it lasts. It is said once, and once that it is over; nobody waits for a name server that is silent."""
    names.set(NAME, "127.0.0.1")
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port), mpm=mpm)
    ours.expect_log(TROUBLE)
    assert node(ours).boot().booted
    getattr(names, trouble)(NAME)
    began = time.monotonic()
    for n in range(1, 5):
        clock.shift(n * LATER)
        assert ours.get("/walt-vpn/server").status == 200
        assert node(ours).boot().booted
    assert time.monotonic() - began < 10
    ours.await_log(TROUBLE, seconds=20)
    names.set(NAME, "127.0.0.1")
    clock.shift(n * LATER + LATER)
    assert node(ours).boot().booted
    ours.await_log(OVER)
    assert node(ours).boot().booted
    assert (len(re.findall(TROUBLE, ours.error_log)), len(re.findall(OVER, ours.error_log))) == (1, 1)


def test_a_new_process_asks_there_too(httpd, names, clock, walt, node):
    """It has had no answer of its own."""
    names.set(NAME, "127.0.0.1")
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
    ours.expect_log(TROUBLE)
    assert node(ours).boot().booted
    names.fail(NAME)
    clock.shift(LATER)
    assert node(ours).boot().booted
    ours.await_log(TROUBLE)
    ours.expect_log("this machine's resolver finds no address of it")     # at the start
    ours.graceful()
    assert node(ours).boot().booted


def test_the_server_moves(httpd, names, clock, walt, moved, node):
    """Without a restart, and without a request to the old address half a minute later."""
    names.set(NAME, "127.0.0.1")
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
    before = node(ours).boot()
    names.set(NAME, "127.0.0.5")
    clock.shift(LATER)
    after = node(ours).boot()
    assert before.booted and after.booted and before.image_sha256 != after.image_sha256
    assert len(walt.requests("boot.img")) == len(moved.requests("boot.img")) == 1


def test_it_moves_while_no_name_server_answers(httpd, names, clock, walt, moved, node):
    """The new address is used as soon as it is told."""
    names.set(NAME, "127.0.0.1")
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
    ours.expect_log(TROUBLE)
    assert node(ours).boot().booted
    names.fail(NAME)
    clock.shift(LATER)
    assert node(ours).boot().booted
    ours.await_log(TROUBLE)
    names.set(NAME, "127.0.0.5")
    clock.shift(2 * LATER)
    ours.get("/walt-vpn/server")    # is answered by the old one, and causes the lookup
    ours.await_log(OVER)
    assert node(ours).boot().booted
    assert len(moved.requests("boot.img")) == 1


def test_a_name_that_was_never_found(httpd, names, walt, node):
    """It is said why, and the first request after it has an address is answered."""
    names.fail(NAME)
    ours = httpd("WaltVpnServer %s:%d" % (NAME, walt.port))
    ours.tolerate_log("this machine's resolver|AH00898: DNS lookup failure for: walt.test")
    for _ in range(3):
        assert ours.get("/walt-vpn/server").status == 503
    ours.get("/walt-vpn/per-ip/192-168-152-7/boot.sig")
    assert "WaltVpnServer walt.test:%d (%s) does not resolve: Temporary failure" % (walt.port, ours.place("WaltVpnServer")) \
        in ours.error_log
    names.set(NAME, "127.0.0.1")
    assert ours.get("/walt-vpn/server").status == 200
    assert node(ours).boot().booted
