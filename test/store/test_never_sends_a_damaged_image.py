"""A file in the cache folder is sent only while it is what its name says; else it is removed and fetched again."""

import os
import re
import shutil

import pytest

import metrics
from boot_files import image_digest
from fetches import fetched
from fleet import SLOW, Fleet
from processes import wait_until
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

MIB = 1 << 20
DIGEST = image_digest("default", 1)


def own(path):
    """Give a file that a test put into the folder to the folder's owner."""
    if os.getuid() == 0:
        shutil.chown(path, os.stat(os.path.dirname(path)).st_uid)


def flip(path):
    with open(path, "r+b") as file:
        file.seek(MIB // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def truncate(path):
    os.truncate(path, MIB - 1)


def empty(path):
    os.truncate(path, 0)


def lengthen(path):
    with open(path, "ab") as file:
        file.write(b"x")


def overwrite(path):
    with open(path, "r+b") as file:
        file.write(b"\0" * MIB)


def replace(path):
    """Another file takes the name, as a copying tool or a restored backup would do."""
    with open(path + ".new", "wb") as file:
        file.write(b"\0" * MIB)
    own(path + ".new")
    os.rename(path + ".new", path)


def another_image(path):
    """A whole and sound image of another name."""
    with open(path, "wb") as file:
        file.write(os.urandom(MIB))
    own(path)


def folder_in_its_place(path):
    os.unlink(path)
    os.mkdir(path)


def link_in_its_place(path):
    os.rename(path, path + ".elsewhere")
    os.symlink(path + ".elsewhere", path)


def pipe_in_its_place(path):
    os.unlink(path)
    os.mkfifo(path)
    own(path)


def unreadable(path):
    """Put there by somebody else for himself."""
    os.chmod(path, 0o600 if os.getuid() == 0 else 0)
    if os.getuid() == 0:
        os.chown(path, 0, 0)


DAMAGES = [flip, truncate, empty, lengthen, overwrite, replace, another_image]
FOREIGNERS = [folder_in_its_place, link_in_its_place, pipe_in_its_place, unreadable]


def warned(httpd, damage):
    httpd.expect_log(r"%s\.img %s: removed" % (DIGEST, "is damaged" if damage in DAMAGES else "is not a file of the cache"))


@pytest.mark.parametrize("damage", DAMAGES + FOREIGNERS)
def test_damaged_while_httpd_runs(damage, entrypoint, cache, walt, node):
    """The processes have sent the file before, and notice that it is not the same any more."""
    httpd = entrypoint(cache=cache.path)
    assert all(boot.booted for boot in Fleet(httpd, 4).boots())
    damage(cache.image(DIGEST))
    warned(httpd, damage)
    assert all(boot.booted and boot.resumes == 0 for boot in Fleet(httpd, 4).boots())
    assert fetched(walt) == 2
    assert cache.parts() == [] and cache.images() == [DIGEST]
    assert os.path.isfile(cache.image(DIGEST)) and not os.path.islink(cache.image(DIGEST))


@pytest.mark.parametrize("damage", DAMAGES + FOREIGNERS)
def test_damaged_while_httpd_was_down(damage, entrypoint, cache, walt, node):
    """A new server trusts nothing that it finds."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    before.stop()
    damage(cache.image(DIGEST))
    httpd = entrypoint(cache=cache.path)
    warned(httpd, damage)
    assert node(httpd).boot().booted
    assert node(httpd).boot().booted
    assert fetched(walt) == 2


def test_damaged_while_it_is_sent(entrypoint, cache, walt):
    """A node that is being sent a file when it is cut short loses its link, resumes, and gets the rest of a sound one."""
    httpd = entrypoint(cache=cache.path, server="SendBufferSize 65536", vhost=metrics.LOCATION)
    digest = walt.set_image("*", "large", 8)
    assert all(boot.booted for boot in Fleet(httpd, 2).boots())
    fleet = Fleet(httpd, 4, rate=SLOW)
    wait_until(lambda: len(re.findall(r'boot.img HTTP/1.1" 200', httpd.access_log)) == 2
               and metrics.scrape(httpd).sum("walt_vpn_downloads_running") == 4, what="four downloads under way")
    os.truncate(cache.image(digest), MIB)
    httpd.expect_log(r"%s\.img is damaged: removed" % digest)
    fleet.hurry()
    boots = fleet.boots()
    assert all(boot.booted for boot in boots), boots
    assert any(boot.resumes for boot in boots)


def test_dropped_in_by_hand(entrypoint, cache, walt, node):
    """A sound image that the administrator copied into the folder is taken as it is."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    shutil.copy(cache.image(DIGEST), cache.path + ".copy")
    os.unlink(cache.image(DIGEST))
    shutil.copy(cache.path + ".copy", cache.image(DIGEST))
    os.chmod(cache.image(DIGEST), 0o644)
    assert node(before).boot().booted
    assert fetched(walt) == 1


def test_known_under_another_name(entrypoint, cache, walt, node):
    """A file that a process has found sound is nothing it knows when it bears the name of another image."""
    httpd = entrypoint(cache=cache.path, server="StartServers 1\nServerLimit 1\nMinSpareThreads 1\nMaxSpareThreads 30\n"
                       "MaxRequestWorkers 25")
    assert node(httpd).boot().booted
    other = walt.set_image("*", "other", 1)
    os.link(cache.image(DIGEST), cache.image(other))
    httpd.expect_log(r"%s\.img is damaged: removed" % other)
    assert node(httpd).boot().image_sha256 == other
    assert cache.images() == sorted([DIGEST, other])


def test_every_process_looks_once(entrypoint, cache, walt, node):
    """The digest is computed once by a process for each file, not for each node: by what it reads from the disk."""
    httpd = entrypoint(cache=cache.path, mpm="prefork", server="StartServers 1\nMinSpareServers 1\nMaxSpareServers 1\nServerLimit 1\n"
                       "MaxRequestWorkers 1")
    walt.set_image("*", "large", 16)
    assert node(httpd).boot().booted
    httpd.tolerate_log("AH00161: server reached MaxRequestWorkers")
    old = httpd.children()
    httpd.graceful()
    wait_until(lambda: httpd.children() and not set(old) & set(httpd.children()), what="a new child")

    def bytes_read():
        total = 0
        for child in httpd.children():
            with open("/proc/%d/io" % child) as io:
                total += int(io.readline().split()[1])
        return total

    before = bytes_read()
    assert node(httpd).boot().booted
    after_first = bytes_read()
    assert node(httpd).boot().booted
    after_second = bytes_read()
    # sendfile counts as reading once; looking at the digest, as reading it once more.
    assert after_first - before > after_second - after_first + 15 * MIB
