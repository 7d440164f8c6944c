"""Disk full, read-only, no descriptors: one warning, nodes boot as without a cache, and caching comes back by itself."""

import errno
import fcntl
import os
import resource
import shutil
import subprocess

import pytest

import metrics
import wire
from boot_files import image_pieces
from fetches import HALF, ONE_PROCESS, CacheFolder, fetched, fill_disk
from fleet import Fleet
from processes import descriptors, wait_until
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

ROOT = os.getuid() == 0
MIB = 1 << 20
LIMITS = {resource.RLIMIT_FSIZE: "fsize", resource.RLIMIT_NOFILE: "nofile"}
TROUBLE = "images are relayed until this is mended"


def troubles(httpd):
    return httpd.error_log.count(TROUBLE)


def relayed_then_kept(httpd, cache, walt, node, words, mend, left=0):
    """A fleet boots through the trouble, with one warning, and so many files are left; after it is mended, the next image is
    kept."""
    httpd.expect_log(words + ".*" + TROUBLE)
    kept = len(cache.images())
    walt.set_image("*", "in trouble")
    assert all(boot.booted and not boot.resumes for boot in Fleet(httpd, 6).boots())
    assert node(httpd).boot().booted
    assert troubles(httpd) == 1
    assert len(cache.images()) == kept and len(cache.parts()) == left
    mend()
    walt.set_image("*", "mended")
    assert node(httpd).boot().booted
    before = fetched(walt)
    assert all(boot.booted for boot in Fleet(httpd, 6).boots())
    assert fetched(walt) == before
    assert "images are kept again" in httpd.error_log
    assert troubles(httpd) == 1 and cache.parts() == []


def limit_children(httpd, which, soft):
    """Lower what the kernel lets httpd's children have; None: raise it again. Their own user may do that."""
    become = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"] if ROOT else []
    for child in httpd.children():
        limit = "%s:" % (resource.getrlimit(which)[1] if soft is None else soft)
        subprocess.run(become + ["prlimit", "--pid", str(child), "--%s=%s" % (LIMITS[which], limit.replace("-1", "unlimited"))],
                       check=True)


def test_disk_full(entrypoint, mounted, walt, node):
    """A small file system that another file fills, and then does not; there is no image that could make room."""
    place = mounted("small", 4)
    cache = CacheFolder(place + "/images")
    httpd = entrypoint(cache=cache.path)
    filling = fill_disk(place)
    relayed_then_kept(httpd, cache, walt, node, "No space left on device.*can't make room for an image",
                      lambda: os.unlink(filling))


def test_disk_full_of_old_images(entrypoint, mounted, walt, node):
    """Long before WaltVpnCacheSize: the image that was not used for longest makes room, and nothing is said."""
    cache = CacheFolder(mounted("small", 4) + "/images")
    httpd = entrypoint(cache=cache.path)
    digests = []
    for name in ("one", "two", "three", "four", "five"):
        digests.append(walt.set_image(image=name))
        assert node(httpd).boot().booted
    assert fetched(walt) == 5 and digests[-1] in cache.images() and digests[0] not in cache.images()
    assert troubles(httpd) == 0


@pytest.mark.parametrize("error, mib, words", [
    (0, 8, "No space left on device.*can't make room for an image"),
    (errno.EDQUOT, 2, "Disk quota exceeded.*can't make room for an image"),
    (errno.EOPNOTSUPP, 8, "No space left on device.*can't write an image")], ids=["disk", "quota", "disk without fallocate"])
def test_image_larger_than_the_disk_evicts_nothing(error, mib, words, calls, entrypoint, mounted, walt, node):
    """It would not fit if all others went, so they stay. Where that is found out while it comes, its first node starts over."""
    cache = CacheFolder(mounted("small", 4) + "/images")
    httpd = entrypoint(cache=cache.path)
    httpd.expect_log(words)
    digest = walt.set_image(image="small")
    assert node(httpd).boot().booted and cache.images() == [digest]
    if error:
        calls.fail("fallocate", error)
    if error == errno.EOPNOTSUPP:
        httpd.tolerate_log("ended short|came of a fetch that failed")
    walt.set_image(image="large", mib=mib)
    boots = [node(httpd).boot() for _ in range(2)]
    assert boots[1].booted and (boots[0].booted or error == errno.EOPNOTSUPP), boots
    assert cache.images() == [digest] and cache.parts() == [] and "evicted" not in httpd.error_log


def test_no_inode_left(entrypoint, mounted, walt, node):
    """Not even a file can be made."""
    place = mounted("small", 8)
    cache = CacheFolder(place + "/images")
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    wait_until(cache.memories, what="the file that tells of the boot")
    inodes = os.statvfs(place)
    subprocess.run(["mount", "-o", "remount,nr_inodes=%d" % (inodes.f_files - inodes.f_ffree), place], check=True)
    relayed_then_kept(httpd, cache, walt, node, "No space left on device.*can't make a file",
                      lambda: subprocess.run(["mount", "-o", "remount,nr_inodes=1000", place], check=True))


