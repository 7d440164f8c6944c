"""An entrypoint near the nodes, whose WaltVpnServer is the entrypoint near the lab: a node gets every byte right, whichever of
the links breaks, and an image crosses each of them once."""

import collections
import re
import socket

import pytest

import wire
from boot_client import Outcome
from fetches import CacheFolder, fetched
from fleet import Fleet
from link import Link
from processes import accepts_connections, wait_until
from proxies import WaltVpn, hasty
from stand_in import COMING, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 4
HALF = MIB << 19
NODE = "192.168.152.7"

Chain = collections.namedtuple("Chain", "outer inner link outer_cache inner_cache")
Place = collections.namedtuple("Place", "location port server_name", defaults=(0, ""))


@pytest.fixture
def chain(httpds, walt, folder):
    """chain(outer="", inner="", caches=(True, True)): lines of the two virtual hosts. The link between the two entrypoints is
    a Link; that to the WalT server breaks by walt.fault()."""
    links = []

    def make(outer="", inner="", caches=(True, True), impatient=False):
        walt.set_image(mib=MIB)
        paths = [folder + name if cached else "" for name, cached in zip(("/outer", "/inner"), caches)]
        near_lab = httpds(WaltVpn, walt, vhost=inner + (hasty(walt.location) if impatient else ""), cache=paths[1],
                          server_name="localhost").start()
        links.append(Link(near_lab.port))
        place = Place("localhost:%d" % links[0].port)
        near_nodes = httpds(WaltVpn, place, vhost=outer + (hasty(place.location) if impatient else ""), cache=paths[0]).start()
        return Chain(near_nodes, near_lab, links[0], *map(CacheFolder, paths))

    yield make
    for link in links:
        link.__exit__()


def tolerate_breaks(chain):
    for httpd in (chain.outer, chain.inner):
        httpd.tolerate_log(r"\[proxy")
        httpd.tolerate_log("boot.(img|sig) was answered with 50[234]")


@pytest.mark.walt_versions(COMING)
def test_asks_once_where_boot_sig_is_a_file(chain, walt, node):
    """Its time is passed on by the entrypoint near the lab."""
    made = chain()
    assert node(made.outer).boot().booted
    walt.clear()
    assert node(made.outer).boot().booted
    assert len(walt.requests("boot.sig")) == 1


def test_boots_nodes_with_one_image_across_each_link(chain, walt):
    """And the inner one is asked by its own name, which it claims."""
    digest = walt.set_image(mib=MIB)
    made = chain()
    boots = Fleet(made.outer, 12).boots()
    assert [boot.outcome for boot in boots] == [Outcome.BOOTED] * 12
    assert {boot.image_sha256 for boot in boots} == {digest} and not any(boot.resumes for boot in boots)
    assert len(made.link.asked("/boot.img")) == 1 and fetched(walt) == 1
    assert made.outer_cache.images() == made.inner_cache.images() == [digest]
    assert b"\r\nHost: localhost" in made.link.asked("/boot.img")[0].request


def test_a_node_is_sent_what_has_come_while_the_rest_is_on_its_way(chain, walt):
    """Through both: behind a slow link to the WalT server no link waits for the one behind it."""
    made = chain()
    walt.rate(1 << 20)
    fleet = Fleet(made.outer, [NODE])
    with Link(made.outer.port) as nodes_own:
        second = Fleet(Place("", nodes_own.port, made.outer.server_name), ["192.168.152.8"])
        wait_until(lambda: any(one.replied > 1 << 20 for one in nodes_own.asked("/boot.img")), what="the first MiB")
        assert made.inner_cache.images() == made.outer_cache.images() == []
        assert [boot.outcome for boot in fleet.boots() + second.boots()] == [Outcome.BOOTED] * 2
    assert fetched(walt) == 1


def test_setup_check_gets_the_walt_servers_answer(chain):
    """/walt-vpn/server, through both."""
    assert chain().outer.get("/walt-vpn/server").body == b"walt.example.org\n"


@pytest.mark.parametrize("kind", ["rst", "fin", "silence", "flip"])
@pytest.mark.parametrize("broken", ["to the inner one", "to the WalT server"])
@pytest.mark.parametrize("caches", [(True, True)] + [pytest.param(row, marks=pytest.mark.thorough) for row in
                                                     [(False, True), (True, False)]],
                         ids=["both cache", "the inner one caches", "the outer one caches"])
