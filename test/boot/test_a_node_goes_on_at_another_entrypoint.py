"""Several entrypoints behind one name: whichever of them a node's next connection leads to, it goes on with the right bytes."""

import collections
import os
import signal

import pytest

from boot_client import Outcome
from fetches import fetched
from fleet import SLOW, Fleet
from link import Link
from processes import wait_until
from proxies import Haproxy, WaltVpn, program
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 4
THIRD = (MIB << 20) // 3
NODE = "192.168.152.7"

Place = collections.namedtuple("Place", "location")
Name = collections.namedtuple("Name", "port server_name link entrypoints")


@pytest.fixture
def name(httpds, walt, folder):
    """name(caches=(True, True)): so many entrypoints behind one name, each with a cache of its own or none. The node's
    connections lead to the first, the second and so on in turn: boot.sig, boot.img, its resumes."""
    links = []

    def make(caches=(True, True)):
        walt.set_image(mib=MIB)
        made = [httpds(WaltVpn, walt, cache=cached and "%s/images-%d" % (folder, number)).start()
                for number, cached in enumerate(caches)]
        for httpd in made:
            httpd.tolerate_log(r"AH01110|AH01102|AH01114")      # of mod_proxy, whose node went
        links.append(Link(*(httpd.port for httpd in made)))
        return Name(links[-1].port, WaltVpn.server_name, links[-1], made)

    yield make
    for link in links:
        link.__exit__()


CACHES = pytest.mark.parametrize("caches", [(True, True), (True, False), (False, True), (False, False)],
                                 ids=["both cache", "the first caches", "the second caches", "none caches"])


@CACHES
def test_resumes_at_the_other_one(name, walt, node, caches):
    """And then at the first again; neither has the image before."""
    made = name(caches)
    digest = walt.set_image(mib=MIB)
    boot = node(made, lost_links={"boot.img": [THIRD, 2 * THIRD]}).boot()
    assert boot.booted and boot.image_sha256 == digest, boot
    assert boot.replies[1:] == [("boot.img", 0, 200), ("boot.img", THIRD, 206), ("boot.img", 2 * THIRD, 206)]
    assert boot.bytes == (MIB << 20) + len(boot.boot_sig)
    assert len({one.target for one in made.link.asked("/boot.img")}) == 2


@pytest.mark.parametrize("kind", ["rst", "silence"])
@CACHES
def test_resumes_after_the_link_broke(name, walt, node, caches, kind):
    """In the middle of any piece, with what is on its way lost."""
    made = name(caches)
    digest = walt.set_image(mib=MIB)
    made.link.cut("/boot.img", at_byte=THIRD + 1, kind=kind)
    made.link.cut("/boot.img", at_byte=THIRD - 1, kind=kind)
    boot = node(made, patience=2).boot()
    assert boot.booted and boot.image_sha256 == digest and boot.resumes == 2, boot


@pytest.mark.parametrize("kind", ["rst", "fin", "flip"])
def test_the_walt_server_fails_one_of_them(name, walt, node, kind):
    """Half-way through the image that it fetches: it fetches it again, or the node goes on at the other one."""
    made = name()
    for httpd in made.entrypoints:
        httpd.tolerate_log(r"\[proxy")
    walt.fault("boot.img", kind, at_byte=2 * THIRD)
    digest = walt.set_image(mib=MIB)
    boot = node(made).boot()
    if kind == "flip" and not boot.booted:
        # It was sent on before the digest told; the one that the node resumes at does not know, and the board finds out.
        assert boot.outcome in (Outcome.HTTP_ERROR, Outcome.CORRUPT), boot
        boot = node(made).boot()
    assert boot.booted and boot.image_sha256 == digest, boot


def test_one_of_them_dies(name, walt):
    """In the middle of a download, which the node goes on with at the other one."""
    made = name()
    digest = walt.set_image(mib=24)     # more than the kernel keeps for a connection
    fleet = Fleet(made, [NODE], rate=SLOW)
    wait_until(lambda: any(one.replied > 1 << 20 for one in made.link.asked("/boot.img")), what="the middle of a download")
    dying = made.entrypoints[1]
    for process in [dying.process.pid] + dying.children():
        os.kill(process, signal.SIGKILL)
    fleet.hurry()
    [boot] = fleet.boots()
    assert boot.booted and boot.image_sha256 == digest and boot.resumes == 1, boot


def test_a_fleet_costs_one_image_for_each_entrypoint(name, walt):
    """However many nodes there are."""
    made = name()
    digest = walt.set_image(mib=MIB)
    boots = Fleet(made, 16, lost_links={"boot.img": [THIRD]}).boots()
    assert all(boot.booted and boot.image_sha256 == digest for boot in boots), boots
    assert fetched(walt) == 2


@pytest.mark.parametrize("entrypoints, outcome, reason", [
    (2, Outcome.HTTP_ERROR, "the one that it resumes at gave it the boot.sig that it began with"),
    (3, Outcome.CORRUPT, "the one that it resumes at can't know what it began with: the board finds out"),
])
def test_an_image_that_changes_in_between(name, walt, node, entrypoints, outcome, reason):
    """The node starts over, and boots the new one then."""
    made = name((True,) * entrypoints)
    digests = []
    boot = node(made, lost_links={"boot.img": [THIRD]},
                resuming=lambda boot: digests.append(walt.set_image(image="another", mib=MIB))).boot()
    assert boot.outcome is outcome, boot
    boot = node(made).boot()
    assert boot.booted and boot.image_sha256 == digests[0], boot


class TcpBalancer(Haproxy):
    """HAProxy in front of an entrypoint, without a look at what it carries."""

    def configuration(self):
        return """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 50s
    timeout server 50s
listen walt-vpn
    bind 127.0.0.1:%d
    server entrypoint %s
""" % (self.port, self.walt.location)


def test_a_balancer_that_ends_connections_itself_leaves_nodes_hanging(httpds, walt, node, folder):
    """It closes cleanly what the entrypoint resets: that is why docs/setting-up.md says to balance packets."""
    try:
        program("haproxy")
    except FileNotFoundError:
        pytest.skip("haproxy is not installed")
    ours = httpds(WaltVpn, walt).start()
    ours.tolerate_log(r"\[proxy")
    with TcpBalancer(folder, Place("127.0.0.1:%d" % ours.port)) as balancer:
        assert node(balancer).boot().booted
        walt.fault("boot.img", "rst", at_byte=1 << 19, times=2)
        assert node(balancer).boot().outcome is Outcome.HANGS
        assert node(ours).boot().booted
