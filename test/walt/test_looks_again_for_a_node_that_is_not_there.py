"""While the image of a node changes, the coming version of WalT knows neither boot.sig nor boot.img of it for a moment: of a node
that has been here before the entrypoint asks again, a moment later."""

import pytest

from boot_client import Outcome
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

NODE = "192.168.152.7"


@pytest.fixture(params=["event", "prefork"])
def known(request, entrypoint, cache, node, walt):
    """An entrypoint at which the node has booted."""
    httpd = entrypoint(cache=cache.path, mpm=request.param)
    assert node(httpd, NODE).boot().booted
    walt.clear()
    return httpd


def test_it_is_there_again(known, walt, node):
    walt.fault("boot.sig", "status", status=404)
    boot = node(known, NODE).boot()
    assert boot.booted and [status for _, _, status in boot.replies] == [200, 200]


def test_it_is_not(known, walt, node):
    """It is told so, after two questions."""
    known.tolerate_log("boot.sig was answered with 404")
    walt.fault("boot.sig", "status", status=404, times=None)
    assert node(known, NODE).boot().outcome is Outcome.HTTP_ERROR
    assert len(walt.requests("boot.sig")) == 2


def test_the_image_changes_behind_boot_sig(known, walt, cache, node):
    """A new image, of which the node has the boot.sig; then it is gone for a moment. It is not relayed for that."""
    digest = walt.set_image(image="new")
    client = node(known, NODE)
    download = client.download

    def gone_then_download(name, boot):
        if name == "boot.img":
            walt.fault("boot.sig", "status", status=404)
        return download(name, boot)

    client.download = gone_then_download
    assert client.boot().booted
    assert digest in cache.images()


def test_one_that_was_never_here(known, walt, node):
    """What strangers make up costs the WalT server one question each."""
    known.tolerate_log("boot.sig was answered with 404")
    walt.fault("boot.sig", "status", status=404, times=None)
    assert node(known, "192.168.152.99").boot().outcome is Outcome.HTTP_ERROR
    assert len(walt.requests("boot.sig")) == 1
