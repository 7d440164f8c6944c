"""An image makes room for what a node boots that took its boot.sig and is there; whoever else asks gets what is relayed."""

import threading

import pytest

import wire
from boot_files import image_pieces
from fetches import fetched
from fleet import Fleet
from processes import wait_until

MIB = 1 << 20
STRANGER = "127.0.0.2"
STRANGERS = range(10, 30)        # whose nodes' images they ask for


def path(number, file="boot.img"):
    return "/walt-vpn/per-ip/192-168-0-%d/%s" % (number, file)


@pytest.fixture
def full(entrypoint, cache, walt):
    """full(...): an entrypoint whose folder is full of what nodes 1 to 4 boot; each node boots an image of its own."""

    def make(**options):
        for number in range(1, 100):
            walt.set_image("192.168.0.%d" % number, "image %d" % number)
        httpd = entrypoint(cache=cache.path, server="WaltVpnCacheSize 4M", **options)
        assert all(boot.booted for boot in Fleet(httpd, 4).boots())
        assert len(cache.images()) == 4
        return httpd

    return make


def ask(httpd, number, file="boot.img", headers=(), client=STRANGER):
    """The reply to a stranger, or with another client to that."""
    with wire.Wire(httpd.port, client=client) as connection:
        connection.send(wire.request(path(number, file), httpd.server_name, headers=headers))
        return connection.rest()


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_strangers_who_hang_up_at_once(mpm, full, cache, walt):
    """Before their images are known nothing is fetched for them."""
    httpd = full(mpm=mpm)
    before, count = cache.images(), fetched(walt)
    assert all(ask(httpd, number, "boot.sig").status == 200 for number in STRANGERS)
    walt.freeze()
    for number in STRANGERS:
        with wire.Wire(httpd.port, client=STRANGER) as stranger:
            stranger.send(wire.request(path(number), httpd.server_name))
    walt.thaw()
    wait_until(lambda: not httpd.connected(), 60, "the end of all visits")
    assert fetched(walt) == count and cache.images() == before


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_strangers_who_hang_up_later(mpm, full, cache, walt):
    """Nothing is evicted for them."""
    httpd = full(mpm=mpm)
    httpd.tolerate_log("ended short")
    before, count = cache.images(), fetched(walt)
    walt.fault("boot.img", "silence", times=None, seconds=5)
    assert all(ask(httpd, number, "boot.sig").status == 200 for number in STRANGERS[:4])
    strangers = [wire.Wire(httpd.port, client=STRANGER) for _ in range(4)]
    for stranger, number in zip(strangers, STRANGERS):
        stranger.send(wire.request(path(number), httpd.server_name))
    wait_until(lambda: fetched(walt) == count + 4, what="four fetches")
    for stranger in strangers:
        stranger.close()
    httpd.await_log("no image is evicted for boot.img of node 192.168.0.%d," % STRANGERS[3])
    wait_until(lambda: not httpd.connected(), 60, "the end of all visits")
    assert cache.images() == before


def test_strangers_who_ask_for_each_image(full, cache):
    """And take none of the signatures: all of them, at the same time."""
    httpd = full()
    before = cache.images()
    asking = [threading.Thread(target=ask, args=(httpd, number)) for number in STRANGERS]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert cache.images() == before


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_who_has_no_signature_gets_it_relayed(mpm, full, cache, walt):
    """Whole, or the rest of it, as a node that took its boot.sig at another entrypoint; and what is there from there."""
    httpd = full(mpm=mpm)
    before, content = cache.images(), b"".join(image_pieces("image 10", 1))
    assert ask(httpd, 10).body == content
    rest = ask(httpd, 10, headers=[("Range", "bytes=500000-")])
    assert rest.status == 206 and rest.body == content[500000:]
    count = fetched(walt)
    assert ask(httpd, 1, headers=[("Range", "bytes=%d-" % (MIB - 10))]).status == 206
    assert ask(httpd, 2).status == 200 and fetched(walt) == count
    assert cache.images() == before
    httpd.await_log("no image is evicted for boot.img of node 192.168.0.10, as nobody waits who took its boot.sig: it is relayed")


def test_another_address_took_the_signature(full, cache):
    """It is the client that counts."""
    httpd = full()
    before = cache.images()
    assert ask(httpd, 10, "boot.sig", client="127.0.0.1").status == 200
    assert ask(httpd, 10).status == 200 and cache.images() == before
    assert ask(httpd, 10, client="127.0.0.1").status == 200
    wait_until(lambda: cache.images() != before, what="the eviction")


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_nodes_evict_as_ever(mpm, full, cache, node):
    """Also one that is restarted under in between, and one whose link breaks."""
    httpd = full(mpm=mpm)
    images = cache.images()
    for number, lost in ((11, []), (12, [MIB // 2])):
        assert node(httpd, "192.168.0.%d" % number, lost_links={"boot.img": lost}).boot().booted
        assert cache.images() != images
        images = cache.images()
    assert ask(httpd, 13, "boot.sig").status == 200
    httpd.graceful()
    assert ask(httpd, 13).status == 200
    wait_until(lambda: cache.images() != images, what="the eviction")
    assert len(cache.images()) == 4


def test_node_that_goes_on_after_a_stop(full, entrypoint, cache, walt):
    """httpd was stopped and started while it had half of its image: its boot.sig still counts."""
    httpd = full(mpm="worker")
    walt.fault("192-168-0-14/boot.img", "silence", at_byte=MIB // 2)
    httpd.tolerate_log("ended short|AH01110")
    assert ask(httpd, 14, "boot.sig").status == 200
    with wire.Wire(httpd.port, client=STRANGER) as node:
        node.send(wire.request(path(14), httpd.server_name))
        wait_until(lambda: len(node.buffer) > 1000 or not node.receive(), what="a part of the image")
    httpd.stop()
    assert len(cache.images()) == 3
    boot = ask(entrypoint(cache=cache.path, server="WaltVpnCacheSize 3M"), 14, headers=[("Range", "bytes=100-")])
    assert boot.status == 206 and len(boot.body) == MIB - 100
    wait_until(lambda: len(cache.images()) == 3 and cache.parts() == [], what="the image in the folder")
    assert len(walt.requests("192-168-0-14/boot.img")) == 2


def test_node_that_follows_a_stranger(full, cache, walt, node):
    """Whoever began the fetch, the node keeps the image."""
    httpd = full()
    before = cache.images()
    walt.fault("192-168-0-10/boot.img", "silence", seconds=1)
    stranger = wire.Wire(httpd.port, client=STRANGER)
    stranger.send(wire.request(path(10), httpd.server_name))
    count = fetched(walt)
    wait_until(lambda: fetched(walt) > count or walt.requests("192-168-0-10/boot.img"), what="the fetch")
    assert node(httpd, "192.168.0.10").boot().booted
    assert stranger.rest().status == 200
    wait_until(lambda: cache.images() != before and len(cache.images()) == 4, what="the image in the folder")
    assert len(walt.requests("192-168-0-10/boot.img")) == 1
