"""debian/ beside the rest of the project: what would drift apart unseen."""

import os
import re
import subprocess

from httpd import PROJECT

# Groups of test/packages that the package's build uses; the first needs no <!nocheck>.
BUILD, CHECK = ("build",), ("run", "test")

# Debian takes these for granted on a machine that builds packages.
ESSENTIAL = {"gcc", "libc6-dev"}


def read(*path):
    with open(os.path.join(PROJECT, *path)) as file:
        return file.read()


def listed(groups):
    """The packages of these groups of test/packages."""
    lines = [line.split() for line in read("test", "packages").splitlines() if line and not line.startswith("#")]
    return {line[1] for line in lines if line[0] in groups} - ESSENTIAL


def build_depends():
    """{package: it is needed for the tests only} of debian/control."""
    field = re.search(r"(?ms)^Build-Depends:(.*?)^\S", read("debian", "control")).group(1)
    items = [item.strip() for item in field.split(",")]
    return {item.split()[0]: item.endswith("<!nocheck>") for item in items}


def test_build_depends_are_the_packages_that_the_makefile_installs():
    """A package build gets what "make check" gets, and a build without tests does not wait for the tests' needs."""
    needed = build_depends()
    assert {package for package, nocheck in needed.items() if nocheck} == listed(CHECK)
    assert {package for package, nocheck in needed.items() if not nocheck} - {"debhelper-compat", "dh-apache2"} == listed(BUILD)


def test_purging_removes_what_the_module_keeps(entrypoint, walt, cache, node, folder):
    """Where the administrator has linked another place, that stays with what is his. It tells where nodes booted from."""
    ours = entrypoint(cache=cache.path)
    assert node(ours).boot().booted
    ours.stop()
    assert cache.images() and cache.memories()
    link, own = os.path.join(folder, "link"), os.path.join(cache.path, "own")
    os.symlink(cache.path, link)
    with open(own, "w"):
        pass
    script = read("debian", "libapache2-mod-walt-vpn.postrm").replace("/var/cache/apache2/walt_vpn", link)
    script = script.replace("/usr/share/apache2/", "/nowhere/")
    subprocess.run(["sh", "-s", "purge"], input=script, universal_newlines=True, check=True)
    assert not os.path.lexists(link) and os.listdir(cache.path) == ["own"]
