"""Nodes are sent what is already here, but for a last piece that goes out only when the whole image is what boot.sig vouches for."""

import errno
import fcntl
import os
import signal
import threading

import pytest

import metrics
import wire
from boot_client import Outcome
from boot_files import MIB, image_digest, image_pieces
from fetches import FOUR_PROCESSES, await_fetch, fetched, fetcher
from fleet import Fleet
from processes import wait_until
from proxies import hasty
from stand_in import RELEASED, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

# What takes long and is about the way to the nodes.
only_once = pytest.mark.walt_versions(RELEASED)

HALF = MIB // 2
HELD_BACK = 64 * 1024
IMG = "/walt-vpn/per-ip/%s/boot.img"
MPMS = ["event", "worker", "prefork"]


def content(name="default", mib=1):
    return b"".join(image_pieces(name, mib))


class Reader:
    """A node's connection that is sent boot.img, looked at byte by byte."""

    def __init__(self, httpd, number=7, headers=(), **how):
        self.wire = httpd.connect(timeout=30)
        self.wire.send(wire.request(IMG % ("192-168-152-%d" % number), httpd.server_name, headers=headers, **how))

    @property
    def body(self):
        return wire.Reply(bytes(self.wire.buffer)).body

    def await_bytes(self, number):
        """So many have come; they are returned."""
        while len(self.body) < number:
            assert self.wire.receive(), "%s after %d bytes" % (self.wire.ended, len(self.body))
        return self.body

    def rest(self):
        return self.wire.rest()

    def has_come(self):
        """Is there anything at all, by now?"""
        self.wire.socket.setblocking(False)
        try:
            return bool(self.wire.socket.recv(1, 2))      # MSG_PEEK
        except BlockingIOError:
            return False
        finally:
            self.wire.socket.settimeout(30)


@pytest.fixture
def readers():
    """readers(httpd, number, ...): a Reader, closed in the end."""
    made = []

    def make(*arguments, **options):
        made.append(Reader(*arguments, **options))
        return made[-1]

    yield make
    for reader in made:
        reader.wire.close()


def kill_half_way(httpd, readers, number=7):
    """The process of a fetch that has stopped half-way is killed; what the fetch's own node had of the image."""
    first = readers(httpd, number)
    first.await_bytes(1000)
    os.kill(fetcher(httpd), signal.SIGKILL)
    return first.rest().body


def server_of(mpm):
    """Several processes from the start; with the worker MPM of so many threads that no turns are taken."""
    many = FOUR_PROCESSES.replace("ThreadsPerChild 4", "ThreadsPerChild 32").replace(" 32\nMin", " 256\nMin")
    return {"event": FOUR_PROCESSES, "worker": many.replace("MaxSpareThreads 32", "MaxSpareThreads 256"), "prefork": ""}[mpm]


@only_once
@pytest.mark.parametrize("mpm", MPMS)
@pytest.mark.thorough
def test_what_is_here_is_sent(mpm, entrypoint, cache, walt, readers):
    """Readers in several processes have the first half while the fetch is stopped there, and the rest when it goes on."""
    httpd = entrypoint(cache=cache.path, server=server_of(mpm), mpm=mpm)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=6)
    nodes = [readers(httpd, number) for number in range(5)]
    for node in nodes:
        assert node.await_bytes(HALF - HELD_BACK) == content()[:len(node.body)]
    assert [request.sent for request in walt.requests("boot.img")] == [HALF]
    for node in nodes:
        reply = node.rest()
        assert reply.status == 200 and reply.body == content() and reply.header("Content-Length") == str(MIB)
    assert fetched(walt) == 1


