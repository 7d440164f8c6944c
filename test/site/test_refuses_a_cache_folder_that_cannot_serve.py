"""WaltVpnCacheRoot and WaltVpnCacheSize: what they take, what configtest refuses or warns of and why, what start-up makes."""

import os
import pwd
import re
import shutil
import stat
import subprocess

import pytest
from fetches import CacheFolder, fetched
from preload import Preload


ROOT = os.getuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root may give files away and start children as another user")

# Children run as this user.
CHILD = "www-data" if ROOT else pwd.getpwuid(os.getuid()).pw_name


def owned(path, user=CHILD, mode=0o700):
    os.chmod(path, mode)
    if ROOT:
        shutil.chown(path, user)
    return path


def make_file(place):
    open(place, "w").close()
    return place


def make_folder(place, user=CHILD, mode=0o700):
    os.mkdir(place)
    return owned(place, user, mode)


def below_a_file(place):
    return make_file(place) + "/images"


def dangling_link(place):
    os.symlink(place + "-on-a-disk", place)
    return place


def in_a_closed_folder(place):
    return make_folder(place, "root", 0o700) + "/images"


def in_a_folder_of_the_group_root(place):
    return make_folder(place, "root", 0o750) + "/images"


def below_a_closed_folder(place):
    return make_folder(in_a_closed_folder(place))


REFUSED = [
    (make_file, "it is not a folder; name one, or a path where nothing is", "a file stands there"),
    (below_a_file, "it can't be reached (Not a directory)", "the parent is a file"),
    (lambda place: make_folder(place, mode=0o770), 'its mode is 0770, and it must be for %s alone to write; name a '
     'folder for images alone, or, if this is one, type "chmod 700 {root}"' % CHILD, "others of the group may write"),
    (lambda place: make_folder(place, mode=0o707), "its mode is 0707", "everybody may write"),
    (lambda place: make_folder(place, mode=0o500), "its mode is 0500", "its owner may not write"),
]

REFUSED_AS_ROOT = [
    (lambda place: make_folder(place, "root"), "it belongs to root, and httpd's children run as www-data; name a folder "
     'for images alone, or, if this is one, type "chown www-data {root}"', "another user's"),
    (in_a_closed_folder, "httpd's children run as www-data and may not enter {parent} (Permission denied); name a "
     "folder elsewhere", "it would be made where children may not go"),
    (in_a_folder_of_the_group_root, "httpd's children run as www-data and may not enter {parent} (Permission denied)",
     "its parent is open to a group that is root's, and not the children's"),
    (below_a_closed_folder, "httpd's children run as www-data and may not enter it (Permission denied)",
     "it is where children may not go"),
]


@pytest.fixture
def groups_of_a_login():
    """root's own group, as in a shell: what is started has it too."""
    groups = os.getgroups()
    os.setgroups([0])
    yield
    os.setgroups(groups)


def refusal(entrypoint, root):
    """What configtest says of this WaltVpnCacheRoot; it must refuse it."""
    status, words = entrypoint(cache=root, start=False).configtest()
    assert status == 1, words
    assert "WaltVpnCacheRoot %s (" % root in words and "httpd.conf:" in words
    return words


@pytest.mark.parametrize("make, words, reason", REFUSED, ids=[row[2] for row in REFUSED])
def test_folder_is_refused(make, words, reason, entrypoint, folder):
    """One sentence names the directive, its place, what is wrong and what to type."""
    root = make(folder + "/place")
    assert words.format(root=root, parent=folder + "/place") in refusal(entrypoint, root)


@needs_root
@pytest.mark.parametrize("make, words, reason", REFUSED_AS_ROOT, ids=[row[2] for row in REFUSED_AS_ROOT])
def test_folder_that_children_cannot_use_is_refused(make, words, reason, entrypoint, folder, groups_of_a_login):
    """root may do everything: it is the children's rights that are looked at."""
    root = make(folder + "/place")
    assert words.format(root=root, parent=folder + "/place") in refusal(entrypoint, root)


def test_read_only_file_system_is_refused(entrypoint, mounted):
    """If the folder is there; else see below."""
    place = mounted("place", 1)
    make_folder(place + "/images")
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    assert "its file system is read-only; name a folder elsewhere, or, if it is so for httpd alone, name this one in " \
        "ReadWritePaths= of its systemd unit" in refusal(entrypoint, place + "/images")


def read_only(place, mounted):
    path = mounted("disk", 4)
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    return path + "/cache/images"


MISSING = [
    (lambda place, mounted: dangling_link(place), "it is a link to a folder that is not there, so that images are relayed; make "
     "that folder, or mount its disk", "its disk is not mounted"),
    (read_only, "it is not there and can't be made in {above} (Read-only file system), so that images are relayed; mend that and "
     'type "install -d -o %s -m 700 {root}", or name a folder elsewhere' % CHILD, "its disk is read-only"),
    (lambda place, mounted: make_folder(place, "nobody", 0o755) + "/images", "can't be made in {above} (Permission denied)",
     "in a folder of somebody else's"),
]