def test_file_size_limit(entrypoint, cache, walt, node):
    """What ulimit -f does, too, to one who may not mount."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.replace("8", "16"))     # half of the threads may wait
    assert node(httpd).boot().booted
    limit_children(httpd, resource.RLIMIT_FSIZE, MIB // 2)
    relayed_then_kept(httpd, cache, walt, node, "File too large.*can't make room for an image",
                      lambda: limit_children(httpd, resource.RLIMIT_FSIZE, None))


def test_read_only_file_system(entrypoint, mounted, walt, node):
    """Images that are there are still sent, and not fetched."""
    place = mounted("small", 8)
    cache = CacheFolder(place + "/images")
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    wait_until(cache.memories, what="the file of boots")       # a file system with a file open for writing stays so
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    assert node(httpd).boot().booted
    assert fetched(walt) == 1 and troubles(httpd) == 0
    relayed_then_kept(httpd, cache, walt, node, "Read-only file system.*can't make a file",
                      lambda: subprocess.run(["mount", "-o", "remount,rw", place], check=True))


@pytest.mark.parametrize("mode, words", [(0o500, "can't make a file"), (0o300, "can't open the folder"),
                                         (0o400, "can't open an image"), (0, "can't open the folder")])
def test_folder_without_rights(mode, words, entrypoint, cache, walt, node):
    """Somebody changes the folder's mode under a running server, and back."""
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    os.chmod(cache.path, mode)
    relayed_then_kept(httpd, cache, walt, node, "Permission denied.*" + words, lambda: os.chmod(cache.path, 0o700))


@pytest.mark.parametrize("call, error, words, left", [
    ("flock of a file", errno.ENOLCK, "No locks available.*can't make a file", 0),
    ("flock of a folder", errno.EBADF, "Bad file descriptor.*can't make room for an image", 0),
    ("opendir", errno.EMFILE, "Too many open files.*can't make room for an image", 0)], ids=["file", "folder", "names"])
def test_calls_that_fail(call, error, words, left, calls, entrypoint, cache, walt, node):
    """A network's folder without a lock service, one that locks only what is open for writing, no descriptor for a look."""
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    calls.fail(call, error)
    relayed_then_kept(httpd, cache, walt, node, words, calls.mend, left)