def test_last_piece_is_held_back(entrypoint, cache, walt, readers):
    """When all has come that goes out without proof, the last 64 KiB stay until the image is whole."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=MIB - 1, seconds=4)
    node, other = readers(httpd, 1), readers(httpd, 2)
    for reader in (node, other):
        reader.await_bytes(MIB - HELD_BACK)
        assert len(reader.body) == MIB - HELD_BACK
        assert not reader.has_come() and not cache.images()
    assert node.rest().body == other.rest().body == content()


@pytest.mark.parametrize("size", [HALF, MIB - 1])
def test_no_node_completes_what_was_not_signed(size, entrypoint, cache, walt, readers):
    """A wrong bit, again and again: nobody gets the last piece, all are reset, and their resumes get 404."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    httpd.tolerate_log("ended short|answered with 404")
    walt.rate(2 * MIB)
    walt.fault("boot.img", "flip", at_byte=size, times=None)
    boots = Fleet(httpd, 6).boots()
    assert {boot.outcome for boot in boots} == {Outcome.HTTP_ERROR}, boots
    assert all(boot.bytes - 602 <= MIB - HELD_BACK for boot in boots)
    assert cache.images() == []
    walt.heal()
    walt.set_image(image="another")
    assert all(boot.booted for boot in Fleet(httpd, 6).boots())


@pytest.mark.parametrize("kind", ["fin", "rst", "silence"])
@pytest.mark.parametrize("mpm", MPMS)
def test_second_try_is_a_pause(mpm, kind, entrypoint, cache, walt):
    """The fetch breaks off and begins again at byte 0: nodes go on where they were."""
    httpd = entrypoint(cache=cache.path, server=server_of(mpm), mpm=mpm, vhost=hasty(walt.location))
    httpd.tolerate_log("proxy")
    walt.rate(2 * MIB)
    walt.fault("boot.img", kind, at_byte=MIB - HELD_BACK - 1)
    boots = Fleet(httpd, 8 if mpm != "prefork" else 4).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 2


@pytest.mark.thorough
def test_walt_server_restarts_in_the_middle(entrypoint, cache, walt, node):
    """It breaks off, refuses connections for some seconds, and is back: the node sees a pause."""
    walt.set_image(mib=2)
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("proxy")
    walt.rate(MIB)
    fleet = Fleet(httpd, 1)
    wait_until(lambda: [request.sent > HALF for request in walt.requests("boot.img")] == [True], what="a part of the image")
    walt.down()
    threading.Timer(2.5, walt.up).start()
    boot = fleet.boots()[0]
    assert boot.booted and boot.resumes == 0, boot
    assert boot.image_sha256 == image_digest("default", 2)


def test_second_try_that_differs(entrypoint, cache, walt, readers):
    """A wrong bit that the second try has not: who holds bytes of the first is reset, and starts over."""
    httpd = entrypoint(cache=cache.path)
    walt.rate(2 * MIB)
    httpd.tolerate_log("ended short|answered with 404")
    walt.fault("boot.img", "flip", at_byte=HALF)
    ahead = readers(httpd)
    reply = ahead.rest()
    assert reply.ended == "RST" and len(reply.body) <= MIB - HELD_BACK
    wait_until(cache.images, what="the image")
    resumed = httpd.get(IMG % "192-168-152-7", headers=[("Range", "bytes=%d-" % len(reply.body))])
    assert resumed.status == 404
    assert fetched(walt) == 2
    assert readers(httpd).rest().body == content()


def test_wrong_bit_twice(entrypoint, cache, walt, readers):
    """Nor is a node that read nothing yet sent what no try proved: the fetch is given up, and it is reset."""
    walt.set_image(mib=16)
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("ended short")
    walt.rate(32 * MIB)
    walt.fault("boot.img", "flip", at_byte=12 * MIB)
    walt.fault("boot.img", "flip", at_byte=13 * MIB, times=None)
    readers(httpd, 1)
    wait_until(lambda: walt.requests("boot.img"), what="the fetch")
    node = readers(httpd, 2)
    wait_until(lambda: not cache.parts() and fetched(walt) >= 2, 30, "the end of the fetch")
    reply = node.rest()
    assert reply.ended == "RST" and reply.body == content(mib=16)[:len(reply.body)]


