"""What walt-vpn-check asks of the network: names, and /walt-vpn/server, each within a time."""

import re
import socket
import threading
import time

from boot_client import BootClient, Connection, Failed, LinkLost, Outcome, OutOfTime

LONGEST_ANSWER = 4096   # bytes that are read of it
LONGEST_LINE = 8190     # of its head: it is not firmware that asks, but walt-server-setup, whose aiohttp reads so much


class Unresolved(Exception):
    """temporary: no name server could be asked."""

    def __init__(self, problem, temporary=False):
        super().__init__(problem)
        self.temporary = temporary


class Unanswered(Exception):
    """No whole reply came: why, in words. reached: something took the connection."""

    def __init__(self, problem, reached):
        super().__init__(problem)
        self.reached = reached


class Answer:
    """A reply. name: what it says, if that can be a WalT server's host name; else problem tells what it is instead."""

    def __init__(self, seconds, name=None, problem=None, status=None):
        self.seconds = seconds
        self.name = name
        self.problem = problem
        self.status = status


def resolve(name, seconds):
    """The addresses of a name, IPv4 first. The resolver knows no limit of ours: its thread is left behind when it is late."""
    result = []

    def ask():
        try:
            found = socket.getaddrinfo(name.strip("[]"), None, type=socket.SOCK_STREAM)
            addresses = dict.fromkeys(entry[4][0] for entry in found)
            result.append(sorted(addresses, key=lambda address: ":" in address))
        except (OSError, UnicodeError) as problem:
            temporary = getattr(problem, "errno", None) == socket.EAI_AGAIN
            result.append(Unresolved(getattr(problem, "strerror", None) or str(problem), temporary))
        except Exception as problem:    # an error in here must not pass for silence
            result.append(problem)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise Unresolved("no name server answered within %g s" % seconds, temporary=True)
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def status_of(line):
    """The number in a status line; 0 if there is none."""
    number = re.match(rb"HTTP/\S+ ([0-9]{3})\b", line)
    return int(number.group(1)) if number else 0


def refusal(failure, lines):
    """Why a board does not take this reply, who gave it, and where it sends to."""
    by_status = failure.outcome in (Outcome.HTTP_ERROR, Outcome.REDIRECTED)
    problem = "status %d" % status_of(lines[0]) if by_status else str(failure)
    for word, field in ("to", b"location:"), ("from", b"server:"):
        values = [line[len(field):].strip().decode("latin-1") for line in lines[1:] if line.lower().startswith(field)]
        problem += "".join(" %s %s" % (word, value) for value in values)
    return problem


def read_answer(connection, started):
    """The Answer on a connection over which /walt-vpn/server was asked for."""
    lines = connection.head(LONGEST_LINE)
    try:
        status, length = BootClient.judge(lines)
    except Failed as failure:
        return Answer(time.monotonic() - started, status=status_of(lines[0]), problem=refusal(failure, lines))
    body = b""
    while len(body) < min(length, LONGEST_ANSWER):
        data = connection.receive()
        if not data:
            raise Unanswered("closed the connection before the end of its reply", True)
        body += data
    seconds = time.monotonic() - started
    if status != 200:
        return Answer(seconds, status=status, problem="status %d" % status)
    if not re.fullmatch(rb"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", body.strip()):
        return Answer(seconds, status=status, problem="%d bytes that are no host name" % length)
    return Answer(seconds, status=status, name=body.decode().strip())


def read_status(connection, _):
    """That of the reply to a HEAD."""
    return status_of(connection.head(LONGEST_LINE)[0])


def ask(address, port, host, seconds, what="GET /walt-vpn/server", read=read_answer):
    """What read() makes of the reply, of that to /walt-vpn/server an Answer; Unanswered: there is none. host: for the Host line.
    """
    started = time.monotonic()
    deadline = started + seconds
    try:
        connection = Connection(address, port, seconds, deadline)
    except (OSError, OutOfTime) as problem:
        raise Unanswered(getattr(problem, "strerror", None) or "no connection within %g s" % seconds, False)
    try:
        connection.send(("%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUser-Agent: walt-vpn-check\r\n\r\n"
                         % (what, host)).encode())
        return read(connection, started)
    except (OutOfTime, LinkLost) as problem:
        raise Unanswered("took the connection, and then %s" % (str(problem) or "did not answer within %g s" % seconds), True)
    except Failed as failure:
        raise Unanswered(str(failure), True)
    finally:
        connection.reset()


def in_host_line(name):
    """A name or an address as it stands there: an IPv6 address in brackets."""
    return "[%s]" % name if ":" in name and not name.startswith("[") else name


def own_addresses():
    """The addresses of this machine, 127.0.0.1 and ::1 among them."""
    with open("/proc/net/fib_trie") as table:
        found = dict.fromkeys(re.findall(r"\|-- ([\d.]+)\n\s+/32 host LOCAL", table.read()))
    try:
        with open("/proc/net/if_inet6") as table:
            numbers = [line.split()[0] for line in table if line.split()[3] != "20"]    # 20: of one link only
        found.update(dict.fromkeys(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(number)) for number in numbers))
    except FileNotFoundError:
        pass                    # no IPv6
    return list(found)


def is_loopback(address):
    return address.startswith("127.") or address == "::1"
