"""`make run`: shows that the entrypoint works, stays until Ctrl-C, leaves nothing behind."""

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys

import pytest

import processes
import wire
from httpd import PROJECT, our_module

RUN = os.path.join(PROJECT, "test", "commands", "run.py")


class Run:
    """A `make run` under way; its own temporary folder shows what it leaves behind."""

    def __init__(self, folder, command, user=None):
        self.temporary = os.path.join(folder, "tmp")
        os.mkdir(self.temporary)
        os.chmod(self.temporary, 0o1777)
        self.output_path = os.path.join(folder, "output")
        environment = dict(os.environ, TMPDIR=self.temporary, PYTHONDONTWRITEBYTECODE="1")
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
            environment.pop(name, None)
        with open(self.output_path, "wb") as output:
            options = {"preexec_fn": as_user(user)} if user else {}
            start = subprocess.Popen if user else processes.spawn
            if user:
                options["start_new_session"] = True
            self.process = start(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                 cwd=PROJECT, **options)

    @property
    def output(self):
        with open(self.output_path) as output:
            return output.read()

    def await_output(self, pattern, seconds=60):
        try:
            processes.wait_until(lambda: re.search(pattern, self.output) or self.process.poll() is not None, seconds)
        except TimeoutError:
            pass
        assert re.search(pattern, self.output), self.output

    def family(self, pid=None):
        """Every process below it."""
        below = processes.children(pid or self.process.pid)
        return below + [process for child in below for process in self.family(child)]

    def interrupt(self, number=signal.SIGINT):
        """Ctrl-C reaches the whole foreground process group."""
        assert self.process.poll() is None, self.output
        family = self.family()
        os.killpg(self.process.pid, number)
        self.process.wait(30)
        processes.wait_until(lambda: not [pid for pid in family if os.path.exists("/proc/%d" % pid)], 5, "the end of all of it")
        assert os.listdir(self.temporary) == []


def as_user(user):
    entry = pwd.getpwnam(user)

    def become():
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    return become


@pytest.fixture
def run(folder):
    runs = []

    def make(*command, **options):
        runs.append(Run(folder, command, **options))
        return runs[-1]

    yield make
    for made in runs:
        processes.end(made.process)


def assert_it_worked(run, port, fqdn="walt.example.org"):
    run.await_output("until Ctrl-C:\n(.*\n){3}")
    assert "warns" not in run.output and "-> try" not in run.output
    assert "$ curl http://localhost:%d/walt-vpn/server\n%s\n" % (port, fqdn) in run.output
    assert re.search(r"node 192\.168\.152\.7: booted \(\d+ bytes, 0 resumes", run.output)
    assert '"GET /walt-vpn/per-ip/192-168-152-7/boot.img HTTP/1.1" 200' in run.output
    assert wire.exchange(port, wire.request("/walt-vpn/server?again", "localhost:%d" % port)).body.decode() == fqdn + "\n"
    run.await_output(r'"GET /walt-vpn/server\?again HTTP/1.1" 200')


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.skipif(our_module() != os.path.join(PROJECT, "mod_walt_vpn.so"), reason="another module is under test")
def test_make_run(run):
    """The command itself, and Ctrl-C."""
    port = processes.free_port()
    made = run("make", "run", "PORT=%d" % port)
    assert_it_worked(made, port)
    made.interrupt()
    assert made.output.rstrip().endswith(("Ended.", "Interrupt"))


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.skipif(our_module() != os.path.join(PROJECT, "mod_walt_vpn.so"), reason="another module is under test")
@pytest.mark.parametrize("version, kind, other", [("released", "text/html", "coming"),
                                                  ("coming", "application/pgp-signature", "released")])
def test_says_which_version_of_walt_it_stands_in_front_of(version, kind, other, run):
    port = processes.free_port()
    made = run("make", "run", "PORT=%d" % port, *(["WALT_VERSION=coming"] if version == "coming" else []))
    assert_it_worked(made, port)
    assert re.search(r"\nThat is a stand-in, which plays the %s version of WalT \(.*\);\nmake run WALT_VERSION=%s plays the other\."
                     r"\n" % (version, other), made.output)
    reply = wire.exchange(port, wire.request("/walt-vpn/per-ip/192-168-152-7/boot.sig", "localhost:%d" % port))
    assert reply.header("Content-Type").startswith(kind)
    made.interrupt()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_leaves_nothing_behind(number, run):
    """However it is ended."""
    port = processes.free_port()
    made = run(sys.executable, RUN, "--port", str(port))
    assert_it_worked(made, port)
    made.interrupt(number)
    assert made.process.returncode == 0 and made.output.endswith("\nEnded.\n")


def test_leaves_nothing_behind_when_it_is_stopped_early(run):
    """Ctrl-C before it is up."""
    made = run(sys.executable, RUN, "--port", str(processes.free_port()))
    processes.wait_until(lambda: made.family() or made.process.poll() is not None)
    made.interrupt()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be somebody else")