def test_image_changes_between_two_tries(entrypoint, cache, walt, readers, node):
    """The rest of the old image can't be had any more: who holds the start of it is reset, and starts over."""
    httpd = entrypoint(cache=cache.path, vhost=hasty(walt.location))
    httpd.tolerate_log("proxy|ended short|answered with 404")
    old = content()
    walt.fault("boot.img", "silence", at_byte=HALF)
    reader = readers(httpd)
    assert reader.await_bytes(HALF - HELD_BACK) == old[:len(reader.body)]
    new = walt.set_image(image="new")
    reply = reader.rest()
    assert reply.ended == "RST" and reply.body == old[:len(reply.body)]
    assert httpd.get(IMG % "192-168-152-7", headers=[("Range", "bytes=%d-" % len(reply.body))]).status == 404
    boot = node(httpd).boot()
    assert boot.booted and boot.image_sha256 == new


def test_image_changes_for_the_fetching_node_alone(entrypoint, cache, walt, readers):
    """The others still have the old image, which is fetched on by way of one of them."""
    httpd = entrypoint(cache=cache.path, vhost=hasty(walt.location))
    httpd.tolerate_log("proxy|ended short|answered with 404")
    walt.fault("boot.img", "silence", at_byte=HALF)
    first = readers(httpd, 1)
    first.await_bytes(1000)
    fleet = Fleet(httpd, 4)
    wait_until(lambda: len(walt.requests("boot.sig")) >= 9, what="the nodes' requests")
    walt.set_image("192.168.152.1", "new")
    boots = fleet.boots()
    assert all(boot.booted and boot.image_sha256 == image_digest("default", 1) for boot in boots), boots
    assert first.rest().ended == "RST"
    assert fetched(walt) <= 3, "by way of the first node, to see that its image is another one, and of the others"


def test_restart_in_the_middle(entrypoint, cache, walt):
    """SIGHUP ends all children at once: their nodes are reset, resume, and boot; no child crashes over its readers."""
    walt.set_image(mib=2)
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("ended short|proxy")
    walt.rate(MIB // 2)
    fleet = Fleet(httpd, 6)
    wait_until(lambda: [request.sent > HALF for request in walt.requests("boot.img")] == [True], what="a part of the image")
    httpd.restart()
    boots = fleet.boots()
    assert all(boot.booted for boot in boots), boots
    assert {boot.image_sha256 for boot in boots} == {image_digest("default", 2)}


@pytest.mark.parametrize("mpm", MPMS)
def test_fetching_process_is_killed(mpm, entrypoint, cache, walt):
    """-9 in the middle: another process goes on with the same file, and at most two nodes are asked to come again for that."""
    httpd = entrypoint(cache=cache.path, server=server_of(mpm), mpm=mpm)
    walt.fault("boot.img", "silence", at_byte=HALF)
    httpd.tolerate_log("ended short")
    seen = {}
    fleet = Fleet(httpd, 10 if mpm != "prefork" else 4, resuming=lambda boot: seen.setdefault(boot.node, boot.bytes))
    await_fetch(walt)
    wait_until(lambda: httpd.error_log.count("boot.sig") >= 0 and len(walt.requests("boot.sig")) >= 2 * len(fleet.threads),
               what="the nodes' requests")
    victim = fetcher(httpd)
    os.kill(victim, signal.SIGKILL)
    boots = fleet.boots()
    assert all(boot.booted and boot.resumes <= 2 for boot in boots), boots
    assert fetched(walt) == 2
    assert cache.parts() == [] and len(cache.images()) == 1


def test_killed_process_whose_node_is_gone(entrypoint, cache, walt, readers):
    """One of those who follow goes on with the fetch."""
    httpd = entrypoint(cache=cache.path, mpm="prefork")
    httpd.tolerate_log("ended short")
    walt.fault("boot.img", "silence", at_byte=HALF)
    readers(httpd, 99).await_bytes(1000)
    fleet = Fleet(httpd, 3)
    wait_until(lambda: len(walt.requests("boot.sig")) >= 7, what="the nodes' requests")
    os.kill(fetcher(httpd), signal.SIGKILL)
    boots = fleet.boots()
    assert all(boot.booted for boot in boots) and not any(boot.resumes for boot in boots), boots
    assert fetched(walt) == 2


def test_killed_and_then_all_differs(entrypoint, cache, walt, readers):
    """The node that comes back, and whose request goes on with the fetch, is sent nothing behind wrong bytes either: it starts
    over, and does not wait with that until the fetch is over."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    httpd.tolerate_log("ended short|answered with 404")
    walt.fault("boot.img", "raw", reply="HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (MIB, "." * HALF), seconds=30)
    held = [("Range", "bytes=%d-" % len(kill_half_way(httpd, readers)))]
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    reply = readers(httpd, headers=held).rest()
    assert reply.ended == "RST" and not reply.body.strip(b".")
    assert readers(httpd, headers=held).rest().status == 404
    assert readers(httpd, 8).rest().body == content()
    assert "node 192.168.152.7 (127.0.0.1) has image" not in httpd.error_log


def test_killed_before_the_first_byte(entrypoint, cache, walt, readers):
    """Of such a fetch nothing is left that could be taken for the next one: others follow that."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES, vhost=metrics.LOCATION)
    walt.fault("boot.img", "silence")
    readers(httpd, 1)
    wait_until(lambda: walt.requests("boot.img"), what="the fetch")
    os.kill(fetcher(httpd), signal.SIGKILL)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=3)
    nodes = [readers(httpd, number) for number in (2, 3)]
    for node in nodes:
        node.await_bytes(HALF - HELD_BACK)
    assert not cache.images(), "the fetch is over: nothing was shown"
    assert all(node.rest().body == content() for node in nodes)
    assert metrics.scrape(httpd).by("walt_vpn_fetches_total", "result") == {"broken": 1, "done": 1}


