"""WaltVpnCacheRoot and WaltVpnCacheSize: what they take, what configtest refuses and why, what start-up makes."""

import os
import pwd
import shutil
import stat
import subprocess

import pytest
from fetches import CacheFolder, fetched


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
    (lambda place: place + "/images", '{parent}/ is not there either; type "mkdir -p {parent}/"', "no parent"),
    (dangling_link, "it is a link to a folder that is not there", "its disk is not mounted"),
    (below_a_file, "it can't be reached (Not a directory)", "the parent is a file"),
    (lambda place: make_folder(place, mode=0o770), 'its mode is 0770, and it must be for %s alone to write; name a '
     'folder for images alone, or, if this is one, type "chmod 700 {root}"' % CHILD, "others of the group may write"),
    (lambda place: make_folder(place, mode=0o707), "its mode is 0707", "everybody may write"),
    (lambda place: make_folder(place, mode=0o500), "its mode is 0500", "its owner may not write"),
]

REFUSED_AS_ROOT = [
    (lambda place: make_folder(place, "root"), "it belongs to root, and httpd's children run as www-data; name a folder "
     'for images alone, or, if this is one, type "chown www-data {root}"', "another user's"),
    (in_a_closed_folder, "httpd's children run as www-data and may not enter {parent}/ (Permission denied); name a "
     "folder elsewhere", "it would be made where children may not go"),
    (in_a_folder_of_the_group_root, "httpd's children run as www-data and may not enter {parent}/ (Permission denied)",
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


def test_parent_that_may_not_be_written_is_refused(entrypoint, folder):
    """A server that was not started by root can't make its folder just anywhere."""
    place = make_folder(folder + "/place", mode=0o555)
    user = "nobody" if ROOT else ""
    status, words = entrypoint(cache=place + "/images", start=False, user=user).configtest()
    assert status == 1
    assert "it can't be made in %s/ (Permission denied); name a folder elsewhere" % place in words


def test_read_only_file_system_is_refused(entrypoint, mounted):
    """Whether the folder is there or would have to be made."""
    place = mounted("place", 1)
    make_folder(place + "/images")
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    assert "its file system is read-only; name a folder elsewhere, or, if it is so for httpd alone, name this one in " \
        "ReadWritePaths= of its systemd unit" in refusal(entrypoint, place + "/images")
    assert "it can't be made in %s/ (Read-only file system)" % place in refusal(entrypoint, place + "/others")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_a_folder_that_can_be_made_by_nobody_is_refused(entrypoint):
    """Its parent looks as if it were to be written, but takes no folder."""
    words = refusal(entrypoint, "/proc/images")
    assert "it can't be made in /proc/ (" in words and "name a folder elsewhere" in words


def test_configtest_leaves_nothing(entrypoint, folder):
    """It has made the folder to see whether that works, and removed it."""
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
