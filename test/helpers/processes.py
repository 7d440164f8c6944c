"""Private servers as child processes: free ports to listen on, and an end that always comes."""

import itertools
import os
import random
import signal
import socket
import subprocess
import time


def own_ports():
    """Those below the range that outgoing connections take theirs from, in any order, again and again; each of pytest's workers
    has others, and threads that start servers side by side are given different ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").lstrip("gw"))
    ports = list(range(10000, 32768)[worker::int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))])
    random.SystemRandom().shuffle(ports)
    return itertools.cycle(ports)


PORTS = own_ports()


def free_port(address="127.0.0.1"):
    """One of our own ports; free now, and a stranger may take it: whoever can retries."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        port = next(PORTS)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, port))
                return port
            except OSError:
                continue


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


def wait_until(condition, seconds=10.0, what="the condition"):
    """Polls, because neither httpd nor its rivals tell when they are ready."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("%s: not within %g s" % (what, seconds))
        time.sleep(0.005)


def accepts_connections(port, address="127.0.0.1"):
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def spawn(command, **options):
    """A child in a session of its own, which the kernel ends with the thread that started it. setpriv asks for that: with a
    preexec_fn each start would copy the page tables of pytest, which takes several times as long."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "TERM"] + list(command), start_new_session=True, **options)


def end(process, how=signal.SIGTERM, seconds=10.0):
    """Asks, waits, and at last kills the whole session: nothing of it is left afterwards."""
    if process is None:
        return
    try:
        if process.poll() is None:
            process.send_signal(how)
            process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


class Server:
    """A program that listens on a free port of 127.0.0.1 and may use a folder; what it prints is in console.log there.

    A subclass has a title, command() for self.port, and may know better than that when it is up.
    """

    def __init__(self, folder):
        self.folder = str(folder)
        self.process = None
        self.port = None
        os.chmod(self.folder, 0o755)

    def is_up(self):
        return accepts_connections(self.port)

    def start(self):
        console_path = os.path.join(self.folder, "console.log")
        for _ in range(5):
            self.port = free_port()
            with open(console_path, "wb") as console:
                self.process = spawn(self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
            wait_until(lambda: self.process.poll() is not None or self.is_up(), 30, "the start of %s" % self.title)
            if self.process.poll() is None:
                return self
            self.stop()
        with open(console_path) as console:
            raise RuntimeError("%s did not start: %s" % (self.title, console.read()))

    def stop(self):
        end(self.process)
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def state_of(pid):
    """(its state, as in "S" for one that sleeps; its parent), from the kernel; also of a thread."""
    with open("/proc/%d/stat" % pid) as stat:
        state, parent = stat.read().rpartition(")")[2].split()[:2]
    return state, int(parent)


def children(pid):
    found = []
    for process in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if state_of(process)[1] == pid:
                found.append(process)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def tcp_connections():
    """What the kernel knows of each TCP connection of IPv4, as the columns of its table."""
    with open("/proc/net/tcp") as table:
        return [line.split() for line in table][1:]


def descriptors(pid):
    """What each of this process's stands for; none if it has ended."""
    found = {}
    try:
        for number in os.listdir("/proc/%d/fd" % pid):
            try:
                found[int(number)] = os.readlink("/proc/%d/fd/%s" % (pid, number))
            except FileNotFoundError:
                pass    # closed meanwhile
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def sockets(pid):
    """What this process has open of them."""
    return {name for name in descriptors(pid).values() if name.startswith("socket:")}


def at_work(pid):
    """Whether one of this process's threads has something to do, be it that it waits for a processor."""
    try:
        for thread in map(int, os.listdir("/proc/%d/task" % pid)):
            try:
                if state_of(thread)[0] != "S":
                    return True
            except (FileNotFoundError, ProcessLookupError):
                pass    # ended meanwhile
    except (FileNotFoundError, ProcessLookupError):
        pass
    return False