def warnings(httpd):
    return [line for line in httpd.warnings() if "CacheRoot" in line]


def start_saying(httpd, words):
    httpd.expect_log(re.escape(words))
    return httpd.start()


@needs_root
@pytest.mark.parametrize("make, words, reason", MISSING, ids=[row[2] for row in MISSING])
def test_missing_folder_costs_the_cache_alone(make, words, reason, entrypoint, folder, mounted, node, walt):
    """httpd starts, with a warning; nodes boot without it, and from it once it is there."""
    root = make(folder + "/place", mounted)
    above = os.path.dirname(root) if os.path.isdir(os.path.dirname(root)) else os.path.dirname(os.path.dirname(root))
    words = words.format(root=root, above=above)
    httpd = entrypoint(cache=root, start=False)
    said, = warnings(httpd)
    assert said.startswith("WaltVpnCacheRoot %s (" % root) and "httpd.conf:" in said and words in said
    assert not os.path.exists(root)
    httpd.expect_log("can't open the folder in WaltVpnCacheRoot")
    start_saying(httpd, words)
    assert node(httpd).boot().booted and fetched(walt) == 1
    if "read-only" in reason:
        subprocess.run(["mount", "-o", "remount,rw", above], check=True)
    install = ["install", "-d", "-o", CHILD, "-m", "700"]
    subprocess.run(install + [os.path.realpath(root)], check=True)
    assert all(node(httpd).boot().booted for _ in range(2))
    assert fetched(walt) == 2 and CacheFolder(root).images()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_a_folder_that_nobody_can_make_is_missing(entrypoint, node):
    """Its parent looks as if it were to be written, but takes no folder."""
    httpd = entrypoint(cache="/proc/images", start=False)
    httpd.expect_log("can't open the folder in WaltVpnCacheRoot")
    assert node(start_saying(httpd, "it is not there and can't be made in /proc (")).boot().booted


def test_missing_parents_are_made(entrypoint, folder, node):
    """As after a reboot with /var/cache in memory; for all to enter, whatever the umask."""
    root = folder + "/cache/apache2/images"
    httpd = entrypoint(cache=root, start=False)
    assert warnings(httpd) == [] and not os.path.exists(folder + "/cache")
    before = os.umask(0o077)
    try:
        httpd.start()
    finally:
        os.umask(before)
    assert node(httpd).boot().booted and CacheFolder(root).images()
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o700 and pwd.getpwuid(os.stat(root).st_uid).pw_name == CHILD
    for parent in (folder + "/cache", folder + "/cache/apache2"):
        assert stat.S_IMODE(os.stat(parent).st_mode) == 0o755 and os.stat(parent).st_uid == os.getuid()


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
@pytest.mark.parametrize("path", ["images", "cache/images"])
def test_folder_is_made_in_one_of_the_childrens(path, mode, entrypoint, folder, node):
    """As Fedora's /var/cache/httpd is; by them, so that all that is made is theirs."""
    place = make_folder(folder + "/place", mode=mode)
    root = os.path.join(place, path)
    assert node(entrypoint(cache=root)).boot().booted
    assert (pwd.getpwuid(os.stat(root).st_uid).pw_name, stat.S_IMODE(os.stat(root).st_mode)) == (CHILD, 0o700)
    top = os.stat(os.path.join(place, path.split("/")[0]))
    assert pwd.getpwuid(top.st_uid).pw_name == CHILD and not top.st_mode & 0o022


class Planter(Preload):
    """Puts a link to what it is told in the place of each folder that is made, as a child of httpd's may that has the parent."""

    VARIABLE = "PLANTER_IS_TOLD"
    SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int plant(int at, const char *name, int made)
{
    char target[4096] = "";
    int fd = open(getenv("PLANTER_IS_TOLD"), O_RDONLY);

    if (made == 0 && fd >= 0 && read(fd, target, sizeof(target) - 1) > 0 && unlinkat(at, name, AT_REMOVEDIR) == 0)
        symlinkat(target, at, name);
    close(fd);
    return made;
}