def test_killed_and_its_file_emptied(entrypoint, cache, walt, readers):
    """Or removed: a new file may have the number of the old one. The fetch into it has nothing of the old one either."""
    httpd = entrypoint(cache=cache.path, server=FOUR_PROCESSES)
    httpd.tolerate_log("ended short")
    walt.fault("boot.img", "silence", at_byte=HALF)
    kill_half_way(httpd, readers, 99)
    os.truncate(cache.part(image_digest("default", 1)), 0)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1)
    boots = Fleet(httpd, 6).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots


def test_graceful_restart_in_the_middle(entrypoint, cache, walt):
    """Fetch and readers of the old generation go on, and nodes that come now are readers too."""
    walt.set_image(mib=2)
    httpd = entrypoint(cache=cache.path)
    walt.rate(MIB // 2)
    fleet = Fleet(httpd, 4)
    wait_until(lambda: [request.sent > HALF for request in walt.requests("boot.img")] == [True], what="a part of the image")
    httpd.graceful()
    late = Fleet(httpd, 4, first=50)
    boots = fleet.boots() + late.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1
    wait_until(lambda: httpd.error_log.count("streamed") == 7, what="a line for each boot")


def test_resume_joins_at_its_byte(entrypoint, cache, walt, readers):
    """A node that lost its link while the fetch is under way has the next byte when it comes."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=2)
    first = readers(httpd, 1)
    first.await_bytes(1000)
    second = readers(httpd, 2, headers=[("Range", "bytes=100000-")])
    assert second.await_bytes(1000)[:1000] == content()[100000:101000]
    beyond = readers(httpd, 3, headers=[("Range", "bytes=%d-" % MIB)])
    reply = second.rest()
    assert reply.status == 206 and reply.body == content()[100000:]
    assert reply.header("Content-Range") == "bytes 100000-%d/%d" % (MIB - 1, MIB)
    assert beyond.rest().status == 404
    assert first.rest().body == content()
    assert fetched(walt) == 1


@pytest.mark.parametrize("options, status, expected", [
    (dict(method="HEAD"), 200, b""),
    (dict(headers=[("Range", "bytes=10-19")]), 206, content()[10:20]),
    (dict(headers=[("Range", "bytes=-5")]), 206, content()[-5:]),
    (dict(headers=[("Range", "bytes=0-")]), 206, content()),
    (dict(headers=[("Range", "bytes=5-"), ("If-Range", '"another"')]), 200, content()),
], ids=["HEAD", "a range", "the end", "all as a range", "If-Range"])
def test_others_wait_for_the_whole(options, status, expected, entrypoint, cache, walt, readers):
    """What is not the plain way of a node is answered from the verified file alone."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1.5)
    node = readers(httpd)
    node.await_bytes(1000)
    other = readers(httpd, 8, **options)
    node.await_bytes(HALF - HELD_BACK)
    assert not other.has_come()
    reply = other.wire.rest(head_only=options.get("method") == "HEAD")
    assert reply.status == status and reply.body == expected
    assert node.rest().body == content()


def test_conditions_are_met_while_it_is_fetched(entrypoint, cache, walt, readers):
    """If-None-Match of the very image that is on its way: 304."""
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=1)
    node = readers(httpd)
    node.await_bytes(1000)
    other = readers(httpd, 8, headers=[("If-None-Match", '"%s"' % image_digest("default", 1))])
    assert other.rest().status == 304
    assert node.rest().body == content()


