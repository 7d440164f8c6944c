"""A private Apache httpd: its own folder, port and configuration, nothing of the machine's /etc/apache2."""

import functools
import os
import re
import shutil
import signal
import subprocess

import processes
import wire

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENTRYPOINT = ("proxy", "proxy_http", "walt_vpn")

# What Debian's mods-available/mpm_*.conf say.
MPM_SETTINGS = {
    "event": "StartServers 2\nMinSpareThreads 25\nMaxSpareThreads 75\nThreadLimit 64\nThreadsPerChild 25\nMaxRequestWorkers 150",
    "worker": "StartServers 2\nMinSpareThreads 25\nMaxSpareThreads 75\nThreadLimit 64\nThreadsPerChild 25\nMaxRequestWorkers 150",
    "prefork": "StartServers 5\nMinSpareServers 5\nMaxSpareServers 10\nMaxRequestWorkers 150",
}

BASE = """\
ServerRoot @DIR@
ServerName localhost
DocumentRoot @DIR@/htdocs
DefaultRuntimeDir @DIR@
PidFile @DIR@/httpd.pid
ErrorLog @DIR@/error.log
LogLevel info
Listen 127.0.0.1:@PORT@
@MODULES@
LogFormat "%h \\"%{Host}i\\" \\"%r\\" %>s %B" bench
CustomLog @DIR@/access.log bench
@USER@
@MPM@
@SERVER@
@VHOST@
"""