int mkdir(const char *name, mode_t mode)
{
    return plant(AT_FDCWD, name, ((int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir"))(name, mode));
}

int mkdirat(int at, const char *name, mode_t mode)
{
    return plant(at, name, ((int (*)(int, const char *, mode_t))dlsym(RTLD_NEXT, "mkdirat"))(at, name, mode));
}
"""


@needs_root
@pytest.mark.parametrize("user", [CHILD, "root"])
def test_what_a_link_leads_to_is_never_given_away(user, entrypoint, folder, preloaded, node):
    """Who puts it there at the very moment wins nothing: root's folder stays root's."""
    victim = make_folder(folder + "/victim", "root", 0o755)
    root = make_folder(folder + "/place", user, 0o755) + "/images"
    preloaded(Planter).tell(victim)
    httpd = entrypoint(cache=root, start=False)
    httpd.expect_log("in WaltVpnCacheRoot")
    httpd.tolerate_log("can't be made in")
    httpd.start()
    assert os.path.islink(root) and os.stat(victim).st_uid == 0
    assert node(httpd).boot().booted and os.stat(victim).st_uid == 0 and not os.listdir(victim)


def test_configtest_leaves_nothing(entrypoint, folder):
    """It looks whether the folder can be made."""
    status, words = entrypoint(cache=folder + "/images", start=False).configtest()
    assert status == 0 and not os.path.exists(folder + "/images"), words


@pytest.mark.parametrize("line, words", [
    ("WaltVpnCacheSize 0", 'WaltVpnCacheSize "0": write a number of bytes greater than zero'),
    ("WaltVpnCacheSize -1", 'WaltVpnCacheSize "-1": write a number'),
    ("WaltVpnCacheSize 1T", 'WaltVpnCacheSize "1T": write a number'),
    ("WaltVpnCacheSize 1Gb", 'WaltVpnCacheSize "1Gb": write a number'),
    ("WaltVpnCacheSize much", 'WaltVpnCacheSize "much": write a number'),
    ("WaltVpnCacheSize 9223372036854775807K", 'WaltVpnCacheSize "9223372036854775807K": write a number'),
    ("WaltVpnCacheSize 1G 2G", "WaltVpnCacheSize takes one argument"),
    ("WaltVpnCacheRoot", "WaltVpnCacheRoot takes one argument"),
    ("<Location />\nWaltVpnCacheRoot @DIR@/x\n</Location>", "it stands inside <Location>"),
    ("<Directory />\nWaltVpnCacheSize 1M\n</Directory>", "it stands inside <Directory>"),
])
def test_value_is_refused(line, words, entrypoint):
    """The rule is in the message."""
    status, said = entrypoint(vhost=line, start=False).configtest()
    assert status == 1
    assert words in said


@pytest.mark.parametrize("size", ["1", "1000", "512K", "16m", "16M", "8G", "1g"])
def test_size_is_taken(size, entrypoint, cache):
    """Bytes, or K, M and G in either case."""
    assert entrypoint(cache=cache.path, server="WaltVpnCacheSize %s" % size, start=False).configtest()[0] == 0


def test_configtest_makes_nothing(entrypoint, cache):
    """It may be asked by anybody at any time."""
    assert entrypoint(cache=cache.path, start=False).configtest()[0] == 0
    assert not os.path.exists(cache.path)


@pytest.mark.parametrize("path", ["{}", "{}/", "{}//"])
def test_folder_is_made_for_the_children_alone(path, entrypoint, cache, node):
    """Mode 0700, owned by who the children run as, however the path is spelt."""
    assert node(entrypoint(cache=path.format(cache.path))).boot().booted
    made = os.stat(cache.path)
    assert stat.S_IMODE(made.st_mode) == 0o700
    assert pwd.getpwuid(made.st_uid).pw_name == CHILD
    image = os.stat(cache.image(cache.images()[0]))
    assert stat.S_IMODE(image.st_mode) == 0o600 and image.st_uid == made.st_uid


def test_relative_path_is_below_the_server_root(entrypoint, node):
    """As with every other path in httpd's configuration."""
    httpd = entrypoint(cache="pictures")
    assert node(httpd).boot().booted
    assert len(CacheFolder(httpd.folder + "/pictures").images()) == 1


def test_images_outlast_the_server(entrypoint, cache, node, walt):
    """What was fetched before a stop is sent after a start, and the folder is left as it is."""
    before = entrypoint(cache=cache.path)
    assert node(before).boot().booted
    before.stop()
    os.chmod(cache.path, 0o755)
    assert node(entrypoint(cache=cache.path)).boot().booted
    assert fetched(walt) == 1
    assert stat.S_IMODE(os.stat(cache.path).st_mode) == 0o755


HOSTS = """
<VirtualHost *:@PORT@>
ServerName entrypoint.example.org
WaltVpnServer {walt}
{first}
</VirtualHost>
<VirtualHost *:@PORT@>
ServerName other.example.org
WaltVpnServer {walt}
{second}
</VirtualHost>
"""


@pytest.mark.parametrize("first, second, asked, reason", [
    ("", "", 1, "both inherit the folder, and share what is in it"),
    ("WaltVpnCacheRoot none", "", 3, "one says none, and relays each time"),
    ("WaltVpnCacheRoot @DIR@/../own", "", 2, "one has a folder of its own"),
    ("WaltVpnCacheSize 4K", "", 5, "one may not keep an image of 1 MiB: each time it asks, looks at the size, and relays"),
])
def test_settings_are_inherited_and_overridden(first, second, asked, reason, entrypoint, cache, node, walt):
    """Said once for all servers, and again where one differs: the first host boots two nodes, the second one."""
    httpd = entrypoint(cache=cache.path, start=False)
    if "4K" in first:
        httpd.expect_log("larger than WaltVpnCacheSize 4096")
    httpd.vhost = HOSTS.format(walt=walt.location, first=first, second=second)
    httpd.start()
    for host in ("entrypoint.example.org", "entrypoint.example.org", "other.example.org"):
        assert node(httpd, http_host=host).boot().booted
    assert fetched(walt) == asked