def test_nobody_slows_the_fetch(entrypoint, cache, walt, readers):
    """Two nodes that read nothing at all, the fetch's own among them: the image is there all the same, and theirs later."""
    walt.set_image(mib=16)
    httpd = entrypoint(cache=cache.path)
    walt.rate(16 * MIB)
    sleepers = [readers(httpd, number) for number in (1, 2)]
    wait_until(cache.images, 30, "the image")
    for sleeper in sleepers:
        assert sleeper.rest().body == content(mib=16)
    assert fetched(walt) == 1


def test_evicted_while_it_is_sent(entrypoint, cache, walt, readers):
    """An image that is removed as soon as it is published still goes to those who began before."""
    walt.set_image(mib=8)
    httpd = entrypoint(cache=cache.path)
    walt.rate(16 * MIB)
    sleepers = [readers(httpd, number) for number in (1, 2)]
    wait_until(cache.images, 30, "the image")
    os.unlink(cache.image(cache.images()[0]))
    for sleeper in sleepers:
        assert sleeper.rest().body == content(mib=8)


@pytest.fixture
def disk_that_fills(calls):
    """Behind the first half of a MiB, as a disk without a way to reserve blocks does."""
    calls.fail("pwrite behind half a MiB", errno.ENOSPC)


@pytest.mark.parametrize("length, body", [(602, 602)], ids=["a small file"])
def test_second_try_has_another_size(length, body, entrypoint, cache, walt):
    """Nodes that were sent nothing of the first one are sent the image, not as much of it as that said."""
    httpd = entrypoint(cache=cache.path)
    httpd.tolerate_log("proxy")
    walt.fault("boot.img", "raw", reply="HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, "." * body), seconds=2)
    boots = Fleet(httpd, 4).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 2


def test_disk_fills_under_who_has_the_image(disk_that_fills, entrypoint, cache, walt, readers):
    """Its If-None-Match is answered as such, not with an image that is relayed without the guard."""
    httpd = entrypoint(cache=cache.path)
    httpd.expect_log("can't write an image in WaltVpnCacheRoot")
    walt.rate(4 * MIB)
    reply = readers(httpd, headers=[("If-None-Match", '"%s"' % image_digest("default", 1))]).rest()
    assert reply.status == 304 and not reply.body


def test_no_descriptor_to_send_it_from(calls, entrypoint, cache, walt):
    """Nodes wait for the whole image then, and do not ask again and again meanwhile."""
    calls.fail("openat of a .part to read", errno.EMFILE)
    httpd = entrypoint(cache=cache.path)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=2)
    boots = Fleet(httpd, 4).boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    wait_until(lambda: httpd.error_log.count(", waited") == 3, what="three lines about nodes that waited")


