"""Fixtures: a WalT server, entrypoints in front of it, nodes; and two checks at the end of every test."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), name) for name in ("helpers", "commands")]

from boot_client import BootClient
from calls import Calls
from clock import Clock
from fetches import CacheFolder
from httpd import PROJECT, Httpd, httpd_binary, module_folder
from names import Names
from proxies import WaltVpn
from stand_in import RELEASED, WaltServer

pytest_plugins = ["pytester"]

CLONE_NEWNS = 0x00020000


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A run in which no test passed has shown nothing: it fails, even if all it did was skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and exitstatus == 0 and not session.config.option.collectonly and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture
def folder():
    """A folder that httpd's children may enter: pytest's own tmp_path is closed to them."""
    path = tempfile.mkdtemp(prefix="walt-vpn-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def running_walt():
    with WaltServer() as server:
        yield server


def pytest_generate_tests(metafunc):
    """Whatever has the marker walt_versions runs against each of the versions that it names ("make check": the first of them)."""
    marker = metafunc.definition.get_closest_marker("walt_versions")
    if marker and "walt_version" in metafunc.fixturenames:
        thorough = pytest.mark.thorough
        metafunc.parametrize("walt_version", [pytest.param(version, marks=[] if version == marker.args[0] else [thorough])
                                              for version in marker.args], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of the MPMs that a test names "make check" has the first; whole/test_works_on_every_mpm.py has all. Those of whole/ run
    first: they wait longest, and at the end nothing would run beside them."""
    items.sort(key=lambda item: not item.nodeid.startswith(("whole/", "test/whole/")))
    for item in items:
        for marker in item.iter_markers("parametrize"):
            if marker.args[0] == "mpm" and item.callspec.params["mpm"] != marker.args[1][0]:
                item.add_marker(pytest.mark.thorough)


@pytest.fixture
def walt_version(request):
    """Of WalT, which the WalT servers of the test play."""
    return getattr(request, "param", RELEASED)


@pytest.fixture
def walt(running_walt, walt_version):
    """The WalT server, with a boot.img of 1 MiB. Ends the test in failure if it came to a harm nobody announced."""
    running_walt.clear()
    running_walt.play(walt_version)
    running_walt.set_image()
    yield running_walt
    running_walt.thaw()
    dangers = running_walt.unexpected_dangers()
    running_walt.clear()
    assert not dangers, "the WalT server was harmed: %s" % dangers


@pytest.fixture
def another_walt(walt_version):
    """A second server like `walt`, for what must not, or must, go elsewhere."""
    with WaltServer(version=walt_version) as server:
        yield server


@pytest.fixture
def httpds(folder):
    """Makes instances of Httpd and its descendants, stops them in the end, and reads their error logs then."""
    made = []

    def make(kind, *arguments, **options):
        place = tempfile.mkdtemp(dir=folder)
        made.append(kind(place, *arguments, **options))
        return made[-1]

    make.made = made
    yield make
    for httpd in made:
        httpd.stop()
    objections = [line for httpd in made for line in httpd.log_objections()]
    assert not objections, "in the error log:\n%s\n\nAll of it:\n%s" % (
        "\n".join(objections), "\n".join(httpd.error_log for httpd in made))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A test that failed shows the error logs."""
    report = (yield).get_result()
    if report.failed and "httpds" in getattr(item, "funcargs", {}):
        for httpd in item.funcargs["httpds"].made:
            report.sections.append(("error log of %s" % httpd.folder, httpd.console + httpd.error_log))


@pytest.fixture
def httpd(httpds):
    """httpd(vhost, server=..., mpm=..., modules=..., start=True): a private httpd, running unless start=False."""

    def make(vhost="", start=True, **options):
        made = httpds(Httpd, vhost, **options)
        return made.start() if start else made

    return make


@pytest.fixture
def entrypoint(httpds, walt):
    """entrypoint(vhost="", server="", cache="", start=True, ...): our module in front of `walt`."""

    def make(start=True, **options):
        made = httpds(WaltVpn, walt, **options)
        return made.start() if start else made

    return make


@pytest.fixture
def cache(folder):
    """Where the entrypoint of a test may keep its images: entrypoint(cache=cache.path). It is not made yet."""
    return CacheFolder(os.path.join(folder, "images"))


@pytest.fixture
def preloaded(folder, monkeypatch):
    """preloaded(kind): a Preload in each httpd that the test starts from here on."""
    def make(kind):
        made = kind(folder)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        return made
    return make


@pytest.fixture
def clock(preloaded):
    """The clock of each httpd that the test starts from here on; see Clock."""
    return preloaded(Clock)


@pytest.fixture
def calls(preloaded):
    """What the calls of each httpd do that the test starts from here on; see Calls."""
    return preloaded(Calls)


@pytest.fixture
def names(preloaded):
    """What names stand for in each httpd that the test starts from here on; see Names."""
    return preloaded(Names)


@pytest.fixture(scope="session")
def own_mounts():
    """This process and what it starts see mounts that nobody else sees, and that end with it."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip("no mount namespace of one's own: %s" % os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@pytest.fixture
def mounted(own_mounts, folder):
    """mounted(name, mib): a file system of that size on a folder of that name, which it gives back."""
    made = []

    def mount(name, mib):
        path = os.path.join(folder, name)
        os.mkdir(path)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=755" % mib, "tmpfs", path],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if done.returncode:
            pytest.skip("no tmpfs can be mounted: %s" % done.stdout)
        made.append(path)
        return path

    yield mount
    for path in made:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def node():
    """node(entrypoint, ip="192.168.152.7", ...): a boot client; .boot() tells what became of the node."""

    def make(entrypoint, ip="192.168.152.7", **options):
        host = getattr(entrypoint, "server_name", None)
        return BootClient("127.0.0.1", entrypoint.port, ip, options.pop("http_host", host), **options)

    return make


# A resolver that knows what a test says: {name: [address, ...]}; of a name without an address, that there is no such name, and
# of None, that no name server answered; for a number it takes as many seconds.
RESOLVER = """
import socket, time
names, ask = %r, socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    addresses = names.get(host, [host])
    if isinstance(addresses, (int, float)):
        time.sleep(addresses)
    if not addresses:
        raise socket.gaierror(*((socket.EAI_AGAIN, "Temporary failure in name resolution") if addresses is None
                                else (socket.EAI_NONAME, "Name or service not known")))
    return [entry for address in addresses for entry in ask(address, *arguments, **options)]
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def check(folder):
    """check(*arguments, at=an Httpd, names={}, user=None): runs walt-vpn-check, about the entrypoints of that httpd if one is
    given; (exit status, what it said). names: what they resolve to; user: who runs it."""
    resolver = os.path.join(folder, "resolver")
    os.mkdir(resolver)

    def run(*arguments, at=None, names=None, user=None):
        with open(os.path.join(resolver, "sitecustomize.py"), "w") as file:
            file.write(RESOLVER % (names or {}))
        command, place, environment = [], os.path.join(PROJECT, "check"), dict(os.environ, PYTHONPATH=resolver)
        if user:    # for whom a project in root's home is closed, and a Python there
            place = shutil.copytree(place, os.path.join(folder, "check"))
            command = ["setpriv", "--reuid=" + user, "--clear-groups"]
            environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        command += [os.path.join(place, "walt-vpn-check"), *arguments]
        if at:
            command += ["--httpd", "%s -f %s" % (httpd_binary(), at.conf), "--modules", module_folder()]
            command += ["--port", str(at.port)]
        done = subprocess.run(command, env=environment, timeout=60, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        return done.returncode, done.stdout

    return run
