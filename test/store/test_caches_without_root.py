"""A server that root did not start keeps images as its own user, on every MPM."""

import os
import pwd
import stat

import pytest

from fetches import fetched
from fleet import Fleet
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

# Tests that are not run by root are this case anyhow.
USER = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def unprivileged(entrypoint, folder):
    """unprivileged(mpm): an entrypoint started by that user, with a cache folder below its ServerRoot, which is its own."""
    def make(mpm="event", start=True):
        return entrypoint(start=start, cache="images", mpm=mpm, user="nobody" if os.getuid() == 0 else "")
    return make


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_fleet(mpm, unprivileged, walt):
    """One fetch; folder and file belong to the user alone."""
    httpd = unprivileged(mpm)
    for _ in range(2):
        assert all(boot.booted for boot in Fleet(httpd, 4).boots())
    assert fetched(walt) == 1
    place = os.path.join(httpd.folder, "images")
    [name] = [name for name in os.listdir(place) if name.endswith(".img")]
    for path, mode in ((place, 0o700), (os.path.join(place, name), 0o600)):
        found = os.stat(path)
        assert stat.S_IMODE(found.st_mode) == mode
        assert pwd.getpwuid(found.st_uid).pw_name == USER


@pytest.mark.skipif(os.getuid() != 0, reason="only root can ask for another user's server")
def test_configtest_of_another_user(entrypoint, cache, node):
    """An ordinary user may check the configuration of root's server: the folder of its children is no fault."""
    assert node(entrypoint(cache=cache.path)).boot().booted
    asked = entrypoint(cache=cache.path, server="User www-data\nGroup www-data", user="nobody", start=False)
    status, words = asked.configtest()
    assert status == 0, words