def test_without_root(run, folder):
    """An ordinary user may do it, too."""
    nobody = pwd.getpwnam("nobody")
    if not can_read(nobody, RUN) or not can_read(nobody, our_module()):
        copy = os.path.join(folder, "project")      # the checkout is in root's own home
        os.mkdir(copy)
        for name in ("test", "conf"):
            shutil.copytree(os.path.join(PROJECT, name), os.path.join(copy, name), ignore=shutil.ignore_patterns(".cache"))
        shutil.copy(our_module(), os.path.join(copy, "mod_walt_vpn.so"))
        script = os.path.join(copy, os.path.relpath(RUN, PROJECT))
        command = ["env", "-u", "MOD_WALT_VPN", sys.executable, script]
    else:
        command = [sys.executable, RUN]
    port = processes.free_port()
    made = run(*command, "--port", str(port), user="nobody")
    assert_it_worked(made, port)
    owners = {os.stat("/proc/%d" % pid).st_uid for pid in made.family()}
    assert owners == {nobody.pw_uid}
    made.interrupt()


def can_read(entry, path):
    """May this user read the file, and enter all folders above it?"""
    while True:
        mode = os.stat(path)
        wanted = stat.S_IXOTH if stat.S_ISDIR(mode.st_mode) else stat.S_IROTH
        if not mode.st_mode & wanted:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_with_root_the_children_are_not_root(run):
    """As in every ordinary httpd."""
    port = processes.free_port()
    made = run(sys.executable, RUN, "--port", str(port))
    assert_it_worked(made, port)
    owners = [os.stat("/proc/%d" % pid).st_uid for pid in made.family()]
    assert pwd.getpwnam("www-data").pw_uid in owners
    made.interrupt()


def test_in_front_of_a_server_of_the_users(run, walt):
    """WALT_SERVER=: nothing is bundled."""
    port = processes.free_port()
    made = run(sys.executable, RUN, "--port", str(port), "--walt-server", walt.location)
    assert_it_worked(made, port)
    assert len(walt.requests("boot.img")) == 1
    assert "the VPN HTTP entrypoint of the WalT server " + walt.location in made.output and "stand-in" not in made.output
    made.interrupt()


def test_a_server_that_is_down_is_told_and_waited_for(run, walt):
    """The user sees what a node would see, and may try again."""
    port = processes.free_port()
    walt.down()
    made = run(sys.executable, RUN, "--port", str(port), "--walt-server", walt.location)
    made.await_output("until Ctrl-C:")
    assert "The WalT server can't be reached." in made.output
    assert re.search("node 192.168.152.7: starts over: .*503", made.output)
    assert "\n-> try: curl http://%s/walt-vpn/server\n" % walt.location in made.output
    walt.up()
    assert wire.exchange(port, wire.request("/walt-vpn/server", "localhost")).status == 200
    made.interrupt()


def test_a_server_that_no_resolver_knows(run):
    """What httpd says of it is shown, and no other warning; and what to type."""
    made = run(sys.executable, RUN, "--port", str(processes.free_port()), "--walt-server", "walt.invalid:8080")
    made.await_output("until Ctrl-C:")
    warnings, = re.findall(r"\n\nIts error log warns:\n((?:.+\n)+)\n-> try: getent hosts walt\.invalid; "
                           r"curl http://walt\.invalid:8080/walt-vpn/server\n\nIts access log", made.output)
    assert re.match(r"WaltVpnServer walt\.invalid:8080 \(\S+:\d+\): this machine's resolver .* no", warnings)
    assert "port 80" not in warnings and "exposed" not in warnings
    made.interrupt()


def test_a_server_that_does_not_know_the_node(run, walt):
    """As any web server that is no WalT server."""
    walt.fault("boot.sig", "status", status=404)
    made = run(sys.executable, RUN, "--port", str(processes.free_port()), "--walt-server", walt.location)
    made.await_output("until Ctrl-C:")
    assert re.search(r"\nIts error log warns:\nnode 192\.168\.152\.7 \(127\.0\.0\.1\): boot\.sig was answered with 404: .*\n"
                     r"\n-> try: curl http://%s/walt-vpn/server\n\nIts access log" % walt.location, made.output)
    made.interrupt()


def test_a_busy_port(run):
    """Says which, and what to type."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(1)
        port = busy.getsockname()[1]
        made = run(sys.executable, RUN, "--port", str(port))
        assert made.process.wait(30) == 1
    assert re.fullmatch(r"port %d of 127\.0\.0\.1: Address already in use; end who uses it or choose another port, "
                        r"as in: make run PORT=\d+\n" % port, made.output)
    assert os.listdir(made.temporary) == []


@pytest.mark.parametrize("arguments, words", [
    (["--port", "99999"], "not a port"),
    (["--walt-server", "walt.example.org", "--walt-version", "coming"], "--walt-version is that of the stand-in"),
    (["--walt-server", "http://walt.example.org"], "this is no host[:port]; write a host name"),
])
def test_a_wrong_argument(arguments, words, run):
    """Ends with a sentence that says what is wrong, and leaves nothing behind."""
    port = [] if "--port" in arguments else ["--port", str(processes.free_port())]
    made = run(sys.executable, RUN, *arguments, *port)
    assert made.process.wait(30) != 0
    assert words in made.output and "Traceback" not in made.output
    assert os.listdir(made.temporary) == []
