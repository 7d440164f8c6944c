"""What each node last took is known after httpd was stopped and started: a small file beside the images tells it."""

import os
import signal

import pytest

import status_page
from fleet import Fleet
from processes import wait_until


@pytest.fixture
def watched(entrypoint, cache):
    """watched(...): another start of the same entrypoint, whose site has a status page."""

    def make(**options):
        return entrypoint(vhost=status_page.LOCATION, cache=cache.path, modules=status_page.MODULES, **options)

    return make


def last_boots(httpd):
    return status_page.look(httpd, "?node=")[0].tables["Last boots"]


def boot(httpd, count, first=1):
    """The rows of the page, once so many nodes are through."""
    before = len(last_boots(httpd))
    assert all(boot.booted for boot in Fleet(httpd, count, first=first).boots())
    wait_until(lambda: len(last_boots(httpd)) == before + count, what="the boots on the page")
    return last_boots(httpd)


@pytest.mark.parametrize("graceful", [False, True], ids=["at once", "gracefully"])
@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_stopped_and_started(watched, mpm, graceful):
    """Every column is as it was, and the next boots join them."""
    first = watched(mpm=mpm)
    rows = boot(first, 5)
    first.settle()
    first.stop(graceful=graceful)
    second = watched(mpm=mpm)
    assert sorted(last_boots(second), key=str) == sorted(rows, key=str)
    boot(second, 2, first=11)


def test_a_download_that_ended_short(watched, node):
    """Is remembered as such, and its resume goes on in its line."""
    first = watched(mpm="prefork")
    with first.connect() as leaves:
        leaves.send(b"GET /walt-vpn/per-ip/192-168-152-7/boot.img HTTP/1.1\r\nHost: %s\r\n\r\n" % first.server_name.encode())
        leaves.receive()
    wait_until(lambda: last_boots(first), what="the end of the download")
    rows = last_boots(first)
    first.stop()
    second = watched()
    assert last_boots(second) == rows
    assert node(second).boot().booted
    wait_until(lambda: last_boots(second)[0]["Result"] == "cached", what="the boot")


def test_killed(watched, cache):
    """What was written is there, though nobody could say goodbye: the first boot, and later ones once a minute."""
    first = watched()
    rows = boot(first, 1)
    file, = cache.memories()
    path = os.path.join(cache.path, file)
    written = os.stat(path)
    boot(first, 4, first=2)
    assert os.stat(path).st_ino == written.st_ino and os.stat(path).st_mtime_ns == written.st_mtime_ns
    # The parent first, or it would make new children.
    processes = [first.process.pid, *first.children()]
    for process in processes:
        os.kill(process, signal.SIGKILL)
    first.process.wait()
    assert last_boots(watched()) == rows


# What conf/examples/systemd leaves httpd's root.
CONFINED = ["setpriv", "--bounding-set=-all,+net_bind_service,+setuid,+setgid,+kill,+chown", "--inh-caps=-all"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has what can be taken from it")
def test_confined_as_the_example_says(watched):
    """A root that may not read what is the children's alone."""
    first = watched()
    rows = boot(first, 3)
    first.stop()
    second = watched(start=False)
    command = second.command
    second.command = lambda *options: CONFINED + command(*options)
    assert last_boots(second.start()) == rows


def test_a_file_that_cannot_be_read(watched, cache):
    """That is said, with the reason."""
    first = watched()
    boot(first, 1)
    first.stop()
    file, = cache.memories()
    path = os.path.join(cache.path, file)
    os.rename(path, path + ".away")
    os.symlink(path + ".away", path)
    second = watched()
    second.expect_log("Too many levels of symbolic links: .*can't read %s: which nodes booted before this start" % path)
    assert not last_boots(second)


def test_whose_file_it_is(watched, cache):
    """That of the user that children run as, like the folder; and it is small."""
    ours = watched()
    boot(ours, 40)
    ours.stop()
    file, = cache.memories()
    state = os.stat(os.path.join(cache.path, file))
    assert state.st_uid == os.stat(cache.path).st_uid and state.st_mode & 0o777 == 0o600 and 1000 < state.st_size < 20000


def damage(path, how):
    with open(path, "rb") as file:
        text = file.read()
    if how == "a folder":
        os.unlink(path)
        os.mkdir(path)
        return
    with open(path, "wb") as file:
        file.write({"empty": b"", "cut": text[:-30], "a row less": text[:48] + text[48 + (len(text) - 48) // 3:],
                    "changed": text.replace(b"192.168", b"192.169", 1), "not ours": b"x" * 4096, "zeros": bytes(len(text)),
                    "too large": text, "another layout": text[:24] + b"\xff" + text[25:],
                    "version 1.1": b"mod_walt_vpn boots 1\n192.168.0.1 127.0.0.1 - 1 0 0 1 1 0 1 1\nend 0123456789abcdef\n"}[how])
    if how == "too large":
        os.truncate(path, 1 << 40)


@pytest.mark.parametrize("how", ["empty", "cut", "a row less", "changed", "not ours", "zeros", "too large", "a folder",
                                 "another layout", "version 1.1"])
def test_a_damaged_file(watched, cache, how):
    """One warning, but none of another version's file; nothing remembered, everything else as ever."""
    is_others = how in ("another layout", "version 1.1")
    first = watched()
    boot(first, 3)
    first.stop()
    file, = cache.memories()
    path = os.path.join(cache.path, file)
    damage(path, how)
    second = watched()
    if not is_others:
        second.expect_log("is damaged: which nodes booted before this start is not known")
    assert not last_boots(second)
    boot(second, 1, first=9)
    assert second.error_log.count("is damaged") == (0 if is_others else 1)
    second.stop()
    if how == "a folder":
        os.rmdir(path)
    else:
        assert len(last_boots(watched())) == 1, "the next boot has mended it"


def test_without_a_folder(entrypoint, folder):
    """Nothing is written anywhere, and nothing is remembered."""
    ours = entrypoint(vhost=status_page.LOCATION, modules=status_page.MODULES)
    boot(ours, 1)
    ours.stop()
    assert not [name for _, _, names in os.walk(folder) for name in names if name.startswith("boots.")]
    assert not last_boots(entrypoint(vhost=status_page.LOCATION, modules=status_page.MODULES))


def test_two_entrypoints_in_one_folder(httpd, walt, cache):
    """Each remembers its own."""
    sites = "".join("""
        <VirtualHost *:@PORT@>
            ServerName %s.example.org
            WaltVpnServer %s
            %s
        </VirtualHost>""" % (name, walt.location, status_page.LOCATION) for name in ("one", "two"))

    def start():
        return httpd(sites, server="WaltVpnCacheRoot " + cache.path, modules=status_page.MODULES)

    def remembered(ours):
        ours.server_name = "one.example.org"
        return {page.name: [row["Node"] for row in page.tables["Last boots"]] for page in status_page.look(ours)}

    first = start()
    for name, ip in (("one", "192.168.0.1"), ("two", "192.168.0.2")):
        first.server_name = name + ".example.org"
        assert Fleet(first, [ip]).boots()[0].booted
    expected = {"one.example.org": ["192.168.0.1"], "two.example.org": ["192.168.0.2"]}
    wait_until(lambda: remembered(first) == expected, what="the boots on the page")
    first.stop()
    assert remembered(start()) == expected and len(cache.memories()) == 2
