"""The coming version of WalT has boot.sig as a file, which is never another node's: who was given one needs the image that it
vouches for. That is sent without another question, if it is here."""

import os

import pytest

import wire
from fetches import fetched
from stand_in import COMING, RELEASED

MIB = 1 << 20
HALF = MIB // 2
PLACE = "/walt-vpn/per-ip/192-168-152-7/"
MINUTE = 60


@pytest.fixture
def warm(entrypoint, walt, cache, node):
    """An entrypoint whose folder has the image, in front of the coming version, which was asked nothing yet."""
    walt.play(COMING)
    httpd = entrypoint(cache=cache.path)
    assert node(httpd, "192.168.152.1").boot().booted
    walt.clear()
    return httpd


def questions(walt):
    return len(walt.requests("boot.sig"))


def ask(httpd, name, client="", **options):
    """A file of the node, asked for from this address."""
    with wire.Wire(httpd.port, client=client) as connection:
        connection.send(wire.request(PLACE + name, httpd.server_name, **options))
        return connection.rest()


def test_a_boot(warm, walt, node):
    assert node(warm).boot().booted
    assert questions(walt) == 1 and fetched(walt) == 0


def test_a_resume(warm, walt, node):
    warm.tolerate_log("ended short")
    boot = node(warm, lost_links={"boot.img": [HALF, HALF + 1000]}).boot()
    assert boot.booted and boot.resumes == 2
    assert questions(walt) == 1


def test_the_first_boot_of_an_image(entrypoint, cache, walt, node):
    """Whether the WalT server still has what is not here, it is to say."""
    walt.play(COMING)
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    assert questions(walt) == 2


def test_the_released_version(entrypoint, cache, walt, node):
    """What it computes may be one behind."""
    httpd = entrypoint(cache=cache.path)
    for number in (1, 2):
        assert node(httpd).boot().booted
        assert questions(walt) == 2 * number


def test_an_update_of_the_walt_server(warm, walt, node):
    """The boot that follows is asked about as the version needs it."""
    walt.play(RELEASED)
    assert node(warm).boot().booted
    assert questions(walt) == 2


def test_another_address(warm, walt):
    """What one client was given says nothing of what another needs."""
    assert ask(warm, "boot.sig").status == 200
    assert ask(warm, "boot.img", client="127.0.0.2").status == 200
    assert questions(walt) == 2


def test_an_image_without_its_signature(warm, walt):
    assert ask(warm, "boot.img").status == 200
    assert questions(walt) == 1


def test_an_image_from_its_start_again(warm, walt, node):
    """One boot.sig is good for one boot.img, and for its resumes."""
    warm.tolerate_log("ended short")
    walt.set_image(image="large", mib=32)
    assert node(warm, "192.168.152.1").boot().booted
    walt.clear()
    assert ask(warm, "boot.sig").status == 200
    with warm.connect() as connection:
        connection.send(wire.request(PLACE + "boot.img", warm.server_name))
        assert connection.receive()
    assert questions(walt) == 1
    assert ask(warm, "boot.img").status == 200
    assert questions(walt) == 2


def test_an_old_signature(clock, entrypoint, walt, cache, node):
    """Of several entrypoints behind one name another may have given the node a later one: the image is that of the last one."""
    walt.play(COMING)
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    assert ask(httpd, "boot.sig").status == 200
    new = walt.set_image(image="new")
    clock.shift(MINUTE + 1)
    assert ask(httpd, "boot.img").header("ETag") == '"%s"' % new


def test_an_old_boot(clock, entrypoint, walt, cache, node):
    """What a node holds that comes for the rest may be of a later one, with another entrypoint."""
    walt.play(COMING)
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    httpd.await_log("has image")
    walt.set_image(image="new")
    clock.shift(MINUTE + 1)
    assert ask(httpd, "boot.img", headers=[("Range", "bytes=%d-" % HALF)]).status == 404


def test_an_image_that_changes_in_between(warm, walt, node):
    """The node has the old signature, which the new image would not fit."""
    old = ask(warm, "boot.sig").body[:64].decode()
    new = walt.set_image(image="new")
    assert ask(warm, "boot.img").header("ETag") == '"%s"' % old
    assert questions(walt) == 1
    boot = node(warm).boot()
    assert boot.booted and boot.image_sha256 == new


def test_an_image_that_changes_before_a_resume(warm, walt, node):
    """The rest is that of what the node holds."""
    warm.tolerate_log("ended short")
    client = node(warm, lost_links={"boot.img": [HALF]})
    fetch = client.fetch

    def change_then_fetch(file, resuming, boot):
        if resuming:
            walt.set_image(image="new")
        return fetch(file, resuming, boot)

    client.fetch = change_then_fetch
    assert client.boot().booted
    assert questions(walt) == 1


def test_an_image_that_has_gone_from_the_folder(warm, walt, cache):
    old = ask(warm, "boot.sig").body[:64].decode()
    os.unlink(cache.image(old))
    assert ask(warm, "boot.img").header("ETag") == '"%s"' % old
    assert questions(walt) == 2 and fetched(walt) == 1


def test_down_in_between(warm, walt, node):
    """A node that has its signature boots."""
    client = node(warm)
    download = client.download

    def down_then_download(name, boot):
        if name == "boot.img":
            walt.down()
        return download(name, boot)

    client.download = down_then_download
    assert client.boot().booted
