"""The spec file builds an RPM in the layout of Fedora's httpd, from whose files alone httpd starts and a node boots."""

import glob
import os
import re
import shutil
import subprocess

import pytest

from httpd import PROJECT

BUILD = os.path.join(PROJECT, "conf", "rpm", "build.sh")
SPEC = os.path.join(PROJECT, "conf", "rpm", "mod_walt_vpn.spec")


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What is in the RPM, as an archive."""
    if not shutil.which("rpmbuild"):
        pytest.skip("rpmbuild is not installed (test/install rpm)")
    place = str(tmp_path_factory.mktemp("rpm"))
    done = subprocess.run([BUILD, place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout
    [package] = glob.glob(place + "/RPMS/*/mod_walt_vpn-1*.rpm")
    with open(package, "rb") as file:
        return subprocess.run(["rpm2archive", "-"], stdin=file, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def root(archive, folder):
    """A folder with that, unpacked as / would have it."""
    os.mkdir(folder + "/root")
    subprocess.run(["tar", "-xz", "-C", folder + "/root"], input=archive, check=True)
    return folder + "/root"


@pytest.mark.thorough
def test_a_node_boots_from_its_files(root, httpd, walt, node):
    """conf.modules.d, then conf.d with the example site, which ships as a document and is written two names into."""
    [example] = glob.glob(root + "/usr/share/doc/**/walt-entry.conf", recursive=True)
    site = read(example).replace("walt.lab.example.org", walt.location).replace("*:80", "*:@PORT@")
    settings = read(root, "etc/httpd/conf.d/walt_vpn.conf").replace("/var/cache", root + "/var/cache")
    ours = httpd(start=False, modules=["proxy", "proxy_http"], server_name="walt-entry.example.org",
                 vhost=site, server=read(root, "etc/httpd/conf.modules.d/10-walt_vpn.conf") + settings)
    os.symlink(glob.glob(root + "/usr/lib*/httpd/modules")[0], ours.folder + "/modules")
    if os.getuid() == 0:
        shutil.chown(root + "/var/cache/httpd/walt_vpn", "www-data")
    os.chmod(root, 0o755)
    assert os.listdir(ours.folder + "/modules") == ["mod_walt_vpn.so"] and "apache2" not in site + settings
    status, said = ours.configtest()    # on a port of the test's, which it warns of
    assert status == 0 and re.fullmatch(r"(WaltVpnServer .*: nodes ask port 80 alone, .*\n)?Syntax OK\n", said), said
    assert node(ours.start()).boot().booted
    assert len(glob.glob(root + "/var/cache/httpd/walt_vpn/*.img")) == 1


@pytest.mark.thorough
def test_it_is_loaded_after_what_it_stands_on(root, httpd, walt):
    """By the order of names that httpd reads conf.modules.d in; loaded before, it says so, and so does a httpd without proxy."""
    files = ["00-proxy.conf"] + os.listdir(root + "/etc/httpd/conf.modules.d")
    assert sorted(files) == ["00-proxy.conf", "10-walt_vpn.conf"]
    ours = httpd("WaltVpnServer " + walt.location, start=False, modules=(),
                 server=read(root, "etc/httpd/conf.modules.d/10-walt_vpn.conf"))
    os.symlink(glob.glob(root + "/usr/lib*/httpd/modules")[0], ours.folder + "/modules")
    status, said = ours.configtest()
    assert status == 1 and "write LoadModule proxy_module above LoadModule walt_vpn_module" in said


@pytest.mark.thorough
def test_its_folder_is_made_again_after_a_reboot(root):
    """Where /var/cache is in memory."""
    [line] = [line for line in read(root, "usr/lib/tmpfiles.d/walt_vpn.conf").splitlines() if not line.startswith("#")]
    assert line == "d /var/cache/httpd/walt_vpn :0700 :apache :apache -"


@pytest.mark.thorough
def test_the_command_comes_with_it(root):
    """And the manual pages."""
    done = subprocess.run([root + "/usr/bin/walt-vpn-check", "--help"], stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0 and "--node" in done.stdout
    pages = {name.split(".")[0] for name in os.listdir(root + "/usr/share/man/man1") + os.listdir(root + "/usr/share/man/man5")}
    assert pages == {"walt-vpn-check", "mod_walt_vpn", "walt_vpn"}


def test_the_two_packages_and_the_news_have_one_version():
    """That of debian/changelog, whose form is checked by dpkg."""
    version = re.match(r"mod-walt-vpn \((\S+)\)", read(PROJECT, "debian", "changelog")).group(1)
    assert re.search(r"(?m)^Version: +(\S+)$", read(SPEC)).group(1) == version
    assert re.search(r"(?m)^%changelog\n\* .* - (\S+)-1$", read(SPEC)).group(1) == version
    assert re.search(r"(?m)^(\d\S*)\n-+$", read(PROJECT, "docs", "NEWS")).group(1) == version
