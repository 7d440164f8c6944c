"""walt-vpn-check --warm and --purge."""

import os
import re
import shutil

import pytest

from boot_files import image_digest
from fetches import fetched
from httpd import our_module

NODES = ("192.168.152.7", "192.168.152.8", "192.168.152.9")


@pytest.fixture
def ours(entrypoint, cache, walt):
    """An entrypoint of three nodes with two images."""
    walt.set_image(node=NODES[2], image="another", mib=2)
    yield entrypoint(server_name="localhost", cache=cache.path)
    walt.set_image()


@pytest.fixture
def images():
    return image_digest("default", 1), image_digest("another", 2)


def test_warm(check, ours, cache, walt, images):
    """Each image is fetched once, and the nodes then boot without the link."""
    status, text = check("--warm", *NODES, at=ours)
    assert status == 0
    assert text.splitlines()[0] == "WALT-VPN OK: localhost: nodes %s boot" % ", ".join(NODES)
    assert sorted(cache.images()) == sorted(images)
    assert "ok        in %s now: %s\n" % (cache.path, ", ".join(digest[:12] for digest in sorted(images))) in text
    assert fetched(walt) == 2


def test_warm_downloads_an_image_once(check, ours):
    """Of the second node with the same image only the boot.sig is asked for."""
    _, text = check("--warm", *NODES[:2], at=ours)
    assert re.search(r"node %s: booted \(602 bytes, .*\n +boot.sig from byte 0: status 200\n(?! +boot.img)" % NODES[1], text)


def test_warm_from_another_machine(check, ours, cache, images):
    status, _ = check("http://localhost:%d" % ours.port, "--warm", *NODES)
    assert status == 0 and sorted(cache.images()) == sorted(images)


def test_warm_a_node_that_has_no_image(check, ours, cache, walt, images):
    """The others are warmed all the same."""
    walt.fault("152-7/boot.sig", "status", status=404, times=None)
    status, text = check("--warm", NODES[0], NODES[2], at=ours)
    assert status == 1
    assert text.startswith("WALT-VPN CRITICAL: node %s: reports an HTTP error [boot.sig: 404] " % NODES[0])
    assert cache.images() == [images[1]]


def test_warm_what_the_cache_does_not_keep(check, entrypoint, cache, walt):
    ours = entrypoint(server_name="localhost", cache=cache.path, server="WaltVpnCacheSize 1K")
    ours.tolerate_log("is larger than WaltVpnCacheSize")
    status, text = check("--warm", NODES[0], at=ours)
    assert status == 1
    assert re.search("CRITICAL +not in %s: .*\n +-> .* whether WaltVpnCacheSize is large enough" % cache.path, text)


@pytest.fixture
def full(check, ours, cache):
    """The entrypoint with both images in its folder, and with what is no image."""
    assert check("--warm", *NODES, at=ours)[0] == 0
    for name in ("notes.txt", "%s.part" % ("a" * 64), "%s.img" % ("g" * 64), "%s.img.bak" % ("b" * 64)):
        with open(os.path.join(cache.path, name), "w") as file:
            file.write("not an image")
    os.mkdir(cache.image("d" * 64))
    return ours


def test_purge_all(check, full, cache, images):
    """And nothing but the images."""
    before = cache.names()
    status, text = check("--purge", "all", at=full)
    assert status == 0
    assert text.splitlines()[0] == "WALT-VPN OK: 2 images removed"
    assert re.search("ok +removed %s from %s: 2 MiB\n" % (images[1], cache.path), text)
    assert cache.names() == [name for name in before if name[:-4] not in images]


def test_purge_one(check, full, cache, images, node):
    """By as much of its digest as the log tells. The node that needs it boots again all the same."""
    status, text = check("--purge", images[0][:12], at=full)
    assert status == 0
    assert text.splitlines()[0] == "WALT-VPN OK: 1 image removed"
    assert images[0] not in cache.images() and images[1] in cache.images()
    assert node(full).boot().booted


def test_purge_follows_no_link(check, full, cache, folder, images):
    """A link that bears an image's name stays, and so does what it leads to."""
    precious = os.path.join(folder, "precious")
    with open(precious, "w") as file:
        file.write("x")
    os.unlink(cache.image(images[0]))
    os.symlink(precious, cache.image(images[0]))
    status, text = check("--purge", "all", at=full)
    assert status == 0 and "1 image removed" in text
    assert os.path.exists(precious) and os.path.islink(cache.image(images[0]))


def test_purge_an_image_that_is_not_there(check, full, cache):
    before = cache.names()
    status, text = check("--purge", "0" * 12, at=full)
    assert status == 2
    assert text.splitlines()[0] == "WALT-VPN UNKNOWN: no image begins with 000000000000"
    assert cache.names() == before


def test_purge_what_begins_two_images(check, full, cache, images):
    twin = images[0][:20] + "0" * 44
    shutil.copy(cache.image(images[0]), cache.image(twin))
    status, text = check("--purge", images[0][:12], at=full)
    assert status == 2
    assert "begins several images: " in text and "-> write more of it" in text
    assert {twin, images[0]} <= set(cache.images())


def test_purge_during_a_download(check, full, images, cache, node):
    """The node goes on from the open file."""
    purged = []
    boot = node(full, NODES[2], rate=2 << 20, lost_links={"boot.img": [1 << 19]},
                resuming=lambda boot: purged.append(check("--purge", "all", at=full)[0])).boot()
    assert purged == [0] and boot.booted


def test_purge_where_there_is_no_folder_yet(check, ours, cache):
    """It is empty, whoever asks."""
    os.rmdir(cache.path)
    status, text = check("--purge", "all", at=ours)
    assert status == 0 and text.splitlines()[0] == "WALT-VPN OK: 0 images removed"
    assert "note      cache folder %s is not there\n            -> httpd makes it when it starts\n" % cache.path in text
    status, text = check("--purge", "0" * 12, at=ours)
    assert status == 2 and text.splitlines()[0] == "WALT-VPN UNKNOWN: no image begins with 000000000000"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["who may not look", "who may look"])
def test_purge_by_another_user(check, entrypoint, cache, folder, monkeypatch, node, mode):
    """Neither root nor the folder's owner."""
    monkeypatch.setenv("MOD_WALT_VPN", shutil.copy(our_module(), folder))
    ours = entrypoint(server_name="localhost", cache=cache.path)
    assert node(ours).boot().booted
    os.chmod(cache.path, mode)
    status, text = check("--purge", "all", at=ours, user="nobody")
    assert status == 2
    assert text.splitlines()[0] == "WALT-VPN UNKNOWN: cache folder %s: Permission denied" % cache.path
    assert "-> only root and httpd's user may: sudo walt-vpn-check --purge all\n" in text
