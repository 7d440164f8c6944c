"""Whoever holds a place in the line may be killed or stopped: the next one has it at once."""

import errno
import os
import signal

import pytest

from processes import sockets, tcp_connections, wait_until
from questions import Question, ask, nodes

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


def hold(httpd, walt, seconds=None):
    """Questions in all places that are not answered, or after so many seconds."""
    walt.fault("boot.sig", "silence", at_byte=None, times=4, seconds=seconds)
    held = [Question(httpd, node, client="127.0.0.%d" % (20 + number)) for number, node in enumerate(nodes(4, "10.9.0"))]
    wait_until(lambda: len(walt.requests("boot.sig")) == 4, what="the questions")
    return held


@pytest.mark.parametrize("mpm, number", [("event", signal.SIGKILL), ("worker", signal.SIGKILL), ("prefork", signal.SIGKILL),
                                         ("prefork", signal.SIGTERM)])
def test_the_one_who_asks(mpm, number, entrypoint, walt):
    httpd = entrypoint(mpm=mpm, server=SMALL[mpm])
    httpd.tolerate_log("AH00052: child pid .* exit signal Killed|AH00161|AH00484|AH00286|AH1039[23]")
    held = hold(httpd, walt)
    children = {child_with_port(httpd, request.peer[1]) for request in walt.requests("boot.sig")}
    waiting = ask(httpd, nodes(5))
    for child in children:
        os.kill(child, number)
    for question in waiting:
        question.wait()
        assert question.seconds < AT_ONCE
    assert {question.wait().reply.ended for question in held} == {"RST"}, "so that the nodes come again"
    assert {question.reply.status for question in waiting if question.reply.ended != "RST"} <= {200}, "but for those in the same child"
    assert ask(httpd, nodes(1, "10.3.0"))[0].wait(AT_ONCE).reply.status == 200


def test_the_one_who_can_not_say_that_he_leaves(entrypoint, walt, calls):
    """While a process that was stopped holds the line's book, nobody writes into it."""
    httpd = entrypoint()
    held = hold(httpd, walt, seconds=2)
    calls.fail("pthread_mutex_trylock", errno.ETIMEDOUT)
    assert {question.wait().reply.status for question in held} == {200}
    calls.mend()
    assert ask(httpd, nodes(1, "10.3.0"))[0].wait(AT_ONCE).reply.status == 200