def test_disk_fills_in_the_middle(disk_that_fills, entrypoint, cache, walt, readers, node):
    """One warning; who has a part is reset and starts over, and from then on the image is relayed."""
    httpd = entrypoint(cache=cache.path)
    httpd.expect_log("can't write an image in WaltVpnCacheRoot")
    httpd.tolerate_log("ended short|answered with 404")
    walt.rate(4 * MIB)
    nodes = [readers(httpd, number) for number in (1, 2, 3)]
    for number, reader in enumerate(nodes, 1):
        reply = reader.rest()
        assert reply.body == content()[:len(reply.body)]
        assert reply.ended == "RST" if len(reply.body) < MIB else reply.status == 200
        if reply.ended == "RST":
            resumed = httpd.get(IMG % ("192-168-152-%d" % number), headers=[("Range", "bytes=%d-" % len(reply.body))])
            assert resumed.status == 404
    assert all(boot.booted for boot in Fleet(httpd, 3).boots())
    assert cache.names() == []
    assert httpd.error_log.count("can't write an image") == 1


def test_disk_is_full_for_a_moment(calls, entrypoint, cache, walt, readers, node):
    """It takes a part of what there is when the WalT server pauses, and the rest when that goes on: no byte is lost or doubled,
    neither for who is sent the image meanwhile nor for who comes when it is in the folder."""
    calls.fail("pwrite of more than a page", errno.ENOSPC)
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS)
    httpd.tolerate_log("can't write an image in WaltVpnCacheRoot")
    walt.fault("boot.img", "silence", at_byte=HALF // 2, seconds=1)
    reader = readers(httpd)
    httpd.await_log("can't write an image")
    calls.mend()
    reply = reader.rest()
    assert reply.body == content()[:len(reply.body)] and (reply.ended == "RST" or len(reply.body) == MIB)
    assert node(httpd).boot().booted


ONE_PROCESS = "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\n"


def test_readers_hold_no_thread(entrypoint, cache, walt):
    """Twenty nodes on a slow link and four threads: the rest of the server is there, and no node has to come again."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS + "AsyncRequestWorkerFactor 20")
    httpd.tolerate_log("AH00484|AH03490|AH10159")
    walt.rate(MIB // 4)
    fleet = Fleet(httpd, 20)
    wait_until(lambda: len(walt.requests("boot.sig")) >= 40, 20, "the nodes' requests")
    assert not cache.images()
    for _ in range(5):
        assert httpd.get("/walt-vpn/server", timeout=3).status == 200
    assert not cache.images(), "the fetch is over: nothing was shown"
    boots = fleet.boots()
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert fetched(walt) == 1


@pytest.mark.parametrize("pipelined", [4, 0])
def test_a_node_that_stops_keeps_no_other(pipelined, entrypoint, cache, walt, readers):
    """One that takes some of its rest and then nothing, while another one of its process takes all, whatever FlushMaxPipelined
    has httpd wait for."""
    walt.set_image(mib=48)
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.replace("4", "8") + "FlushMaxPipelined %d" % pipelined)
    httpd.tolerate_log("ended short")
    walt.rate(48 * MIB)
    readers(httpd, 1)
    wait_until(lambda: walt.requests("boot.img"), what="the fetch")
    stopping, other = readers(httpd, 2), readers(httpd, 3)
    for reader in (stopping, other):
        reader.await_bytes(1000)
    wait_until(cache.images, 30, "the image")
    stopping.await_bytes(16 * MIB)
    assert other.rest().body == content(mib=48)


def test_a_flood_keeps_no_other(calls, entrypoint, cache, walt, readers):
    """A client that has its image and sends faster than is read: another one of its process has its image all the same."""
    calls.flood("read of 512 bytes")
    walt.set_image(mib=2)
    walt.set_image("192.168.152.3", "another", 2)
    walt.set_image("192.168.152.4", "another", 2)
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS)
    walt.rate(2 * MIB)
    readers(httpd, 1).await_bytes(1000)
    flooding = readers(httpd, 2)
    flooding.await_bytes(MIB)
    readers(httpd, 3).await_bytes(1000)
    other = readers(httpd, 4)
    assert flooding.wire.reply().body == content(mib=2)
    assert len(cache.images()) == 1, "the other fetch is over: nothing was shown"
    assert other.rest().body == content("another", 2)