def test_a_cut_on_either_link(chain, walt, node, kind, broken, caches):
    """The node boots, with every byte right, and never meets what leaves it hanging."""
    made = chain(caches=caches, impatient=True)
    tolerate_breaks(made)
    if broken == "to the inner one":
        made.link.cut("/boot.img", at_byte=HALF, kind=kind)
    else:
        walt.fault("boot.img", kind, at_byte=HALF)
    digest = walt.set_image(mib=MIB)
    boot = node(made.outer, patience=8).boot()
    if not boot.booted and (kind == "flip" or (kind == "silence" and not caches[0])):
        # Who streams has sent a wrong bit when the digest tells, and who keeps no image has nothing to compare nor to try again:
        # the board starts over. It would stay switched on for good after any other outcome.
        assert boot.outcome in (Outcome.HTTP_ERROR, Outcome.RESTARTS, Outcome.CORRUPT), boot
        assert boot.outcome is not Outcome.CORRUPT or not caches[0], boot
        boot = node(made.outer, patience=8).boot()
    assert boot.booted and boot.image_sha256 == digest, boot
    for cached, folder in zip(caches, (made.outer_cache, made.inner_cache)):
        assert not cached or (folder.images() == [digest] and folder.parts() == [])


@pytest.mark.parametrize("caches", [(True, True), (False, True), (True, False), (False, False)],
                         ids=["both cache", "the inner one caches", "the outer one caches", "none caches"])
def test_a_node_that_loses_its_own_link_resumes(chain, walt, node, caches):
    """Twice, with the right bytes, whoever of the two keeps the image."""
    made = chain(caches=caches)
    tolerate_breaks(made)
    digest = walt.set_image(mib=MIB)
    boot = node(made.outer, lost_links={"boot.img": [HALF // 3, HALF]}).boot()
    assert boot.booted and boot.image_sha256 == digest and boot.resumes == 2, boot
    assert [reply for reply in boot.replies if reply[0] == "boot.img"] == [
        ("boot.img", 0, 200), ("boot.img", HALF // 3, 206), ("boot.img", HALF, 206)]
    assert boot.bytes == (MIB << 20) + len(boot.boot_sig)


def test_a_new_image_goes_through(chain, walt, node):
    """boot.sig comes from the WalT server at each boot, through both."""
    made = chain()
    assert node(made.outer).boot().booted
    digest = walt.set_image(image="another", mib=MIB)
    boot = node(made.outer).boot()
    assert boot.booted and boot.image_sha256 == digest
    assert len(made.link.asked("/boot.img")) == fetched(walt) == 2


def test_the_inner_one_is_down_and_up_again(chain, node):
    """503 at once, and no hold-down afterwards."""
    made = chain()
    tolerate_breaks(made)
    made.inner.stop()
    made.inner.fixed_port = made.inner.port
    assert made.outer.get("/walt-vpn/server").status in (502, 503)
    made.inner.start()
    wait_until(lambda: accepts_connections(made.inner.port))
    assert node(made.outer).boot().booted


def test_with_ProxyPreserveHost_the_inner_one_needs_an_alias(chain, node):
    """It is then asked by the name of the outer one."""
    made = chain(outer="ProxyPreserveHost On")
    assert node(made.outer).boot().outcome is Outcome.HTTP_ERROR
    made.inner.reconfigure(vhost="ServerAlias %s\n%s" % (made.outer.server_name, made.inner.vhost))
    made.inner.restart()
    assert node(made.outer).boot().booted


def test_the_inner_one_can_tell_the_nodes_own_address(chain):
    """Which the outer one passes on, for log lines and Require: mod_remoteip."""
    made = chain()
    made.inner.reconfigure(modules=["remoteip"] + made.inner.modules, vhost=made.inner.vhost
                           + "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n")
    made.inner.restart()
    for name in ("server", "per-ip/192-168-152-7/boot.sig"):
        with socket.create_connection(("127.0.0.1", made.outer.port), 10, source_address=("127.0.0.2", 0)) as connection:
            connection.sendall(wire.request("/walt-vpn/" + name, made.outer.server_name))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        told = '(?m)^127.0.0.2 "localhost.*" "GET /walt-vpn/%s ' % name
        wait_until(lambda: re.search(told, made.inner.access_log), what="the line with the node's address")
