"""Graceful restart, restart and stop while nodes boot: none of them hangs or gets a wrong byte."""

import threading

import pytest

import processes
from boot_client import BootClient, Outcome
from boot_files import MIB

MPMS = ["event", "worker", "prefork"]

# Told to end at once, prefork's children clean up inside a signal handler and often crash there, with a plain ProxyPass too.
ORDERLY_MPMS = ["event", "worker"]
FAIL_FAST = (Outcome.BOOTED, Outcome.UNREACHABLE, Outcome.GAVE_UP)


class Nodes:
    """Nodes that boot again and again, slowly enough to be under way when something happens."""

    def __init__(self, entrypoint, count=6):
        self.entrypoint = entrypoint
        self.boots = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.live, args=(number,)) for number in range(count)]

    def live(self, number):
        while not self.over.is_set():
            client = BootClient("127.0.0.1", self.entrypoint.port, "10.0.0.%d" % number, self.entrypoint.server_name,
                                patience=30, rate=8 * MIB)
            self.boots.append(client.boot())
            if not self.boots[-1].booted:
                return

    def wait_for_more(self, count):
        """Until each has booted about once more."""
        target = len(self.boots) + count
        processes.wait_until(lambda: len(self.boots) >= target or not any(thread.is_alive() for thread in self.threads), 60, "more boots")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(params=["relayed", "cached"])
def busy(request, entrypoint, walt, folder):
    """mpm -> an entrypoint of a WalT server whose image takes half a second."""
    def make(mpm):
        walt.set_image(mib=4)
        ours = entrypoint(mpm=mpm, cache=folder + "/images" if request.param == "cached" else "")
        ours.tolerate_log("AH00045|AH00046|AH00047|AH01102|AH00898|AH01110")
        return ours
    return make


@pytest.mark.parametrize("mpm", MPMS)
def test_graceful_restart(mpm, busy):
    """Nobody notices: every node boots, and none has to resume."""
    ours = busy(mpm)
    with Nodes(ours) as nodes:
        for _ in range(3):
            nodes.wait_for_more(3)
            ours.graceful()
        nodes.wait_for_more(6)
    assert all(boot.booted and not boot.resumes for boot in nodes.boots), nodes.boots
    assert len(nodes.boots) >= 15


@pytest.mark.parametrize("mpm", ORDERLY_MPMS)
@pytest.mark.thorough
def test_restart(mpm, busy):
    """Connections are cut, and with a reset, so that nodes resume: every node boots."""
    ours = busy(mpm)
    ours.allow_crash_at_stop()
    with Nodes(ours) as nodes:
        for _ in range(2):
            nodes.wait_for_more(3)
            ours.restart()
        nodes.wait_for_more(6)
    assert not [boot for boot in nodes.boots if not boot.booted]


@pytest.mark.parametrize("mpm, graceful", [(mpm, False) for mpm in ORDERLY_MPMS] + [(mpm, True) for mpm in MPMS])
@pytest.mark.thorough
def test_stop(mpm, graceful, busy):
    """It ends, and leaves no node hanging."""
    ours = busy(mpm)
    ours.allow_crash_at_stop()
    with Nodes(ours) as nodes:
        nodes.wait_for_more(3)
        ours.stop(graceful=graceful)
        nodes.over.set()
    assert not [boot for boot in nodes.boots if boot.outcome not in FAIL_FAST]


def reload(ours, how, vhost):
    """With this vhost; returns when the last child of the old configuration is gone: until then it may take requests."""
    old = set(ours.children())
    ours.reconfigure(vhost=vhost)
    how()
    processes.wait_until(lambda: not old & set(ours.children()), what="the end of the old children")


def test_a_changed_walt_server_counts_from_the_reload_on(entrypoint, walt, another_walt, node):
    """WaltVpnServer is read anew, and the old server hears no more."""
    ours = entrypoint()
    digest = another_walt.set_image(image="other")
    assert node(ours).boot().booted
    for how in (ours.graceful, ours.restart):
        reload(ours, how, "WaltVpnServer " + another_walt.location)
        before = len(walt.requests())
        boot = node(ours).boot()
        assert boot.booted and boot.image_sha256 == digest
        assert ours.get("/walt-vpn/server").status == 200
        assert len(walt.requests()) == before
        reload(ours, how, "WaltVpnServer " + walt.location)
        assert node(ours).boot().booted and len(walt.requests()) == before + 2


def test_an_entrypoint_may_come_and_go(httpd, walt, node):
    """By reload, beside a site that stays."""
    ours = httpd()
    assert ours.get("/walt-vpn/server").status == 404
    reload(ours, ours.graceful, "WaltVpnServer " + walt.location)
    assert node(ours).boot().booted
    reload(ours, ours.graceful, "")
    assert ours.get("/walt-vpn/server").status == 404