@functools.lru_cache(maxsize=None)
def apxs(variable):
    command = os.environ.get("APXS") or shutil.which("apxs") or shutil.which("apxs2")
    if not command:
        return None
    return subprocess.run([command, "-q", variable], stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.strip()


@functools.lru_cache(maxsize=None)
def httpd_binary():
    named = os.environ.get("HTTPD")
    if named:
        return named
    if apxs("sbindir"):
        return os.path.join(apxs("sbindir"), apxs("progname"))
    found = shutil.which("apache2", path="/usr/sbin:" + os.environ["PATH"]) or shutil.which("httpd")
    if not found:
        raise RuntimeError("no httpd found: set HTTPD, or APXS")
    return found


@functools.lru_cache(maxsize=None)
def module_folder():
    return os.environ.get("HTTPD_MODULES") or apxs("LIBEXECDIR") or "/usr/lib/apache2/modules"


def our_module():
    return os.environ.get("MOD_WALT_VPN") or os.path.join(PROJECT, "mod_walt_vpn.so")


def packaged(name):
    """The text of a file in conf/, as it is shipped."""
    with open(os.path.join(PROJECT, "conf", name)) as file:
        return file.read()


def load_line(module, ours):
    """Ours is loaded by the packaged walt_vpn.load, whose path alone is replaced."""
    if module == "walt_vpn":
        return re.sub(r"(?m)^(LoadModule\s+\S+\s+).*$", lambda line: line.group(1) + ours, packaged("walt_vpn.load"))
    return "LoadModule %s_module %s/mod_%s.so" % (module, module_folder(), module)


# What is told of a node's own trouble: tests judge nodes by what became of them.
NODE_TROUBLE = r"\[walt_vpn:warn\] .* node [0-9.]+ \([0-9a-f.:]+\): "

# What start and configtest warn of wherever a test is not about it: none is on port 80, few say what they expose.
OF_A_TEST = r"\[walt_vpn:warn\] .*: (nodes ask port 80 alone|everything below /walt-vpn/ is exposed)"


class DidNotStart(Exception):
    """With everything httpd said."""


class Httpd:
    """A httpd that listens on a port of 127.0.0.1.

    folder    an empty one that it may use
    vhost     lines inside the one virtual host; or whole <VirtualHost *:@PORT@> sections
    server    lines outside of it
    modules   loaded in this order, after the MPM and authz_core
    user      who starts it, if root is to start it as another user
    fixed_port  instead of a free one

    @PORT@ and @DIR@ stand for port and folder in both texts.
    """

    server_name = "entrypoint.example.org"

    def __init__(self, folder, vhost="", server="", mpm="event", modules=ENTRYPOINT, server_name=None, fixed_port=None, user=""):
        self.folder = str(folder)
        self.vhost = vhost
        self.server = server
        self.mpm = mpm
        self.modules = list(modules)
        self.user = user
        self.server_name = server_name or self.server_name
        self.fixed_port = fixed_port
        self.expected_log = []
        self.tolerated_log = [NODE_TROUBLE, OF_A_TEST]
        self.crash_at_stop = False
        self.process = None
        self.port = None
        self.conf = os.path.join(self.folder, "httpd.conf")
        self.error_log_path = os.path.join(self.folder, "error.log")
        self.access_log_path = os.path.join(self.folder, "access.log")
        self.console_path = os.path.join(self.folder, "console.log")
        os.chmod(self.folder, 0o755)
        os.makedirs(os.path.join(self.folder, "htdocs"), exist_ok=True)
        if user:
            shutil.chown(self.folder, user)

    # Configuration

    def virtual_hosts(self):
        if "<VirtualHost" in self.vhost:
            return self.vhost
        return "<VirtualHost *:@PORT@>\nServerName %s\n%s\n</VirtualHost>" % (self.server_name, self.vhost)

    def loadable_module(self):
        """Ours, where the user who starts httpd can read it: a project in root's home is for root alone."""
        if not self.user:
            return our_module()
        return shutil.copy(our_module(), os.path.join(self.folder, "mod_walt_vpn.so"))

    def write_configuration(self):
        ours = self.loadable_module()
        parts = {
            "@MODULES@": "\n".join(load_line(module, ours) for module in ["mpm_" + self.mpm, "authz_core"] + self.modules),
            "@MPM@": MPM_SETTINGS[self.mpm],
            "@USER@": "User www-data\nGroup www-data" if os.getuid() == 0 and not self.user else "",
            "@SERVER@": self.server,
            "@VHOST@": self.virtual_hosts(),
        }
        text = BASE
        for place, part in parts.items():
            text = text.replace(place, part)
        with open(self.conf, "w") as conf:
            conf.write(text.replace("@DIR@", self.folder).replace("@PORT@", str(self.port)))

    def reconfigure(self, **settings):
        """Other vhost=, server= or modules=; graceful() or restart() puts them to work."""
        for name, value in settings.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        self.write_configuration()

    def command(self, *options):
        become = ["setpriv", "--reuid=" + self.user, "--clear-groups"] if self.user else []
        return become + [httpd_binary(), "-f", self.conf, *options]

    def configtest(self):
        """(exit status, what it said)."""
        self.port = self.port or processes.free_port()
        self.write_configuration()
        run = subprocess.run(self.command("-t"), env=self.environment(), timeout=60,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        return run.returncode, run.stdout

    def warnings(self):
        """What configtest says of a configuration that it accepts, line by line."""
        status, said = self.configtest()
        lines = said.splitlines()
        assert (status, lines[-1:]) == (0, ["Syntax OK"]), said
        return lines[:-1]

    def place(self, text, nth=0):
        """file:line of the line of the configuration that begins so."""
        with open(self.conf) as conf:
            return "%s:%d" % (self.conf, [n for n, line in enumerate(conf, 1) if line.startswith(text)][nth])

    # Life

    @staticmethod
    def environment():
        """HTTPD_PRELOAD holds what sanitizers need loaded into httpd, and into nothing else."""
        environment = dict(os.environ)
        if environment.get("HTTPD_PRELOAD"):
            environment["LD_PRELOAD"] = environment["HTTPD_PRELOAD"]
        return environment

    def start(self):
        for attempt in range(5):
            self.port = self.fixed_port or processes.free_port()
            self.write_configuration()
            try:
                with open(self.console_path, "ab") as console:
                    self.process = processes.spawn(self.command("-DFOREGROUND"), env=self.environment(),
                                                   stdin=subprocess.DEVNULL, stdout=console, stderr=console)
                self.await_operation(0)
                return self
            except DidNotStart as problem:
                self.stop()
                if "Address already in use" not in str(problem) or attempt == 4:
                    raise
                os.unlink(self.console_path)
                if os.path.exists(self.error_log_path):
                    os.unlink(self.error_log_path)

    def operations(self):
        return self.error_log.count("resuming normal operations")

    def await_operation(self, before):
        def operating():
            if self.process.poll() is not None:
                raise DidNotStart(self.console + self.error_log)
            return self.operations() > before
        processes.wait_until(operating, 30, "httpd's start")

    def settle(self):
        """Lets connections end that are about to, and the threads that end them. A child of the event MPM that is told to end
        at once may crash while one has closed its connection and not yet forgotten it (its close_worker_sockets() looks at the
        socket then, whose memory may be gone), and one of prefork's at any time while it has one (allow_crash_at_stop), with
        any module or none."""
        try:
            processes.wait_until(lambda: not self.connected() and not any(map(processes.at_work, self.children())), 3)
        except (TimeoutError, PermissionError):
            pass

    def signal_and_await(self, number):
        before = self.operations()
        self.process.send_signal(number)
        self.await_operation(before)

    def graceful(self):
        """A graceful restart. Who connects from now on meets the new configuration: a child of the old one may still accept
        after the parent has gone on."""
        old = self.children()
        self.signal_and_await(signal.SIGUSR1)
        listening = processes.sockets(self.process.pid)
        processes.wait_until(lambda: not any(processes.sockets(child) & listening for child in old), 30,
                             "the last that an old child accepts")

    def restart(self):
        self.settle()
        self.signal_and_await(signal.SIGHUP)

    def stop(self, graceful=False):
        if not graceful and self.process and self.process.poll() is None:
            self.settle()
        processes.end(self.process, signal.SIGWINCH if graceful else signal.SIGTERM)
        self.process = None

    def children(self):
        """Process ids of the MPM's children."""
        return processes.children(self.process.pid)

    def connected(self):
        """Those of its children that have a socket which they do not listen on."""
        listening = processes.sockets(self.process.pid)
        return [child for child in self.children() if processes.sockets(child) - listening]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # What it says

    @property
    def error_log(self):
        return read(self.error_log_path)

    @property
    def access_log(self):
        return read(self.access_log_path)

    @property
    def console(self):
        return read(self.console_path)

    def await_log(self, pattern, seconds=10.0):
        processes.wait_until(lambda: re.search(pattern, self.error_log), seconds, "%r in the error log" % pattern)

    def expect_log(self, pattern):
        """This test causes such lines knowingly: the check at its end will not object. It does object if none comes."""
        self.expected_log.append(pattern)

    def tolerate_log(self, pattern):
        """Such lines may come or not, and the test does not care. A crash is never tolerated."""
        self.tolerated_log.append(pattern)

    def allow_crash_at_stop(self):
        """This test ends a child in mid-download, or at work on many. Event's children race with their own threads then;
        prefork's destroy, in the signal handler, the pools that are in use. Either crashes with any module or none: of 100
        prefork children that relayed an image when they got SIGTERM, 38 did with this one, 35 with a plain ProxyPass."""
        self.crash_at_stop = self.mpm in ("event", "prefork")

    def log_objections(self):
        return log_objections(self.error_log, self.expected_log, self.tolerated_log, self.crash_at_stop)

    # Asking it

    def get(self, path="/", host=None, raw=None, timeout=10.0, **options):
        """One exchange over a connection of its own; see wire.request for the options. raw=: exactly these bytes."""
        if raw is None:
            raw = wire.request(path, host or self.server_name, **options)
        return wire.exchange(self.port, raw, timeout=timeout)

    def connect(self, timeout=10.0):
        """A connection to send anything on."""
        return wire.Wire(self.port, timeout=timeout)


# Told to stop at once, httpd's event MPM takes its poll set from under a thread that is just ending a connection.
AT_STOP = r"\(9\)Bad file descriptor: AH03092: process_lingering_close"


def log_objections(log, expected=(), tolerated=(), crash_at_stop=False):
    """Lines of level warn and above, lines that httpd did not write itself, deaths of children; and what was expected
    but is not there."""
    objections = []
    for line in log.splitlines():
        level = re.match(r"\[[^\]]*\] \[[\w-]*:(\w+)\] ", line)
        crash = not level or re.search(r"segfault|exit signal", line)
        if not crash and re.match(r"notice|info|debug|trace\d", level.group(1)):
            continue
        if any(re.search(pattern, line) for pattern in expected) or re.search(AT_STOP, line):
            continue
        if crash_at_stop and re.search(r"AH0005[12]: child pid \d+ exit signal Segmentation fault", line):
            continue
        if not crash and any(re.search(pattern, line) for pattern in tolerated):
            continue
        objections.append(line)
    objections += ["expected, but missing: %s" % pattern for pattern in expected if not re.search(pattern, log)]
    return objections


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
