"""The short of it on each MPM: boots, setup check, refusals, a WalT server that breaks off."""

import pytest

import wire
from boot_files import MIB
from setup_check import setup_check

IMAGE = "/walt-vpn/per-ip/192-168-152-7/boot.img"


@pytest.fixture(params=["event", "worker", "prefork"])
def mpm(request):
    return request.param


@pytest.mark.parametrize("cached", [False, True], ids=["relayed", "cached"])
def test_boots(mpm, cached, entrypoint, walt, node, folder):
    """A node boots, another resumes, and an image is fetched as often as it should be."""
    ours = entrypoint(mpm=mpm, cache=folder + "/images" if cached else "")
    assert node(ours).boot().booted
    boot = node(ours, "192.168.152.8", lost_links={"boot.img": [1000, MIB // 2]}).boot()
    assert boot.booted and boot.resumes == 2
    assert len(walt.requests("boot.img")) == (1 if cached else 4)


def test_setup_check(mpm, entrypoint, walt):
    """walt-server-setup takes it."""
    ours = entrypoint(mpm=mpm)
    assert setup_check("127.0.0.1:%d" % ours.port, walt.fqdn, ours.server_name) is None


def test_refuses(mpm, entrypoint, walt):
    """What would end the WalT daemon does not reach it."""
    ours = entrypoint(mpm=mpm)
    for target in ("per-ip/192-168-152-7/", "per-ip/192-168-152-7/..%2f..", "enroll?fake_requester_ip=1.2.3.4"):
        assert ours.get("/walt-vpn/" + target).status == 404
    assert walt.requests() == []


@pytest.mark.parametrize("kind", ["fin", "rst"])
def test_broken_off(mpm, kind, entrypoint, walt, node):
    """A relayed image that breaks off ends in a reset; with it the node resumes and boots."""
    ours = entrypoint(mpm=mpm)
    ours.tolerate_log("AH01110|AH00898|AH01102")
    walt.fault("boot.img", kind, at_byte=MIB // 2)
    reply = ours.get(IMAGE)
    assert reply.status == 200 and len(reply.body) < MIB and reply.ended == "RST"
    walt.fault("boot.img", kind, at_byte=MIB // 2)
    assert node(ours).boot().booted


def test_other_hosts(mpm, entrypoint, walt):
    """It claims nothing else."""
    ours = entrypoint(mpm=mpm)
    assert ours.get(raw=wire.request("/walt-vpn/server", "elsewhere.example.org")).status == 404
    assert walt.requests() == []