def long_waits(httpd):
    found = metrics.scrape(httpd)
    return found.sum("walt_vpn_waiting_seconds_count") - found.sum("walt_vpn_waiting_seconds_bucket", le="2.5")


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_who_has_locked_the_folder_was_stopped(when, entrypoint, cache, walt, node):
    """It is waited for, for three seconds: then the image is relayed; or kept, if room was made for it before. The wait is
    counted."""
    httpd = entrypoint(cache=cache.path, vhost=metrics.LOCATION)
    assert node(httpd).boot().booted
    digest = walt.set_image("*", "another")
    if when == "in the middle":
        walt.fault("boot.img", "silence", at_byte=HALF, seconds=1)
    else:
        httpd.expect_log("Connection timed out.*can't make room for an image.*" + TROUBLE)
    lock = os.open(cache.path, os.O_RDONLY)
    try:
        if when == "before":
            fcntl.flock(lock, fcntl.LOCK_EX)
        fleet = Fleet(httpd, 1)
        if when == "in the middle":
            wait_until(lambda: cache.bytes() > MIB, what="bytes of the image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert all(boot.booted for boot in fleet.boots())
    finally:
        os.close(lock)
    assert (digest in cache.images()) == (when == "in the middle") and cache.parts() == []
    wait_until(lambda: long_waits(httpd) >= 2, what="the lock's wait and the node's to be counted")
    assert node(httpd).boot().booted and digest in cache.images()


def degraded(httpd):
    return metrics.scrape(httpd).sum("walt_vpn_cache_degraded")


def test_reading_is_over_when_images_are_read(clock, entrypoint, cache, walt, node):
    """Though none is fetched: the image of all nodes is there. Where reading fails now and then, that is said once."""
    httpd = entrypoint(cache=cache.path, vhost=metrics.LOCATION)
    httpd.expect_log("Permission denied.*can't open the folder.*" + TROUBLE)
    assert node(httpd).boot().booted
    for _ in range(3):
        os.chmod(cache.path, 0)
        assert node(httpd).boot().booted
        os.chmod(cache.path, 0o700)
        assert node(httpd).boot().booted
    assert fetched(walt) == 4 and degraded(httpd) == 1 and troubles(httpd) == 1
    clock.shift(11)
    assert node(httpd).boot().booted
    assert fetched(walt) == 4 and degraded(httpd) == 0 and httpd.error_log.count("images are kept again") == 1


def test_writing_is_not_over_when_images_are_read(clock, entrypoint, cache, walt, node):
    """That the last image is sent does not mean that the next one can be kept; whatever trouble there was before."""
    httpd = entrypoint(cache=cache.path, vhost=metrics.LOCATION)
    for words in ("can't open the folder", "can't make a file"):
        httpd.expect_log("Permission denied.*%s.*%s" % (words, TROUBLE))
    assert node(httpd).boot().booted
    os.chmod(cache.path, 0)
    assert node(httpd).boot().booted
    os.chmod(cache.path, 0o500)
    clock.shift(11)
    assert node(httpd).boot().booted
    assert degraded(httpd) == 0
    walt.set_image("192.168.152.8", "another")
    assert node(httpd, "192.168.152.8").boot().booted
    clock.shift(22)
    assert node(httpd).boot().booted
    assert fetched(walt) == 3 and degraded(httpd) == 1


def test_folder_is_gone(entrypoint, cache, walt, node):
    """Removed by a cleaner of caches, and made again by hand."""
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    owner = os.stat(cache.path)
    wait_until(cache.memories, what="the file of boots")
    shutil.rmtree(cache.path)
    httpd.expect_log("No such file or directory.*can't open the folder.*" + TROUBLE)
    assert node(httpd).boot().booted
    os.mkdir(cache.path, 0o700)
    if ROOT:
        os.chown(cache.path, owner.st_uid, owner.st_gid)
    assert node(httpd).boot().booted
    kept = fetched(walt)
    assert node(httpd).boot().booted
    assert fetched(walt) == kept and troubles(httpd) == 1


def test_contents_are_gone(entrypoint, cache, walt, node):
    """Removed files are fetched again; that is no trouble."""
    httpd = entrypoint(cache=cache.path)
    assert node(httpd).boot().booted
    os.unlink(cache.image(cache.images()[0]))
    assert node(httpd).boot().booted
    assert fetched(walt) == 2 and len(cache.images()) == 1


def test_a_file_is_gone_in_the_middle(entrypoint, cache, walt):
    """Neither is that, though another fetch makes it anew: each node has its image, and that of the second fetch is kept."""
    httpd = entrypoint(cache=cache.path, vhost=metrics.LOCATION)
    walt.fault("boot.img", "silence", at_byte=HALF, seconds=2)
    with httpd.connect() as first:
        first.send(wire.request("/walt-vpn/per-ip/192-168-0-99/boot.img", httpd.server_name))
        wait_until(lambda: len(first.buffer) > 1000 or not first.receive(), what="a part of the image")
        os.unlink(cache.part(cache.parts()[0]))
        walt.fault("boot.img", "silence", at_byte=HALF, seconds=4)
        second = Fleet(httpd, 1)
        wait_until(cache.parts, what="the file of the second fetch")
        assert len(first.rest().body) == MIB
    assert not second.results and cache.parts() and not cache.images()
    assert all(boot.booted for boot in Fleet(httpd, 2, first=10).boots() + second.boots())
    assert fetched(walt) == 2 and len(cache.images()) == 1 and not cache.parts()
    assert degraded(httpd) == 0


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_no_descriptors(warm, entrypoint, cache, walt, node):
    """With so many more descriptors than none, an accepted request gets the right bytes or a clear end; nothing hangs."""
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS)
    httpd.tolerate_log("Too many open files")
    httpd.tolerate_log("proxy|was answered with 50")
    if warm:
        assert node(httpd).boot().booted
    assert httpd.get("/").status in (200, 403, 404)     # the start's own trial connection came before it
    content = image_pieces("default", 1)[0]
    [child] = httpd.children()

    def at_rest():
        return not httpd.connected() and not any("/images" in name for name in descriptors(child).values())

    served = []
    for spare in range(8):
        # What an earlier connection still has would become spare ones.
        wait_until(at_rest, what="the end of all before")
        before = set(descriptors(child).values())
        with httpd.connect() as connection:
            connection.send(b"GET /walt-vpn/per-ip/192-168-152-7/boot.img HTTP/1.1\r\n")
            wait_until(lambda: set(descriptors(child).values()) - before, what="the connection to be accepted")
            # A new one gets the lowest free number: gaps count as spare ones.
            taken = descriptors(child)
            free = [number for number in range(max(taken) + 20) if number not in taken]
            limit_children(httpd, resource.RLIMIT_NOFILE, free[spare])
            connection.send(("Host: %s\r\n\r\n" % httpd.server_name).encode())
            reply = connection.reply()
            limit_children(httpd, resource.RLIMIT_NOFILE, None)
        assert reply.ended == "RST" or reply.status in (502, 503) or reply.body == content, reply
        served.append(reply.body == content)
    assert served[-1] and not served[0], served
    assert troubles(httpd) <= 1
    assert node(httpd).boot().booted
    assert len(cache.images()) == 1 and cache.parts() == []
    assert httpd.children() == [child]
