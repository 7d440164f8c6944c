"""An image that the folder can't take is relayed to its last byte, however often its nodes lose their links."""

import pytest

from fetches import HALF, CacheFolder, await_fetch, fill_disk
from fleet import Fleet
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)


@pytest.fixture
def too_large(entrypoint, cache):
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1000000")
    httpd.expect_log("larger than WaltVpnCacheSize")
    return httpd


@pytest.fixture
def disk_full(entrypoint, mounted):
    place = mounted("small", 4)
    httpd = entrypoint(cache=CacheFolder(place + "/images").path)
    httpd.expect_log("No space left on device.*images are relayed until this is mended")
    fill_disk(place)
    return httpd


@pytest.fixture
def size_taken(entrypoint, cache, walt):
    """By the fetch of another image, which the WalT server never ends."""
    httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 1500000")
    walt.set_image("192.168.9.9", "another")
    walt.fault("192-168-9-9/boot.img", "silence", at_byte=HALF)
    other = Fleet(httpd, ["192.168.9.9"])
    await_fetch(walt)
    httpd.tolerate_log("proxy|192.168.9.9")
    yield httpd
    walt.heal()
    httpd.stop()
    other.boots()


@pytest.mark.parametrize("lost", [[HALF], [HALF // 2, HALF]], ids=["once", "twice"])
@pytest.mark.parametrize("nodes", [1, pytest.param(5, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("why", ["too_large", "disk_full", "size_taken"])
def test_link_is_lost(why, nodes, lost, walt, request):
    """No node starts over."""
    httpd = request.getfixturevalue(why)
    boots = Fleet(httpd, nodes, lost_links={"boot.img": lost}).boots()
    assert all(boot.booted and boot.resumes == len(lost) for boot in boots), boots
