"""Whoever holds a place in the line may be killed or stopped: the next one has it at once."""

import os
import signal

import pytest

from processes import sockets, tcp_connections, wait_until
from questions import ask, nodes

# The next one would be let in anyhow when a question has taken 8 s.
AT_ONCE = 6

SMALL = {
    "event": "StartServers 4\nServerLimit 4\nThreadsPerChild 2\nMaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8",
    "prefork": "StartServers 8\nServerLimit 8\nMaxRequestWorkers 8\nMinSpareServers 1\nMaxSpareServers 8",
}
SMALL["worker"] = SMALL["event"]


def child_with_port(httpd, port):
    """The child that has this local port of a connection."""
    inode = next(row[9] for row in tcp_connections() if int(row[1].split(":")[1], 16) == port and row[3] == "01")
    return next(child for child in httpd.children() if "socket:[%s]" % inode in sockets(child))


def hold(httpd, walt, times=1):
    """A question that is not answered; the child that asks it."""
    walt.fault("boot.sig", "silence", at_byte=None, times=times)
    held, = ask(httpd, nodes(1, "10.9.0"))
    wait_until(lambda: walt.requests("boot.sig"), what="the question")
    return held, child_with_port(httpd, walt.requests("boot.sig")[0].peer[1])


@pytest.mark.parametrize("mpm, number", [("event", signal.SIGKILL), ("worker", signal.SIGKILL), ("prefork", signal.SIGKILL),
                                         ("prefork", signal.SIGTERM)])
def test_the_one_who_asks(mpm, number, entrypoint, walt):
    httpd = entrypoint(mpm=mpm, server=SMALL[mpm])
    httpd.tolerate_log("AH00052: child pid .* exit signal Killed|AH00161|AH00484")
    held, child = hold(httpd, walt)
    waiting = ask(httpd, nodes(5))
    os.kill(child, number)
    for question in waiting:
        question.wait()
        assert question.seconds < AT_ONCE
    assert held.wait().reply.ended == "RST", "so that the node comes again"
    answered = [question.reply.status for question in waiting if question.reply.ended != "RST"]
    assert answered and set(answered) == {200}
    assert len(answered) >= (5 if mpm == "prefork" else 4), "but for one that was in the same child"


def test_those_who_wait(entrypoint, walt):
    """They leave nothing behind either: neither their places nor their shares of the line."""
    httpd = entrypoint(mpm="prefork", server=SMALL["prefork"])
    httpd.tolerate_log("AH00052: child pid .* exit signal Killed|AH00161|AH00484")
    held, child = hold(httpd, walt)
    waiting = ask(httpd, nodes(6))
    wait_until(lambda: len(httpd.connected()) >= 7, what="all of them in their children")
    victims = set(httpd.children())
    for victim in victims - {child}:
        os.kill(victim, signal.SIGKILL)
    assert all(question.wait().reply.ended == "RST" for question in waiting)
    os.kill(child, signal.SIGKILL)
    held.wait()
    wait_until(lambda: not victims & set(httpd.children()), what="the end of all that could take a question along")
    again = ask(httpd, nodes(16, "10.2.0"))
    assert [question.wait().reply.status for question in again] == [200] * 16
    assert max(question.seconds for question in again) < AT_ONCE
