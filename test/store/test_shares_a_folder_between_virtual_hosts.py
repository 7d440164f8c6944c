"""Two entrypoints of two WalT servers with one folder: a digest is a digest, whoever vouches for it."""

import pytest

from fetches import fetched
from fleet import Fleet
from processes import wait_until
from stand_in import VERSIONS, WaltServer

pytestmark = pytest.mark.walt_versions(*VERSIONS)

HALF = 1 << 19
HOSTS = """
<VirtualHost *:@PORT@>
ServerName one.example.org
WaltVpnServer %s
</VirtualHost>
<VirtualHost *:@PORT@>
ServerName two.example.org
WaltVpnServer %s
</VirtualHost>
"""


@pytest.fixture(scope="module")
def other_walt():
    with WaltServer() as server:
        yield server


class Host:
    """A name that one httpd answers to."""

    def __init__(self, httpd, server_name):
        self.port = httpd.port
        self.server_name = server_name


@pytest.fixture
def hosts(entrypoint, cache, walt, other_walt, walt_version):
    """The httpd, its two entrypoints, and what is behind them."""
    other_walt.clear()
    other_walt.play(walt_version)
    other_walt.set_image()
    httpd = entrypoint(cache=cache.path, start=False)
    httpd.vhost = HOSTS % (walt.location, other_walt.location)
    httpd.start()
    return httpd, Host(httpd, "one.example.org"), Host(httpd, "two.example.org")


def test_same_image(hosts, walt, other_walt, cache):
    """Fetched once, from one of the two, for nodes of both at the same time."""
    _, one, two = hosts
    for server in (walt, other_walt):
        server.rate(2 << 20)
    fleets = [Fleet(one, 4), Fleet(two, 4)]
    assert all(boot.booted for fleet in fleets for boot in fleet.boots())
    assert fetched(walt) + fetched(other_walt) == 1
    assert len(cache.images()) == 1


def test_different_images_of_the_same_node(hosts, walt, other_walt, cache, node):
    """The node's address means nothing across the two."""
    _, one, two = hosts
    digests = [walt.set_image("*", "one"), other_walt.set_image("*", "two")]
    for _ in range(2):
        for host, digest in zip((one, two), digests):
            boot = node(host).boot()
            assert boot.booted and boot.image_sha256 == digest
    assert cache.images() == sorted(digests)
    assert fetched(walt) == fetched(other_walt) == 1


def test_one_server_fails(hosts, walt, other_walt, cache):
    """Who waits for a fetch from a server that breaks off is not bound to that server."""
    httpd, one, two = hosts
    httpd.tolerate_log("proxy|boot.img was answered with 502")
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1)
    walt.fault("boot.img", "status", times=None)
    broken = Fleet(one, 1)
    wait_until(lambda: len(cache.parts()) == 1, what="the fetch from the first")
    healthy = Fleet(two, 4)
    assert all(boot.booted for boot in healthy.boots())
    assert all(boot.booted for boot in broken.boots()), "the other one's fetch serves it, too"


def test_one_server_is_down(hosts, walt, other_walt, cache, node):
    """The image is there, but nobody vouches for it on this side."""
    httpd, one, two = hosts
    httpd.expect_log("failed to make connection to backend")
    httpd.tolerate_log("Connection refused|was answered with 503")
    assert node(two).boot().booted
    walt.down()
    assert not node(one).boot().booted
    walt.up()
    assert node(one).boot().booted
    assert fetched(walt) == 0
